//! A lazy wheel: wakes connections about a second before their deadlines.
//!
//! A Keep Alive deadline moves with every packet. Nothing is done when it moves later: the
//! connection is woken at the old time, looks, and arms itself anew. So a timer costs an idle
//! connection a few bytes, and a busy one nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;

use crate::time::{Clock, Time};

/// Wakers by the time they are wanted, in slots of a quarter of a second.
#[derive(Debug, Default)]
pub struct Wheel {
    inner: Mutex<Inner>,
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    seats: Vec<Seat>,
    free: Vec<u32>,
    slots: BTreeMap<u64, Vec<Ticket>>,
}

#[derive(Debug, Default)]
struct Seat {
    waker: Option<Waker>,
    generation: u32,
}

/// A connection's place in the wheel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ticket {
    seat: u32,
    generation: u32,
}

const SLOT_NS: u64 = 250_000_000;

/// The wheel wakes so long before the deadline; the rest is slept exactly.
pub const LEAD: Duration = Duration::from_millis(1_000);

impl Wheel {
    /// A seat for a connection.
    pub fn sit(&self) -> Ticket {
        let inner = &mut *self.lock();
        if let Some(seat) = inner.free.pop() {
            return Ticket { seat, generation: inner.seats[seat as usize].generation };
        }
        let seat = u32::try_from(inner.seats.len()).expect("fewer connections than 2^32");
        if inner.seats.len() == inner.seats.capacity() {
            // By an eighth, not to twice as many: what nobody sits in is memory too.
            let more = (inner.seats.len() / 8).max(64);
            inner.seats.reserve_exact(more);
        }
        inner.seats.push(Seat::default());
        Ticket { seat, generation: 0 }
    }

    /// The waker to wake, for deadlines and for [`Wheel::wake_all`].
    pub fn set_waker(&self, ticket: Ticket, waker: &Waker) {
        let inner = &mut *self.lock();
        let seat = &mut inner.seats[ticket.seat as usize];
        if seat.generation == ticket.generation {
            match &mut seat.waker {
                Some(old) => old.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
    }

    /// Wakes the seat at `at` or up to a slot later, never earlier: whoever is woken takes it that
    /// the time it asked for is past, and asks anew.
    pub fn arm(&self, ticket: Ticket, at: Time) {
        let slot = at.as_nanos().div_ceil(SLOT_NS);
        let inner = &mut *self.lock();
        let first = inner.slots.first_key_value().map(|(slot, _)| *slot);
        inner.slots.entry(slot).or_default().push(ticket);
        if first.is_none_or(|first| slot < first) {
            self.earlier.notify_one();
        }
    }

    /// The connection is gone; its seat is free.
    pub fn leave(&self, ticket: Ticket) {
        let inner = &mut *self.lock();
        let seat = &mut inner.seats[ticket.seat as usize];
        seat.waker = None;
        seat.generation = seat.generation.wrapping_add(1);
        inner.free.push(ticket.seat);
    }

    /// Connections seated.
    pub fn seated(&self) -> usize {
        let inner = self.lock();
        inner.seats.len() - inner.free.len()
    }

    /// Wakes every connection.
    pub fn wake_all(&self) {
        let wakers: Vec<_> =
            self.lock().seats.iter().filter_map(|seat| seat.waker.clone()).collect();
        for waker in wakers {
            waker.wake();
        }
    }

    /// Turns for ever.
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
            let seat = &inner.seats[ticket.seat as usize];
            if seat.generation == ticket.generation {
                wakers.extend(seat.waker.clone());
            }
        }
        wakers
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no code panics while it holds the wheel")
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
    fn due_seats_are_woken_and_departed_ones_are_not() {
        let wheel = Wheel::default();
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let (stays, leaves) = (wheel.sit(), wheel.sit());
        for ticket in [stays, leaves] {
            wheel.set_waker(ticket, &waker);
            wheel.arm(ticket, Time::from_secs(10));
        }
        wheel.leave(leaves);
        assert!(wheel.due(Time::from_secs(9)).is_empty());
        wheel.due(Time::from_secs(10)).into_iter().for_each(Waker::wake);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(wheel.due(Time::from_secs(11)).is_empty());
        let again = wheel.sit();
        assert_ne!(again, leaves);
    }
}
