//! A receiver connects, leaves and ends; what waits in the store comes back into memory.

use std::task::Waker;

use super::inner::Inner;
use super::{DroppedCopies, Mailbox, Notice, Notices};
use crate::message::{Loss, Message, Mid};

/// Messages and bytes fetched from the store in one go.
const PAGE_MESSAGES: usize = 256;
const PAGE_BYTES: u64 = 256 * 1024;

impl Mailbox {
    /// A Session is connected to it.
    pub fn attach(&self, durable: bool) {
        let inner = &mut *self.lock();
        let before = inner.counted();
        inner.attached = true;
        inner.count_for(&self.owner, before);
        inner.notices = Notices::default();
        inner.slow = false;
        inner.durable = durable;
    }

    /// The connection is gone; the mailbox stays in the tree. `QoS` 0 does not wait for a parked
    /// Session unless so configured. Returns paused publishers to wake, and what is lost.
    pub fn detach(
        &self,
        settled: &mut [u32; 2],
        keep_qos0: bool,
    ) -> (Vec<Waker>, Option<DroppedCopies>) {
        let inner = &mut *self.lock();
        let before = inner.counted();
        inner.settle(settled);
        inner.attached = false;
        inner.waker = None;
        inner.forget_pace();
        inner.waiting.cool();
        let is_any_lost = !keep_qos0 && inner.waiting.queued()[0] > 0;
        let dropped = is_any_lost.then(|| {
            let (waiting, loss) = (inner.waiting.take_qos0(), Loss::OfflineQos0);
            inner.lose(0, loss, waiting.len());
            DroppedCopies::new(waiting, loss, &self.owner)
        });
        inner.count_for(&self.owner, before);
        (inner.take_paused(), dropped)
    }

    /// Everything that waits, or was admitted and is still to come, is lost for `loss`: its receiver
    /// is no more. Returns what waited.
    pub fn close(&self, loss: Loss, settled: &mut [u32; 2]) -> Option<DroppedCopies> {
        let inner = &mut *self.lock();
        let before = inner.counted();
        inner.settle(settled);
        let dropped = self.drop_all(inner, loss);
        inner.attached = false;
        inner.closed = Some(loss);
        inner.count_for(&self.owner, before);
        dropped
    }

    /// What waits, if anything does.
    #[inline]
    fn drop_all(&self, inner: &mut Inner, loss: Loss) -> Option<DroppedCopies> {
        let is_any = !inner.waiting.is_empty();
        is_any.then(|| DroppedCopies::new(inner.lose_waiting(loss), loss, &self.owner))
    }

    /// Everything that waits is lost for [`Loss::Purged`]. Returns it, and paused publishers to wake.
    ///
    /// # Errors
    ///
    /// More than `max` copies wait: how many.
    pub fn purge(&self, max: usize) -> Result<(Option<DroppedCopies>, Vec<Waker>), usize> {
        let inner = &mut *self.lock();
        let count = inner.waiting.len();
        if count > max {
            return Err(count);
        }
        let before = inner.counted();
        let dropped = self.drop_all(inner, Loss::Purged);
        inner.count_for(&self.owner, before);
        Ok((dropped, inner.take_paused()))
    }

    /// Tells the attached link something: its next take returns it. Returns the link's waker, to be
    /// woken with no lock held; none if the link is in its turn, or none is attached. A link that
    /// attaches later is told nothing of it.
    pub fn notify(&self, notice: Notice) -> Option<Waker> {
        let inner = &mut *self.lock();
        inner.notices.add(notice);
        inner.waker.take()
    }

    /// Sets whether what is routed here is stored first.
    pub fn set_durable(&self, durable: bool) {
        self.lock().durable = durable;
    }

    /// Whether what is routed here is stored first: its Session lasts.
    pub fn is_durable(&self) -> bool {
        self.lock().durable
    }

    /// Messages to be fetched from the store next, in order.
    pub fn cold_page(&self) -> Vec<Mid> {
        self.lock().waiting.cold_page(PAGE_MESSAGES, PAGE_BYTES)
    }

    /// Messages have come from the store. Returns those it could not read: they are lost.
    pub fn warm(&self, found: Vec<(Mid, Option<Message>)>) -> Vec<Mid> {
        let inner = &mut *self.lock();
        if !inner.attached {
            return Vec::new();
        }
        let unreadable = inner.waiting.warm(found);
        inner.lose(1, Loss::Unreadable, unreadable.len());
        unreadable
    }
}
