//! `$SYS` on virtual time: what a SUBSCRIBE has looked up, averages, what is in flight.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sluicemq::auth::{PasswordAuth, PermitAll};
use sluicemq::broker::Broker;
use sluicemq::broker::turn::Scratch;
use sluicemq::codec::{DecodeLimits, Decoded, Packet, Sender, Version, decode};
use sluicemq::config::Config;

use super::{Client, NOW, ports};

fn broker() -> Broker {
    let ports = ports(Arc::new(PasswordAuth::new(None)), Arc::new(PermitAll));
    Broker::new(&Config::default(), ports, 1, NOW)
}

fn connected(broker: &Broker, client_id: u8) -> Client {
    let mut client = Client::of(broker);
    client.send(&format!("10 0d 0004 4d515454 04 02 0000 0001 {client_id:02x}"));
    client
}

/// The `$SYS` topics below `$SYS/broker/` among what was written, each with its last value.
fn said(mut bytes: &[u8]) -> BTreeMap<String, String> {
    let mut said = BTreeMap::new();
    while !bytes.is_empty() {
        let decoded =
            decode(bytes, Some(Version::V311), Sender::Server, &DecodeLimits::NONE).unwrap();
        let Decoded::Packet { packet, len } = decoded else { panic!("half a packet") };
        if let Packet::Publish(publish) = packet {
            let topic = publish.topic.strip_prefix("$SYS/broker/").unwrap_or(publish.topic);
            said.insert(topic.to_owned(), String::from_utf8_lossy(publish.payload).into_owned());
        }
        bytes = &bytes[len..];
    }
    said
}

/// SUBSCRIBE to `filter`, QoS 0; what comes.
fn subscribe(client: &mut Client, filter: &str) -> BTreeMap<String, String> {
    let text: String = filter.bytes().map(|byte| format!("{byte:02x}")).collect();
    let len = filter.len();
    let mut bytes = client.send(&format!("82 {:02x} 0001 {len:04x} {text} 00", len + 5));
    loop {
        let more = client.send("");
        if more.is_empty() {
            return said(&bytes[5..]);
        }
        bytes.extend(more);
    }
}

/// Ticks until nothing more is due, ten seconds later than the last time.
fn later(broker: &Broker, clients: &mut [&mut Client], seconds: u64) {
    let now = clients[0].now.after(Duration::from_secs(seconds));
    let mut scratch = Scratch::default();
    while broker.tick(now, &mut scratch).is_some_and(|next| next <= now) {}
    clients.iter_mut().for_each(|client| client.now = now);
}

#[test]
fn a_subscribe_has_looked_up_what_it_matches_and_tells_no_other_subscriber() {
    let broker = broker();
    let mut watcher = connected(&broker, b'w');
    assert!(subscribe(&mut watcher, "$SYS/#").len() > 100);
    let retained = broker.view().retained.0;
    let mut other = connected(&broker, b'o');
    other.send("30 04 0001 61 78");
    let found = subscribe(&mut other, "$SYS/broker/publish/messages/received");
    let wanted = [("publish/messages/received".to_owned(), "1".to_owned())];
    assert_eq!(found, wanted.into());
    assert!(watcher.send("").is_empty(), "it hears of it with the next interval");
    assert_eq!(broker.view().retained.0, retained);
    later(&broker, &mut [&mut watcher, &mut other], 10);
    let told = said(&watcher.send(""));
    assert_eq!((&*told["publish/messages/received"], &*told["clients/connected"]), ("1", "2"));

    let broker = self::broker();
    let mut first = connected(&broker, b'f');
    let found = subscribe(&mut first, "$SYS/broker/version");
    let version = concat!("sluice version ", env!("CARGO_PKG_VERSION"));
    assert_eq!(found, [("version".to_owned(), version.to_owned())].into());
    assert_eq!(broker.view().retained.0, 1, "nothing else was looked up");
}

#[test]
fn what_many_may_ask_for_is_looked_up_once_a_second_for_all() {
    let broker = broker();
    let mut first = connected(&broker, b'f');
    let mut second = connected(&broker, b's');
    let received = "publish/messages/received";
    assert_eq!(subscribe(&mut first, "$SYS/#")[received], "0");
    first.send("30 04 0001 61 78");
    assert_eq!(subscribe(&mut second, "$SYS/broker/#")[received], "0", "as a moment ago");
    assert_eq!(subscribe(&mut second, "$SYS/broker/load/#").len(), 27);
    // What is asked for alone is said as it is.
    assert_eq!(subscribe(&mut second, "$SYS/broker/publish/messages/received")[received], "1");
    first.send("30 04 0001 61 78");
    second.now = second.now.after(Duration::from_secs(1));
    assert_eq!(subscribe(&mut second, "$SYS/#")[received], "2");
}

#[test]
fn sessions_are_walked_only_for_what_is_in_flight() {
    let broker = broker();
    let mut receiver = connected(&broker, b'r');
    receiver.send("82 06 0001 0001 61 01");
    let mut publisher = connected(&broker, b'p');
    publisher.send("32 06 0001 61 0001 78");
    receiver.send("");
    let counted = || {
        let mut counted = None;
        broker.visit_metrics(NOW, &mut |metric, _, value| {
            if metric.topic() == "messages/inflight" {
                counted = Some(value.to_string());
            }
        });
        counted.unwrap()
    };
    subscribe(&mut publisher, "$SYS/broker/version");
    assert_eq!(counted(), "0", "it was not asked for");
    subscribe(&mut publisher, "$SYS/broker/messages/+");
    assert_eq!(counted(), "1");
}

#[test]
fn averages_are_reckoned_though_no_client_subscribes() {
    let broker = broker();
    let mut client = connected(&broker, b'c');
    later(&broker, &mut [&mut client], 10);
    for _ in 0..60 {
        client.send(&"30 04 0001 61 78".repeat(10));
        later(&broker, &mut [&mut client], 10);
    }
    let found = subscribe(&mut client, "$SYS/broker/load/publish/received/+");
    // 60 a minute for ten minutes.
    let wanted = [("1min", "60.00"), ("5min", "51.88"), ("15min", "29.19")];
    let wanted =
        wanted.map(|(span, rate)| (format!("load/publish/received/{span}"), rate.to_owned()));
    assert_eq!(found, wanted.into());
    let found = subscribe(&mut client, "$SYS/broker/load/#");
    assert_eq!(found.len(), 27);
    assert_eq!(found["load/publish/sent/1min"], "0.00");
    assert_eq!(found["load/messages/received/1min"], "60.00");
}

#[test]
fn names_that_mosquitto_has_mean_what_they_mean_there() {
    let broker = broker();
    let mut receiver = connected(&broker, b'r');
    // To `a` at QoS 1, and to a group.
    receiver.send("82 06 0001 0001 61 01");
    receiver.send("82 0f 0001 000a 2473686172652f672f74 00");
    let mut publisher = connected(&broker, b'p');
    publisher.send("33 06 0001 61 0001 78");
    receiver.send("");
    let found = subscribe(&mut publisher, "$SYS/#");
    for (topic, value) in [
        ("messages/inflight", "1"),
        ("subscriptions/count", "1"),
        ("shared_subscriptions/count", "1"),
        ("clients/active", "2"),
        ("clients/inactive", "0"),
        ("clients/expired", "0"),
        ("publish/messages/received", "1"),
        // CONNECT, SUBSCRIBE three times with the one that asks, PUBLISH and CONNECT.
        ("messages/received", "5"),
        ("publish/messages/dropped", "0"),
    ] {
        assert_eq!(found.get(topic).map(String::as_str), Some(value), "{topic}");
    }
    // The retained one, and what `$SYS` retains while it is looked up.
    let held: usize = found["store/messages/count"].parse().unwrap();
    assert_eq!((held, &found["messages/stored"]), (1, &found["store/messages/count"]));
    receiver.send("40 02 0001");
    assert_eq!(
        subscribe(&mut publisher, "$SYS/broker/messages/inflight")["messages/inflight"],
        "0"
    );
    // A Session that ends with its connection has dropped nothing.
    publisher.send("33 06 0001 61 0002 78");
    receiver.link.hang_up(receiver.now, &mut receiver.turn);
    let found = subscribe(&mut publisher, "$SYS/broker/publish/messages/dropped");
    assert_eq!(found["publish/messages/dropped"], "0");
}
