//! `$SYS` of the real process: `docs/sys-topics.md` names every topic and no other, and messages that were
//! not routed, of which no client is told, are counted there.

mod process;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use process::Sluice;
use sluicemq::broker::metrics::Counter;
use sluicemq::codec::{Connect, Packet, Publish, QoS, Reason, Version, Will};
use wire::{Client, connect, connect_with_will};

/// No retained message is taken, and the queue of a session has room for one.
const NARROW: &str = "
    [[listener]]
    name = 'tcp'
    address = '127.0.0.1:0'
    [store]
    path = 'data'
    [totals]
    retained_max = 0
    [queue]
    messages_max = 1
    [[class]]
    name = 'radio'
    client_id = 'meter-*'
    shaping = { messages_rate = 5 }
    [[topic_class]]
    name = 'alarms'
    filters = ['alarm/#']
";

/// All that is said below `$SYS/broker/`.
fn figures(at: SocketAddr) -> BTreeMap<String, String> {
    let mut watcher = Client::connect(at, Version::V5, "watcher");
    let filters = ["$SYS/broker/#", "$SYS/broker/clients/#", "$SYS/broker/version"];
    watcher.subscribe(&filters, QoS::AtMostOnce);
    let mut found = BTreeMap::new();
    // One filter after the other: at its second coming the version is the last of all.
    let mut versions = 0;
    while versions < 2 {
        let (topic, value) = watcher.message();
        let topic = topic.strip_prefix("$SYS/broker/").unwrap().to_owned();
        versions += u32::from(topic == "version");
        found.insert(topic, String::from_utf8(value).unwrap());
    }
    found
}

/// The figures, once `topic` has this value.
fn figures_when(at: SocketAddr, topic: &str, value: &str) -> BTreeMap<String, String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found = figures(at);
        if found.get(topic).is_some_and(|found| found == value) {
            return found;
        }
        assert!(Instant::now() < deadline, "{topic} is not {value}: {found:?}");
    }
}

/// The topics of the document's table, in full: the later names of a row replace the last level of the
/// first.
fn documented() -> BTreeSet<String> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sys-topics.md");
    let document = fs::read_to_string(document).unwrap();
    let mut topics = BTreeSet::new();
    for row in document.lines().filter(|line| line.starts_with("| `")) {
        let names: Vec<_> = row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        let stem = names[0].rsplit_once('/').map_or(String::new(), |(stem, _)| format!("{stem}/"));
        for (index, name) in names.into_iter().enumerate() {
            let topic = if index == 0 { name.to_owned() } else { format!("{stem}{name}") };
            assert!(topics.insert(topic.clone()), "{topic} is there twice");
        }
    }
    topics
}

/// Whether `topic` is meant by a documented one, whose levels in angle brackets stand for any.
fn is_meant(topic: &str, documented: &str) -> bool {
    let [levels, wanted] = [topic, documented].map(|text| text.split('/').collect::<Vec<_>>());
    let fits = |(level, wanted): (&&str, &&str)| wanted.starts_with('<') || level == wanted;
    levels.len() == wanted.len() && levels.iter().zip(&wanted).all(fits)
}

#[test]
fn the_document_names_every_topic_and_unrouted_messages_are_counted() {
    let broker = Sluice::start(NARROW);
    let at = broker.address("tcp");
    let mut meter = Client::connect(at, Version::V5, "meter-1");
    meter.subscribe(&["calm"], QoS::AtLeastOnce);
    let lasting = Connect { session_expiry: 3600, ..connect(Version::V5, "absent") };
    let mut absent = Client::connect_with(at, &lasting);
    absent.subscribe(&["alarm/#"], QoS::AtLeastOnce);
    absent.goodbye();
    let mut publisher = Client::connect(at, Version::V5, "p");
    let told = ["1", "2"].map(|text| publisher.publish("alarm/a", text.as_bytes()));
    assert_eq!(told, [Reason::Success, Reason::QuotaExceeded]);

    // There is no room for what is retained, by a PUBLISH or by a Will; $SYS is not theirs.
    for (topic, retain) in [("alarm/b", true), ("$SYS/forged", false)] {
        let publish = Publish { topic, retain, payload: b"x", ..Publish::default() };
        publisher.send(&Packet::Publish(publish));
    }
    publisher.ping();
    let mut last_will = connect_with_will(Version::V5, "gone", "alarm/c");
    last_will.will = last_will.will.map(|will| Will { retain: true, ..will });
    drop(Client::connect_with(at, &last_will));

    let said = figures_when(at, Counter::Unrouted.topic(), "3");
    assert_eq!(said["ledger/topics/alarms/refused"], "2");
    assert_eq!(said["ledger/topics/other/refused"], "1");
    assert_eq!(said["ledger/topics/alarms/queue_full"], "1");
    assert_eq!(said["clients/absent/dropped/queue_full"], "1");
    assert_eq!(said[Counter::Refused.topic()], "1");
    for counter in Counter::ALL {
        assert!(said.contains_key(counter.topic()), "{counter:?} is not shown");
    }
    let documented = documented();
    for topic in said.keys() {
        let meant = documented.iter().filter(|documented| is_meant(topic, documented)).count();
        assert_eq!(meant, 1, "{topic} in docs/sys-topics.md");
    }
    for documented in &documented {
        let is_said = said.keys().any(|topic| is_meant(topic, documented));
        assert!(is_said, "docs/sys-topics.md names {documented}, which is never published");
    }
}
