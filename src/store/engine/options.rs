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
    /// Length of the longest segment of the journal.
    pub segment_bytes: u64,
    /// Length of its first segment, if that is shorter: later ones are longer the longer the journal
    /// is.
    pub segment_bytes_min: u64,
    /// Greatest length of the segment that is kept for the day the disk is full, for what makes
    /// room; 0: none.
    pub reserve_bytes: u64,
    /// Greatest length of a file that gives its room to a checkpoint when the disk is full, and half
    /// of what must be free beside it before anything new is taken; 0: none.
    pub ballast_bytes: u64,
    /// A checkpoint begins so long after the one before, if something changed.
    pub checkpoint_interval: Duration,
    /// A checkpoint begins when changes take so much memory.
    pub checkpoint_pending_bytes: usize,
    /// A checkpoint begins when the journal has grown by so much.
    pub checkpoint_journal_bytes: u64,
    /// So long after the last checkpoint, if nothing has changed since, the table gives memory back.
    pub rest_after: Duration,
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
            segment_bytes_min: 2 << 20,
            reserve_bytes: 8 << 20,
            ballast_bytes: 32 << 20,
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_pending_bytes: 32 << 20,
            checkpoint_journal_bytes: 256 << 20,
            rest_after: Duration::from_secs(8),
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

impl Options {
    /// Length of the next segment of a journal of so many bytes: a quarter of them, so that a journal
    /// under load turns seldom and an idle one is short.
    pub fn segment_for(&self, journal: u64) -> u64 {
        let least = self.segment_bytes_min.min(self.segment_bytes);
        (journal / 4).next_power_of_two().clamp(least, self.segment_bytes)
    }

    /// Length of the reserve beside segments of this length.
    pub fn reserve_for(&self, segment: u64) -> u64 {
        self.reserve_bytes.min(segment)
    }

    /// Length of the ballast beside segments of this length: at least what a checkpoint of a few rows
    /// wants.
    pub fn ballast_for(&self, segment: u64) -> u64 {
        self.ballast_bytes.min(segment.max(BALLAST_MIN))
    }

    /// Memory of changes for which a checkpoint finds room where so many bytes are `free` on the disk, if it flushes
    /// after each batch of rows.
    pub fn pending_for(&self, free: u64) -> usize {
        let beside = checkpoint_room(0, self.checkpoint_rows_max as u64);
        usize::try_from(free.saturating_sub(beside) / 2).unwrap_or(usize::MAX)
    }

    /// Bytes that must be free on the disk before an empty store takes anything.
    pub fn needed(&self) -> u64 {
        let segment = self.segment_for(0);
        let files = segment * 2 + self.reserve_for(segment) + self.ballast_for(segment);
        files + self.ballast_bytes * 2 + TABLE_OVERHEAD + TABLE_EMPTY
    }
}

/// Bytes that a checkpoint may take on the disk for so many bytes of changes, `rows` of which it writes before it
/// flushes.
pub fn checkpoint_room(bytes: u64, rows: u64) -> u64 {
    bytes * 2 + rows * ROW_OVERHEAD + TABLE_OVERHEAD
}

/// What a table writes at a checkpoint beyond the rows that change.
const TABLE_OVERHEAD: u64 = 8 << 20;

/// What a table writes for each row beyond what changes in it: those beside it.
const ROW_OVERHEAD: u64 = 1024;

/// What an empty table takes, and some files of the store's folder.
const TABLE_EMPTY: u64 = 1 << 20;

const BALLAST_MIN: u64 = TABLE_OVERHEAD + (1 << 20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_grow_with_the_journal_between_their_least_and_greatest_length() {
        const MIB: u64 = 1 << 20;
        let options = Options::default();
        let lengths = [0, 8 * MIB, 9 * MIB, 100 * MIB, u64::MAX / 2].map(|journal| {
            let segment = options.segment_for(journal);
            [segment, options.reserve_for(segment), options.ballast_for(segment)]
                .map(|len| len / MIB)
        });
        assert_eq!(
            lengths,
            [[2, 2, 9], [2, 2, 9], [4, 4, 9], [32, 8, 32], [64, 8, 32]],
            "segment, reserve, ballast in MiB"
        );
        let small =
            Options { segment_bytes: MIB, reserve_bytes: MIB, ballast_bytes: MIB, ..options };
        let segment = small.segment_for(u64::MAX / 2);
        assert_eq!(
            (segment, small.reserve_for(segment), small.ballast_for(segment)),
            (MIB, MIB, MIB)
        );
        assert_eq!(small.needed(), 15 * MIB);
    }
}
