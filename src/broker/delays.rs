//! Delayed messages: when each is due. What they say is in the store and is read back shortly before, or in
//! memory where nothing is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::ports::Fetch;
use crate::message::{DelayKey, DelayedMessage};
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;

/// All delayed messages of a broker.
#[derive(Debug)]
pub(super) struct Delays {
    /// The longest span, in nanoseconds.
    span_max: AtomicU64,
    last: AtomicU64,
    /// What they say is in the store.
    stored: bool,
    line: Mutex<DelayLine>,
}

#[derive(Debug, Default)]
struct DelayLine {
    places: BTreeSet<DelayKey>,
    /// Messages by their places: all where nothing is stored, or those that were read ahead.
    at_hand: BTreeMap<DelayKey, DelayedMessage>,
    asked: Option<Fetch<DelayKey, DelayedMessage>>,
    /// The store could not read: it is not asked before this.
    not_before: Time,
}

/// So long before they are due messages are read back.
const AHEAD: Duration = Duration::from_secs(1);
/// It is looked so soon whether the store has read what it was asked for.
const SOON: Duration = Duration::from_millis(1);
/// A store that could not read is asked again after this.
const AGAIN: Duration = Duration::from_secs(10);
/// Messages read back in one go, and those that are at hand before more are.
const FETCH_MAX: usize = 256;
const AT_HAND_MAX: usize = 2 * FETCH_MAX;
/// Bytes read back in one go, about: as many messages as have so many on average.
const FETCH_BYTES: u64 = 1024 * 1024;

impl Delays {
    /// There are none. `stored`: there is a store that keeps them.
    pub fn new(span_max: Duration, stored: bool) -> Delays {
        let delays = Delays {
            span_max: AtomicU64::new(0),
            last: AtomicU64::new(0),
            stored,
            line: Mutex::default(),
        };
        delays.set_span_max(span_max);
        delays
    }

    /// The longest span of what comes from now on.
    pub fn set_span_max(&self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.span_max.store(nanos, Ordering::Relaxed);
    }

    /// The longest span.
    pub fn span_max(&self) -> Duration {
        Duration::from_nanos(self.span_max.load(Ordering::Relaxed))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().places.len()
    }

    /// A place for one more that is due then: behind all that came before it.
    pub fn next(&self, due: Time) -> DelayKey {
        DelayKey::new(due, self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// These wait from now on: the store has been handed them.
    pub fn add(&self, places: impl IntoIterator<Item = DelayKey>) {
        self.lock().places.extend(places);
    }

    /// This one waits from now on, in memory.
    pub fn add_whole(&self, place: DelayKey, message: DelayedMessage) {
        let line = &mut *self.lock();
        line.places.insert(place);
        line.at_hand.insert(place, message);
    }

    /// One that the store remembers.
    pub fn restore(&self, place: DelayKey) {
        self.last.fetch_max(place.number(), Ordering::Relaxed);
        self.lock().places.insert(place);
    }

    /// Takes out the first, if it is due and at hand.
    pub fn take_due(&self, now: Time) -> Option<(DelayKey, DelayedMessage)> {
        let line = &mut *self.lock();
        let place = line.places.first().copied().filter(|place| place.due() <= now)?;
        let message = line.at_hand.remove(&place)?;
        line.places.remove(&place);
        Some((place, message))
    }

    /// Takes one out, wherever it stands; `false` if it is not there.
    pub fn take_out(&self, place: DelayKey) -> bool {
        let line = &mut *self.lock();
        line.at_hand.remove(&place);
        line.places.remove(&place)
    }

    /// Up to `max` places behind `after`, in order, each with its message where nothing is stored.
    pub fn page(
        &self,
        after: Option<DelayKey>,
        max: usize,
    ) -> Vec<(DelayKey, Option<DelayedMessage>)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let line = self.lock();
        let from = after.map_or(Unbounded, Excluded);
        let at_hand =
            |place: &DelayKey| (*place, line.at_hand.get(place).filter(|_| !self.stored).cloned());
        line.places.range((from, Unbounded)).take(max).map(at_hand).collect()
    }

    /// Takes in what the store has read. Returns the places of what it could not read: they are taken out.
    pub fn take_in(&self, now: Time) -> Vec<DelayKey> {
        let line = &mut *self.lock();
        let Some(fetch) = &line.asked else { return Vec::new() };
        if fetch.has_failed() {
            line.asked = None;
            line.not_before = now.after(AGAIN);
            return Vec::new();
        }
        let Some(found) = fetch.take() else { return Vec::new() };
        line.asked = None;
        let mut unread = Vec::new();
        for (place, message) in found {
            match message {
                // It may have been cancelled meanwhile.
                Some(message) if line.places.contains(&place) => {
                    line.at_hand.insert(place, message);
                }
                None if line.places.remove(&place) => unread.push(place),
                _ => {}
            }
        }
        // Those that came later and are due earlier have their turn first.
        while line.at_hand.len() > 2 * AT_HAND_MAX {
            line.at_hand.pop_last();
        }
        unread
    }

    /// The places of what is to be read back now. `average`: bytes of one of them. [`Delays::asked`] follows,
    /// if there are any.
    pub fn wanted(&self, now: Time, average: u64) -> Vec<DelayKey> {
        let line = self.lock();
        if !self.stored || line.asked.is_some() || line.not_before > now {
            return Vec::new();
        }
        let max = usize::try_from(FETCH_BYTES / average.max(1)).unwrap_or(FETCH_MAX);
        let soon = now.after(AHEAD);
        let first = line.places.iter().take_while(|place| place.due() <= soon).take(AT_HAND_MAX);
        let wanted = first.filter(|place| !line.at_hand.contains_key(place));
        wanted.take(max.clamp(1, FETCH_MAX)).copied().collect()
    }

    /// The store was asked for what was [`Delays::wanted`].
    pub fn asked(&self, fetch: Fetch<DelayKey, DelayedMessage>) {
        self.lock().asked = Some(fetch);
    }

    /// When it is next to be looked after.
    pub fn deadline(&self, now: Time) -> Option<Time> {
        let line = self.lock();
        let first = line.places.first()?;
        if !self.stored || line.at_hand.contains_key(first) {
            return Some(first.due());
        }
        let next = if line.asked.is_some() { now.after(SOON) } else { first.due().before(AHEAD) };
        Some(next.max(line.not_before))
    }

    fn lock(&self) -> MutexGuard<'_, DelayLine> {
        whole(self.line.lock())
    }
}
