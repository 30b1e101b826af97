//! What can be chosen about a store.

use std::time::Duration;

use crate::config::Durability;

/// What can be chosen about a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is promised when a batch is called durable.
    pub durability: Durability,
    /// A commit begins so long after the one before at the earliest, so that more come together: for
    /// slow disks. After a rest none waits.
    pub commit_delay: Duration,
    /// Most frames of one commit.
    pub commit_frames_max: usize,
    /// Most bytes of one commit, unless one batch is larger.
    pub commit_bytes_max: usize,
    /// Length of a journal segment.
    pub segment_bytes: u64,
    /// Length of the segment that is kept for the day the disk is full, for what makes room; 0:
    /// none.
    pub reserve_bytes: u64,
    /// Length of a file that gives its room to a checkpoint when the disk is full; 0: none.
    pub ballast_bytes: u64,
    /// A checkpoint begins so long after the one before, if something changed.
    pub checkpoint_interval: Duration,
    /// A checkpoint begins when changes take so much memory.
    pub checkpoint_pending_bytes: usize,
    /// A checkpoint begins when the journal has grown by so much.
    pub checkpoint_journal_bytes: u64,
    /// Most rows of one batch of a checkpoint.
    pub checkpoint_rows_max: usize,
    /// Above this nothing is admitted: bytes handed in and not yet written.
    pub queued_bytes_max: usize,
    /// Callers that wait for room are woken below this: bytes handed in and not yet written.
    pub queued_bytes_low: usize,
    /// Above this nothing is admitted: memory of changes that no checkpoint has written yet.
    pub pending_bytes_max: usize,
    /// Callers that wait for room are woken below this: memory of changes that no checkpoint has
    /// written yet.
    pub pending_bytes_low: usize,
    /// Above this nothing is admitted: length of the whole journal.
    pub journal_bytes_max: u64,
    /// First bytes of keys that mostly come in rising order and are never used again: of these no
    /// memory is kept for each row.
    pub growing: Vec<u8>,
    /// Version of what the caller keeps in its rows. A store with another one is not opened.
    pub schema: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            durability: Durability::Sync,
            commit_delay: Duration::ZERO,
            commit_frames_max: 4096,
            commit_bytes_max: 1 << 20,
            segment_bytes: 64 << 20,
            reserve_bytes: 8 << 20,
            ballast_bytes: 32 << 20,
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_pending_bytes: 32 << 20,
            checkpoint_journal_bytes: 256 << 20,
            checkpoint_rows_max: 4096,
            queued_bytes_max: 64 << 20,
            queued_bytes_low: 32 << 20,
            pending_bytes_max: 256 << 20,
            pending_bytes_low: 192 << 20,
            journal_bytes_max: 1 << 30,
            growing: Vec::new(),
            schema: 1,
        }
    }
}
