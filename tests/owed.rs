//! SUBACK promises what is retained: a Session that has not been sent all of it gets the rest after a
//! restart of the real process, also after `kill -9`.

mod process;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use process::{BUSY_STORE, Sluice};
use sluicemq::codec::{Ack, Connect, Packet, QoS, Reason, Version};
use wire::Client;

/// Retained messages, far more than a window.
const RETAINED: usize = 200;
const WINDOW: usize = 32;

#[derive(Clone, Copy, Debug)]
enum Ending {
    Stopped,
    Killed,
}

/// What a client did before the broker ended.
#[derive(Clone, Copy, Debug)]
struct Case {
    version: Version,
    ending: Ending,
    /// Messages it read, and acknowledged.
    read: usize,
    acknowledged: usize,
    /// It left before.
    left: bool,
}

#[test]
fn what_is_retained_for_a_subscription_comes_whole_after_a_restart() {
    for ending in [Ending::Stopped, Ending::Killed] {
        for (version, read, acknowledged, left) in [
            (Version::V5, 0, 0, false),
            (Version::V311, WINDOW, 0, true),
            (Version::V5, WINDOW, 0, false),
            (Version::V311, 50, 50, false),
            (Version::V5, 50, 50, true),
        ] {
            let case = Case { version, ending, read, acknowledged, left };
            let mut broker = Sluice::start(BUSY_STORE);
            retain(&broker, QoS::AtLeastOnce, 0..RETAINED);
            let mut found = Found::default();
            let mut client = subscribed(&broker, case, &mut found);
            if case.left {
                client.goodbye();
                // Newer than the Subscription: it waits in the queue.
                retain(&broker, QoS::AtLeastOnce, RETAINED - 1..RETAINED);
                end(&mut broker, case.ending);
            } else {
                client.ping();
                end(&mut broker, case.ending);
                drop(client);
            }
            broker.start_again();
            let mut client = back(&broker, case.version);
            found.take_all(&mut client);
            // One that was overwritten comes once, as it was published while its client was away.
            let doubled: Vec<_> = found.fresh.iter().filter(|(_, times)| **times > 1).collect();
            if matches!(case.ending, Ending::Stopped) || case.left {
                assert!(doubled.is_empty(), "{case:?}: twice without DUP: {doubled:?}");
            }
            client.ping();
            client.goodbye();
            end(&mut broker, case.ending);
            broker.start_again();
            let mut client = back(&broker, case.version);
            if matches!(case.ending, Ending::Stopped) {
                client.send(&Packet::PingReq);
                assert_eq!(client.packet(), [0xD0, 0], "{case:?}: nothing is owed any more");
            }
        }
    }
}

/// `QoS` 0 is not promised: after an end in order it comes, too; after a crash it does not come twice.
#[test]
fn what_is_retained_at_qos_0_comes_after_an_end_in_order_and_never_twice() {
    for ending in [Ending::Stopped, Ending::Killed] {
        let mut broker = Sluice::start(BUSY_STORE);
        retain(&broker, QoS::AtMostOnce, 0..RETAINED);
        retain(&broker, QoS::AtLeastOnce, 0..WINDOW + 1);
        let case = Case {
            version: Version::V5,
            ending,
            read: WINDOW,
            acknowledged: 0,
            left: matches!(ending, Ending::Stopped),
        };
        let mut found = Found::default();
        let client = subscribed(&broker, case, &mut found);
        if case.left {
            client.goodbye();
        }
        end(&mut broker, ending);
        broker.start_again();
        let mut client = back(&broker, case.version);
        while found.topics.len() <= WINDOW {
            found.take(&mut client);
        }
        if case.left {
            found.take_all(&mut client);
        } else {
            client.ping();
        }
        // Those of `QoS` 1 that were sent right before a crash may come again.
        let again =
            |topic: &str| !case.left && (0..=WINDOW).any(|number| topic_of(number) == topic);
        let fresh = found.fresh.iter().filter(|(topic, _)| !again(topic));
        let doubled: Vec<_> = fresh.filter(|(_, times)| **times > 1).collect();
        assert!(doubled.is_empty(), "{ending:?}: {doubled:?}");
    }
}

/// Topics that came, and how often without DUP.
#[derive(Default)]
struct Found {
    topics: BTreeSet<String>,
    fresh: BTreeMap<String, usize>,
}

impl Found {
    /// Takes one message and acknowledges it.
    fn take(&mut self, client: &mut Client) {
        let id = self.note(client);
        if let Some(id) = id {
            client.send(&Packet::PubAck(Ack::new(id, Reason::Success)));
        }
    }

    fn note(&mut self, client: &mut Client) -> Option<sluicemq::codec::PacketId> {
        let (topic, dup, id) = client.expect(|packet| match packet {
            Packet::Publish(publish) => {
                Some((publish.topic.to_owned(), publish.dup, publish.packet_id))
            }
            _ => None,
        });
        if !dup {
            *self.fresh.entry(topic.clone()).or_default() += 1;
        }
        self.topics.insert(topic);
        id
    }

    fn take_all(&mut self, client: &mut Client) {
        while self.topics.len() < RETAINED {
            self.take(client);
        }
    }
}

fn topic_of(number: usize) -> String {
    format!("state/{number:03}")
}

/// Each number's topic is retained.
fn retain(broker: &Sluice, qos: QoS, numbers: std::ops::Range<usize>) {
    let mut publisher = Client::connect(broker.address("tcp"), Version::V5, "p");
    for number in numbers {
        let topic = topic_of(number);
        let mut message = wire::message(&topic, b"on");
        message.retain = true;
        message.qos = qos;
        if qos == QoS::AtMostOnce {
            message.packet_id = None;
        }
        publisher.send(&Packet::Publish(message));
        if qos > QoS::AtMostOnce {
            assert!(!publisher.puback().is_error());
        }
    }
    publisher.ping();
    publisher.goodbye();
}

fn lasting(version: Version) -> Connect<'static> {
    Connect { clean_start: false, session_expiry: u32::MAX, ..wire::connect(version, "s") }
}

/// A client that has its SUBACK, and has read and acknowledged so much.
fn subscribed(broker: &Sluice, case: Case, found: &mut Found) -> Client {
    let mut client = Client::connect_with(broker.address("tcp"), &lasting(case.version));
    client.send(&wire::subscribe(&["state/#"], QoS::AtLeastOnce));
    let (mut suback, mut read) = (false, 0);
    while !suback || read < case.read {
        let came = client.expect(|packet| match packet {
            Packet::SubAck(_) => Some(None),
            Packet::Publish(p) => Some(Some((p.topic.to_owned(), p.packet_id))),
            _ => None,
        });
        let Some((topic, id)) = came else {
            suback = true;
            continue;
        };
        if read >= case.read {
            continue;
        }
        read += 1;
        *found.fresh.entry(topic.clone()).or_default() += 1;
        found.topics.insert(topic);
        if let Some(id) = id.filter(|_| read <= case.acknowledged) {
            client.send(&Packet::PubAck(Ack::new(id, Reason::Success)));
        }
    }
    client
}

fn end(broker: &mut Sluice, ending: Ending) {
    match ending {
        Ending::Stopped => assert_eq!(broker.stop(), Some(0)),
        Ending::Killed => broker.kill(),
    }
}

/// The client again; its Session is there.
fn back(broker: &Sluice, version: Version) -> Client {
    let mut client = Client::open(broker.address("tcp"), version);
    client.send(&Packet::Connect(Box::new(lasting(version))));
    let present = client.expect(|packet| match packet {
        Packet::ConnAck(connack) => Some(connack.session_present),
        _ => None,
    });
    assert!(present);
    client
}
