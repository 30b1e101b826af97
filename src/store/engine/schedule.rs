//! When checkpoints are due. While nothing changes the checkpoint thread is not woken.

use std::time::Duration;

use super::options::Options;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, whole};

/// When checkpoints are due.
#[derive(Default)]
pub struct Schedule {
    state: Mutex<Requests>,
    changed: Condvar,
    /// The checkpoint thread sleeps until something changes.
    dormant: AtomicBool,
    due: AtomicBool,
    /// Bytes of the journal since the last checkpoint began.
    journal: AtomicU64,
}

#[derive(Default)]
struct Requests {
    /// Checkpoints asked for, and how many of these are done.
    wanted: u64,
    done: u64,
    /// The last one did not succeed: why.
    refused: Option<String>,
    closing: bool,
    /// No checkpoint will be made any more.
    closed: bool,
}

/// Why the checkpoint thread was woken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Call {
    /// A checkpoint is due; it answers the first so many that were asked for.
    Due(u64),
    /// Nothing may have changed, or the time has come.
    Look,
    /// The store closes.
    Close,
}

impl Schedule {
    /// The journal has grown: `active` is the memory of what changed since the last checkpoint
    /// began.
    pub fn grown(&self, active: usize, bytes: u64, options: &Options) {
        let journal = self.journal.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let due = active >= options.checkpoint_pending_bytes
            || journal >= options.checkpoint_journal_bytes;
        let newly_due = due && !self.due.swap(true, Ordering::Relaxed);
        if newly_due || self.dormant.load(Ordering::SeqCst) {
            self.stir();
        }
    }

    /// A checkpoint begins: what follows is for the next one.
    pub fn begun(&self) {
        self.journal.store(0, Ordering::Relaxed);
        self.due.store(false, Ordering::Relaxed);
    }

    /// There is no room for a checkpoint now.
    pub fn put_off(&self) {
        self.due.store(false, Ordering::Relaxed);
    }

    /// Bytes of the journal since the last checkpoint began.
    pub fn journal(&self) -> u64 {
        self.journal.load(Ordering::Relaxed)
    }

    /// Wakes the checkpoint thread to look again.
    pub fn stir(&self) {
        self.dormant.store(false, Ordering::SeqCst);
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Asks for a checkpoint of everything handed in so far and waits for it; an error in words.
    pub fn ask(&self) -> Result<(), String> {
        let mut state = self.lock();
        state.wanted += 1;
        let ticket = state.wanted;
        self.changed.notify_all();
        while state.done < ticket {
            if state.closed {
                return Err("the store is closed".to_owned());
            }
            state = self.wait(state);
        }
        match &state.refused {
            Some(why) => Err(why.clone()),
            None => Ok(()),
        }
    }

    /// Answers the first so many requests.
    pub fn answer(&self, answered: u64, outcome: Result<(), String>) {
        let mut state = self.lock();
        state.done = state.done.max(answered);
        state.refused = outcome.err();
        self.changed.notify_all();
    }

    /// Ends the checkpoint thread.
    pub fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    /// Whether the checkpoint thread is to end.
    pub fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// No checkpoint will be made any more.
    pub fn closed(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Sleeps for `most`, or until there is a reason not to. Without a limit of time: until
    /// something changes, unless `anything` says that it just did.
    pub fn sleep(&self, most: Option<Duration>, anything: impl FnOnce() -> bool) -> Call {
        let mut state = self.lock();
        if let Some(call) = self.call(&state) {
            return call;
        }
        match most {
            Some(most) => {
                let waited = self.changed.wait_timeout(state, most);
                state = waited.expect("no code panics while it holds the schedule").0;
            }
            None => {
                self.dormant.store(true, Ordering::SeqCst);
                // After the note that we sleep, so that a thread that changes something sees it.
                if !anything() {
                    state = self.wait(state);
                }
                self.dormant.store(false, Ordering::SeqCst);
            }
        }
        self.call(&state).unwrap_or(Call::Look)
    }

    fn call(&self, state: &Requests) -> Option<Call> {
        if state.closing {
            Some(Call::Close)
        } else if state.wanted > state.done || self.due.load(Ordering::Relaxed) {
            Some(Call::Due(state.wanted))
        } else {
            None
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, Requests>) -> MutexGuard<'a, Requests> {
        self.changed.wait(state).expect("no code panics while it holds the schedule")
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        whole(self.state.lock())
    }
}
