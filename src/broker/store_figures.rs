//! The figures of a store, each with its row in the table of metrics.

use std::time::Duration;

use super::metrics::{Spans, figures};

/// How long a store took for what it did, since the start.
#[derive(Clone, Debug)]
pub struct StoreTimes {
    /// From handing in to durable, of the first batch of each commit.
    pub commit: Spans,
    /// Flushes of the disk.
    pub flush: Spans,
}

figures! {
    /// What a store says of itself: plain numbers, since the start or now. See `docs/sys-topics.md`.
    #[derive(Clone, Debug, Default, Eq, PartialEq)]
    StoreFigures "store_"
    commits Counter Count "store/commits" "Commits of the journal.";
    commit_batches Counter Count "store/commit/batches" "Batches in those commits.";
    commit_bytes Counter Bytes "store/commit/bytes" "Bytes in those commits.";
    commit_batches_max Gauge Count "store/commit/batches max" "Most batches in one commit.";
    commit_p50 Gauge Micros "store/commit/p50"
        "Half of the commits were durable within this time.";
    commit_p99 Gauge Micros "store/commit/p99"
        "99 of 100 commits were durable within this time.";
    commit_max Gauge Micros "store/commit/max" "Longest time until a commit was durable.";
    flush_p50 Gauge Micros "store/flush/p50" "Half of the disk's flushes took no longer.";
    flush_p99 Gauge Micros "store/flush/p99" "99 of 100 of the disk's flushes took no longer.";
    flush_max Gauge Micros "store/flush/max" "Longest flush of the disk.";
    waiters Gauge Count "store/waiters" "Links and tasks that wait for a commit.";
    lag Gauge Count "store/lag" "Batches handed in that are not durable.";
    unwritten Gauge Bytes "store/unwritten bytes" "Handed in and not written.";
    journal Gauge Bytes "store/journal bytes" "Size of the journal.";
    pending_rows Gauge Count "store/pending/rows" "Changes that no checkpoint has written.";
    pending Gauge Bytes "store/pending/bytes" "Memory that those changes take.";
    pending_cancelled_rows Counter Count "store/pending/cancelled rows"
        "Changes that cancelled each other out: no checkpoint had to write them.";
    checkpoints Counter Count "store/checkpoints" "Checkpoints.";
    checkpoint_rows Gauge Count "store/checkpoint/rows" "Rows that the last checkpoint changed.";
    checkpoint_time Gauge Micros "store/checkpoint/time" "Time that the last checkpoint took.";
    checkpoint_lag Gauge Count "store/checkpoint/lag" "Batches that are in no checkpoint yet.";
    table_rows Gauge Count "store/table rows" "Rows in the table after the last checkpoint.";
    table Gauge Bytes "store/table bytes" "Size of the table's files.";
    resident Gauge Bytes "store/resident bytes"
        "Resident memory of the process; 0 where the system does not say.";
    recovery_time Gauge Micros "store/recovery time" "Time that the start took.";
    disk_full Gauge Flag "store/disk full" "The disk is full.";
    trouble Gauge Flag "store/trouble"
        "It cannot write for another reason than a full disk, which may pass; the log names it.";
    failed Gauge Flag "store/failed" "The store has failed.";
    table_failed Gauge Flag "store/table failed" "The table behind the journal has failed.";
}

/// How a store keeps up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Strain {
    /// The longest time from handing in to durable of what became durable since this was last asked,
    /// or of what is still under way.
    pub commit: Duration,
    /// Bytes handed in and not yet written.
    pub unwritten: u64,
}
