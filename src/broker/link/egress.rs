//! Egress of one client under limits that it shares with others.
//!
//! A client asks before anything is taken for it, and reports afterwards what has left. In between the
//! other clients wait, so that is one turn at most; a client that has nothing to send, or could not
//! take it, waits in no queue.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::broker::pools::{EgressPool, EgressSlot};
use crate::shape::{Allowance, Clearance};
use crate::time::Time;

/// Since when copies for a client wait at buckets, its own or those that it shares.
#[derive(Debug, Default)]
pub(super) struct Hold(Option<Time>);

impl Hold {
    /// Buckets let nothing leave now; `waits`: there is something that could.
    pub fn note(&mut self, waits: bool, now: Time) {
        self.0 = if waits { self.0.or(Some(now)) } else { None };
    }

    /// Buckets let something leave now: how long it waited, if it did.
    pub fn end(&mut self, now: Time) -> Option<Duration> {
        self.0.take().map(|since| now.since(since))
    }
}

/// A client's slots in the egress pools, in the order in which it passes them.
#[derive(Debug)]
pub(super) struct Egress {
    slots: Vec<EgressSlot>,
    /// What may still leave, once every pool has let it pass.
    passed: Option<Allowance>,
    /// Messages and bytes that have left since.
    poured: (usize, usize),
    /// When to ask again, unless it is woken before.
    pub until: Option<Time>,
    /// How long it has waited for its turn, but for the wait it is in.
    waited: Duration,
    /// It waits since then.
    since: Option<Time>,
}

impl Egress {
    /// `None` where there are no pools. `waited`: how long the client has waited before.
    pub fn new(pools: impl Iterator<Item = Arc<EgressPool>>, waited: Duration) -> Option<Egress> {
        let slots: Vec<_> = pools.map(EgressSlot::new).collect();
        let some = !slots.is_empty();
        let (passed, poured) = (None, (0, 0));
        some.then_some(Egress { slots, passed, poured, until: None, waited, since: None })
    }

    /// Asks for its turn, unless some of it is left. `wakers` gets the clients to wake instead.
    pub fn enter(&mut self, waker: &Waker, now: Time, wakers: &mut Vec<Waker>) {
        if self.passed.is_some_and(|allowance| !allowance.is_none()) {
            return;
        }
        if self.passed.take().is_some() {
            let poured = std::mem::take(&mut self.poured);
            wakers.extend(self.slots.iter().filter_map(|slot| slot.pour(poured, now)));
        }
        self.until = None;
        let mut least = Allowance::FREE;
        let mut slots = self.slots.iter();
        for slot in slots.by_ref() {
            match slot.ask(waker, now) {
                Clearance::Go(allowance) => least = least.least(allowance),
                Clearance::Wait(until) => {
                    // It leaves the queues of the later pools, since it cannot use its turn there; in
                    // this pool and those before it waits on.
                    self.until = until;
                    self.since = self.since.or(Some(now));
                    wakers.extend(slots.filter_map(EgressSlot::leave));
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
        for slot in &self.slots {
            wakers.extend(if passed { slot.pour_last(poured, now) } else { slot.leave() });
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

    /// Whether its slots are in these pools.
    pub fn is_of(&self, pools: &[Arc<EgressPool>]) -> bool {
        let slots = self.slots.iter().map(EgressSlot::pool);
        slots.len() == pools.len() && slots.zip(pools).all(|(own, pool)| Arc::ptr_eq(own, pool))
    }

    fn end_wait(&mut self, now: Time) {
        self.waited = self.waited(now);
        self.since = None;
    }
}
