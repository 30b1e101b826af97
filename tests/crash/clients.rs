//! Clients that keep their side of a Session while the broker dies: what they have not seen
//! acknowledged they send again, and what they know by its Packet Identifier they take once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluicemq::codec::{Ack, Connect, Packet, PacketId, Publish, QoS, Reason, Version, Will};

use super::streams::Streams;
use super::watch::Watch;
use crate::brittle::Wire;
use crate::wire::{connect, decoded, subscribe};

/// What is published, each kind numbered by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    Once,
    Exactly,
    /// Retained, at `QoS` 1 and 2.
    State,
    StateExactly,
    /// Delayed.
    Late,
    /// With a key: sent again as another message after each kill.
    Keyed,
}

impl Class {
    pub const ALL: [Class; CLASSES] =
        [Class::Once, Class::Exactly, Class::State, Class::StateExactly, Class::Late, Class::Keyed];

    fn qos(self) -> QoS {
        match self {
            Class::Once | Class::State => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    /// The messages that all subscribers are to get, in their order.
    pub fn is_load(self) -> bool {
        matches!(self, Class::Once | Class::Exactly)
    }

    /// Those that come when they are due, or whose repeats do not come.
    pub fn is_work(self) -> bool {
        matches!(self, Class::Late | Class::Keyed)
    }

    pub fn retained(self) -> bool {
        matches!(self, Class::State | Class::StateExactly)
    }

    /// The topic of a publisher's messages.
    pub fn topic(self, name: &str) -> String {
        match self {
            Class::Once => format!("load/1/{name}"),
            Class::Exactly => format!("load/2/{name}"),
            Class::State => format!("state/1/{name}"),
            Class::StateExactly => format!("state/2/{name}"),
            Class::Late => format!("late/{name}"),
            Class::Keyed => format!("keyed/{name}"),
        }
    }

    /// The topic that they are published to.
    fn sent_to(self, name: &str, number: u64) -> String {
        match self {
            Class::Late => format!("$delayed/{}ms/{}", span(number).as_millis(), self.topic(name)),
            _ => self.topic(name),
        }
    }

    /// Whether the message of that number deletes the retained one.
    pub fn deletes(self, number: u64) -> bool {
        self.retained() && number % 5 == 4
    }
}

/// Publishes numbers, each until it is acknowledged.
pub struct Publisher {
    pub name: String,
    version: Version,
    pub will: WillKind,
    /// Messages in flight at once, and PUBRELs owed at once.
    window: usize,
    owed_max: usize,
    /// By class: the next number, and one above the last that was acknowledged: PUBACK or PUBREC.
    pub next: [u64; CLASSES],
    pub acknowledged: [u64; CLASSES],
    flights: VecDeque<Flight>,
    /// PUBREC has come, PUBREL is still to be sent: in their order.
    owed: VecDeque<PacketId>,
    last_id: u16,
    turn: u64,
    connected_before: bool,
    /// What it sent again after the broker had died.
    pub again: Again,
}

/// The Will of a publisher.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WillKind {
    Plain,
    Retained,
    /// So long after the connection that the client is back before.
    Late,
}

/// Packets sent on a later connection than the one they were first due on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Again {
    pub publishes: u64,
    /// With a key, as new messages.
    pub repeats: u64,
    /// For the first time on the new connection.
    pub first_pubrels: u64,
    pub pubrels: u64,
}

impl std::ops::AddAssign for Again {
    fn add_assign(&mut self, other: Again) {
        self.publishes += other.publishes;
        self.repeats += other.repeats;
        self.first_pubrels += other.first_pubrels;
        self.pubrels += other.pubrels;
    }
}

struct Flight {
    id: PacketId,
    class: Class,
    number: u64,
    /// PUBREC seen.
    received: bool,
}

impl Publisher {
    pub fn new(name: String, version: Version, will: WillKind, window: usize) -> Publisher {
        Publisher {
            name,
            version,
            will,
            window,
            owed_max: window / 2,
            next: [0; CLASSES],
            acknowledged: [0; CLASSES],
            flights: VecDeque::new(),
            owed: VecDeque::new(),
            last_id: 0,
            turn: 0,
            connected_before: false,
            again: Again::default(),
        }
    }

    /// Publishes until the broker dies, with a Will that says `round`.
    pub fn publish(&mut self, at: SocketAddr, round: u64, watch: &Watch) {
        let payload = payload(round, false);
        let topic = self.will_topic();
        let will = Will {
            qos: QoS::ExactlyOnce,
            retain: self.will == WillKind::Retained,
            delay: if self.will == WillKind::Late { LASTS_S } else { 0 },
            topic: &topic,
            payload: payload.as_bytes(),
            ..Will::default()
        };
        let mut wire = self.connect(at, Some(will), watch);
        self.send_again_with_keys(&mut wire, watch);
        loop {
            let before = self.flights.len();
            while self.flights.len() < self.window {
                self.publish_next(&mut wire, watch);
            }
            let sent = (self.flights.len() - before) as u64;
            if sent > 0 {
                // Not before it is sent.
                wire.flush();
                watch.note(|state| state.in_flight += sent);
            }
            let Some(bytes) = wire.next() else { return };
            if let Packet::Disconnect(_) = decoded(&bytes, self.version) {
                return;
            }
            self.answered(&bytes, &mut wire, watch);
        }
    }

    /// Sends what is not acknowledged until all is.
    pub fn finish(&mut self, at: SocketAddr, watch: &Watch) {
        let mut wire = self.connect(at, None, watch);
        let owed_max = std::mem::replace(&mut self.owed_max, 0);
        while !self.flights.is_empty() {
            let bytes = wire.next().expect("a broker that lives");
            self.answered(&bytes, &mut wire, watch);
        }
        self.owed_max = owed_max;
        wire.send(&Packet::Disconnect(Default::default()));
        wire.flush();
    }

    pub fn will_topic(&self) -> String {
        format!("will/{}", self.name)
    }

    fn connect(&mut self, at: SocketAddr, will: Option<Will<'_>>, watch: &Watch) -> Wire {
        let connect = lasting(self.version, &self.name, will);
        let (mut wire, present) = greeted(at, &connect);
        assert_eq!(present, self.connected_before, "{}: Session Present", self.name);
        self.connected_before = true;
        for flight in &self.flights {
            if flight.received {
                wire.send(&Packet::PubRel(Ack::new(flight.id, Reason::Success)));
                self.again.pubrels += 1;
            } else {
                self.send(flight, true, &mut wire, watch);
                self.again.publishes += 1;
            }
        }
        self.again.first_pubrels += self.owed.len() as u64;
        self.owed.clear();
        wire.flush();
        watch.note(|state| {
            state.connected += 1;
            state.in_flight += self.flights.len() as u64;
        });
        wire
    }

    /// What it may have sent on the last connections, as new messages: it does not look at what was acknowledged.
    fn send_again_with_keys(&mut self, wire: &mut Wire, watch: &Watch) {
        let next = self.next[Class::Keyed as usize];
        let numbers = next.saturating_sub(OUTBOX)..next;
        let count = numbers.end - numbers.start;
        for number in numbers {
            let flight =
                Flight { id: self.free_id(), class: Class::Keyed, number, received: false };
            self.send(&flight, false, wire, watch);
            self.flights.push_back(flight);
        }
        self.again.repeats += count;
        wire.flush();
        watch.note(|state| state.in_flight += count);
    }

    fn free_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let id = PacketId::new(self.last_id).expect("above 0");
            if self.flights.iter().all(|flight| flight.id != id) {
                return id;
            }
        }
    }

    fn publish_next(&mut self, wire: &mut Wire, watch: &Watch) {
        self.turn += 1;
        let class = match self.turn % 20 {
            0 => Class::State,
            10 => Class::StateExactly,
            5 => Class::Late,
            15 => Class::Keyed,
            turn if turn % 2 == 0 => Class::Once,
            _ => Class::Exactly,
        };
        let number = self.next[class as usize];
        self.next[class as usize] += 1;
        let flight = Flight { id: self.free_id(), class, number, received: false };
        self.send(&flight, false, wire, watch);
        self.flights.push_back(flight);
    }

    fn send(&self, flight: &Flight, dup: bool, wire: &mut Wire, watch: &Watch) {
        if flight.class == Class::Late {
            watch.due.sent(flight.class.topic(&self.name), flight.number);
        }
        // Every third expires, and long after the test.
        let expires = self.version == Version::V5 && flight.number.is_multiple_of(3);
        let deletes = flight.class.deletes(flight.number);
        let payload = if deletes { String::new() } else { payload(flight.number, expires) };
        wire.send(&Packet::Publish(Publish {
            dup,
            qos: flight.class.qos(),
            retain: flight.class.retained(),
            topic: &flight.class.sent_to(&self.name, flight.number),
            packet_id: Some(flight.id),
            expiry: expires.then_some(LASTS_S),
            payload: payload.as_bytes(),
            ..Publish::default()
        }));
    }

    /// Takes an answer.
    fn answered(&mut self, bytes: &[u8], wire: &mut Wire, watch: &Watch) {
        let (ack, received) = match decoded(bytes, self.version) {
            Packet::PubAck(ack) | Packet::PubComp(ack) => (ack, false),
            Packet::PubRec(ack) => (ack, true),
            other => panic!("no answer to a PUBLISH: {other:?}"),
        };
        let index = self.flights.iter().position(|flight| flight.id == ack.packet_id);
        let Some(index) = index else { panic!("{}: an answer to nothing: {ack:?}", self.name) };
        let flight = &mut self.flights[index];
        // A PUBREL is answered so if its PUBCOMP was lost.
        let gone = ack.reason == Reason::PacketIdentifierNotFound && flight.received;
        let fine = [Reason::Success, Reason::NoMatchingSubscribers];
        assert!(gone || fine.contains(&ack.reason), "{}: {ack:?}", self.name);
        let acknowledged = &mut self.acknowledged[flight.class as usize];
        *acknowledged = flight.number.max(*acknowledged - u64::from(*acknowledged > 0)) + 1;
        if received {
            flight.received = true;
            self.owed.push_back(ack.packet_id);
            while self.owed.len() > self.owed_max {
                let id = self.owed.pop_front().expect("it is not empty");
                wire.send(&Packet::PubRel(Ack::new(id, Reason::Success)));
            }
            return;
        }
        self.flights.remove(index);
        watch.note(|state| {
            state.acknowledged += 1;
            state.in_flight -= 1;
        });
    }
}

/// How long the delayed message of that number is delayed.
pub fn span(number: u64) -> Duration {
    Duration::from_millis(number * 379 % 2_500)
}

/// Kinds of messages.
const CLASSES: usize = 6;
/// Messages with keys that are sent again.
const OUTBOX: u64 = 10;
/// So many of its messages a consumer of the named queue takes, and refuses the next.
const REFUSED_IN: u64 = 8;

/// Takes messages and remembers them.
pub struct Subscriber {
    pub name: &'static str,
    version: Version,
    qos: QoS,
    filters: &'static [&'static str],
    /// What came, to it or to its group.
    pub streams: Arc<Streams>,
    unreleased: BTreeSet<PacketId>,
    subscribed: bool,
    /// It refuses some: those come again.
    pub refuses: bool,
    came: u64,
    pub refused: u64,
}

impl Subscriber {
    pub fn new(
        name: &'static str,
        version: Version,
        qos: QoS,
        filters: &'static [&'static str],
    ) -> Subscriber {
        let (streams, unreleased) = (Arc::default(), BTreeSet::new());
        let (refuses, came, refused) = (false, 0, 0);
        Subscriber {
            name,
            version,
            qos,
            filters,
            streams,
            unreleased,
            subscribed: false,
            refuses,
            came,
            refused,
        }
    }

    /// Connects, and subscribes when it is the first time.
    pub fn connect(&mut self, at: SocketAddr) -> Wire {
        let (mut wire, present) = greeted(at, &lasting(self.version, self.name, None));
        assert_eq!(present, self.subscribed, "{}: Session Present", self.name);
        if !self.subscribed {
            for (filters, qos) in [(self.filters, self.qos), (&["end"], QoS::ExactlyOnce)] {
                wire.send(&subscribe(filters, qos));
                let bytes = wire.next().expect("a broker that lives");
                let answer = decoded(&bytes, self.version);
                let Packet::SubAck(suback) = &answer else { panic!("not SUBACK: {answer:?}") };
                assert!(suback.reasons.iter().all(|reason| !reason.is_error()), "{suback:?}");
            }
            self.subscribed = true;
        }
        wire
    }

    /// Takes what comes until the broker dies or the topic `end` has come.
    pub fn take(&mut self, wire: &mut Wire, watch: &Watch) {
        if self.filters.contains(&"late/#") {
            watch.due.back();
        }
        while let Some(bytes) = wire.next() {
            match decoded(&bytes, self.version) {
                Packet::Publish(publish) => {
                    let id = publish.packet_id.expect("QoS 0 was not published");
                    let exactly = publish.qos == QoS::ExactlyOnce;
                    let known = exactly && self.unreleased.contains(&id);
                    self.came += u64::from(!known && publish.topic != "end");
                    let refuses = self.refuses && !known && self.came.is_multiple_of(REFUSED_IN);
                    let refuses = refuses && publish.topic != "end";
                    let reason =
                        if refuses { Reason::ImplementationSpecificError } else { Reason::Success };
                    let ack = Ack::new(id, reason);
                    wire.send(&if exactly { Packet::PubRec(ack) } else { Packet::PubAck(ack) });
                    if refuses {
                        self.refused += 1;
                        continue;
                    }
                    if exactly && !self.unreleased.insert(id) {
                        continue;
                    }
                    if publish.topic == "end" {
                        wire.flush();
                        return;
                    }
                    let number = number(&publish, self.version);
                    if publish.topic.starts_with("late/") {
                        watch.due.came(publish.topic, number, span(number));
                    }
                    if self.streams.take(publish.topic, number, exactly) {
                        watch.note(|state| state.received += 1);
                    }
                }
                Packet::PubRel(ack) => {
                    self.unreleased.remove(&ack.packet_id);
                    wire.send(&Packet::PubComp(Ack::new(ack.packet_id, Reason::Success)));
                }
                Packet::Disconnect(_) => return,
                other => panic!("{}: {other:?}", self.name),
            }
        }
    }
}

/// Subscribes anew and returns what is retained: topics and numbers.
pub fn retained(at: SocketAddr, filters: &[&str]) -> BTreeMap<String, u64> {
    let (mut wire, _) = greeted(at, &connect(Version::V5, "looks"));
    wire.send(&subscribe(filters, QoS::AtLeastOnce));
    let mut found = BTreeMap::new();
    let mut asked = false;
    loop {
        let bytes = wire.next().expect("a broker that lives");
        let Packet::Publish(publish) = decoded(&bytes, Version::V5) else {
            if !std::mem::replace(&mut asked, true) {
                // What is retained on this topic comes after all that is retained on those.
                wire.send(&subscribe(&[MARK], QoS::AtLeastOnce));
            }
            continue;
        };
        let id = publish.packet_id.expect("QoS 0 was not published");
        wire.send(&Packet::PubAck(Ack::new(id, Reason::Success)));
        if publish.topic == MARK {
            wire.send(&Packet::Disconnect(Default::default()));
            wire.flush();
            return found;
        }
        assert!(publish.retain, "nobody publishes now");
        let before = found.insert(publish.topic.to_owned(), number(&publish, Version::V5));
        assert_eq!(before, None, "{} came twice", publish.topic);
    }
}

/// Asks the broker for a panic at `place`, at `QoS` 0: it may be this connection that it costs.
pub fn ask_for_a_panic(at: SocketAddr, place: &str) {
    let (mut wire, _) = greeted(at, &connect(Version::V5, "asks"));
    let topic = format!("sluice/fault/{place}");
    wire.send(&Packet::Publish(Publish { topic: &topic, ..Publish::default() }));
    wire.flush();
}

/// Publishes a message once, whatever it takes.
pub fn publish(at: SocketAddr, topic: &str, retain: bool) {
    let (mut wire, _) = greeted(at, &connect(Version::V5, "tells"));
    let qos = QoS::ExactlyOnce;
    let (packet_id, payload) = (Some(PacketId::MIN), payload(0, false));
    let payload = payload.as_bytes();
    let publish = Publish { qos, retain, topic, packet_id, payload, ..Publish::default() };
    wire.send(&Packet::Publish(publish));
    wire.next().expect("PUBREC");
    wire.send(&Packet::PubRel(Ack::new(PacketId::MIN, Reason::Success)));
    wire.next().expect("PUBCOMP");
}

/// What a message says: its number, whether it expires, and more the longer it is: mostly little, now
/// and then a good part of a segment.
fn payload(number: u64, expires: bool) -> String {
    let len = if number % 50 == 7 { 20_000 } else { (number as usize * 37) % 200 };
    format!("{number}{} {:x<len$}", if expires { " expires" } else { "" }, "")
}

/// The number that a message says, which is whole and expires if it says so.
fn number(publish: &Publish<'_>, version: Version) -> u64 {
    let text = std::str::from_utf8(publish.payload).expect("text");
    let number = text.split(' ').next().expect("a first word").parse().expect("a number");
    let expires = text.contains("expires");
    assert!(text == payload(number, expires), "{}: not what was published", publish.topic);
    if version == Version::V5 {
        let left = publish.expiry.is_some_and(|left| (1..=LASTS_S).contains(&left));
        assert_eq!(left, expires, "{} {number}: {:?}", publish.topic, publish.expiry);
    }
    number
}

/// Connects to a broker that lives; whether the Session was there.
fn greeted(at: SocketAddr, connect: &Connect<'_>) -> (Wire, bool) {
    Wire::connect(at, connect).expect("a broker that lives")
}

/// A CONNECT to a Session that lasts.
fn lasting<'a>(version: Version, name: &'a str, will: Option<Will<'a>>) -> Connect<'a> {
    let session_expiry = if version == Version::V5 { LASTS_S } else { u32::MAX };
    Connect { clean_start: false, session_expiry, will, ..connect(version, name) }
}

/// Longer than a test takes: Sessions, messages that expire, Wills that come late.
const LASTS_S: u32 = 100_000;

/// A retained message that is there from the beginning.
pub const MARK: &str = "mark";
