//! PUBLISH, the hot path: it computes its length by itself.

use super::fields::{put_u16, put_u32};
use crate::codec::error::EncodeError;
use crate::codec::packet::Publish;
use crate::codec::property::Property;
use crate::codec::wire::{Sink, VARIABLE_MAX, variable_bytes, variable_len};
use crate::codec::words::{QoS, Version};

/// Appends a PUBLISH; see [`encode`](super::encode).
pub(super) fn put_publish(
    publish: &Publish<'_>,
    v5: bool,
    max: usize,
    out: &mut Vec<u8>,
) -> Result<usize, EncodeError> {
    let topic = publish.topic.as_bytes();
    if topic.len() > usize::from(u16::MAX) {
        return Err(EncodeError::FieldTooLong);
    }
    let packet_id = match publish.qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce | QoS::ExactlyOnce => {
            Some(publish.packet_id.expect("a PUBLISH above QoS 0 has a Packet Identifier"))
        }
    };
    let forwarded_len = if v5 { publish.properties.forwarded_len() } else { 0 };
    let properties_len = if v5 { own_properties_len(publish) + forwarded_len } else { 0 };
    let body = 2
        + topic.len()
        + if packet_id.is_some() { 2 } else { 0 }
        + if v5 { variable_len(properties_len) + properties_len } else { 0 }
        + publish.payload.len();
    let len = packet_len(body, max)?;
    out.reserve(len);

    put_publish_header(publish, body, out);
    out.extend_from_slice(topic);
    if let Some(packet_id) = packet_id {
        out.extend_from_slice(&packet_id.get().to_be_bytes());
    }
    if v5 && properties_len == 0 {
        out.push(0);
    } else if v5 {
        out.variable(properties_len);
        put_own_properties(publish, out);
        if forwarded_len == publish.properties.as_bytes().len() {
            out.extend_from_slice(publish.properties.as_bytes()); // As always in a stored message.
        } else {
            publish.properties.forwarded(out);
        }
    }
    out.extend_from_slice(publish.payload);
    Ok(len)
}

/// Appends the fixed header and the length of the topic, in one piece of known size: copying a few
/// bytes of unknown number costs more than a branch.
#[inline(always)]
fn put_publish_header(publish: &Publish<'_>, body: usize, out: &mut Vec<u8>) {
    let flags = u8::from(publish.dup) << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain);
    let [high, low] = (publish.topic.len() as u16).to_be_bytes();
    match variable_bytes(body) {
        ([length, ..], 1) => out.extend_from_slice(&[0x30 | flags, length, high, low]),
        ([first, second, ..], 2) => {
            out.extend_from_slice(&[0x30 | flags, first, second, high, low]);
        }
        (length, length_len) => {
            out.push(0x30 | flags);
            out.extend_from_slice(&length[..length_len]);
            out.extend_from_slice(&[high, low]);
        }
    }
}

/// Bytes `publish` takes on the wire in the form of `version`, fixed header included.
pub fn publish_len(publish: &Publish<'_>, version: Version) -> usize {
    let properties_len = own_properties_len(publish) + publish.properties.forwarded_len();
    let body = 2
        + publish.topic.len()
        + if publish.qos > QoS::AtMostOnce { 2 } else { 0 }
        + if version == Version::V5 { variable_len(properties_len) + properties_len } else { 0 }
        + publish.payload.len();
    1 + variable_len(body) + body
}

/// Bytes that [`put_own_properties`] writes.
#[inline]
fn own_properties_len(publish: &Publish<'_>) -> usize {
    let ids = publish.subscription_ids.iter().map(|id| 1 + variable_len(*id as usize));
    publish.topic_alias.map_or(0, |_| 3) + publish.expiry.map_or(0, |_| 5) + ids.sum::<usize>()
}

/// Writes the properties that stand in fields of the packet.
fn put_own_properties(publish: &Publish<'_>, out: &mut Vec<u8>) {
    put_u16(out, Property::TopicAlias, publish.topic_alias.map(|alias| alias.get()));
    put_u32(out, Property::MessageExpiryInterval, publish.expiry);
    for id in publish.subscription_ids {
        out.push(Property::SubscriptionIdentifier as u8);
        out.variable(*id as usize);
    }
}

/// The length of a packet with a body of `body` bytes, if it may be sent.
#[inline]
pub(super) fn packet_len(body: usize, max: usize) -> Result<usize, EncodeError> {
    let len = 1 + variable_len(body) + body;
    if body > VARIABLE_MAX || len > max {
        return Err(EncodeError::TooLarge { len, max: max.min(VARIABLE_MAX + 5) });
    }
    Ok(len)
}
