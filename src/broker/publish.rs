//! The one way in for a message, in two halves. [`Broker::publish`] decides whether it may come in:
//! rights, rates, room. `apply` carries it out: it takes the message's place in the order, and decides
//! everything that depends on this place (receivers, queues, what is retained, keys of the store).
//!
//! A broker alone applies at once what it lets in. In a cluster the log that its nodes share stands between
//! the halves (`cluster_log.rs`), and nothing that is decided before depends on order. Keys
//! of `[[dedup]]` belong to the second half: `publish` looks at them last, and holds them until it is over.

use std::sync::Arc;

use super::Broker;
use super::mailbox::{Copy, Offer};
use super::metrics::Counter;
use super::overload::SHED;
use super::ports::{Publication, StoredCopy};
use super::record::Record;
use super::router::Routed;
use super::topic_ledger::Unrouted;
use super::turn::{Turn, press};
use crate::codec::{QoS, Reason};
use crate::fault;
use crate::message::{Draft, Grounds, Identity, RefusalKind, SessionId};
use crate::session::{Asked, Decision, Op, is_bridge_state, reserved};
use crate::time::Time;
use crate::topic::{TopicName, is_delayed};

/// Where a message comes from.
#[derive(Clone, Copy, Debug)]
pub enum Publisher<'a> {
    /// A client: its rights are asked for, and an overloaded broker drops its `QoS` 0.
    Client(&'a Arc<Identity>),
    /// The Will of a client. Its rights are asked for; it has room in the store, since it was
    /// acknowledged with CONNECT.
    Will(&'a Arc<Identity>),
    /// A client's message that was delayed and is due now, and when it came. As for a Will, its rights are
    /// asked for, and it has room in the store.
    Delayed(&'a Arc<Identity>, Time),
    /// The broker itself: `$SYS` and dead letters. It may publish everything, nothing limits it, and
    /// what it retains is in memory alone.
    System,
}

/// A message on its way in: what [`Broker::publish`] is asked for.
#[derive(Debug)]
pub struct Submission<'a> {
    /// What it says.
    pub draft: &'a Draft<'a>,
    /// Where it comes from.
    pub publisher: Publisher<'a>,
    /// A fact that the store is given together with the message. If the message is refused it is not.
    pub with: Option<(SessionId, Op)>,
    /// It is beyond the rate of its publisher: then it is refused, if the rights do not refuse it first.
    pub over_rate: bool,
    /// Its publisher can be told that it is refused. If not, a message that can be delivered and not
    /// retained is delivered.
    pub told: bool,
}

/// What became of a PUBLISH.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Published {
    admitted: u32,
    refused: u32,
    reason: Reason,
    stored: bool,
    repeat: bool,
    no_room: bool,
    pressed: bool,
    unrouted: Option<Unrouted>,
}

/// What a message that asks to come in is good for.
pub(super) enum LetIn {
    /// All that it asks for.
    Whole,
    /// To be delivered, and not to be retained.
    LiveOnly,
    /// Nothing.
    Not(Published),
}

impl<'a> Submission<'a> {
    /// `draft` of `publisher`, within its rate and with nothing else for the store.
    pub fn new(draft: &'a Draft<'a>, publisher: Publisher<'a>) -> Submission<'a> {
        let told = !publisher.is_of_the_past();
        Submission { draft, publisher, with: None, over_rate: false, told }
    }
}

impl Publisher<'_> {
    /// It was accepted before it was to be published.
    fn is_of_the_past(&self) -> bool {
        matches!(self, Publisher::Will(_) | Publisher::Delayed(..))
    }
}

impl Published {
    /// It is kept until it is due; `stored`: by the store.
    pub(super) fn kept(stored: bool) -> Published {
        Published {
            admitted: 0,
            refused: 0,
            reason: Reason::Success,
            stored,
            repeat: false,
            no_room: false,
            pressed: false,
            unrouted: None,
        }
    }

    /// It was refused before it was routed.
    fn unrouted(reason: Reason, why: Unrouted) -> Published {
        Published { reason, unrouted: Some(why), ..Published::kept(false) }
    }

    /// It repeats a message that was taken; `stored`: it is accepted when that is safe.
    pub(super) fn repeat(stored: bool) -> Published {
        Published { repeat: true, ..Published::kept(stored) }
    }

    /// The same, after something was handed to the store with it.
    pub(super) fn stored_with(self, qos: QoS) -> Published {
        Published { stored: self.stored || qos > QoS::AtMostOnce, ..self }
    }

    /// It repeats a message that was taken: nothing has become of it.
    pub fn is_repeat(&self) -> bool {
        self.repeat
    }

    /// Receivers that have it or will have it.
    pub fn admitted(&self) -> u32 {
        self.admitted
    }

    /// Receivers that refused their copy.
    pub fn refused(&self) -> u32 {
        self.refused
    }

    /// The Reason Code for the publisher.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// It was handed to the store: it is not accepted before the receipt that the end of the turn
    /// gives is durable.
    pub fn is_stored(&self) -> bool {
        self.stored
    }

    /// The store did not take it: it is not kept, and must not be called accepted.
    pub fn no_room(&self) -> bool {
        self.no_room
    }

    /// A receiver of this turn is above half full and drains its queue: the publisher should pause.
    pub fn is_pressed(&self) -> bool {
        self.pressed
    }

    /// Why it was refused before it was routed; `None` if it was routed.
    pub fn why_unrouted(&self) -> Option<Unrouted> {
        self.unrouted
    }
}

/// It may not come in.
#[cold]
pub(super) fn refuse(
    reason: Reason,
    why: Unrouted,
    grounds: Grounds,
    turn: &mut Turn<'_>,
) -> LetIn {
    turn.refused = Some(grounds);
    LetIn::Not(Published::unrouted(reason, why))
}

/// Why a client may not publish to a topic.
#[cold]
fn not_permitted(topic: TopicName<'_>, decision: Decision) -> Grounds {
    let own = reserved(topic.as_str());
    let kind = RefusalKind::PublishNotAuthorized;
    let kind = if own { RefusalKind::PublishReserved } else { kind };
    Grounds::new(kind).by_rule(decision.rule())
}

/// It may not come in, because the store does not take it.
#[cold]
pub(super) fn no_room(reason: Reason, turn: &mut Turn<'_>) -> LetIn {
    turn.refused = Some(no_room_for(reason));
    let refused = Published::unrouted(reason, Unrouted::Refused);
    LetIn::Not(Published { no_room: true, ..refused })
}

/// It comes in, and is not retained.
#[cold]
fn live_only(grounds: Grounds, turn: &mut Turn<'_>) -> LetIn {
    turn.refused = Some(grounds);
    LetIn::LiveOnly
}

/// Why the store does not take a message.
fn no_room_for(reason: Reason) -> Grounds {
    let failed = reason == Reason::UnspecifiedError;
    Grounds::new(if failed { RefusalKind::StoreFailed } else { RefusalKind::StoreFull })
}

impl Broker {
    /// Routes a message to every receiver that wants it, if it may come in. In this order it is asked
    /// for rights, rate and load, and room in memory and in the store.
    ///
    /// Copies are admitted here and pushed when the turn is committed, after the store has them.
    pub fn publish(&self, submission: Submission<'_>, turn: &mut Turn<'_>) -> Published {
        let (identity, received, system) = match submission.publisher {
            Publisher::Client(identity) | Publisher::Will(identity) => (identity, turn.now, false),
            Publisher::Delayed(identity, came) => (identity, came, false),
            Publisher::System => (&self.0.system, turn.now, true),
        };
        if is_delayed(submission.draft.topic.as_str()) && !system {
            return self.publish_later(submission, identity, turn);
        }
        let bytes = submission.draft.bytes(identity);
        let mut retains = submission.draft.retain;
        if !system {
            match self.let_in(&submission, (identity, bytes), turn) {
                LetIn::Whole => {}
                LetIn::LiveOnly => {
                    self.lose_retained(submission.draft.topic, &mut turn.gone);
                    retains = false;
                }
                LetIn::Not(refused) => {
                    return self.turn_away(submission.draft, identity, refused, turn);
                }
            }
        }
        fault::ask(submission.draft.topic.as_str(), submission.draft.payload);
        fault::reach("publish");
        let Submission { draft, with, .. } = submission;
        let kept = self.0.remembers && !system;
        let (publisher, message, follow) = (identity, None, 0);
        let mut record =
            Record { draft, publisher, received, bytes, kept, retains, message, follow };
        // What was delayed was looked at when it came.
        let looks = || matches!(submission.publisher, Publisher::Client(_) | Publisher::Will(_));
        if turn.settings.is_special() && looks() {
            return self.apply_once(&mut record, with, turn);
        }
        self.apply(&mut record, with, turn)
    }

    /// Carries out a message unless a rule of `[[dedup]]` says that it repeats one; or hands it to the cluster.
    #[inline(never)] // So that `publish` stays as it is where there are no rules.
    fn apply_once(
        &self,
        record: &mut Record<'_>,
        with: Option<(SessionId, Op)>,
        turn: &mut Turn<'_>,
    ) -> Published {
        if let Some(cluster) = self.0.cluster.get() {
            return self.publish_to_cluster(cluster, record, with, turn);
        }
        let Record { draft, publisher, .. } = *record;
        let rules = turn.settings.dedup();
        let keyed = rules.and_then(|rules| self.keyed(rules, draft, publisher, turn.now));
        let Some(keyed) = keyed else { return self.apply_record(record, with, turn) };
        let apply = |with, turn: &mut Turn<'_>| self.apply_record(record, with, turn);
        self.take_once(&keyed, draft.qos, with, turn, apply)
    }

    /// Carries out a message where there are rules of `[[dedup]]`, or a cluster has its place in the order.
    #[cold]
    #[inline(never)] // So that `publish` has one of its own.
    pub(super) fn apply_record(
        &self,
        record: &mut Record<'_>,
        with: Option<(SessionId, Op)>,
        turn: &mut Turn<'_>,
    ) -> Published {
        self.apply(record, with, turn)
    }

    /// A message is refused: nothing was changed.
    #[cold]
    pub(super) fn turn_away(
        &self,
        draft: &Draft<'_>,
        identity: &Identity,
        refused: Published,
        turn: &mut Turn<'_>,
    ) -> Published {
        turn.room_granted = false;
        if turn.traced.is_on() {
            let told = turn.refused;
            let at = (&mut turn.scratch.traced, turn.now);
            self.trace_refused(draft, identity, told, at);
        }
        refused
    }

    /// Whether a client's message may come in; nothing is changed. Why it may not, or not be retained,
    /// is left in the turn.
    fn let_in(
        &self,
        submission: &Submission<'_>,
        (identity, bytes): (&Identity, usize),
        turn: &mut Turn<'_>,
    ) -> LetIn {
        let Submission { draft, publisher, told, .. } = submission;
        if let Err(refused) = self.may_come(submission, draft, bytes, turn) {
            return refused;
        }
        let (is_past, qos0) = (publisher.is_of_the_past(), draft.qos == QoS::AtMostOnce);
        if let Err(grounds) = self.admit_retained(draft, bytes, identity) {
            if *told {
                return refuse(Reason::QuotaExceeded, Unrouted::Refused, grounds, turn);
            }
            // At QoS 0 it was for the store only to be retained.
            if is_past || qos0 {
                turn.room_granted = false;
            } else if let Err(reason) = self.admit_to_store(draft, bytes, turn) {
                return no_room(reason, turn);
            }
            return live_only(grounds, turn);
        }
        if is_past {
            return LetIn::Whole;
        }
        match self.admit_to_store(draft, bytes, turn) {
            Ok(()) => LetIn::Whole,
            Err(reason) if qos0 && !told => live_only(no_room_for(reason), turn),
            Err(reason) => no_room(reason, turn),
        }
    }

    /// Rights, rate, load and memory of a message of `draft`: nothing is changed.
    #[inline(always)] // In `let_in`; a delayed one is rare.
    pub(super) fn may_come(
        &self,
        submission: &Submission<'_>,
        draft: &Draft<'_>,
        bytes: usize,
        turn: &mut Turn<'_>,
    ) -> Result<(), LetIn> {
        let decision = self.may_publish(submission.publisher, draft);
        if !decision.is_allowed() {
            let grounds = not_permitted(draft.topic, decision);
            return Err(refuse(Reason::NotAuthorized, Unrouted::Refused, grounds, turn));
        }
        if submission.over_rate {
            let grounds = Grounds::new(RefusalKind::PublishRate);
            return Err(refuse(Reason::QuotaExceeded, Unrouted::OverRate, grounds, turn));
        }
        let is_past = submission.publisher.is_of_the_past();
        // What is retained is of few messages, and its loss would last.
        let sheds = draft.qos == QoS::AtMostOnce && !draft.retain && !is_past;
        if turn.pressure.level() >= SHED && sheds {
            let grounds = Grounds::new(RefusalKind::PublishOverload);
            return Err(refuse(Reason::QuotaExceeded, Unrouted::Shed, grounds, turn));
        }
        self.admit(bytes)
            .map_err(|grounds| refuse(Reason::QuotaExceeded, Unrouted::Refused, grounds, turn))
    }

    /// Whether the publisher may publish this: asked here and nowhere else.
    #[inline(always)] // In `may_come`.
    fn may_publish(&self, publisher: Publisher<'_>, draft: &Draft<'_>) -> Decision {
        match publisher {
            Publisher::Client(identity)
            | Publisher::Will(identity)
            | Publisher::Delayed(identity, _) => {
                let Draft { topic, qos, retain, .. } = *draft;
                let closed = reserved(topic.as_str())
                    && !(is_bridge_state(topic.as_str(), draft.payload)
                        && self.may_own(identity, topic));
                if closed {
                    return Decision::of(false);
                }
                let bytes = draft.payload.len();
                self.0.ports.access.may(identity, &Asked::Publish { topic, qos, retain, bytes })
            }
            Publisher::System => Decision::ALLOWED,
        }
    }

    /// Whether the state of a bridge is this client's: it belongs to the user, or else the client, that
    /// retained it first, as long as that Session lives.
    fn may_own(&self, identity: &Identity, topic: TopicName<'_>) -> bool {
        let Some((client_id, user)) = self.0.router.retained().publisher(topic) else {
            return true;
        };
        let mine = match (&user, &identity.user_name) {
            (Some(user), Some(mine)) => **user == **mine,
            (None, None) => client_id == identity.client_id,
            _ => false,
        };
        mine || !self.0.registry.knows(&client_id)
    }

    /// Carries out a message in its place in the order.
    #[inline(always)] // In `publish`; `apply_record` has one of its own.
    fn apply(
        &self,
        record: &mut Record<'_>,
        with: Option<(SessionId, Op)>,
        turn: &mut Turn<'_>,
    ) -> Published {
        let shared = &*self.0;
        let draft = record.draft;
        let retained = record.retaining();
        let whole = retained.is_none() && !shared.remembers;
        let now = turn.now;
        let scratch = &mut *turn.scratch;
        let publisher = (record.publisher.as_ref(), &draft.properties);
        let Routed { stamp, matches, looks } =
            shared.router.route(draft.topic, publisher, retained, &mut scratch.recent);
        let found = matches.len();
        self.trace_routed(record, matches, &mut scratch.traced);
        let (mut admitted, mut refused) = (0, 0);
        let setting = scratch.settings.setting(shared.router.topic_hash(), now);
        let band = scratch.settings.band(draft.topic, &draft.properties);
        let mut copies = Vec::new();
        let before = scratch.pending_pushes.receivers();
        for (index, found) in matches.iter().enumerate() {
            let qos = found.qos().min(draft.qos);
            let open = scratch.pending_pushes.of(found, before);
            if !open.grant.spend(qos, record.bytes) {
                let offer = Offer { topic: draft.topic, qos, bytes: record.bytes };
                let (grant, gone) = (&mut open.grant, &mut scratch.gone);
                if let Err(refusal) = found.mailbox().reserve(offer, &setting, grant, gone) {
                    refused += u32::from(refusal.loss().is_refusal());
                    self.refuse_copy(refusal, (found.mailbox(), qos), record, &mut scratch.gone);
                    continue;
                }
                if open.grant.is_pressed() {
                    press(&mut scratch.pressed, found.mailbox());
                }
                let spent = open.grant.spend(qos, record.bytes);
                debug_assert!(spent, "room was reserved for it");
            }
            let stored = shared.remembers && open.grant.is_durable() && qos > QoS::AtMostOnce;
            let retain = draft.retain && found.retain_as_published();
            if stored {
                let (receiver, ids) = (found.receiver(), found.ids().clone());
                copies.push(StoredCopy { receiver, qos, retain, ids, band });
            }
            let last = whole && index + 1 == matches.len();
            let message = if last { record.give_away() } else { record.share() };
            open.copies.push(Copy { message, qos, retain, ids: found.ids().clone(), stored, band });
            admitted += 1;
        }
        scratch.work.add(found, looks);
        scratch.tally.add(Counter::Routed, found as u64);
        scratch.stamps.extend(stamp);
        let stored = shared.remembers
            && self.store(record, copies, stamp, with, turn)
            && draft.qos > QoS::AtMostOnce;
        let reason = reason_of(found, admitted, refused);
        let pressed = !turn.pressed.is_empty();
        Published { admitted, refused, reason, pressed, ..Published::kept(stored) }
    }

    /// Puts a message into the turn's batch, if it is to be kept: where the store remembers anything.
    fn store(
        &self,
        record: &mut Record<'_>,
        copies: Vec<StoredCopy>,
        retained: Option<u64>,
        with: Option<(SessionId, Op)>,
        turn: &mut Turn<'_>,
    ) -> bool {
        let mut stored = with.is_some();
        turn.batch.ops.extend(with);
        if retained.is_some() || !copies.is_empty() {
            turn.batch.publishes.push(Publication { message: record.share(), copies, retained });
            stored = true;
        }
        stored
    }
}

/// What a publisher is told of a message that was routed to `found` receivers.
#[inline]
fn reason_of(found: usize, admitted: u32, refused: u32) -> Reason {
    match (found, admitted, refused) {
        (0, _, _) => Reason::NoMatchingSubscribers,
        (_, 0, 1..) => Reason::QuotaExceeded,
        _ => Reason::Success,
    }
}
