//! The journey of a message, as traces are told it: published, routed, queued, sent, acknowledged, or lost. Nothing here
//! runs while no trace is on.

use super::Broker;
use super::mailbox::{Copy, Mailbox};
use super::matches::Match;
use super::record::Record;
use super::trace::{Followed, InFlightKey, TraceRecord, TraceSet, TraceValue, Traced, text};
use crate::codec::{PacketId, QoS, Reason};
use crate::message::{
    Delivery, Draft, Grounds, Identity, Loss, Message, Mid, ReceiverId, ReceiverKind,
};
use crate::time::Time;

/// Receivers of one message that are told one by one.
const ROUTED_MAX: usize = 64;

/// An acknowledgement of a client.
pub(super) struct Acknowledged {
    pub key: InFlightKey,
    /// The packet's name.
    pub by: &'static str,
    pub reason: Reason,
    /// No other follows.
    pub last: bool,
}

impl Broker {
    /// A message has found its receivers: it is followed from here, if a trace wants that.
    #[inline]
    pub(super) fn trace_routed(
        &self,
        record: &mut Record<'_>,
        matches: &[Match],
        traced: &mut Traced,
    ) {
        if traced.is_on() {
            self.follow_if_wanted(record, matches, traced);
        }
    }

    #[cold]
    fn follow_if_wanted(&self, record: &mut Record<'_>, matches: &[Match], traced: &mut Traced) {
        let packet_id = traced.packet_id.take();
        traced.sampled = None;
        let Some(set) = traced.set() else { return };
        let (topic, publisher) = (record.topic(), record.publisher().client_id.as_str());
        let is_sampled = set.samples(record.draft(), publisher, record.received());
        let is_receiver = |client: &str| {
            let owner = |found: &Match| found.mailbox().owner().identity().cloned();
            matches.iter().filter_map(owner).any(|own| own.client_id.as_str() == client)
        };
        let following = &self.0.traces.following;
        if !is_sampled && !set.follows_one_of(topic, publisher, is_receiver) {
            if set.sampling().is_some() {
                // By which others see that it is not sampled.
                record.follow(following.next(false));
            }
            return;
        }
        let followed = Followed::new(following.next(is_sampled), topic, publisher);
        record.follow(followed.number);
        let now = record.received();
        let mut fields = published(record.draft(), publisher, packet_id);
        fields.push(("receivers".into(), TraceValue::Number(matches.len() as u64)));
        set.tell_published(&followed, record.draft(), is_receiver, (fields, now));
        for found in matches.iter().take(ROUTED_MAX) {
            let (client, mut more) = whom(found.receiver(), &found.mailbox().owner().name());
            more.push(("qos".into(), (found.qos().min(record.draft().qos) as u8).into()));
            set.tell(&followed, ("routed", client.as_deref()), more, now);
        }
        traced.sampled = is_sampled.then_some(followed);
    }

    /// A message may not come in.
    #[cold]
    pub(super) fn trace_refused(
        &self,
        draft: &Draft<'_>,
        publisher: &Identity,
        grounds: Option<Grounds>,
        (traced, now): (&mut Traced, Time),
    ) {
        let packet_id = traced.packet_id.take();
        traced.sampled = None;
        let (Some(set), publisher) = (traced.set(), publisher.client_id.as_str()) else { return };
        let is_sampled = set.samples(draft, publisher, now);
        if !is_sampled && !set.follows(draft.topic, publisher, None) {
            return;
        }
        let number = self.0.traces.following.next(is_sampled);
        let followed = Followed::new(number, draft.topic, publisher);
        let fields = published(draft, publisher, packet_id);
        set.tell_published(&followed, draft, |_| false, (fields, now));
        let reason = grounds.map(|grounds| ("reason".into(), text(grounds.kind().name())));
        set.tell(&followed, ("lost", None), reason.into_iter().collect(), now);
    }

    /// Copies are on their way into a mailbox; the store has those that it keeps.
    #[cold]
    pub(super) fn trace_queued(
        &self,
        mailbox: &Mailbox,
        copies: &[Copy],
        traced: &Traced,
        now: Time,
    ) {
        let Some(set) = traced.set() else { return };
        let (receiver, name) = (mailbox.receiver(), mailbox.owner().name());
        for Copy { message, qos, stored, .. } in copies {
            if !self.may_be_followed(set.shows_packets(), message) {
                continue;
            }
            let (client, mut more) = whom(receiver, &name);
            let Some(followed) = self.followed(set, message, client.as_deref()) else { continue };
            let following = &self.0.traces.following;
            if let Some(mid) = message.mid().filter(|_| *stored) {
                following.note_stored(mid, &followed);
            }
            more.push(("qos".into(), (*qos as u8).into()));
            more.push(("stored".into(), (*stored).into()));
            set.tell(&followed, ("queued", client.as_deref()), more, now);
        }
    }

    /// A copy is handed to the client of `mailbox`: what is sent next is it.
    #[cold]
    pub(super) fn trace_in_hand(
        &self,
        mailbox: &Mailbox,
        delivery: &Delivery,
        traced: &mut Traced,
    ) {
        let Some(client) = mailbox.owner().identity() else { return };
        let Some(set) = traced.set() else { return };
        let followed = self.followed(set, &delivery.message, Some(client.client_id.as_str()));
        traced.in_hand = followed.map(|followed| (followed, delivery.group));
    }

    /// A PUBLISH leaves for the client of `mailbox`: the one in hand, or one that was sent before.
    #[cold]
    pub(super) fn trace_sent(
        &self,
        client: &Identity,
        key: Option<InFlightKey>,
        (qos, dup): (QoS, bool),
        (traced, now): (&mut Traced, Time),
    ) {
        let following = &self.0.traces.following;
        // One that was lost in the hand is not what is sent again.
        let in_hand = traced.in_hand.take().filter(|_| !dup);
        let again = || following.sent(key.filter(|_| dup)?, false).map(|followed| (followed, None));
        let Some(set) = traced.set() else { return };
        let Some((followed, group)) = in_hand.or_else(again) else { return };
        let mut more = TraceRecord::new();
        if let Some(key) = key {
            following.note_sent(key, &followed);
            more.push(("packet_id".into(), key.1.into()));
        }
        more.push(("qos".into(), (qos as u8).into()));
        more.push(("dup".into(), dup.into()));
        let group = group.and_then(|group| self.0.router.group(group));
        more.extend(group.map(|group| ("group".into(), text(&group.owner().name()))));
        set.tell(&followed, ("sent", Some(client.client_id.as_str())), more, now);
    }

    /// A client acknowledges what it was sent.
    #[cold]
    pub(super) fn trace_acknowledged(
        &self,
        client: &Identity,
        acknowledged: &Acknowledged,
        (traced, now): (&Traced, Time),
    ) {
        let Acknowledged { key, by, reason, last } = *acknowledged;
        let followed = self.0.traces.following.sent(key, last);
        let (Some(set), Some(followed)) = (traced.set(), followed) else { return };
        let more = vec![
            ("packet_id".into(), key.1.into()),
            ("by".into(), text(by)),
            ("reason_code".into(), (reason as u8).into()),
            ("reason".into(), text(reason.name())),
        ];
        set.tell(&followed, ("acknowledged", Some(client.client_id.as_str())), more, now);
    }

    /// The PUBLISH of a client that is sampled was handed to the store; the client is answered when the store has it.
    #[cold]
    pub(super) fn trace_handed_in(&self, key: InFlightKey, traced: &mut Traced) {
        if let Some(followed) = traced.sampled.take() {
            self.0.traces.following.note_unanswered(key, &followed);
        }
    }

    /// A client is answered that had published.
    #[cold]
    pub(super) fn trace_answered(&self, key: InFlightKey, (traced, now): (&Traced, Time)) {
        let Some(set) = traced.set().filter(|set| set.sampling().is_some()) else { return };
        if let Some(followed) = self.0.traces.following.answered(key) {
            set.tell(&followed, ("committed", None), TraceRecord::new(), now);
        }
    }

    /// Whether a trace may want a message in memory; `shows_packets`: one of packets is on. Else most do not want it,
    /// and that is cheap to see.
    fn may_be_followed(&self, shows_packets: bool, message: &Message) -> bool {
        shows_packets || self.0.traces.following.is_sampled(message)
    }

    /// A message in memory, if a trace wants it.
    fn followed(
        &self,
        set: &TraceSet,
        message: &Message,
        receiver: Option<&str>,
    ) -> Option<Followed> {
        let following = &self.0.traces.following;
        let is_wanted = set.follows(message.topic(), message.publisher(), receiver)
            || (set.sampling().is_some() && following.is_sampled(message));
        is_wanted.then(|| following.of(message))
    }

    /// A copy is lost; its message may be with the store alone.
    #[inline]
    pub(super) fn trace_loss(
        &self,
        receiver: (ReceiverId, &str),
        copy: (Option<&Message>, Option<Mid>),
        loss: Loss,
        now: Time,
    ) {
        if self.0.traces.is_on() {
            self.tell_loss(receiver, copy, loss, now);
        }
    }

    #[cold]
    fn tell_loss(
        &self,
        (receiver, name): (ReceiverId, &str),
        (message, mid): (Option<&Message>, Option<Mid>),
        loss: Loss,
        now: Time,
    ) {
        let shows_packets = self.0.traces.shows_packets();
        if message.is_some_and(|message| !self.may_be_followed(shows_packets, message)) {
            return;
        }
        let Some(set) = self.0.traces.current() else { return };
        let (client, mut more) = whom(receiver, name);
        let following = &self.0.traces.following;
        let followed = match (message, mid) {
            (Some(message), _) => self.followed(&set, message, client.as_deref()),
            (None, Some(mid)) => following.stored(mid),
            (None, None) => None,
        };
        let Some(followed) = followed else { return };
        more.push(("reason".into(), text(loss.name())));
        set.tell(&followed, ("lost", client.as_deref()), more, now);
    }
}

/// What is told of a message that comes in.
fn published(draft: &Draft<'_>, publisher: &str, packet_id: Option<PacketId>) -> TraceRecord {
    let mut fields: TraceRecord = vec![("client_id".into(), text(publisher))];
    fields.extend(packet_id.map(|id| ("packet_id".into(), id.into())));
    fields.push(("qos".into(), (draft.qos as u8).into()));
    fields.push(("retain".into(), draft.retain.into()));
    fields.push(("payload_bytes".into(), TraceValue::Number(draft.payload.len() as u64)));
    fields
}

/// The receiver: the client, or what names a group.
fn whom(receiver: ReceiverId, name: &str) -> (Option<String>, TraceRecord) {
    match receiver.kind() {
        ReceiverKind::Session(_) => (Some(name.to_owned()), TraceRecord::new()),
        ReceiverKind::Group(_) => (None, vec![("group".into(), text(name))]),
    }
}
