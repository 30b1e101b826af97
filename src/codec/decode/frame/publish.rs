//! PUBLISH and its acknowledgements.

use std::num::NonZeroU16;

use super::{Decoded, PacketFrame, reason, refused};
use crate::codec::error::DecodeError;
use crate::codec::packet::{Ack, Packet, Publish};
use crate::codec::property::{Properties, Property, carrier, read_block};
use crate::codec::reason::Reason;
use crate::codec::wire::FieldReader;
use crate::codec::words::{PacketId, QoS, Sender};

/// A PUBLISH before its payload.
struct PublishHead<'a> {
    topic: &'a str,
    qos: QoS,
    packet_id: Option<PacketId>,
    topic_alias: Option<NonZeroU16>,
    expiry: Option<u32>,
    properties: Properties<'a>,
}

impl PacketFrame<'_> {
    /// Reads a PUBLISH of `len` bytes in all. The hot path: the packet is built in place, from what was
    /// read, without being moved.
    #[inline(always)]
    pub(in crate::codec::decode) fn decoded_publish<'a>(
        &self,
        mut reader: FieldReader<'a>,
        len: usize,
    ) -> Result<Decoded<'a>, DecodeError> {
        let head = self.publish(&mut reader)?;
        let packet = Packet::Publish(Publish {
            dup: self.first & 0b1000 != 0,
            qos: head.qos,
            retain: self.first & 1 != 0,
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

    #[inline(always)]
    fn publish<'a>(&self, reader: &mut FieldReader<'a>) -> Result<PublishHead<'a>, DecodeError> {
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

    pub(super) fn ack<'a>(
        &self,
        reader: &mut FieldReader<'a>,
        acks: u16,
    ) -> Result<Ack<'a>, DecodeError> {
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
}
