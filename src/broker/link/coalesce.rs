//! Waiting a moment for more, so that one write takes it all: nothing while there is little to send.

use std::time::Duration;

use crate::time::Time;

/// When a client was last given something, and until when it is given nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Coalesce {
    last: Time,
    until: Option<Time>,
}

impl Coalesce {
    /// Whether what waits for the client waits a little longer: if it was given something less than
    /// `most` ago. What comes after a longer silence is given at once.
    pub fn coalesces(&mut self, most: Duration, now: Time) -> bool {
        let until = self.last.after(most);
        self.until = (until > now).then_some(until);
        self.until.is_some()
    }

    /// The client was given something.
    pub fn note_given(&mut self, now: Time) {
        self.last = now;
    }

    /// When what waits has waited long enough, if anything waits.
    pub fn until(&self) -> Option<Time> {
        self.until
    }

    /// Nothing waits any more.
    pub fn stop(&mut self) {
        self.until = None;
    }
}
