//! One MQTT client without its socket: it is given bytes, appends its answers, and tells what
//! happened. An idle one owns nothing but its few fields.

use std::collections::VecDeque;

use sluicemq::codec::{
    Ack, ConnAck, DecodeError, Decoded, Disconnect, From, Limits, Packet, PacketId, Publish, QoS,
    Reason, Version, decode, encode,
};

use crate::window::{Sent, Window};

/// One MQTT client.
#[derive(Debug)]
pub struct Client {
    version: Version,
    phase: Phase,
    /// The connection resumed a Session: what was in flight may come again.
    resumed: bool,
    /// What it has in flight at quality of service 1 and 2; only of a publisher.
    window: Option<Box<Window>>,
    /// Packet Identifiers of quality of service 2 that were received and not yet released.
    held: Option<Box<VecDeque<PacketId>>>,
}

/// What a client tells.
pub trait Told {
    /// A message came in. `repeat_allowed`: it may have come before.
    fn message(&mut self, publish: &Publish<'_>, repeat_allowed: bool);
    /// The handshake of a message is over; the broker refused it if the reason is an error.
    fn acknowledged(&mut self, sent: Sent, reason: Reason);
    /// The answer to CONNECT.
    fn answered(&mut self, connack: &ConnAck<'_>);
    /// The answer to a SUBSCRIBE.
    fn subscribed(&mut self, reasons: &[Reason]);
    /// The broker says why it closes.
    fn dismissed(&mut self, reason: Reason);
}

/// Where a client is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// No connection.
    Apart,
    /// CONNECT was sent.
    Asking,
    /// CONNACK came.
    Open,
}

impl Client {
    /// A client without a connection.
    pub fn new(version: Version, publishes: bool) -> Client {
        let window = publishes.then(Box::default);
        Client { version, phase: Phase::Apart, resumed: false, window, held: None }
    }

    /// A connection was made: asks to be let in.
    ///
    /// # Errors
    ///
    /// If a field of it is too long.
    pub fn connect(&mut self, connect: Packet<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        self.phase = Phase::Asking;
        self.put(&connect, out).map(drop)
    }

    /// Bytes came: handles every whole packet, and returns how many bytes they were.
    ///
    /// # Errors
    ///
    /// If the broker broke the protocol.
    #[inline]
    pub fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        told: &mut impl Told,
    ) -> Result<usize, DecodeError> {
        let mut used = 0;
        loop {
            match decode(&bytes[used..], Some(self.version), From::Server, &Limits::NONE)? {
                Decoded::Need(_) => return Ok(used),
                Decoded::Packet { packet, len } => {
                    used += len;
                    match packet {
                        Packet::Publish(publish) => self.on_publish(&publish, out, told),
                        Packet::PubAck(ack) => self.on_finished(&ack, told),
                        other => self.on_other(other, out, told)?,
                    }
                }
            }
        }
    }

    /// Gives an outgoing message its identifier; none at quality of service 0.
    ///
    /// # Panics
    ///
    /// If there is no [room](Client::window), or it is no publisher.
    #[inline]
    pub fn admit(&mut self, qos: QoS, sent: Sent) -> Option<PacketId> {
        (qos != QoS::AtMostOnce)
            .then(|| self.window.as_mut().expect("a publisher has a window").push(sent))
    }

    /// Ends the connection in peace.
    pub fn disconnect(&mut self, out: &mut Vec<u8>) {
        if self.phase == Phase::Open {
            let goodbye = Packet::Disconnect(Disconnect::default());
            self.put(&goodbye, out).expect("a DISCONNECT without properties fits");
        }
        self.phase = Phase::Apart;
    }

    /// The connection is gone. What was in flight stays, if the Session does.
    pub fn lost(&mut self, session_stays: bool) {
        self.phase = Phase::Apart;
        if !session_stays {
            self.held = None;
        }
    }

    /// Shows the broker that it lives.
    pub fn ping(&self, out: &mut Vec<u8>) {
        self.put(&Packet::PingReq, out).expect("a PINGREQ has no fields");
    }

    /// Appends a packet.
    ///
    /// # Errors
    ///
    /// If a field of it is too long.
    pub fn put(&self, packet: &Packet<'_>, out: &mut Vec<u8>) -> Result<usize, String> {
        encode(packet, self.version, usize::MAX, out).map_err(|error| error.to_string())
    }

    /// Where it is.
    #[inline]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What it has in flight, if it is a publisher.
    #[inline]
    pub fn window(&self) -> Option<&Window> {
        self.window.as_deref()
    }

    /// What it has in flight, to forget it.
    pub fn window_mut(&mut self) -> Option<&mut Window> {
        self.window.as_deref_mut()
    }

    #[inline]
    fn on_publish(&mut self, publish: &Publish<'_>, out: &mut Vec<u8>, told: &mut impl Told) {
        let again = publish.dup && self.resumed;
        match (publish.qos, publish.packet_id) {
            (QoS::AtMostOnce, _) | (_, None) => told.message(publish, false),
            (QoS::AtLeastOnce, Some(id)) => {
                told.message(publish, again);
                put_ack(PUBACK, id, out);
            }
            (QoS::ExactlyOnce, Some(id)) => {
                let held = self.held.get_or_insert_default();
                // Sent again because our PUBREC was lost: one message all the same.
                let known = again && held.contains(&id);
                if !known {
                    held.push_back(id);
                    told.message(publish, false);
                }
                put_ack(PUBREC, id, out);
            }
        }
    }

    #[inline]
    fn on_finished(&mut self, ack: &Ack<'_>, told: &mut impl Told) {
        let sent = self.window.as_mut().and_then(|window| window.finish(ack.packet_id));
        if let Some(sent) = sent {
            told.acknowledged(sent, ack.reason);
        }
    }

    fn on_other(
        &mut self,
        packet: Packet<'_>,
        out: &mut Vec<u8>,
        told: &mut impl Told,
    ) -> Result<(), DecodeError> {
        match packet {
            Packet::PubRec(ack) if ack.reason.is_error() => self.on_finished(&ack, told),
            Packet::PubRec(ack) => {
                if let Some(window) = &mut self.window {
                    window.release(ack.packet_id);
                }
                put_ack(PUBREL, ack.packet_id, out);
            }
            Packet::PubComp(ack) => self.on_finished(&ack, told),
            Packet::PubRel(ack) => {
                self.on_release(ack.packet_id);
                put_ack(PUBCOMP, ack.packet_id, out);
            }
            Packet::ConnAck(connack) => {
                if !connack.reason.is_error() {
                    self.phase = Phase::Open;
                    self.resumed = connack.session_present;
                    if !self.resumed {
                        self.held = None;
                    }
                }
                told.answered(&connack);
            }
            Packet::SubAck(suback) => told.subscribed(&suback.reasons),
            Packet::Disconnect(disconnect) => told.dismissed(disconnect.reason),
            Packet::UnsubAck(_) | Packet::PingResp => {}
            Packet::Publish(_)
            | Packet::PubAck(_)
            | Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Auth(_) => {
                return Err(DecodeError::Refused(Reason::ProtocolError, "not asked for"));
            }
        }
        Ok(())
    }

    /// Nearly always the first one; an empty list is given back.
    fn on_release(&mut self, id: PacketId) {
        let Some(held) = &mut self.held else { return };
        if held.front() == Some(&id) {
            held.pop_front();
        } else if let Some(place) = held.iter().position(|other| *other == id) {
            held.remove(place);
        }
    }
}

/// The short form, which both versions have for success.
#[inline]
fn put_ack(first: u8, id: PacketId, out: &mut Vec<u8>) {
    let [high, low] = id.get().to_be_bytes();
    out.extend_from_slice(&[first, 2, high, low]);
}

const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
/// With the flags that the standard wants.
pub(crate) const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;
