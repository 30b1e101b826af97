//! What both decoders promise.

use sluicemq::codec::{Decoded, Sender, DecodeLimits, Packet, Publish, Version, decode, encode};

/// No panic; a packet that is taken can be written, and comes back as the same.
pub fn check(data: &[u8], version: Version) {
    for from in [Sender::Client, Sender::Server] {
        let Ok(Decoded::Packet { packet, len }) = decode(data, Some(version), from, &DecodeLimits::NONE)
        else {
            continue;
        };
        assert!(len <= data.len());
        let ids = match &packet {
            Packet::Publish(publish) => publish.properties.subscription_ids(),
            _ => Vec::new(),
        };
        let outgoing = match &packet {
            Packet::Publish(publish) => {
                Packet::Publish(Publish { subscription_ids: &ids, ..publish.clone() })
            }
            other => other.clone(),
        };
        // A CONNECT says its version itself.
        let version = match &packet {
            Packet::Connect(connect) => connect.version,
            _ => version,
        };
        let mut again = Vec::new();
        encode(&outgoing, version, usize::MAX, &mut again).expect("what was read can be written");
        match decode(&again, Some(version), from, &DecodeLimits::NONE) {
            Ok(Decoded::Packet { packet: second, len }) => {
                assert_eq!((second, len), (packet, again.len()));
            }
            other => panic!("{other:?}"),
        }
    }
}
