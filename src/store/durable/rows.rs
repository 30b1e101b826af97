//! The engine as the rows of a durable store.

use std::task::Waker;
use std::time::Duration;

use super::Rows;
use crate::broker::ports::{Progress, Refused, StoreFigures, StoreTimes, Strain};
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

    fn figures(&self) -> Option<StoreFigures> {
        let stats = self.stats();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Some(StoreFigures {
            commits: stats.commits,
            commit_batches: stats.frames,
            commit_bytes: stats.bytes,
            commit_batches_max: stats.frames_max,
            commit_p50: micros(stats.commit.p50),
            commit_p99: micros(stats.commit.p99),
            commit_max: micros(stats.commit.max),
            flush_p50: micros(stats.flush.p50),
            flush_p99: micros(stats.flush.p99),
            flush_max: micros(stats.flush.max),
            waiters: stats.waiters as u64,
            lag: stats.lag,
            unwritten: stats.queued_bytes as u64,
            journal: stats.journal_bytes,
            pending_rows: stats.pending_rows as u64,
            pending: stats.pending_bytes as u64,
            pending_cancelled_rows: stats.cancelled_rows,
            checkpoints: stats.checkpoints,
            checkpoint_rows: stats.checkpoint_rows,
            checkpoint_time: micros(stats.checkpoint_time),
            checkpoint_lag: stats.checkpoint_lag,
            table_rows: stats.table_rows,
            table: stats.table_bytes,
            resident: stats.resident_bytes,
            recovery_time: micros(stats.recovery_time),
            disk_full: stats.full.is_some().into(),
            trouble: stats.trouble.is_some().into(),
            failed: stats.poisoned.is_some().into(),
            table_failed: stats.table_failed.is_some().into(),
        })
    }

    fn times(&self) -> Option<StoreTimes> {
        Some(Engine::times(self))
    }

    fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        Engine::scan(self, prefix, visit)
    }
}
