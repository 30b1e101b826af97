//! What the rounds have come by.

use sluicemq::message::Loss;

/// What a round has come by: a simulation that never comes by a limit tests nothing there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached {
    pub accepted: u64,
    pub refused: u64,
    pub repeats: u64,
    pub lost_with_connection: u64,
    pub ledger: [u64; Loss::ALL.len()],
    pub full_store: u64,
    pub slow_for_a_while: u64,
    pub full_for_a_while: u64,
    pub failed_store: u64,
    pub full_window: u64,
    pub taken_over: u64,
    pub resumed: u64,
    pub paused: u64,
    pub crashes: u64,
    pub rate_pauses: u64,
    pub rate_refused: u64,
    pub rate_dropped: u64,
    pub rate_disconnects: u64,
    pub taken_over_messages: u64,
    pub shed: u64,
    pub held_up: u64,
    pub answered_ahead: u64,
    pub gone_while_held: u64,
    /// Copies that were lost while only the store knew their topics, and found their classes.
    pub read_late: u64,
    /// Entries of each class of topics.
    pub classes: [u64; 3],
    pub reloads: u64,
    /// PUBLISHes and Subscriptions for which the client had no right.
    pub denied: u64,
    pub letters: u64,
    pub letters_lost: u64,
    pub letters_given_up: u64,
    /// Messages of the named queue that were tried again, given to others, and completed late.
    pub retried: u64,
    pub given_away: u64,
    pub completed_late: u64,
    /// Repeats that were found by their keys.
    pub duplicates: u64,
    /// Delayed messages, and those of the log, that left for clients.
    pub delayed: u64,
    pub read: u64,
}

impl Reached {
    pub fn add(&mut self, other: &Reached) {
        for (sum, n) in self.numbers().into_iter().zip({ *other }.numbers()) {
            *sum += *n;
        }
    }

    /// Everything was come by: except what no round can.
    pub fn check(&mut self) {
        // The memory limit refuses before anything is a copy; this store leaves every message in
        // memory.
        let impossible = [Loss::MemoryFull, Loss::Unreadable];
        let impossible = impossible.map(|loss| loss as usize);
        let ledger = self.ledger;
        for at in (0..ledger.len()).filter(|at| !impossible.contains(at)) {
            assert!(ledger[at] > 0, "no copy was ever lost as {:?}", Loss::ALL[at]);
        }
        for (at, number) in self.numbers().into_iter().enumerate().skip(ledger.len()) {
            assert!(*number > 0, "never reached: number {at} of Reached");
        }
    }

    fn numbers(&mut self) -> Vec<&mut u64> {
        let mut all: Vec<_> = self.ledger.iter_mut().collect();
        all.extend([
            &mut self.accepted,
            &mut self.refused,
            &mut self.repeats,
            &mut self.lost_with_connection,
            &mut self.full_store,
            &mut self.slow_for_a_while,
            &mut self.full_for_a_while,
            &mut self.failed_store,
            &mut self.full_window,
            &mut self.taken_over,
            &mut self.resumed,
            &mut self.paused,
            &mut self.crashes,
            &mut self.rate_pauses,
            &mut self.rate_refused,
            &mut self.rate_dropped,
            &mut self.rate_disconnects,
            &mut self.taken_over_messages,
            &mut self.shed,
            &mut self.held_up,
            &mut self.answered_ahead,
            &mut self.gone_while_held,
            &mut self.read_late,
            &mut self.reloads,
            &mut self.denied,
            &mut self.letters,
            &mut self.letters_lost,
            &mut self.letters_given_up,
            &mut self.retried,
            &mut self.given_away,
            &mut self.completed_late,
            &mut self.duplicates,
            &mut self.delayed,
            &mut self.read,
        ]);
        all.extend(&mut self.classes);
        all
    }
}
