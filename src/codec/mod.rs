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
pub mod words;

pub use decode::{Decoded, Glance, connect_version, decode, glance};
pub use encode::{encode, publish_len};
pub use error::{DecodeError, EncodeError};
pub use packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, Publish, RetainHandling, SubAck, Subscribe,
    SubscribeOptions, Unsubscribe, Will,
};
pub use property::Properties;
pub use reason::Reason;
pub use words::{Limits, PacketId, QoS, Sender, Version};
