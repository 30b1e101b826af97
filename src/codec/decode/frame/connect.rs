//! CONNECT and CONNACK.

use std::num::{NonZeroU16, NonZeroU32};

use super::{CONNECT, PacketFrame, reason, refused};
use crate::codec::error::DecodeError;
use crate::codec::packet::{ConnAck, Connect, Will};
use crate::codec::property::{Property, carrier, read_block};
use crate::codec::reason::{Reason, carrier as reason_carrier};
use crate::codec::version3;
use crate::codec::wire::{FieldReader, RemainingLength, remaining_length};
use crate::codec::words::{BRIDGE, QoS, Version};

/// The version that the CONNECT at the front of `bytes` asks for, if its Protocol Level can be read:
/// a CONNECT that does not decode is refused in the form of that version.
///
/// For an unknown level it is the version that the client most likely reads.
pub fn connect_version(bytes: &[u8]) -> Option<Version> {
    let (first, rest) = bytes.split_first()?;
    if first >> 4 != CONNECT {
        return None;
    }
    let RemainingLength::Known { len, .. } = remaining_length(rest) else {
        return None;
    };
    let mut reader = FieldReader::new(&rest[len..]);
    let name = reader.text("Protocol Name").ok()?;
    match version(name, reader.u8("Protocol Level").ok()?) {
        Ok((version, _)) | Err(DecodeError::UnsupportedVersion { answer: version, .. }) => {
            Some(version)
        }
        Err(_) => None,
    }
}

/// The version that a Protocol Name and a Protocol Level name together, and whether the level has the
/// bridge bit.
fn version(name: &str, level: u8) -> Result<(Version, bool), DecodeError> {
    match (name, level) {
        ("MQTT", 5) => Ok((Version::V5, false)),
        ("MQTT", 4 | 0x84) => Ok((Version::V311, level & BRIDGE != 0)),
        ("MQIsdp", 3 | 0x83) => Ok((Version::V31, level & BRIDGE != 0)),
        ("MQTT", 0..=3 | 0x83) | ("MQIsdp", _) => {
            Err(DecodeError::UnsupportedVersion { level, answer: Version::V311 })
        }
        ("MQTT", _) => Err(DecodeError::UnsupportedVersion { level, answer: Version::V5 }),
        _ => Err(DecodeError::Malformed("Protocol Name")), // [MQTT5-3.1.2-1]
    }
}

/// Connect Flags (3.1.2.3).
mod flag {
    pub(super) const RESERVED: u8 = 1;
    pub(super) const CLEAN_START: u8 = 1 << 1;
    pub(super) const WILL: u8 = 1 << 2;
    pub(super) const WILL_QOS: u8 = 0b11 << 3;
    pub(super) const WILL_RETAIN: u8 = 1 << 5;
    pub(super) const PASSWORD: u8 = 1 << 6;
    pub(super) const USER_NAME: u8 = 1 << 7;
}

impl PacketFrame<'_> {
    pub(super) fn connect<'a>(
        &self,
        reader: &mut FieldReader<'a>,
    ) -> Result<Connect<'a>, DecodeError> {
        let name = reader.text("Protocol Name")?;
        let (version, bridge) = version(name, reader.u8("Protocol Level")?)?;
        let v5 = version == Version::V5;
        if v5 && !self.shortest {
            // The version is known only now. [MQTT5-1.5.5-1]
            return Err(DecodeError::Malformed("Remaining Length not in its shortest form"));
        }
        let flags = reader.u8("Connect Flags")?;
        check_flags(flags, version)?;
        let mut connect = empty_connect(version, flags & flag::CLEAN_START != 0);
        connect.bridge = bridge;
        connect.keep_alive = reader.u16("Keep Alive")?;
        let mut users = 0;
        if v5 {
            users += self.connect_properties(reader, &mut connect)?;
        }
        connect.client_id = reader.text("Client Identifier")?;
        if flags & flag::WILL != 0 {
            let (will, will_users) = self.will(reader, flags, v5)?;
            connect.will = Some(will);
            users += will_users;
        }
        if users > self.limits.user_properties_max {
            return Err(DecodeError::Refused(Reason::QuotaExceeded, "too many User Properties"));
        }
        // In 3.1 the length of the packet has precedence over these flags.
        let there = |reader: &FieldReader<'_>| version != Version::V31 || !reader.is_empty();
        if flags & flag::USER_NAME != 0 && there(reader) {
            connect.user_name = Some(reader.text("User Name")?);
        }
        if flags & flag::PASSWORD != 0 && there(reader) {
            connect.password = Some(reader.binary("Password")?);
        }
        Ok(connect)
    }

    /// Returns how many User Properties there are.
    fn connect_properties<'a>(
        &self,
        reader: &mut FieldReader<'a>,
        connect: &mut Connect<'a>,
    ) -> Result<usize, DecodeError> {
        let block =
            read_block(reader, carrier::CONNECT, self.limits, |property, value| match property {
                Property::SessionExpiryInterval => connect.session_expiry = value.number(),
                Property::ReceiveMaximum => {
                    connect.receive_maximum =
                        NonZeroU16::new(value.u16()).unwrap_or(NonZeroU16::MAX);
                }
                Property::MaximumPacketSize => {
                    connect.maximum_packet_size = NonZeroU32::new(value.number());
                }
                Property::TopicAliasMaximum => connect.topic_alias_maximum = value.u16(),
                Property::RequestResponseInformation => {
                    connect.request_response_information = value.flag();
                }
                Property::RequestProblemInformation => {
                    connect.request_problem_information = value.flag();
                }
                Property::AuthenticationMethod => connect.authentication_method = value.text(),
                Property::AuthenticationData => connect.authentication_data = value.binary(),
                _ => {}
            })?;
        if connect.authentication_data.is_some() && connect.authentication_method.is_none() {
            return refused("Authentication Data without an Authentication Method");
        }
        connect.user_properties = block.user;
        Ok(block.users)
    }

    /// The Will, and how many User Properties it has.
    fn will<'a>(
        &self,
        reader: &mut FieldReader<'a>,
        flags: u8,
        v5: bool,
    ) -> Result<(Will<'a>, usize), DecodeError> {
        let mut will = Will {
            // [MQTT5-3.1.2-12]
            qos: QoS::from_bits((flags & flag::WILL_QOS) >> 3)
                .ok_or(DecodeError::Malformed("Will QoS"))?,
            retain: flags & flag::WILL_RETAIN != 0,
            delay: 0,
            expiry: None,
            topic: "",
            payload: &[],
            properties: Default::default(),
        };
        let mut users = 0;
        if v5 {
            let block =
                read_block(reader, carrier::WILL, self.limits, |property, value| match property {
                    Property::WillDelayInterval => will.delay = value.number(),
                    Property::MessageExpiryInterval => will.expiry = Some(value.number()),
                    _ => {}
                })?;
            will.properties = block.all;
            users = block.users;
        }
        will.topic = reader.topic("Will Topic", Reason::TopicNameInvalid)?;
        if will.topic.is_empty() {
            return Err(DecodeError::Refused(Reason::TopicNameInvalid, "empty Will Topic"));
        }
        will.payload = reader.binary("Will Payload")?;
        Ok((will, users))
    }

    pub(super) fn connack<'a>(
        &self,
        reader: &mut FieldReader<'a>,
    ) -> Result<ConnAck<'a>, DecodeError> {
        let flags = reader.u8("Connect Acknowledge Flags")?;
        if flags & !1 != 0 {
            return Err(DecodeError::Malformed("Connect Acknowledge Flags")); // [MQTT5-3.2.2-1]
        }
        let mut connack = ConnAck { session_present: flags != 0, ..ConnAck::default() };
        if self.v5 {
            connack.reason = reason(reader, reason_carrier::CONNACK)?;
            self.connack_properties(reader, &mut connack)?;
        } else {
            connack.reason = version3::connack_reason(reader.u8("Connect Return Code")?)
                .ok_or(DecodeError::Malformed("reserved Connect Return Code"))?;
        }
        if connack.session_present && connack.reason != Reason::Success {
            return refused("Session Present with a failure"); // [MQTT5-3.2.2-6]
        }
        Ok(connack)
    }

    fn connack_properties<'a>(
        &self,
        reader: &mut FieldReader<'a>,
        connack: &mut ConnAck<'a>,
    ) -> Result<(), DecodeError> {
        let block = read_block(reader, carrier::CONNACK, self.limits, |property, value| {
            let flag = Some(value.flag());
            match property {
                Property::SessionExpiryInterval => connack.session_expiry = Some(value.number()),
                Property::ReceiveMaximum => {
                    connack.receive_maximum = NonZeroU16::new(value.u16());
                }
                Property::MaximumQoS => connack.maximum_qos = QoS::from_bits(value.number() as u8),
                Property::RetainAvailable => connack.retain_available = flag,
                Property::MaximumPacketSize => {
                    connack.maximum_packet_size = NonZeroU32::new(value.number());
                }
                Property::AssignedClientIdentifier => connack.assigned_client_id = value.text(),
                Property::TopicAliasMaximum => connack.topic_alias_maximum = Some(value.u16()),
                Property::ReasonString => connack.reason_string = value.text(),
                Property::WildcardSubscriptionAvailable => connack.wildcard_available = flag,
                Property::SubscriptionIdentifiersAvailable => {
                    connack.subscription_ids_available = flag;
                }
                Property::SharedSubscriptionAvailable => connack.shared_available = flag,
                Property::ServerKeepAlive => connack.server_keep_alive = Some(value.u16()),
                Property::ResponseInformation => connack.response_information = value.text(),
                Property::ServerReference => connack.server_reference = value.text(),
                Property::AuthenticationMethod => connack.authentication_method = value.text(),
                Property::AuthenticationData => connack.authentication_data = value.binary(),
                _ => {}
            }
        })?;
        connack.user_properties = block.user;
        Ok(())
    }
}

fn check_flags(flags: u8, version: Version) -> Result<(), DecodeError> {
    // In 3.1 the reserved flag is not used, nor is what belongs to a Will where there is none.
    let strict = version != Version::V31;
    if strict && flags & flag::RESERVED != 0 {
        return Err(DecodeError::Malformed("reserved Connect Flag")); // [MQTT5-3.1.2-3]
    }
    if strict && flags & flag::WILL == 0 && flags & (flag::WILL_QOS | flag::WILL_RETAIN) != 0 {
        // [MQTT5-3.1.2-11] [MQTT5-3.1.2-13]
        return Err(DecodeError::Malformed("Will QoS or Will Retain without a Will"));
    }
    if version != Version::V5 && flags & flag::PASSWORD != 0 && flags & flag::USER_NAME == 0 {
        // [MQTT311-3.1.2-22]; legal in version 5.
        return Err(DecodeError::Malformed("Password without a User Name"));
    }
    Ok(())
}

/// A CONNECT in which every optional thing is at its default.
fn empty_connect<'a>(version: Version, clean_start: bool) -> Connect<'a> {
    // A version 3 session without Clean Session never expires.
    let forever = version != Version::V5 && !clean_start;
    Connect {
        version,
        clean_start,
        session_expiry: if forever { u32::MAX } else { 0 },
        ..Connect::default()
    }
}
