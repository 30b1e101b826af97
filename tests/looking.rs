//! Looking into the broker on virtual time: one client in full, its queue, and what an operator does with them.

#[path = "looking/routes.rs"]
mod routes;
#[path = "simulation/rows.rs"]
#[allow(dead_code)] // Each test uses its part.
mod rows;
mod virtual_time;

use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use rows::Disk;
use sluicemq::broker::metrics::Counter;
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{
    ClientDetails, Enquiry, NoAnswer, Question, SessionEnd, Slowed, WaitingCopy,
};
use sluicemq::codec::{Connect, Properties, QoS, Reason, Version, Will};
use sluicemq::message::{ClientId, Loss};
use sluicemq::topic::TopicName;
use virtual_time::{BEGIN, Town, connect};

const SECOND: Duration = Duration::from_secs(1);
/// With a delay of seven seconds.
const WILL: Will<'_> = Will {
    topic: "gone",
    payload: b"c",
    qos: QoS::AtMostOnce,
    retain: false,
    delay: 7,
    expiry: None,
    properties: Properties::EMPTY,
};
/// More than there is.
const WHOLE: usize = 1_000_000;

fn id(client_id: &str) -> ClientId {
    ClientId::new(client_id)
}

/// Asks, and lets everybody do what they can until there is an answer.
fn answer(town: &mut Town, enquiry: &mut Enquiry) -> Result<ClientDetails, NoAnswer> {
    for _ in 0..10 {
        if let Poll::Ready(answer) = enquiry.poll(Waker::noop(), town.now) {
            return answer;
        }
        town.pass(Duration::ZERO);
    }
    panic!("no link answers");
}

fn ask(town: &mut Town, client_id: &str, question: Question) -> Result<ClientDetails, NoAnswer> {
    let mut enquiry = town.broker.enquire(&id(client_id), question);
    answer(town, &mut enquiry)
}

fn all() -> Question {
    Question::default().subscriptions(WHOLE).flights(WHOLE)
}

fn queue(town: &mut Town, client_id: &str, max: usize) -> Vec<WaitingCopy> {
    let look = town.broker.look_into_queue(&id(client_id), max, Waker::noop());
    match look.expect("it has a Session").poll() {
        Poll::Ready(copies) => copies,
        Poll::Pending => panic!("the disk of a test is read at once"),
    }
}

fn topics(copies: &[WaitingCopy]) -> Vec<&str> {
    copies.iter().map(|copy| copy.message().expect("it is there").topic().as_str()).collect()
}

fn filters(details: &ClientDetails) -> Vec<&str> {
    details.subscriptions().iter().map(|(filter, _)| filter.as_str()).collect()
}

/// The first law.
#[track_caller]
fn assert_first_law(town: &mut Town, client_id: &str, in_flight: usize) {
    let account = town.account(client_id);
    assert_eq!(account.in_flight(), in_flight as u64, "{account:?}");
    let ledger: u64 = account.ledger.iter().flatten().map(|count| u64::from(*count)).sum();
    let sum = |counts: [u64; 2]| counts[0] + counts[1];
    let found = sum(account.completed) + sum(account.queued) + ledger + in_flight as u64;
    assert_eq!(sum(account.routed), found, "{account:?}");
}

#[test]
fn a_connected_client_is_shown_by_its_link() {
    let mut town = Town::new("session.inflight_max = 3");
    let asked = Connect {
        keep_alive: 30,
        receive_maximum: 10.try_into().unwrap(),
        maximum_packet_size: 1000.try_into().ok(),
        user_name: Some("u"),
        will: Some(WILL),
        ..connect("c", true, 60)
    };
    town.pass(SECOND * 5);
    let client = town.arrive(&asked, "radio");
    town.of(client).acknowledges = false;
    town.subscribe(client, "b/#", QoS::AtLeastOnce);
    town.subscribe(client, "a", QoS::ExactlyOnce);
    let publisher = town.client("p");
    town.pass(SECOND);
    for topic in ["b/1", "b/2", "a", "b/3", "b/4"] {
        town.publish(publisher, topic, "x", QoS::ExactlyOnce);
    }
    let details = ask(&mut town, "c", all()).expect("it is there");
    let terms = details.terms();
    assert_eq!((terms.version, terms.keep_alive, terms.expiry), (Version::V5, 30, 60));
    assert_eq!((terms.receive_maximum, terms.packet_max, terms.clean_start), (10, 1000, true));
    assert_eq!(details.connected_since(), Some(BEGIN.after(SECOND * 5)));
    let connection = details.connection().expect("it is connected");
    assert_eq!((connection.address(), connection.listener()), ("127.0.0.1:1", Some("radio")));
    assert_eq!((connection.certificate(), connection.slowed()), (None, None));
    assert_eq!((filters(&details), details.subscription_count()), (vec!["a", "b/#"], 2));
    assert_eq!(details.subscriptions()[0].1.options.qos, QoS::ExactlyOnce);
    let window = details.window();
    assert_eq!((window.size(), window.used(), window.free()), (3, 3, 0));
    let flying: Vec<_> =
        details.flights().iter().map(|copy| copy.message.topic().as_str()).collect();
    assert_eq!(flying, ["b/1", "b/2", "a"]);
    assert_eq!(details.oldest_queued(), Some(BEGIN.after(SECOND * 6)));
    let will = details.will().expect("it has one").draft();
    assert_eq!((will.topic.as_str(), will.payload), ("gone", &b"c"[..]));
    assert_eq!(details.view().user_name.as_deref(), Some("u"));
    assert_eq!(topics(&queue(&mut town, "c", 10)), ["b/3", "b/4"]);
    assert_eq!(topics(&queue(&mut town, "c", 1)), ["b/3"]);
}

#[test]
fn a_client_that_is_away_is_shown_where_it_is_parked() {
    let mut town = Town::new("");
    let client = town.arrive(&Connect { will: Some(WILL), ..connect("c", true, 60) }, "test");
    town.subscribe(client, "a", QoS::AtLeastOnce);
    town.cut(client);
    let details = ask(&mut town, "c", all()).expect("it is there");
    assert_eq!((details.connected_since(), details.connection().is_none()), (None, true));
    assert_eq!(details.ends(), Some(BEGIN.after(SECOND * 60)));
    assert_eq!(details.will_due(), Some(BEGIN.after(SECOND * 7)));
    assert_eq!(filters(&details), ["a"]);
    assert_eq!(ask(&mut town, "nobody", all()).unwrap_err(), NoAnswer::Unknown);
}

#[test]
fn subscriptions_come_in_pages_and_only_those_that_match() {
    let mut town = Town::new("");
    let client = town.client("c");
    let mut wanted: Vec<_> = (0..2500).map(|n| format!("t/{n}")).collect();
    for filter in &wanted {
        town.subscribe(client, filter, QoS::AtMostOnce);
    }
    town.subscribe(client, "+/7", QoS::AtMostOnce);
    wanted.push("+/7".to_owned());
    wanted.sort();
    for max in [700, 2000] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let question = Question::default().subscriptions(max).after(after);
            let details = ask(&mut town, "c", question).expect("it is there");
            assert!(details.subscriptions().len() <= max.min(1024));
            seen.extend(filters(&details).into_iter().map(str::to_owned));
            after = details.next().cloned();
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, wanted, "{max}");
    }
    let (mut seen, mut after, mut rounds) = (Vec::new(), None, 0);
    loop {
        let question = Question::default().matching(TopicName::trusted("t/7"));
        let details = ask(&mut town, "c", question.subscriptions(10).after(after)).unwrap();
        seen.extend(filters(&details).into_iter().map(str::to_owned));
        after = details.next().cloned();
        rounds += 1;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((seen, rounds), (vec!["+/7".to_owned(), "t/7".to_owned()], 3));
}

/// It moves between its owners while it is asked about.
#[test]
fn a_question_follows_the_session_to_where_it_goes() {
    let mut town = Town::new("");
    let client = town.arrive(&connect("c", true, 60), "test");
    let mut enquiry = town.broker.enquire(&id("c"), all());
    assert!(enquiry.poll(Waker::noop(), town.now).is_pending());
    // The connection breaks before the link has looked.
    town.cut(client);
    let details = answer(&mut town, &mut enquiry).expect("it is parked");
    assert_eq!(details.connected_since(), None);
    let client = town.arrive(&connect("c", false, 0), "test");
    assert!(enquiry.poll(Waker::noop(), town.now).is_pending());
    town.cut(client);
    assert_eq!(answer(&mut town, &mut enquiry).unwrap_err(), NoAnswer::Unknown);
}

#[test]
fn questions_under_way_are_bounded_and_leave_nothing_behind() {
    let mut town = Town::new("");
    town.client("c");
    let mut open: Vec<_> = (0..1025).map(|_| town.broker.enquire(&id("c"), all())).collect();
    let mut last = open.pop().unwrap();
    for enquiry in &mut open {
        assert!(enquiry.poll(Waker::noop(), town.now).is_pending());
    }
    assert!(matches!(last.poll(Waker::noop(), town.now), Poll::Ready(Err(NoAnswer::Busy))));
    // Given up before they are answered.
    drop(open);
    assert!(answer(&mut town, &mut last).is_ok());
}

#[test]
fn what_keeps_messages_back_is_told() {
    let mut town = Town::new("shaping = { messages_rate = 10, messages_burst = 1 }");
    let client = town.client("c");
    town.subscribe(client, "a", QoS::AtLeastOnce);
    let publisher = town.client("p");
    town.publish_many(publisher, "a", 3, QoS::AtLeastOnce);
    let details = ask(&mut town, "c", all()).expect("it is there");
    let slowed = details.connection().unwrap().slowed();
    assert_eq!(slowed, Some(Slowed::ByItself(BEGIN.after(SECOND / 10))));
}

#[test]
fn a_connected_client_can_be_ended_with_its_session() {
    let mut town = Town::new("");
    let client = town.arrive(&Connect { will: Some(WILL), ..connect("c", true, 60) }, "test");
    town.subscribe(client, "a", QoS::AtLeastOnce);
    let heir = town.client("heir");
    town.subscribe(heir, "gone", QoS::AtMostOnce);
    let (reason, now) = (Reason::AdministrativeAction, town.now);
    let mut scratch = Scratch::default();
    let end = town.broker.end_client(&id("c"), reason, now, &mut scratch);
    assert_eq!(end, Some(SessionEnd::Soon));
    assert_eq!(ask(&mut town, "c", all()).unwrap_err(), NoAnswer::Unknown);
    assert_eq!(town.of(client).told, Some(reason));
    assert_eq!(town.of(heir).got.len(), 1, "its Will is published at once");
    assert_eq!(town.broker.view().subscriptions, 1);
    assert_eq!(town.broker.end_client(&id("c"), reason, now, &mut scratch), None);
}

#[test]
fn a_client_that_is_away_is_ended_at_once_and_the_store_forgets_it() {
    let disk = Disk::default();
    let mut town = Town::with_store("", Arc::new(disk.open()));
    let write = |town: &mut Town| disk.write_all(|| town.pass(Duration::ZERO));
    let empty = disk.rows();
    let client = town.arrive(&connect("c", true, 60), "test");
    write(&mut town);
    town.subscribe(client, "a", QoS::AtLeastOnce);
    write(&mut town);
    town.cut(client);
    let publisher = town.client("p");
    town.publish(publisher, "a", "x", QoS::AtLeastOnce);
    write(&mut town);
    let (reason, now) = (Reason::AdministrativeAction, town.now);
    let end = town.broker.end_client(&id("c"), reason, now, &mut Scratch::default());
    assert!(matches!(end, Some(SessionEnd::Now(Some(_)))), "{end:?}");
    write(&mut town);
    assert_eq!(disk.rows(), empty);
    assert_eq!(town.broker.metrics().lost(Loss::SessionEnded), 1);
}

#[test]
fn what_only_the_store_has_is_shown_and_its_rows_end_when_the_queue_is_emptied() {
    let disk = Disk::default();
    let config = "[[topic_class]]\nname = 'x'\nfilters = ['a/1']";
    for config in ["", config] {
        let disk = if config.is_empty() { disk.clone() } else { Disk::default() };
        let mut town = Town::with_store(config, Arc::new(disk.open()));
        let write = |town: &mut Town| disk.write_all(|| town.pass(Duration::ZERO));
        let client = town.arrive(&connect("c", true, 60), "test");
        write(&mut town);
        town.subscribe(client, "a/#", QoS::AtLeastOnce);
        write(&mut town);
        town.cut(client);
        write(&mut town);
        let nothing_waits = disk.rows();
        let publisher = town.client("p");
        for topic in ["a/1", "a/2", "a/3"] {
            town.publish(publisher, topic, "x", QoS::AtLeastOnce);
            write(&mut town);
        }
        let copies = queue(&mut town, "c", 10);
        assert_eq!(topics(&copies), ["a/1", "a/2", "a/3"]);
        assert_eq!(copies[0].message().unwrap().publisher(), "p");
        assert_eq!(queue(&mut town, "c", 10).len(), 3, "looking changes nothing");
        let purged = town.broker.purge(&id("c"), town.now, &mut Scratch::default());
        assert_eq!(purged.expect("it has a Session").0, 3);
        // Where there are classes of topics, a tick asks the store for each topic first.
        for _ in 0..4 {
            town.pass(SECOND);
            write(&mut town);
        }
        assert_eq!(disk.rows(), nothing_waits, "{config:?}");
        assert_eq!(town.broker.metrics().lost(Loss::Purged), 3);
        assert_first_law(&mut town, "c", 0);
        let back = town.arrive(&connect("c", false, 60), "test");
        write(&mut town);
        assert!(town.of(back).got.is_empty());
    }
}

#[test]
fn emptying_a_queue_leaves_what_is_in_flight_and_lets_publishers_go_on() {
    for policy in ["reject", "drop_oldest", "conflate"] {
        let config =
            format!("session.inflight_max = 2\nqueue.messages_max = 4\nqueue.policy = '{policy}'");
        let mut town = Town::new(&config);
        let client = town.client("c");
        town.of(client).acknowledges = false;
        town.subscribe(client, "a/#", QoS::AtLeastOnce);
        let publisher = town.client("p");
        for n in 0..6 {
            town.publish(publisher, &format!("a/{n}"), "x", QoS::AtLeastOnce);
        }
        let purged = town.broker.purge(&id("c"), town.now, &mut Scratch::default()).unwrap();
        town.pass(SECOND);
        let waited = purged.0;
        assert!(waited > 0, "{policy}");
        assert_first_law(&mut town, "c", 2);
        assert_eq!(town.of(publisher).held_back(), 0, "{policy}");
        town.publish(publisher, "a/9", "x", QoS::AtLeastOnce);
        assert_eq!(topics(&queue(&mut town, "c", 10)).last(), Some(&"a/9"), "{policy}");
        town.of(client).acknowledges = true;
        town.of(client).acknowledge(2);
        town.pass(SECOND);
        assert_first_law(&mut town, "c", 0);
        assert_eq!(town.of(client).got.last().unwrap().topic, "a/9", "{policy}");
        assert_eq!(town.broker.metrics().lost(Loss::Purged), waited as u64, "{policy}");
        let metrics = town.broker.metrics();
        assert_eq!(metrics.sum(Counter::Routed), 7, "{policy}");
    }
}
