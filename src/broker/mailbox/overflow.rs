//! Admission: what a mailbox promises, and what it does when it is full, by the policy of its queue.

use std::task::Waker;

use super::ask::{Offer, Setting};
use super::copy::{Copy, DroppedCopy};
use super::dropped::Refusal;
use super::grant::Grant;
use super::inner::Inner;
use super::owner::Owner;
use super::waiting::ByTopic;
use crate::broker::dropped::{Gone, Letter};
use crate::codec::QoS;
use crate::config::{self, QueuePolicy};
use crate::message::{Loss, Total};
use crate::time::Time;
use crate::topic::TextHash;

/// What a push causes, for the turn to carry out.
#[derive(Debug)]
pub struct Effects<'a> {
    /// To be woken with no lock held.
    pub wakers: &'a mut Vec<Waker>,
    /// Reports of copies that were dropped, or came after the end of their receiver.
    pub gone: &'a mut Gone,
}

/// A mailbox that may be full, its limits, and where the copies that it drops are reported.
pub(super) struct Full<'a> {
    pub owner: &'a Owner,
    pub queue: &'a config::QueueConfig,
    pub gone: &'a mut Gone,
}

/// Room promised in one go, at most.
const GRANT_MESSAGES: u64 = 63;
const GRANT_BYTES: u64 = 64 * 1024;
/// The same where older copies make room.
const FREELY_MESSAGES: u32 = 64;

/// What becomes of a copy for which there is no room.
pub(super) fn loss_of_newcomer(qos: QoS, queue: &config::QueueConfig) -> Loss {
    match queue.policy {
        QueuePolicy::DropNewest => Loss::DroppedNewest,
        QueuePolicy::DropQos0First if qos == QoS::AtMostOnce => Loss::DroppedQos0,
        _ => Loss::QueueFull,
    }
}

impl Inner {
    /// Promises room for a copy, and for some more while there is plenty, as the policy says. An error:
    /// there is none.
    #[inline(always)] // In `Mailbox::reserve`.
    pub fn admit(
        &mut self,
        offer: Offer<'_>,
        setting: &Setting<'_>,
        grant: &mut Grant,
        full: &mut Full<'_>,
    ) -> Result<(), Loss> {
        let (queue, bytes) = (full.queue, offer.bytes);
        if !self.attached && !self.has_share(bytes, full) {
            return Err(loss_of_newcomer(offer.qos, queue));
        }
        match queue.policy {
            QueuePolicy::DropOldest => {
                self.purge(setting.now, full);
                grant.set_pressed(self.would_press(self.held(), queue, bytes as u64));
                grant.add(FREELY_MESSAGES, bytes as u64 + GRANT_BYTES, (0, 0));
            }
            QueuePolicy::Conflate => {
                grant.set_pressed(self.would_press(self.held(), queue, bytes as u64));
                if !self.promise_topic(offer, setting.hash, queue, grant) {
                    self.purge(setting.now, full);
                    if !self.promise_topic(offer, setting.hash, queue, grant) {
                        return Err(Loss::QueueFull);
                    }
                }
            }
            QueuePolicy::DropNewest | QueuePolicy::DropQos0First | QueuePolicy::Reject => {
                let mut held = self.held();
                if !Inner::fits(held, queue, bytes) {
                    self.make_room(offer, setting.now, full)?;
                    held = self.held();
                }
                grant.set_pressed(self.would_press(held, queue, bytes as u64));
                self.promise(held, bytes, queue, grant);
            }
        }
        Ok(())
    }

    /// Whether the owner of a queue without receiver may have another copy in it. Where what is older makes
    /// room for it, it does.
    fn has_share(&mut self, bytes: usize, full: &mut Full<'_>) -> bool {
        let Some(holdings) = full.owner.holdings() else { return true };
        let Err(grounds) = holdings.room(Total::WaitingBytes, bytes as u64) else { return true };
        full.gone.note_full(full.owner.name(), grounds);
        let policy = full.queue.policy;
        if !matches!(policy, QueuePolicy::DropOldest | QueuePolicy::Conflate) {
            return false;
        }
        let wanted = self.waiting.bytes().saturating_sub(bytes as u64);
        let mut has_room = false;
        while self.waiting.bytes() > wanted
            && let Some(copy) = self.waiting.pop_oldest()
        {
            self.record_drop(copy, Loss::DroppedOldest, full);
            has_room = self.waiting.bytes() <= wanted;
        }
        has_room
    }

    /// Counts a copy that was routed here and is not admitted.
    pub fn refuse(&mut self, qos: QoS, loss: Loss, full: &Full<'_>) -> Refusal {
        let class = usize::from(qos > QoS::AtMostOnce);
        self.routed[class] += 1;
        self.lose(class, loss, 1);
        let told = loss.is_drop();
        let receiver = told.then(|| full.owner.name());
        Refusal::new(loss, receiver, told && full.queue.dead_letters)
    }

    /// Counts a dropped copy in the account, and reports it for the end of the turn.
    pub fn record_drop(&mut self, copy: DroppedCopy, loss: Loss, full: &mut Full<'_>) {
        let DroppedCopy { qos, mid, message } = copy;
        self.lose(usize::from(qos > QoS::AtMostOnce), loss, 1);
        let (name, receiver) = (full.owner.name(), full.owner.receiver());
        let wanted = full.queue.dead_letters;
        full.gone
            .fall(Letter::new(receiver, loss, mid).with_copy(qos, message).with_name(name, wanted));
    }

    /// A copy was admitted and is lost, because its receiver has gone meanwhile.
    #[cold]
    pub fn lose_late(&mut self, copy: Copy, loss: Loss, full: &mut Full<'_>) {
        self.lose(usize::from(copy.qos > QoS::AtMostOnce), loss, 1);
        let mid = copy.message.mid().filter(|_| copy.stored);
        let letter = Letter::new(full.owner.receiver(), loss, mid);
        let letter = letter.with_name(full.owner.name(), false);
        full.gone.fall(letter.with_copy(copy.qos, Some(copy.message)));
    }

    /// Puts a copy in where there are no lanes, as the policy of its queue says. Returns the waker of a
    /// receiver that can take it.
    #[inline]
    pub fn put(&mut self, copy: Copy, setting: &Setting<'_>, full: &mut Full<'_>) -> Option<Waker> {
        let (qos, policy) = (copy.qos, full.queue.policy);
        let conflate = policy == QueuePolicy::Conflate;
        if setting.lanes || conflate {
            let by = ByTopic { hash: setting.hash, one_band: setting.lanes, conflate };
            if let Some(old) = self.waiting.push_by_topic(copy, self.attached, by) {
                self.record_drop(old, Loss::Conflated, full);
            }
        } else {
            self.waiting.push_back(copy, self.attached);
        }
        let waker = self.whom_to_wake(qos);
        if policy == QueuePolicy::DropOldest {
            self.trim(full);
        }
        waker
    }

    /// Drops what has expired, if anything can have.
    pub fn purge(&mut self, now: Time, full: &mut Full<'_>) {
        for copy in self.waiting.expire(now) {
            self.record_drop(copy, Loss::Expired, full);
        }
    }

    /// Drops what has waited longest until the queue is within its limits, or one copy is left that alone
    /// is above them.
    pub fn trim(&mut self, full: &mut Full<'_>) {
        let (messages_max, bytes_max) = (full.queue.messages_max, full.queue.bytes_max.0);
        while self.waiting.len() as u64 > u64::from(messages_max)
            || (self.waiting.bytes() > bytes_max && self.waiting.len() > 1)
        {
            let Some(copy) = self.waiting.pop_oldest() else { return };
            self.record_drop(copy, Loss::DroppedOldest, full);
        }
    }

    /// Sets room aside for a copy beside what is held, and for some more while there is plenty.
    #[inline(always)] // In `admit`.
    fn promise(
        &mut self,
        (held, held_bytes): (u64, u64),
        bytes: usize,
        queue: &config::QueueConfig,
        grant: &mut Grant,
    ) {
        let free = u64::from(queue.messages_max) - held - 1;
        let free_bytes = queue.bytes_max.0.saturating_sub(held_bytes + bytes as u64);
        // Others have turns at the same time: none may be refused for room that is not used.
        let messages = u32::try_from(1 + (free / 4).min(GRANT_MESSAGES)).unwrap_or(1);
        let bytes = bytes as u64 + (free_bytes / 4).min(GRANT_BYTES);
        self.reserved += messages;
        self.reserved_bytes += bytes;
        grant.add(messages, bytes, (messages, bytes));
    }

    /// Admits a copy for which there may be room only if others go. An error: there is none.
    fn make_room(
        &mut self,
        Offer { qos, bytes, .. }: Offer<'_>,
        now: Time,
        full: &mut Full<'_>,
    ) -> Result<(), Loss> {
        self.purge(now, full);
        let queue = full.queue;
        if queue.policy == QueuePolicy::DropQos0First && self.qos0_would_do(queue, bytes) {
            while !self.has_room(queue, bytes)
                && let Some(copy) = self.waiting.pop_qos0()
            {
                self.record_drop(copy, Loss::DroppedQos0, full);
            }
        }
        if self.has_room(queue, bytes) {
            return Ok(());
        }
        Err(loss_of_newcomer(qos, queue))
    }

    /// Whether enough room would come of dropping `QoS` 0.
    pub fn qos0_would_do(&self, queue: &config::QueueConfig, bytes: usize) -> bool {
        let (messages, held) = self.held();
        let (qos0, qos0_bytes) = self.waiting.qos0_totals();
        let fits = messages == qos0 || held - qos0_bytes + bytes as u64 <= queue.bytes_max.0;
        messages - qos0 < u64::from(queue.messages_max) && fits
    }

    /// Admits one copy of a topic: in the place of the one that waits, if one does.
    fn promise_topic(
        &mut self,
        Offer { topic, bytes, .. }: Offer<'_>,
        hash: &TextHash,
        queue: &config::QueueConfig,
        grant: &mut Grant,
    ) -> bool {
        let (held, held_bytes) = self.held();
        let Inner { waiting, reserved, reserved_bytes, .. } = self;
        waiting.promise(topic, hash, |newest, promised| {
            let (messages, more) = match newest {
                Some(old) => (0, (bytes as u64).saturating_sub(old)),
                None => (u32::from(promised == 0), bytes as u64),
            };
            // What takes no more room than the one before is in no other's way, even above the limit.
            let fits = (messages == 0 || held < queue.messages_max.into())
                && (more == 0 || held == 0 || held_bytes + more <= queue.bytes_max.0);
            if fits {
                *reserved += messages;
                *reserved_bytes += more;
                grant.add(1, bytes as u64, (messages, more));
            }
            fits
        })
    }
}
