//! Whether the log answers: said once when it does not, and once when it does again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::sync::{Mutex, whole};
use crate::time::{Clock, Time};

/// Whether the log of the cluster answers.
#[derive(Clone)]
pub(super) struct Health {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<HealthState>>,
}

/// What has been asked of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LogUse {
    /// To append.
    ToAppend,
    /// To tell what it has.
    ToRead,
}

#[derive(Debug, Default)]
struct HealthState {
    /// For each [`LogUse`], the first failure since the last success.
    failing: [Option<Time>; 2],
    /// It was said that the log is away.
    is_said: bool,
    /// When another way to it was tried.
    moved: Option<Time>,
    /// Frames that wait because it has no room.
    refused: usize,
}

/// Failures of so long are nothing to speak of: another server takes over.
const UNSAID: Duration = Duration::from_secs(2);
/// After failures of so long another way to the log is tried, and again after as long.
const MOVES_AFTER: Duration = Duration::from_secs(5);

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.fmt(f)
    }
}

impl Health {
    /// It answers until it is known that it does not.
    pub fn new(clock: Arc<dyn Clock>) -> Health {
        Health { clock, state: Arc::default() }
    }

    /// The present moment.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// The log has done what was asked.
    pub fn note_success(&self, asked: LogUse) {
        let is_back = {
            let mut state = whole(self.state.lock());
            state.failing[asked as usize] = None;
            let is_well = state.failing == [None, None];
            is_well && std::mem::take(&mut state.is_said)
        };
        if is_back {
            info!("the cluster's log is back");
        }
    }

    /// The log has no room for a frame: it waits until [`Health::note_taken`].
    pub fn note_refused(&self) {
        let refused = {
            let refused = &mut whole(self.state.lock()).refused;
            *refused += 1;
            *refused
        };
        if refused == 1 {
            warn!(
                "the cluster's log has no room until all nodes have applied more of it: what is published above QoS 0 \
                 is refused; a node that does not come back is to be forgotten (sluice cluster forget)"
            );
        }
    }

    /// A frame that the log had no room for waits no longer.
    pub fn note_taken(&self) {
        let refused = {
            let refused = &mut whole(self.state.lock()).refused;
            *refused = refused.saturating_sub(1);
            *refused
        };
        if refused == 0 {
            info!("the cluster's log has room again");
        }
    }

    /// Whether the log has no room.
    pub fn is_full(&self) -> bool {
        whole(self.state.lock()).refused > 0
    }

    /// The log has not done what was asked.
    pub fn note_failure(&self, asked: LogUse, error: &str) {
        let now = self.clock.now();
        let said = {
            let mut state = whole(self.state.lock());
            let since = *state.failing[asked as usize].get_or_insert(now);
            let is_due = now.since(since) >= UNSAID && !state.is_said;
            state.is_said |= is_due;
            is_due.then_some(since)
        };
        if let Some(since) = said {
            let since = since.to_rfc3339();
            warn!(
                error,
                "the cluster's log is away since {since}, what is published above QoS 0 waits"
            );
        }
    }

    /// Since when it has not done what was asked; `None`: it does.
    pub fn away_since(&self) -> Option<Time> {
        let since = whole(self.state.lock()).failing.into_iter().flatten().min();
        since.filter(|since| self.clock.now().since(*since) >= UNSAID)
    }

    /// Whether another way to it is to be tried now.
    pub fn wants_move(&self) -> bool {
        let now = self.clock.now();
        let state = &mut *whole(self.state.lock());
        let Some(since) = state.failing.into_iter().flatten().min() else { return false };
        let wants = now.since(state.moved.map_or(since, |moved| moved.max(since))) >= MOVES_AFTER;
        if wants {
            state.moved = Some(now);
        }
        wants
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ManualClock;

    #[test]
    fn a_log_is_away_after_failures_of_two_seconds_until_it_answers() {
        let clock = Arc::new(ManualClock::at(Time::from_secs(10)));
        let health = Health::new(clock.clone());
        health.note_failure(LogUse::ToAppend, "no");
        assert_eq!(health.away_since(), None);
        clock.advance(Duration::from_secs(3));
        health.note_failure(LogUse::ToAppend, "no");
        assert_eq!(health.away_since(), Some(Time::from_secs(10)));
        health.note_success(LogUse::ToRead);
        assert_eq!(health.away_since(), Some(Time::from_secs(10)));
        health.note_success(LogUse::ToAppend);
        assert_eq!(health.away_since(), None);
        health.note_failure(LogUse::ToAppend, "no");
        assert_eq!(health.away_since(), None);
    }

    #[test]
    fn another_way_is_tried_every_five_seconds() {
        let clock = Arc::new(ManualClock::at(Time::from_secs(10)));
        let health = Health::new(clock.clone());
        assert!(!health.wants_move());
        health.note_failure(LogUse::ToRead, "no");
        let mut moves = Vec::new();
        for second in 1..=12 {
            clock.advance(Duration::from_secs(1));
            moves.extend(health.wants_move().then_some(second));
        }
        assert_eq!(moves, [5, 10]);
    }
}
