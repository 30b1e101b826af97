//! The codec: bytes to packets and back, for MQTT 3.1, 3.1.1 and 5. Two doors, [`decode`] and
//! [`encode`]. Knows nothing of sessions, topics' meaning, or limits beyond [`Limits`].
//!
//! Version 5 is the house language: 3.1.1 packets come out in the shape of version 5.

mod decode;
mod encode;
pub mod error;
pub mod packet;
pub mod property;
pub mod reason;
mod version3;
mod wire;

pub use decode::{Glance, connect_version, decode, glance};
pub use encode::{encode, publish_len};
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

/// Which end sent the bytes: decides which packets and codes are legal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sender {
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
