//! Bytes to packets. Framing comes first and is the only part that can ask for more bytes; what
//! reads a body sees exactly its frame.

mod connect;

use std::num::{NonZeroU16, NonZeroU32};

use super::error::DecodeError;
use super::packet::{
    Ack, Auth, Disconnect, Packet, Publish, RetainHandling, SubAck, Subscribe, SubscribeOptions,
    Unsubscribe,
};
use super::property::{Properties, Property, carrier, read_block};
use super::reason::{Reason, carrier as reason_carrier};
use super::version3;
use super::wire::{Reader, RemainingLength, remaining_length};
use super::words::{Limits, PacketId, QoS, Sender, Version};

pub use connect::connect_version;

/// What [`decode`] found at the front of the bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded<'a> {
    /// A whole packet of `len` bytes.
    Packet {
        /// The packet, borrowed from the bytes.
        packet: Packet<'a>,
        /// Bytes it took.
        len: usize,
    },
    /// Not yet whole: at least this many bytes are needed in all.
    Need(usize),
}

/// Cuts one packet from the front of `bytes`.
///
/// `version` is `None` until a CONNECT has been read; then only a CONNECT is accepted. A CONNECT
/// is read by the version it names itself. Nothing is allocated for a PUBLISH.
///
/// # Errors
///
/// What is wrong is said as soon as it can be seen: a bad first byte before the length is there, a
/// packet above `limits.packet_max` before its body is. A complete frame is a packet or an error,
/// never [`Decoded::Need`].
#[inline]
pub fn decode<'a>(
    bytes: &'a [u8],
    version: Option<Version>,
    sender: Sender,
    limits: &Limits,
) -> Result<Decoded<'a>, DecodeError> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(Decoded::Need(2));
    };
    check_first_byte(first, version, sender)?;
    let (body_len, header_len, shortest) = match remaining_length(rest) {
        RemainingLength::Known { value, len, shortest } => (value, 1 + len, shortest),
        RemainingLength::Unfinished => return Ok(Decoded::Need(bytes.len() + 1)),
        RemainingLength::Malformed => return Err(DecodeError::Malformed("Remaining Length")),
    };
    if !shortest && version == Some(Version::V5) {
        // [MQTT5-1.5.5-1]; 3.1.1 has no such rule.
        return Err(DecodeError::Malformed("Remaining Length not in its shortest form"));
    }
    let len = header_len + body_len;
    if len > limits.packet_max {
        return Err(DecodeError::TooLarge { len, max: limits.packet_max });
    }
    let Some(body) = bytes.get(header_len..len) else {
        return Ok(Decoded::Need(len));
    };
    let frame = Frame { first, shortest, v5: version == Some(Version::V5), sender, limits };
    let mut reader = Reader::new(body);
    if first >> 4 != PUBLISH {
        return Ok(Decoded::Packet { packet: frame.other(&mut reader)?, len });
    }
    // The hot path: the packet is built in place, from what was read, without being moved.
    let head = frame.publish(&mut reader)?;
    let packet = Packet::Publish(Publish {
        dup: first & 0b1000 != 0,
        qos: head.qos,
        retain: first & 1 != 0,
        topic: head.topic,
        packet_id: head.packet_id,
        topic_alias: head.topic_alias,
        expiry: head.expiry,
        subscription_ids: &[],
        properties: head.properties,
        payload: reader.take_rest(),
    });
    Ok(Decoded::Packet { packet, len })
}

/// What a packet of a client is, by its first byte and its length alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Glance {
    /// PINGREQ.
    PingReq,
    /// DISCONNECT.
    Disconnect,
    /// Another one.
    Other,
}

/// What a client has sent in front of `bytes`, and how long it is: nothing of its body is looked at.
///
/// `None`: it is not there whole, or [`decode`] refuses it without looking further.
pub fn glance(
    bytes: &[u8],
    version: Option<Version>,
    packet_max: usize,
) -> Option<(Glance, usize)> {
    let (&first, rest) = bytes.split_first()?;
    check_first_byte(first, version, Sender::Client).ok()?;
    let RemainingLength::Known { value, len, shortest } = remaining_length(rest) else {
        return None;
    };
    let whole = 1 + len + value;
    if (!shortest && version == Some(Version::V5)) || whole > packet_max || whole > bytes.len() {
        return None;
    }
    match first >> 4 {
        PINGREQ if value > 0 => None,
        PINGREQ => Some((Glance::PingReq, whole)),
        DISCONNECT => Some((Glance::Disconnect, whole)),
        _ => Some((Glance::Other, whole)),
    }
}

/// Packet type, flags and direction: all that the first byte shows.
#[inline]
fn check_first_byte(
    first: u8,
    version: Option<Version>,
    sender: Sender,
) -> Result<(), DecodeError> {
    let kind = first >> 4;
    if kind == PUBLISH && version.is_some() {
        return match first & 0b1110 {
            0b0110 | 0b1110 => Err(DecodeError::Malformed("QoS 3")), // [MQTT5-3.3.1-4]
            // [MQTT5-3.3.1-2]
            0b1000 => Err(DecodeError::Refused(Reason::ProtocolError, "DUP with QoS 0")),
            _ => Ok(()),
        };
    }
    let v5 = version == Some(Version::V5);
    if kind == 0 || (kind == AUTH && version.is_some() && !v5) {
        return Err(DecodeError::Malformed("reserved packet type"));
    }
    if version.is_none() && kind != CONNECT {
        // [MQTT5-3.1.0-1]
        return Err(DecodeError::Refused(Reason::ProtocolError, "first packet is no CONNECT"));
    }
    let flags = if matches!(kind, PUBREL | SUBSCRIBE | UNSUBSCRIBE) { 0b0010 } else { 0 };
    if first & 0x0F != flags {
        return Err(DecodeError::Malformed("fixed header flags")); // [MQTT5-2.1.3-1]
    }
    let backwards = match sender {
        Sender::Client => matches!(kind, CONNACK | SUBACK | UNSUBACK | PINGRESP),
        Sender::Server => {
            matches!(kind, CONNECT | SUBSCRIBE | UNSUBSCRIBE | PINGREQ)
                || (kind == DISCONNECT && !v5)
        }
    };
    if backwards {
        return Err(DecodeError::Refused(Reason::ProtocolError, "packet of the other side"));
    }
    Ok(())
}

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;
const SUBSCRIBE: u8 = 8;
const SUBACK: u8 = 9;
const UNSUBSCRIBE: u8 = 10;
const UNSUBACK: u8 = 11;
const PINGREQ: u8 = 12;
const PINGRESP: u8 = 13;
const DISCONNECT: u8 = 14;
const AUTH: u8 = 15;

/// A PUBLISH before its payload.
struct PublishHead<'a> {
    topic: &'a str,
    qos: QoS,
    packet_id: Option<PacketId>,
    topic_alias: Option<NonZeroU16>,
    expiry: Option<u32>,
    properties: Properties<'a>,
}

/// A Protocol Error that says `why`.
fn refused<T>(why: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError::Refused(Reason::ProtocolError, why))
}

/// What the readers of bodies know of the packet besides its body.
#[derive(Clone, Copy)]
struct Frame<'l> {
    /// First byte, checked.
    first: u8,
    /// The Remaining Length was in its shortest form.
    shortest: bool,
    /// The connection speaks version 5 (not known before CONNECT, which does not ask).
    v5: bool,
    sender: Sender,
    limits: &'l Limits,
}

impl Frame<'_> {
    #[inline(never)]
    fn other<'a>(&self, reader: &mut Reader<'a>) -> Result<Packet<'a>, DecodeError> {
        let packet = match self.first >> 4 {
            CONNECT => Packet::Connect(Box::new(self.connect(reader)?)),
            CONNACK => Packet::ConnAck(Box::new(self.connack(reader)?)),
            PUBACK => Packet::PubAck(self.ack(reader, reason_carrier::PUBACK)?),
            PUBREC => Packet::PubRec(self.ack(reader, reason_carrier::PUBREC)?),
            PUBREL => Packet::PubRel(self.ack(reader, reason_carrier::PUBREL)?),
            PUBCOMP => Packet::PubComp(self.ack(reader, reason_carrier::PUBCOMP)?),
            SUBSCRIBE => Packet::Subscribe(self.subscribe(reader)?),
            SUBACK => Packet::SubAck(self.suback(reader)?),
            UNSUBSCRIBE => Packet::Unsubscribe(self.unsubscribe(reader)?),
            UNSUBACK => Packet::UnsubAck(self.unsuback(reader)?),
            PINGREQ => Packet::PingReq,
            PINGRESP => Packet::PingResp,
            DISCONNECT => Packet::Disconnect(self.disconnect(reader)?),
            AUTH => Packet::Auth(self.auth(reader)?),
            _ => return Err(DecodeError::Malformed("reserved packet type")),
        };
        reader.finish()?;
        Ok(packet)
    }

    #[inline(always)]
    fn publish<'a>(&self, reader: &mut Reader<'a>) -> Result<PublishHead<'a>, DecodeError> {
        let topic = reader.topic("Topic Name", Reason::TopicNameInvalid)?;
        let (qos, packet_id) = match self.first & 0b0110 {
            0 => (QoS::AtMostOnce, None),
            0b0010 => (QoS::AtLeastOnce, Some(reader.packet_id()?)),
            _ => (QoS::ExactlyOnce, Some(reader.packet_id()?)),
        };
        let (mut topic_alias, mut expiry, mut subscribed) = (None, None, false);
        let mut properties = Properties::EMPTY;
        if self.v5 {
            let block =
                read_block(
                    reader,
                    carrier::PUBLISH,
                    self.limits,
                    |property, value| match property {
                        Property::TopicAlias => topic_alias = NonZeroU16::new(value.u16()),
                        Property::MessageExpiryInterval => expiry = Some(value.number()),
                        Property::SubscriptionIdentifier => subscribed = true,
                        _ => {}
                    },
                )?;
            properties = block.all;
        }
        if subscribed && self.sender == Sender::Client {
            return refused("Subscription Identifier from a client"); // [MQTT5-3.3.4-6]
        }
        if topic.is_empty() && topic_alias.is_none() {
            return refused("empty topic name"); // [MQTT5-4.7.3-1]
        }
        Ok(PublishHead { topic, qos, packet_id, topic_alias, expiry, properties })
    }

    fn ack<'a>(&self, reader: &mut Reader<'a>, acks: u16) -> Result<Ack<'a>, DecodeError> {
        let mut ack = Ack::new(reader.packet_id()?, Reason::Success);
        if !self.v5 || reader.is_empty() {
            return Ok(ack);
        }
        ack.reason = reason(reader, acks)?;
        if reader.is_empty() {
            return Ok(ack);
        }
        let block = read_block(reader, carrier::ACK, self.limits, |property, value| {
            if property == Property::ReasonString {
                ack.reason_string = value.text();
            }
        })?;
        ack.user_properties = block.user;
        Ok(ack)
    }

    fn subscribe<'a>(&self, reader: &mut Reader<'a>) -> Result<Subscribe<'a>, DecodeError> {
        let mut subscribe = Subscribe {
            packet_id: reader.packet_id()?,
            subscription_id: None,
            user_properties: Default::default(),
            filters: Vec::new(),
        };
        if self.v5 {
            let block = read_block(reader, carrier::SUBSCRIBE, self.limits, |property, value| {
                if property == Property::SubscriptionIdentifier {
                    subscribe.subscription_id = NonZeroU32::new(value.number());
                }
            })?;
            subscribe.user_properties = block.user;
        }
        while !reader.is_empty() {
            self.room_for_filter(subscribe.filters.len())?;
            let filter = topic_filter(reader)?;
            let options = self.subscribe_options(reader.u8("Subscription Options")?)?;
            if options.no_local && filter.starts_with("$share/") {
                return refused("No Local on a Shared Subscription"); // [MQTT5-3.8.3-4]
            }
            subscribe.filters.push((filter, options));
        }
        if subscribe.filters.is_empty() {
            return refused("SUBSCRIBE without a topic filter"); // [MQTT5-3.8.3-2]
        }
        Ok(subscribe)
    }

    fn subscribe_options(&self, byte: u8) -> Result<SubscribeOptions, DecodeError> {
        let reserved = if self.v5 { 0b1100_0000 } else { 0b1111_1100 };
        if byte & reserved != 0 {
            return Err(DecodeError::Malformed("Subscription Options")); // [MQTT5-3.8.3-5]
        }
        let qos = match QoS::from_bits(byte & 0b11) {
            Some(qos) => qos,
            None if self.v5 => return refused("subscription with QoS 3"),
            None => return Err(DecodeError::Malformed("subscription with QoS 3")),
        };
        let retain_handling = match byte >> 4 {
            0 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            _ => return refused("Retain Handling 3"),
        };
        Ok(SubscribeOptions {
            qos,
            no_local: byte & 0b0100 != 0,
            retain_as_published: byte & 0b1000 != 0,
            retain_handling,
        })
    }

    fn unsubscribe<'a>(&self, reader: &mut Reader<'a>) -> Result<Unsubscribe<'a>, DecodeError> {
        let mut unsubscribe = Unsubscribe {
            packet_id: reader.packet_id()?,
            user_properties: Default::default(),
            filters: Vec::new(),
        };
        if self.v5 {
            let block = read_block(reader, carrier::UNSUBSCRIBE, self.limits, |_, _| {})?;
            unsubscribe.user_properties = block.user;
        }
        while !reader.is_empty() {
            self.room_for_filter(unsubscribe.filters.len())?;
            unsubscribe.filters.push(topic_filter(reader)?);
        }
        if unsubscribe.filters.is_empty() {
            return refused("UNSUBSCRIBE without a topic filter"); // [MQTT5-3.10.3-2]
        }
        Ok(unsubscribe)
    }

    fn room_for_filter(&self, filters: usize) -> Result<(), DecodeError> {
        if filters < self.limits.filters_max {
            return Ok(());
        }
        Err(DecodeError::Refused(Reason::QuotaExceeded, "too many topic filters"))
    }

    fn suback<'a>(&self, reader: &mut Reader<'a>) -> Result<SubAck<'a>, DecodeError> {
        if self.v5 {
            return self.reasons(reader, reason_carrier::SUBACK);
        }
        let mut suback = SubAck {
            packet_id: reader.packet_id()?,
            reason_string: None,
            user_properties: Default::default(),
            reasons: Vec::new(),
        };
        while !reader.is_empty() {
            let code = version3::suback_reason(reader.u8("return code")?);
            suback.reasons.push(code.ok_or(DecodeError::Malformed("reserved return code"))?);
        }
        if suback.reasons.is_empty() {
            return refused("SUBACK without a return code");
        }
        Ok(suback)
    }

    fn unsuback<'a>(&self, reader: &mut Reader<'a>) -> Result<SubAck<'a>, DecodeError> {
        if self.v5 {
            return self.reasons(reader, reason_carrier::UNSUBACK);
        }
        Ok(SubAck {
            packet_id: reader.packet_id()?,
            reason_string: None,
            user_properties: Default::default(),
            reasons: Vec::new(),
        })
    }

    /// SUBACK and UNSUBACK of version 5.
    fn reasons<'a>(&self, reader: &mut Reader<'a>, acks: u16) -> Result<SubAck<'a>, DecodeError> {
        let packet_id = reader.packet_id()?;
        let mut reason_string = None;
        let block = read_block(reader, carrier::SUBACK, self.limits, |property, value| {
            if property == Property::ReasonString {
                reason_string = value.text();
            }
        })?;
        let mut reasons = Vec::with_capacity(reader.len());
        while !reader.is_empty() {
            reasons.push(reason(reader, acks)?);
        }
        if reasons.is_empty() {
            return refused("acknowledgement without a reason code");
        }
        Ok(SubAck { packet_id, reason_string, user_properties: block.user, reasons })
    }

    fn disconnect<'a>(&self, reader: &mut Reader<'a>) -> Result<Disconnect<'a>, DecodeError> {
        let mut disconnect = Disconnect::default();
        if !self.v5 || reader.is_empty() {
            return Ok(disconnect);
        }
        let packets = match self.sender {
            Sender::Client => reason_carrier::DISCONNECT_CLIENT,
            Sender::Server => reason_carrier::DISCONNECT_SERVER,
        };
        disconnect.reason = reason(reader, packets)?;
        if reader.is_empty() {
            return Ok(disconnect);
        }
        let block =
            read_block(
                reader,
                carrier::DISCONNECT,
                self.limits,
                |property, value| match property {
                    Property::SessionExpiryInterval => {
                        disconnect.session_expiry = Some(value.number())
                    }
                    Property::ReasonString => disconnect.reason_string = value.text(),
                    Property::ServerReference => disconnect.server_reference = value.text(),
                    _ => {}
                },
            )?;
        disconnect.user_properties = block.user;
        match self.sender {
            Sender::Client if disconnect.server_reference.is_some() => {
                refused("Server Reference from a client")
            }
            // [MQTT5-3.14.2-2]
            Sender::Server if disconnect.session_expiry.is_some() => {
                refused("Session Expiry Interval from a server")
            }
            Sender::Client | Sender::Server => Ok(disconnect),
        }
    }

    fn auth<'a>(&self, reader: &mut Reader<'a>) -> Result<Auth<'a>, DecodeError> {
        let mut auth = Auth {
            reason: Reason::Success,
            method: None,
            data: None,
            reason_string: None,
            user_properties: Default::default(),
        };
        if reader.is_empty() && self.sender == Sender::Server {
            return Ok(auth);
        }
        if !reader.is_empty() {
            auth.reason = reason(reader, reason_carrier::AUTH)?;
        }
        // Who may say which is in 3.15.2.1.
        let wrong = match self.sender {
            Sender::Client => Reason::Success,
            Sender::Server => Reason::Reauthenticate,
        };
        if auth.reason == wrong {
            return refused("AUTH reason code of the other side");
        }
        let block =
            read_block(reader, carrier::AUTH, self.limits, |property, value| match property {
                Property::AuthenticationMethod => auth.method = value.text(),
                Property::AuthenticationData => auth.data = value.binary(),
                Property::ReasonString => auth.reason_string = value.text(),
                _ => {}
            })?;
        if auth.method.is_none() {
            return refused("AUTH without an Authentication Method");
        }
        auth.user_properties = block.user;
        Ok(auth)
    }
}

/// A Reason Code that a packet of `packets` may carry.
fn reason(reader: &mut Reader<'_>, packets: u16) -> Result<Reason, DecodeError> {
    let byte = reader.u8("Reason Code")?;
    match Reason::from_byte(byte).filter(|reason| reason.allowed_in(packets)) {
        Some(reason) => Ok(reason),
        None => refused("reason code that this packet may not carry"),
    }
}

/// A Topic Filter, checked to be a string and not empty.
fn topic_filter<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    match reader.text("Topic Filter")? {
        "" => refused("empty topic filter"), // [MQTT5-4.7.3-1]
        filter => Ok(filter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V5: Option<Version> = Some(Version::V5);
    const V311: Option<Version> = Some(Version::V311);

    /// The reason for which a client's bytes are refused.
    fn check(bytes: &[u8], version: Option<Version>, limits: &Limits, expected: Reason) {
        let decoded = decode(bytes, version, Sender::Client, limits);
        assert_eq!(decoded.map_err(|error| error.reason()), Err(expected), "{bytes:02x?}");
    }

    #[test]
    fn only_a_connect_may_come_first() {
        check(&[0xC0, 0], None, &Limits::NONE, Reason::ProtocolError);
        check(&[0x30], None, &Limits::NONE, Reason::ProtocolError);
        check(b"GET / HTTP/1.1\r\n", None, &Limits::NONE, Reason::ProtocolError);
    }

    #[test]
    fn a_bad_first_byte_is_refused_alone() {
        check(&[0x41], V5, &Limits::NONE, Reason::MalformedPacket);
        check(&[0x36], V311, &Limits::NONE, Reason::MalformedPacket);
        check(&[0x38], V311, &Limits::NONE, Reason::ProtocolError);
        check(&[0xF0], V311, &Limits::NONE, Reason::MalformedPacket);
        check(&[0x00], V311, &Limits::NONE, Reason::MalformedPacket);
        check(&[0x20], V5, &Limits::NONE, Reason::ProtocolError);
    }

    #[test]
    fn every_limit_has_its_reason() {
        let limits =
            Limits { packet_max: 40, properties_max: 20, user_properties_max: 1, filters_max: 1 };
        check(&[0x30, 39], V5, &limits, Reason::PacketTooLarge);
        check(&[0x30, 38, 0], V5, &Limits { packet_max: 39, ..limits }, Reason::PacketTooLarge);
        let user = [0x26, 0, 0, 0, 0];
        let with = |properties: &[u8]| {
            let head = [0x30, properties.len() as u8 + 4, 0, 1, b't', properties.len() as u8];
            [&head[..], properties].concat()
        };
        check(&with(&[0; 21]), V5, &limits, Reason::PacketTooLarge);
        check(&with(&[user, user].concat()), V5, &limits, Reason::QuotaExceeded);
        let filters = [0x82, 10, 0, 1, 0, 1, b'a', 0, 0, 1, b'b', 0];
        check(&filters, V311, &limits, Reason::QuotaExceeded);
        let filters = [0xA2, 8, 0, 1, 0, 1, b'a', 0, 1, b'b'];
        check(&filters, V311, &limits, Reason::QuotaExceeded);
    }

    #[test]
    fn the_user_properties_of_connect_and_will_are_counted_together() {
        let mut connect = b"\x10\x1D\0\x04MQTT\x05\x06\0\0".to_vec();
        connect.extend([5, 0x26, 0, 0, 0, 0, 0, 0]); // Properties, empty client identifier.
        connect.extend([5, 0x26, 0, 0, 0, 0, 0, 1, b't', 0, 0]);
        let two = Limits { user_properties_max: 2, ..Limits::NONE };
        let decoded = decode(&connect, None, Sender::Client, &two);
        assert!(matches!(decoded, Ok(Decoded::Packet { .. })), "{decoded:?}");
        let one = Limits { user_properties_max: 1, ..Limits::NONE };
        check(&connect, None, &one, Reason::QuotaExceeded);
    }

    #[test]
    fn the_form_of_an_answer_is_known_from_the_first_bytes_of_a_connect() {
        let check = |bytes: &[u8], expected| {
            assert_eq!(connect_version(bytes), expected, "{bytes:02x?}");
        };
        check(b"\x10\xFF\xFF\xFF\x7F\0\x04MQTT\x05", V5);
        check(b"\x10\x0C\0\x04MQTT\x04", V311);
        check(b"\x10\x0C\0\x06MQIsdp\x03", Some(Version::V31));
        check(b"\x10\x0C\0\x06MQIsdp\x05", V311);
        check(b"\x10\x0C\0\x04MQTT\x03", V311);
        check(b"\x10\x0C\0\x04MQTT\x84", V311);
        check(b"\x10\x0C\0\x04MQTT\x06", V5);
        check(b"\x10\x0C\0\x04MQTX\x04", None);
        check(b"\x10\x0C\0\x04MQTT", None);
        check(b"\x30\x0C\0\x04MQTT\x04", None);
        check(b"", None);
    }

    #[test]
    fn a_connect_of_an_unknown_version_says_in_which_form_to_answer() {
        for (name_and_level, answer) in [
            (&b"\0\x04MQTT\x03"[..], Version::V311),
            (b"\0\x04MQTT\x84", Version::V311),
            (b"\0\x04MQTT\x06", Version::V5),
            (b"\0\x06MQIsdp\x04", Version::V311),
        ] {
            let bytes = [&[0x10, name_and_level.len() as u8], name_and_level].concat();
            let decoded = decode(&bytes, None, Sender::Client, &Limits::NONE);
            let level = bytes[bytes.len() - 1];
            assert_eq!(decoded, Err(DecodeError::UnsupportedVersion { level, answer }));
        }
    }

    #[test]
    fn a_longer_remaining_length_is_judged_by_the_version_of_the_connect() {
        let v311 = b"\x10\x8C\0\0\x04MQTT\x04\x02\0\0\0\0";
        let decoded = decode(v311, None, Sender::Client, &Limits::NONE);
        assert!(matches!(decoded, Ok(Decoded::Packet { len: 15, .. })), "{decoded:?}");
        let v5 = b"\x10\x8D\0\0\x04MQTT\x05\x02\0\0\0\0\0";
        check(v5, None, &Limits::NONE, Reason::MalformedPacket);
    }
}
