//! What a test sees of a round as it happens, in one place, so that it can wait for any of it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use super::due::Due;

/// Updated from the broker's output and by every client; the thread that kills the broker waits on it.
#[derive(Default)]
pub struct Watch {
    state: Mutex<State>,
    changed: Condvar,
    pub due: Due,
}

/// What has happened in this round.
#[derive(Default)]
pub struct State {
    /// Clients that are connected and have done what comes before the load.
    pub connected: usize,
    /// Messages published and acknowledged to the end: PUBACK or PUBCOMP.
    pub acknowledged: u64,
    /// Messages sent to the broker that are not.
    pub in_flight: u64,
    /// Messages that have come to subscribers for the first time, over all rounds.
    pub received: u64,
    /// What the broker has said since it was started last.
    pub life: Life,
}

/// What the broker has said since it was started.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// It has begun to open its store.
    pub opening: bool,
    /// It has read its journal: whether that told of a checkpoint begun and not finished.
    pub repaired: Option<bool>,
    /// It has read its table: what follows is that it takes over what the store remembers.
    pub taking_over: bool,
    /// The line that says that it serves.
    pub ready: Option<String>,
    /// A checkpoint has begun, durably, and the table is not written.
    pub checkpoint: bool,
    /// Panics that it has told of.
    pub panics: usize,
    /// It says nothing more.
    pub ended: bool,
    /// Its last lines.
    pub tail: VecDeque<String>,
}

impl Watch {
    /// Something has happened.
    pub fn note(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("no code panics while it notes something"));
        self.changed.notify_all();
    }

    /// Waits until `wanted` sees what it wants; nothing if it never does.
    pub fn until<T>(&self, wanted: impl Fn(&State) -> Option<T>) -> Option<T> {
        let end = Instant::now() + DEADLINE;
        let mut state = self.state.lock().expect("no code panics while it notes something");
        loop {
            if let Some(seen) = wanted(&state) {
                return Some(seen);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.expect("no code panics while it notes something").0;
        }
    }
}

impl Life {
    /// Takes up a line.
    pub fn hear(&mut self, line: String) {
        if line.starts_with(r#"{"sluice":"ready""#) {
            self.ready = Some(line.clone());
        } else if line.contains("store opening") {
            self.opening = true;
        } else if line.contains("journal read") {
            self.repaired = Some(line.contains("repaired=true"));
        } else if line.contains("table read") {
            self.taking_over = true;
        } else if line.contains("checkpoint begun") {
            self.checkpoint = true;
        } else if line.contains("checkpoint written") {
            self.checkpoint = false;
        }
        self.panics += usize::from(line.contains("panic, a fault of this program"));
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }
}

/// How long anything may take before a test fails. Nothing waits so long when all is well.
const DEADLINE: Duration = Duration::from_secs(60);

/// Lines to be shown when a test fails.
const TAIL: usize = 30;
