//! What the client receives: PUBLISH and PUBREL out, PUBACK, PUBREC and PUBCOMP in.

use std::num::NonZeroU16;

use super::review::RevokedCopies;
use super::violation::Violation;
use super::window::{FlightStage, Release, WrongKind};
use super::{Action, Asked, Context, CopyEnd, EndedCopy, Op, PacketResult, Session, answer};
use crate::codec::{self, Ack, Packet, PacketId, Publish, QoS, Reason};
use crate::message::{Delivery, Grounds, GroupId, Lane, Loss, RefusalKind};
use crate::topic::TopicName;

impl Session {
    /// A message was taken for the client: sends it, or reports why it cannot.
    pub(super) fn on_deliver(
        &mut self,
        delivery: Delivery,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) {
        let message = &delivery.message;
        let name = message.topic();
        let copy = EndedCopy::new(&delivery);
        let loss = if message.expired(cx.now) {
            Some(Loss::Expired) // [MQTT5-3.3.2-5]
        } else if !self.may_receive(&delivery, cx, out) {
            Some(Loss::NotAuthorized)
        } else {
            None
        };
        if let Some(loss) = loss {
            out(Action::Ended { copy, end: CopyEnd::Lost(loss) });
            return;
        }
        let mut publish = outgoing(&delivery, name, cx);
        let alias = match self.terms.alias_out_max {
            0 => None,
            max => self.aliases.get_or_insert_default().outgoing.find(publish.topic, max),
        };
        let topic = publish.topic;
        if let Some((alias, new)) = alias {
            publish.topic_alias = Some(alias);
            publish.topic = if new { topic } else { "" };
        }
        if delivery.qos > QoS::AtMostOnce {
            publish.packet_id = Some(PacketId::MAX); // For the size; the real one follows.
        }
        if !self.fits(&publish) {
            // Dropped for this client alone, as if it had been delivered [MQTT5-3.1.2-25].
            out(Action::Ended { copy, end: CopyEnd::Lost(Loss::TooLarge) });
            return;
        }
        if let Some((alias, true)) = alias {
            self.aliases.get_or_insert_default().outgoing.set(topic, alias);
        }
        if delivery.qos == QoS::AtMostOnce {
            out(Action::Send { packet: &Packet::Publish(publish), after_ops: false });
            out(Action::Ended { copy, end: CopyEnd::Completed });
            return;
        }
        let packet_id = self.window.next_id();
        publish.packet_id = Some(packet_id);
        self.remember(cx, out, || Op::Sent { packet_id, delivery: delivery.clone() });
        // A QoS 2 PUBLISH promises its identifier; one of QoS 1 may come twice anyway.
        let after_ops = delivery.qos == QoS::ExactlyOnce;
        out(Action::Send { packet: &Packet::Publish(publish), after_ops });
        // Under an identifier, until it is answered.
        self.window.admit(packet_id, delivery);
    }

    /// The topic of a PUBLISH that was sent, by its alias if it has no other.
    pub(crate) fn sent_topic<'t>(&'t self, publish: &Publish<'t>) -> Option<&'t str> {
        match publish.topic_alias {
            Some(alias) if publish.topic.is_empty() => {
                self.aliases.as_ref().and_then(|aliases| aliases.outgoing.topic(alias))
            }
            _ => Some(publish.topic),
        }
    }

    /// Sends again what was in flight when the last connection ended `[MQTT5-4.4.0-1]`. Such a
    /// message does not expire any more `[MQTT5-4.3.3-7]`.
    pub(super) fn on_resend(
        &mut self,
        most: usize,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) -> bool {
        let max = self.window_max(cx);
        let packet_max = self.terms.packet_max;
        let version = self.terms.version;
        let mut lost = Vec::new();
        let Session { window, identity, subscriptions, cursors, restored, .. } = self;
        let revoked = RevokedCopies { identity, subscriptions, cursors, restored: *restored };
        for _ in 0..most {
            let Some(flight) = window.resend(max) else { break };
            let packet_id = flight.packet_id;
            match &flight.state {
                FlightStage::Released { .. } => {
                    let packet = Packet::PubRel(Ack::new(packet_id, Reason::Success));
                    // CONNACK has waited for all that the last connection remembered.
                    out(Action::Send { packet: &packet, after_ops: false });
                }
                // It went with the connection.
                FlightStage::GivenAway(..) => {}
                FlightStage::Sent(delivery) => {
                    let decision = cx.access.may(identity, &Asked::receive(delivery));
                    if !decision.is_allowed() || revoked.holds(delivery, cx) {
                        lost.push((packet_id, delivery.qos, Loss::NotAuthorized));
                        continue;
                    }
                    let mut publish = outgoing(delivery, delivery.message.topic(), cx);
                    publish.dup = true; // [MQTT5-3.3.1-1]
                    publish.packet_id = Some(packet_id);
                    publish.expiry = delivery.message.expiry_left(cx.now).map(|left| left.max(1));
                    if packet_max != u32::MAX
                        && codec::publish_len(&publish, version) > packet_max as usize
                    {
                        lost.push((packet_id, delivery.qos, Loss::TooLarge));
                        continue;
                    }
                    out(Action::Send { packet: &Packet::Publish(publish), after_ops: false });
                }
            }
        }
        for (packet_id, qos, loss) in lost {
            let end = CopyEnd::Lost(loss);
            if qos < QoS::ExactlyOnce {
                let ended = self.finish(packet_id, qos, false, end, cx, out);
                debug_assert!(ended.is_ok(), "it is of this kind");
                continue;
            }
            let Some(delivery) = self.window.give_up(packet_id) else { continue };
            let group = delivery.group;
            self.remember(cx, out, || Op::Released { packet_id, group, mid: None, lost: true });
            out(Action::Ended { copy: EndedCopy::new(&delivery), end });
            let packet = Packet::PubRel(Ack::new(packet_id, Reason::Success));
            out(Action::Send { packet: &packet, after_ops: true });
        }
        !self.window.resending()
    }

    /// The group, and its lane, of a `QoS` 1 message that was sent on this connection and is not answered.
    pub(crate) fn awaits_puback(&self, packet_id: PacketId) -> Option<(GroupId, Lane)> {
        self.window.unanswered(packet_id)
    }

    /// Such messages of one queue.
    pub(crate) fn awaiting_puback(&self, queue: GroupId) -> impl Iterator<Item = PacketId> {
        let all = self.window.flights().map(|flight| flight.packet_id);
        all.filter(move |id| self.awaits_puback(*id).is_some_and(|(group, _)| group == queue))
    }

    /// What was put in flight last, if it is still in flight.
    pub(crate) fn newest_flight(&self) -> Option<PacketId> {
        self.window.newest()
    }

    /// The client has not answered this message of a named queue in time: the queue has it back.
    pub(crate) fn give_away(
        &mut self,
        packet_id: PacketId,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) {
        let Some(delivery) = self.window.give_away(packet_id) else { return };
        self.remember(cx, out, || Op::Done { packet_id });
        out(Action::Ended { copy: EndedCopy::new(&delivery), end: CopyEnd::TimedOut });
    }

    pub(super) fn on_puback(
        &mut self,
        ack: &Ack<'_>,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) -> PacketResult {
        let end = match ack.reason.is_error() {
            true => CopyEnd::Refused(ack.reason),
            false => CopyEnd::Completed,
        };
        self.finish(ack.packet_id, QoS::AtLeastOnce, false, end, cx, out)
    }

    pub(super) fn on_pubrec(
        &mut self,
        ack: &Ack<'_>,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) -> PacketResult {
        let packet_id = ack.packet_id;
        if ack.reason.is_error() {
            let end = CopyEnd::Refused(ack.reason);
            return self.finish(packet_id, QoS::ExactlyOnce, false, end, cx, out);
        }
        let reason = match self.window.release(packet_id).map_err(wrong_kind)? {
            Release::First(delivery) => {
                let (group, mid) = (delivery.group, delivery.mid());
                self.remember(cx, out, || Op::Released { packet_id, group, mid, lost: false });
                if let (Some(group), true) = (group, delivery.lane != Lane::NONE) {
                    out(Action::LaneFree { group, lane: delivery.lane });
                }
                Reason::Success
            }
            Release::Again => Reason::Success,
            Release::Unknown => Reason::PacketIdentifierNotFound, // [MQTT5-3.6.2-1]
        };
        let packet = Packet::PubRel(answer(packet_id, reason, None));
        out(Action::Send { packet: &packet, after_ops: true });
        Ok(())
    }

    pub(super) fn on_pubcomp(
        &mut self,
        ack: &Ack<'_>,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) -> PacketResult {
        self.finish(ack.packet_id, QoS::ExactlyOnce, true, CopyEnd::Completed, cx, out)
    }

    /// A flight ends; an answer to an identifier that is not in use is ignored.
    fn finish(
        &mut self,
        packet_id: PacketId,
        qos: QoS,
        released: bool,
        end: CopyEnd,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) -> PacketResult {
        let finished = self.window.finish(packet_id, qos, released).map_err(wrong_kind)?;
        let Some(flight) = finished else { return Ok(()) };
        if let FlightStage::GivenAway(message, queue) = &flight.state {
            if end == CopyEnd::Completed {
                out(Action::CompletedLate { message: *message, queue: *queue });
            }
            return Ok(());
        }
        self.remember(cx, out, || Op::Done { packet_id });
        let copy = match &flight.state {
            FlightStage::Sent(delivery) => EndedCopy::new(delivery),
            FlightStage::Released { group, mid, lost: false } => EndedCopy::released(*group, *mid),
            // Its end was told when it became too large.
            FlightStage::Released { lost: true, .. } | FlightStage::GivenAway(..) => return Ok(()),
        };
        out(Action::Ended { copy, end });
        Ok(())
    }

    /// Whether the client may receive it: asked whenever a message is about to be sent, here for the first time.
    #[inline]
    fn may_receive(
        &self,
        delivery: &Delivery,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) -> bool {
        let topic = delivery.message.topic();
        let decision = cx.access.may(&self.identity, &Asked::receive(delivery));
        if !decision.is_allowed() {
            let grounds = Grounds::new(RefusalKind::ReceiveNotAuthorized).by_rule(decision.rule());
            out(Action::Refused { grounds, topic: topic.as_str(), count: 1 });
        }
        let Session { identity, subscriptions, cursors, restored, .. } = self;
        let revoked = RevokedCopies { identity, subscriptions, cursors, restored: *restored };
        decision.is_allowed() && !revoked.holds(delivery, cx)
    }

    fn fits(&self, publish: &Publish<'_>) -> bool {
        self.terms.packet_max == u32::MAX
            || codec::publish_len(publish, self.terms.version) <= self.terms.packet_max as usize
    }
}

/// The client's answer does not belong to what it was sent `[MQTT5-4.13.1-1]`.
fn wrong_kind(WrongKind: WrongKind) -> Violation {
    Violation::protocol(RefusalKind::WrongAcknowledgement)
}

/// The PUBLISH for a delivery, without identifier and alias.
fn outgoing<'d>(delivery: &'d Delivery, name: TopicName<'d>, cx: &Context<'_>) -> Publish<'d> {
    let message = &delivery.message;
    Publish {
        dup: false,
        qos: delivery.qos,
        retain: delivery.retain,
        topic: name.as_str(),
        packet_id: None,
        topic_alias: None::<NonZeroU16>,
        expiry: message.expiry_left(cx.now),
        subscription_ids: delivery.ids.as_slice(),
        properties: message.properties(),
        payload: message.payload(),
    }
}
