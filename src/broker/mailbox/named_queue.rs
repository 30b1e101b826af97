//! The mailbox of a named queue: copies that no consumer may have, and the end of waiting.

use std::task::Waker;
use std::time::Duration;

use super::Mailbox;
use super::inner::Inner;
use super::overflow::{Effects, Full};
use crate::codec::QoS;
use crate::config;
use crate::message::Loss;
use crate::time::Time;

impl Mailbox {
    /// Sets how long a copy may wait. A copy that is only in the store keeps the end that it has.
    pub fn set_ttl(&self, ttl: Option<Duration>) {
        self.lock().waiting.set_ttl(ttl);
    }

    /// Other rights may be in force: what was set aside waits in the order again. Returns the waker of a member
    /// that looks, to be woken with no lock held.
    pub fn look_again(&self) -> Option<Waker> {
        let inner = &mut *self.lock();
        if inner.waiting.set_aside_count() == 0 {
            return None;
        }
        inner.members().unbar();
        inner.waiting.take_up_again();
        inner.whom_to_wake(QoS::AtLeastOnce)
    }

    /// Copies that no connected consumer may have. Looking changes nothing.
    pub fn set_aside_count(&self) -> usize {
        self.look().waiting.set_aside_count()
    }

    /// Drops what has come to its end at the front, at most `max` copies; how many. What that held up, and publishers
    /// that were paused, go on. `queue` holds where it has no rules of its own.
    pub fn expire_front(
        &self,
        now: Time,
        max: usize,
        queue: &config::QueueConfig,
        effects: &mut Effects<'_>,
    ) -> usize {
        let inner = &mut *self.lock();
        let before = inner.counted();
        let rules = inner.rules();
        let queue = rules.as_ref().map_or(queue, |rules| rules.queue());
        let Effects { wakers, gone } = effects;
        let full = &mut Full { owner: &self.owner, queue, gone };
        let expired = inner.waiting.expire_front(now, max);
        let count = expired.len();
        expired.into_iter().for_each(|copy| inner.record_drop(copy, Loss::Expired, full));
        if count > 0 {
            if inner.members().unbar() {
                // Another copy is the first: a member that might not have the one before looks again.
                wakers.extend(inner.whom_to_wake(QoS::AtLeastOnce));
            }
            inner.wake_owners(wakers);
            inner.release_paused(queue, wakers);
        }
        inner.count_for(&self.owner, before);
        count
    }
}

impl Inner {
    /// No connected consumer may have this copy: it waits, and no other waits for it.
    pub fn set_aside(&mut self, arrival: u64) {
        self.waiting.set_aside(arrival);
        self.members().unbar();
    }
}
