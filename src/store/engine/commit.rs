//! Group commit: one thread, no timer. While one flush runs, the next chunk gathers.
//!
//! Batches pass one short lock, in which they get their number, their place in the next chunk, and
//! their rows their place among those that wait for a checkpoint. So the order of numbers is the
//! order of what is read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::frame::Kind;
use super::journal::{Chunk, Journal, Refusal};
use super::known::Known;
use super::options::Promise;
use super::pending::{Effect, Pending};
use super::room::Shut;
use super::rows::RowBatch;
use super::shared::Shared;
use super::spares::Supply;
use crate::sync::atomic::Ordering;
use crate::time::{Clock, Time};

/// What all batches pass.
pub struct Tail {
    /// Number of the last frame handed in.
    pub last: u64,
    /// Chunks to be written, in order; batches go to the end of the last one.
    queue: VecDeque<Gathering>,
    /// Bytes in them, and in the chunk being written.
    pub queued_bytes: usize,
    /// Memory of chunks that were written.
    pool: Vec<Vec<u8>>,
    /// Changes since the last checkpoint began.
    pub active: Pending,
    /// Changes that a checkpoint is writing.
    pub frozen: Option<Arc<Pending>>,
    /// Which keys the table has.
    pub known: Known,
    /// Changes that cancelled each other out.
    pub cancelled: u64,
    /// Frames up to this one are in the table.
    pub checkpoint: u64,
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
struct Gathering {
    chunk: Chunk,
    /// Number of its last frame.
    last: u64,
    /// Must be flushed whatever is promised.
    flush: bool,
    /// When its first frame was handed in.
    since: Time,
}

impl Tail {
    /// Goes on after frame `last`; `active` is what the journal held that the table does not.
    pub fn new(last: u64, checkpoint: u64, active: Pending, known: Known) -> Tail {
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

    /// Memory of rows that are not in the table yet.
    pub fn pending_bytes(&self) -> usize {
        self.active.bytes() + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes())
    }

    /// When the oldest frame that is not as safe as is promised was handed in.
    pub fn oldest(&self) -> Option<Time> {
        self.writing.or_else(|| self.queue.front().map(|front| front.since))
    }

    /// Rows that are not in the table yet.
    pub fn pending_rows(&self) -> usize {
        self.active.rows() + self.frozen.as_ref().map_or(0, |frozen| frozen.rows())
    }

    /// The chunk that takes a frame of so many bytes.
    fn chunk(&mut self, bytes: usize, shared: &Shared) -> &mut Gathering {
        let options = &shared.options;
        let fits = self.queue.back().is_some_and(|back| {
            back.chunk.frames < options.commit_frames_max
                && back.chunk.bytes.len() + bytes <= options.commit_bytes_max
        });
        if !fits {
            let chunk = Chunk { bytes: self.pool.pop().unwrap_or_default(), ..Chunk::default() };
            let since = shared.clock.now();
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

    /// Forgets what cannot be written any more.
    pub fn die(&mut self) {
        self.dead = true;
        self.writing = None;
        self.queue.clear();
        self.queued_bytes = 0;
    }
}

impl Shared {
    /// Hands in a batch: its number. The batch is empty afterwards.
    pub fn submit(&self, batch: &mut RowBatch) -> u64 {
        batch.seal(|key| self.hash(key));
        let mut tail = self.tail();
        tail.last += 1;
        let lsn = tail.last;
        if !tail.dead {
            tail.queued_bytes += batch.bytes();
            let large = batch.bytes() > LARGE;
            let len = if large { usize::MAX / 2 } else { batch.bytes() };
            let gathering = tail.chunk(len, self);
            gathering.last = lsn;
            if large {
                gathering.chunk.set_draft(batch.take_draft());
            } else {
                gathering.chunk.push_draft(batch.draft());
            }
        }
        tail.set_rows(batch);
        self.room.set_used(tail.queued_bytes, tail.pending_bytes());
        let wake = std::mem::take(&mut tail.idle);
        drop(tail);
        if wake {
            self.committer.notify_one();
        }
        lsn
    }

    /// Hands in a frame that speaks of a checkpoint: its number. `tail` is locked by the caller.
    pub fn submit_mark(&self, tail: &mut Tail, kind: Kind, of: u64) -> u64 {
        tail.last += 1;
        let lsn = tail.last;
        if !tail.dead {
            let gathering = tail.chunk(MARK, self);
            gathering.last = lsn;
            gathering.flush |= kind == Kind::Begun;
            gathering.chunk.push_mark(kind, of);
            tail.queued_bytes += MARK;
        }
        if std::mem::take(&mut tail.idle) {
            self.committer.notify_one();
        }
        lsn
    }

    /// Frames up to `checkpoint` are in the table: their segments are no longer needed.
    pub fn release(&self, tail: &mut Tail, checkpoint: u64) {
        tail.checkpoint = checkpoint;
        if std::mem::take(&mut tail.idle) {
            self.committer.notify_one();
        }
    }

    /// Lets the commit thread end when everything is written.
    pub fn close_committer(&self) {
        let mut tail = self.tail();
        tail.closing = true;
        tail.idle = false;
        self.committer.notify_one();
    }
}

/// Writes and flushes, and says so to those who wait.
pub struct Committer {
    shared: Arc<Shared>,
    journal: Journal,
    supply: Supply,
    /// What could not be written yet, because the disk is full.
    current: Option<Gathering>,
    /// Why not.
    full: Option<String>,
    released: u64,
    /// When the last commit began, where that matters.
    begun: Time,
}

/// What one step did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// A chunk is as safe as is promised.
    Committed,
    /// There was nothing to do.
    Idle,
    /// There is no room on the disk.
    Full,
    /// The journal has failed, for good.
    Failed,
}

impl Committer {
    /// Writes to `journal`.
    pub fn new(shared: Arc<Shared>, journal: Journal, supply: Supply) -> Committer {
        Committer {
            shared,
            journal,
            supply,
            current: None,
            full: None,
            released: 0,
            begun: Time::START,
        }
    }

    /// Commits until told to stop: the body of the commit thread.
    pub fn run(mut self) {
        loop {
            match self.step() {
                Step::Committed => {}
                Step::Idle => {
                    if !self.wait() {
                        // Whatever is promised, an orderly end loses nothing.
                        if let Err(Refusal::Failed(error)) = self.journal.flush() {
                            self.shared.fail(&error.to_string());
                        }
                        return;
                    }
                }
                Step::Full => {
                    if self.shared.tail().closing {
                        self.shared.fail(&self.full.take().unwrap_or_default());
                        return;
                    }
                    std::thread::sleep(AGAIN);
                }
                Step::Failed => return,
            }
        }
    }

    /// Writes and flushes the next chunk, if there is one.
    pub fn step(&mut self) -> Step {
        let delay = self.shared.options.commit_delay;
        if !delay.is_zero() && self.current.is_none() && !self.shared.tail().queue.is_empty() {
            let now = self.shared.clock.now();
            let wait = self.begun.after(delay).since(now);
            self.begun = now.after(wait);
            std::thread::sleep(wait);
        }
        self.next();
        let Some(mut gathering) = self.current.take() else { return Step::Idle };
        match self.commit(&mut gathering) {
            Ok(flush) => {
                self.tell(gathering, flush);
                Step::Committed
            }
            Err(Refusal::Full(error)) => {
                self.full = Some(error.to_string());
                self.shared.room.shut(Shut::Write, true);
                self.shared.room.wake(&self.shared.options);
                self.current = Some(gathering);
                Step::Full
            }
            Err(Refusal::Failed(error)) => {
                self.shared.fail(&error.to_string());
                Step::Failed
            }
        }
    }

    /// Takes the next chunk, and gives away segments that are no longer needed.
    fn next(&mut self) {
        let checkpoint = {
            let mut tail = self.shared.tail();
            if self.current.is_none() {
                self.current = tail.queue.pop_front();
                tail.writing = self.current.as_ref().map(|current| current.since);
            }
            tail.checkpoint
        };
        if checkpoint > self.released {
            let sealed = self.journal.release(checkpoint);
            self.supply.keeper.retire(sealed.into_iter().map(|sealed| sealed.sequence));
            self.shared.room.set_journal(self.journal.bytes());
            self.shared.room.wake(&self.shared.options);
            self.released = checkpoint;
        }
    }

    /// Makes a chunk as safe as is promised; the time a flush took.
    fn commit(&mut self, gathering: &mut Gathering) -> Result<Option<Duration>, Refusal> {
        self.journal.append(&mut gathering.chunk, &self.supply)?;
        assert!(self.journal.last() == gathering.last, "chunks are written in order");
        if self.shared.options.promise != Promise::Sync && !gathering.flush {
            return Ok(None);
        }
        let begun = self.shared.clock.now();
        self.journal.flush()?;
        let time = self.shared.clock.now().since(begun);
        // Before it is promised: so what is promised and later damaged is known to be missing.
        self.journal.settle();
        Ok(Some(time))
    }

    /// Tells those who wait, and makes room.
    fn tell(&mut self, gathering: Gathering, flush: Option<Duration>) {
        if self.full.take().is_some() {
            self.shared.room.shut(Shut::Write, false);
        }
        let shared = &self.shared;
        let since = gathering.since;
        let (frames, bytes) = (gathering.chunk.frames, gathering.chunk.bytes.len());
        // Counted first: who was acknowledged finds it among the figures.
        shared.figures().commit(frames, bytes, flush, shared.clock.now().since(since));
        shared.certain.store(self.journal.certain(), Ordering::Release);
        shared.promised.store(gathering.last, Ordering::Release);
        shared.waiters.wake(gathering.last);
        let mut memory = gathering.chunk.bytes;
        let active = {
            let mut tail = shared.tail();
            tail.queued_bytes -= bytes;
            tail.writing = None;
            if tail.pool.len() < POOL && memory.capacity() <= shared.options.commit_bytes_max * 2 {
                memory.clear();
                tail.pool.push(memory);
            }
            shared.room.set_used(tail.queued_bytes, tail.pending_bytes());
            tail.active.bytes()
        };
        let journal = self.journal.bytes();
        shared.room.set_journal(journal);
        shared.room.wake(&shared.options);
        shared.schedule.grown(active, bytes as u64, &shared.options);
    }

    /// Sleeps until there is something to do; false: never again.
    fn wait(&self) -> bool {
        let mut tail = self.shared.tail();
        while tail.queue.is_empty() && tail.checkpoint <= self.released {
            if tail.closing {
                return false;
            }
            tail.idle = true;
            tail =
                self.shared.committer.wait(tail).expect("no code panics while it holds the tail");
        }
        tail.idle = false;
        true
    }
}

/// Length of a frame that speaks of a checkpoint.
const MARK: usize = 32;

/// Batches above this are moved into a chunk of their own instead of being copied under the lock.
const LARGE: usize = 64 << 10;

/// Chunks whose memory is kept.
const POOL: usize = 4;

/// How long to wait before trying again to write to a full disk.
const AGAIN: Duration = Duration::from_millis(100);
