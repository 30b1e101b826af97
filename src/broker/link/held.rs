//! A claim that something is in the way of: what is kept until it is made.

use std::time::Duration;

use crate::broker::ports::Accepted;
use crate::time::Time;

/// A claim that is not made yet: what is known of its client.
pub(super) struct HeldClaim {
    accepted: Accepted,
    wait: Option<Wait>,
}

/// Since when it waits.
#[derive(Clone, Copy)]
struct Wait {
    number: u64,
    since: Time,
    /// Until the next try.
    step: Duration,
    braked: bool,
}

/// Until the first try after the one in which something was in the way; each further one is twice as long.
const STEP: Duration = Duration::from_millis(2);
/// The longest time between two tries.
const STEP_MAX: Duration = Duration::from_millis(250);

impl HeldClaim {
    /// A claim that was not tried before.
    pub fn new(accepted: Accepted) -> HeldClaim {
        HeldClaim { accepted, wait: None }
    }

    /// Its client's user.
    pub fn user_name(&self) -> Option<&str> {
        self.accepted.user_name.as_deref()
    }

    /// It was tried before.
    pub fn waits(&self) -> bool {
        self.wait.is_some()
    }

    /// The number of the claim, once it was tried.
    pub fn number(&self) -> Option<u64> {
        self.wait.map(|wait| wait.number)
    }

    /// When it was first tried: `now`, if it was not before.
    pub fn since(&self, now: Time) -> Time {
        self.wait.map_or(now, |wait| wait.since)
    }

    /// Something is in the way; returns when it is tried again.
    pub fn wait(&mut self, number: u64, now: Time) -> Time {
        let begin = || Wait { number, since: now, step: STEP, braked: false };
        let wait = self.wait.get_or_insert_with(begin);
        let next = now.after(wait.step);
        wait.step = (wait.step * 2).min(STEP_MAX);
        next
    }

    /// It waits for the brake on takeovers; whether that was not so before.
    pub fn is_braked_first(&mut self) -> bool {
        self.wait.as_mut().is_some_and(|wait| !std::mem::replace(&mut wait.braked, true))
    }

    /// What is kept.
    pub fn take(&mut self) -> Accepted {
        std::mem::take(&mut self.accepted)
    }
}
