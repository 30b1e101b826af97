//! What a Session has of the broker while it is connected, and how its actions are carried out.

use std::sync::Arc;
use std::task::Waker;

use thin_vec::ThinVec;
use tracing::debug;

use super::Origin;
use super::awaited::Awaited;
use super::coalesce::Coalesce;
use super::egress::{Egress, Hold};
use super::limits::Limits;
use super::login::Login;
use super::pause::Pause;
use crate::broker::classes::Who;
use crate::broker::mailbox::{Mailbox, Owner, Pace};
use crate::broker::metrics::Counter;
use crate::broker::ports::Voucher;
use crate::broker::publish::{Publisher, Submission};
use crate::broker::router::{Membership, RouteChange};
use crate::broker::turn::{Answer, Due, Owed, Scratch, Turn};
use crate::codec::{self, Packet, PacketId, Publish, Reason, Version};
use crate::config::Ingress;
use crate::message::{Draft, Identity, RefusalKind, SessionId};
use crate::session::{Action, CopyEnd, Op};
use crate::shape::{Allowance, LeakyBucket, Shaper};
use crate::time::Time;

pub(super) use super::client_end::ClientEnd;
pub(super) use super::queue::{Held, Queue};

/// What a Session has of the broker while it is connected.
#[derive(Debug)]
pub(super) struct Attachment {
    pub origin: Origin,
    pub mailbox: Arc<Mailbox>,
    pub memberships: ThinVec<Membership>,
    pub version: Version,
    pub packet_max: u32,
    /// Copies completed since the mailbox was told, `QoS` 0 and above.
    pub settled: [u32; 2],
    /// What waits for the store; never made where nothing is remembered.
    pub queue: Option<Box<Queue>>,
    pub pause: Option<Box<Pause>>,
    /// CONNACK has left: nothing goes before it.
    pub greeted: bool,
    pub closing: Option<Reason>,
    pub client_end: ClientEnd,
    pub flow: Option<Box<FlowState>>,
}

/// The state of a client with a limited, shaped or watched flow; and what comes of CONNECT that most
/// clients do not have. Most clients have none of it.
#[derive(Debug, Default)]
pub(super) struct FlowState {
    pub login: Option<Login>,
    /// The identity in its certificate.
    pub certificate: Option<Box<str>>,
    /// Vouches for that.
    pub voucher: Option<Arc<dyn Voucher>>,
    /// When what let it in ends.
    pub expires: Option<Time>,
    /// A server has let it in.
    pub is_lent: bool,
    /// The class it is in; empty if it is in none.
    pub class: Arc<str>,
    /// How its messages are shaped.
    pub shaper: Option<Shaper>,
    /// How much of what it sends is looked at.
    pub limits: Option<Box<Limits>>,
    /// Egress limits that it shares with others.
    pub egress: Option<Box<Egress>>,
    /// What it has brought in while the broker is pressed.
    pub overload_limit: Option<Box<LeakyBucket>>,
    /// When it was last given something, where that matters.
    pub coalesce: Coalesce,
    pub hold: Hold,
    /// Answers that it owes to named queues within a time.
    pub awaited: Option<Box<Awaited>>,
}

/// A PUBLISH of the client, as its Session hands it over.
struct ClientPublish<'a> {
    draft: Draft<'a>,
    /// `None` at `QoS` 0.
    packet_id: Option<PacketId>,
    with: Option<Op>,
    over_rate: bool,
}

impl Attachment {
    /// The Session's number.
    pub fn id(&self) -> SessionId {
        match self.mailbox.owner() {
            Owner::Session { id, .. } => *id,
            Owner::Group { .. } => unreachable!("a Session's mailbox is its own"),
        }
    }

    /// Its client.
    pub fn identity(&self) -> &Arc<Identity> {
        self.mailbox.owner().identity().expect("a Session's mailbox is its own")
    }

    /// Carries out one action of the Session. The actions of every message stand here, so that they are
    /// told apart at compile time where the Session takes them.
    #[inline]
    pub fn carry_out(&mut self, action: Action<'_>, turn: &mut Turn<'_>) {
        match action {
            Action::Send { packet, after_ops } => self.on_send(packet, after_ops, turn),
            // The mailbox is told of many at once.
            Action::Ended { copy, end: CopyEnd::Completed }
                if copy.group().is_none() && copy.mid().is_none() =>
            {
                self.settled[usize::from(copy.above_qos0())] += 1;
                turn.tally.add(Counter::Completed, 1);
            }
            Action::Publish { draft, packet_id, with, over_rate } => {
                self.on_publish(ClientPublish { draft, packet_id, with, over_rate }, turn);
            }
            action => self.carry_out_other(action, turn),
        }
    }

    #[inline(never)] // Else what is said in so many places is not carried out there.
    fn on_send(&mut self, packet: &Packet<'_>, after_ops: bool, turn: &mut Turn<'_>) {
        if let Packet::Publish(publish) = packet {
            turn.tally.add(Counter::Sent, 1);
            turn.tally.add(Counter::PayloadSent, publish.payload.len() as u64);
            if self.flow.is_some() {
                self.pour(publish, turn.now);
            }
            if turn.traced.is_on() {
                self.trace_sent(publish, turn);
            }
        }
        debug_assert!(after_ops || !matches!(packet, Packet::SubAck(_) | Packet::UnsubAck(_)));
        if !after_ops {
            self.send(packet, turn);
        } else if !self.keeps_back(packet, turn) {
            self.answer(packet, turn);
        }
    }

    /// Whether it is an answer to SUBSCRIBE or UNSUBSCRIBE that is not sent now. Such an answer always promises
    /// something: only packets that do are asked.
    fn keeps_back(&mut self, packet: &Packet<'_>, turn: &mut Turn<'_>) -> bool {
        match (packet, self.pause.as_deref_mut()) {
            (Packet::SubAck(answer) | Packet::UnsubAck(answer), Some(Pause::Filters(left))) => {
                left.answered(&answer.reasons)
            }
            // Behind SUBACK comes what is retained for the filters: it is noted in this turn, and promised too.
            (Packet::SubAck(_), _) if turn.broker.0.remembers => self.hold(packet, turn),
            _ => return false,
        }
        true
    }

    /// Sends a packet that promises something: when everything so far is durable.
    pub fn answer(&mut self, packet: &Packet<'_>, turn: &mut Turn<'_>) {
        if self.must_wait(turn) {
            self.hold(packet, turn);
        } else if !self.send(packet, turn) {
            self.cannot_answer();
        }
    }

    /// The answer is larger than the client takes, and must not be sent `[MQTT5-3.1.2-24]`. Its client waits for
    /// it, so the connection ends.
    #[cold]
    fn cannot_answer(&mut self) {
        self.closing = Some(Reason::PacketTooLarge);
        self.client_end = ClientEnd::Refused(RefusalKind::AnswerBytes);
    }

    #[inline(never)]
    fn on_publish(&mut self, incoming: ClientPublish<'_>, turn: &mut Turn<'_>) {
        let ClientPublish { draft, packet_id, with, over_rate } = incoming;
        let received = with.is_some();
        let with = with.map(|op| (self.id(), op));
        let v5 = self.version == Version::V5;
        let (publisher, told) = (Publisher::Client(self.identity()), v5 && packet_id.is_some());
        turn.traced.packet_id = packet_id;
        // Made where it is handed over: it is large.
        let published = turn
            .broker
            .publish(Submission { draft: &draft, publisher, with, over_rate, told }, turn);
        let why = turn.refused.map(|grounds| grounds.kind());
        if why.is_some() {
            self.say_refused(draft.topic.as_str(), turn);
        }
        // An older client cannot be told that the store has failed, and must not be told that
        // it has not: it comes again.
        let untold = published.no_room() && !v5;
        let reason = if untold { Reason::UnspecifiedError } else { published.reason() };
        let Some(packet_id) = packet_id else {
            turn.waits_for.clear();
            if let Some(why) = published.why_unrouted() {
                turn.broker.note_unrouted(Some(draft.topic), why);
            }
            return;
        };
        if received && published.is_stored() && published.reason().is_error() && v5 {
            // The refusal frees the identifier, in the same batch: else a crash between the
            // two would let it absorb another message.
            turn.batch.ops.push((self.id(), Op::Forgotten { packet_id }));
        }
        if reason == Reason::UnspecifiedError {
            // The store has failed: this can be neither kept nor, on 3.1.1, refused.
            self.closing = Some(Reason::UnspecifiedError);
        }
        let due = match published.is_stored() {
            true => self.due_when_stored(packet_id, published.is_repeat(), turn),
            false => Due::Now,
        };
        let (qos, repeat) = (draft.qos, published.is_repeat());
        let what = Owed::Published { packet_id, qos, reason, why, repeat };
        turn.answers.push(Answer { due, what });
    }

    /// What the answer to a PUBLISH waits for that was handed to the store.
    #[inline]
    fn due_when_stored(&self, packet_id: PacketId, repeat: bool, turn: &mut Turn<'_>) -> Due {
        if turn.traced.is_on() && !repeat {
            turn.broker.trace_handed_in((self.id(), packet_id), &mut turn.scratch.traced);
        }
        if turn.waits_for.is_empty() {
            return Due::ThisTurn;
        }
        Due::Others(std::mem::take(&mut turn.waits_for))
    }

    #[inline(never)]
    fn carry_out_other(&mut self, action: Action<'_>, turn: &mut Turn<'_>) {
        match action {
            Action::Subscribe { filter, subscription, is_new } => {
                let filter = filter.clone();
                turn.changes.push(RouteChange::Subscribe { filter, subscription, is_new });
            }
            Action::Unsubscribe { filter } => {
                turn.changes.push(RouteChange::Unsubscribe(filter.clone()))
            }
            Action::Remember(op) => turn.batch.ops.push((self.id(), op)),
            Action::Ended { copy, end } => turn.broker.end_copy(&self.mailbox, &copy, end, turn),
            Action::CompletedLate { message, queue } => {
                turn.broker.complete_late(queue, message, turn);
            }
            Action::Count(count) => turn.count(count),
            Action::Refused { grounds, topic, count } => {
                self.on_refused(grounds, topic, count, turn)
            }
            Action::Send { .. } | Action::Publish { .. } => unreachable!("carried out already"),
            Action::Close { reason, kind } => {
                self.closing = Some(reason);
                if let Some(kind) = kind {
                    self.client_end = ClientEnd::Refused(kind);
                }
            }
            Action::LaneFree { group, lane } => turn.broker.free_lane(group, lane, turn),
            Action::Goodbye => self.client_end = ClientEnd::Goodbye,
            Action::Return(_) | Action::WillDue(_) => {
                unreachable!("only the end of a connection gives back and publishes a Will")
            }
        }
    }

    /// Its class, or another one since classes have changed.
    pub fn classify(&mut self, turn: &Turn<'_>) {
        let (broker, now) = (turn.broker, turn.now);
        let nothing_to_say = broker.0.classes.are_plain() && !broker.0.pools.are_some();
        if nothing_to_say && self.flow.is_none() && self.mailbox.is_ordinary() {
            return;
        }
        let names = self.origin.listener().and_then(|id| broker.0.listeners.names(id));
        let identity = self.identity();
        let who = Who {
            client_id: identity.client_id.as_str(),
            user: identity.user_name.as_deref(),
            certificate: self.flow.as_ref().and_then(|flow| flow.certificate.as_deref()),
            listener: names.as_ref().map(|names| names.name()),
        };
        let rules = broker.0.classes.of(who);
        self.mailbox.set_rules(&rules);
        let fresh = Shaper::new(rules.shaping());
        let names = names.filter(|_| broker.0.pools.are_some());
        let listener = names.as_ref().map(|names| names.configured());
        let limits = self.new_limits(listener, rules.ingress(), turn);
        let egress = self.new_egress(listener, turn);
        let some = fresh.is_some() || limits.is_some() || egress.is_some();
        if self.flow.is_none() && !some && rules.name().is_empty() {
            return;
        }
        // What waits asks again, under the rules of now.
        if matches!(self.pause.as_deref(), Some(Pause::Rate { .. } | Pause::Overload { .. })) {
            self.pause = None;
        }
        let flow = self.flow.get_or_insert_default();
        flow.class = rules.name().clone();
        // The new rules may not coalesce: nothing waits for the end of it any more.
        flow.coalesce.stop();
        flow.limits = limits;
        flow.egress = egress;
        // A client that comes back finds its buckets as they were.
        let kept = flow.shaper.take().or_else(|| self.mailbox.take_shaper());
        flow.shaper = match (kept, fresh) {
            (Some(mut kept), Some(_)) => {
                kept.set(rules.shaping(), now);
                Some(kept)
            }
            (_, fresh) => fresh,
        };
        if flow.shaper.is_none() && flow.egress.is_none() {
            self.mailbox.forget_pace();
        }
    }

    fn new_limits(
        &mut self,
        listener: Option<&str>,
        ingress: &Ingress,
        turn: &Turn<'_>,
    ) -> Option<Box<Limits>> {
        let (broker, now) = (turn.broker, turn.now);
        let shared = listener.map(|name| broker.0.pools.of(name, self.origin.address(), now));
        let shared = shared.unwrap_or_default();
        let mut had = self.flow.as_mut().and_then(|flow| flow.limits.take());
        if let Some(had) = &mut had {
            had.give_back(now);
        }
        let booked = had.as_ref().and_then(|had| had.booked());
        let kept = had.map_or_else(|| self.mailbox.take_intake(), |had| had.into_own());
        Limits::new(ingress, shared, kept, booked, now)
    }

    /// How much of what it sends is looked at, if that is limited.
    pub fn limits_mut(&mut self) -> Option<&mut Limits> {
        self.flow.as_mut()?.limits.as_deref_mut()
    }

    fn new_egress(&mut self, listener: Option<&str>, turn: &Turn<'_>) -> Option<Box<Egress>> {
        let (broker, now) = (turn.broker, turn.now);
        let pools: Vec<_> = listener.iter().flat_map(|name| broker.0.pools.egress(name)).collect();
        let had = self.flow.as_mut().and_then(|flow| flow.egress.take());
        if let Some(mut had) = had {
            // It asks again, under the rules of now.
            let mut wakers = Vec::new();
            had.exit(now, &mut wakers);
            wakers.into_iter().for_each(Waker::wake);
            if had.is_of(&pools) {
                return Some(had);
            }
            self.mailbox.keep_waited(had.waited(now));
        }
        if pools.is_empty() {
            return None;
        }
        Egress::new(pools.into_iter(), self.mailbox.waited()).map(Box::new)
    }

    /// What may leave for the client now.
    pub fn allowance(&self, now: Time) -> Allowance {
        let Some(flow) = &self.flow else { return Allowance::FREE };
        let shaper = flow.shaper.as_ref().map(|shaper| shaper.allowance(now));
        let egress = flow.egress.as_ref().map(|egress| egress.allowance());
        shaper.into_iter().chain(egress).fold(Allowance::FREE, Allowance::least)
    }

    /// Asks for its turn in the egress limits that it shares, if its own buckets let it.
    pub fn enter(&mut self, waker: &Waker, turn: &mut Turn<'_>) {
        let now = turn.now;
        let held = self.is_held_by_itself(now);
        let Some(egress) = self.egress_mut() else { return };
        if held {
            egress.exit(now, &mut turn.wakers);
        } else {
            egress.enter(waker, now, &mut turn.wakers);
        }
    }

    /// It needs no turn for now.
    pub fn exit(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        if let Some(egress) = self.egress_mut() {
            egress.exit(now, &mut turn.wakers);
        }
    }

    /// Nothing waits for its buckets, and it needs no turn for now.
    pub fn stop_waiting(&mut self, turn: &mut Turn<'_>) {
        if let Some(shaper) = self.shaper_mut() {
            shaper.set_waits(false, turn.now);
        }
        self.exit(turn);
    }

    /// Whether its own buckets let nothing leave.
    pub fn is_held_by_itself(&self, now: Time) -> bool {
        self.shaper().is_some_and(|shaper| shaper.allowance(now).is_none())
    }

    /// The egress limits that it shares.
    pub fn egress(&self) -> Option<&Egress> {
        self.flow.as_ref()?.egress.as_deref()
    }

    fn egress_mut(&mut self) -> Option<&mut Egress> {
        self.flow.as_mut()?.egress.as_deref_mut()
    }

    /// The buckets its messages leave through.
    pub fn shaper(&self) -> Option<&Shaper> {
        self.flow.as_ref()?.shaper.as_ref()
    }

    pub fn shaper_mut(&mut self) -> Option<&mut Shaper> {
        self.flow.as_mut()?.shaper.as_mut()
    }

    /// How its messages are shaped; `held`: none may leave now.
    pub fn pace(&self, held: bool, now: Time) -> Option<Pace> {
        let flow = self.flow.as_ref()?;
        let shaper = flow.shaper.as_ref();
        if shaper.is_none() && flow.egress.is_none() {
            return None;
        }
        Some(Pace {
            class: flow.class.clone(),
            level: shaper.map_or((0, 0), |shaper| shaper.level(now)),
            delayed: shaper.map(Shaper::delayed).unwrap_or_default(),
            waited: flow.egress.as_ref().map(|egress| egress.waited(now)).unwrap_or_default(),
            waits: held,
        })
    }

    /// Puts a packet that must wait into the queue of answers.
    #[inline(never)]
    fn hold(&mut self, packet: &Packet<'_>, turn: &mut Turn<'_>) {
        let mut bytes = Vec::new();
        match codec::encode(packet, self.version, self.packet_max as usize, &mut bytes) {
            Ok(_) => {
                let what = Owed::Bytes(bytes.into_boxed_slice());
                turn.answers.push(Answer { due: Due::Newest, what });
            }
            Err(error) => {
                debug!(%error, "packet not written");
                self.cannot_answer();
            }
        }
    }

    /// What leaves is poured into the buckets: PUBLISH and nothing else.
    #[inline(never)]
    fn pour(&mut self, publish: &Publish<'_>, now: Time) {
        let Some(flow) = &mut self.flow else { return };
        if flow.shaper.is_none() && flow.egress.is_none() {
            return;
        }
        let bytes = codec::publish_len(publish, self.version);
        if let Some(shaper) = &mut flow.shaper {
            shaper.pour(bytes, now);
        }
        if let Some(egress) = &mut flow.egress {
            egress.pour(bytes);
        }
    }

    pub fn send(&mut self, packet: &Packet<'_>, scratch: &mut Scratch) -> bool {
        match codec::encode(packet, self.version, self.packet_max as usize, &mut scratch.out) {
            Ok(_) => {
                scratch.tally.add(Counter::Packets, 1);
                true
            }
            Err(error) => {
                debug!(%error, "packet not written");
                false
            }
        }
    }

    /// Whether a promise made now must wait: for this turn's Ops, or older ones not yet durable.
    fn must_wait(&self, turn: &Turn<'_>) -> bool {
        turn.broker.0.remembers
            && (!turn.batch.is_empty() || !turn.answers.is_empty() || self.queue.is_some())
    }

    /// Receivers above half full pause their publisher, for a bounded time.
    pub fn begin_pause(&mut self, turn: &mut Turn<'_>) {
        if turn.pressed.is_empty() {
            return;
        }
        let pressed = turn.pressed.drain(..).filter(|m| !Arc::ptr_eq(m, &self.mailbox));
        let mailboxes: Vec<_> = pressed.map(|mailbox| (mailbox.clone(), mailbox.taken())).collect();
        if mailboxes.is_empty() || self.pause.is_some() {
            return;
        }
        let until = turn.now.after(turn.settings.queue().pause_max.0);
        self.pause = Some(Box::new(Pause::Receivers { until, mailboxes }));
    }
}
