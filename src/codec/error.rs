//! Why bytes could not be read as a packet, or a packet not be written.

use super::reason::Reason;
use super::words::Version;

/// Why bytes could not be read as a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes cannot be parsed; the field or rule.
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    /// The bytes can be parsed and are not allowed; the Reason Code to close with, and the rule.
    #[error("{1}")]
    Refused(Reason, &'static str),
    /// Larger than the limit.
    #[error("packet of {len} bytes exceeds the maximum of {max}")]
    TooLarge {
        /// Whole packet, with its fixed header.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// CONNECT of a version that the codec does not know; to be answered in the form of `answer`.
    #[error("unsupported protocol level {level}")]
    UnsupportedVersion {
        /// The level byte.
        level: u8,
        /// The form of the answer.
        answer: Version,
    },
}

impl DecodeError {
    /// The Reason Code to close the Network Connection with.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_) => Reason::MalformedPacket,
            Self::Refused(reason, _) => *reason,
            Self::TooLarge { .. } => Reason::PacketTooLarge,
            Self::UnsupportedVersion { .. } => Reason::UnsupportedProtocolVersion,
        }
    }
}

/// Why a packet was not written; the buffer is as it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EncodeError {
    /// It would exceed the receiver's Maximum Packet Size.
    #[error("packet of {len} bytes exceeds the receiver's maximum of {max}")]
    TooLarge {
        /// Whole packet.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A string or binary field longer than 65,535 bytes.
    #[error("field longer than 65535 bytes")]
    FieldTooLong,
}
