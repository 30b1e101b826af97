//! Retained messages, looked at and deleted by filter, in pages.

use super::Broker;
use super::ports::Receipt;
use super::turn::Scratch;
use crate::message::Message;
use crate::time::Time;
use crate::topic::TopicFilter;

/// A page of retained messages.
#[derive(Debug)]
pub struct RetainedPage {
    messages: Vec<Message>,
    next: Option<String>,
}

/// Retained messages that were deleted.
#[derive(Debug)]
pub struct RetainedDeletion {
    count: usize,
    next: Option<String>,
    receipt: Option<Receipt>,
}

impl Broker {
    /// Retained messages with a topic that matches `filter`, in the order of topics: at most `max` of those behind the
    /// topic `after`. Looks at a bounded number of topics, so a page may have few or none and still have a next one.
    /// As for a Subscription, a filter that begins with a wildcard matches no topic that begins with `$`.
    pub fn retained_page(
        &self,
        filter: &TopicFilter,
        after: Option<&str>,
        max: usize,
        now: Time,
    ) -> RetainedPage {
        let (messages, next) = self.0.router.retained().page(filter, after, max, now);
        RetainedPage { messages, next }
    }

    /// Deletes retained messages with a topic that matches `filter`: those of one page. Nobody is sent anything.
    /// What the broker itself says (`$SYS`) stays.
    pub fn delete_retained(
        &self,
        filter: &TopicFilter,
        after: Option<&str>,
        max: usize,
        now: Time,
        scratch: &mut Scratch,
    ) -> RetainedDeletion {
        let shared = &*self.0;
        let mut turn = self.turn(scratch, now);
        let mut gone = Vec::new();
        let page = (filter, after, max);
        let (count, next) = shared.router.retained().delete(page, shared.remembers, &mut gone);
        turn.stamps.extend(gone.iter().map(|(_, stamp)| stamp));
        turn.batch.forgotten.append(&mut gone);
        RetainedDeletion { count, next, receipt: turn.finish() }
    }
}

impl RetainedPage {
    /// The messages.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Behind which topic the next page begins; `None` after the last one.
    pub fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }
}

impl RetainedDeletion {
    /// How many were deleted.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Behind which topic the next page begins; `None` after the last one.
    pub fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// They are gone for good when this is durable; `None`: there is nothing to wait for.
    pub fn receipt(&self) -> Option<Receipt> {
        self.receipt
    }
}
