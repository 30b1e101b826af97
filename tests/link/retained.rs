//! Retained messages that are refused, and the state of bridges below `$SYS`.

use std::sync::Arc;

use sluicemq::auth::{PasswordAuth, PermitAll};
use sluicemq::broker::Broker;
use sluicemq::broker::metrics::Counter;
use sluicemq::config::{Config, TopicClassConfig};
use sluicemq::message::Loss;

use super::{Client, NOW, hex, ports};

fn broker(retained_max: u32) -> Broker {
    let mut config = Config::default();
    config.totals.retained_max = retained_max;
    let ports = ports(Arc::new(PasswordAuth::new(None)), Arc::new(PermitAll));
    Broker::new(&config, ports, 1, NOW)
}

fn old(broker: &Broker, client_id: u8) -> Client {
    let mut client = Client::of(broker);
    client.send(&format!("10 0d 0004 4d515454 04 02 0000 0001 {client_id:02x}"));
    client
}

fn new(broker: &Broker, client_id: u8) -> Client {
    let mut client = Client::of(broker);
    client.send(&format!("10 0e 0004 4d515454 05 02 0000 00 0001 {client_id:02x}"));
    client
}

#[test]
fn what_is_delivered_and_not_retained_is_in_the_ledger_by_class_of_topics() {
    let mut config = Config::default();
    config.totals.retained_max = 1;
    let class = TopicClassConfig { name: "b".to_owned(), filters: vec!["b".to_owned()] };
    config.topic_class = vec![class];
    let ports = ports(Arc::new(PasswordAuth::new(None)), Arc::new(PermitAll));
    let broker = Broker::new(&config, ports, 1, NOW);
    let mut subscriber = old(&broker, b's');
    subscriber.send("82 06 0001 0001 23 00");
    let mut older = old(&broker, b'o');
    // Retained; to other topics, at QoS 1 and 0; and one that version 5 is told of.
    older.send("33 06 0001 61 0001 78");
    assert_eq!(older.send("33 06 0001 62 0002 78"), hex("40 02 0002"));
    older.send("31 04 0001 63 78");
    new(&broker, b'n').send("33 07 0001 64 0001 00 78");
    subscriber.send("");
    let metrics = broker.metrics();
    let lost: u64 = Loss::ALL.into_iter().map(|loss| metrics.lost(loss)).sum();
    let count = |counter| metrics.sum(counter);
    assert_eq!((lost, count(Counter::RetainedRefused)), (2, 2));
    assert_eq!(count(Counter::Routed), count(Counter::Completed) + lost, "the first law");
    let topics = broker.view().topics;
    let found = topics.iter().flat_map(|losses| {
        let some = losses.reasons().filter(|(reason, count)| *count > 0 && *reason != "refused");
        some.map(|(reason, count)| (losses.class.to_string(), reason, count)).collect::<Vec<_>>()
    });
    let wanted = ["b", "other"].map(|class| (class.to_owned(), "not_retained", 1));
    assert_eq!(found.collect::<Vec<_>>(), wanted);
}

#[test]
fn with_the_retained_messages_full_what_cannot_be_refused_is_delivered() {
    let broker = broker(1);
    let mut subscriber = old(&broker, b's');
    // All topics, at QoS 0.
    subscriber.send("82 06 0001 0001 23 00");
    let refused = || broker.metrics().sum(Counter::RetainedRefused);

    let mut older = old(&broker, b'o');
    assert_eq!(older.send("33 06 0001 61 0001 78"), hex("40 02 0001"));
    assert_eq!(subscriber.send(""), hex("30 04 0001 61 78"));
    assert_eq!((broker.view().retained.0, refused()), (1, 0));
    // To a new topic, at QoS 1 and 0; to the old one.
    assert_eq!(older.send("33 06 0001 62 0002 78"), hex("40 02 0002"));
    assert_eq!(subscriber.send(""), hex("30 04 0001 62 78"));
    older.send("31 04 0001 63 78");
    assert_eq!(subscriber.send(""), hex("30 04 0001 63 78"));
    older.send("31 04 0001 61 79");
    assert_eq!(subscriber.send(""), hex("30 04 0001 61 79"));
    assert_eq!((broker.view().retained.0, refused()), (1, 2));

    // Version 5 is told at QoS 1, and nothing is delivered: it comes again. At QoS 0 it cannot be told.
    let mut newer = new(&broker, b'n');
    assert_eq!(newer.send("33 07 0001 64 0001 00 78")[2..5], hex("0001 97"));
    assert_eq!(subscriber.send(""), hex(""));
    newer.send("31 05 0001 65 00 78");
    assert_eq!(subscriber.send(""), hex("30 04 0001 65 78"));
    assert_eq!(refused(), 3);

    // A Will, retained, to `w`.
    let mut gone = Client::of(&broker);
    gone.send("10 13 0004 4d515454 04 26 0000 0001 67 0001 77 0001 78");
    gone.link.hang_up(NOW, &mut gone.turn);
    assert_eq!(subscriber.send(""), hex("30 04 0001 77 78"));
    assert_eq!((broker.view().retained.0, refused()), (1, 4));
    assert_eq!(broker.metrics().sum(Counter::Unrouted), 0);
}

/// PUBLISH at QoS 1, retained, of version 5; the Reason Code of PUBACK.
fn publish(client: &mut Client, topic: &str, payload: &str) -> u8 {
    let text: String = topic.bytes().map(|byte| format!("{byte:02x}")).collect();
    let payload: String = payload.bytes().map(|byte| format!("{byte:02x}")).collect();
    let len = 2 + topic.len() + 3 + payload.len() / 2;
    assert!(len < 128);
    let bytes = client.send(&format!("33 {len:02x} {:04x} {text} 0001 00 {payload}", topic.len()));
    if bytes.len() > 4 { bytes[4] } else { 0 }
}

const STATE: &str = "$SYS/broker/connection/host.bridge/state";
const REFUSED: u8 = 0x87;

#[test]
fn the_state_of_a_bridge_is_taken_and_nothing_else_below_sys() {
    let broker = broker(2);
    let mut bridge = new(&broker, b'b');
    for (topic, payload) in [
        (STATE, ""),
        (STATE, "2"),
        (STATE, "10"),
        ("$SYS/broker/connection/state", "1"),
        ("$SYS/broker/connection//state", "1"),
        ("$SYS/broker/connection/a/b/state", "1"),
        ("$SYS/broker/connection/a/stated", "1"),
        ("$SYS/broker/version", "1"),
        (&format!("$SYS/broker/connection/{}/state", "x".repeat(65)), "1"),
    ] {
        assert_eq!(publish(&mut bridge, topic, payload), REFUSED, "{topic} {payload:?}");
    }
    assert_eq!(publish(&mut bridge, STATE, "1"), 0x10);
    let longest = format!("$SYS/broker/connection/{}/state", "x".repeat(64));
    assert_eq!(publish(&mut bridge, &longest, "0"), 0x10);
    // They are among the retained messages of clients.
    assert_eq!(publish(&mut bridge, "$SYS/broker/connection/third/state", "0"), 0x97);
    assert_eq!(publish(&mut bridge, "a", "0"), 0x97);
    assert_eq!(broker.view().retained.0, 2);
}

#[test]
fn the_state_of_a_bridge_belongs_to_its_first_publisher_while_its_session_lives() {
    let broker = broker(100);
    let mut bridge = new(&broker, b'b');
    assert_eq!(publish(&mut bridge, STATE, "1"), 0x10);
    let mut other = new(&broker, b'o');
    assert_eq!(publish(&mut other, STATE, "0"), REFUSED);
    // With a Will to the same topic it connects, and its Will is not published.
    let text: String = STATE.bytes().map(|byte| format!("{byte:02x}")).collect();
    let len = 10 + 3 + 2 + STATE.len() + 3;
    let will = format!("{:04x} {text} 0001 30", STATE.len());
    let connect = format!("10 {len:02x} 0004 4d515454 04 26 0000 0001 77 {will}");
    let mut willing = Client::of(&broker);
    assert_eq!(willing.send(&connect), hex("20 02 00 00"));
    let mut watcher = old(&broker, b'x');
    let watch: String = "$SYS/broker/connection/#".bytes().map(|b| format!("{b:02x}")).collect();
    let mut found = watcher.send(&format!("82 1d 0001 0018 {watch} 00"));
    found.extend(watcher.send(""));
    assert_eq!(found.last(), Some(&b'1'), "what is retained");
    willing.link.hang_up(NOW, &mut willing.turn);
    assert_eq!(watcher.send(""), hex(""));
    // The Will of the owner is published; then its Session has gone.
    bridge.send("e0 00");
    assert_eq!(publish(&mut other, STATE, "0"), 0x00, "a subscriber has it");
    assert_eq!(watcher.send("").last(), Some(&b'0'));
}
