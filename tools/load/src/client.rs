//! One MQTT client without its socket: it is given bytes, appends its answers, and tells what
//! happened. An idle one owns nothing but its few fields.

use std::collections::VecDeque;

use sluicemq::codec::{
    Ack, ConnAck, DecodeError, DecodeLimits, Decoded, Disconnect, Packet, PacketId, Publish, QoS,
    Reason, Sender, Version, decode, encode,
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
    held: VecDeque<PacketId>,
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
        Client { version, phase: Phase::Apart, resumed: false, window, held: VecDeque::new() }
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
            match decode(&bytes[used..], Some(self.version), Sender::Server, &DecodeLimits::NONE)? {
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
            self.held = VecDeque::new();
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
                // Sent again because our PUBREC was lost: one message all the same.
                let known = again && self.held.contains(&id);
                if !known {
                    self.held.push_back(id);
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
            // Whatever its code: one that the broker no longer knows is finished, not refused.
            Packet::PubComp(ack) => {
                self.on_finished(&Ack::new(ack.packet_id, Reason::Success), told)
            }
            Packet::PubRel(ack) => {
                self.on_release(ack.packet_id);
                put_ack(PUBCOMP, ack.packet_id, out);
            }
            Packet::ConnAck(connack) => {
                if !connack.reason.is_error() {
                    self.phase = Phase::Open;
                    self.resumed = connack.session_present;
                    if !self.resumed {
                        self.held = VecDeque::new();
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

    /// Nearly always the first one.
    fn on_release(&mut self, id: PacketId) {
        if self.held.front() == Some(&id) {
            self.held.pop_front();
        } else if let Some(place) = self.held.iter().position(|other| *other == id) {
            self.held.remove(place);
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

#[cfg(test)]
mod tests {
    use sluicemq::codec::SubAck;

    use super::*;

    /// What a client told, in short.
    #[derive(Default)]
    struct Heard(Vec<String>);

    impl Told for Heard {
        fn message(&mut self, publish: &Publish<'_>, repeat_allowed: bool) {
            let again = if repeat_allowed { " perhaps again" } else { "" };
            self.0.push(format!("message {}{again}", publish.topic));
        }

        fn acknowledged(&mut self, sent: Sent, reason: Reason) {
            self.0.push(format!("acknowledged {} {reason:?}", sent.sequence));
        }

        fn answered(&mut self, connack: &ConnAck<'_>) {
            self.0.push(format!("answered {:?} {}", connack.reason, connack.session_present));
        }

        fn subscribed(&mut self, reasons: &[Reason]) {
            self.0.push(format!("subscribed {reasons:?}"));
        }

        fn dismissed(&mut self, reason: Reason) {
            self.0.push(format!("dismissed {reason:?}"));
        }
    }

    struct Desk {
        client: Client,
        /// What the broker's next packets are.
        bytes: Vec<u8>,
    }

    impl Desk {
        /// An open publisher of version 5.
        fn open(session_present: bool) -> Desk {
            let mut desk = Desk { client: Client::new(Version::V5, true), bytes: Vec::new() };
            desk.reconnect(session_present);
            desk
        }

        fn reconnect(&mut self, session_present: bool) {
            self.client.phase = Phase::Asking;
            let connack = ConnAck { session_present, ..ConnAck::default() };
            let told = self.receive(Packet::ConnAck(Box::new(connack))).0;
            assert_eq!(told, [format!("answered Success {session_present}")]);
            assert_eq!(self.client.phase(), Phase::Open);
        }

        fn send(&mut self, packet: &Packet<'_>) {
            encode(packet, Version::V5, usize::MAX, &mut self.bytes).unwrap();
        }

        /// What the client tells and answers to a packet.
        fn receive(&mut self, packet: Packet<'_>) -> (Vec<String>, Vec<u8>) {
            self.send(&packet);
            let (mut out, mut heard) = (Vec::new(), Heard::default());
            let used = self.client.receive(&self.bytes, &mut out, &mut heard).unwrap();
            assert_eq!(used, self.bytes.len());
            self.bytes.clear();
            (heard.0, out)
        }
    }

    fn id(id: u16) -> PacketId {
        PacketId::new(id).unwrap()
    }

    fn publish(qos: QoS, dup: bool) -> Packet<'static> {
        let packet_id = (qos != QoS::AtMostOnce).then(|| id(7));
        Packet::Publish(Publish { topic: "t", qos, dup, packet_id, ..Publish::default() })
    }

    fn ack(reason: Reason, packet_id: u16) -> Ack<'static> {
        Ack::new(id(packet_id), reason)
    }

    #[test]
    fn a_message_is_told_and_answered_by_its_quality() {
        let mut desk = Desk::open(false);
        for (qos, answer) in [
            (QoS::AtMostOnce, &[][..]),
            (QoS::AtLeastOnce, &[0x40, 2, 0, 7]),
            (QoS::ExactlyOnce, &[0x50, 2, 0, 7]),
        ] {
            let (told, out) = desk.receive(publish(qos, false));
            assert_eq!((told, &out[..]), (vec!["message t".into()], answer));
        }
        let (told, out) = desk.receive(Packet::PubRel(ack(Reason::Success, 7)));
        assert_eq!((told.len(), &out[..]), (0, &[0x70, 2, 0, 7][..]));
    }

    #[test]
    fn a_repeat_is_allowed_only_on_a_session_that_was_resumed() {
        let again = |session_present, qos| {
            let mut desk = Desk::open(session_present);
            desk.receive(publish(qos, false));
            desk.receive(publish(qos, true)).0
        };
        assert_eq!(again(false, QoS::AtLeastOnce), ["message t"]);
        assert_eq!(again(true, QoS::AtLeastOnce), ["message t perhaps again"]);
        assert_eq!(again(false, QoS::ExactlyOnce), ["message t"]);
        assert!(again(true, QoS::ExactlyOnce).is_empty());
    }

    #[test]
    fn a_message_that_was_released_is_a_new_one() {
        let mut desk = Desk::open(true);
        desk.receive(publish(QoS::ExactlyOnce, false));
        desk.receive(Packet::PubRel(ack(Reason::Success, 7)));
        assert_eq!(desk.receive(publish(QoS::ExactlyOnce, true)).0, ["message t"]);
    }

    #[test]
    fn a_handshake_ends_with_the_last_answer_or_a_refusal() {
        let mut desk = Desk::open(false);
        let sent = |sequence| Sent { stream: 0, sequence, due_ns: 0 };
        assert_eq!(desk.client.admit(QoS::AtMostOnce, sent(0)), None);
        for sequence in 1..=4 {
            let given = desk.client.admit(QoS::ExactlyOnce, sent(sequence));
            assert_eq!(given, Some(id(sequence as u16)));
        }
        let (told, _) = desk.receive(Packet::PubAck(ack(Reason::NoMatchingSubscribers, 1)));
        assert_eq!(told, ["acknowledged 1 NoMatchingSubscribers"]);
        let (told, out) = desk.receive(Packet::PubRec(ack(Reason::Success, 2)));
        assert_eq!((told.len(), &out[..]), (0, &[0x62, 2, 0, 2][..]));
        let (told, _) = desk.receive(Packet::PubComp(ack(Reason::PacketIdentifierNotFound, 2)));
        assert_eq!(told, ["acknowledged 2 Success"]);
        let (told, out) = desk.receive(Packet::PubRec(ack(Reason::QuotaExceeded, 3)));
        assert_eq!((told, out.len()), (vec!["acknowledged 3 QuotaExceeded".into()], 0));
        assert_eq!(desk.client.window().map(Window::len), Some(1));
        let (told, _) = desk.receive(Packet::PubAck(ack(Reason::Success, 9)));
        assert!(told.is_empty(), "nobody sent number 9");
    }

    #[test]
    fn part_of_a_packet_is_left_for_later() {
        let mut desk = Desk::open(false);
        desk.send(&publish(QoS::AtMostOnce, false));
        let whole = desk.bytes.len();
        desk.send(&publish(QoS::AtLeastOnce, false));
        for len in whole..desk.bytes.len() {
            let mut heard = Heard::default();
            let used = desk.client.receive(&desk.bytes[..len], &mut Vec::new(), &mut heard);
            assert_eq!((used, heard.0.len()), (Ok(whole), 1));
        }
    }

    #[test]
    fn what_the_broker_says_beside_messages_is_told() {
        let mut desk = Desk::open(false);
        let suback = SubAck {
            packet_id: id(1),
            reason_string: None,
            user_properties: Default::default(),
            reasons: vec![Reason::GrantedQoS1, Reason::NotAuthorized],
        };
        let (told, _) = desk.receive(Packet::SubAck(suback));
        assert_eq!(told, ["subscribed [GrantedQoS1, NotAuthorized]"]);
        let reason = Reason::SessionTakenOver;
        let goodbye = Packet::Disconnect(Disconnect { reason, ..Disconnect::default() });
        assert_eq!(desk.receive(goodbye).0, ["dismissed SessionTakenOver"]);
        let refused = ConnAck { reason: Reason::NotAuthorized, ..ConnAck::default() };
        desk.client.phase = Phase::Asking;
        let (told, _) = desk.receive(Packet::ConnAck(Box::new(refused)));
        assert_eq!(told, ["answered NotAuthorized false"]);
        assert_eq!(desk.client.phase(), Phase::Asking);
    }

    #[test]
    fn a_broker_that_breaks_the_protocol_is_an_error() {
        let mut desk = Desk::open(false);
        for bytes in [&[0xC0, 0][..], &[0x00, 0], &[0x36, 4, 0, 1, b't', 0]] {
            let mut heard = Heard::default();
            assert!(desk.client.receive(bytes, &mut Vec::new(), &mut heard).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn the_goodbye_is_said_only_where_somebody_listens() {
        let mut out = Vec::new();
        Client::new(Version::V5, false).disconnect(&mut out);
        assert!(out.is_empty());
        let mut desk = Desk::open(false);
        desk.client.disconnect(&mut out);
        assert_eq!(out, [0xE0, 2, 0, 0]);
        assert_eq!(desk.client.phase(), Phase::Apart);
    }
}
