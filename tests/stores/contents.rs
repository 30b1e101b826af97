//! What is in each store: written in two halves, and read by clients that come back.
//!
//! | Client | What the store has of it |
//! |---|---|
//! | `queued` | messages that wait, in two bands, with properties, expiry and RETAIN |
//! | `second` | the same messages to a second receiver, of 3.1.1; one done, one in flight |
//! | `flying` | copies in flight at QoS 1, at QoS 2 before and after PUBREC, and a retained message |
//! | `lost` | a copy in flight that is too large to be sent again, released |
//! | `publishing` | a QoS 2 identifier that was received and not released |
//! | `worker-1`, `worker-2` | a shared group with messages that wait, and one in flight |
//! | `dying`, `lasting` | Wills of connections that end with the broker; `dying` has no lasting Session |
//! | `delayed` | a Will that waits for the end of its Session |
//! | `short` | a Session that expires |
//! | `owed`, `owed-late` | Subscriptions that are owed retained messages: not in the oldest store |
//! | `parked` | a large Will that waits for the end of its Session: not in the oldest store |

use std::collections::VecDeque;
use std::num::{NonZeroU16, NonZeroU32};

use sluicemq::codec::{
    Ack, Connect, Disconnect, Packet, PacketId, Properties, Publish, QoS, Reason, Subscribe,
    SubscribeOptions, Version, Will,
};

use crate::process::Sluice;
use crate::wire::{self, Client};

/// What expires in a store does so after so many seconds.
pub const SHORT_S: u32 = 1;

/// Rows of most kinds; after an orderly stop they are in the table.
pub fn write_first_half(broker: &Sluice) {
    let mut queued = Connection::new(broker, &queued());
    queued.subscribe(&["q/#", "urgent/#"], Some(7));
    queued.client.goodbye();
    let mut second = Connection::new(broker, &lasting(Version::V311, "second"));
    second.subscribe(&["q/+"], None);
    let mut p = Connection::new(broker, &wire::connect(Version::V5, "p"));
    p.publish(&Publish { retain: true, ..publish("f/kept", QoS::AtLeastOnce, b"kept") });
    p.publish(&publish("q/1", QoS::AtLeastOnce, b"one"));
    assert_eq!(second.next(), "PUBLISH q/1 one 1");
    second.answer();
    p.publish(&Publish {
        retain: true,
        expiry: Some(u32::MAX),
        properties: Properties::trusted(PROPERTIES),
        ..publish("q/2", QoS::ExactlyOnce, b"two")
    });
    assert_eq!(second.next(), "PUBLISH q/2 two 2");
    p.publish(&publish("urgent/3", QoS::AtLeastOnce, b"three"));
    write_flights(broker, &mut p);
    for topic in OWED {
        p.publish(&Publish { retain: true, ..publish(topic, QoS::AtLeastOnce, b"owed") });
    }
    owed(broker, "owed").goodbye();
    for worker in WORKERS {
        let mut worker = Connection::new(broker, &lasting(Version::V5, worker));
        worker.subscribe(&["$share/workers/w/#"], None);
        worker.client.goodbye();
    }
    p.publish(&publish("w/1", QoS::AtLeastOnce, b"task 1"));
    p.publish(&publish("w/2", QoS::ExactlyOnce, b"task 2"));
    for (topic, payload) in [("r/1", &b"first"[..]), ("r/2", b"old"), ("r/3", b"cleared")] {
        p.publish(&Publish { retain: true, ..publish(topic, QoS::AtLeastOnce, payload) });
    }
}

/// Copies in flight to `flying`, in every state.
fn write_flights(broker: &Sluice, p: &mut Connection) {
    let mut flying = Connection::new(broker, &lasting(Version::V5, "flying"));
    flying.subscribe(&["f/#"], None);
    p.publish(&publish("f/1", QoS::AtLeastOnce, b"one"));
    p.publish(&publish("f/2", QoS::ExactlyOnce, b"two"));
    p.publish(&publish("f/3", QoS::ExactlyOnce, b"three"));
    assert_eq!(flying.next(), "PUBLISH f/kept kept 1 retain");
    assert_eq!(flying.next(), "PUBLISH f/1 one 2");
    assert_eq!(flying.next(), "PUBLISH f/2 two 3");
    assert_eq!(flying.next(), "PUBLISH f/3 three 4");
    flying.send(Packet::PubRec, 4);
    assert_eq!(flying.next(), "PUBREL 4");
}

/// Rows of the other kinds, and changes of the first: after a kill they are in the journal alone. The
/// connections are those that live when the broker ends.
pub fn write_second_half(broker: &Sluice) -> Vec<Client> {
    let mut p = Connection::new(broker, &wire::connect(Version::V5, "p"));
    p.publish(&publish("q/4", QoS::AtLeastOnce, b"four"));
    for (topic, payload) in [("r/2", &b"new"[..]), ("r/3", b"")] {
        p.publish(&Publish { retain: true, ..publish(topic, QoS::ExactlyOnce, payload) });
    }
    write_lost(broker, &mut p);
    let mut publishing = Connection::new(broker, &lasting(Version::V5, "publishing"));
    publishing.client.send(&Packet::Publish(received(false)));
    assert_eq!(publishing.next(), "PUBREC 9");
    let one_by_one =
        Connect { receive_maximum: NonZeroU16::MIN, ..lasting(Version::V5, WORKERS[0]) };
    let mut worker = Connection::new(broker, &one_by_one);
    assert_eq!(worker.next(), "PUBLISH w/1 task 1 1");
    p.publish(&publish("w/3", QoS::AtLeastOnce, b"task 3"));
    let delayed = Connect {
        will: Some(Will { delay: u32::MAX, ..will("q/delayed", b"delayed") }),
        ..lasting(Version::V5, "delayed")
    };
    drop(Connection::new(broker, &delayed));
    let parked = Connect {
        will: Some(Will { delay: u32::MAX, retain: true, ..will("k/parked", &LARGE) }),
        ..lasting(Version::V5, "parked")
    };
    drop(Connection::new(broker, &parked));
    let short = Connect { session_expiry: SHORT_S, ..lasting(Version::V5, "short") };
    let mut short = Connection::new(broker, &short);
    short.subscribe(&["q/#"], None);
    short.client.goodbye();
    let expiring = Publish { expiry: Some(SHORT_S), ..publish("q/5", QoS::AtLeastOnce, b"five") };
    p.publish(&expiring);
    p.publish(&Publish { retain: true, topic: "r/4", ..expiring });
    let dying = Connect {
        will: Some(Will { retain: true, ..will("r/dying", b"dead") }),
        ..wire::connect(Version::V5, "dying")
    };
    let lasting =
        Connect { will: Some(will("q/lasting", b"gone")), ..lasting(Version::V5, "lasting") };
    let mut clients: Vec<_> =
        [dying, lasting].iter().map(|connect| Connection::new(broker, connect).client).collect();
    clients.push(owed(broker, "owed-late"));
    clients
}

/// A client that has taken one retained message of three, and not acknowledged it.
fn owed(broker: &Sluice, client_id: &str) -> Client {
    let one_by_one =
        Connect { receive_maximum: NonZeroU16::MIN, ..lasting(Version::V5, client_id) };
    let mut owed = Connection::new(broker, &one_by_one);
    owed.subscribe(&["o/#"], None);
    assert_eq!(owed.next(), "PUBLISH o/1 owed 1 retain");
    owed.client
}

/// A copy in flight to `lost` that its next connection is too narrow for.
fn write_lost(broker: &Sluice, p: &mut Connection) {
    let mut lost = Connection::new(broker, &lasting(Version::V5, "lost"));
    lost.subscribe(&["l/#"], None);
    let large = vec![b'l'; 300];
    p.publish(&publish("l/1", QoS::ExactlyOnce, &large));
    assert!(lost.next().starts_with("PUBLISH l/1 lll"));
    drop(lost);
    let narrow =
        Connect { maximum_packet_size: NonZeroU32::new(200), ..lasting(Version::V5, "lost") };
    let mut lost = Connection::new(broker, &narrow);
    assert_eq!(lost.next(), "PUBREL 1");
}

/// All that was written is there, and nothing else.
pub fn all_there(broker: &Sluice) {
    retained_are_there(broker);
    let mut publishing = Connection::again(broker, &lasting(Version::V5, "publishing"));
    publishing.client.send(&Packet::Publish(received(true)));
    assert_eq!(publishing.next(), "PUBREC 9");
    publishing.send(Packet::PubRel, 9);
    assert_eq!(publishing.next(), "PUBCOMP 9");
    let mut other = Connection::new(broker, &wire::connect(Version::V5, "delayed"));
    other.ends();
    queues_are_there(broker);
    flights_are_there(broker);
    groups_are_there(broker);
    let short = Connection::new(broker, &lasting(Version::V5, "short"));
    assert!(!short.resumed, "it has expired");
}

/// What the oldest store does not have.
pub fn newer_there(broker: &Sluice) {
    for client_id in ["owed", "owed-late"] {
        let mut owed = Connection::again(broker, &lasting(Version::V5, client_id));
        owed.takes(&[
            "PUBLISH o/1 owed 1 again retain",
            "PUBLISH o/2 owed 2 retain",
            "PUBLISH o/3 owed 3 retain",
        ]);
    }
    let mut parked = Connection::new(broker, &wire::connect(Version::V5, "parked"));
    parked.subscribe(&["k/#"], None);
    let large = format!("PUBLISH k/parked {} 1 retain", String::from_utf8_lossy(&LARGE));
    parked.takes(&[&large]);
}

fn queues_are_there(broker: &Sluice) {
    let mut queued = Connection::again(broker, &queued());
    let wanted = [
        "PUBLISH urgent/3 three 1 ids [7]",
        "PUBLISH q/1 one 2 ids [7]",
        "PUBLISH q/2 two 3 retain ids [7] expires properties [(\"name\", \"value\")]",
        "PUBLISH q/4 four 4 ids [7]",
        "PUBLISH q/6 six 5 ids [7]",
        "PUBLISH q/lasting gone 6 ids [7]",
        "PUBLISH q/delayed delayed 7 ids [7]",
    ];
    queued.takes(&wanted);
    let mut second = Connection::again(broker, &lasting(Version::V311, "second"));
    let wanted = [
        "PUBLISH q/2 two 2 again",
        "PUBLISH q/4 four 3",
        "PUBLISH q/6 six 4",
        "PUBLISH q/lasting gone 5",
        "PUBLISH q/delayed delayed 6",
    ];
    second.takes(&wanted);
}

fn flights_are_there(broker: &Sluice) {
    let mut flying = Connection::again(broker, &lasting(Version::V5, "flying"));
    let wanted = [
        "PUBLISH f/kept kept 1 again retain",
        "PUBLISH f/1 one 2 again",
        "PUBLISH f/2 two 3 again",
        "PUBREL 4",
    ];
    flying.takes(&wanted);
    let mut lost = Connection::again(broker, &lasting(Version::V5, "lost"));
    lost.takes(&["PUBREL 1"]);
}

fn groups_are_there(broker: &Sluice) {
    let mut worker = Connection::again(broker, &lasting(Version::V5, WORKERS[0]));
    worker.takes(&["PUBLISH w/1 task 1 1 again", "PUBLISH w/2 task 2 2", "PUBLISH w/3 task 3 3"]);
    let mut worker = Connection::again(broker, &lasting(Version::V5, WORKERS[1]));
    worker.takes(&[]);
}

fn retained_are_there(broker: &Sluice) {
    let mut client = Connection::new(broker, &wire::connect(Version::V5, "reader"));
    client.subscribe(&["r/#"], None);
    let wanted =
        ["PUBLISH r/1 first 1 retain", "PUBLISH r/2 new 2 retain", "PUBLISH r/dying dead 3 retain"];
    client.takes(&wanted);
}

/// One connection of a client of this scenario.
struct Connection {
    client: Client,
    resumed: bool,
    /// Kind and identifier of the packet that came last.
    last: (char, u16),
    /// Packets that came before a SUBACK.
    early: VecDeque<(String, (char, u16))>,
}

impl Connection {
    fn new(broker: &Sluice, connect: &Connect<'_>) -> Connection {
        let mut client = Client::open(broker.address("tcp"), connect.version);
        client.send(&Packet::Connect(Box::new(connect.clone())));
        let resumed = client.expect(|packet| match packet {
            Packet::ConnAck(ack) if ack.reason == Reason::Success => Some(ack.session_present),
            _ => None,
        });
        Connection { client, resumed, last: (' ', 0), early: VecDeque::new() }
    }

    /// The client comes back to its Session.
    #[track_caller]
    fn again(broker: &Sluice, connect: &Connect<'_>) -> Connection {
        let connection = Connection::new(broker, connect);
        assert!(connection.resumed, "no Session of {}", connect.client_id);
        connection
    }

    /// Subscribes at `QoS` 2, with RETAIN as published.
    fn subscribe(&mut self, filters: &[&str], subscription_id: Option<u32>) {
        let version5 = subscription_id.is_some();
        let options = SubscribeOptions {
            qos: QoS::ExactlyOnce,
            retain_as_published: version5,
            ..SubscribeOptions::default()
        };
        self.client.send(&Packet::Subscribe(Subscribe {
            rest: &[],
            packet_id: PacketId::MIN,
            subscription_id: subscription_id.and_then(NonZeroU32::new),
            user_properties: Properties::EMPTY,
            filters: filters.iter().map(|filter| (*filter, options)).collect(),
        }));
        // What is retained may come before the answer.
        loop {
            let came = self.client.expect(|packet| match packet {
                Packet::SubAck(ack) if ack.reasons.iter().any(|reason| reason.is_error()) => None,
                Packet::SubAck(_) => Some(None),
                packet => Some(Some(words(packet))),
            });
            match came {
                Some(early) => self.early.push_back(early),
                None => return,
            }
        }
    }

    /// Publishes, and sees it acknowledged.
    fn publish(&mut self, publish: &Publish<'_>) {
        self.client.send(&Packet::Publish(publish.clone()));
        match publish.qos {
            QoS::ExactlyOnce => {
                assert_eq!(self.next(), "PUBREC 1");
                self.send(Packet::PubRel, 1);
                assert_eq!(self.next(), "PUBCOMP 1");
            }
            _ => assert_eq!(self.next(), "PUBACK 1"),
        }
    }

    fn send(&mut self, kind: impl Fn(Ack<'static>) -> Packet<'static>, id: u16) {
        let id = PacketId::new(id).expect("an identifier");
        self.client.send(&kind(Ack::new(id, Reason::Success)));
    }

    /// The next packet, in words.
    #[track_caller]
    fn next(&mut self) -> String {
        let early = self.early.pop_front();
        let (words, last) =
            early.unwrap_or_else(|| self.client.expect(|packet| Some(words(packet))));
        self.last = last;
        words
    }

    /// Answers the packet that came last.
    fn answer(&mut self) {
        match self.last {
            ('1', id) => self.send(Packet::PubAck, id),
            ('2', id) => self.send(Packet::PubRec, id),
            ('r', id) => self.send(Packet::PubComp, id),
            _ => {}
        }
    }

    /// What comes is `wanted`, and nothing else; all of it is answered.
    #[track_caller]
    fn takes(&mut self, wanted: &[&str]) {
        let (mut found, mut releases) = (Vec::new(), 0);
        while found.len() < wanted.len() || releases > 0 {
            let words = self.next();
            match self.last.0 {
                '2' => releases += 1,
                'r' if releases > 0 && !wanted.contains(&&*words) => {
                    releases -= 1;
                    self.answer();
                    continue;
                }
                _ => {}
            }
            self.answer();
            found.push(words);
        }
        // The identifiers tell the order; what is sent at QoS 2 waits for the store, and is overtaken.
        let mut wanted = wanted.to_vec();
        found.sort();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
        self.client.send(&Packet::PingReq);
        assert_eq!(self.next(), "PINGRESP");
    }

    /// Ends its Session.
    fn ends(&mut self) {
        self.client.send(&Packet::Disconnect(Disconnect::default()));
        self.client.closed();
    }
}

/// A packet in words, and what it wants to be answered with.
fn words(packet: &Packet<'_>) -> (String, (char, u16)) {
    match packet {
        Packet::Publish(publish) => {
            let id = publish.packet_id.map_or(0, PacketId::get);
            let kind = [' ', '1', '2'][publish.qos as usize];
            (published(publish, id), (kind, id))
        }
        Packet::PubAck(ack) => (format!("PUBACK {}", ack.packet_id), (' ', 0)),
        Packet::PubRec(ack) => (format!("PUBREC {}", ack.packet_id), (' ', 0)),
        Packet::PubRel(ack) => (format!("PUBREL {}", ack.packet_id), ('r', ack.packet_id.get())),
        Packet::PubComp(ack) => (format!("PUBCOMP {}", ack.packet_id), (' ', 0)),
        Packet::PingResp => ("PINGRESP".to_owned(), (' ', 0)),
        other => panic!("something else came: {other:?}"),
    }
}

fn published(publish: &Publish<'_>, id: u16) -> String {
    let mut words =
        format!("PUBLISH {} {} {id}", publish.topic, String::from_utf8_lossy(publish.payload));
    let mut add = |there: bool, word: &str| {
        if there {
            words.push(' ');
            words.push_str(word);
        }
    };
    add(publish.dup, "again");
    add(publish.retain, "retain");
    let ids = publish.properties.subscription_ids();
    add(!ids.is_empty(), &format!("ids {ids:?}"));
    // Some of it has passed.
    add(publish.expiry.is_some_and(|left| left < u32::MAX), "expires");
    let properties = publish.properties.user_properties();
    add(!properties.is_empty(), &format!("properties {properties:?}"));
    words
}

/// A client with a Session that never expires.
fn lasting(version: Version, client_id: &str) -> Connect<'_> {
    Connect { clean_start: false, session_expiry: u32::MAX, ..wire::connect(version, client_id) }
}

fn queued() -> Connect<'static> {
    Connect { user_name: Some("user"), ..lasting(Version::V5, "queued") }
}

fn publish<'a>(topic: &'a str, qos: QoS, payload: &'a [u8]) -> Publish<'a> {
    Publish { qos, ..wire::message(topic, payload) }
}

/// What `publishing` has sent once, and sends again.
fn received(dup: bool) -> Publish<'static> {
    let packet_id = PacketId::new(9);
    Publish { dup, packet_id, ..publish("q/6", QoS::ExactlyOnce, b"six") }
}

fn will<'a>(topic: &'a str, payload: &'a [u8]) -> Will<'a> {
    Will { qos: QoS::AtLeastOnce, topic, payload, ..Will::default() }
}

/// One User Property.
const PROPERTIES: &[u8] = b"\x26\x00\x04name\x00\x05value";

/// Retained messages that are owed.
const OWED: [&str; 3] = ["o/1", "o/2", "o/3"];

/// A Will that does not stay in memory while its client is away.
const LARGE: [u8; 600] = [b'w'; 600];

const WORKERS: [&str; 2] = ["worker-1", "worker-2"];
