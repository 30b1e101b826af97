//! What leaves for one client through doors that it shares with others.
//!
//! It asks before anything is taken for it, and says afterwards what has left. In between the others
//! wait, so that is one turn at most; and whoever has nothing to send, or could not take it, stands in
//! no line.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::broker::pools::{Door, Place};
use crate::shape::{Allowance, Pass};
use crate::time::Time;

/// A client's places at the doors, in the order in which it passes them.
#[derive(Debug)]
pub(super) struct Egress {
    places: Vec<Place>,
    /// What may still leave, once every door has let it pass.
    passed: Option<Allowance>,
    /// Messages and bytes that have left since.
    poured: (usize, usize),
    /// When to ask again, if nobody wakes it before.
    pub until: Option<Time>,
    /// How long it has waited for its turn, but for the wait it is in.
    waited: Duration,
    /// It waits since then.
    since: Option<Time>,
}

impl Egress {
    /// None where there are no doors. `waited`: so long it has before.
    pub fn new(doors: impl Iterator<Item = Arc<Door>>, waited: Duration) -> Option<Egress> {
        let places: Vec<_> = doors.map(Place::new).collect();
        let some = !places.is_empty();
        let (passed, poured) = (None, (0, 0));
        some.then_some(Egress { places, passed, poured, until: None, waited, since: None })
    }

    /// Asks for its turn, unless it has some of it left. `wakers`: whose turn it is instead.
    pub fn enter(&mut self, waker: &Waker, now: Time, wakers: &mut Vec<Waker>) {
        if self.passed.is_some_and(|allowance| !allowance.is_none()) {
            return;
        }
        if self.passed.take().is_some() {
            let poured = std::mem::take(&mut self.poured);
            wakers.extend(self.places.iter().filter_map(|place| place.pour(poured, now)));
        }
        self.until = None;
        let mut least = Allowance::FREE;
        let mut places = self.places.iter();
        for place in places.by_ref() {
            match place.ask(waker, now) {
                Pass::Go(allowance) => least = least.least(allowance),
                Pass::Wait(until) => {
                    // Nobody waits behind it for what it cannot use; but before the door it is at it
                    // keeps its place in front of those before.
                    self.until = until;
                    self.since = self.since.or(Some(now));
                    wakers.extend(places.filter_map(Place::leave));
                    return;
                }
            }
        }
        self.passed = Some(least);
        self.end_wait(now);
    }

    /// There is nothing more to send, or nothing more can be taken: the others go on.
    pub fn exit(&mut self, now: Time, wakers: &mut Vec<Waker>) {
        self.until = None;
        self.end_wait(now);
        let poured = std::mem::take(&mut self.poured);
        let passed = self.passed.take().is_some();
        for place in &self.places {
            wakers.extend(if passed { place.pour_last(poured, now) } else { place.leave() });
        }
    }

    /// A packet of `bytes` has left.
    pub fn pour(&mut self, bytes: usize) {
        self.poured.0 += 1;
        self.poured.1 += bytes;
        if let Some(allowance) = &mut self.passed {
            allowance.messages = allowance.messages.saturating_sub(1);
            allowance.bytes = allowance.bytes.saturating_sub(bytes);
        }
    }

    /// What may leave now.
    pub fn allowance(&self) -> Allowance {
        self.passed.unwrap_or(Allowance::NONE)
    }

    /// It had its turn, and has used it up.
    pub fn is_spent(&self) -> bool {
        self.passed.is_some_and(|allowance| allowance.is_none())
    }

    /// How long, in all, something was ready to leave and waited for its turn.
    pub fn waited(&self, now: Time) -> Duration {
        self.waited + self.since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Whether its places are at these doors.
    pub fn is_at(&self, doors: &[Arc<Door>]) -> bool {
        let places = self.places.iter().map(Place::door);
        places.len() == doors.len() && places.zip(doors).all(|(own, door)| Arc::ptr_eq(own, door))
    }

    fn end_wait(&mut self, now: Time) {
        self.waited = self.waited(now);
        self.since = None;
    }
}
