//! What the callers and the threads of a store share.

use std::hash::BuildHasher;
use std::sync::{Arc, OnceLock};
use std::task::Waker;
#[cfg(not(feature = "shuttle"))]
use std::thread::{self, Thread};
use std::time::Duration;

#[cfg(feature = "shuttle")]
use shuttle::thread::{self, Thread};

use tracing::error;

use super::capacity::{Capacity, Shut};
use super::error::StoreError;
use super::options::Options;
use super::schedule::Schedule;
use super::stats::Stats;
use super::table::{Table, TableError};
use super::tail::{Lookup, Tail};
use super::waiters::Waiters;
use crate::broker::metrics::Histogram;
use crate::broker::ports::{Progress, StoreTimes, Strain};
use crate::config::Durability;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, whole};
use crate::time::{Clock, SystemClock};

/// What the callers and the threads of a store share.
pub struct EngineShared {
    pub options: Options,
    pub clock: SystemClock,
    hasher: Hasher,
    tail: Mutex<Tail>,
    /// Wakes the commit thread.
    pub committer: Condvar,
    /// Frames up to this one are as safe as is promised.
    pub promised: AtomicU64,
    /// Frames up to this one are on stable storage.
    pub certain: AtomicU64,
    pub waiters: Waiters,
    pub room: Arc<Capacity>,
    pub schedule: Schedule,
    pub table: Box<dyn Table>,
    /// Held while a checkpoint writes to the table, or a scan reads it.
    pub quiet: Mutex<()>,
    /// The table was repaired from the journal, and its own figures are not to be trusted.
    pub recount: AtomicBool,
    failed: OnceLock<String>,
    table_failed: OnceLock<String>,
    /// The thread that has panicked first.
    dead: OnceLock<String>,
    figures: Mutex<Figures>,
}

/// What was counted.
#[derive(Default)]
pub struct Figures {
    stats: Stats,
    flush: Histogram,
    commit: Histogram,
    /// The longest commit since [`EngineShared::strain`] was last asked.
    longest: Duration,
}

impl EngineShared {
    pub fn new(
        options: Options,
        tail: Tail,
        table: Box<dyn Table>,
        hasher: Hasher,
        clock: SystemClock,
    ) -> EngineShared {
        let last = tail.last();
        let shared = EngineShared {
            options,
            clock,
            hasher,
            tail: Mutex::new(tail),
            committer: Condvar::new(),
            promised: AtomicU64::new(last),
            certain: AtomicU64::new(last),
            waiters: Waiters::default(),
            room: Arc::default(),
            schedule: Schedule::default(),
            table,
            quiet: Mutex::new(()),
            recount: AtomicBool::new(false),
            failed: OnceLock::new(),
            table_failed: OnceLock::new(),
            dead: OnceLock::new(),
            figures: Mutex::default(),
        };
        shared.room.set_used(0, shared.tail().pending_bytes());
        shared
    }

    /// What all batches pass.
    pub fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(|_| {
            // It may be torn, and what is written of it then is not what was promised: the process ends,
            // and the next one begins with the journal.
            self.note_dead("store tail");
            panic!("a thread has panicked with the tail of the journal")
        })
    }

    /// What was counted.
    pub fn figures(&self) -> MutexGuard<'_, Figures> {
        whole(self.figures.lock())
    }

    /// The hash of a key, in this process.
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.of(key)
    }

    /// Where a key's value is, as far as memory knows.
    pub fn find(&self, key: &[u8]) -> Lookup {
        let hash = self.hash(key);
        self.tail().find(key, hash)
    }

    /// How far a frame has come; while it is pending, `waker` is woken once when that changes.
    pub fn state(&self, lsn: u64, waker: &Waker) -> Progress {
        if self.options.durability == Durability::None && self.failed.get().is_none() {
            return Progress::Durable;
        }
        match self.progress(lsn) {
            Progress::Pending => {}
            settled => return settled,
        }
        if self.waiters.add(lsn, waker, || self.progress(lsn) != Progress::Pending) {
            return Progress::Pending;
        }
        self.progress(lsn)
    }

    /// How far a frame has come, whatever is promised of it.
    fn progress(&self, lsn: u64) -> Progress {
        if self.promised.load(Ordering::Acquire) >= lsn {
            Progress::Durable
        } else if self.failed.get().is_some() {
            Progress::Failed
        } else {
            Progress::Pending
        }
    }

    /// Blocks until a frame that is flushed whatever is promised is on stable storage.
    pub fn wait_until_certain(&self, lsn: u64) -> Result<(), StoreError> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            if self.certain.load(Ordering::Acquire) >= lsn {
                return Ok(());
            }
            self.check()?;
            if self.waiters.add(lsn, &waker, || self.progress(lsn) != Progress::Pending) {
                thread::park();
            }
        }
    }

    /// The journal has failed, for good: wakes all that wait.
    pub fn fail(&self, why: &str) {
        if self.failed.set(why.to_owned()).is_ok() {
            error!(
                why,
                "the store has failed: nothing more is acknowledged; start the broker again"
            );
        }
        self.tail().die();
        self.room.shut(Shut::Failed, true);
        self.waiters.wake(u64::MAX);
        self.room.wake(&self.options);
        self.schedule.stir();
    }

    /// A thread has panicked.
    pub fn note_dead(&self, thread: &str) {
        let _ = self.dead.set(thread.to_owned());
    }

    /// The thread that has panicked first.
    pub fn dead(&self) -> Option<&str> {
        self.dead.get().map(String::as_str)
    }

    /// The table has failed: it is never called again. The journal goes on.
    pub fn fail_table(&self, error: &TableError) {
        if self.table_failed.set(error.to_string()).is_ok() {
            let what = "the store's table has failed: what waits in it stays there, and the journal goes \
                        on until it is full; look with `store check`, and start the broker again";
            error!(%error, "{what}");
        }
        self.room.shut(Shut::Table, true);
        self.room.wake(&self.options);
    }

    /// An error if the store takes nothing any more.
    pub fn check(&self) -> Result<(), StoreError> {
        match self.failed.get() {
            Some(why) => Err(StoreError::Failed(why.clone())),
            None => Ok(()),
        }
    }

    /// The table, unless it has failed.
    pub fn table(&self) -> Result<&dyn Table, StoreError> {
        match self.table_failed.get() {
            Some(why) => Err(StoreError::Failed(format!("the table has failed: {why}"))),
            None => Ok(&*self.table),
        }
    }

    /// Notes an error of the table, so that it is not called again.
    pub fn on_table<T>(&self, result: Result<T, TableError>) -> Result<T, StoreError> {
        result.map_err(|error| {
            self.fail_table(&error);
            StoreError::Failed(format!("the table has failed: {error}"))
        })
    }

    /// The longest commit since this was last asked, or the one under way; bytes not yet written.
    pub fn strain(&self) -> Strain {
        let oldest = self.tail().oldest();
        let waits = oldest.map_or(Duration::ZERO, |since| self.clock.now().since(since));
        let longest = std::mem::take(&mut self.figures().longest);
        Strain { commit: waits.max(longest), unwritten: self.room.used().0 as u64 }
    }

    /// How long commits and flushes took.
    pub fn times(&self) -> StoreTimes {
        let figures = self.figures();
        StoreTimes { commit: figures.commit.spans(), flush: figures.flush.spans() }
    }

    /// Figures of this store.
    pub fn stats(&self) -> Stats {
        let mut stats = {
            let figures = self.figures();
            let (flush, commit) = (figures.flush.spans(), figures.commit.spans());
            Stats { flush: flush.into(), commit: commit.into(), ..figures.stats.clone() }
        };
        let tail = self.tail();
        let promised = self.promised.load(Ordering::Acquire);
        stats.lag = tail.last().saturating_sub(promised);
        stats.checkpoint_lag = tail.last() - tail.checkpoint();
        stats.pending_rows = tail.pending_rows();
        stats.cancelled_rows = tail.cancelled();
        drop(tail);
        (stats.queued_bytes, stats.pending_bytes, stats.journal_bytes) = self.room.used();
        stats.waiters = self.waiters.len();
        stats.full = self.room.disk_full();
        stats.trouble = self.room.trouble();
        stats.poisoned = self.failed.get().cloned();
        stats.table_failed = self.table_failed.get().cloned();
        stats
    }
}

impl Figures {
    /// Counts a commit.
    pub fn commit(&mut self, frames: usize, bytes: usize, flush: Option<Duration>, all: Duration) {
        self.stats.commits += 1;
        self.stats.frames += frames as u64;
        self.stats.bytes += bytes as u64;
        self.stats.frames_max = self.stats.frames_max.max(frames as u64);
        if let Some(flush) = flush {
            self.flush.note(flush);
        }
        self.commit.note(all);
        self.longest = self.longest.max(all);
    }

    /// Counts a checkpoint.
    pub fn checkpoint(&mut self, rows: u64, time: Duration, table_rows: u64) {
        self.stats.checkpoints += 1;
        self.stats.checkpoint_rows = rows;
        self.stats.checkpoint_time = time;
        self.stats.table_rows = table_rows;
    }

    /// Notes what the start found.
    pub fn start(&mut self, time: Duration, table_rows: u64) {
        self.stats.recovery_time = time;
        self.stats.table_rows = table_rows;
    }
}

/// Hashes keys, differently in every process: they may be strangers' words.
#[derive(Clone, Default)]
pub struct Hasher(foldhash::fast::RandomState);

impl Hasher {
    /// The hash of a key.
    pub fn of(&self, key: &[u8]) -> u64 {
        self.0.hash_one(key)
    }
}

struct Unpark(Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
