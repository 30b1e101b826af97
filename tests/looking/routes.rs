//! The receivers of a topic, groups with their members, and retained messages by filter.

use std::sync::Arc;
use std::time::Duration;

use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{PublishHandle, ReceiverView};
use sluicemq::codec::{Properties, QoS, Reason};
use sluicemq::message::Draft;
use sluicemq::topic::{TopicFilter, TopicLimits, TopicName};

use super::rows::Disk;
use super::{SECOND, Town, connect};

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text, &TopicLimits { bytes_max: 100, levels_max: 10 }).expect("a filter")
}

fn seen(view: &ReceiverView) -> (&str, bool, bool, Option<&str>) {
    let permission = view.permission();
    (view.name(), view.is_connected(), permission.is_allowed(), permission.rule())
}

#[test]
fn the_receivers_of_a_topic_are_told_with_what_they_may() {
    let rules = "
        [access]
        default = 'allow'
        [[rule]]
        deny = ['receive']
        client_id = 'b'
        topics = ['t/1']
    ";
    let mut town = Town::new(rules);
    for name in ["a", "b", "c"] {
        let number = town.arrive(&connect(name, true, 60), "test");
        town.subscribe(number, "t/#", QoS::AtLeastOnce);
        town.subscribe(number, "+/1", QoS::AtMostOnce);
        if name == "c" {
            town.cut(number);
        }
    }
    let member = town.client("m");
    town.subscribe(member, "$share/g/t/+", QoS::AtLeastOnce);
    let topic = TopicName::trusted("t/1");
    let (views, count) = town.broker.receivers_of(topic, None, 10);
    assert_eq!(count, 4);
    let allowed: Vec<_> =
        views.iter().map(|view| (view.name().as_ref(), view.is_connected())).collect();
    assert_eq!(allowed, [("a", true), ("b", true), ("c", false), ("$share/g/t/+", true)]);
    let barred: Vec<_> =
        views.iter().filter(|view| !view.permission().is_allowed()).map(seen).collect();
    let [("b", true, false, Some(rule))] = barred[..] else { panic!("{barred:?}") };
    assert!(rule.contains("rule"), "{rule}");
    assert_eq!((views[0].qos(), views[0].client_id().is_some()), (QoS::AtLeastOnce, true));
    assert!(views[3].client_id().is_none());
    // In pages.
    let (first, _) = town.broker.receivers_of(topic, None, 3);
    let (rest, count) = town.broker.receivers_of(topic, Some(first[2].receiver()), 3);
    assert_eq!((first.len(), rest.len(), count), (3, 1, 4));
    assert_eq!(town.broker.receivers_of(TopicName::trusted("other"), None, 10).1, 0);
}

#[test]
fn groups_are_told_with_their_members() {
    let mut town = Town::new("session.inflight_max = 1");
    for name in ["a", "b"] {
        let number = town.arrive(&connect(name, true, 60), "test");
        town.subscribe(number, "$share/g/t/#", QoS::AtLeastOnce);
        town.of(number).acknowledges = false;
        if name == "b" {
            town.subscribe(number, "$share/h/t/#", QoS::AtLeastOnce);
            town.cut(number);
        }
    }
    let publisher = town.client("p");
    for _ in 0..3 {
        town.publish(publisher, "t/1", "x", QoS::AtLeastOnce);
    }
    let groups = town.broker.groups(None, 10);
    let names = |at: usize| groups[at].members().iter().map(|id| id.as_str()).collect::<Vec<_>>();
    assert_eq!((groups.len(), groups[0].filter().as_str()), (2, "$share/g/t/#"));
    assert_eq!((names(0), groups[0].member_count(), groups[0].connected()), (vec!["a", "b"], 2, 1));
    assert_eq!((groups[0].depth().0, groups[0].account().in_flight()), (2, 1));
    assert_eq!((names(1), groups[1].connected(), groups[1].depth().0), (vec!["b"], 0, 3));
    let next = town.broker.groups(Some(groups[0].id()), 10);
    assert_eq!((next.len(), next[0].filter().as_str()), (1, "$share/h/t/#"));
    assert_eq!(town.broker.groups(None, 1).len(), 1);
}

/// All pages of retained messages, and how many pages there were.
fn retained(town: &Town, text: &str, max: usize) -> (Vec<String>, usize) {
    let (mut found, mut after, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let page = town.broker.retained_page(&filter(text), after.as_deref(), max, town.now);
        assert!(page.messages().len() <= max);
        found.extend(page.messages().iter().map(|message| message.topic().as_str().to_owned()));
        pages += 1;
        after = page.next().map(str::to_owned);
        if after.is_none() {
            return (found, pages);
        }
    }
}

#[test]
fn retained_messages_come_in_pages_of_bounded_work() {
    let mut town = Town::new("");
    let publisher = town.client("p");
    let wanted: Vec<_> = (0..600).map(|n| format!("r/{n:03}/x")).collect();
    for topic in &wanted {
        town.publish_as(publisher, topic, "1", QoS::AtMostOnce, true);
        town.publish_as(publisher, &topic.replace('x', "y"), "1", QoS::AtMostOnce, true);
    }
    for max in [7, 1000] {
        let (found, pages) = retained(&town, "r/+/x", max);
        assert_eq!(found, wanted);
        assert!(pages > 4, "{pages}");
    }
    assert_eq!(retained(&town, "r/007/x", 10), (vec!["r/007/x".to_owned()], 1));
    assert_eq!(retained(&town, "nothing/#", 10).0, Vec::<String>::new());
}

#[test]
fn retained_messages_are_deleted_by_filter_for_good_and_nobody_is_sent_anything() {
    let disk = Disk::default();
    let mut town = Town::with_store("", Arc::new(disk.open()));
    let write = |town: &mut Town| disk.write_all(|| town.pass(Duration::ZERO));
    let empty = disk.rows();
    let publisher = town.client("p");
    let watcher = town.client("w");
    for n in 0..300 {
        town.publish_as(publisher, &format!("r/{n:03}"), "1", QoS::AtLeastOnce, true);
        write(&mut town);
    }
    town.subscribe(watcher, "$SYS/broker/version", QoS::AtMostOnce);
    town.subscribe(watcher, "other/#", QoS::AtMostOnce);
    town.publish_as(publisher, "other/1", "1", QoS::AtLeastOnce, true);
    write(&mut town);
    let heard = town.of(watcher).got.len();
    let mut scratch = Scratch::default();
    let (mut count, mut after) = (0, None::<String>);
    loop {
        let every = filter("#");
        let gone =
            town.broker.delete_retained(&every, after.as_deref(), 70, town.now, &mut scratch);
        assert!(gone.count() <= 70 && (gone.count() == 0 || gone.receipt().is_some()));
        count += gone.count();
        after = gone.next().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    write(&mut town);
    assert_eq!((count, town.of(watcher).got.len()), (301, heard));
    assert_eq!(disk.rows(), empty);
    let own = town.broker.view().retained.0;
    let gone = town.broker.delete_retained(&filter("$SYS/#"), None, 70, town.now, &mut scratch);
    assert_eq!((gone.count(), town.broker.view().retained.0), (0, own));
    assert!(own > 0, "the version is there");
    // A message that comes after is retained.
    town.publish_as(publisher, "r/1", "2", QoS::AtLeastOnce, true);
    write(&mut town);
    assert_eq!(retained(&town, "#", 10).0, ["r/1"]);
}

#[test]
fn a_publisher_in_the_process_is_told_how_many_receivers_there_are() {
    let mut town = Town::new("");
    let client = town.client("c");
    town.subscribe(client, "t", QoS::AtMostOnce);
    let identity = town.broker.identity("inside", None);
    let mut handle = PublishHandle::new(&town.broker, identity);
    let draft = |topic| Draft {
        topic: TopicName::trusted(topic),
        qos: QoS::AtLeastOnce,
        retain: false,
        expiry: None,
        properties: Properties::EMPTY,
        payload: b"x",
    };
    let mut scratch = Scratch::default();
    let sent = handle.publish(&draft("t"), town.now, &mut scratch);
    assert_eq!((sent.reason(), sent.receivers()), (Reason::Success, 1));
    let sent = handle.publish(&draft("u"), town.now, &mut scratch);
    assert_eq!((sent.reason(), sent.receivers()), (Reason::NoMatchingSubscribers, 0));
    town.pass(SECOND);
    assert_eq!(town.of(client).got.len(), 1);
}
