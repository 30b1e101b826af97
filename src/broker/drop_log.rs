//! Drops for the log: one line for each receiver, class of topics and reason, at most so often.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::warn;

use super::dropped::DropLine;
use super::topic_ledger::TopicLedger;
use crate::sync::{Mutex, whole};
use crate::time::Time;

/// Drops that are still to be logged, and those that were logged lately.
#[derive(Debug, Default)]
pub(super) struct DropLog {
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    drops: BTreeMap<DropLine, DropCount>,
    /// Of more receivers than are told apart.
    others: u64,
    /// When it is next looked for drops to be logged.
    look: Time,
}

#[derive(Debug, Default)]
struct DropCount {
    /// Since the last line.
    count: u64,
    /// No line before this.
    quiet_until: Time,
}

/// Receivers, classes of topics and reasons that are told apart in the log.
const DROPS_MAX: usize = 4096;
/// At most one line for each of them in so long.
const QUIET: Duration = Duration::from_secs(10);
/// How often drops are looked at for the log.
const LOOK: Duration = Duration::from_secs(1);

impl DropLog {
    /// Notes drops, each with how often it came.
    pub fn note(&self, drops: Vec<(DropLine, u64)>) {
        if drops.is_empty() {
            return;
        }
        let lines = &mut *whole(self.lines.lock());
        for (key, count) in drops {
            if lines.drops.len() < DROPS_MAX || lines.drops.contains_key(&key) {
                lines.drops.entry(key).or_default().count += count;
            } else {
                lines.others += count;
            }
        }
    }

    /// Writes one line for each receiver, class of topics and reason, with how many there were since the
    /// last. No lock is held while a line is written.
    pub fn write(&self, topics: &TopicLedger, now: Time) {
        let (drops, others) = self.due(now);
        for ((receiver, class, loss), count) in drops {
            // None where no class is configured: the line says nothing of it then.
            let topic_class = topics.name(class);
            warn!(
                receiver = &*receiver,
                topic_class,
                reason = loss.name(),
                count,
                "messages dropped"
            );
        }
        if others > 0 {
            warn!(count = others, "messages dropped of more receivers than are told apart");
        }
    }

    /// The lines to be written at `now`, and the drops of others.
    fn due(&self, now: Time) -> (Vec<(DropLine, u64)>, u64) {
        let mut due = Vec::new();
        let lines = &mut *whole(self.lines.lock());
        if now < lines.look {
            return (due, 0);
        }
        lines.look = now.after(LOOK);
        lines.drops.retain(|line, drops| {
            if now < drops.quiet_until {
                return true;
            }
            if drops.count > 0 {
                due.push((line.clone(), drops.count));
                *drops = DropCount { count: 0, quiet_until: now.after(QUIET) };
                return true;
            }
            false
        });
        let is_full = lines.drops.len() >= DROPS_MAX;
        let others = if is_full { 0 } else { std::mem::take(&mut lines.others) };
        (due, others)
    }
}
