//! The codec: bytes to packets and back, for MQTT 3.1, 3.1.1 and 5. Two functions: [`decode`] and
//! [`encode`]. The codec does not know sessions, the meaning of topics, or limits other than
//! [`DecodeLimits`].
//!
//! All packets have the shape of version 5: packets of 3.1.1 are decoded into it and encoded from it.
//!
//! ```
//! use sluicemq::codec::{self, DecodeLimits, Decoded, Packet, Publish, Sender, Version};
//!
//! let publish = Publish { topic: "a/b", payload: b"hello", ..Publish::default() };
//! let mut bytes = Vec::new();
//! codec::encode(&Packet::Publish(publish.clone()), Version::V5, usize::MAX, &mut bytes)?;
//! let decoded = codec::decode(&bytes, Some(Version::V5), Sender::Client, &DecodeLimits::NONE)?;
//! assert_eq!(decoded, Decoded::Packet { packet: Packet::Publish(publish), len: bytes.len() });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod decode;
mod encode;
pub mod error;
pub mod packet;
pub mod property;
pub mod reason;
mod shown;
mod version3;
mod wire;
pub mod words;

pub use decode::{
    Decoded, Glance, connect_version, decode, glance, more_filters, more_names, packet_len,
};
pub use encode::{encode, publish_len};
pub use error::{DecodeError, EncodeError};
pub use packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, Publish, RetainHandling, SubAck, Subscribe,
    SubscribeOptions, Unsubscribe, Will,
};
pub use property::{Properties, Property};
pub use reason::Reason;
pub use shown::ShownValue;
pub use words::{DecodeLimits, PacketId, QoS, Sender, Version};
