//! SUBSCRIBE, UNSUBSCRIBE and their acknowledgements.

use std::num::NonZeroU32;

use super::{PacketFrame, reason, refused};
use crate::codec::error::DecodeError;
use crate::codec::packet::{RetainHandling, SubAck, Subscribe, SubscribeOptions, Unsubscribe};
use crate::codec::property::{Property, carrier, read_block};
use crate::codec::reason::carrier as reason_carrier;
use crate::codec::version3;
use crate::codec::wire::FieldReader;
use crate::codec::words::{QoS, Version};

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
            rest: &[],
        };
        if self.v5 {
            let block = read_block(reader, carrier::SUBSCRIBE, self.limits, |property, value| {
                if property == Property::SubscriptionIdentifier {
                    subscribe.subscription_id = NonZeroU32::new(value.number());
                }
            })?;
            subscribe.user_properties = block.user;
        }
        (subscribe.filters, subscribe.rest) =
            gather(reader, self.limits.filters_at_once, |reader| {
                subscribe_filter(reader, self.v5)
            })?;
        if subscribe.filters.is_empty() {
            return refused("SUBSCRIBE without a topic filter"); // [MQTT5-3.8.3-2]
        }
        Ok(subscribe)
    }

    pub(super) fn unsubscribe<'a>(
        &self,
        reader: &mut FieldReader<'a>,
    ) -> Result<Unsubscribe<'a>, DecodeError> {
        let mut unsubscribe = Unsubscribe {
            packet_id: reader.packet_id()?,
            user_properties: Default::default(),
            filters: Vec::new(),
            rest: &[],
        };
        if self.v5 {
            let block = read_block(reader, carrier::UNSUBSCRIBE, self.limits, |_, _| {})?;
            unsubscribe.user_properties = block.user;
        }
        (unsubscribe.filters, unsubscribe.rest) =
            gather(reader, self.limits.filters_at_once, topic_filter)?;
        if unsubscribe.filters.is_empty() {
            return refused("UNSUBSCRIBE without a topic filter"); // [MQTT5-3.10.3-2]
        }
        Ok(unsubscribe)
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

/// The next filters of a SUBSCRIBE, at most `max` of them, from its [`Subscribe::rest`]; and what is left.
///
/// # Errors
///
/// None where `rest` is of a packet that was decoded for the same version.
#[expect(clippy::type_complexity, reason = "the type of `Subscribe::filters`")]
pub fn more_filters(
    rest: &[u8],
    version: Version,
    max: usize,
) -> Result<(Vec<(&str, SubscribeOptions)>, &[u8]), DecodeError> {
    let v5 = version == Version::V5;
    next_of(&mut FieldReader::new(rest), max, |reader| subscribe_filter(reader, v5))
}

/// The next filters of an UNSUBSCRIBE, at most `max` of them, from its [`Unsubscribe::rest`]; and what is
/// left.
///
/// # Errors
///
/// None where `rest` is of a packet that was decoded.
pub fn more_names(rest: &[u8], max: usize) -> Result<(Vec<&str>, &[u8]), DecodeError> {
    next_of(&mut FieldReader::new(rest), max, topic_filter)
}

/// All that is in `reader`, checked; but only the first `max` are gathered, the others are left as bytes.
fn gather<'a, T>(
    reader: &mut FieldReader<'a>,
    max: usize,
    read: impl Fn(&mut FieldReader<'a>) -> Result<T, DecodeError>,
) -> Result<(Vec<T>, &'a [u8]), DecodeError> {
    let (gathered, rest) = next_of(reader, max, &read)?;
    while !reader.is_empty() {
        read(reader)?;
    }
    Ok((gathered, rest))
}

/// At most `max` from the front of `reader`, and what is left then.
fn next_of<'a, T>(
    reader: &mut FieldReader<'a>,
    max: usize,
    read: impl Fn(&mut FieldReader<'a>) -> Result<T, DecodeError>,
) -> Result<(Vec<T>, &'a [u8]), DecodeError> {
    let mut gathered = Vec::new();
    while !reader.is_empty() && gathered.len() < max {
        gathered.push(read(reader)?);
    }
    Ok((gathered, { *reader }.take_rest()))
}

/// A Topic Filter of a SUBSCRIBE with its options.
fn subscribe_filter<'a>(
    reader: &mut FieldReader<'a>,
    v5: bool,
) -> Result<(&'a str, SubscribeOptions), DecodeError> {
    let filter = topic_filter(reader)?;
    let options = subscribe_options(reader.u8("Subscription Options")?, v5)?;
    let shared = |filter: &str| ["$share/", "$queue/"].iter().any(|own| filter.starts_with(own));
    if options.no_local && shared(filter) {
        return refused("No Local on a Shared Subscription"); // [MQTT5-3.8.3-4]
    }
    Ok((filter, options))
}

fn subscribe_options(byte: u8, v5: bool) -> Result<SubscribeOptions, DecodeError> {
    let reserved = if v5 { 0b1100_0000 } else { 0b1111_1100 };
    if byte & reserved != 0 {
        return Err(DecodeError::Malformed("Subscription Options")); // [MQTT5-3.8.3-5]
    }
    let qos = match QoS::from_bits(byte & 0b11) {
        Some(qos) => qos,
        None if v5 => return refused("subscription with QoS 3"),
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

/// A Topic Filter, checked to be a string and not empty.
fn topic_filter<'a>(reader: &mut FieldReader<'a>) -> Result<&'a str, DecodeError> {
    match reader.text("Topic Filter")? {
        "" => refused("empty topic filter"), // [MQTT5-4.7.3-1]
        filter => Ok(filter),
    }
}
