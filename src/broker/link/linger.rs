//! Waiting a moment for more, so that one write takes it all: nothing while there is little to send.

use std::time::Duration;

use super::live::Live;
use crate::broker::turn::Turn;
use crate::time::Time;

/// When a client was last given something, and until when it is given nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Linger {
    last: Time,
    pub until: Option<Time>,
}

impl Live {
    /// Whether what waits for the client waits a little longer: if it was given something less than
    /// `most` ago. Whoever has been given nothing for as long is given the next at once.
    pub fn lingers(&mut self, most: Duration, now: Time) -> bool {
        if most.is_zero() {
            return false;
        }
        let linger = &mut self.ties.extras.get_or_insert_default().linger;
        let until = linger.last.after(most);
        linger.until = (until > now).then_some(until);
        linger.until.is_some()
    }

    /// The client was given something. Where its window is full, more of it than the next write waits
    /// already.
    pub fn gave(&mut self, most: Duration, turn: &Turn<'_>) {
        if most.is_zero() {
            return;
        }
        let room = self.session.room(&turn.context(), turn.pressure.level, 1);
        if room.window > 0 {
            self.ties.extras.get_or_insert_default().linger.last = turn.now;
        }
    }

    /// When what waits has waited long enough.
    pub fn lingers_until(&self) -> Option<Time> {
        self.ties.extras.as_ref()?.linger.until
    }
}
