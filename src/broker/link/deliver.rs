//! Feeding a client: what window and room allow, from where it waits.

use std::sync::Arc;
use std::task::Waker;

use tracing::error;

use super::OUT_MAX;
use super::egress::Egress;
use super::live::Live;
use crate::broker::Broker;
use crate::broker::mailbox::{Ask, Mailbox, Puller};
use crate::broker::metrics::Counter;
use crate::broker::turn::{COPIES_MAX, Turn};
use crate::codec::{QoS, Reason};
use crate::message::{Delivery, Loss, Message};
use crate::session::{CopyEnd, EndedCopy, Input, Room};
use crate::shape::Allowance;
use crate::time::Time;

/// Copies taken from one mailbox in one go.
const TAKE_MAX: usize = 256;

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
    }

    /// Takes for the client what window and room allow: what awaits its resend, retained
    /// messages, its mailbox, its groups.
    pub(super) fn deliver(&mut self, waker: &Waker, unwritten: usize, turn: &mut Turn<'_>) -> bool {
        let (broker, now) = (turn.broker, turn.now);
        let mut copies = 0;
        // Groups are asked once a turn, for a share: what is left is for the other members first.
        let mut asked_groups = false;
        let mut groups_have_more = false;
        loop {
            let fetched = self.take_fetched(broker, turn);
            asked_groups &= !fetched;
            // Most clients are not shaped: they should not pay for those that are.
            let plain = self.attachment.flow.is_none();
            if !plain {
                self.attachment.enter(waker, turn);
            }
            let bytes = OUT_MAX.saturating_sub(unwritten + turn.out.len());
            if self.session.resending() && bytes > 0 {
                self.resend(turn);
            }
            let from_retained = self.take_retained(bytes, turn);
            if !plain && self.attachment.egress().is_some_and(Egress::is_spent) {
                continue;
            }
            let mut drained = std::mem::take(&mut turn.drained);
            // Shaping decides taking, never sending: what is held up has no identifier yet.
            let allowance = if plain { Allowance::FREE } else { self.attachment.allowance(now) };
            let held = allowance.is_none();
            let max = if copies < COPIES_MAX { TAKE_MAX.min(allowance.messages) } else { 0 };
            let bytes = OUT_MAX.saturating_sub(unwritten + turn.out.len()).min(allowance.bytes);
            let cx = turn.context();
            let room = self.session.room(&cx, turn.pressure.level(), bytes);
            let scratch = &mut *turn.scratch;
            let queue = scratch.settings.queue();
            let pace = if plain { None } else { self.attachment.pace(held, now) };
            let ask = Ask { room, max, pace: pace.as_ref(), waker, queue };
            let attachment = &mut self.attachment;
            let wakers = &mut scratch.wakers;
            let taken =
                attachment.mailbox.take(&ask, &mut attachment.settled, &mut drained, wakers);
            let mut more = taken.more() || from_retained.is_some_and(|more| more);
            let mut cold = taken.cold().then(|| attachment.mailbox.clone());
            let mut left = left_after(room, &drained);
            let identity = self.session.identity();
            for membership in &attachment.memberships {
                if asked_groups || (max == 0 && !held) {
                    break;
                }
                let before = drained.len();
                // Who is held up passes the wake on.
                let room = if held { Room { bytes: 0, ..left } } else { left };
                let ask = Ask { room, max: max - before.min(max), pace: None, ..ask };
                // One that has expired is taken, and is lost here.
                let may = |message: &Message| {
                    message.expired(now) || cx.access.may_receive(identity, message.topic())
                };
                let puller = Puller { member: membership.member(), may: &may };
                let taken = membership.mailbox().take_shared(puller, &ask, &mut drained, wakers);
                left = left_after(room, &drained[before..]);
                groups_have_more |= taken.more();
                cold = cold.or_else(|| taken.cold().then(|| membership.mailbox().clone()));
            }
            asked_groups = true;
            if left.bytes == 0 && attachment.memberships.len() > 1 {
                // Another group is the first next time.
                attachment.memberships.rotate_left(1);
            }
            copies += drained.len();
            let progress = fetched || !drained.is_empty() || from_retained.is_some();
            for delivery in drained.drain(..) {
                if !plain && self.too_old(&delivery, now) {
                    let (copy, end) = (EndedCopy::new(&delivery), CopyEnd::Lost(Loss::TooOld));
                    broker.end_copy(&self.attachment.mailbox, &copy, end, turn);
                } else {
                    self.run(Input::Deliver(delivery), &cx, turn);
                }
            }
            turn.drained = drained;
            // A copy that was dropped has left its slot to the next.
            if self.session.room(&cx, turn.pressure.level(), bytes).window > left.window {
                (more, asked_groups) = (true, false);
            }
            if let Some(reason) = taken.notices().kick() {
                self.attachment.closing = Some(reason);
                self.attachment.exit(turn);
                return false;
            }
            if taken.notices().reclassify() {
                self.attachment.classify(turn);
                continue;
            }
            if held {
                let waits = more
                    || groups_have_more
                    || self.session.resending()
                    || self.session.has_cursor();
                let by_itself = self.attachment.is_held_by_itself(now);
                if let Some(shaper) = self.attachment.shaper_mut() {
                    shaper.set_waits(waits && by_itself, now);
                }
                if !waits {
                    self.attachment.exit(turn);
                }
                self.tell_settled();
                return false;
            }
            let there = cold.is_some_and(|mailbox| self.fetch(mailbox, broker, waker));
            let full = unwritten + turn.out.len() >= OUT_MAX || copies >= COPIES_MAX;
            if !there && (full || !progress || !more) {
                self.tell_settled();
                if !plain {
                    if let Some(shaper) = self.attachment.shaper_mut() {
                        shaper.set_waits(false, now);
                    }
                    self.attachment.exit(turn);
                }
                return more || groups_have_more || (full && progress);
            }
        }
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
            broker.lose_unreadable(mailbox.receiver(), mid, turn);
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

    /// A `QoS` 0 message that has waited for longer than its receiver's class allows.
    fn too_old(&self, delivery: &Delivery, now: Time) -> bool {
        let message = &delivery.message;
        message.qos == QoS::AtMostOnce
            && self.attachment.shaper().is_some_and(|shaper| shaper.too_old(message.received, now))
    }

    /// Pulls retained messages for the first open cursor. `None`: nothing came of it; else whether
    /// there may be more.
    fn take_retained(&mut self, bytes: usize, turn: &mut Turn<'_>) -> Option<bool> {
        if !self.session.has_cursor() {
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
        let done = turn.broker.0.router.retained().pull(cursor, room, max, now, &mut drained);
        let moved = done || cursor.after != before;
        if done {
            self.session.close_cursor();
        }
        for delivery in drained.drain(..) {
            let above = usize::from(delivery.qos > QoS::AtMostOnce);
            // Routed here and now: the account of the receiver knows of it.
            self.attachment.mailbox.count_routed(above);
            turn.tally.add(Counter::Routed, 1);
            self.run(Input::Deliver(delivery), &cx, turn);
        }
        turn.drained = drained;
        moved.then(|| self.session.has_cursor())
    }

    /// What was completed is told to the mailbox's account.
    pub(super) fn tell_settled(&mut self) {
        self.attachment.mailbox.settle_many(&mut self.attachment.settled);
    }
}

/// What is left of `room` when `taken` has its part of it.
fn left_after(room: Room, taken: &[Delivery]) -> Room {
    let above = taken.iter().filter(|delivery| delivery.qos > QoS::AtMostOnce).count();
    let bytes: usize = taken.iter().map(|delivery| delivery.message.bytes()).sum();
    Room { window: room.window.saturating_sub(above), bytes: room.bytes.saturating_sub(bytes) }
}
