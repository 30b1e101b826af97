//! Bytes that connections hold and that belong to no queue: packets that have begun and not ended, filters
//! that are still to be served, what was written to a client and not taken yet, and long Topic Aliases.
//!
//! All connections together have one maximum, `totals.connection_bytes_max`. While half of it is free,
//! packets come in as they come. Then a packet comes in once there is room for the whole of it; and those
//! that have stood still for longest are closed to make room. A connection that moves on is closed only if
//! none stands still; but one that takes more before its CONNECT, or with Topic Aliases, while all hold an
//! eighth more than they may, is closed at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::time::Time;

/// What all connections of a broker hold.
#[derive(Debug)]
pub struct Buffers {
    max: u64,
    held: AtomicU64,
    /// Of `held`, what connections hold that are told to close.
    leaving: AtomicU64,
    shards: [Mutex<HoldingShard>; SHARDS],
}

/// What one connection holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Holding {
    /// Bytes, in steps of 4 KiB; none up to [`Holding::FREE`].
    bytes: u64,
    /// It would move on if there were room.
    waits: bool,
    /// Since when it has stood still, about. One that moves slowly stands still in part.
    since: Time,
}

#[derive(Debug, Default)]
struct HoldingShard {
    holdings: BTreeMap<u64, Holding>,
    /// Those of `holdings` that may be told to close, the longest still in front.
    still: BTreeSet<(StillPlace, u64)>,
    /// Those that are told to close.
    leaving: BTreeSet<u64>,
}

/// The order in which connections are told to close: those that wait come last.
type StillPlace = (bool, Time);

const SHARDS: usize = 16;
/// Bytes are counted in such steps, so that a buffer that grows costs little.
const STEP: u64 = 4096;
/// A connection that has moved within this time is not told to close.
const PATIENCE: Duration = Duration::from_secs(2);
/// Nor is one that has waited for room for less than this.
const WAIT_MAX: Duration = Duration::from_secs(30);

impl Holding {
    /// Up to so many bytes of a connection are not counted.
    pub const FREE: usize = 1024;
    /// Nothing that counts.
    pub const NOTHING: Holding = Holding { bytes: 0, waits: false, since: Time::START };

    /// So many bytes, which have stood still since `since`.
    pub fn new(bytes: usize, since: Time) -> Holding {
        if bytes <= Holding::FREE {
            return Holding::NOTHING;
        }
        Holding { bytes: (bytes as u64).next_multiple_of(STEP), waits: false, since }
    }

    /// The same, of a connection that would move on if there were room.
    #[must_use]
    pub fn waiting(self, waits: bool) -> Holding {
        Holding { waits: waits && self != Holding::NOTHING, ..self }
    }

    /// Whether it is more than `before`.
    pub fn is_above(&self, before: &Holding) -> bool {
        self.bytes > before.bytes
    }

    fn place(&self) -> StillPlace {
        (self.waits, self.since)
    }
}

impl Buffers {
    /// With room for `max` bytes.
    pub fn new(max: u64) -> Buffers {
        Buffers {
            max,
            held: AtomicU64::new(0),
            leaving: AtomicU64::new(0),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Connection `number` holds this now, whatever it held before.
    pub fn set(&self, number: u64, holding: Holding) {
        let shard = &mut *self.shard(number);
        let before = if holding == Holding::NOTHING {
            shard.holdings.remove(&number)
        } else {
            shard.holdings.insert(number, holding)
        };
        let before = before.unwrap_or_default();
        let leaves = shard.leaving.contains(&number);
        if !leaves {
            shard.still.remove(&(before.place(), number));
        }
        self.held.fetch_add(holding.bytes, Ordering::Relaxed);
        self.held.fetch_sub(before.bytes, Ordering::Relaxed);
        if leaves {
            self.leaving.fetch_add(holding.bytes, Ordering::Relaxed);
            self.leaving.fetch_sub(before.bytes, Ordering::Relaxed);
        } else if holding != Holding::NOTHING {
            shard.still.insert((holding.place(), number));
        }
        if holding == Holding::NOTHING {
            shard.leaving.remove(&number);
        }
    }

    /// Whether half of the room is free: nothing needs to ask.
    pub fn is_easy(&self) -> bool {
        self.bytes() <= self.max / 2
    }

    /// Whether all hold more than they may.
    pub fn is_full(&self) -> bool {
        self.staying() > self.max
    }

    /// Connection `number` is to hold so much, if there is room. Returns whether there was.
    pub fn ask(&self, number: u64, holding: Holding) -> bool {
        let before = self.shard(number).holdings.get(&number).map_or(0, |holding| holding.bytes);
        let has_room = (self.staying() + holding.bytes).saturating_sub(before) <= self.max;
        if has_room {
            self.set(number, holding);
        }
        has_room
    }

    /// Whether connection `number` is told to close.
    pub fn leaves(&self, number: u64) -> bool {
        self.leaving.load(Ordering::Relaxed) > 0 && self.shard(number).leaving.contains(&number)
    }

    /// Tells connections to close that have stood still for longest, as many as it takes to have room for
    /// `more` bytes. They are to be woken, and ask [`Buffers::leaves`].
    pub fn make_room(&self, more: usize, now: Time) -> Vec<u64> {
        let mut told = Vec::new();
        while self.staying() + more as u64 > self.max {
            let Some(number) = self.tell_longest(now) else { break };
            told.push(number);
        }
        told
    }

    /// Tells connection `number`, which has just taken more, to close, if all hold an eighth more than they
    /// may. Returns whether it was told.
    pub fn turn_away(&self, number: u64) -> bool {
        let is_over = self.staying() > self.max + self.max / 8;
        let holding = self.shard(number).holdings.get(&number).copied();
        if let Some(holding) = holding.filter(|_| is_over) {
            self.tell(holding.place(), number);
        }
        is_over && holding.is_some()
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes that may be held.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Tells the connection that has stood still for longest, if that is long.
    fn tell_longest(&self, now: Time) -> Option<u64> {
        let first = |shard: &Mutex<HoldingShard>| lock(shard).still.first().copied();
        let (place, number) = self.shards.iter().filter_map(first).min()?;
        let (waits, since) = place;
        if since > now.before(if waits { WAIT_MAX } else { PATIENCE }) {
            return None;
        }
        self.tell(place, number);
        Some(number)
    }

    /// It may have moved meanwhile; then it is no longer the one, and the next round finds another.
    fn tell(&self, place: StillPlace, number: u64) {
        let shard = &mut *self.shard(number);
        if shard.still.remove(&(place, number)) {
            shard.leaving.insert(number);
            let bytes = shard.holdings.get(&number).map_or(0, |holding| holding.bytes);
            self.leaving.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// What is held by connections that are not told to close.
    fn staying(&self) -> u64 {
        self.bytes().saturating_sub(self.leaving.load(Ordering::Relaxed))
    }

    fn shard(&self, number: u64) -> MutexGuard<'_, HoldingShard> {
        lock(&self.shards[number as usize % SHARDS])
    }
}

fn lock(shard: &Mutex<HoldingShard>) -> MutexGuard<'_, HoldingShard> {
    shard.lock().expect("no code panics while it holds a shard")
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use super::*;
    use crate::random::Random;

    const KIB: usize = 1024;

    fn at(seconds: u64) -> Time {
        Time::from_secs(1_000 + seconds)
    }

    #[test]
    fn what_stands_still_for_longest_leaves_first_and_what_moves_stays() {
        let buffers = Buffers::new(64 * 1024);
        for number in 0..8 {
            assert_eq!(buffers.is_easy(), number < 5);
            assert!(buffers.ask(number, Holding::new(8 * KIB, at(number))));
        }
        assert!(!buffers.is_full() && buffers.make_room(0, at(60)).is_empty());
        let large = Holding::new(40 * KIB, at(60));
        assert!(!buffers.ask(8, large));
        assert_eq!(buffers.bytes(), 64 * 1024);
        assert_eq!(buffers.make_room(40 * KIB, at(60)), [0, 1, 2, 3, 4]);
        assert!(buffers.leaves(0) && !buffers.leaves(5));
        assert!(buffers.make_room(40 * KIB, at(60)).is_empty());
        assert!(buffers.ask(8, large));
        (0..5).for_each(|number| buffers.set(number, Holding::NOTHING));
        assert_eq!((buffers.bytes(), buffers.leaves(0)), (64 * 1024, false));
        // All move: none leaves until one has stood still for a while.
        (5..8).for_each(|number| buffers.set(number, Holding::new(12 * KIB, at(100))));
        assert!(buffers.is_full());
        assert_eq!(buffers.make_room(0, at(101)), [8]);
        assert_eq!(buffers.make_room(60 * KIB, at(101)).len(), 0);
        assert_eq!(buffers.make_room(60 * KIB, at(102)).len(), 3);
    }

    #[test]
    fn what_takes_more_than_an_eighth_above_is_turned_away() {
        let buffers = Buffers::new(64 * 1024);
        (0..9).for_each(|number| buffers.set(number, Holding::new(8 * KIB, at(0))));
        assert!(buffers.is_full() && !buffers.turn_away(8));
        buffers.set(8, Holding::new(12 * KIB, at(0)));
        assert!(buffers.turn_away(8) && buffers.leaves(8));
        assert!(!buffers.turn_away(8), "without it they hold little enough");
        assert!(!buffers.is_full());
    }

    #[test]
    fn what_waits_for_room_leaves_last() {
        let buffers = Buffers::new(64 * 1024);
        buffers.set(1, Holding::new(32 * KIB, at(0)).waiting(true));
        buffers.set(2, Holding::new(32 * KIB, at(20)));
        assert_eq!(buffers.make_room(8 * KIB, at(22)), [2]);
        assert!(buffers.make_room(60 * KIB, at(29)).is_empty());
        assert_eq!(buffers.make_room(60 * KIB, at(30)), [1]);
    }

    #[test]
    fn little_is_not_counted() {
        let buffers = Buffers::new(1);
        buffers.set(1, Holding::new(Holding::FREE, at(0)));
        assert_eq!(buffers.bytes(), 0);
        buffers.set(1, Holding::new(Holding::FREE + 1, at(0)));
        assert_eq!(buffers.bytes(), STEP);
    }

    #[test]
    fn the_sum_is_that_of_a_stupid_twin() {
        for seed in 1..100 {
            let mut random = Random::new(seed);
            let buffers = Buffers::new(200_000);
            let mut twin = BTreeMap::new();
            for second in 0..500 {
                let number = random.below_u64(40);
                let holding = Holding::new(random.below(20_000), at(second));
                let holding = holding.waiting(random.below(3) == 0);
                if random.below(2) == 0 || buffers.ask(number, holding) {
                    buffers.set(number, holding);
                    twin.insert(number, holding);
                }
                if random.below(4) == 0 {
                    for number in buffers.make_room(random.below(9_000), at(second)) {
                        assert!(buffers.leaves(number), "seed {seed}");
                    }
                }
                let leaving = twin.iter().filter(|(number, _)| buffers.leaves(**number));
                let leaving: u64 = leaving.map(|(_, holding)| holding.bytes).sum();
                let sum: u64 = twin.values().map(|holding| holding.bytes).sum();
                assert_eq!(buffers.bytes(), sum, "seed {seed}");
                assert_eq!(buffers.is_full(), sum - leaving > 200_000, "seed {seed}");
            }
            for number in 0..40 {
                buffers.set(number, Holding::NOTHING);
            }
            assert_eq!((buffers.bytes(), buffers.staying()), (0, 0), "seed {seed}");
        }
    }
}
