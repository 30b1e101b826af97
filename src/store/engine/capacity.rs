//! Whether there is room for more: asked before anything is handed in, because what is handed in
//! cannot be refused.

use std::io;
use std::task::Waker;

use tracing::{info, warn};

use super::error::StoreError;
use super::options::Options;
use crate::broker::ports::Refused;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use crate::sync::{Mutex, MutexGuard, whole};

/// What is in use of memory and disk, against what may be.
#[derive(Debug, Default)]
pub struct Capacity {
    queued: AtomicUsize,
    pending: AtomicUsize,
    journal: AtomicU64,
    /// Memory of changes for which a checkpoint finds room on the disk; 0: not known.
    pending_room: AtomicUsize,
    shut: AtomicU8,
    /// What else than a full disk is the reason for one of these, in words: of each the last.
    trouble: Mutex<Vec<(Shut, String)>>,
    waiting: Mutex<Vec<Waker>>,
    anybody: AtomicBool,
    /// The disk has become the reason: the wakers that wait are to be woken.
    turned: AtomicBool,
}

/// Whether there is room, if what was handed in is `written` as far as it must be, and what was
/// written is `in_table` as far as it must be.
fn verdict(shut: u8, written: bool, in_table: bool) -> Result<(), Refused> {
    let is = |why: Shut| shut & why as u8 != 0;
    if is(Shut::Failed) || (is(Shut::Table) && !in_table) {
        Err(Refused::Failed)
    } else if is(Shut::Trouble) {
        Err(Refused::Trouble)
    } else if is(Shut::Journal) || is(Shut::Checkpoint) || is(Shut::Write) {
        Err(Refused::Full)
    } else if written && in_table {
        Ok(())
    } else {
        Err(Refused::Slow)
    }
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
    /// The table has failed: what waits for a checkpoint never becomes less. No reason by itself.
    Table = 16,
    /// Another of these has another reason than a full disk: no descriptor, no right, a fault.
    Trouble = 32,
}

impl Capacity {
    /// Whether there is room for so many bytes.
    pub fn check(&self, bytes: usize, options: &Options) -> Result<(), Refused> {
        let (queued, pending, journal) = self.used();
        // A batch counts for what is between the marks at most: or a large one would never be
        // admitted, not even below the lower ones.
        let fits = |used: usize, low: usize, max: usize| {
            used.saturating_add(bytes.min(max.saturating_sub(low))) <= max
        };
        let written = fits(queued, options.queued_bytes_low, options.queued_bytes_max);
        let (low, max) = self.pending_marks(options);
        let in_table = fits(pending, low, max) && journal <= options.journal_bytes_max;
        verdict(self.shut.load(Ordering::Relaxed), written, in_table)
    }

    /// Whether there is room again, below the lower marks; if not, `waker` is woken once when there
    /// is, or when there is another reason.
    pub fn is_back(&self, options: &Options, waker: &Waker) -> Result<(), Refused> {
        let mut waiting = self.lock();
        // Noted before the look, so that a thread that makes room after it sees that a waker waits.
        self.anybody.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let found = self.check_low(options);
        if matches!(found, Err(Refused::Slow | Refused::Full | Refused::Trouble))
            && !waiting.iter().any(|there| there.will_wake(waker))
        {
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

    /// So many bytes are free on the disk: what waits for a checkpoint must not be more than that finds room for.
    /// On a full disk nothing but a checkpoint makes room.
    pub fn set_free(&self, bytes: u64, options: &Options) {
        self.pending_room.store(options.pending_for(bytes).max(1), Ordering::Relaxed);
    }

    /// Lower and upper mark of the memory of changes that wait for a checkpoint.
    fn pending_marks(&self, options: &Options) -> (usize, usize) {
        match self.pending_room.load(Ordering::Relaxed) {
            room if room == 0 || room >= options.pending_bytes_max => {
                (options.pending_bytes_low, options.pending_bytes_max)
            }
            room => (options.pending_bytes_low.min(room / 4 * 3), room),
        }
    }

    /// Sets the length of the journal.
    pub fn set_journal(&self, bytes: u64) {
        self.journal.store(bytes, Ordering::Relaxed);
    }

    /// Sets or takes back a reason to admit nothing. Wakers that wait are woken by the next
    /// [`Capacity::wake`].
    pub fn shut(&self, why: Shut, shut: bool) {
        if shut {
            self.shut_saying(why, "");
        } else {
            self.end_trouble(why);
            let before = self.shut.fetch_and(!(why as u8), Ordering::SeqCst);
            if reason(before).is_some() && reason(before & !(why as u8)).is_none() {
                info!("the store takes new messages again");
            }
        }
    }

    /// Sets a reason to admit nothing; `said`: what the system said of it, if that tells more.
    fn shut_saying(&self, why: Shut, said: &str) {
        // What was the reason, if it was not the disk, is one no more.
        let ended = self.end_trouble(why);
        let before = self.set(why as u8);
        let is_new = ended || reason(before).is_none();
        if let Some(full) = reason(before | why as u8).filter(|_| is_new) {
            warn!("{full}{said}: nothing new above QoS 0 is taken until there is some");
        }
    }

    /// Sets a reason to admit nothing that is an error: a full disk, or something else, which is
    /// named once.
    pub fn shut_for(&self, why: Shut, error: &StoreError) {
        if error.is_full() {
            return self.shut_saying(why, &no_room(error));
        }
        let said = error.to_string();
        let is_new = self.note_trouble(why, &said);
        self.set(why as u8 | Shut::Trouble as u8);
        if is_new {
            warn!("{said}: nothing new above QoS 0 is taken until that works again");
        }
    }

    /// Notes what else than a full disk is the reason for `why`; whether it is another than before.
    /// Several reasons that come in turn are each noted, so that each is told once.
    fn note_trouble(&self, why: Shut, said: &str) -> bool {
        let mut trouble = self.trouble.lock().expect("no code panics while it holds it");
        let before = trouble.iter().position(|(of, _)| *of == why);
        let before = before.map(|at| trouble.remove(at).1);
        trouble.push((why, said.to_owned()));
        before.is_none_or(|before| before != said)
    }

    /// Sets reasons; those that there were.
    fn set(&self, whys: u8) -> u8 {
        let before = self.shut.fetch_or(whys, Ordering::SeqCst);
        if before & whys != whys {
            self.turned.store(true, Ordering::SeqCst);
        }
        before
    }

    /// Another reason than a full disk is one no more for `why`; whether it was the last.
    fn end_trouble(&self, why: Shut) -> bool {
        if !self.is_shut(Shut::Trouble) {
            return false;
        }
        let mut trouble = self.trouble.lock().expect("no code panics while it holds it");
        trouble.retain(|(of, _)| *of != why);
        let ended = trouble.is_empty();
        if ended {
            self.shut.fetch_and(!(Shut::Trouble as u8), Ordering::SeqCst);
        }
        ended
    }

    /// Whether this is a reason to admit nothing.
    pub fn is_shut(&self, why: Shut) -> bool {
        self.shut.load(Ordering::SeqCst) & why as u8 != 0
    }

    /// Wakes all that wait, if there is room again or another reason why there is none: to be called,
    /// with no lock held, when something may have become less.
    pub fn wake(&self, options: &Options) {
        fence(Ordering::SeqCst);
        if !self.anybody.load(Ordering::SeqCst) {
            return;
        }
        if self.turned.swap(false, Ordering::SeqCst) || self.check_low(options).is_ok() {
            let woken = {
                let mut waiting = self.lock();
                self.anybody.store(false, Ordering::SeqCst);
                std::mem::take(&mut *waiting)
            };
            woken.into_iter().for_each(Waker::wake);
        }
    }

    /// Why a full disk is the reason that nothing is admitted, if it is.
    pub fn disk_full(&self) -> Option<&'static str> {
        let shut = self.shut.load(Ordering::Relaxed);
        reason(shut).filter(|_| shut & Shut::Trouble as u8 == 0)
    }

    /// What else is the reason, if it is no full disk.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().expect("no code panics while it holds it");
        trouble.last().map(|(_, said)| said.clone())
    }

    /// Bytes handed in and not yet written; memory of pending rows; length of the journal.
    pub fn used(&self) -> (usize, usize, u64) {
        (
            self.queued.load(Ordering::Relaxed),
            self.pending.load(Ordering::Relaxed),
            self.journal.load(Ordering::Relaxed),
        )
    }

    /// Whether all is below its lower mark, so that a caller that is woken finds room.
    fn check_low(&self, options: &Options) -> Result<(), Refused> {
        let (queued, pending, journal) = self.used();
        let written = queued <= options.queued_bytes_low;
        let in_table =
            pending <= self.pending_marks(options).0 && journal <= options.journal_bytes_max;
        verdict(self.shut.load(Ordering::SeqCst), written, in_table)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waker>> {
        whole(self.waiting.lock())
    }
}

/// Why the disk is a reason to admit nothing, if it is among these.
/// What is said of an error beside "the disk has no room": nothing if that is all; a quota or a limit of a file's
/// size is named, with what to do.
fn no_room(error: &StoreError) -> String {
    match error {
        StoreError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
            String::new()
        }
        other => format!(" ({other})"),
    }
}

fn reason(shut: u8) -> Option<&'static str> {
    if shut & Shut::Write as u8 != 0 {
        Some("the disk has no room for more of the journal")
    } else if shut & Shut::Journal as u8 != 0 {
        Some("the disk has no room for another segment of the journal")
    } else if shut & Shut::Checkpoint as u8 != 0 {
        Some("the disk has no room for a checkpoint")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[test]
    fn a_limit_of_a_files_size_is_named_and_a_full_disk_is_just_full() {
        let of = |number| {
            let path = std::path::Path::new("data/1");
            no_room(&StoreError::io("write", path)(io::Error::from_raw_os_error(number)))
        };
        assert_eq!(of(28), "");
        assert!(
            of(27).contains("cannot write data/1") && of(27).contains("ulimit -f"),
            "{}",
            of(27)
        );
        assert!(of(122).contains("quota"), "{}", of(122));
    }

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn options() -> Options {
        Options {
            queued_bytes_max: 100,
            queued_bytes_low: 40,
            pending_bytes_max: 1000,
            pending_bytes_low: 900,
            journal_bytes_max: 10_000,
            ..Options::default()
        }
    }

    #[test]
    fn who_is_refused_above_the_high_mark_is_woken_below_the_low_one() {
        let (room, options) = (Capacity::default(), options());
        let counted = Arc::new(Counted::default());
        let waker = Waker::from(counted.clone());
        let wakes = || counted.0.load(Ordering::Relaxed);
        assert_eq!(room.check(usize::MAX, &options), Ok(()), "the largest fits when it is empty");
        room.set_used(40, 900);
        assert_eq!(room.check(usize::MAX, &options), Ok(()), "and below the low marks");
        room.set_used(101, 0);
        assert_eq!(room.check(0, &options), Err(Refused::Slow));
        assert_eq!(room.is_back(&options, &waker), Err(Refused::Slow));
        room.set_used(41, 0);
        room.wake(&options);
        assert_eq!(wakes(), 0);
        assert_eq!(room.is_back(&options, &waker), Err(Refused::Slow), "between the marks");
        assert_eq!(room.check(59, &options), Ok(()), "for those who did not have to wait");
        room.set_used(40, 0);
        room.wake(&options);
        room.wake(&options);
        assert_eq!(wakes(), 1, "once, however often it asked");
        assert_eq!(room.is_back(&options, &waker), Ok(()));
        room.set_journal(10_001);
        assert_eq!(room.check(0, &options), Err(Refused::Slow));
        room.set_journal(0);
        room.set_used(0, 1001);
        assert_eq!(room.check(0, &options), Err(Refused::Slow));
    }

    #[test]
    fn another_reason_is_told_to_those_who_wait() {
        let (room, options) = (Capacity::default(), options());
        let counted = Arc::new(Counted::default());
        let waker = Waker::from(counted.clone());
        let wakes = || counted.0.load(Ordering::Relaxed);
        room.set_used(0, 1001);
        assert_eq!(room.is_back(&options, &waker), Err(Refused::Slow));
        room.shut(Shut::Checkpoint, true);
        room.wake(&options);
        assert_eq!(wakes(), 1);
        assert_eq!(room.is_back(&options, &waker), Err(Refused::Full));
        room.shut(Shut::Checkpoint, true);
        room.wake(&options);
        assert_eq!(wakes(), 1, "it is the same reason");
        // What waits for a table that has failed waits for ever.
        room.shut(Shut::Table, true);
        room.wake(&options);
        assert_eq!(wakes(), 2);
        assert_eq!(room.is_back(&options, &waker), Err(Refused::Failed));
        room.shut(Shut::Checkpoint, false);
        room.set_used(0, 0);
        assert_eq!(room.check(1, &options), Ok(()), "the journal alone goes on");
        room.set_used(101, 0);
        assert_eq!(room.check(1, &options), Err(Refused::Slow));
        room.shut(Shut::Failed, true);
        assert_eq!(room.check(1, &options), Err(Refused::Failed));
    }

    #[test]
    fn two_faults_at_once_are_told_once_each_and_both_must_end() {
        let (room, options) = (Capacity::default(), options());
        let error = |name: &str| {
            StoreError::io("make", std::path::Path::new(name))(std::io::ErrorKind::Other.into())
        };
        room.shut_for(Shut::Journal, &error("reserve"));
        room.shut_for(Shut::Checkpoint, &error("ballast"));
        for _ in 0..3 {
            assert!(!room.note_trouble(Shut::Journal, &error("reserve").to_string()));
            assert!(!room.note_trouble(Shut::Checkpoint, &error("ballast").to_string()));
        }
        assert!(room.note_trouble(Shut::Journal, "another fault"));
        assert!(room.trouble().is_some_and(|said| said == "another fault"));
        assert_eq!(room.check(1, &options), Err(Refused::Trouble));
        room.shut(Shut::Journal, false);
        assert_eq!(room.check(1, &options), Err(Refused::Trouble));
        assert!(room.trouble().is_some_and(|said| said.contains("ballast")));
        // The disk is full meanwhile.
        room.shut(Shut::Checkpoint, true);
        assert_eq!((room.check(1, &options), room.trouble()), (Err(Refused::Full), None));
        room.shut(Shut::Checkpoint, false);
        assert_eq!((room.check(1, &options), room.trouble()), (Ok(()), None));
    }
}
