//! What the stores have of messages as work, beside `contents.rs`.
//!
//! | What | Where |
//! |---|---|
//! | a named queue of the configuration, with messages | the first in the table, the second in the journal |
//! | a named queue that was made by the API, with a message | the table |
//! | a named queue that was made and removed | nothing of it |
//! | a named queue with messages that have failed once, and its log | the first in the table, the second in the journal |
//! | a delayed message, which is due when the store is opened again | the journal |
//! | keys of `[[dedup]]` | those of the messages of the first queue |

use sluicemq::codec::{Ack, Packet, QoS, Reason, Version};

use crate::asking::{HttpClient, operator};
use crate::process::Sluice;
use crate::wire::{Client, subscribe};

fn publish(broker: &Sluice, messages: &[(&str, &str)]) {
    let mut publisher = Client::connect(broker.address("tcp"), Version::V5, "publisher");
    for (topic, payload) in messages {
        assert_eq!(publisher.publish(topic, payload.as_bytes()), Reason::Success);
    }
}

fn ask(broker: &Sluice, method: &str, path: &str, body: &str) -> (u16, String) {
    let answer = HttpClient::of(broker).ask(method, path, &operator(broker), body);
    (answer.status, answer.body)
}

/// The next messages of a named queue, as a consumer takes them. They may come before its SUBACK.
fn taken(broker: &Sluice, queue: &str, count: usize) -> Vec<String> {
    let mut consumer = Client::connect(broker.address("tcp"), Version::V5, "consumer");
    consumer.send(&subscribe(&[&format!("$queue/{queue}")], QoS::AtLeastOnce));
    let (mut taken, mut subscribed) = (Vec::new(), false);
    while !subscribed || taken.len() < count {
        let came = consumer.expect(|packet| match packet {
            Packet::Publish(publish) => Some(Some((publish.payload.to_vec(), publish.packet_id))),
            Packet::SubAck(_) => Some(None),
            _ => None,
        });
        let Some((payload, packet_id)) = came else {
            subscribed = true;
            continue;
        };
        let ack = Ack::new(packet_id.expect("QoS 1"), Reason::Success);
        consumer.send(&Packet::PubAck(ack));
        taken.push(String::from_utf8(payload).expect("UTF-8"));
    }
    consumer.goodbye();
    taken
}

pub fn write_first_half(broker: &Sluice) {
    for name in ["made", "removed"] {
        let body = format!(r#"{{"name": "{name}", "bindings": ["{name}/#"], "ttl": "365d"}}"#);
        assert_eq!(ask(broker, "POST", "/api/v1/queues", &body).0, 201);
    }
    publish(broker, &[("n/1", "first"), ("made/1", "for the made one"), ("removed/1", "x")]);
    let tried = r#"{"name": "tried", "bindings": ["tried/#"], "backoff": "1s..1s", "keep": {}}"#;
    assert_eq!(ask(broker, "POST", "/api/v1/queues", tried).0, 201);
    fail(broker, "tried/1", "once");
}

/// Publishes a message to the queue `tried`; a consumer refuses it.
fn fail(broker: &Sluice, topic: &str, payload: &str) {
    let mut consumer = Client::connect(broker.address("tcp"), Version::V5, "consumer");
    consumer.subscribe(&["$queue/tried"], QoS::AtLeastOnce);
    publish(broker, &[(topic, payload)]);
    loop {
        let (found, packet_id) = consumer.expect(|packet| match packet {
            Packet::Publish(publish) => Some((publish.payload.to_vec(), publish.packet_id)),
            _ => None,
        });
        let refusal = Reason::ImplementationSpecificError;
        consumer.send(&Packet::PubAck(Ack::new(packet_id.expect("QoS 1"), refusal)));
        if found == payload.as_bytes() {
            break;
        }
    }
    consumer.ping();
    consumer.goodbye();
}

pub fn write_second_half(broker: &Sluice) {
    publish(broker, &[("n/2", "second"), ("$delayed/2s/n/late", "late")]);
    fail(broker, "tried/2", "too");
    assert_eq!(ask(broker, "DELETE", "/api/v1/queues/removed?discard=1", "").0, 200);
}

/// All that was written is there.
pub fn all_there(broker: &Sluice) {
    let (status, listed) = ask(broker, "GET", "/api/v1/queues", "");
    assert!(status == 200 && listed.contains(r#""name":"made","source":"api""#), "{listed}");
    assert!(!listed.contains("removed"), "{listed}");
    assert_eq!(taken(broker, "configured", 3), ["first", "second", "late"]);
    assert_eq!(taken(broker, "made", 1), ["for the made one"]);
}

/// What has failed comes again, with the number of its attempt, and the log of its queue has it.
pub fn attempts_are_there(broker: &Sluice) {
    let mut consumer = Client::connect(broker.address("tcp"), Version::V5, "consumer");
    consumer.send(&subscribe(&["$queue/tried"], QoS::AtLeastOnce));
    let mut taken = Vec::new();
    while taken.len() < 2 {
        let came = consumer.expect(|packet| match packet {
            Packet::Publish(publish) => {
                let attempt = publish.properties.user_properties();
                let attempt = attempt.iter().find(|(name, _)| *name == "sluice-attempt");
                let attempt = attempt.map(|(_, number)| number.parse().expect("a number"));
                Some(Some((publish.payload.to_vec(), attempt, publish.packet_id)))
            }
            Packet::SubAck(_) => Some(None),
            _ => None,
        });
        let Some((payload, attempt, packet_id)) = came else { continue };
        consumer.send(&Packet::PubAck(Ack::new(packet_id.expect("QoS 1"), Reason::Success)));
        taken.push((payload, attempt >= Some(2_u16)));
    }
    consumer.ping();
    consumer.goodbye();
    assert_eq!(taken, [(b"once".to_vec(), true), (b"too".to_vec(), true)], "in order");
    let mut reader = Client::connect(broker.address("tcp"), Version::V5, "reader");
    reader.send(&subscribe(&["$replay/tried/all"], QoS::AtMostOnce));
    let (mut read, mut subscribed) = (Vec::new(), false);
    while !subscribed || read.len() < 2 {
        let came = reader.expect(|packet| match packet {
            Packet::Publish(publish) => Some(Some(publish.payload.to_vec())),
            Packet::SubAck(_) => Some(None),
            _ => None,
        });
        subscribed |= came.is_none();
        read.extend(came);
    }
    reader.goodbye();
    assert_eq!(read, [b"once".to_vec(), b"too".to_vec()]);
}

/// What was published is taken once: as long as the window of its key goes.
pub fn keys_are_there(broker: &Sluice) {
    publish(broker, &[("n/1", "first"), ("n/2", "second"), ("n/2", "third")]);
    assert_eq!(taken(broker, "configured", 1), ["third"]);
}
