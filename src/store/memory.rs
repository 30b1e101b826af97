//! A store that forgets: Sessions live as long as the process.

use std::task::Waker;

use crate::broker::ports::{Batch, Progress, Receipt, Refused, Store};

/// Keeps nothing: no batch is made for it, and no answer waits for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryStore;

impl Store for MemoryStore {
    fn remembers(&self) -> bool {
        false
    }

    fn admit(&self, _bytes: usize) -> Result<(), Refused> {
        Ok(())
    }

    fn submit(&self, _batch: Batch) -> Receipt {
        Receipt(0)
    }

    fn state(&self, _receipt: Receipt, _waker: &Waker) -> Progress {
        Progress::Durable
    }
}
