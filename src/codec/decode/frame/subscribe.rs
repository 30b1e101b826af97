//! SUBSCRIBE, UNSUBSCRIBE and their acknowledgements.

use std::num::NonZeroU32;

use super::{PacketFrame, reason, refused};
use crate::codec::error::DecodeError;
use crate::codec::packet::{RetainHandling, SubAck, Subscribe, SubscribeOptions, Unsubscribe};
use crate::codec::property::{Property, carrier, read_block};
use crate::codec::reason::{Reason, carrier as reason_carrier};
use crate::codec::version3;
use crate::codec::wire::FieldReader;
use crate::codec::words::QoS;

impl PacketFrame<'_> {
    pub(super) fn subscribe<'a>(
        &self,
        reader: &mut FieldReader<'a>,
    ) -> Result<Subscribe<'a>, DecodeError> {
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

    pub(super) fn unsubscribe<'a>(
        &self,
        reader: &mut FieldReader<'a>,
    ) -> Result<Unsubscribe<'a>, DecodeError> {
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

    pub(super) fn suback<'a>(
        &self,
        reader: &mut FieldReader<'a>,
    ) -> Result<SubAck<'a>, DecodeError> {
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

    pub(super) fn unsuback<'a>(
        &self,
        reader: &mut FieldReader<'a>,
    ) -> Result<SubAck<'a>, DecodeError> {
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
    fn reasons<'a>(
        &self,
        reader: &mut FieldReader<'a>,
        acks: u16,
    ) -> Result<SubAck<'a>, DecodeError> {
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
}

/// A Topic Filter, checked to be a string and not empty.
fn topic_filter<'a>(reader: &mut FieldReader<'a>) -> Result<&'a str, DecodeError> {
    match reader.text("Topic Filter")? {
        "" => refused("empty topic filter"), // [MQTT5-4.7.3-1]
        filter => Ok(filter),
    }
}
