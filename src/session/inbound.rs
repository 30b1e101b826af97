//! What the client publishes: PUBLISH and PUBREL in, PUBACK, PUBREC and PUBCOMP out.

use std::num::NonZeroU16;

use super::connect::for_subscribers;
use super::violation::Violation;
use super::{Action, Context, Count, Op, PacketResult, Session, answer};
use crate::codec::{Ack, Packet, PacketId, Publish, QoS, Reason, Version};
use crate::message::{Draft, Grounds, RefusalKind};
use crate::topic::TopicName;

impl Session {
    pub(super) fn on_publish(
        &mut self,
        publish: &Publish<'_>,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) -> PacketResult {
        if publish.qos > cx.policy.qos_max {
            // [MQTT5-3.2.2-11]
            return Err(Violation::of(Reason::QoSNotSupported));
        }
        if publish.retain && !cx.policy.session.retain_available {
            // [MQTT5-3.2.2-14]
            return Err(Violation::of(Reason::RetainNotSupported));
        }
        self.note_alias(publish)?;
        match publish.packet_id {
            Some(packet_id) if self.is_repeat(publish.qos, packet_id) => {
                // One delivery, another PUBREC, in turn with those still owed [MQTT5-4.3.3-10].
                out(Action::Count(Count::Repeat));
                let packet = Packet::PubRec(Ack::new(packet_id, Reason::Success));
                out(Action::Send { packet: &packet, after_ops: true });
                return Ok(());
            }
            Some(packet_id) => self.owe(publish.qos, packet_id, cx)?,
            None => {}
        }
        let topic = self.topic_of(publish).unwrap_or(publish.topic);
        match well_formed(topic, cx) {
            Ok(topic) => {
                let lasting = cx.remembers && self.lasts();
                let with = publish
                    .packet_id
                    .filter(|_| lasting && publish.qos == QoS::ExactlyOnce)
                    .map(|packet_id| Op::Received { packet_id });
                let draft = Draft {
                    topic,
                    qos: publish.qos,
                    retain: publish.retain,
                    expiry: publish.expiry,
                    properties: publish.properties,
                    payload: publish.payload,
                };
                let (packet_id, over_rate) = (publish.packet_id, cx.over_rate);
                out(Action::Publish { draft, packet_id, with, over_rate });
                Ok(())
            }
            Err(reason) => {
                let topic = TopicName::within(topic, &cx.policy.topic).ok();
                out(Action::Count(Count::refused(publish, topic)));
                let grounds = Grounds::new(RefusalKind::PublishTopic);
                out(Action::Refused { grounds, topic: publish.topic, count: 1 });
                self.refuse(publish, reason, out);
                Ok(())
            }
        }
    }

    /// The topic of a PUBLISH, by its alias if it has no other; `None` if the alias is unknown.
    #[inline]
    pub(crate) fn topic_of<'t>(&'t self, publish: &Publish<'t>) -> Option<&'t str> {
        match publish.topic_alias {
            Some(alias) if publish.topic.is_empty() => {
                self.aliases.as_ref().and_then(|aliases| aliases.incoming.topic(alias))
            }
            _ => Some(publish.topic),
        }
    }

    /// The client's PUBLISH is routed and safe, or refused: answer it.
    pub(super) fn on_published(
        &mut self,
        packet_id: PacketId,
        qos: QoS,
        reason: Reason,
        why: Option<RefusalKind>,
        out: &mut impl FnMut(Action<'_>),
    ) {
        // 3.1.1 has no refusal: the ledger has it, the client gets its ordinary answer.
        let words = words_of(reason, why);
        let text = words.and_then(|words| self.reason_string(words));
        let reason = self.answerable(reason);
        let ack = answer(packet_id, reason, text);
        if qos == QoS::ExactlyOnce {
            self.owed_qos2 -= 1;
            if reason.is_error() {
                // The identifier is free again [MQTT5-4.3.3-9]; remembered with the message.
                self.received.remove(packet_id);
            }
            out(Action::Send { packet: &Packet::PubRec(ack), after_ops: false });
        } else {
            self.owed_qos1 -= 1;
            out(Action::Send { packet: &Packet::PubAck(ack), after_ops: false });
        }
    }

    pub(super) fn on_pubrel(
        &mut self,
        ack: &Ack<'_>,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) {
        let packet_id = ack.packet_id;
        let reason = if self.received.remove(packet_id) {
            self.remember(cx, out, || Op::Forgotten { packet_id });
            Reason::Success
        } else {
            Reason::PacketIdentifierNotFound // [MQTT5-3.7.2-1]
        };
        let packet = Packet::PubComp(Ack::new(packet_id, reason));
        out(Action::Send { packet: &packet, after_ops: true });
    }

    /// Sets the alias of the packet, also of a PUBLISH that is refused later.
    #[inline]
    fn note_alias(&mut self, publish: &Publish<'_>) -> PacketResult {
        match publish.topic_alias {
            None => Ok(()),
            Some(alias) => self.set_alias(alias, publish),
        }
    }

    #[inline(never)]
    fn set_alias(&mut self, alias: NonZeroU16, publish: &Publish<'_>) -> PacketResult {
        if alias.get() > self.terms.alias_in_max {
            // [MQTT5-3.2.2-17]
            return Err(Violation::of(Reason::TopicAliasInvalid));
        }
        let incoming = &mut self.aliases.get_or_insert_default().incoming;
        if !publish.topic.is_empty() {
            incoming.set(alias, publish.topic);
        } else if incoming.topic(alias).is_none() {
            return Err(Violation::of(Reason::ProtocolError));
        }
        Ok(())
    }

    /// PUBLISHes of the client that take a place in its Receive Maximum: of `QoS` 1 without PUBACK, of
    /// `QoS` 2 without PUBCOMP.
    pub(super) fn unanswered(&self) -> usize {
        self.owed_qos1 as usize + self.received.len()
    }

    /// A `QoS` 2 message was received under this identifier, of which the Session does not know.
    pub fn note_received(&mut self, packet_id: PacketId) {
        self.received.insert(packet_id);
    }

    fn is_repeat(&self, qos: QoS, packet_id: PacketId) -> bool {
        qos == QoS::ExactlyOnce && self.received.contains(packet_id)
    }

    /// Notes that an answer is owed, within the client's limits `[MQTT5-3.3.4-7]`.
    fn owe(&mut self, qos: QoS, packet_id: PacketId, cx: &Context<'_>) -> PacketResult {
        if self.terms.version == Version::V5 {
            let max = cx.policy.session.receive_maximum;
            if self.unanswered() >= usize::from(max) {
                return Err(Violation::of(Reason::ReceiveMaximumExceeded));
            }
        } else {
            let max = cx.policy.limits.unreleased_max;
            if self.received.len() >= max as usize {
                return Err(Violation::of(Reason::QuotaExceeded));
            }
        }
        if qos == QoS::ExactlyOnce {
            self.received.insert(packet_id);
            self.owed_qos2 += 1;
        } else {
            self.owed_qos1 += 1;
        }
        Ok(())
    }

    /// Refused for its form, and counted: answered in turn, but at `QoS` 0.
    fn refuse(&mut self, publish: &Publish<'_>, reason: Reason, out: &mut impl FnMut(Action<'_>)) {
        let Some(packet_id) = publish.packet_id else { return };
        let reason = self.answerable(reason);
        let ack = Ack::new(packet_id, reason);
        if publish.qos == QoS::ExactlyOnce {
            self.owed_qos2 -= 1;
            if reason.is_error() {
                self.received.remove(packet_id);
            }
            out(Action::Send { packet: &Packet::PubRec(ack), after_ops: true });
        } else {
            self.owed_qos1 -= 1;
            out(Action::Send { packet: &Packet::PubAck(ack), after_ops: true });
        }
    }

    /// What this client can be told: 3.1.1 knows no refusal of a PUBLISH `[MQTT311-3.3.5-2]`. That the
    /// store has failed is no answer to anybody: the connection closes, and the client tries again.
    fn answerable(&self, reason: Reason) -> Reason {
        let told = self.terms.version == Version::V5 || reason == Reason::UnspecifiedError;
        if told { reason } else { Reason::Success }
    }
}

/// What a refusal says in words.
fn words_of(reason: Reason, why: Option<RefusalKind>) -> Option<&'static str> {
    match why {
        _ if !reason.is_error() || reason == Reason::NotAuthorized => None,
        Some(RefusalKind::PublishRate) => None,
        Some(why) if why.is_of_delayed() => Some(why.help()),
        _ => Some("no room for the message"),
    }
}

/// The topic, if a client may name it in a PUBLISH. Whether this client may is asked by the broker.
fn well_formed<'t>(topic: &'t str, cx: &Context<'_>) -> Result<TopicName<'t>, Reason> {
    let name = TopicName::within(topic, &cx.policy.topic).map_err(|_| Reason::TopicNameInvalid)?;
    if for_subscribers(topic) { Err(Reason::TopicNameInvalid) } else { Ok(name) }
}
