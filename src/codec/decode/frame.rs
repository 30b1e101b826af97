//! One frame: what its first byte says, and what the readers of bodies share.

mod connect;
mod disconnect;
mod publish;
mod subscribe;

use crate::codec::error::DecodeError;
use crate::codec::packet::Packet;
use crate::codec::reason::{Reason, carrier};
use crate::codec::wire::FieldReader;
use crate::codec::words::{DecodeLimits, Sender, Version};

pub use connect::connect_version;
pub use subscribe::{more_filters, more_names};

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
pub(super) const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;
const SUBSCRIBE: u8 = 8;
const SUBACK: u8 = 9;
const UNSUBSCRIBE: u8 = 10;
const UNSUBACK: u8 = 11;
pub(super) const PINGREQ: u8 = 12;
const PINGRESP: u8 = 13;
pub(super) const DISCONNECT: u8 = 14;
const AUTH: u8 = 15;

/// What the readers of bodies know of a packet besides its body.
#[derive(Clone, Copy)]
pub(super) struct PacketFrame<'l> {
    /// First byte, checked.
    first: u8,
    /// The Remaining Length was in its shortest form.
    shortest: bool,
    /// The connection speaks version 5 (not known before CONNECT, which does not ask).
    v5: bool,
    sender: Sender,
    limits: &'l DecodeLimits,
}

/// What [`decode`](super::decode()) found at the front of the bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded<'a> {
    /// A whole packet of `len` bytes.
    Packet {
        /// The packet, borrowed from the bytes.
        packet: Packet<'a>,
        /// Bytes it took.
        len: usize,
    },
    /// The packet is not complete: at least this many bytes are needed in all.
    Need(usize),
}

impl<'l> PacketFrame<'l> {
    #[inline(always)]
    pub(super) fn new(
        first: u8,
        shortest: bool,
        version: Option<Version>,
        sender: Sender,
        limits: &'l DecodeLimits,
    ) -> PacketFrame<'l> {
        PacketFrame { first, shortest, v5: version == Some(Version::V5), sender, limits }
    }

    /// Reads the body of any packet but a PUBLISH.
    #[inline(never)]
    pub(super) fn other<'a>(
        &self,
        reader: &mut FieldReader<'a>,
    ) -> Result<Packet<'a>, DecodeError> {
        let packet = match self.first >> 4 {
            CONNECT => Packet::Connect(Box::new(self.connect(reader)?)),
            CONNACK => Packet::ConnAck(Box::new(self.connack(reader)?)),
            PUBACK => Packet::PubAck(self.ack(reader, carrier::PUBACK)?),
            PUBREC => Packet::PubRec(self.ack(reader, carrier::PUBREC)?),
            PUBREL => Packet::PubRel(self.ack(reader, carrier::PUBREL)?),
            PUBCOMP => Packet::PubComp(self.ack(reader, carrier::PUBCOMP)?),
            SUBSCRIBE => Packet::Subscribe(self.subscribe(reader)?),
            SUBACK => Packet::SubAck(self.suback(reader)?),
            UNSUBSCRIBE => Packet::Unsubscribe(self.unsubscribe(reader)?),
            UNSUBACK => Packet::UnsubAck(self.unsuback(reader)?),
            PINGREQ => Packet::PingReq,
            PINGRESP => Packet::PingResp,
            DISCONNECT => Packet::Disconnect(self.disconnect(reader)?),
            AUTH => Packet::Auth(self.auth(reader)?),
            _ => return Err(DecodeError::Malformed("reserved packet type")),
        };
        reader.finish()?;
        Ok(packet)
    }
}

/// Checks what the first byte shows: packet type, flags and direction.
#[inline]
pub(super) fn check_first_byte(
    first: u8,
    version: Option<Version>,
    sender: Sender,
) -> Result<(), DecodeError> {
    let kind = first >> 4;
    if kind == PUBLISH && version.is_some() {
        return match first & 0b1110 {
            0b0110 | 0b1110 => Err(DecodeError::Malformed("QoS 3")), // [MQTT5-3.3.1-4]
            // [MQTT5-3.3.1-2]
            0b1000 => Err(DecodeError::Refused(Reason::ProtocolError, "DUP with QoS 0")),
            _ => Ok(()),
        };
    }
    let v5 = version == Some(Version::V5);
    if kind == 0 || (kind == AUTH && version.is_some() && !v5) {
        return Err(DecodeError::Malformed("reserved packet type"));
    }
    if version.is_none() && kind != CONNECT {
        // [MQTT5-3.1.0-1]
        return Err(DecodeError::Refused(Reason::ProtocolError, "first packet is no CONNECT"));
    }
    let asks = matches!(kind, PUBREL | SUBSCRIBE | UNSUBSCRIBE);
    // In 3.1 these have a DUP flag: its clients send them again with it.
    let dup = if asks && version == Some(Version::V31) { 0b1000 } else { 0 };
    if first & 0x0F & !dup != u8::from(asks) << 1 {
        return Err(DecodeError::Malformed("fixed header flags")); // [MQTT5-2.1.3-1]
    }
    let backwards = match sender {
        Sender::Client => matches!(kind, CONNACK | SUBACK | UNSUBACK | PINGRESP),
        Sender::Server => {
            matches!(kind, CONNECT | SUBSCRIBE | UNSUBSCRIBE | PINGREQ)
                || (kind == DISCONNECT && !v5)
        }
    };
    if backwards {
        return Err(DecodeError::Refused(Reason::ProtocolError, "packet of the other side"));
    }
    Ok(())
}

/// A Protocol Error that says `why`.
fn refused<T>(why: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError::Refused(Reason::ProtocolError, why))
}

/// A Reason Code that a packet of `packets` may carry.
fn reason(reader: &mut FieldReader<'_>, packets: u16) -> Result<Reason, DecodeError> {
    let byte = reader.u8("Reason Code")?;
    match Reason::from_byte(byte).filter(|reason| reason.allowed_in(packets)) {
        Some(reason) => Ok(reason),
        None => refused("reason code that this packet may not carry"),
    }
}
