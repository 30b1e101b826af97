//! What traces are shown of a link: each packet that it takes in, and each that it has written by the end of its turn.
//!
//! What it has written is decoded again, so that a trace shows what the client gets, whatever has written it.

use super::attachment::Attachment;
use super::live::Live;
use super::{Phase, State};
use crate::broker::journey::Acknowledged;
use crate::broker::trace::{Direction, Seen};
use crate::broker::turn::{Scratch, Turn};
use crate::codec::{self, DecodeLimits, Decoded, Packet, Publish, Sender};
use crate::message::Delivery;
use crate::time::Time;

impl State {
    /// A call of the link begins. Returns how much was written before it.
    #[inline]
    pub(super) fn begin_trace(&self, turn: &mut Turn<'_>) -> usize {
        if turn.traced.shows_packets() {
            turn.traced.client = match &self.phase {
                Phase::Live(live) => Some(live.client_id().text().clone()),
                Phase::Opening(opening) => {
                    opening.asked.as_ref().map(|asked| asked.client_id.text().clone())
                }
                Phase::Connect(..) | Phase::Closed => None,
            };
        }
        turn.out.len()
    }

    /// A call of the link ends: shows what it has written beyond `before`.
    #[inline]
    pub(super) fn end_trace(&self, before: usize, turn: &mut Turn<'_>) {
        if turn.traced.shows_packets() && turn.out.len() > before {
            self.trace_written(before, turn.scratch, turn.now);
        }
    }

    /// A packet is about to be handled.
    #[cold]
    pub(super) fn trace_received(&self, packet: &Packet<'_>, len: usize, turn: &mut Turn<'_>) {
        if let (Phase::Connect(..), Packet::Connect(connect)) = (&self.phase, packet) {
            turn.traced.client = Some(connect.client_id.into());
        }
        if turn.traced.shows_packets() {
            self.show_received(packet, len, turn);
        }
        if let Some(live) = self.live() {
            live.attachment.trace_answer(packet, turn);
        }
    }

    fn show_received(&self, packet: &Packet<'_>, len: usize, turn: &Turn<'_>) {
        let (Some(set), Some(client)) = (turn.traced.set(), &turn.traced.client) else { return };
        let topic = match (packet, self.live()) {
            (Packet::Publish(publish), Some(live)) => live.session.topic_of(publish),
            _ => None,
        };
        set.show(&Seen { client, direction: Direction::In, packet, topic, len }, turn.now);
    }

    #[cold]
    fn trace_written(&self, before: usize, scratch: &Scratch, now: Time) {
        let traced = &scratch.traced;
        let (Some(set), Some(client)) = (traced.set(), &traced.client) else { return };
        let Some(version) = self.version else { return };
        let mut bytes = &scratch.out[before..];
        while let Ok(Decoded::Packet { packet, len }) =
            codec::decode(bytes, Some(version), Sender::Server, &DecodeLimits::NONE)
        {
            let topic = match (&packet, self.live()) {
                (Packet::Publish(publish), Some(live)) => live.session.sent_topic(publish),
                _ => None,
            };
            let seen = Seen { client, direction: Direction::Out, packet: &packet, topic, len };
            set.show(&seen, now);
            bytes = &bytes[len..];
        }
    }
}

impl Live {
    /// A delivery is about to be handed to the Session, which sends it.
    #[inline]
    pub(super) fn trace_in_hand(&self, delivery: &Delivery, turn: &mut Turn<'_>) {
        if turn.traced.is_on() {
            let traced = &mut turn.scratch.traced;
            turn.broker.trace_in_hand(&self.attachment.mailbox, delivery, traced);
        }
    }
}

impl Attachment {
    /// A PUBLISH leaves, or is promised.
    #[cold]
    pub(super) fn trace_sent(&self, publish: &Publish<'_>, turn: &mut Turn<'_>) {
        let key = publish.packet_id.map(|packet_id| (self.id(), packet_id));
        let at = (&mut turn.scratch.traced, turn.now);
        turn.broker.trace_sent(self.identity(), key, (publish.qos, publish.dup), at);
    }

    /// The client answers what it was sent, if it is that.
    fn trace_answer(&self, packet: &Packet<'_>, turn: &Turn<'_>) {
        let (by, ack) = match packet {
            Packet::PubAck(ack) => ("PUBACK", ack),
            Packet::PubRec(ack) => ("PUBREC", ack),
            Packet::PubComp(ack) => ("PUBCOMP", ack),
            _ => return,
        };
        let (key, reason) = ((self.id(), ack.packet_id), ack.reason);
        let last = by != "PUBREC" || reason.is_error();
        let acknowledged = Acknowledged { key, by, reason, last };
        turn.broker.trace_acknowledged(self.identity(), &acknowledged, (&turn.traced, turn.now));
    }
}
