//! Waiting a moment for more, so that one write takes it all: nothing while there is little to send.

use std::time::Duration;

use super::live::Live;
use crate::broker::turn::Turn;
use crate::time::Time;

/// When a client was last given something, and until when it is given nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Coalesce {
    last: Time,
    pub until: Option<Time>,
}

impl Live {
    /// Whether what waits for the client waits a little longer: if it was given something less than
    /// `most` ago. Whoever has been given nothing for as long is given the next at once.
    pub fn coalesces(&mut self, most: Duration, now: Time) -> bool {
        if most.is_zero() {
            return false;
        }
        let coalesce = &mut self.attachment.flow.get_or_insert_default().coalesce;
        let until = coalesce.last.after(most);
        coalesce.until = (until > now).then_some(until);
        coalesce.until.is_some()
    }

    /// The client was given something. Where its window is full, more of it than the next write waits
    /// already.
    pub fn note_given(&mut self, most: Duration, turn: &Turn<'_>) {
        if most.is_zero() {
            return;
        }
        let room = self.session.room(&turn.context(), turn.pressure.level(), 1);
        if room.window > 0 {
            self.attachment.flow.get_or_insert_default().coalesce.last = turn.now;
        }
    }

    /// When what waits has waited long enough.
    pub fn coalesces_until(&self) -> Option<Time> {
        self.attachment.flow.as_ref()?.coalesce.until
    }
}
