//! Packets to bytes. One function writes a body; it runs twice: into a [`Measure`] to know the length,
//! then into the buffer, so that the buffer never holds half a packet. Only PUBLISH, the hot path,
//! computes its length by itself.

mod body;
mod fields;
mod publish;

use super::error::EncodeError;
use super::packet::{Ack, Packet};
use super::reason::Reason;
use super::version3;
use super::wire::{Measure, Sink};
use super::words::Version;
use body::Form;
use publish::{packet_len, put_publish};

pub use publish::publish_len;

/// Appends `packet` to `out` in the form of `version`; returns the bytes written.
///
/// What `version` lacks is left out or mapped. A packet that version 3 does not have writes nothing
/// and returns 0: AUTH, a CONNACK reason without a return code (such as that of a malformed
/// CONNECT), and a DISCONNECT with any reason but Success. A DISCONNECT with Success is what a
/// version 3 client ends its connection with, `E0 00`; a server never sends it. A password without a
/// user name, which 3.1.1 forbids, is left out `[MQTT311-3.1.2-22]`.
///
/// A reason code of an acknowledgement or of DISCONNECT always comes with its property length:
/// the shorter forms are legal, but common clients hang on them.
///
/// `max` is the receiver's Maximum Packet Size, whole packet: optional User Properties and then
/// Reason Strings (not the User Properties of a PUBLISH or Will) are left out first
/// `[MQTT5-3.2.2-19]`.
///
/// # Errors
///
/// [`EncodeError::TooLarge`] if it still does not fit or exceeds what a Remaining Length can say;
/// [`EncodeError::FieldTooLong`]. Then `out` is as it was.
///
/// # Panics
///
/// If a PUBLISH with `QoS` above 0 has no Packet Identifier.
#[inline]
pub fn encode(
    packet: &Packet<'_>,
    version: Version,
    max: usize,
    out: &mut Vec<u8>,
) -> Result<usize, EncodeError> {
    match packet {
        Packet::Publish(publish) => put_publish(publish, version == Version::V5, max, out),
        other => put_other(other, version, max, out),
    }
}

/// Whether an acknowledgement has nothing but its code, as nearly all have: it needs no measuring.
fn is_bare(ack: &Ack<'_>, max: usize) -> bool {
    max >= 6 && ack.reason_string.is_none() && ack.user_properties.is_empty()
}

fn put_bare(first: u8, ack: &Ack<'_>, version: Version, out: &mut Vec<u8>) -> usize {
    let [high, low] = ack.packet_id.get().to_be_bytes();
    if version != Version::V5 || ack.reason == Reason::Success {
        out.extend_from_slice(&[first, 2, high, low]);
        return 4;
    }
    out.extend_from_slice(&[first, 4, high, low, ack.reason as u8, 0]);
    6
}

#[inline(never)]
fn put_other(
    packet: &Packet<'_>,
    version: Version,
    max: usize,
    out: &mut Vec<u8>,
) -> Result<usize, EncodeError> {
    let Some(first) = first_byte(packet, version) else {
        return Ok(0);
    };
    if let Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) =
        packet
        && is_bare(ack, max)
    {
        return Ok(put_bare(first, ack, version, out));
    }
    let mut form = Form::new(version);
    let (len, body) = loop {
        let mut measure = Measure::default();
        form.body(packet, &mut measure);
        if measure.field_too_long {
            return Err(EncodeError::FieldTooLong);
        }
        match packet_len(measure.len, max) {
            Ok(len) => break (len, measure.len),
            Err(_) if form.shorten() => {}
            Err(error) => return Err(error),
        }
    };
    out.reserve(len);
    out.push(first);
    out.variable(body);
    form.body(packet, out);
    Ok(len)
}

/// Packet type and flags, if `version` has such a packet at all.
fn first_byte(packet: &Packet<'_>, version: Version) -> Option<u8> {
    let v5 = version == Version::V5;
    let byte = match packet {
        Packet::Connect(_) => 0x10,
        Packet::ConnAck(connack) => {
            if !v5 {
                version3::return_code(connack.reason)?;
            }
            0x20
        }
        Packet::Publish(_) => 0x30,
        Packet::PubAck(_) => 0x40,
        Packet::PubRec(_) => 0x50,
        Packet::PubRel(_) => 0x62,
        Packet::PubComp(_) => 0x70,
        Packet::Subscribe(_) => 0x82,
        Packet::SubAck(_) => 0x90,
        Packet::Unsubscribe(_) => 0xA2,
        Packet::UnsubAck(_) => 0xB0,
        Packet::PingReq => 0xC0,
        Packet::PingResp => 0xD0,
        Packet::Disconnect(disconnect) => {
            (v5 || disconnect.reason == Reason::Success).then_some(0xE0)?
        }
        Packet::Auth(_) => v5.then_some(0xF0)?,
    };
    Some(byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::packet::{ConnAck, Disconnect, Publish};
    use crate::codec::property::Properties;
    use crate::codec::property::put_user_property;
    use crate::codec::words::PacketId;

    /// What `packet` is on the wire, if it fits into `max` bytes.
    fn check(packet: Packet<'_>, version: Version, max: usize, expected: &[u8]) {
        let mut out = Vec::new();
        let written = encode(&packet, version, max, &mut out);
        assert_eq!(out, expected, "{packet:?} gives {out:02x?}");
        assert_eq!(written, Ok(expected.len()));
    }

    fn ack(reason: Reason) -> Ack<'static> {
        Ack::new(PacketId::new(10).unwrap(), reason)
    }

    #[test]
    fn an_acknowledgement_is_two_bytes_or_has_a_property_length() {
        let all = usize::MAX;
        check(Packet::PubAck(ack(Reason::Success)), Version::V5, all, &[0x40, 2, 0, 10]);
        let found_none = Packet::PubAck(ack(Reason::NoMatchingSubscribers));
        check(found_none.clone(), Version::V5, all, &[0x40, 4, 0, 10, 0x10, 0]);
        check(found_none, Version::V311, all, &[0x40, 2, 0, 10]);
        let unknown = Packet::PubRel(ack(Reason::PacketIdentifierNotFound));
        check(unknown, Version::V5, all, &[0x62, 4, 0, 10, 0x92, 0]);
    }

    #[test]
    fn disconnect_is_never_short_on_version_5_and_only_a_goodbye_on_version_3() {
        for (reason, old) in [(Reason::Success, &[0xE0, 0][..]), (Reason::ServerShuttingDown, &[])]
        {
            let packet = Packet::Disconnect(Disconnect { reason, ..Disconnect::default() });
            check(packet.clone(), Version::V5, usize::MAX, &[0xE0, 2, reason as u8, 0]);
            check(packet.clone(), Version::V311, usize::MAX, old);
            check(packet, Version::V31, usize::MAX, old);
        }
    }

    #[test]
    fn version_3_says_what_it_can_of_a_refused_connect() {
        for (reason, code) in [
            (Reason::Success, Some(0)),
            (Reason::UnsupportedProtocolVersion, Some(1)),
            (Reason::ClientIdentifierNotValid, Some(2)),
            (Reason::ServerUnavailable, Some(3)),
            (Reason::ServerBusy, Some(3)),
            (Reason::QuotaExceeded, Some(3)),
            (Reason::ConnectionRateExceeded, Some(3)),
            (Reason::BadUserNameOrPassword, Some(4)),
            (Reason::NotAuthorized, Some(5)),
            (Reason::Banned, Some(5)),
            (Reason::BadAuthenticationMethod, Some(5)),
            (Reason::MalformedPacket, None),
            (Reason::ProtocolError, None),
            (Reason::TopicNameInvalid, None),
        ] {
            let connack = || Packet::ConnAck(Box::new(ConnAck { reason, ..ConnAck::default() }));
            let expected = code.map(|code| vec![0x20, 2, 0, code]).unwrap_or_default();
            check(connack(), Version::V311, usize::MAX, &expected);
            check(connack(), Version::V5, usize::MAX, &[0x20, 3, 0, reason as u8, 0]);
        }
    }

    #[test]
    fn user_properties_go_before_the_reason_string_and_then_nothing_is_written() {
        let mut block = Vec::new();
        put_user_property(&mut block, "k", "v");
        let user_properties = Properties::trusted(&block);
        let reason_string = Some("no");
        let packet =
            Packet::PubAck(Ack { reason_string, user_properties, ..ack(Reason::NotAuthorized) });
        let whole = [
            &[0x40, 16, 0, 10, 0x87, 12, 0x1F, 0, 2, b'n', b'o'][..],
            &[0x26, 0, 1, b'k', 0, 1, b'v'],
        ]
        .concat();
        check(packet.clone(), Version::V5, 18, &whole);
        let without = [0x40, 9, 0, 10, 0x87, 5, 0x1F, 0, 2, b'n', b'o'];
        check(packet.clone(), Version::V5, 17, &without);
        check(packet.clone(), Version::V5, 10, &[0x40, 4, 0, 10, 0x87, 0]);
        let mut out = vec![1];
        let error = encode(&packet, Version::V5, 5, &mut out);
        assert_eq!(error, Err(EncodeError::TooLarge { len: 6, max: 5 }));
        assert_eq!(out, [1]);
    }

    #[test]
    fn the_user_properties_of_a_message_are_never_left_out() {
        let mut block = Vec::new();
        put_user_property(&mut block, "k", "v");
        let properties = Properties::trusted(&block);
        let packet = Packet::Publish(Publish { topic: "t", properties, ..Publish::default() });
        let mut out = Vec::new();
        let error = encode(&packet, Version::V5, 12, &mut out);
        assert_eq!(error, Err(EncodeError::TooLarge { len: 13, max: 12 }));
        check(packet, Version::V311, 12, &[0x30, 3, 0, 1, b't']);
    }

    #[test]
    fn what_belongs_to_the_senders_hop_is_replaced_by_our_own() {
        // Topic Alias 9, Message Expiry 5, Subscription Identifier 3 as they came in.
        let block = [0x23, 0, 9, 0x01, 1, 0x02, 0, 0, 0, 5, 0x0B, 3];
        let packet = Packet::Publish(Publish {
            topic: "t",
            expiry: Some(4),
            subscription_ids: &[128],
            properties: Properties::trusted(&block),
            ..Publish::default()
        });
        let expected = [0x30, 14, 0, 1, b't', 10, 0x02, 0, 0, 0, 4, 0x0B, 0x80, 0x01, 0x01, 1];
        check(packet, Version::V5, usize::MAX, &expected);
    }

    #[test]
    fn a_string_above_65535_bytes_is_no_packet() {
        let long = "x".repeat(65_536);
        let publish = Packet::Publish(Publish { topic: &long, ..Publish::default() });
        let ack = Packet::PubAck(Ack { reason_string: Some(&long), ..ack(Reason::NotAuthorized) });
        for packet in [publish, ack] {
            let mut out = vec![7];
            let error = encode(&packet, Version::V5, usize::MAX, &mut out);
            assert_eq!((error, out), (Err(EncodeError::FieldTooLong), vec![7]));
        }
    }
}
