//! Clients that do as MQTT asks of them, whatever happens to the broker: what was not answered is
//! sent again, what was taken once is not taken again. They count what they were told.
#![allow(dead_code)] // Each test file uses its part.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use sluicemq::codec::{Ack, Connect, Packet, PacketId, Publish, QoS, Reason, Version, Will};

use crate::brittle::Wire;
use crate::random::Random;
use crate::wire::{self, decoded, subscribe};

/// What is published, each kind numbered by itself.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Class {
    Once,
    Exactly,
    Retained,
}

impl Class {
    pub const ALL: [Class; 3] = [Class::Once, Class::Exactly, Class::Retained];

    fn qos(self) -> QoS {
        if self == Class::Exactly { QoS::ExactlyOnce } else { QoS::AtLeastOnce }
    }

    /// The topic of a publisher's messages.
    pub fn topic(self, name: &str) -> String {
        let class = match self {
            Class::Once => "once",
            Class::Exactly => "exactly",
            Class::Retained => "retained",
        };
        format!("load/{class}/{name}")
    }
}

/// Publishes numbers and remembers what was said of each.
pub struct Publisher {
    pub name: String,
    pub version: Version,
    /// Bytes of a payload beside its number.
    ballast: usize,
    next: BTreeMap<Class, u64>,
    /// By class: what was acknowledged, and what was refused.
    pub acknowledged: BTreeSet<(Class, u64)>,
    pub refused: BTreeSet<(Class, u64)>,
    flights: VecDeque<Flight>,
    last_id: u16,
    turn: u64,
    connected_before: bool,
    /// Answers that end a message, in order, each with how often it came.
    pub answers: Vec<(Reason, u64)>,
}

struct Flight {
    id: PacketId,
    class: Class,
    number: u64,
    /// PUBREC came.
    released: bool,
}

/// What became of one message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    Acknowledged,
    Refused,
}

impl Publisher {
    pub fn new(name: &str, version: Version, ballast: usize) -> Publisher {
        Publisher {
            name: name.to_owned(),
            version,
            ballast,
            next: Class::ALL.map(|class| (class, 0)).into(),
            acknowledged: BTreeSet::new(),
            refused: BTreeSet::new(),
            flights: VecDeque::new(),
            last_id: 0,
            turn: 0,
            connected_before: false,
            answers: Vec::new(),
        }
    }

    /// Connects, with a Will that says `round`, and sends again what was not answered.
    pub fn connect(&mut self, at: SocketAddr, round: Option<usize>) -> Option<Wire> {
        let payload = round.unwrap_or_default().to_string();
        let topic = format!("will/{}", self.name);
        let will = round.map(|_| Will {
            qos: QoS::ExactlyOnce,
            topic: &topic,
            payload: payload.as_bytes(),
            ..Will::default()
        });
        let (mut wire, present) = connect(at, self.version, &self.name, will)?;
        assert!(present || !self.connected_before, "{}: the Session is gone", self.name);
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

    /// Publishes, `window` messages at once, as long as `goes_on`, which is asked after what
    /// became of each, and then until all is answered. False: the broker has gone.
    pub fn publish(
        &mut self,
        wire: &mut Wire,
        window: usize,
        mut goes_on: impl FnMut(Fate) -> bool,
    ) -> bool {
        let mut going = window > 0;
        loop {
            while going && self.flights.len() < window {
                self.publish_next(wire);
            }
            if self.flights.is_empty() {
                return true;
            }
            let Some(bytes) = wire.next() else { return false };
            if let Some(fate) = self.answered(&bytes, wire) {
                going = going && goes_on(fate);
            }
        }
    }

    /// Messages that were sent and neither acknowledged nor refused.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// The newest retained message: the last that was acknowledged.
    pub fn retained(&self) -> Option<u64> {
        let numbers = self.acknowledged.iter().filter(|(class, _)| *class == Class::Retained);
        numbers.map(|(_, number)| *number).max()
    }

    fn publish_next(&mut self, wire: &mut Wire) {
        self.turn += 1;
        let class = match self.turn % 20 {
            0 => Class::Retained,
            turn if turn % 2 == 0 => Class::Once,
            _ => Class::Exactly,
        };
        let next = self.next.get_mut(&class).expect("every class has one");
        let number = *next;
        *next += 1;
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
        let payload = format!("{} {}", flight.number, letters(flight.number, self.ballast));
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

    /// Takes an answer: the fate of its message, if that is settled now.
    fn answered(&mut self, bytes: &[u8], wire: &mut Wire) -> Option<Fate> {
        let (ack, last) = match decoded(bytes, self.version) {
            Packet::PubAck(ack) | Packet::PubComp(ack) => (ack, true),
            Packet::PubRec(ack) => (ack, false),
            other => panic!("{}: no answer to a PUBLISH: {other:?}", self.name),
        };
        let index = self.flights.iter().position(|flight| flight.id == ack.packet_id);
        let Some(index) = index else { panic!("{}: an answer to nothing: {ack:?}", self.name) };
        let flight = &mut self.flights[index];
        // A PUBREL is answered so if its PUBCOMP was lost.
        let gone = ack.reason == Reason::PacketIdentifierNotFound && flight.released;
        let fate = match ack.reason {
            Reason::Success | Reason::NoMatchingSubscribers => Fate::Acknowledged,
            Reason::QuotaExceeded if !flight.released => Fate::Refused,
            _ if gone => Fate::Acknowledged,
            _ => panic!("{}: {ack:?}", self.name),
        };
        if fate == Fate::Acknowledged && !last {
            flight.released = true;
            wire.send(&Packet::PubRel(Ack::new(ack.packet_id, Reason::Success)));
            return None;
        }
        let settled = (flight.class, flight.number);
        self.flights.remove(index);
        match self.answers.last_mut() {
            Some((reason, count)) if *reason == ack.reason => *count += 1,
            _ => self.answers.push((ack.reason, 1)),
        }
        match fate {
            Fate::Acknowledged => self.acknowledged.insert(settled),
            Fate::Refused => self.refused.insert(settled),
        };
        Some(fate)
    }
}

/// So many letters that cannot be made much shorter.
fn letters(number: u64, len: usize) -> String {
    let mut random = Random::new(number);
    let mut letter = || char::from(b'@' + random.below(62) as u8);
    (0..len).map(|_| letter()).collect()
}

/// Takes messages and remembers them.
#[derive(Clone)]
pub struct Subscriber {
    pub name: String,
    version: Version,
    /// By topic: the numbers that came, in order.
    pub got: BTreeMap<String, Vec<u64>>,
    pub count: usize,
    unreleased: BTreeSet<PacketId>,
    subscribed: bool,
}

impl Subscriber {
    pub fn new(name: &str, version: Version) -> Subscriber {
        Subscriber {
            name: name.to_owned(),
            version,
            got: BTreeMap::new(),
            count: 0,
            unreleased: BTreeSet::new(),
            subscribed: false,
        }
    }

    /// Connects, and subscribes if it has not yet. None: the broker has gone.
    pub fn connect(&mut self, at: SocketAddr) -> Option<Wire> {
        let (mut wire, present) = connect(at, self.version, &self.name, None)?;
        assert!(present || !self.subscribed, "{}: the Session is gone", self.name);
        if !self.subscribed {
            wire.send(&subscribe(&["load/#", "will/#", "end"], QoS::ExactlyOnce));
            while !matches!(decoded(&wire.next()?, self.version), Packet::SubAck(_)) {}
            self.subscribed = true;
        }
        Some(wire)
    }

    /// Takes what comes until `enough`, which is asked after each message, or until the broker has
    /// gone: then false.
    pub fn take(&mut self, wire: &mut Wire, mut enough: impl FnMut(&Subscriber) -> bool) -> bool {
        while let Some(bytes) = wire.next() {
            match decoded(&bytes, self.version) {
                Packet::Publish(publish) => {
                    match (publish.qos, publish.packet_id) {
                        (QoS::ExactlyOnce, Some(id)) => {
                            if self.unreleased.insert(id) {
                                self.note(&publish);
                            }
                            wire.send(&Packet::PubRec(Ack::new(id, Reason::Success)));
                        }
                        (_, Some(id)) => {
                            self.note(&publish);
                            wire.send(&Packet::PubAck(Ack::new(id, Reason::Success)));
                        }
                        (_, None) => panic!("{}: QoS 0 was not published", self.name),
                    }
                    if enough(self) {
                        return true;
                    }
                }
                Packet::PubRel(ack) => {
                    self.unreleased.remove(&ack.packet_id);
                    wire.send(&Packet::PubComp(Ack::new(ack.packet_id, Reason::Success)));
                }
                other => panic!("{}: {other:?}", self.name),
            }
        }
        false
    }

    /// The same until the message `round` on the topic `end`.
    #[track_caller]
    pub fn take_all(&mut self, wire: &mut Wire, round: usize) {
        let has_ended = |taken: &Subscriber| taken.numbers("end").last() == Some(&(round as u64));
        assert!(self.take(wire, has_ended), "{}: the broker has gone", self.name);
    }

    /// Numbers that came on a topic, in order.
    pub fn numbers(&self, topic: &str) -> &[u64] {
        self.got.get(topic).map_or(&[], Vec::as_slice)
    }

    fn note(&mut self, publish: &Publish<'_>) {
        let text = std::str::from_utf8(publish.payload).expect("text");
        let number = text.split(' ').next().and_then(|number| number.parse().ok());
        let numbers = self.got.entry(publish.topic.to_owned()).or_default();
        numbers.push(number.expect("a number"));
        self.count += 1;
    }
}

/// Connects for a Session that lasts; whether it was there. None: the broker has gone.
pub fn connect(
    at: SocketAddr,
    version: Version,
    name: &str,
    will: Option<Will<'_>>,
) -> Option<(Wire, bool)> {
    let session_expiry = if version == Version::V5 { 3600 } else { 0 };
    let asks = wire::connect(version, name);
    Wire::connect(at, &Connect { clean_start: false, session_expiry, will, ..asks })
}

/// Says `round` on the topic `end`, at `QoS` 2: one of `QoS` 1 would overtake those.
pub fn end(at: SocketAddr, round: usize) {
    let connected = connect(at, Version::V5, "end", None);
    let (mut wire, _) = connected.expect("a broker that lives");
    let payload = round.to_string();
    wire.send(&Packet::Publish(Publish {
        qos: QoS::ExactlyOnce,
        topic: "end",
        packet_id: Some(PacketId::MIN),
        payload: payload.as_bytes(),
        ..Publish::default()
    }));
    loop {
        match decoded(&wire.next().expect("a broker that lives"), Version::V5) {
            Packet::PubRec(ack) => wire.send(&Packet::PubRel(Ack::new(ack.packet_id, ack.reason))),
            Packet::PubComp(_) => return,
            other => panic!("{other:?}"),
        }
    }
}

/// Retained messages: topics and numbers.
pub fn retained(at: SocketAddr, count: usize) -> BTreeMap<String, u64> {
    let mut taker = Subscriber::new("retained", Version::V5);
    let mut wire = crate::wire::Client::connect(at, Version::V5, &taker.name);
    wire.subscribe(&["load/retained/#"], QoS::AtLeastOnce);
    while taker.count < count {
        let (topic, payload) = wire.message();
        let text = String::from_utf8(payload).expect("text");
        let number = text.split(' ').next().and_then(|number| number.parse().ok());
        taker.got.entry(topic).or_default().push(number.expect("a number"));
        taker.count += 1;
    }
    wire.goodbye();
    taker.got.into_iter().map(|(topic, numbers)| (topic, numbers[0])).collect()
}

/// What went wrong between publishers and a subscriber.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wrong {
    /// Acknowledged, and did not come.
    pub lost: usize,
    /// Came twice, at `QoS` 2.
    pub doubled: usize,
    /// Came before one that was published before it, at the first coming of each.
    pub disordered: usize,
    /// Refused, and came.
    pub refused: usize,
    /// Wills that did not come, or came twice.
    pub wills: usize,
}

impl Wrong {
    /// Compares what came to `subscriber` with what `publisher` was told; its Will is due `wills`
    /// times.
    pub fn compare(&mut self, subscriber: &Subscriber, publisher: &Publisher, wills: usize) {
        for class in Class::ALL {
            let came = subscriber.numbers(&class.topic(&publisher.name));
            let mut seen = BTreeSet::new();
            for number in came {
                let disordered = seen.last().is_some_and(|last| last > number);
                let first = seen.insert(*number);
                self.disordered += usize::from(first && disordered);
                self.doubled += usize::from(!first && class == Class::Exactly);
                self.refused += usize::from(publisher.refused.contains(&(class, *number)));
            }
            let told = publisher.acknowledged.iter().filter(|(of, _)| *of == class);
            self.lost += told.filter(|(_, number)| !seen.contains(number)).count();
        }
        let came = subscriber.numbers(&format!("will/{}", publisher.name));
        let once: BTreeSet<_> = came.iter().collect();
        self.wills += came.len() - once.len() + wills.abs_diff(once.len());
    }
}
