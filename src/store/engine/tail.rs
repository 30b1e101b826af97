//! The tail: what was handed in and is not in the table yet. All batches pass its one lock, which
//! gives each its number, its place in the next chunk, and its rows their place among those that
//! wait for a checkpoint.

use std::collections::VecDeque;
use std::sync::Arc;

use super::frame::FrameKind;
use super::journal::Chunk;
use super::known::Known;
use super::options::Options;
use super::pending::{Effect, PendingRow, PendingRows};
use super::rows::{Blob, RowBatch};
use crate::time::{Clock, Time};

/// What all batches pass.
pub struct Tail {
    /// Number of the last frame handed in.
    last: u64,
    /// Chunks to be written, in order; batches go to the end of the last one.
    queue: VecDeque<Gathering>,
    /// Bytes in them, and in the chunk being written.
    queued_bytes: usize,
    /// Memory of chunks that were written.
    pool: Vec<Vec<u8>>,
    /// Changes since the last checkpoint began.
    active: PendingRows,
    /// Changes that a checkpoint is writing.
    frozen: Option<Arc<PendingRows>>,
    /// Which keys the table has.
    known: Known,
    /// Changes that cancelled each other out.
    cancelled: u64,
    /// Frames up to this one are in the table.
    checkpoint: u64,
    /// When the first frame of the chunk being written was handed in.
    writing: Option<Time>,
    /// The commit thread sleeps and must be woken.
    idle: bool,
    /// The commit thread is to end when the queue is empty.
    closing: bool,
    /// Nothing is written any more.
    dead: bool,
}

/// A chunk that is not full yet, or waits for its turn.
pub struct Gathering {
    pub chunk: Chunk,
    /// Number of its last frame.
    pub last: u64,
    /// Must be flushed whatever is promised.
    pub flush: bool,
    /// When its first frame was handed in.
    pub since: Time,
}

/// Where a key's value is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lookup {
    /// Here, in memory.
    Value(Blob),
    /// Nowhere: it was deleted.
    Deleted,
    /// In the table, if anywhere: to read it may need the disk.
    InTable,
}

/// A key, its hash, and whether it is in the table from now on.
pub type Transition = (Blob, u64, bool);

impl Tail {
    /// Goes on after frame `last`; `active` is what the journal held that the table does not.
    pub fn new(last: u64, checkpoint: u64, active: PendingRows, known: Known) -> Tail {
        Tail {
            last,
            queue: VecDeque::new(),
            queued_bytes: 0,
            pool: Vec::new(),
            active,
            frozen: None,
            known,
            cancelled: 0,
            checkpoint,
            writing: None,
            idle: false,
            closing: false,
            dead: false,
        }
    }

    /// Adds a sealed batch: its number. The batch is empty afterwards.
    pub fn push(&mut self, batch: &mut RowBatch, options: &Options, clock: &impl Clock) -> u64 {
        self.last += 1;
        let lsn = self.last;
        if !self.dead {
            self.queued_bytes += batch.bytes();
            let large = batch.bytes() > LARGE;
            let len = if large { usize::MAX / 2 } else { batch.bytes() };
            let gathering = self.chunk(len, options, clock);
            gathering.last = lsn;
            if large {
                gathering.chunk.set_draft(batch.take_draft());
            } else {
                gathering.chunk.push_draft(batch.draft());
            }
        }
        self.set_rows(batch);
        lsn
    }

    /// Adds a frame that speaks of checkpoint `of`: its number.
    pub fn push_mark(
        &mut self,
        kind: FrameKind,
        of: u64,
        options: &Options,
        clock: &impl Clock,
    ) -> u64 {
        self.last += 1;
        let lsn = self.last;
        if !self.dead {
            let gathering = self.chunk(MARK, options, clock);
            gathering.last = lsn;
            gathering.flush |= kind == FrameKind::Begun;
            gathering.chunk.push_mark(kind, of);
            self.queued_bytes += MARK;
        }
        lsn
    }

    /// Whether the commit thread sleeps: the caller wakes it. Says so once.
    pub fn take_idle(&mut self) -> bool {
        std::mem::take(&mut self.idle)
    }

    /// The commit thread goes to sleep, or has woken.
    pub fn set_idle(&mut self, idle: bool) {
        self.idle = idle;
    }

    /// Whether there is a chunk to be written.
    pub fn has_chunk(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Takes the next chunk to be written, if there is one.
    pub fn begin_chunk(&mut self) -> Option<Gathering> {
        let next = self.queue.pop_front();
        self.writing = next.as_ref().map(|next| next.since);
        next
    }

    /// The chunk that was begun is written. Its memory is used again unless it is larger than
    /// `keep_max` bytes.
    pub fn end_chunk(&mut self, mut memory: Vec<u8>, keep_max: usize) {
        self.queued_bytes -= memory.len();
        self.writing = None;
        if self.pool.len() < POOL && memory.capacity() <= keep_max {
            memory.clear();
            self.pool.push(memory);
        }
    }

    /// The commit thread ends when the queue is empty.
    pub fn close(&mut self) {
        self.closing = true;
        self.idle = false;
    }

    /// Whether the commit thread is to end when the queue is empty.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Forgets what cannot be written any more.
    pub fn die(&mut self) {
        self.dead = true;
        self.writing = None;
        self.queue.clear();
        self.queued_bytes = 0;
    }

    /// A checkpoint begins: the rows it is to write, and the last frame they came with.
    pub fn freeze(&mut self) -> (Arc<PendingRows>, u64) {
        let frozen = Arc::new(std::mem::replace(&mut self.active, PendingRows::new()));
        self.frozen = Some(frozen.clone());
        (frozen, self.last)
    }

    /// A checkpoint has written `frozen`.
    pub fn forget_frozen(&mut self, frozen: &Arc<PendingRows>) {
        assert!(self.frozen.as_ref().is_some_and(|there| Arc::ptr_eq(there, frozen)));
        self.frozen = None;
    }

    /// Notes which keys came into the table and which left it.
    pub fn note_transitions(&mut self, transitions: &[Transition]) {
        for (key, hash, there) in transitions {
            if *there {
                self.known.insert(key, *hash);
            } else {
                self.known.remove(key, *hash);
            }
        }
    }

    /// Frames up to `checkpoint` are in the table.
    pub fn set_checkpoint(&mut self, checkpoint: u64) {
        self.checkpoint = checkpoint;
    }

    /// Frames up to this one are in the table.
    pub fn checkpoint(&self) -> u64 {
        self.checkpoint
    }

    /// Number of the last frame handed in.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Where the value of a key is.
    pub fn find(&self, key: &[u8], hash: u64) -> Lookup {
        let frozen = || self.frozen.as_ref().and_then(|frozen| frozen.get(key, hash));
        match self.active.get(key, hash).or_else(frozen) {
            Some(entry) => entry.value.clone().map_or(Lookup::Deleted, Lookup::Value),
            None if self.known.may_have(key, hash) => Lookup::InTable,
            None => Lookup::Deleted,
        }
    }

    /// Changes that are not in the table yet; of two of one key the later one comes last.
    pub fn entries(&self) -> impl Iterator<Item = &PendingRow> {
        let frozen = self.frozen.iter().flat_map(|frozen| frozen.iter());
        frozen.chain(self.active.iter())
    }

    /// The changes that the checkpoint under way writes, or else the next one.
    pub fn next_rows(&self) -> &PendingRows {
        self.frozen.as_deref().unwrap_or(&self.active)
    }

    /// Whether a checkpoint would have rows to write.
    pub fn has_rows(&self) -> bool {
        self.active.rows() > 0 || self.is_freezing()
    }

    /// Whether a checkpoint has begun and has not written its rows yet.
    pub fn is_freezing(&self) -> bool {
        self.frozen.is_some()
    }

    /// Rows that are not in the table yet.
    pub fn pending_rows(&self) -> usize {
        self.active.rows() + self.frozen.as_ref().map_or(0, |frozen| frozen.rows())
    }

    /// Memory of rows that are not in the table yet.
    pub fn pending_bytes(&self) -> usize {
        self.active.bytes() + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes())
    }

    /// Memory of rows that changed since the last checkpoint began.
    pub fn active_bytes(&self) -> usize {
        self.active.bytes()
    }

    /// Bytes handed in and not yet written.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Changes that cancelled each other out.
    pub fn cancelled(&self) -> u64 {
        self.cancelled
    }

    /// When the oldest frame that is not as safe as is promised was handed in.
    pub fn oldest(&self) -> Option<Time> {
        self.writing.or_else(|| self.queue.front().map(|front| front.since))
    }

    /// The chunk that takes a frame of so many bytes.
    fn chunk(&mut self, bytes: usize, options: &Options, clock: &impl Clock) -> &mut Gathering {
        let fits = self.queue.back().is_some_and(|back| {
            back.chunk.frames < options.commit_frames_max
                && back.chunk.bytes.len() + bytes <= options.commit_bytes_max
        });
        if !fits {
            let chunk = Chunk { bytes: self.pool.pop().unwrap_or_default(), ..Chunk::default() };
            let since = clock.now();
            self.queue.push_back(Gathering { chunk, last: 0, flush: false, since });
        }
        self.queue.back_mut().expect("one was just pushed")
    }

    fn set_rows(&mut self, batch: &mut RowBatch) {
        let Tail { active, frozen, known, cancelled, .. } = self;
        for (key, value, hash) in batch.drain() {
            let in_table = |key: &[u8]| match frozen.as_ref().and_then(|f| f.get(key, hash)) {
                // The checkpoint that is being written decides.
                Some(entry) => entry.value.is_some(),
                None => known.may_have(key, hash),
            };
            if active.set(key, value, hash, in_table) == Effect::Cancelled {
                *cancelled += 1;
            }
        }
    }
}

/// Length of a frame that speaks of a checkpoint.
const MARK: usize = 32;

/// Batches above this are moved into a chunk of their own instead of being copied under the lock.
const LARGE: usize = 64 << 10;

/// Chunks of which the memory is kept.
const POOL: usize = 4;
