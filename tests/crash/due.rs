//! When delayed messages were sent first, and whether they came too early.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What is known of all delayed messages of a test.
#[derive(Default)]
pub struct Due {
    /// By topic and number: when it was sent for the first time.
    sent: Mutex<BTreeMap<(String, u64), Instant>>,
    /// Since when their receiver is connected.
    back: Mutex<Option<Instant>>,
    lateness: Mutex<Lateness>,
}

/// How those that came did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lateness {
    pub early: u64,
    /// The longest time from when one was due, and its receiver was back, to when it came.
    pub longest: Duration,
}

/// Clocks of two processes may differ by so much.
const DRIFT: Duration = Duration::from_millis(250);

impl Due {
    /// It was sent.
    pub fn sent(&self, topic: String, number: u64) {
        let mut sent = self.sent.lock().expect("no code panics while it notes something");
        sent.entry((topic, number)).or_insert_with(Instant::now);
    }

    /// Their receiver is connected again.
    pub fn back(&self) {
        *self.back.lock().expect("no code panics while it notes something") = Some(Instant::now());
    }

    /// It came, delayed by `span`.
    pub fn came(&self, topic: &str, number: u64, span: Duration) {
        let sent = self.sent.lock().expect("no code panics while it notes something");
        let Some(sent) = sent.get(&(topic.to_owned(), number)) else { return };
        let took = sent.elapsed();
        let back = *self.back.lock().expect("no code panics while it notes something");
        let late = took.saturating_sub(span).min(back.map_or(took, |back| back.elapsed()));
        let mut lateness = self.lateness.lock().expect("no code panics while it notes something");
        lateness.early += u64::from(took + DRIFT < span);
        lateness.longest = lateness.longest.max(late);
    }

    /// How all did.
    pub fn lateness(&self) -> Lateness {
        *self.lateness.lock().expect("no code panics while it notes something")
    }
}

#[test]
fn what_comes_before_its_time_is_counted() {
    let due = Due::default();
    due.sent("late/p".to_owned(), 1);
    due.came("late/p", 1, Duration::ZERO);
    assert_eq!(due.lateness().early, 0);
    due.came("late/p", 1, Duration::from_secs(3_600));
    due.came("late/p", 2, Duration::from_secs(3_600));
    assert_eq!(due.lateness().early, 1);
}
