//! The small words that every part of the codec uses: Packet Identifier, version, `QoS`, limits.

use std::num::NonZeroU16;

/// A Packet Identifier; zero is impossible `[MQTT5-2.2.1-3]`.
pub type PacketId = NonZeroU16;

/// Version of the protocol on one Network Connection.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Version {
    /// MQTT 3.1 (`MQIsdp`, level 3), treated like 3.1.1.
    V31,
    /// MQTT 3.1.1 (level 4).
    V311,
    /// MQTT 5.
    V5,
}

impl Version {
    /// The number of the standard.
    pub const fn name(self) -> &'static str {
        match self {
            Version::V31 => "3.1",
            Version::V311 => "3.1.1",
            Version::V5 => "5",
        }
    }
}

/// Quality of service.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum QoS {
    /// At most once.
    #[default]
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// The level with the number `bits`, if there is one.
    pub const fn from_bits(bits: u8) -> Option<QoS> {
        match bits {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }
}

/// Limits on what is decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DecodeLimits {
    /// Largest packet, in bytes with its fixed header; checked as soon as the header is readable.
    pub packet_max: usize,
    /// Largest block of properties, bytes.
    pub properties_max: usize,
    /// Most User Properties in a packet.
    pub user_properties_max: usize,
    /// Topic Filters of a SUBSCRIBE or UNSUBSCRIBE that are decoded at once; the packet's `rest` has those
    /// after them.
    pub filters_at_once: usize,
}

impl DecodeLimits {
    /// Only what the wire format itself limits.
    pub const NONE: DecodeLimits = DecodeLimits {
        packet_max: usize::MAX,
        properties_max: usize::MAX,
        user_properties_max: usize::MAX,
        filters_at_once: usize::MAX,
    };
}

/// Which end sent the bytes: decides which packets and codes are legal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sender {
    /// Bytes a client sent.
    Client,
    /// Bytes a server sent (for test clients and the load generator).
    Server,
}

/// The bit of the Protocol Level by which a bridge of mosquitto says that it is one.
pub(super) const BRIDGE: u8 = 0x80;
