//! Bytes to packets. Framing comes first and is the only part that can ask for more bytes; the readers
//! of bodies see exactly their frame.

mod frame;

use super::error::DecodeError;
use super::wire::{FieldReader, RemainingLength, remaining_length};
use super::words::{DecodeLimits, Sender, Version};
use frame::{DISCONNECT, PINGREQ, PUBLISH, PacketFrame, check_first_byte};

pub use frame::{Decoded, connect_version, more_filters, more_names};

/// The length of the packet that `bytes` begin with, if so much of it is there that it says so.
pub fn packet_len(bytes: &[u8]) -> Option<usize> {
    match remaining_length(bytes.get(1..)?) {
        RemainingLength::Known { value, len, .. } => Some(1 + len + value),
        RemainingLength::Unfinished | RemainingLength::Malformed => None,
    }
}

/// Cuts one packet from the front of `bytes`.
///
/// - `version`: of the connection. `None` until a CONNECT has been read: then only a CONNECT is
///   accepted, and it is read by the version that it names.
/// - `sender`: which end sent the bytes.
///
/// A PUBLISH allocates nothing.
///
/// # Errors
///
/// An error is returned as soon as it can be seen: a bad first byte before the length has arrived, a
/// packet above `limits.packet_max` before its body has. A complete frame is a packet or an error,
/// never [`Decoded::Need`].
#[inline(always)] // There is one hot caller.
pub fn decode<'a>(
    bytes: &'a [u8],
    version: Option<Version>,
    sender: Sender,
    limits: &DecodeLimits,
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
    let frame = PacketFrame::new(first, shortest, version, sender, limits);
    let mut reader = FieldReader::new(body);
    if first >> 4 != PUBLISH {
        return Ok(Decoded::Packet { packet: frame.other(&mut reader)?, len });
    }
    frame.decoded_publish(reader, len)
}

/// The kind of a client's packet, as far as [`glance`] tells them apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Glance {
    /// PINGREQ.
    PingReq,
    /// DISCONNECT.
    Disconnect,
    /// Another one.
    Other,
}

/// The kind and length of the client's packet at the front of `bytes`, by its fixed header alone.
///
/// `None`: the packet is not complete, or [`decode`] refuses it by its fixed header.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::packet::Packet;
    use crate::codec::reason::Reason;

    const V5: Option<Version> = Some(Version::V5);
    const V311: Option<Version> = Some(Version::V311);

    /// The reason for which a client's bytes are refused.
    fn check(bytes: &[u8], version: Option<Version>, limits: &DecodeLimits, expected: Reason) {
        let decoded = decode(bytes, version, Sender::Client, limits);
        assert_eq!(decoded.map_err(|error| error.reason()), Err(expected), "{bytes:02x?}");
    }

    #[test]
    fn only_a_connect_may_come_first() {
        check(&[0xC0, 0], None, &DecodeLimits::NONE, Reason::ProtocolError);
        check(&[0x30], None, &DecodeLimits::NONE, Reason::ProtocolError);
        check(b"GET / HTTP/1.1\r\n", None, &DecodeLimits::NONE, Reason::ProtocolError);
    }

    #[test]
    fn a_bad_first_byte_is_refused_alone() {
        check(&[0x41], V5, &DecodeLimits::NONE, Reason::MalformedPacket);
        check(&[0x36], V311, &DecodeLimits::NONE, Reason::MalformedPacket);
        check(&[0x38], V311, &DecodeLimits::NONE, Reason::ProtocolError);
        check(&[0xF0], V311, &DecodeLimits::NONE, Reason::MalformedPacket);
        check(&[0x00], V311, &DecodeLimits::NONE, Reason::MalformedPacket);
        check(&[0x20], V5, &DecodeLimits::NONE, Reason::ProtocolError);
    }

    #[test]
    fn every_limit_has_its_reason() {
        let limits = DecodeLimits {
            packet_max: 40,
            properties_max: 20,
            user_properties_max: 1,
            filters_at_once: 1,
        };
        check(&[0x30, 39], V5, &limits, Reason::PacketTooLarge);
        check(
            &[0x30, 38, 0],
            V5,
            &DecodeLimits { packet_max: 39, ..limits },
            Reason::PacketTooLarge,
        );
        let user = [0x26, 0, 0, 0, 0];
        let with = |properties: &[u8]| {
            let head = [0x30, properties.len() as u8 + 4, 0, 1, b't', properties.len() as u8];
            [&head[..], properties].concat()
        };
        check(&with(&[0; 21]), V5, &limits, Reason::PacketTooLarge);
        check(&with(&[user, user].concat()), V5, &limits, Reason::QuotaExceeded);
    }

    #[test]
    fn filters_beyond_those_of_one_go_are_checked_and_left_for_the_next() {
        let two = DecodeLimits { filters_at_once: 2, ..DecodeLimits::NONE };
        let subscribe = b"\x82\x0F\0\x01\0\x01a\0\0\x01b\x01\0\x02cd\x02";
        let Ok(Decoded::Packet { packet: Packet::Subscribe(subscribe), .. }) =
            decode(subscribe, V311, Sender::Client, &two)
        else {
            panic!("a SUBSCRIBE of three filters")
        };
        let texts: Vec<_> = subscribe.filters.iter().map(|(filter, _)| *filter).collect();
        assert_eq!((texts, subscribe.rest), (vec!["a", "b"], &b"\0\x02cd\x02"[..]));
        let (filters, rest) = more_filters(subscribe.rest, V311.unwrap(), 2).unwrap();
        assert_eq!((filters[0].0, filters[0].1.qos as u8, filters.len()), ("cd", 2, 1));
        assert_eq!(rest, b"");

        let unsubscribe = b"\xA2\x0C\0\x01\0\x01a\0\x01b\0\x02cd";
        let Ok(Decoded::Packet { packet: Packet::Unsubscribe(unsubscribe), .. }) =
            decode(unsubscribe, V311, Sender::Client, &two)
        else {
            panic!("an UNSUBSCRIBE of three filters")
        };
        assert_eq!(
            (&unsubscribe.filters[..], unsubscribe.rest),
            (&["a", "b"][..], &b"\0\x02cd"[..])
        );
        assert_eq!(more_names(unsubscribe.rest, 2).unwrap(), (vec!["cd"], &b""[..]));

        // A packet with a fault in what is left for later is refused whole.
        check(b"\x82\x0E\0\x01\0\x01a\0\0\x01b\0\0\x01c\x03", V311, &two, Reason::MalformedPacket);
        check(b"\x82\x0E\0\x01\0\x01a\0\0\x01b\0\0\x09c\0", V311, &two, Reason::MalformedPacket);
        check(b"\xA2\x0A\0\x01\0\x01a\0\x01b\0\0", V311, &two, Reason::ProtocolError);
    }

    #[test]
    fn the_user_properties_of_connect_and_will_are_counted_together() {
        let mut connect = b"\x10\x1D\0\x04MQTT\x05\x06\0\0".to_vec();
        connect.extend([5, 0x26, 0, 0, 0, 0, 0, 0]); // Properties, empty client identifier.
        connect.extend([5, 0x26, 0, 0, 0, 0, 0, 1, b't', 0, 0]);
        let two = DecodeLimits { user_properties_max: 2, ..DecodeLimits::NONE };
        let decoded = decode(&connect, None, Sender::Client, &two);
        assert!(matches!(decoded, Ok(Decoded::Packet { .. })), "{decoded:?}");
        let one = DecodeLimits { user_properties_max: 1, ..DecodeLimits::NONE };
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
            (b"\0\x04MQTT\x83", Version::V311),
            (b"\0\x04MQTT\x06", Version::V5),
            (b"\0\x06MQIsdp\x04", Version::V311),
        ] {
            let bytes = [&[0x10, name_and_level.len() as u8], name_and_level].concat();
            let decoded = decode(&bytes, None, Sender::Client, &DecodeLimits::NONE);
            let level = bytes[bytes.len() - 1];
            assert_eq!(decoded, Err(DecodeError::UnsupportedVersion { level, answer }));
        }
    }

    #[test]
    fn a_longer_remaining_length_is_judged_by_the_version_of_the_connect() {
        let v311 = b"\x10\x8C\0\0\x04MQTT\x04\x02\0\0\0\0";
        let decoded = decode(v311, None, Sender::Client, &DecodeLimits::NONE);
        assert!(matches!(decoded, Ok(Decoded::Packet { len: 15, .. })), "{decoded:?}");
        let v5 = b"\x10\x8D\0\0\x04MQTT\x05\x02\0\0\0\0\0";
        check(v5, None, &DecodeLimits::NONE, Reason::MalformedPacket);
    }
}
