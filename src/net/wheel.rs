//! A lazy wheel: wakes connections about a second before their deadlines.
//!
//! A Keep Alive deadline moves with every packet. Nothing is done when it moves later: the
//! connection is woken at the old time, sees its new deadline, and arms the wheel again. So a timer
//! costs an idle connection a few bytes, and a busy one nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;

use crate::fault;
use crate::sync::whole;
use crate::time::{Clock, Time};

/// Wakers by the time they are due, in slots of a quarter of a second.
#[derive(Debug, Default)]
pub struct Wheel {
    inner: Mutex<Slots>,
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Slots {
    entries: Vec<Registered>,
    free: Vec<u32>,
    slots: BTreeMap<u64, Vec<Ticket>>,
}

#[derive(Debug, Default)]
struct Registered {
    waker: Option<Waker>,
    generation: u32,
}

/// A connection's entry in the wheel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ticket {
    entry: u32,
    generation: u32,
}

impl Ticket {
    /// A number that no other entry has.
    pub fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.entry)
    }

    fn of(number: u64) -> Ticket {
        Ticket { entry: number as u32, generation: (number >> 32) as u32 }
    }
}

const SLOT_NS: u64 = 250_000_000;

/// How long before a deadline the wheel wakes; the connection sleeps the rest exactly.
pub const LEAD: Duration = Duration::from_millis(1_000);

impl Wheel {
    /// An entry for a connection.
    pub fn register(&self) -> Ticket {
        let inner = &mut *self.lock();
        if let Some(entry) = inner.free.pop() {
            return Ticket { entry, generation: inner.entries[entry as usize].generation };
        }
        let entry = u32::try_from(inner.entries.len()).expect("fewer connections than 2^32");
        if inner.entries.len() == inner.entries.capacity() {
            // By an eighth, not to twice as many: an unused entry takes memory too.
            let more = (inner.entries.len() / 8).max(64);
            inner.entries.reserve_exact(more);
        }
        inner.entries.push(Registered::default());
        Ticket { entry, generation: 0 }
    }

    /// The waker to wake, for deadlines and for [`Wheel::wake_all`].
    pub fn set_waker(&self, ticket: Ticket, waker: &Waker) {
        let inner = &mut *self.lock();
        let entry = &mut inner.entries[ticket.entry as usize];
        if entry.generation == ticket.generation {
            match &mut entry.waker {
                Some(old) => old.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
    }

    /// Wakes the connection at `at` or up to a slot later, never earlier: a connection that is woken
    /// assumes that the time it asked for is past.
    pub fn arm(&self, ticket: Ticket, at: Time) {
        let slot = at.as_nanos().div_ceil(SLOT_NS);
        let inner = &mut *self.lock();
        let first = inner.slots.first_key_value().map(|(slot, _)| *slot);
        inner.slots.entry(slot).or_default().push(ticket);
        if first.is_none_or(|first| slot < first) {
            self.earlier.notify_one();
        }
    }

    /// The connection is gone; its entry is free.
    pub fn leave(&self, ticket: Ticket) {
        let inner = &mut *self.lock();
        let entry = &mut inner.entries[ticket.entry as usize];
        entry.waker = None;
        entry.generation = entry.generation.wrapping_add(1);
        inner.free.push(ticket.entry);
    }

    /// Connections that have an entry.
    pub fn registered(&self) -> usize {
        let inner = self.lock();
        inner.entries.len() - inner.free.len()
    }

    /// Wakes the connection with this [`Ticket::number`], if it is still there.
    pub fn wake(&self, number: u64) {
        let ticket = Ticket::of(number);
        let waker = {
            let inner = self.lock();
            let entry = inner.entries.get(ticket.entry as usize);
            let entry = entry.filter(|entry| entry.generation == ticket.generation);
            entry.and_then(|entry| entry.waker.clone())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes every connection.
    pub fn wake_all(&self) {
        let wakers: Vec<_> =
            self.lock().entries.iter().filter_map(|entry| entry.waker.clone()).collect();
        for waker in wakers {
            waker.wake();
        }
    }

    /// Wakes connections for ever, at the times of `clock`.
    pub async fn turn(&self, clock: &impl Clock) {
        loop {
            let next = self.lock().slots.first_key_value().map(|(slot, _)| *slot);
            let earlier = self.earlier.notified();
            match next {
                None => earlier.await,
                Some(slot) => {
                    let at = Time::from_nanos(slot.saturating_mul(SLOT_NS));
                    let wait = at.since(clock.now());
                    if !wait.is_zero() {
                        tokio::select! {
                            () = tokio::time::sleep(wait) => {}
                            () = earlier => {}
                        }
                    }
                }
            }
            fault::reach("wheel");
            for waker in self.due(clock.now()) {
                waker.wake();
            }
        }
    }

    fn due(&self, now: Time) -> Vec<Waker> {
        let inner = &mut *self.lock();
        let later = inner.slots.split_off(&(now.as_nanos() / SLOT_NS + 1));
        let due = std::mem::replace(&mut inner.slots, later);
        let mut wakers = Vec::new();
        for ticket in due.into_values().flatten() {
            let entry = &inner.entries[ticket.entry as usize];
            if entry.generation == ticket.generation {
                wakers.extend(entry.waker.clone());
            }
        }
        wakers
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        whole(self.inner.lock())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn due_entries_are_woken_and_departed_ones_are_not() {
        let wheel = Wheel::default();
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let (stays, leaves) = (wheel.register(), wheel.register());
        for ticket in [stays, leaves] {
            wheel.set_waker(ticket, &waker);
            wheel.arm(ticket, Time::from_secs(10));
        }
        wheel.leave(leaves);
        assert!(wheel.due(Time::from_secs(9)).is_empty());
        wheel.due(Time::from_secs(10)).into_iter().for_each(Waker::wake);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(wheel.due(Time::from_secs(11)).is_empty());
        let again = wheel.register();
        assert_ne!(again, leaves);
    }
}
