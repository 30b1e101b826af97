//! The mailbox of a group of Shared Subscriptions: its members take from it in turn.

use std::task::Waker;

use super::inner::Inner;
use super::members::{Member, Puller};
use super::waiting::Limits;
use super::{Ask, Copy, Mailbox, Notices, Owner, Taken};
use crate::codec::QoS;
use crate::message::{
    ClientId, Delivery, GroupId, Lane, Loss, Message, SessionId, SubscriptionIds,
};
use crate::session::Room;

/// A member takes at most this many copies in a turn, so that the others get their share.
pub(super) const SHARE_MAX: usize = 64;

/// How many of them are of `QoS` 1 or 2.
pub(super) fn qos12_of(copies: &[Delivery]) -> usize {
    copies.iter().filter(|copy| copy.qos > QoS::AtMostOnce).count()
}

/// A copy of the group's as one of its members gets it.
#[inline]
pub(super) fn delivery_to(member: &Member, copy: Copy, group: Option<GroupId>) -> Delivery {
    Delivery {
        qos: copy.qos.min(member.qos),
        retain: copy.message.retain && member.retain_as_published,
        message: copy.message,
        ids: SubscriptionIds::new(member.id),
        group,
        lane: Lane::NONE,
        stored: copy.stored,
    }
}

impl Mailbox {
    /// A member of the group takes its share of what `ask` allows into `out`, up to the first copy that it
    /// may not have: that waits for another member; if no connected member may have it, the last one that
    /// is asked takes it, to lose it, or sets it aside in a named queue. Then the member's waker is registered. Others to wake, with no lock
    /// held, are added to `wakers`.
    pub fn take_shared(
        &self,
        puller: Puller<'_>,
        ask: &Ask<'_>,
        out: &mut Vec<Delivery>,
        wakers: &mut Vec<Waker>,
    ) -> Taken {
        let inner = &mut *self.lock();
        let rules = inner.rules();
        let queue = rules.as_ref().map_or(ask.queue, |rules| rules.queue());
        let (ask, owner) = (&Ask { queue, ..*ask }, &self.owner);
        let members = inner.members();
        let taken = if members.lanes().is_some() {
            inner.take_own(puller.member, ask, owner.group(), out, wakers)
        } else if members.turns().is_some() {
            inner.take_in_turn(puller, ask, owner, out, wakers)
        } else {
            inner.take_next(puller, ask, owner, out, wakers)
        };
        taken.with_ack_timeout(rules.and_then(|rules| rules.retry().ack_timeout))
    }

    /// Puts unacknowledged messages of a departed member back at the head, in order; returns wakers of
    /// members that can take them, to be woken with no lock held. `band` returns the band of a message.
    ///
    /// # Errors
    ///
    /// The same messages, if the group is no more.
    pub fn give_back(
        &self,
        deliveries: Vec<Delivery>,
        band: impl Fn(&Message) -> u8,
    ) -> Result<Vec<Waker>, Vec<Delivery>> {
        let inner = &mut *self.lock();
        let before = inner.counted();
        if inner.closed.is_some() {
            return Err(deliveries);
        }
        let mut wakers = Vec::new();
        for delivery in deliveries.into_iter().rev() {
            let band = band(&delivery.message);
            let copy = Copy {
                qos: delivery.message.qos,
                message: delivery.message,
                retain: false,
                ids: SubscriptionIds::default(),
                stored: delivery.stored,
                band,
            };
            if let Err(copy) = inner.give_back_to_lane(copy, delivery.lane) {
                inner.waiting.push_front(copy);
                wakers.extend(inner.whom_to_wake(QoS::AtLeastOnce));
            }
        }
        inner.wake_owners(&mut wakers);
        inner.count_for(&self.owner, before);
        Ok(wakers)
    }

    /// Copies that were taken for a Session and did not reach it wait again, before all others. At `QoS` 0
    /// they are lost, as with any connection that fails.
    pub fn put_back(&self, deliveries: Vec<Delivery>, band: impl Fn(&Message) -> u8) {
        let inner = &mut *self.lock();
        let before = inner.counted();
        for delivery in deliveries.into_iter().rev() {
            let closed = inner.closed.unwrap_or(Loss::SessionEnded);
            if inner.closed.is_some() || delivery.qos == QoS::AtMostOnce {
                inner.lose(usize::from(delivery.qos > QoS::AtMostOnce), closed, 1);
                continue;
            }
            let band = band(&delivery.message);
            let Delivery { message, qos, retain, ids, stored, .. } = delivery;
            inner.waiting.push_front(Copy { message, qos, retain, ids, stored, band });
        }
        inner.count_for(&self.owner, before);
    }

    /// A member of the group has connected.
    pub fn join(&self, session: SessionId, client_id: &ClientId) {
        let inner = &mut *self.lock();
        let before = inner.counted();
        // It may be allowed to have what no other may.
        inner.waiting.take_up_again();
        inner.members().connect(session, client_id);
        inner.attached = true;
        inner.count_for(&self.owner, before);
    }

    /// A member of the group has left or lost its connection: others are woken in its place.
    pub fn part(&self, session: SessionId) -> Vec<Waker> {
        let inner = &mut *self.lock();
        let before = inner.counted();
        let members = inner.members();
        if !members.disconnect(session) {
            inner.attached = false;
            if inner.members().lanes().is_some() {
                inner.waiting.gather();
            }
            inner.waiting.cool();
            inner.count_for(&self.owner, before);
        }
        if inner.waiting.is_empty() {
            return Vec::new();
        }
        if inner.members().lanes().is_some() {
            return inner.wake_heirs();
        }
        inner.whom_to_wake(QoS::AtLeastOnce).into_iter().collect()
    }

    /// Connected members of the group; 0 for a Session's mailbox.
    pub fn connected(&self) -> u32 {
        let inner = self.look();
        inner.group_members().map_or(0, |members| members.connected() as u32)
    }
}

impl Inner {
    /// A member takes what is next: see [`Mailbox::take_shared`].
    fn take_next(
        &mut self,
        Puller { member, may }: Puller<'_>,
        ask: &Ask<'_>,
        owner: &Owner,
        out: &mut Vec<Delivery>,
        wakers: &mut Vec<Waker>,
    ) -> Taken {
        let connected = self.members().connected().max(1);
        let max = self.waiting.len().div_ceil(connected).min(SHARE_MAX).min(ask.max);
        // A member granted QoS 0 needs no slot for anything.
        let window = if member.qos == QoS::AtMostOnce { usize::MAX } else { ask.room.window };
        let before = out.len();
        let room = Room { window, ..ask.room };
        let limits = Limits { room, max, share: ask.queue.lower_band_share };
        let deliver = |copy: Copy| delivery_to(member, copy, owner.group());
        // What has failed comes first: it came before what waits.
        let (tried, limits) = self.waiting.take_ready(limits, member.session, out, may, deliver);
        let mut drained = self.waiting.take_allowed(limits, out, may, deliver);
        if drained.copies > 0 && self.members().unbar() && !self.waiting.is_empty() {
            // Another copy is the first: a member that waited for this one to go looks again.
            wakers.extend(self.whom_to_wake(QoS::AtLeastOnce));
        }
        let mut set_aside = false;
        if let Some((arrival, needs_slot)) = drained.barred {
            if !self.members().bar(member.session, arrival) {
                wakers.extend(self.members().next_not_barred(needs_slot));
            } else if owner.is_queue() {
                self.set_aside(arrival);
                set_aside = true;
            } else {
                // No member may have it: it is taken to be lost.
                let slots = qos12_of(&out[before..]);
                let room = Room { window: window.saturating_sub(slots), ..ask.room };
                drained.copies += self.take_first(Limits { room, ..limits }, out, deliver);
                drained.more = !self.waiting.is_empty();
            }
        }
        self.note_taken(drained.copies + tried.copies);
        self.release_paused(ask.queue, wakers);
        let left = self.waiting.has_qos12() || self.waiting.has_ready();
        if ask.room.bytes == 0 && !self.waiting.is_empty() {
            // Woken, and its socket is full: others get the wake. It looks again when it can write.
            let qos = if left { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            self.members().forget(member.session);
            wakers.extend(self.whom_to_wake(qos));
            return Taken::new(true, Notices::default(), false);
        }
        let slots = qos12_of(&out[before..]);
        let qos0_only = window <= slots;
        self.members().wait(member.session, ask.waker, qos0_only);
        if left && qos0_only {
            // Woken, and cannot take: pass the wake on.
            wakers.extend(self.whom_to_wake(QoS::AtLeastOnce));
        }
        let cold = window > 0 && self.waiting.first_is_cold();
        let more = drained.more || tried.more;
        Taken::new(more, Notices::default(), cold).with_set_aside(set_aside)
    }

    /// The first copy is taken, whether or not a member may have it.
    pub fn take_first(
        &mut self,
        limits: Limits,
        out: &mut Vec<Delivery>,
        deliver: impl Fn(Copy) -> Delivery,
    ) -> usize {
        self.members().unbar();
        self.waiting.take(Limits { max: 1, ..limits }, out, deliver).copies
    }
}
