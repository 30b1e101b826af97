//! What waits for the store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use thin_vec::ThinVec;

use crate::broker::dedup::opening::{TurnEnd, UnderWay};
use crate::broker::mailbox::{LogPage, Mailbox};
use crate::broker::ports::{Fetch, Progress, Receipt, Store};
use crate::broker::turn::Owed;
use crate::session::ReplayPlace;
use crate::topic::TopicFilter;

/// What waits for the store: what is owed to the client, first in first out, and what is to come.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub held: VecDeque<Held>,
    /// Of the last batch with anything of this Session in it.
    pub newest: Option<Receipt>,
    /// Messages on their way from the store, and where they wait.
    pub fetch: Option<(Arc<Mailbox>, Fetch)>,
    /// The same of a log of kept messages.
    pub replay: Option<Box<ReplayFetch>>,
}

/// Messages on their way to the reader of a log.
#[derive(Debug)]
pub(super) struct ReplayFetch {
    /// The filter of the reader.
    pub filter: TopicFilter,
    /// Where the reader was.
    pub at: ReplayPlace,
    pub page: LogPage,
    pub fetch: Fetch,
}

impl Queue {
    /// The answer that was held last waits for `receipt` too.
    pub fn last_waits_for(&mut self, receipt: Option<Receipt>) {
        if let (Some(held), Some(_)) = (self.held.back_mut(), receipt) {
            held.receipt = receipt;
        }
    }
}

/// An answer in its place, with what it waits for.
#[derive(Debug)]
pub(in crate::broker) struct Held {
    pub receipt: Option<Receipt>,
    /// Turns of other threads that must have ended, and what they changed be durable.
    pub others: ThinVec<Arc<UnderWay>>,
    pub what: Owed,
}

impl Held {
    /// It is due.
    pub fn waits_for_nothing(&self) -> bool {
        self.receipt.is_none() && self.others.is_empty()
    }

    /// How far that has come which it waits for; while it is pending, `waker` is woken when that changes.
    pub fn progress(&mut self, store: &dyn Store, waker: &Waker) -> Progress {
        while let Some(other) = self.others.last() {
            let progress = match other.state(waker) {
                None => Progress::Pending,
                Some(TurnEnd::Submitted(receipt)) => store.state(receipt, waker),
                Some(TurnEnd::Torn) => Progress::Failed,
            };
            if progress != Progress::Durable {
                return progress;
            }
            self.others.pop();
        }
        self.receipt.map_or(Progress::Durable, |receipt| store.state(receipt, waker))
    }
}
