//! The codec: bytes to packets and back, for MQTT 3.1, 3.1.1 and 5. Two doors, [`decode`] and
//! [`encode`]. Knows nothing of sessions, topics' meaning, or limits beyond [`Limits`].
//!
//! Version 5 is the house language: 3.1.1 packets come out in the shape of version 5.

pub mod error;
pub mod packet;
pub mod property;
pub mod reason;

pub use error::{DecodeError, EncodeError};
pub use packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, Publish, QoS, RetainHandling,
    SubAck, Subscribe, SubscribeOptions, Unsubscribe, Version, Will,
};
pub use property::Properties;
pub use reason::Reason;

/// Limits on what is decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Largest packet, in bytes with its fixed header; checked as soon as the header is readable.
    pub packet_max: usize,
    /// Largest block of properties, bytes.
    pub properties_max: usize,
    /// Most User Properties in a packet.
    pub user_properties_max: usize,
    /// Most filters in a SUBSCRIBE or UNSUBSCRIBE.
    pub filters_max: usize,
}

impl Limits {
    /// Only what the wire format itself limits.
    pub const NONE: Limits = Limits {
        packet_max: usize::MAX,
        properties_max: usize::MAX,
        user_properties_max: usize::MAX,
        filters_max: usize::MAX,
    };
}

/// Which end the bytes come from: decides which packets and codes are legal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum From {
    /// Bytes a client sent.
    Client,
    /// Bytes a server sent (for test clients and the load generator).
    Server,
}

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
/// `version` is `None` until a CONNECT has been read; then only a CONNECT is accepted.
pub fn decode<'a>(
    _bytes: &'a [u8],
    _version: Option<Version>,
    _from: From,
    _limits: &Limits,
) -> Result<Decoded<'a>, DecodeError> {
    todo!()
}

/// The version that the CONNECT at the front of `bytes` asks for, if so much of it can be read:
/// to know in which form to refuse a CONNECT that does not decode.
pub fn connect_version(_bytes: &[u8]) -> Option<Version> {
    todo!()
}

/// Appends `packet` to `out` in the form of `version`; returns the bytes written.
///
/// What `version` lacks is left out or mapped; what a version 3 server cannot say (DISCONNECT,
/// AUTH, a CONNACK code without counterpart, e.g. for a malformed CONNECT) writes nothing and
/// returns 0. `max` is the receiver's Maximum Packet Size, whole packet: optional Reason Strings and User
/// Properties (not those of a PUBLISH) are left out first `[MQTT5-3.2.2-19]`; if it still does not
/// fit, nothing is written. On an error `out` is as it was.
pub fn encode(
    _packet: &Packet<'_>,
    _version: Version,
    _max: usize,
    _out: &mut Vec<u8>,
) -> Result<usize, EncodeError> {
    todo!()
}

/// Bytes `publish` takes on the wire in the form of `version`, fixed header included.
pub fn publish_len(_publish: &Publish<'_>, _version: Version) -> usize {
    todo!()
}
