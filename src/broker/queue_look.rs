//! Looking into the queue of a client. Messages that only the store has are read back, for the one that looks:
//! nothing changes its place.

use std::sync::Arc;
use std::task::{Poll, Waker};

use super::Broker;
use super::mailbox::{Mailbox, Offer, Outlook, WaitingCopy};
use super::ports::Fetch;
use crate::config::QueueConfig;
use crate::message::ClientId;
use crate::time::Time;
use crate::topic::TopicFilter;

/// The copies that wait for a client, or in a named queue, on their way.
#[derive(Debug)]
pub struct QueueLook {
    copies: Vec<WaitingCopy>,
    fetch: Option<Fetch>,
}

/// Bytes of messages in one look.
const BYTES_MAX: u64 = 1024 * 1024;

impl Broker {
    /// Looks at the copies that are next in the queue of a client: at most `max`, and about 1 MiB. `waker` is woken
    /// when those are there that only the store has. `None`: there is no such Session.
    pub fn look_into_queue(
        &self,
        client_id: &ClientId,
        max: usize,
        waker: &Waker,
    ) -> Option<QueueLook> {
        let (mailbox, _) = self.0.registry.mailbox(client_id)?;
        Some(self.look_into(&mailbox, max, waker))
    }

    /// The same of the named queue of a name: those that have failed and are due first, those that have failed and are
    /// not due last.
    pub fn look_into_named_queue(
        &self,
        name: &str,
        max: usize,
        waker: &Waker,
    ) -> Option<QueueLook> {
        let mailbox = self.0.router.group_of(&TopicFilter::of_queue(name))?;
        Some(self.look_into(&mailbox, max, waker))
    }

    fn look_into(&self, mailbox: &Mailbox, max: usize, waker: &Waker) -> QueueLook {
        let shared = &*self.0;
        let copies = mailbox.page(max, BYTES_MAX);
        let cold: Vec<_> = copies.iter().filter_map(WaitingCopy::cold).collect();
        let fetch = (!cold.is_empty()).then(|| shared.ports.store.fetch(cold, shared.meter, waker));
        QueueLook { copies, fetch }
    }
}

impl Broker {
    /// What would become of a copy that came to `mailbox` now, and the rules of its queue.
    pub(super) fn outlook(
        &self,
        mailbox: &Mailbox,
        offer: Offer<'_>,
        now: Time,
    ) -> (Outlook, QueueConfig) {
        let mut settings = Arc::default();
        self.0.queue_settings.renew(&mut settings);
        mailbox.outlook(offer, &settings.setting(self.0.router.topic_hash(), now))
    }
}

impl QueueLook {
    /// The copies, once they are there. The message of one that was taken meanwhile, or that the store cannot read,
    /// is missing.
    pub fn poll(&mut self) -> Poll<Vec<WaitingCopy>> {
        if let Some(fetch) = &self.fetch {
            let found = match fetch.take() {
                Some(found) => found,
                None if fetch.has_failed() => Vec::new(),
                None => return Poll::Pending,
            };
            // In the order of the question.
            let cold = self.copies.iter_mut().filter(|copy| copy.cold().is_some());
            for (copy, (_, message)) in cold.zip(found) {
                message.into_iter().for_each(|message| copy.warm(message));
            }
            self.fetch = None;
        }
        Poll::Ready(std::mem::take(&mut self.copies))
    }
}
