//! Random packets from a seed, for the tests of the codec.
#![allow(dead_code)] // Each test file uses its part.

#[path = "../../src/random.rs"]
mod random;

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::LazyLock;

pub use random::Random;
use sluicemq::codec::property::put_user_property;
use sluicemq::codec::reason::carrier;
use sluicemq::codec::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, Properties, Publish, QoS, Reason,
    RetainHandling, Sender, SubAck, Subscribe, SubscribeOptions, Unsubscribe, Version, Will,
};

pub const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

const TEXTS: &[&str] = &[
    "",
    "a",
    "client-7",
    "é",
    "中文",
    "😀",
    "\u{FEFF}bom",
    "+/#",
    "a b\tc",
    "reason: none",
    "a longer text that takes more than one hundred and twenty-seven bytes, so that whatever \
     holds it has a length of two bytes on the wire, we hope",
];
const TOPICS: &[&str] =
    &["a", "/", "a/b", "sensor/1/temp", "$SYS/broker", "é/中", "a//b", "factory/line7/x/y/z"];
const FILTERS: &[&str] =
    &["a", "#", "+", "a/+/b", "sensor/#", "$SYS/#", "/", "+/+", "$share/g/a/#", "é/+"];
const BYTES: &[u8] = &[0xAB; 400];
const IDS: &[u32] = &[1, 127, 128, 16_384, 268_435_455, 1, 7, 300];

/// Blocks of properties that a PUBLISH or a Will may carry.
static MESSAGE_BLOCKS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut random = Random::new(11);
    (0..50).map(|_| random.message_block()).collect()
});

/// Blocks of User Properties.
static USER_BLOCKS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut random = Random::new(12);
    (0..50).map(|_| random.user_block()).collect()
});

impl Random {
    fn maybe<T>(&mut self, make: impl FnOnce(&mut Random) -> T) -> Option<T> {
        self.chance().then(|| make(self))
    }

    fn bytes(&mut self) -> &'static [u8] {
        let end = self.pick(&[0, 1, 2, 20, 130, 400]);
        &BYTES[..end]
    }

    fn number(&mut self) -> u32 {
        self.pick(&[0, 1, 60, 0xFFFF, u32::MAX])
    }

    fn u16(&mut self) -> u16 {
        self.pick(&[0, 1, 10, 0xFF, 0x100, u16::MAX])
    }

    fn packet_id(&mut self) -> PacketId {
        PacketId::new(self.u16()).unwrap_or(PacketId::MIN)
    }

    fn non_zero_u32(&mut self) -> NonZeroU32 {
        NonZeroU32::new(self.number()).unwrap_or(NonZeroU32::MIN)
    }

    fn qos(&mut self) -> QoS {
        self.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
    }

    fn reason(&mut self, packets: u16) -> Reason {
        loop {
            let reason = self.pick(Reason::ALL);
            if reason.allowed_in(packets) {
                return reason;
            }
        }
    }

    fn user_block(&mut self) -> Vec<u8> {
        let mut block = Vec::new();
        for _ in 0..1 + self.below(3) {
            put_user_property(&mut block, self.pick(TEXTS), self.pick(TEXTS));
        }
        block
    }

    fn message_block(&mut self) -> Vec<u8> {
        let field = |id: u8, bytes: &[u8]| {
            let mut entry = vec![id];
            entry.extend((bytes.len() as u16).to_be_bytes());
            entry.extend(bytes);
            entry
        };
        let mut entries = vec![
            vec![0x01, self.below(2) as u8],
            field(0x03, self.pick(TEXTS).as_bytes()),
            field(0x08, self.pick(TOPICS).as_bytes()),
            field(0x09, self.bytes()),
            self.user_block(),
        ];
        let mut block = Vec::new();
        while !entries.is_empty() {
            let entry = entries.remove(self.below(entries.len()));
            if self.chance() {
                block.extend(entry);
            }
        }
        block
    }

    fn message_properties(&mut self, v5: bool) -> Properties<'static> {
        let block = self.below(MESSAGE_BLOCKS.len());
        if v5 && self.chance() {
            return Properties::trusted(&MESSAGE_BLOCKS[block]);
        }
        Properties::EMPTY
    }

    fn user_properties(&mut self, v5: bool) -> Properties<'static> {
        let block = self.below(USER_BLOCKS.len());
        if v5 && self.chance() {
            return Properties::trusted(&USER_BLOCKS[block]);
        }
        Properties::EMPTY
    }

    fn text(&mut self) -> &'static str {
        self.pick(TEXTS)
    }

    /// A text, if the packet is of version 5.
    fn text5(&mut self, v5: bool) -> Option<&'static str> {
        self.maybe(Random::text).filter(|_| v5)
    }

    /// A packet that `from` may send, with nothing in it that `version` cannot say.
    pub fn packet(&mut self, version: Version, from: Sender) -> Packet<'static> {
        let v5 = version == Version::V5;
        loop {
            let client = from == Sender::Client;
            return match self.below(15) {
                0 if client => Packet::Connect(Box::new(self.connect(version))),
                1 if !client => Packet::ConnAck(Box::new(self.connack(version))),
                2 => Packet::Publish(self.publish(v5, from)),
                3 => Packet::PubAck(self.ack(v5, carrier::PUBACK)),
                4 => Packet::PubRec(self.ack(v5, carrier::PUBREC)),
                5 => Packet::PubRel(self.ack(v5, carrier::PUBREL)),
                6 => Packet::PubComp(self.ack(v5, carrier::PUBCOMP)),
                7 if client => Packet::Subscribe(self.subscribe(v5)),
                8 if !client => Packet::SubAck(self.suback(v5)),
                9 if client => Packet::Unsubscribe(self.unsubscribe(v5)),
                10 if !client => Packet::UnsubAck(self.unsuback(v5)),
                11 if client => Packet::PingReq,
                12 if !client => Packet::PingResp,
                13 if client || v5 => Packet::Disconnect(self.disconnect(v5, from)),
                14 if v5 => Packet::Auth(self.auth(from)),
                _ => continue,
            };
        }
    }

    fn connect(&mut self, version: Version) -> Connect<'static> {
        let v5 = version == Version::V5;
        let clean_start = self.chance();
        let method = self.text5(v5);
        let user_name = self.maybe(Random::text);
        let forever = if clean_start { 0 } else { u32::MAX };
        Connect {
            version,
            bridge: false,
            clean_start,
            keep_alive: self.u16(),
            client_id: self.text(),
            session_expiry: if v5 { self.number() } else { forever },
            receive_maximum: if v5 { self.packet_id() } else { NonZeroU16::MAX },
            maximum_packet_size: self.maybe(Random::non_zero_u32).filter(|_| v5),
            topic_alias_maximum: if v5 { self.u16() } else { 0 },
            request_response_information: v5 && self.chance(),
            request_problem_information: !v5 || self.chance(),
            user_properties: self.user_properties(v5),
            authentication_method: method,
            authentication_data: self.maybe(Random::bytes).filter(|_| method.is_some()),
            will: self.maybe(|random| Will {
                qos: random.qos(),
                retain: random.chance(),
                delay: if v5 { random.number() } else { 0 },
                expiry: random.maybe(Random::number).filter(|_| v5),
                topic: random.pick(TOPICS),
                payload: random.bytes(),
                properties: random.message_properties(v5),
            }),
            user_name,
            password: self.maybe(Random::bytes).filter(|_| v5 || user_name.is_some()),
        }
    }

    fn connack(&mut self, version: Version) -> ConnAck<'static> {
        let v5 = version == Version::V5;
        let reason = if v5 {
            self.reason(carrier::CONNACK)
        } else {
            self.pick(&[
                Reason::Success,
                Reason::UnsupportedProtocolVersion,
                Reason::ClientIdentifierNotValid,
                Reason::ServerUnavailable,
                Reason::BadUserNameOrPassword,
                Reason::NotAuthorized,
            ])
        };
        let mut connack = ConnAck { reason, ..ConnAck::default() };
        let resumes = reason == Reason::Success && version != Version::V31;
        connack.session_present = resumes && self.chance();
        if !v5 {
            return connack;
        }
        let method = self.maybe(Random::text);
        ConnAck {
            session_expiry: self.maybe(Random::number),
            receive_maximum: self.maybe(Random::packet_id),
            maximum_qos: self.maybe(|r| r.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce])),
            retain_available: self.maybe(Random::chance),
            maximum_packet_size: self.maybe(Random::non_zero_u32),
            assigned_client_id: self.maybe(Random::text),
            topic_alias_maximum: self.maybe(Random::u16),
            reason_string: self.maybe(Random::text),
            user_properties: self.user_properties(true),
            wildcard_available: self.maybe(Random::chance),
            subscription_ids_available: self.maybe(Random::chance),
            shared_available: self.maybe(Random::chance),
            server_keep_alive: self.maybe(Random::u16),
            response_information: self.maybe(Random::text),
            server_reference: self.maybe(Random::text),
            authentication_method: method,
            authentication_data: self.maybe(Random::bytes).filter(|_| method.is_some()),
            ..connack
        }
    }

    fn publish(&mut self, v5: bool, from: Sender) -> Publish<'static> {
        let qos = self.qos();
        let topic_alias = self.maybe(Random::packet_id).filter(|_| v5);
        let ids = if v5 && from == Sender::Server { self.below(IDS.len()) } else { 0 };
        Publish {
            dup: qos != QoS::AtMostOnce && self.chance(),
            qos,
            retain: self.chance(),
            topic: if topic_alias.is_some() && self.chance() { "" } else { self.pick(TOPICS) },
            packet_id: (qos != QoS::AtMostOnce).then(|| self.packet_id()),
            topic_alias,
            expiry: self.maybe(Random::number).filter(|_| v5),
            subscription_ids: &IDS[..ids],
            properties: self.message_properties(v5),
            payload: self.bytes(),
        }
    }

    fn ack(&mut self, v5: bool, packets: u16) -> Ack<'static> {
        Ack {
            packet_id: self.packet_id(),
            reason: if v5 { self.reason(packets) } else { Reason::Success },
            reason_string: self.text5(v5),
            user_properties: self.user_properties(v5),
        }
    }

    fn subscribe(&mut self, v5: bool) -> Subscribe<'static> {
        let handling = [RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never];
        let filters = (0..1 + self.below(4)).map(|_| {
            let filter = self.pick(FILTERS);
            let options = SubscribeOptions {
                qos: self.qos(),
                no_local: v5 && !filter.starts_with("$share/") && self.chance(),
                retain_as_published: v5 && self.chance(),
                retain_handling: if v5 { self.pick(&handling) } else { RetainHandling::Always },
            };
            (filter, options)
        });
        let filters = filters.collect();
        Subscribe {
            rest: &[],
            packet_id: self.packet_id(),
            subscription_id: self
                .maybe(|random| NonZeroU32::new(random.pick(IDS)))
                .flatten()
                .filter(|_| v5),
            user_properties: self.user_properties(v5),
            filters,
        }
    }

    fn suback(&mut self, v5: bool) -> SubAck<'static> {
        let lowered =
            [Reason::Success, Reason::GrantedQoS1, Reason::GrantedQoS2, Reason::UnspecifiedError];
        let one = |random: &mut Random| match v5 {
            true => random.reason(carrier::SUBACK),
            false => random.pick(&lowered),
        };
        SubAck {
            packet_id: self.packet_id(),
            reason_string: self.text5(v5),
            user_properties: self.user_properties(v5),
            reasons: (0..1 + self.below(4)).map(|_| one(self)).collect(),
        }
    }

    fn unsuback(&mut self, v5: bool) -> SubAck<'static> {
        let reasons = if v5 { 1 + self.below(4) } else { 0 };
        SubAck {
            packet_id: self.packet_id(),
            reason_string: self.text5(v5),
            user_properties: self.user_properties(v5),
            reasons: (0..reasons).map(|_| self.reason(carrier::UNSUBACK)).collect(),
        }
    }

    fn unsubscribe(&mut self, v5: bool) -> Unsubscribe<'static> {
        Unsubscribe {
            rest: &[],
            packet_id: self.packet_id(),
            user_properties: self.user_properties(v5),
            filters: (0..1 + self.below(4)).map(|_| self.pick(FILTERS)).collect(),
        }
    }

    fn disconnect(&mut self, v5: bool, from: Sender) -> Disconnect<'static> {
        if !v5 {
            return Disconnect::default();
        }
        let client = from == Sender::Client;
        let sender = if client { carrier::DISCONNECT_CLIENT } else { carrier::DISCONNECT_SERVER };
        Disconnect {
            reason: self.reason(sender),
            session_expiry: self.maybe(Random::number).filter(|_| client),
            reason_string: self.maybe(Random::text),
            user_properties: self.user_properties(true),
            server_reference: self.maybe(Random::text).filter(|_| !client),
        }
    }

    fn auth(&mut self, from: Sender) -> Auth<'static> {
        let own = match from {
            Sender::Client => Reason::Reauthenticate,
            Sender::Server => Reason::Success,
        };
        if from == Sender::Server && self.below(8) == 0 {
            return Auth {
                reason: Reason::Success,
                method: None,
                data: None,
                reason_string: None,
                user_properties: Properties::EMPTY,
            };
        }
        Auth {
            reason: self.pick(&[Reason::ContinueAuthentication, own]),
            method: Some(self.text()),
            data: self.maybe(Random::bytes),
            reason_string: self.maybe(Random::text),
            user_properties: self.user_properties(true),
        }
    }

    /// Changes `bytes` a little: bits, bytes, cuts, insertions. Now and then the Remaining Length
    /// is made right again, so that the change reaches the body.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.below(3) {
            let at = self.below(bytes.len().max(1));
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = self.pick(&[0, 1, 2, 0x7F, 0x80, 0xFF]),
                2 if at < bytes.len() => bytes[at] = self.next() as u8,
                3 if at < bytes.len() => drop(bytes.remove(at)),
                4 => bytes.insert(at.min(bytes.len()), self.next() as u8),
                5 => bytes.truncate(bytes.len() - self.below(3).min(bytes.len())),
                _ => {}
            }
        }
        if self.below(4) != 0 {
            mend_length(bytes);
        }
    }
}

/// Writes the Remaining Length that fits the bytes after it.
fn mend_length(bytes: &mut Vec<u8>) {
    let Some(header) = bytes.iter().skip(1).take(4).position(|byte| *byte < 0x80) else {
        return;
    };
    let body = bytes.split_off(header + 2);
    bytes.truncate(1);
    let mut rest = body.len();
    while rest > 0x7F {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes.extend(body);
}

/// Bytes of the frame at the front, if it is whole.
pub fn frame_len(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().skip(1).take(4).position(|byte| *byte < 0x80)?;
    let body = bytes[1..end + 2]
        .iter()
        .enumerate()
        .map(|(index, byte)| usize::from(byte & 0x7F) << (7 * index))
        .sum::<usize>();
    let len = end + 2 + body;
    (len <= bytes.len()).then_some(len)
}

/// The version to hand to `decode`: none for a CONNECT.
pub fn spoken(packet: &Packet<'_>, version: Version) -> Option<Version> {
    (!matches!(packet, Packet::Connect(_))).then_some(version)
}
