//! Feeding a client: what window and room allow, from where it waits.

mod replays;

use std::sync::Arc;
use std::task::Waker;

use tracing::error;

use super::OUT_MAX;
use super::attachment::Attachment;
use super::egress::Egress;
use super::live::{Live, note_ack_timeout};
use crate::broker::Broker;
use crate::broker::mailbox::{Ask, Mailbox, Notices, Pace, Puller};
use crate::broker::metrics::Counter;
use crate::broker::orphans::OnTheWay;
use crate::broker::turn::{COPIES_MAX, Scratch, Turn};
use crate::codec::{QoS, Reason};
use crate::fault;
use crate::message::{Delivery, Loss, Message};
use crate::session::{Context, CopyEnd, EndedCopy, Input, Room};
use crate::shape::{Allowance, Load};
use crate::time::Time;

/// Copies taken from one mailbox in one go.
const TAKE_MAX: usize = 256;

/// Retained topics looked at in one call of [`Live::deliver`]: a filter that finds none may make each look
/// a leap, of about a microsecond. The next turn goes on from there.
const STEPS_MAX: usize = 128;

/// One call of [`Live::deliver`]: what holds for all its rounds, and what they have done so far.
struct Pass<'a> {
    cx: &'a Context<'a>,
    waker: &'a Waker,
    /// Bytes that waited to be written before.
    unwritten: usize,
    /// Copies taken.
    copies: usize,
    /// Retained topics that may still be looked at.
    steps: usize,
    /// Retained messages taken.
    retained: usize,
    /// Groups are asked once a turn, for a share: what is left is for the other members first.
    asked_groups: bool,
    groups_have_more: bool,
}

/// One round: what it was allowed to take, and what it has found.
struct Round {
    /// Copies that could be taken.
    max: usize,
    /// Bytes that could be taken.
    bytes: usize,
    /// Shaping or shared egress limits let nothing leave now.
    held: bool,
    /// The room that is left.
    left: Room,
    /// Something was taken.
    progress: bool,
    /// More waits, outside groups.
    more: bool,
    notices: Notices,
    /// A mailbox with next copies that are to be fetched from the store.
    cold: Option<Arc<Mailbox>>,
}

/// What shaping and shared egress limits allow a client in one round. They decide about taking, never
/// about sending: what is held up has no identifier yet.
struct Pacing {
    allowance: Allowance,
    /// What the mailbox is told about it, if the client is shaped or shares limits.
    pace: Option<Pace>,
}

impl Pacing {
    /// For a client that nothing slows down.
    const NONE: Pacing = Pacing { allowance: Allowance::FREE, pace: None };

    /// A client without such limits costs one look at a pointer.
    #[inline]
    fn of(attachment: &Attachment, now: Time) -> Pacing {
        if attachment.flow.is_none() {
            return Pacing::NONE;
        }
        let allowance = attachment.allowance(now);
        Pacing { allowance, pace: attachment.pace(allowance.is_none(), now) }
    }
}

impl Pass<'_> {
    /// Bytes that may still be taken.
    #[inline]
    fn room_left(&self, turn: &Turn<'_>) -> usize {
        OUT_MAX.saturating_sub(self.unwritten + turn.out.len())
    }
}

impl Live {
    /// Whether there is nothing that [`Live::deliver`] could do. A client that only publishes should
    /// not look into its mailbox each time.
    pub(super) fn has_nothing_to_take(&self) -> bool {
        let Live { session, attachment } = self;
        attachment.mailbox.is_quiet()
            && attachment.flow.is_none()
            && attachment.memberships.is_empty()
            && attachment.queue.as_ref().is_none_or(|queue| queue.fetch.is_none())
            && !session.resending()
            && !session.has_cursor()
            && session.replays().is_empty()
    }

    /// Takes for the client what window and room allow: what awaits its resend, retained
    /// messages, its mailbox, its groups. Returns whether more could be taken with more room.
    pub(super) fn deliver(&mut self, waker: &Waker, unwritten: usize, turn: &mut Turn<'_>) -> bool {
        let cx = turn.context();
        let mut pass = Pass {
            cx: &cx,
            waker,
            unwritten,
            copies: 0,
            steps: STEPS_MAX,
            retained: 0,
            asked_groups: false,
            groups_have_more: false,
        };
        loop {
            let Some(round) = self.gather(&mut pass, turn) else { continue };
            self.hand_over(&cx, turn);
            if let Some(more) = self.decide(round, &mut pass, turn) {
                return more;
            }
        }
    }

    /// Gathers copies from the mailbox and from the groups; resends and retained messages are sent at
    /// once. `None`: the client's turn in shared egress limits is used up, and it has to ask again.
    #[inline]
    fn gather(&mut self, pass: &mut Pass<'_>, turn: &mut Turn<'_>) -> Option<Round> {
        let fetched = self.take_fetched(turn.broker, turn);
        pass.asked_groups &= !fetched;
        // Most clients are not shaped: they should not pay for those that are.
        let plain = self.attachment.flow.is_none();
        if !plain {
            self.attachment.enter(pass.waker, turn);
        }
        let bytes = pass.room_left(turn);
        if self.session.resending() && bytes > 0 {
            self.resend(turn);
        }
        let from_retained = self.take_retained(bytes, pass, turn);
        let from_logs = self.take_replays(pass, turn);
        if !plain && self.attachment.egress().is_some_and(Egress::is_spent) {
            return None;
        }
        let pacing = Pacing::of(&self.attachment, turn.now);
        let Allowance { messages, bytes } = pacing.allowance;
        let held = pacing.allowance.is_none();
        if let Some(flow) = self.attachment.flow.as_mut().filter(|_| !held)
            && let Some(waited) = flow.hold.end(turn.now)
            && let Some(timings) = turn.broker.timings()
        {
            timings.shaped.note(waited);
        }
        let max = if pass.copies < COPIES_MAX { TAKE_MAX.min(messages) } else { 0 };
        let bytes = pass.room_left(turn).min(bytes);
        let room = self.session.room(pass.cx, turn.pressure.level(), bytes);
        let Scratch { drained, wakers, settings, .. } = &mut *turn.scratch;
        let (waker, queue) = (pass.waker, settings.queue());
        let ask = Ask { room, max, pace: pacing.pace.as_ref(), waker, queue };
        let Attachment { mailbox, settled, memberships, .. } = &mut self.attachment;
        let taken = mailbox.take(&ask, settled, drained, wakers);
        let mut round = Round {
            max,
            bytes,
            held,
            left: left_after(room, drained),
            progress: fetched || from_retained.is_some() || from_logs.is_some(),
            more: taken.more() || from_retained == Some(true) || from_logs == Some(true),
            notices: taken.notices(),
            cold: taken.cold().then(|| mailbox.clone()),
        };
        if !memberships.is_empty() {
            self.gather_shared(&mut round, pass, turn);
        }
        pass.asked_groups = true;
        pass.copies += turn.drained.len();
        round.progress |= !turn.drained.is_empty();
        Some(round)
    }

    /// Gathers the client's share of what waits in its groups.
    fn gather_shared(&mut self, round: &mut Round, pass: &mut Pass<'_>, turn: &mut Turn<'_>) {
        let (cx, now, broker) = (pass.cx, turn.now, turn.broker);
        let Live { session, attachment } = self;
        let identity = session.identity();
        let Scratch { drained, wakers, settings, .. } = &mut *turn.scratch;
        let queue = settings.queue();
        for membership in &attachment.memberships {
            if pass.asked_groups || (round.max == 0 && !round.held) {
                break;
            }
            let before = drained.len();
            // A member that is held up passes the wake on.
            let room = if round.held { Room { bytes: 0, ..round.left } } else { round.left };
            let max = round.max - before.min(round.max);
            let ask = Ask { room, max, pace: None, waker: pass.waker, queue };
            let member = membership.member();
            // A copy that has expired is taken, and is lost here.
            let may = |message: &Message| {
                message.expired(now) || cx.access.may(identity, &member.asks(message)).is_allowed()
            };
            let puller = Puller { member, may: &may };
            let taken = membership.mailbox().take_shared(puller, &ask, drained, wakers);
            round.left = left_after(room, &drained[before..]);
            if taken.ack_timeout().is_some() || attachment.flow.is_some() {
                let queue = membership.mailbox().owner().group();
                note_ack_timeout((session, &mut attachment.flow), queue, taken.ack_timeout(), now);
            }
            pass.groups_have_more |= taken.more();
            if taken.has_set_aside() {
                broker.say_set_aside(membership.mailbox(), now);
            }
            let cold = &mut round.cold;
            *cold = cold.take().or_else(|| taken.cold().then(|| membership.mailbox().clone()));
        }
        if round.left.bytes == 0 && attachment.memberships.len() > 1 {
            // Another group is the first next time.
            attachment.memberships.rotate_left(1);
        }
    }

    /// Hands what was gathered to the Session, which sends it.
    #[inline]
    fn hand_over(&mut self, cx: &Context<'_>, turn: &mut Turn<'_>) {
        let plain = self.attachment.flow.is_none() && !turn.traced.is_on();
        let mut drained = std::mem::take(&mut turn.drained);
        if let Some(timings) = turn.broker.timings() {
            turn.scratch.sampler.pass(&drained, turn.now, &timings.deliver);
        }
        let mut rest = OnTheWay(drained.drain(..));
        for delivery in rest.0.by_ref() {
            if plain || self.may_go(&delivery, turn) {
                let sent = (!plain).then(|| (delivery.group, self.session.newest_flight()));
                self.run(Input::Deliver(delivery), cx, turn);
                if let Some(sent) = sent {
                    self.expect_answer(sent, turn.now);
                }
            }
            fault::reach("deliver");
        }
        drop(rest);
        turn.drained = drained;
    }

    /// Decides what follows a round: `None` is another one, else whether more could be taken with more
    /// room.
    #[inline]
    fn decide(&mut self, round: Round, pass: &mut Pass<'_>, turn: &mut Turn<'_>) -> Option<bool> {
        let Round { bytes, held, left, progress, mut more, notices, cold, .. } = round;
        // A copy that was dropped has left its slot to the next.
        if self.session.room(pass.cx, turn.pressure.level(), bytes).window > left.window {
            (more, pass.asked_groups) = (true, false);
        }
        if let Some(reason) = notices.kick() {
            self.kicked(reason, notices);
            self.attachment.exit(turn);
            return Some(false);
        }
        if notices.asks() {
            self.answer_enquiries(turn);
        }
        if notices.reclassify() {
            self.look_again(turn);
            if self.attachment.closing.is_some() {
                self.attachment.exit(turn);
                return Some(false);
            }
            return None;
        }
        if held {
            self.wait_for_pacing(more || pass.groups_have_more, turn);
            return Some(false);
        }
        let there = cold.is_some_and(|mailbox| self.fetch(mailbox, turn.broker, pass.waker));
        let full = pass.room_left(turn) == 0 || pass.copies >= COPIES_MAX || pass.steps == 0;
        if there || (!full && progress && more) {
            return None;
        }
        self.tell_settled();
        if self.attachment.flow.is_some() {
            self.attachment.stop_waiting(turn);
        }
        Some(more || pass.groups_have_more || (full && progress))
    }

    /// Nothing may leave now: notes what the client waits for. `more`: copies wait for it.
    fn wait_for_pacing(&mut self, more: bool, turn: &mut Turn<'_>) {
        let now = turn.now;
        let is_behind = self.session.replays().iter().any(|replay| replay.is_behind);
        let waits = more || self.session.resending() || self.session.has_cursor() || is_behind;
        let by_itself = self.attachment.is_held_by_itself(now);
        if let Some(shaper) = self.attachment.shaper_mut() {
            shaper.set_waits(waits && by_itself, now);
        }
        if let Some(flow) = &mut self.attachment.flow {
            flow.hold.note(waits, now);
        }
        if !waits {
            self.attachment.exit(turn);
        }
        self.tell_settled();
    }

    /// Asks the store for what waits next in `mailbox`; returns whether it is there already.
    fn fetch(&mut self, mailbox: Arc<Mailbox>, broker: &Broker, waker: &Waker) -> bool {
        let queue = self.attachment.queue.get_or_insert_default();
        if queue.fetch.is_some() {
            return false;
        }
        let want = mailbox.cold_page();
        let shared = &*broker.0;
        let fetch = shared.ports.store.fetch(want, shared.meter, waker);
        let there = fetch.is_there();
        queue.fetch = Some((mailbox, fetch));
        there
    }

    /// What came from the store takes its places in the mailbox; returns whether anything came.
    fn take_fetched(&mut self, broker: &Broker, turn: &mut Turn) -> bool {
        let Some(queue) = &mut self.attachment.queue else { return false };
        let there = queue
            .fetch
            .as_ref()
            .and_then(|(mailbox, fetch)| Some((mailbox.clone(), fetch.take()?)));
        let Some((mailbox, found)) = there else {
            // A client that waited on would get nothing ever again, and not know why.
            if queue.fetch.as_ref().is_some_and(|(_, fetch)| fetch.has_failed()) {
                self.attachment.closing = Some(Reason::UnspecifiedError);
            }
            return false;
        };
        queue.fetch = None;
        for mid in mailbox.warm(found) {
            error!(client = %self.client_id(), %mid, "a message that was kept cannot be read");
            broker.lose_unreadable(&mailbox, mid, turn);
        }
        true
    }

    /// What was in flight leaves through the same buckets as what is new.
    fn resend(&mut self, turn: &mut Turn<'_>) {
        let Live { session, attachment } = self;
        let cx = turn.context();
        if attachment.shaper().is_none() && attachment.egress().is_none() {
            session.resend(usize::MAX, &cx, &mut |a| attachment.carry_out(a, turn));
            return;
        }
        loop {
            let before = session.awaiting_resend();
            if before == 0 || attachment.allowance(turn.now).is_none() {
                break;
            }
            session.resend(1, &cx, &mut |action| attachment.carry_out(action, turn));
            if session.awaiting_resend() == before {
                break;
            }
        }
    }

    /// What is asked of a delivery to few clients: one that was lost here is not sent. A `QoS` 0 message may have
    /// waited for longer than its receiver's class allows.
    fn may_go(&self, delivery: &Delivery, turn: &mut Turn<'_>) -> bool {
        let message = &delivery.message;
        let shaper = self.attachment.shaper().filter(|_| message.qos == QoS::AtMostOnce);
        if shaper.is_some_and(|shaper| shaper.too_old(message.received, turn.now)) {
            let (copy, end) = (EndedCopy::new(delivery), CopyEnd::Lost(Loss::TooOld));
            turn.broker.end_copy(&self.attachment.mailbox, &copy, end, turn);
            return false;
        }
        self.trace_in_hand(delivery, turn);
        true
    }

    /// Pulls retained messages for the first open cursor. `None`: nothing came of it; else whether
    /// there may be more.
    fn take_retained(
        &mut self,
        bytes: usize,
        pass: &mut Pass<'_>,
        turn: &mut Turn<'_>,
    ) -> Option<bool> {
        if !self.session.has_cursor() || pass.steps == 0 {
            return None;
        }
        let now = turn.now;
        let allowance = self.attachment.allowance(now);
        let bytes = bytes.min(allowance.bytes);
        if bytes == 0 || allowance.messages == 0 {
            return None;
        }
        let cx = turn.context();
        let room = self.session.room(&cx, turn.pressure.level(), bytes);
        let mut drained = std::mem::take(&mut turn.drained);
        let cursor = self.session.cursor()?;
        let before = cursor.after.clone();
        let max = TAKE_MAX.min(allowance.messages);
        let most = (max, &mut pass.steps);
        let done = turn.broker.0.router.retained().pull(cursor, room, most, now, &mut drained);
        let moved = done || cursor.after != before;
        pass.retained += drained.len();
        turn.tally.add(Counter::Routed, drained.len() as u64);
        for delivery in &drained {
            // Routed here and now: the account of the receiver knows of it.
            let above = usize::from(delivery.qos > QoS::AtMostOnce);
            self.attachment.mailbox.count_routed(above);
        }
        let mut rest = OnTheWay(drained.drain(..));
        if pass.steps == 0 && pass.retained < STEPS_MAX / 8 {
            // It looked, and found next to nothing: as dear as a SUBSCRIBE.
            self.charge(Load::Subscribe, 1, now);
        }
        if moved {
            let Live { session, attachment } = self;
            session.pulled(done, &cx, &mut |action| attachment.carry_out(action, turn));
        }
        for delivery in rest.0.by_ref() {
            if may_come_of(&delivery.message, turn) {
                self.trace_in_hand(&delivery, turn);
                self.run(Input::Deliver(delivery), &cx, turn);
            } else {
                let (copy, end) = (EndedCopy::new(&delivery), CopyEnd::Lost(Loss::NotAuthorized));
                turn.broker.end_copy(&self.attachment.mailbox, &copy, end, turn);
            }
            fault::reach("retained");
        }
        drop(rest);
        turn.drained = drained;
        moved.then(|| self.session.has_cursor())
    }

    /// What was completed is told to the mailbox's account.
    pub(super) fn tell_settled(&mut self) {
        self.attachment.mailbox.settle_many(&mut self.attachment.settled);
    }
}

/// Whether a retained message may be sent, as far as its publisher is concerned.
fn may_come_of(message: &Message, turn: &mut Turn<'_>) -> bool {
    let shared = &*turn.broker.0;
    let access = &*shared.ports.access;
    !access.checks_retained() || turn.scratch.sources.may_publish(message, access, shared.meter)
}

/// What is left of `room` when `taken` has its part of it.
fn left_after(room: Room, taken: &[Delivery]) -> Room {
    let above = taken.iter().filter(|delivery| delivery.qos > QoS::AtMostOnce).count();
    let bytes: usize = taken.iter().map(|delivery| delivery.message.bytes()).sum();
    Room { window: room.window.saturating_sub(above), bytes: room.bytes.saturating_sub(bytes) }
}
