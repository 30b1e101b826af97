//! Group commit: one thread, no timer. While one flush runs, the next chunk gathers.
//!
//! Batches pass one short lock, that of the [`Tail`]. So the order of numbers is the order of what is
//! read.

use std::sync::Arc;
use std::time::Duration;

use super::capacity::Shut;
use super::frame::FrameKind;
use super::journal::{AppendError, Journal};
use super::rows::RowBatch;
use super::shared::EngineShared;
use super::spares::Supply;
use super::tail::{Gathering, Tail};
use crate::config::Durability;
use crate::fault;
use crate::sync::atomic::Ordering;
use crate::time::{Clock, Time};

impl EngineShared {
    /// Hands in a batch: its number. The batch is empty afterwards.
    pub fn submit(&self, batch: &mut RowBatch) -> u64 {
        batch.seal(|key| self.hash(key));
        let mut tail = self.tail();
        let lsn = tail.push(batch, &self.options, &self.clock);
        self.room.set_used(tail.queued_bytes(), tail.pending_bytes());
        let wake = tail.take_idle();
        drop(tail);
        if wake {
            self.committer.notify_one();
        }
        lsn
    }

    /// Hands in a frame that speaks of a checkpoint: its number. `tail` is locked by the caller.
    pub fn submit_mark(&self, tail: &mut Tail, kind: FrameKind, of: u64) -> u64 {
        let lsn = tail.push_mark(kind, of, &self.options, &self.clock);
        if tail.take_idle() {
            self.committer.notify_one();
        }
        lsn
    }

    /// Frames up to `checkpoint` are in the table: their segments are no longer needed.
    pub fn release(&self, tail: &mut Tail, checkpoint: u64) {
        tail.set_checkpoint(checkpoint);
        if tail.take_idle() {
            self.committer.notify_one();
        }
    }

    /// Lets the commit thread end when everything is written.
    pub fn close_committer(&self) {
        self.tail().close();
        self.committer.notify_one();
    }
}

/// Writes and flushes chunks, and wakes the callers that wait for them.
pub struct Committer {
    shared: Arc<EngineShared>,
    journal: Journal,
    supply: Supply,
    /// What could not be written yet, because the disk is full or no file can be opened.
    current: Option<Gathering>,
    /// Why not.
    full: Option<String>,
    released: u64,
    /// When the last commit began, where that matters.
    begun: Time,
}

/// What one step did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CommitStep {
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
    pub fn new(shared: Arc<EngineShared>, journal: Journal, supply: Supply) -> Committer {
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
                CommitStep::Committed => {}
                CommitStep::Idle => {
                    if !self.wait() {
                        // Whatever is promised, an orderly end loses nothing.
                        if let Err(AppendError::Failed(error)) = self.journal.flush() {
                            self.shared.fail(&error.to_string());
                        }
                        return;
                    }
                }
                CommitStep::Full => {
                    if self.shared.tail().is_closing() {
                        self.shared.fail(&self.full.take().unwrap_or_default());
                        return;
                    }
                    std::thread::sleep(AGAIN);
                }
                CommitStep::Failed => return,
            }
        }
    }

    /// Writes and flushes the next chunk, if there is one.
    pub fn step(&mut self) -> CommitStep {
        let delay = self.shared.options.commit_delay;
        if !delay.is_zero() && self.current.is_none() && self.shared.tail().has_chunk() {
            let now = self.shared.clock.now();
            let wait = self.begun.after(delay).since(now);
            self.begun = now.after(wait);
            std::thread::sleep(wait);
        }
        fault::reach("commit");
        self.next();
        let Some(mut gathering) = self.current.take() else { return CommitStep::Idle };
        match self.commit(&mut gathering) {
            Ok(flush) => {
                self.tell(gathering, flush);
                CommitStep::Committed
            }
            Err(AppendError::NotNow(error)) => {
                self.full = Some(error.to_string());
                self.shared.room.shut_for(Shut::Write, &error);
                self.shared.room.wake(&self.shared.options);
                self.current = Some(gathering);
                CommitStep::Full
            }
            Err(AppendError::Failed(error)) => {
                self.shared.fail(&error.to_string());
                CommitStep::Failed
            }
        }
    }

    /// Takes the next chunk, and gives away segments that are no longer needed.
    fn next(&mut self) {
        let checkpoint = {
            let mut tail = self.shared.tail();
            if self.current.is_none() {
                self.current = tail.begin_chunk();
            }
            tail.checkpoint()
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
    fn commit(&mut self, gathering: &mut Gathering) -> Result<Option<Duration>, AppendError> {
        self.journal.append(&mut gathering.chunk, &self.supply)?;
        assert!(self.journal.last() == gathering.last, "chunks are written in order");
        if self.shared.options.durability != Durability::Sync && !gathering.flush {
            return Ok(None);
        }
        let begun = self.shared.clock.now();
        self.journal.flush()?;
        let time = self.shared.clock.now().since(begun);
        // Before it is promised: so what is promised and later damaged is known to be missing.
        self.journal.settle();
        Ok(Some(time))
    }

    /// Notes that a chunk is written: wakes the callers that wait for it, and gives its memory back.
    fn tell(&mut self, gathering: Gathering, flush: Option<Duration>) {
        if self.full.take().is_some() {
            self.shared.room.shut(Shut::Write, false);
        }
        let shared = &self.shared;
        let since = gathering.since;
        let (frames, bytes) = (gathering.chunk.frames, gathering.chunk.bytes.len());
        // Counted first: a client that was acknowledged finds its batch among the figures.
        shared.figures().commit(frames, bytes, flush, shared.clock.now().since(since));
        shared.certain.store(self.journal.certain(), Ordering::Release);
        shared.promised.store(gathering.last, Ordering::Release);
        shared.waiters.wake(gathering.last);
        let active = {
            let mut tail = shared.tail();
            tail.end_chunk(gathering.chunk.bytes, shared.options.commit_bytes_max * 2);
            shared.room.set_used(tail.queued_bytes(), tail.pending_bytes());
            tail.active_bytes()
        };
        let journal = self.journal.bytes();
        shared.room.set_journal(journal);
        shared.room.wake(&shared.options);
        shared.schedule.grown(active, bytes as u64, &shared.options);
    }

    /// Sleeps until there is something to do; false: never again.
    fn wait(&self) -> bool {
        let mut tail = self.shared.tail();
        while !tail.has_chunk() && tail.checkpoint() <= self.released {
            if tail.is_closing() {
                return false;
            }
            tail.set_idle(true);
            tail =
                self.shared.committer.wait(tail).expect("no code panics while it holds the tail");
        }
        tail.set_idle(false);
        true
    }
}

/// How long to wait before trying again to write to a full disk.
const AGAIN: Duration = Duration::from_millis(100);
