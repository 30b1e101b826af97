//! The next segment is ready before it is needed: made by a thread of its own, of a segment that
//! has served if there is one.
//!
//! When the disk is full, what is left is kept for what makes room: nothing new is admitted, and
//! the last segment of all is a small one that was put by for that day.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::capacity::{Capacity, Shut};
use super::disk::is_full;
use super::error::StoreError;
use super::journal::Spares;
use super::journal::segment::{Segment, Workshop};
use super::options::Options;
use crate::sync::{Condvar, Mutex, MutexGuard, whole};

/// Makes segments, and gives them to the journal one at a time.
pub struct Keeper {
    workshop: Workshop,
    options: Options,
    state: Mutex<Stock>,
    changed: Condvar,
}

#[derive(Default)]
struct Stock {
    ready: Option<Segment>,
    /// Number of the next segment that is made.
    next: u64,
    /// Segments that have served.
    old: Vec<u64>,
    /// Why the last attempt failed.
    failed: Option<io::Error>,
    /// No thread makes segments: they are made when they are asked for.
    alone: bool,
    stopped: bool,
}

/// What the keeper's thread did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Made {
    /// Everything is there.
    All,
    /// Something is missing, and is to be tried again later.
    Some,
}

impl Keeper {
    /// A keeper that makes segment number `next` first; the segments `old` have served.
    pub fn new(workshop: Workshop, options: &Options, next: u64, old: Vec<u64>) -> Keeper {
        let state = Stock { next, old, alone: true, ..Stock::default() };
        Keeper {
            workshop,
            options: options.clone(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Takes back segments. No frame of them may be needed any more.
    pub fn retire(&self, sequences: impl Iterator<Item = u64>) {
        self.lock().old.extend(sequences);
        self.changed.notify_all();
    }

    /// From now on only a thread makes segments: to be called before that thread runs.
    pub fn expect_thread(&self) {
        self.lock().alone = false;
    }

    /// Makes segments until told to stop: the body of the keeper's thread.
    pub fn run(&self, room: &Capacity, options: &Options) {
        loop {
            let made = self.make(room);
            room.wake(options);
            let state = self.lock();
            if state.stopped {
                return;
            }
            if made == Made::Some {
                drop(self.changed.wait_timeout(state, AGAIN));
            } else if state.ready.is_some() && state.old.len() <= OLD_MAX {
                drop(self.changed.wait(state));
            }
        }
    }

    /// Ends [`Keeper::run`].
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Makes what is missing.
    pub fn make(&self, room: &Capacity) -> Made {
        let (sequence, old, surplus) = {
            let mut state = self.lock();
            let missing = state.ready.is_none();
            let old = if missing { state.old.pop() } else { None };
            let kept = state.old.len().min(OLD_MAX);
            (missing.then_some(state.next), old, state.old.split_off(kept))
        };
        // A surplus that is not removed now is removed at the next start.
        surplus.into_iter().for_each(|sequence| drop(self.workshop.remove(sequence)));
        let len = self.options.segment_for(room.used().2);
        let mut made = Made::All;
        if let Some(sequence) = sequence {
            let segment = self.next_segment(sequence, old, len);
            let full = matches!(&segment, Err(error) if is_full(error));
            let segment = match segment {
                Err(error) if full => self.workshop.take_reserve(sequence).map_err(|_| error),
                other => other,
            };
            let mut state = self.lock();
            match segment {
                Ok(segment) => {
                    state.next += 1;
                    state.ready = Some(segment);
                    state.failed = None;
                }
                Err(error) => {
                    state.failed = Some(error);
                    made = Made::Some;
                }
            }
            self.changed.notify_all();
            if full {
                room.shut(Shut::Journal, true);
                return Made::Some;
            }
        }
        if made == Made::All {
            // Only when that is there too is there room for anything new.
            let reserve = self.options.reserve_for(len);
            let kept = if reserve == 0 { Ok(()) } else { self.workshop.keep_reserve(reserve) };
            let has_room = self.note_free(room, len);
            match kept {
                Ok(()) if has_room => room.shut(Shut::Journal, false),
                Ok(()) => {
                    room.shut(Shut::Journal, true);
                    made = Made::Some;
                }
                Err(error) => {
                    let path = self.workshop.disk().path("reserve");
                    room.shut_for(Shut::Journal, &StoreError::io("make", &path)(error));
                    made = Made::Some;
                }
            }
        }
        made
    }

    /// Notes how much may wait for a checkpoint, now that there is a segment; the next one takes `len` bytes before
    /// this is looked at again. Whether anything may.
    fn note_free(&self, room: &Capacity, len: u64) -> bool {
        let free = self.workshop.budget().free(&**self.workshop.disk()).saturating_sub(len);
        room.set_free(free, &self.options);
        self.options.pending_for(free) > 0
    }

    fn next_segment(&self, sequence: u64, old: Option<u64>, len: u64) -> io::Result<Segment> {
        if let Some(old) = old {
            // Else it is much shorter or longer, or in some way unfit.
            if let Ok(Some(segment)) = self.workshop.remake(old, sequence, len) {
                return Ok(segment);
            }
        }
        self.workshop.make(sequence, len)
    }

    fn lock(&self) -> MutexGuard<'_, Stock> {
        whole(self.state.lock())
    }
}

/// A keeper, and the capacity that it shuts when the disk is full.
pub struct Supply {
    /// The keeper.
    pub keeper: Arc<Keeper>,
    /// Shut when the disk is full.
    pub room: Arc<Capacity>,
}

impl Spares for Supply {
    fn take(&self) -> io::Result<Segment> {
        let keeper = &self.keeper;
        loop {
            let mut state = keeper.lock();
            if state.alone && state.ready.is_none() {
                drop(state);
                keeper.make(&self.room);
                state = keeper.lock();
            }
            if let Some(segment) = state.ready.take() {
                keeper.changed.notify_all();
                return Ok(segment);
            }
            if state.stopped {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if let Some(error) = state.failed.take() {
                return Err(error);
            }
            drop(keeper.changed.wait(state));
        }
    }
}

/// Segments kept to be used again.
const OLD_MAX: usize = 2;

/// How long to wait before trying again.
const AGAIN: Duration = Duration::from_millis(250);
