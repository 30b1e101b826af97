//! Named queues that are made at run time, on virtual time: they collect as those of the configuration do, come back
//! at a restart, and go with as many messages as their removal names.

#[allow(dead_code)] // Each test uses its part.
#[path = "simulation/rows.rs"]
mod rows;
mod virtual_time;

use std::sync::Arc;
use std::time::Duration;

use rows::Disk;
use sluicemq::broker::mailbox::Account;
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{Broker, QueueNotMade, QueueNotRemoved, QueueSource, QueueView};
use sluicemq::codec::QoS;
use sluicemq::config::{Config, NamedQueue};
use sluicemq::message::Loss;
use sluicemq::store::MemoryStore;
use virtual_time::{Town, connect};

fn definition(name: &str, binding: &str) -> NamedQueue {
    toml::from_str(&format!("name = '{name}'\nbindings = ['{binding}']")).expect("a named queue")
}

fn start(config: &str, disk: &Disk) -> (Town, Result<(), String>) {
    let mut town = Town::with_store(config, Arc::new(disk.open()));
    let restored = town.broker.restore(town.now, &mut Scratch::default()).map(drop);
    town.pass(Duration::ZERO);
    (town, restored)
}

fn good(config: &str, disk: &Disk) -> Town {
    let (town, restored) = start(config, disk);
    restored.expect("rows that mean something");
    town
}

/// The store writes all that it was given, and the broker goes on.
fn write(disk: &Disk, town: &mut Town) {
    disk.write_all(|| town.pass(Duration::ZERO));
    town.pass(Duration::ZERO);
}

fn make(town: &Town, name: &str, binding: &str) -> Result<(), QueueNotMade> {
    let (queue, scratch) = (definition(name, binding), &mut Scratch::default());
    town.broker.make_queue(queue, town.now, scratch).map(drop)
}

fn remove(town: &Town, name: &str, discard: usize) -> Result<usize, QueueNotRemoved> {
    let removed = town.broker.remove_queue(name, discard, town.now, &mut Scratch::default());
    removed.map(|(discarded, _)| discarded)
}

fn names(broker: &Broker) -> Vec<(String, QueueSource, usize)> {
    let views = broker.queues(None, usize::MAX);
    let seen = |view: &QueueView| (view.name().to_owned(), view.source(), view.group().depth().0);
    views.iter().map(seen).collect()
}

fn account(town: &Town, name: &str) -> Account {
    let views = town.broker.queues(None, usize::MAX);
    let view = views.iter().find(|view| view.name() == name).expect("the queue");
    view.group().account().clone()
}

fn payloads(town: &mut Town, number: usize) -> Vec<String> {
    let got = std::mem::take(&mut town.of(number).got);
    got.into_iter().map(|got| got.payload).collect()
}

const CONFIGURED: &str = "
    [[named_queue]]
    name = 'configured'
    bindings = ['c/#']
    [totals]
    queues_max = 2
";

#[test]
fn a_queue_that_was_made_collects_and_comes_back_at_a_restart() {
    let disk = Disk::default();
    let mut town = good(CONFIGURED, &disk);
    make(&town, "jobs", "jobs/#").expect("it is made");
    write(&disk, &mut town);
    let publisher = town.client("p");
    for payload in ["0", "1", "2"] {
        town.publish(publisher, "jobs/a", payload, QoS::AtLeastOnce);
        write(&disk, &mut town);
    }
    disk.crash();
    let mut town = good(CONFIGURED, &disk);
    let wanted = [("configured", QueueSource::Configuration, 0), ("jobs", QueueSource::Made, 3)];
    let wanted = wanted.map(|(name, source, waiting)| (name.to_owned(), source, waiting));
    assert_eq!(names(&town.broker), wanted);
    let publisher = town.client("p");
    town.publish(publisher, "jobs/b", "3", QoS::AtLeastOnce);
    write(&disk, &mut town);
    // A reload leaves it as it is.
    town.reload(CONFIGURED);
    let consumer = town.client("c");
    town.subscribe(consumer, "$queue/jobs", QoS::AtLeastOnce);
    write(&disk, &mut town);
    assert_eq!(payloads(&mut town, consumer), ["0", "1", "2", "3"]);
    assert_eq!(account(&town, "jobs").in_flight(), 0);
}

#[test]
fn a_name_is_taken_once_and_their_number_is_limited() {
    let disk = Disk::default();
    let town = good(CONFIGURED, &disk);
    let exists = |source| Err(QueueNotMade::Exists(source));
    assert_eq!(make(&town, "configured", "x"), exists(QueueSource::Configuration));
    assert_eq!(make(&town, "a", "x"), Ok(()));
    assert_eq!(make(&town, "a", "y"), exists(QueueSource::Made));
    assert_eq!(make(&town, "b", "x"), Ok(()));
    assert_eq!(make(&town, "c", "x"), Err(QueueNotMade::TooMany(2)));
    assert_eq!(remove(&town, "a", 0), Ok(0));
    assert_eq!(make(&town, "c", "x"), Ok(()));
    assert_eq!(remove(&town, "configured", 0), Err(QueueNotRemoved::Configured));
    assert_eq!(remove(&town, "a", 0), Err(QueueNotRemoved::Unknown));
    // Pages go on behind the last name.
    let page = |after| town.broker.queues(after, 1).first().map(|view| view.name().to_owned());
    assert_eq!(page(None).as_deref(), Some("b"));
    assert_eq!(page(Some("b")).as_deref(), Some("c"));
    assert_eq!(page(Some("configured")), None);
}

#[test]
fn a_removal_drops_no_more_than_it_names_and_outlasts_a_restart() {
    let disk = Disk::default();
    let mut town = good("", &disk);
    make(&town, "jobs", "jobs/#").expect("it is made");
    let publisher = town.client("p");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        town.publish(publisher, "jobs/a", "x", qos);
        write(&disk, &mut town);
    }
    assert_eq!(remove(&town, "jobs", 2), Err(QueueNotRemoved::Waiting(3)));
    assert_eq!(names(&town.broker), [("jobs".to_owned(), QueueSource::Made, 3)]);
    // A consumer that holds two: it keeps them, and the queue is there until it goes.
    let consumer = town.arrive(&connect("c", true, 3600), "test");
    town.of(consumer).acknowledges = false;
    town.subscribe(consumer, "$queue/jobs", QoS::ExactlyOnce);
    write(&disk, &mut town);
    town.say_goodbye(consumer);
    write(&disk, &mut town);
    town.publish(publisher, "jobs/a", "y", QoS::AtLeastOnce);
    write(&disk, &mut town);
    assert_eq!(account(&town, "jobs").in_flight(), 2);
    assert_eq!(remove(&town, "jobs", 5), Ok(1));
    write(&disk, &mut town);
    assert_eq!(names(&town.broker), [("jobs".to_owned(), QueueSource::None, 0)]);
    let account = account(&town, "jobs");
    let purged: u32 = account.ledger.iter().map(|losses| losses[Loss::Purged as usize]).sum();
    assert_eq!((purged, account.queued, account.in_flight()), (1, [0, 0], 2));
    // It collects nothing more, and its definition does not come back.
    town.publish(publisher, "jobs/a", "z", QoS::AtLeastOnce);
    write(&disk, &mut town);
    disk.crash();
    let town = good("", &disk);
    assert!(
        names(&town.broker).iter().all(|(_, source, n)| (*source, *n) == (QueueSource::None, 0))
    );
}

/// What has left the configuration is removed in the same way.
#[test]
fn a_queue_that_drains_is_removed_or_taken_up_again() {
    let disk = Disk::default();
    let mut town = good(CONFIGURED, &disk);
    let publisher = town.client("p");
    town.publish(publisher, "c/1", "x", QoS::AtLeastOnce);
    write(&disk, &mut town);
    town.reload("");
    assert_eq!(names(&town.broker), [("configured".to_owned(), QueueSource::None, 1)]);
    make(&town, "configured", "other/#").expect("it is made");
    assert_eq!(names(&town.broker), [("configured".to_owned(), QueueSource::Made, 1)]);
    assert_eq!(remove(&town, "configured", 0), Err(QueueNotRemoved::Waiting(1)));
    assert_eq!(remove(&town, "configured", 1), Ok(1));
    assert_eq!(names(&town.broker), []);
    write(&disk, &mut town);
    disk.crash();
    assert_eq!(names(&good("", &disk).broker), []);
}

#[test]
fn one_name_in_the_configuration_and_in_the_store_stops_a_start() {
    let disk = Disk::default();
    let mut town = good("", &disk);
    make(&town, "configured", "x").expect("it is made");
    write(&disk, &mut town);
    let config: Config = toml::from_str(CONFIGURED).expect("a configuration");
    let both = town.broker.queues_in_both(&config);
    assert_eq!(both.len(), 1, "{both:?}");
    disk.crash();
    let (_, restored) = start(CONFIGURED, &disk);
    assert_eq!(restored, Err(both[0].clone()));
    assert!(both[0].contains("\"configured\" is in the configuration"), "{both:?}");
    // Without it the store is as it was.
    assert_eq!(names(&good("", &disk).broker).len(), 1);
}

/// A log of a queue that was made comes and goes with it, over restarts and reloads; what it has stays until a removal
/// names it.
#[test]
fn a_queue_that_was_made_keeps_messages() {
    let disk = Disk::default();
    let mut town = good("", &disk);
    let mut queue = definition("jobs", "jobs/#");
    queue.keep = Some(toml::from_str("messages = 2").expect("limits"));
    town.broker.make_queue(queue, town.now, &mut Scratch::default()).expect("it is made");
    write(&disk, &mut town);
    town.reload("");
    let publisher = town.client("p");
    for payload in ["0", "1", "2"] {
        town.publish(publisher, "jobs/a", payload, QoS::AtLeastOnce);
        write(&disk, &mut town);
    }
    disk.crash();
    let mut town = good("", &disk);
    let logs = |town: &Town| {
        let views = town.broker.keeps(None, 9);
        views.iter().map(|view| (view.source(), view.state().messages)).collect::<Vec<_>>()
    };
    assert_eq!(logs(&town), [(QueueSource::Made, 2)]);
    let reader = town.client("r");
    town.subscribe(reader, "$replay/jobs/all", QoS::AtLeastOnce);
    write(&disk, &mut town);
    assert_eq!(payloads(&mut town, reader), ["1", "2"]);
    // The configuration may have no log of this name.
    let own = "[[keep]]\nname = 'jobs'\nbindings = ['x']";
    let config: Config = toml::from_str(own).expect("a configuration");
    let both = town.broker.queues_in_both(&config);
    assert!(both.len() == 1 && both[0].starts_with("keep: \"jobs\" is in the"), "{both:?}");
    disk.crash();
    assert_eq!(start(own, &disk).1, Err(both[0].clone()));
    let mut town = good("", &disk);
    assert_eq!(remove(&town, "jobs", 3), Ok(3));
    write(&disk, &mut town);
    assert_eq!(logs(&town), [(QueueSource::None, 2)]);
    disk.crash();
    let town = good("", &disk);
    assert_eq!(logs(&town), [(QueueSource::None, 2)]);
    let removed = town.broker.remove_log("jobs", 2, town.now, &mut Scratch::default());
    assert_eq!(removed.map(|(discarded, _)| discarded), Ok(2));
    assert_eq!((logs(&town), names(&town.broker)), (vec![], vec![]));
}

/// A reader of a log that is removed and made again has what comes then.
#[test]
fn a_reader_outlasts_its_log() {
    let disk = Disk::default();
    let mut town = good("", &disk);
    let make = |town: &Town| {
        let mut queue = definition("jobs", "jobs/#");
        queue.keep = Some(toml::from_str("messages = 9").expect("limits"));
        let made = town.broker.make_queue(queue, town.now, &mut Scratch::default());
        made.expect("it is made");
    };
    make(&town);
    let reader = town.client("r");
    town.subscribe(reader, "$replay/jobs/all", QoS::AtLeastOnce);
    write(&disk, &mut town);
    assert_eq!(remove(&town, "jobs", 0), Ok(0));
    let removed = town.broker.remove_log("jobs", 0, town.now, &mut Scratch::default());
    assert_eq!(removed.map(|(discarded, _)| discarded), Ok(0));
    write(&disk, &mut town);
    make(&town);
    write(&disk, &mut town);
    let publisher = town.client("p");
    town.publish(publisher, "jobs/a", "x", QoS::AtLeastOnce);
    write(&disk, &mut town);
    assert_eq!(payloads(&mut town, reader), ["x"]);
}

#[test]
fn without_a_store_it_lives_as_long_as_the_process() {
    let mut town = Town::with_store("", Arc::new(MemoryStore));
    make(&town, "jobs", "jobs/#").expect("it is made");
    let publisher = town.client("p");
    town.publish(publisher, "jobs/a", "x", QoS::AtLeastOnce);
    town.pass(Duration::ZERO);
    assert_eq!(names(&town.broker), [("jobs".to_owned(), QueueSource::Made, 1)]);
    assert_eq!(remove(&town, "jobs", 1), Ok(1));
    assert_eq!(names(&town.broker), []);
}
