//! `$SYS` of the real process: it says every metric of the table and no other, as `docs/sys-topics.md` does,
//! and what came and was not routed, of which no client is told, can be read there.

mod process;
mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use process::Sluice;
use sluicemq::broker::metrics::{self, Counter};
use sluicemq::codec::{Connect, Packet, Publish, QoS, Reason, Version, Will};
use wire::{Client, connect, connect_with_will};

/// How `docs/sys-topics.md` begins: its table follows.
const INTRODUCTION: &str = "\
# `$SYS` topics

Below `$SYS/broker/` each figure is a retained message. It is said again every `broker.sys_interval` if it
has changed, while a client subscribes to it. Counters start from 0 when the broker starts. Figures of
single clients (`clients/<client_id>/…`) are said while a client subscribes to `$SYS/broker/clients/…` by name, of
clients that have lost a message or whose messages are shaped. The names are for exporters.

| Topic below `$SYS/broker/` | Name | Kind | Unit | Meaning |
|---|---|---|---|---|
";

/// No retained message is taken, and the queue of a session has room for one.
const NARROW: &str = "
    [[listener]]
    name = 'tcp'
    address = '127.0.0.1:0'
    [store]
    path = 'data'
    [access]
    default = 'allow'
    [[rule]]
    allow = ['all']
    client_id = 'watcher'
    topics = ['$SYS/#']
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

/// The document, as the table of metrics says it.
fn document() -> String {
    let mut text = String::from(INTRODUCTION);
    for metric in metrics::all() {
        let (name, kind, unit) = (metric.name(), metric.kind().name(), metric.unit().name());
        let (topic, help) = (metric.topic(), metric.help());
        text += &format!("| `{topic}` | `{name}` | {kind} | {unit} | {help} |\n");
    }
    text
}

/// Whether `topic` is meant by a documented one; its levels in angle brackets stand for any.
fn is_meant(topic: &str, documented: &str) -> bool {
    let [levels, wanted] = [topic, documented].map(|text| text.split('/').collect::<Vec<_>>());
    let fits = |(level, wanted): (&&str, &&str)| wanted.starts_with('<') || level == wanted;
    levels.len() == wanted.len() && levels.iter().zip(&wanted).all(fits)
}

#[test]
fn the_document_says_what_the_table_of_metrics_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sys-topics.md");
    let wanted = document();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(wanted.lines()).find(|(found, wanted)| found != wanted);
    let how = "docs/sys-topics.md is not what the table says: UPDATE=1 cargo test --test sys";
    assert!(found == wanted, "{how}\nthe first line that differs: {differs:?}");
}

#[test]
fn every_metric_is_said_and_no_other_and_what_is_not_routed_is_there() {
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

    // There is no room to retain it, by a PUBLISH or by a Will: it is delivered. $SYS is not theirs.
    for (topic, retain) in [("alarm/b", true), ("$SYS/forged", false)] {
        let publish = Publish { topic, retain, payload: b"x", ..Publish::default() };
        publisher.send(&Packet::Publish(publish));
    }
    publisher.ping();
    let mut last_will = connect_with_will(Version::V5, "gone", "alarm/c");
    last_will.will = last_will.will.map(|will| Will { retain: true, ..will });
    drop(Client::connect_with(at, &last_will));

    let said = figures_when(at, Counter::RetainedRefused.topic(), "2");
    assert_eq!(said[Counter::Unrouted.topic()], "1");
    assert_eq!(said["ledger/topics/other/refused"], "1");
    assert_eq!(said["ledger/topics/alarms/queue_full"], "1");
    assert_eq!(said["clients/absent/dropped/queue_full"], "1");
    assert_eq!(said[Counter::Refused.topic()], "1");
    for counter in Counter::ALL {
        assert!(said.contains_key(counter.topic()), "{counter:?} is not shown");
    }
    for topic in said.keys() {
        let meant = metrics::all().filter(|metric| is_meant(topic, metric.topic())).count();
        assert_eq!(meant, 1, "{topic} in the table of metrics");
    }
    for metric in metrics::all() {
        let is_said = said.keys().any(|topic| is_meant(topic, metric.topic()));
        assert!(is_said, "{} is in the table of metrics and not in $SYS", metric.topic());
    }
}
