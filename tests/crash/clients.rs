//! Clients that keep their side of a Session while the broker dies: what they have not seen
//! acknowledged they send again, and what they know by its Packet Identifier they take once.

use std::collections::{BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::Sender;
use std::time::Duration;

use sluicemq::codec::{
    Ack, Connect, Packet, PacketId, Properties, Publish, QoS, Reason, Version, Will,
};

use crate::wire::{connect, decoded, encoded, frame, subscribe};

/// How long an answer may take before a test fails. Nothing waits so long when all is well.
const DEADLINE: Duration = Duration::from_secs(60);
/// Messages in flight to the broker at once.
const WINDOW: usize = 16;

/// A connection that may end at any byte.
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Wire {
    /// Connects, and says whether the Session was there; nothing if the broker dies first.
    fn connect(at: SocketAddr, connect: &Connect<'_>) -> Option<(Wire, bool)> {
        let stream = TcpStream::connect(at).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        stream.set_nodelay(true).ok()?;
        let mut wire = Wire { stream, unread: Vec::new() };
        wire.send(&Packet::Connect(Box::new(connect.clone())));
        let bytes = wire.next()?;
        match decoded(&bytes, Version::V5) {
            Packet::ConnAck(connack) => {
                assert_eq!(connack.reason, Reason::Success);
                Some((wire, connack.session_present))
            }
            other => panic!("not CONNACK: {other:?}"),
        }
    }

    fn send(&mut self, packet: &Packet<'_>) {
        // That the broker has died is seen by who reads.
        let _ = self.stream.write_all(&encoded(packet, Version::V5));
    }

    /// The next packet; nothing if the broker has died, in the middle of one or not.
    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(len) = frame(&self.unread) {
                return Some(self.unread.drain(..len).collect());
            }
            let mut buf = [0; 16 * 1024];
            match self.stream.read(&mut buf) {
                Ok(0) => return None,
                Ok(n) => self.unread.extend_from_slice(&buf[..n]),
                Err(error) => {
                    let late = std::io::ErrorKind::WouldBlock;
                    assert!(error.kind() != late, "no answer within {DEADLINE:?}");
                    return None;
                }
            }
        }
    }
}

/// What is published, each kind numbered by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    Once,
    Exactly,
    Retained,
}

impl Class {
    fn qos(self) -> QoS {
        if self == Class::Exactly { QoS::ExactlyOnce } else { QoS::AtLeastOnce }
    }

    /// The topic of a publisher's messages.
    pub fn topic(self, name: &str) -> String {
        match self {
            Class::Once => format!("load/1/{name}"),
            Class::Exactly => format!("load/2/{name}"),
            Class::Retained => format!("retained/{name}"),
        }
    }
}

/// Publishes numbers, each until it is acknowledged.
pub struct Publisher {
    pub name: String,
    /// The next number of each class.
    pub next: [u64; 3],
    flights: VecDeque<Flight>,
    last_id: u16,
    turn: u64,
    connected_before: bool,
}

struct Flight {
    id: PacketId,
    class: Class,
    number: u64,
    /// PUBREC seen.
    released: bool,
}

impl Publisher {
    pub fn new(name: String) -> Publisher {
        let (flights, connected_before) = (VecDeque::new(), false);
        Publisher { name, next: [0; 3], flights, last_id: 0, turn: 0, connected_before }
    }

    /// Publishes until the broker dies, with a Will that says `round`; tells each acknowledgement.
    pub fn publish(&mut self, at: SocketAddr, round: usize, ready: &Sender<()>, acks: &Sender<()>) {
        let payload = round.to_string();
        let topic = format!("will/{}", self.name);
        let will = Will {
            qos: QoS::ExactlyOnce,
            retain: false,
            delay: 0,
            expiry: None,
            topic: &topic,
            payload: payload.as_bytes(),
            properties: Properties::EMPTY,
        };
        let Some(mut wire) = self.connect(at, Some(will)) else {
            panic!("the broker was to die later")
        };
        let _ = ready.send(());
        loop {
            while self.flights.len() < WINDOW {
                self.publish_next(&mut wire);
            }
            let Some(bytes) = wire.next() else { return };
            if self.answered(&bytes, &mut wire) {
                let _ = acks.send(());
            }
        }
    }

    /// Sends what is not acknowledged until all is.
    pub fn finish(&mut self, at: SocketAddr) {
        let (mut wire, _) = (self.connect(at, None).expect("a broker that lives"), ());
        while !self.flights.is_empty() {
            let bytes = wire.next().expect("a broker that lives");
            self.answered(&bytes, &mut wire);
        }
        wire.send(&Packet::Disconnect(Default::default()));
    }

    fn connect(&mut self, at: SocketAddr, will: Option<Will<'_>>) -> Option<Wire> {
        let connect = Connect {
            clean_start: false,
            session_expiry: 3600,
            will,
            ..connect(Version::V5, &self.name)
        };
        let (mut wire, present) = Wire::connect(at, &connect)?;
        assert_eq!(present, self.connected_before, "{}: Session Present", self.name);
        self.connected_before = true;
        for flight in &self.flights {
            if flight.released {
                wire.send(&Packet::PubRel(Ack::new(flight.id, Reason::Success)));
            } else {
                self.send(flight, true, &mut wire);
            }
        }
        Some(wire)
    }

    fn publish_next(&mut self, wire: &mut Wire) {
        self.turn += 1;
        let class = match self.turn % 20 {
            0 => Class::Retained,
            turn if turn % 2 == 0 => Class::Once,
            _ => Class::Exactly,
        };
        let number = self.next[class as usize];
        self.next[class as usize] += 1;
        let id = loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let id = PacketId::new(self.last_id).expect("above 0");
            if self.flights.iter().all(|flight| flight.id != id) {
                break id;
            }
        };
        let flight = Flight { id, class, number, released: false };
        self.send(&flight, false, wire);
        self.flights.push_back(flight);
    }

    fn send(&self, flight: &Flight, dup: bool, wire: &mut Wire) {
        let payload = flight.number.to_string();
        wire.send(&Packet::Publish(Publish {
            dup,
            qos: flight.class.qos(),
            retain: flight.class == Class::Retained,
            topic: &flight.class.topic(&self.name),
            packet_id: Some(flight.id),
            payload: payload.as_bytes(),
            ..Publish::default()
        }));
    }

    /// Takes an answer; returns whether it is the last of its message.
    fn answered(&mut self, bytes: &[u8], wire: &mut Wire) -> bool {
        let (ack, wanted) = match decoded(bytes, Version::V5) {
            Packet::PubAck(ack) | Packet::PubComp(ack) => (ack, None),
            Packet::PubRec(ack) => (ack, Some(())),
            other => panic!("no answer to a PUBLISH: {other:?}"),
        };
        let index = self.flights.iter().position(|flight| flight.id == ack.packet_id);
        let Some(index) = index else { panic!("{}: an answer to nothing: {ack:?}", self.name) };
        if wanted.is_some() {
            let fine = [Reason::Success, Reason::NoMatchingSubscribers];
            assert!(fine.contains(&ack.reason), "{ack:?}");
            self.flights[index].released = true;
            wire.send(&Packet::PubRel(Ack::new(ack.packet_id, Reason::Success)));
            return false;
        }
        // A PUBREL is answered so if its PUBCOMP was lost.
        let gone = ack.reason == Reason::PacketIdentifierNotFound && self.flights[index].released;
        let fine = [Reason::Success, Reason::NoMatchingSubscribers];
        assert!(gone || fine.contains(&ack.reason), "{ack:?}");
        self.flights.remove(index);
        true
    }
}

/// Takes messages and remembers them.
pub struct Subscriber {
    name: String,
    /// Topics and payloads, in the order in which they came.
    pub got: Vec<(String, String)>,
    unreleased: BTreeSet<PacketId>,
    subscribed: bool,
}

impl Subscriber {
    pub fn new(name: &str) -> Subscriber {
        let (got, unreleased) = (Vec::new(), BTreeSet::new());
        Subscriber { name: name.to_owned(), got, unreleased, subscribed: false }
    }

    /// Connects and subscribes; nothing if the broker dies first.
    pub fn connect(&mut self, at: SocketAddr) -> Option<Wire> {
        let connect = Connect {
            clean_start: false,
            session_expiry: 3600,
            ..connect(Version::V5, &self.name)
        };
        let (mut wire, present) = Wire::connect(at, &connect)?;
        assert!(present || !self.subscribed, "{}: the Session is gone", self.name);
        if !self.subscribed {
            wire.send(&subscribe(&["load/#", "will/#", "end"], QoS::ExactlyOnce));
            while !matches!(decoded(&wire.next()?, Version::V5), Packet::SubAck(_)) {}
            self.subscribed = true;
        }
        Some(wire)
    }

    /// Takes what comes until the broker dies or the topic `end` has come.
    pub fn take(&mut self, wire: &mut Wire) {
        while let Some(bytes) = wire.next() {
            match decoded(&bytes, Version::V5) {
                Packet::Publish(publish) => {
                    let text = String::from_utf8_lossy(publish.payload).into_owned();
                    let topic = publish.topic.to_owned();
                    let success = Reason::Success;
                    match (publish.qos, publish.packet_id) {
                        (QoS::ExactlyOnce, Some(id)) => {
                            if self.unreleased.insert(id) {
                                self.got.push((topic.clone(), text));
                            }
                            wire.send(&Packet::PubRec(Ack::new(id, success)));
                        }
                        (_, Some(id)) => {
                            self.got.push((topic.clone(), text));
                            wire.send(&Packet::PubAck(Ack::new(id, success)));
                        }
                        (_, None) => panic!("QoS 0 was not published"),
                    }
                    if topic == "end" {
                        return;
                    }
                }
                Packet::PubRel(ack) => {
                    self.unreleased.remove(&ack.packet_id);
                    wire.send(&Packet::PubComp(Ack::new(ack.packet_id, Reason::Success)));
                }
                other => panic!("{}: {other:?}", self.name),
            }
        }
    }

    /// Numbers that came on a topic, in order.
    pub fn numbers(&self, topic: &str) -> Vec<u64> {
        let on_it = self.got.iter().filter(|(on, _)| on == topic);
        on_it.map(|(_, text)| text.parse().expect("a number")).collect()
    }
}
