//! The one way in for a message, in two halves. [`Broker::publish`] decides whether it may come in:
//! rights, rates, room. `apply` carries it out: it takes the message's place in the order, and decides
//! everything that depends on this place (receivers, queues, what is retained, keys of the store).
//!
//! A broker alone applies at once what it lets in. A log that several brokers share would stand
//! between the halves: it carries a `Record`, and nothing that `publish` decides depends on order.

use std::sync::Arc;

use super::Broker;
use super::mailbox::{Copy, Offer};
use super::metrics::Counter;
use super::overload::SHED;
use super::peer_log::{Peer, RefusalNote};
use super::ports::{Publication, StoredCopy};
use super::record::Record;
use super::router::Routed;
use super::topic_ledger::Unrouted;
use super::turn::{Turn, press};
use crate::codec::{QoS, Reason};
use crate::fault;
use crate::message::{Draft, Grounds, Identity, RefusalKind, SessionId};
use crate::session::{Asked, Decision, Op, WillMessage, is_bridge_state, reserved};
use crate::topic::TopicName;

/// Where a message comes from.
#[derive(Clone, Copy, Debug)]
pub enum Publisher<'a> {
    /// A client: its rights are asked for, and an overloaded broker drops its `QoS` 0.
    Client(&'a Arc<Identity>),
    /// The Will of a client. Its rights are asked for; it has room in the store, since it was
    /// acknowledged with CONNECT.
    Will(&'a Arc<Identity>),
    /// The broker itself: `$SYS` and dead letters. It may publish everything, nothing limits it, and
    /// what it retains is in memory alone.
    System,
}

/// A message on its way in: what [`Broker::publish`] is asked for.
#[derive(Debug)]
pub struct Submission<'a> {
    draft: &'a Draft<'a>,
    publisher: Publisher<'a>,
    with: Option<(SessionId, Op)>,
    over_rate: bool,
    told: bool,
}

/// What became of a PUBLISH.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Published {
    admitted: u32,
    refused: u32,
    reason: Reason,
    stored: bool,
    no_room: bool,
    pressed: bool,
    unrouted: Option<Unrouted>,
}

/// What a message that asks to come in is good for.
enum LetIn {
    /// All that it asks for.
    Whole,
    /// To be delivered, and not to be retained.
    LiveOnly,
    /// Nothing.
    Not(Published),
}

impl<'a> Submission<'a> {
    /// `draft` of `publisher`.
    pub fn new(draft: &'a Draft<'a>, publisher: Publisher<'a>) -> Submission<'a> {
        let told = !matches!(publisher, Publisher::Will(_));
        Submission { draft, publisher, with: None, over_rate: false, told }
    }

    /// A fact that the store is given together with the message. If the message is refused it is not.
    pub fn with(self, with: Option<(SessionId, Op)>) -> Submission<'a> {
        Submission { with, ..self }
    }

    /// Whether its publisher can be told that it is refused. If not, a message that can be delivered and
    /// not retained is delivered.
    pub fn told(self, told: bool) -> Submission<'a> {
        Submission { told, ..self }
    }

    /// Whether it is beyond the rate of its publisher: then it is refused, if the rights do not
    /// refuse it first.
    pub fn over_rate(self, over_rate: bool) -> Submission<'a> {
        Submission { over_rate, ..self }
    }
}

impl Published {
    /// It was refused before it was routed.
    fn unrouted(reason: Reason, why: Unrouted) -> Published {
        Published {
            admitted: 0,
            refused: 0,
            reason,
            stored: false,
            no_room: false,
            pressed: false,
            unrouted: Some(why),
        }
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
fn refuse(reason: Reason, why: Unrouted, grounds: Grounds, turn: &mut Turn<'_>) -> LetIn {
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
fn no_room(reason: Reason, turn: &mut Turn<'_>) -> LetIn {
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
        let (identity, system) = match submission.publisher {
            Publisher::Client(identity) | Publisher::Will(identity) => (identity, false),
            Publisher::System => (&self.0.system, true),
        };
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
                    turn.room_granted = false;
                    if turn.traced.is_on() {
                        let (draft, told) = (submission.draft, turn.refused);
                        let at = (&mut turn.scratch.traced, turn.now);
                        self.trace_refused(draft, identity, told, at);
                    }
                    return refused;
                }
            }
        }
        fault::ask(submission.draft.topic.as_str(), submission.draft.payload);
        fault::reach("publish");
        let Submission { draft, with, .. } = submission;
        let kept = self.0.remembers && !system;
        let (publisher, received) = (identity, turn.now);
        let (message, follow) = (None, 0);
        let mut record =
            Record { draft, publisher, received, bytes, kept, retains, message, follow };
        self.apply(&mut record, with, turn)
    }

    /// Whether a client's message may come in; nothing is changed. Why it may not, or not be retained,
    /// is left in the turn.
    fn let_in(
        &self,
        submission: &Submission<'_>,
        (identity, bytes): (&Identity, usize),
        turn: &mut Turn<'_>,
    ) -> LetIn {
        let Submission { draft, publisher, over_rate, told, .. } = submission;
        let decision = self.may_publish(*publisher, draft);
        if !decision.is_allowed() {
            let grounds = not_permitted(draft.topic, decision);
            return refuse(Reason::NotAuthorized, Unrouted::Refused, grounds, turn);
        }
        if *over_rate {
            let grounds = Grounds::new(RefusalKind::PublishRate);
            return refuse(Reason::QuotaExceeded, Unrouted::OverRate, grounds, turn);
        }
        let is_will = matches!(publisher, Publisher::Will(_));
        let qos0 = draft.qos == QoS::AtMostOnce;
        // What is retained is of few messages, and its loss would last.
        if turn.pressure.level() >= SHED && qos0 && !draft.retain && !is_will {
            let grounds = Grounds::new(RefusalKind::PublishOverload);
            return refuse(Reason::QuotaExceeded, Unrouted::Shed, grounds, turn);
        }
        if let Err(grounds) = self.admit(bytes) {
            return refuse(Reason::QuotaExceeded, Unrouted::Refused, grounds, turn);
        }
        if let Err(grounds) = self.admit_retained(draft, bytes, identity) {
            if *told {
                return refuse(Reason::QuotaExceeded, Unrouted::Refused, grounds, turn);
            }
            // At QoS 0 it was for the store only to be retained.
            if is_will || qos0 {
                turn.room_granted = false;
            } else if let Err(reason) = self.admit_to_store(draft, bytes, turn) {
                return no_room(reason, turn);
            }
            return live_only(grounds, turn);
        }
        if is_will {
            return LetIn::Whole;
        }
        match self.admit_to_store(draft, bytes, turn) {
            Ok(()) => LetIn::Whole,
            Err(reason) if qos0 && !told => live_only(no_room_for(reason), turn),
            Err(reason) => no_room(reason, turn),
        }
    }

    /// Whether the publisher may publish this: asked here and nowhere else.
    fn may_publish(&self, publisher: Publisher<'_>, draft: &Draft<'_>) -> Decision {
        match publisher {
            Publisher::Client(identity) | Publisher::Will(identity) => {
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
        let Routed { stamp, matches, looks } =
            shared.router.route(draft.topic, record.publisher, retained, &mut scratch.recent);
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
        Published { admitted, refused, reason, stored, no_room: false, pressed, unrouted: None }
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

    /// Publishes a Will, if its Session may.
    pub(super) fn publish_whole_will(
        &self,
        identity: &Arc<Identity>,
        will: &WillMessage,
        turn: &mut Turn<'_>,
    ) {
        let draft = will.draft();
        let submission = Submission::new(&draft, Publisher::Will(identity));
        if let Some(why) = self.publish(submission, turn).why_unrouted() {
            self.note_unrouted(Some(draft.topic), why);
        }
        if let Some(grounds) = turn.refused.take() {
            let topic = draft.topic.as_str();
            self.note_refused_publish(identity, topic, grounds.kind(), &mut turn.gone);
            let (client, user) = (identity.client_id.as_str(), identity.user_name.as_deref());
            let note = RefusalNote::new(grounds).why(&"its Will").topic(topic);
            self.note_refusal(&note, &Peer::default().client(client).user(user), turn.now);
        }
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
