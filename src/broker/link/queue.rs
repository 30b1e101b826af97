//! What waits for the store.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::broker::mailbox::Mailbox;
use crate::broker::ports::{Fetch, Receipt};
use crate::broker::turn::Owed;

/// What waits for the store: what is owed to the client, first in first out, and what is to come.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub held: VecDeque<Held>,
    /// Of the last batch with anything of this Session in it.
    pub newest: Option<Receipt>,
    /// Messages on their way from the store, and where they wait.
    pub fetch: Option<(Arc<Mailbox>, Fetch)>,
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
pub(super) struct Held {
    pub receipt: Option<Receipt>,
    pub what: Owed,
}
