//! Figures of a store.

use std::time::Duration;

use crate::broker::metrics::Spans;

/// Figures of a store, as plain data.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Commits so far: writes of the journal.
    pub commits: u64,
    /// Frames in them.
    pub frames: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Most frames in one of them.
    pub frames_max: u64,
    /// Time that a flush took.
    pub flush: Quantiles,
    /// Time from handing in to durable, of the first batch of each commit.
    pub commit: Quantiles,
    /// Wakers, of links mostly, that wait for a frame to become durable.
    pub waiters: usize,
    /// Frames handed in and not yet durable.
    pub lag: u64,
    /// Bytes handed in and not yet written.
    pub queued_bytes: usize,
    /// Length of the journal.
    pub journal_bytes: u64,
    /// Rows that wait for a checkpoint.
    pub pending_rows: usize,
    /// Memory they take.
    pub pending_bytes: usize,
    /// Changes that cancelled each other out and never reached the table.
    pub cancelled_rows: u64,
    /// Checkpoints so far.
    pub checkpoints: u64,
    /// Rows the last one changed in the table.
    pub checkpoint_rows: u64,
    /// Time it took.
    pub checkpoint_time: Duration,
    /// Frames that are not in the table yet.
    pub checkpoint_lag: u64,
    /// Rows in the table after the last checkpoint.
    pub table_rows: u64,
    /// Bytes that the table's files take on the disk.
    pub table_bytes: u64,
    /// Memory of the whole process that is resident; 0 where the system does not say.
    pub resident_bytes: u64,
    /// Time the start took.
    pub recovery_time: Duration,
    /// Why nothing is admitted for want of room on the disk, if so.
    pub full: Option<&'static str>,
    /// Why nothing is admitted for another reason, which may pass, if so.
    pub trouble: Option<String>,
    /// Why the journal takes nothing any more.
    pub poisoned: Option<String>,
    /// Why the table is not used any more; the journal goes on until it is full.
    pub table_failed: Option<String>,
}

/// Times of something that happens often.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Quantiles {
    /// Half of them took no longer, give or take a tenth.
    pub p50: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// None took longer.
    pub max: Duration,
}

impl From<Spans> for Quantiles {
    fn from(spans: Spans) -> Quantiles {
        Quantiles { p50: spans.quantile(50), p99: spans.quantile(99), max: spans.longest() }
    }
}
