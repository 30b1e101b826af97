//! The mailbox of a group of Shared Subscriptions: its members take from it in turn.

use std::task::Waker;

use super::members::{Member, Puller};
use super::waiting::Limits;
use super::{Ask, Copy, Mailbox, Notices, Taken};
use crate::codec::QoS;
use crate::message::{Delivery, GroupId, Loss, Message, SessionId, SubscriptionIds};
use crate::session::Room;

/// A member takes at most this many copies in a turn, so that the others get their share.
pub(super) const SHARE_MAX: usize = 64;

/// How many of them are of `QoS` 1 or 2.
fn qos12_of(copies: &[Delivery]) -> usize {
    copies.iter().filter(|copy| copy.qos > QoS::AtMostOnce).count()
}

/// A copy of the group's as one of its members gets it.
#[inline]
fn delivery_to(member: &Member, copy: Copy, group: Option<GroupId>) -> Delivery {
    Delivery {
        qos: copy.qos.min(member.qos),
        retain: copy.message.retain && member.retain_as_published,
        message: copy.message,
        ids: SubscriptionIds::new(member.id),
        group,
        stored: copy.stored,
    }
}

impl Mailbox {
    /// A member of the group takes its share of what `ask` allows into `out`, up to the first copy that it
    /// may not have: that waits for another member; if no connected member may have it, the last one that
    /// is asked takes it, to lose it. Then the member's waker is registered. Others to wake, with no lock
    /// held, are added to `wakers`.
    pub fn take_shared(
        &self,
        puller: Puller<'_>,
        ask: &Ask<'_>,
        out: &mut Vec<Delivery>,
        wakers: &mut Vec<Waker>,
    ) -> Taken {
        let Puller { member, may } = puller;
        let inner = &mut *self.lock();
        let connected = inner.members().connected().max(1) as usize;
        let max = inner.waiting.len().div_ceil(connected).min(SHARE_MAX).min(ask.max);
        // A member granted QoS 0 needs no slot for anything.
        let window = if member.qos == QoS::AtMostOnce { usize::MAX } else { ask.room.window };
        let before = out.len();
        let room = Room { window, ..ask.room };
        let limits = Limits { room, max, share: ask.queue.lower_band_share };
        let group = self.owner.group();
        let deliver = |copy: Copy| delivery_to(member, copy, group);
        let mut drained = inner.waiting.take_allowed(limits, out, may, deliver);
        if drained.copies > 0 && inner.members().unbar() && !inner.waiting.is_empty() {
            // Another copy is the first: a member that waited for this one to go looks again.
            wakers.extend(inner.whom_to_wake(QoS::AtLeastOnce));
        }
        if let Some((arrival, needs_slot)) = drained.barred {
            if inner.members().bar(member.session, arrival) {
                // No member may have it: it is taken to be lost.
                let slots = qos12_of(&out[before..]);
                let room = Room { window: window.saturating_sub(slots), ..ask.room };
                let limits = Limits { room, max: 1, ..limits };
                drained.copies += inner.waiting.take(limits, out, deliver).copies;
                drained.more = !inner.waiting.is_empty();
                inner.members().unbar();
            } else {
                wakers.extend(inner.members().next_not_barred(needs_slot));
            }
        }
        inner.note_taken(drained.copies);
        inner.release_paused(ask.queue, wakers);
        let left = inner.waiting.has_qos12();
        if ask.room.bytes == 0 && !inner.waiting.is_empty() {
            // Woken, and its socket is full: others get the wake. It looks again when it can write.
            let qos = if left { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            inner.members().forget(member.session);
            wakers.extend(inner.whom_to_wake(qos));
            return Taken::new(true, Notices::default(), false);
        }
        let slots = qos12_of(&out[before..]);
        let qos0_only = window <= slots;
        inner.members().wait(member.session, ask.waker, qos0_only);
        if left && qos0_only {
            // Woken, and cannot take: pass the wake on.
            wakers.extend(inner.whom_to_wake(QoS::AtLeastOnce));
        }
        let cold = window > 0 && inner.waiting.first_is_cold();
        Taken::new(drained.more, Notices::default(), cold)
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
            inner.waiting.push_front(Copy {
                qos: delivery.message.qos,
                message: delivery.message,
                retain: false,
                ids: SubscriptionIds::default(),
                stored: delivery.stored,
                band,
            });
            wakers.extend(inner.whom_to_wake(QoS::AtLeastOnce));
        }
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
    pub fn join(&self) {
        let inner = &mut *self.lock();
        let before = inner.counted();
        inner.members().connect();
        inner.attached = true;
        inner.count_for(&self.owner, before);
    }

    /// A member of the group has left or lost its connection: another one is woken in its place.
    pub fn part(&self, session: SessionId) -> Option<Waker> {
        let inner = &mut *self.lock();
        let before = inner.counted();
        let members = inner.members();
        if !members.disconnect(session) {
            inner.attached = false;
            inner.waiting.cool();
            inner.count_for(&self.owner, before);
        }
        if inner.waiting.is_empty() { None } else { inner.whom_to_wake(QoS::AtLeastOnce) }
    }

    /// Connected members of the group; 0 for a Session's mailbox.
    pub fn connected(&self) -> u32 {
        let inner = self.look();
        let members = inner.rare.as_ref().and_then(|rare| rare.members.as_ref());
        members.map_or(0, |members| members.connected())
    }
}
