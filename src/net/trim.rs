//! Gives memory back to the system after a burst.
//!
//! The allocator keeps what was freed among what is still in use (see `memory::give_back`). It is asked to return it when
//! the broker holds much less than it did.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::sampler::Memory;
use super::serve::ServeContext;
use crate::memory::give_back;
use crate::time::Clock;

/// How often the broker looks how much it holds.
const EVERY: Duration = Duration::from_secs(2);
/// It has to hold so much less than it did.
const FALL: u64 = 32 * 1024 * 1024;
/// After so many looks without a change, less is enough.
const STILL: u32 = 10;
/// The process has to have so much more or less then than after memory was last returned, or the broker to
/// hold so much less.
const CHANGE: u64 = 4 * 1024 * 1024;
/// The least time between two returns, as a number of looks: they stop each thread that allocates for a
/// moment.
const REST: u32 = 5;

/// When to ask the allocator: told how much is held, and how much the process has, at each look.
#[derive(Debug, Default)]
struct Falls {
    /// The most that was held since memory was last returned.
    most: u64,
    /// What was held and what the process had at the last look.
    before: (u64, u64),
    /// The least that the process has had since memory was last returned.
    least: u64,
    /// What it had right after that.
    after: u64,
    rest: u32,
    /// Looks in a row without a change.
    still: u32,
}

impl Falls {
    /// Whether it is time: much less is held than before, or the process has become much larger since
    /// memory was last returned (what the store has freed is not known here); and neither moves much. Once
    /// in each time of rest, when nothing changes for some looks, a small difference is enough.
    fn look(&mut self, held: u64, resident: u64) -> bool {
        self.most = self.most.max(held);
        self.least = self.least.min(resident);
        let before = std::mem::replace(&mut self.before, (held, resident));
        let moves = held + FALL / 4 < before.0 || before.1 + FALL / 4 < resident;
        self.rest = self.rest.saturating_sub(1);
        let fell = held + FALL <= self.most;
        let grew = self.least + self.least / 4 + FALL <= resident;
        let changes = held.abs_diff(before.0).max(resident.abs_diff(before.1)) > CHANGE / 8;
        self.still = if changes { 0 } else { self.still.saturating_add(1) };
        let change = resident.abs_diff(self.after).max(self.most - held);
        let rests = self.still == STILL && change >= CHANGE;
        let due = (fell || grew) && !moves && self.rest == 0 || rests;
        if due {
            self.most = held;
            self.rest = REST;
        }
        due
    }

    /// So much is left to the process.
    fn returned(&mut self, resident: u64) {
        (self.least, self.after) = (resident, resident);
        self.before.1 = resident;
    }
}

/// Looks for ever.
pub async fn trim<C: Clock>(shared: Arc<ServeContext<C>>) {
    let memory = Memory::open();
    let resident = || memory.as_ref().and_then(Memory::resident).unwrap_or(0);
    // What the start has freed is known nowhere: so the first look finds that the process grew.
    let mut falls = Falls::default();
    loop {
        tokio::time::sleep(EVERY).await;
        let before = resident();
        if falls.look(shared.broker.held_bytes(), before) {
            // It takes a while where there is much.
            let _ = tokio::task::spawn_blocking(give_back).await;
            let after = resident();
            falls.returned(after);
            debug!(before, after, "memory is given back to the system");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn memory_is_returned_once_after_each_burst_and_not_while_it_falls() {
        let mut falls = Falls::default();
        let held = [0, 100, 300, 250, 200, 150, 150, 150, 145, 140].map(|mib| mib * MIB);
        let looks = held.map(|held| falls.look(held, 0));
        let due = looks.iter().position(|due| *due);
        assert_eq!((due, looks.iter().filter(|due| **due).count()), (Some(6), 1));
        // Little by little.
        let mut due = 0;
        for mib in (0..140).rev() {
            due += u32::from(falls.look(mib * MIB, 0));
        }
        assert!((3..=4).contains(&due), "{due}");
        assert!((0..1000).all(|n| !falls.look(n % 31 * MIB, 0)));
    }

    #[test]
    fn what_a_small_burst_leaves_is_returned_once_when_nothing_changes() {
        let mut falls = Falls { least: 20 * MIB, ..Falls::default() };
        let resident = [20, 50, 45, 45].into_iter().chain([44; 40]).map(|mib| mib * MIB);
        let looks: Vec<bool> = resident.map(|resident| falls.look(0, resident)).collect();
        assert_eq!(looks.iter().position(|due| *due), Some(3 + STILL as usize + 1));
        assert_eq!(looks.iter().filter(|due| **due).count(), 1);
    }

    #[test]
    fn what_was_returned_in_a_burst_is_returned_again_after_it() {
        let mut falls = Falls { least: 20 * MIB, ..Falls::default() };
        for (held, resident) in [(0, 20), (31, 70)] {
            assert!(!falls.look(held * MIB, resident * MIB));
        }
        assert!(falls.look(31 * MIB, 70 * MIB));
        falls.returned(46 * MIB);
        // The process keeps what the broker has freed since.
        let looks: Vec<bool> = (0..60).map(|_| falls.look(0, 46 * MIB)).collect();
        assert_eq!(looks.iter().position(|due| *due), Some(STILL as usize));
        assert_eq!(looks.iter().filter(|due| **due).count(), 1);
    }

    #[test]
    fn memory_is_returned_when_the_process_has_grown_by_a_part_and_grows_no_more() {
        let mut falls = Falls { least: 20 * MIB, ..Falls::default() };
        let mut looks = Vec::new();
        for resident in [20, 100, 200, 200, 200] {
            looks.push(falls.look(0, resident * MIB));
        }
        assert_eq!(looks, [false, false, false, true, false]);
        falls.returned(150 * MIB);
        // A quarter of it and 32 MiB more.
        (0..9).for_each(|_| assert!(!falls.look(0, 218 * MIB)));
        assert!(falls.look(0, 220 * MIB));
    }
}
