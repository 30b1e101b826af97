//! The engine as the rows of a durable store.

use std::task::Waker;
use std::time::Duration;

use super::Rows;
use crate::broker::ports::{Progress, Refused, Strain};
use crate::store::engine::{Blob, Engine, Lookup, RowBatch, StoreError, Visit};

impl Rows for Engine {
    fn admit(&self, bytes: usize) -> Result<(), Refused> {
        Engine::admit(self, bytes)
    }

    fn room(&self, waker: &Waker) -> Result<(), Refused> {
        Engine::room(self, waker)
    }

    fn submit(&self, batch: &mut RowBatch) -> u64 {
        Engine::submit(self, batch)
    }

    fn state(&self, number: u64, waker: &Waker) -> Progress {
        Engine::state(self, number, waker)
    }

    fn find(&self, key: &[u8]) -> Lookup {
        Engine::find(self, key)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Blob>, StoreError> {
        Engine::get(self, key)
    }

    fn strain(&self) -> Strain {
        Engine::strain(self)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Blob>>, StoreError> {
        Engine::get_many(self, keys)
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        let stats = self.stats();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        vec![
            ("commits", stats.commits),
            ("commit/batches", stats.frames),
            ("commit/bytes", stats.bytes),
            ("commit/batches max", stats.frames_max),
            ("commit/p50", micros(stats.commit.p50)),
            ("commit/p99", micros(stats.commit.p99)),
            ("commit/max", micros(stats.commit.max)),
            ("flush/p50", micros(stats.flush.p50)),
            ("flush/p99", micros(stats.flush.p99)),
            ("flush/max", micros(stats.flush.max)),
            ("waiters", stats.waiters as u64),
            ("lag", stats.lag),
            ("unwritten bytes", stats.queued_bytes as u64),
            ("journal bytes", stats.journal_bytes),
            ("pending/rows", stats.pending_rows as u64),
            ("pending/bytes", stats.pending_bytes as u64),
            ("pending/cancelled rows", stats.cancelled_rows),
            ("checkpoints", stats.checkpoints),
            ("checkpoint/rows", stats.checkpoint_rows),
            ("checkpoint/time", micros(stats.checkpoint_time)),
            ("checkpoint/lag", stats.checkpoint_lag),
            ("table rows", stats.table_rows),
            ("table bytes", stats.table_bytes),
            ("resident bytes", stats.resident_bytes),
            ("recovery time", micros(stats.recovery_time)),
            ("disk full", stats.full.is_some().into()),
            ("failed", stats.poisoned.is_some().into()),
            ("table failed", stats.table_failed.is_some().into()),
        ]
    }

    fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        Engine::scan(self, prefix, visit)
    }
}
