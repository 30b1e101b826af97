//! Drops for the log: one line for each receiver, class of topics and reason, at most so often.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::warn;

use super::dropped::DropLine;
use super::topic_ledger::TopicLedger;
use crate::sync::Mutex;
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
        let lines = &mut *self.lines.lock().expect("no code panics while it holds the drops");
        for (key, count) in drops {
            if lines.drops.len() < DROPS_MAX || lines.drops.contains_key(&key) {
                lines.drops.entry(key).or_default().count += count;
            } else {
                lines.others += count;
            }
        }
    }

    /// Writes one line for each receiver, class of topics and reason, with how many there were since the
    /// last.
    pub fn write(&self, topics: &TopicLedger, now: Time) {
        let lines = &mut *self.lines.lock().expect("no code panics while it holds the drops");
        if now < lines.look {
            return;
        }
        lines.look = now.after(LOOK);
        lines.drops.retain(|(receiver, class, loss), drops| {
            if now < drops.quiet_until {
                return true;
            }
            if drops.count > 0 {
                let (receiver, reason) = (receiver.escape_debug(), loss.name());
                // None where no class is configured: the line says nothing of it then.
                let topic_class = topics.name(*class);
                warn!(%receiver, topic_class, reason, count = drops.count, "messages dropped");
                *drops = DropCount { count: 0, quiet_until: now.after(QUIET) };
                return true;
            }
            false
        });
        if lines.others > 0 && lines.drops.len() < DROPS_MAX {
            let count = std::mem::take(&mut lines.others);
            warn!(count, "messages dropped of more receivers than are told apart");
        }
    }
}
