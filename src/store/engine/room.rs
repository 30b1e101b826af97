//! Whether there is room for more: asked before anything is handed in, because what is handed in
//! cannot be refused.

use std::task::Waker;

use super::options::Options;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use crate::sync::{Mutex, MutexGuard};

/// What is in use of memory and disk, against what may be.
#[derive(Debug, Default)]
pub struct Room {
    queued: AtomicUsize,
    pending: AtomicUsize,
    journal: AtomicU64,
    shut: AtomicU8,
    waiting: Mutex<Vec<Waker>>,
    anybody: AtomicBool,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoRoom {
    /// Not now.
    Full,
    /// Never again in this process.
    Failed,
}

/// Reasons to admit nothing at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Shut {
    /// The journal cannot get another segment.
    Journal = 1,
    /// A checkpoint would fill the disk.
    Checkpoint = 2,
    /// The journal cannot even be written where it has its place.
    Write = 4,
    /// The store has failed.
    Failed = 8,
}

impl Room {
    /// Whether there is room for so many bytes.
    pub fn check(&self, bytes: usize, options: &Options) -> Result<(), NoRoom> {
        match self.shut.load(Ordering::Relaxed) {
            0 if self.fits(bytes, options) => Ok(()),
            shut if shut & Shut::Failed as u8 != 0 => Err(NoRoom::Failed),
            _ => Err(NoRoom::Full),
        }
    }

    /// The same; if there is none now, `waker` is woken once when there is some again.
    pub fn check_or_wait(
        &self,
        bytes: usize,
        options: &Options,
        waker: &Waker,
    ) -> Result<(), NoRoom> {
        let mut waiting = self.lock();
        // Told before the look, so that whoever makes room after it sees that somebody waits.
        self.anybody.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let found = self.check(bytes, options);
        if found == Err(NoRoom::Full) && !waiting.iter().any(|there| there.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        self.anybody.store(!waiting.is_empty(), Ordering::SeqCst);
        found
    }

    /// Sets what is in use of memory.
    pub fn set_used(&self, queued: usize, pending: usize) {
        self.queued.store(queued, Ordering::Relaxed);
        self.pending.store(pending, Ordering::Relaxed);
    }

    /// Sets the length of the journal.
    pub fn set_journal(&self, bytes: u64) {
        self.journal.store(bytes, Ordering::Relaxed);
    }

    /// Sets or takes back a reason to admit nothing.
    pub fn shut(&self, why: Shut, shut: bool) {
        if shut {
            self.shut.fetch_or(why as u8, Ordering::SeqCst);
        } else {
            self.shut.fetch_and(!(why as u8), Ordering::SeqCst);
        }
    }

    /// Whether this is a reason to admit nothing.
    pub fn is_shut(&self, why: Shut) -> bool {
        self.shut.load(Ordering::SeqCst) & why as u8 != 0
    }

    /// Wakes those who wait, if there is room again: to be called, with no lock held, when
    /// something may have become less.
    pub fn wake(&self, options: &Options) {
        fence(Ordering::SeqCst);
        if !self.anybody.load(Ordering::SeqCst) {
            return;
        }
        let failed = self.shut.load(Ordering::SeqCst) & Shut::Failed as u8 != 0;
        if failed || self.is_low(options) {
            let woken = {
                let mut waiting = self.lock();
                self.anybody.store(false, Ordering::SeqCst);
                std::mem::take(&mut *waiting)
            };
            woken.into_iter().for_each(Waker::wake);
        }
    }

    /// Why the disk is the reason that nothing is admitted, if it is.
    pub fn disk_full(&self) -> Option<&'static str> {
        let shut = self.shut.load(Ordering::Relaxed);
        if shut & Shut::Write as u8 != 0 {
            Some("the disk takes no more of the journal")
        } else if shut & Shut::Journal as u8 != 0 {
            Some("the disk has no room for another segment of the journal")
        } else if shut & Shut::Checkpoint as u8 != 0 {
            Some("the disk has no room for a checkpoint")
        } else {
            None
        }
    }

    /// Bytes handed in and not yet written; memory of pending rows; length of the journal.
    pub fn used(&self) -> (usize, usize, u64) {
        (
            self.queued.load(Ordering::Relaxed),
            self.pending.load(Ordering::Relaxed),
            self.journal.load(Ordering::Relaxed),
        )
    }

    fn fits(&self, bytes: usize, options: &Options) -> bool {
        let (queued, pending, journal) = self.used();
        // A batch counts for half of a limit at most, or a large one would never be admitted.
        let fits = |used: usize, max: usize| used.saturating_add(bytes.min(max / 2)) <= max;
        fits(queued, options.queued_bytes_max)
            && fits(pending, options.pending_bytes_max)
            && journal <= options.journal_bytes_max
    }

    /// Well below every limit, so that those who are woken find room.
    fn is_low(&self, options: &Options) -> bool {
        let (queued, pending, journal) = self.used();
        self.shut.load(Ordering::SeqCst) == 0
            && queued <= options.queued_bytes_max / 4 * 3
            && pending <= options.pending_bytes_max / 4 * 3
            && journal <= options.journal_bytes_max
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().expect("no code panics while it holds the waiting")
    }
}
