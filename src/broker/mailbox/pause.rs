//! Publishers pause for a mailbox that is above half full, until it is below a quarter.

use std::task::Waker;

use super::Mailbox;
use super::inner::Inner;
use crate::config;

impl Mailbox {
    /// The publisher that was paused by this mailbox asks whether it may go on; if not, `waker` is
    /// woken when it may. `queue` holds for receivers in no class.
    pub fn pause_over(&self, queue: &config::QueueConfig, waker: &Waker) -> bool {
        let inner = &mut *self.lock();
        let rules = inner.rules();
        let queue = rules.as_ref().map_or(queue, |rules| rules.queue());
        if inner.slow || !inner.attached || inner.below_quarter(queue) {
            return true;
        }
        let paused = &mut inner.rare.get_or_insert_default().paused;
        if !paused.iter().any(|paused| paused.will_wake(waker)) {
            paused.push(waker.clone());
        }
        false
    }

    /// A pause has lasted its maximum: if nothing was taken since `taken`, the receiver is slow.
    pub fn pause_expired(&self, taken: u32) {
        let inner = &mut *self.lock();
        if inner.taken == taken {
            inner.slow = true;
        }
    }

    /// Copies ever taken, modulo 2^32.
    pub fn taken(&self) -> u32 {
        self.look().taken
    }
}

impl Inner {
    /// Publishers should pause for it: it is above half full, and its receiver drains it.
    pub fn presses(&self, queue: &config::QueueConfig) -> bool {
        let (messages, bytes) = self.held();
        self.is_above_half(queue, messages, bytes)
    }

    /// The same of what is held with one more copy of `more` bytes.
    pub fn would_press(
        &self,
        (messages, bytes): (u64, u64),
        queue: &config::QueueConfig,
        more: u64,
    ) -> bool {
        self.is_above_half(queue, messages + 1, bytes + more)
    }

    fn is_above_half(&self, queue: &config::QueueConfig, messages: u64, bytes: u64) -> bool {
        let half = messages * 2 > u64::from(queue.messages_max) || bytes * 2 > queue.bytes_max.0;
        half && !self.slow && !self.paced && self.attached
    }

    fn below_quarter(&self, queue: &config::QueueConfig) -> bool {
        let (messages, bytes) = self.held();
        messages * 4 < u64::from(queue.messages_max) && bytes * 4 < queue.bytes_max.0
    }

    /// Its receiver has taken this many copies.
    pub fn note_taken(&mut self, copies: usize) {
        if copies > 0 {
            self.taken = self.taken.wrapping_add(copies as u32);
            self.slow = false;
        }
    }

    pub fn take_paused(&mut self) -> Vec<Waker> {
        self.rare.as_mut().map(|rare| std::mem::take(&mut rare.paused)).unwrap_or_default()
    }

    pub fn release_paused(&mut self, queue: &config::QueueConfig, wakers: &mut Vec<Waker>) {
        if self.rare.as_ref().is_some_and(|rare| !rare.paused.is_empty())
            && self.below_quarter(queue)
        {
            wakers.append(&mut self.take_paused());
        }
    }
}
