//! The keys that one rule remembers: found by their hash, forgotten in the order in which they came.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use thin_vec::ThinVec;

use super::opening::UnderWay;
use crate::message::{KeyChange, KeyHash, MessageKey};
use crate::time::Time;

/// How many keys there may be.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker) struct KeyLimits {
    /// Of one publisher.
    pub own: usize,
    /// Of all publishers without a verified user name.
    pub unverified: usize,
    /// Of all.
    pub total: usize,
}

/// The keys of one rule.
#[derive(Debug)]
pub(in crate::broker) struct KeyTable {
    slots: Vec<KeySlot>,
    free: Vec<u32>,
    /// Slots by their hashes; a slot that is not in it was replaced by a newer one of the same hash.
    index: HashTable<u32>,
    publishers: Vec<PublisherKeys>,
    free_publishers: Vec<u32>,
    names: HashTable<u32>,
    /// Publishers by when their oldest key came.
    oldest: BTreeSet<(Time, u32)>,
    /// Publishers by how many keys they have, and then by when the oldest came: users that were verified, and
    /// others.
    ranks: [BTreeSet<Rank>; 2],
    counts: [usize; 2],
    hash: FixedState,
    /// Turns that have noted keys and were not at their end when the last one looked.
    open: Vec<(Time, Arc<UnderWay>)>,
}

type Rank = (u32, Reverse<Time>, u32);

/// One key.
#[derive(Debug)]
struct KeySlot {
    hash: KeyHash,
    since: Time,
    /// The next of its publisher.
    newer: u32,
}

/// The keys of one publisher, in the order in which they came.
#[derive(Debug)]
struct PublisherKeys {
    name: u64,
    verified: bool,
    oldest: u32,
    newest: u32,
    count: u32,
}

const NONE: u32 = u32::MAX;

impl KeyTable {
    /// Nothing is remembered; `seed` feeds the hashes.
    pub fn new(seed: u64) -> KeyTable {
        KeyTable {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            publishers: Vec::new(),
            free_publishers: Vec::new(),
            names: HashTable::new(),
            oldest: BTreeSet::new(),
            ranks: [BTreeSet::new(), BTreeSet::new()],
            counts: [0; 2],
            hash: FixedState::with_seed(seed),
            open: Vec::new(),
        }
    }

    /// Keys in memory.
    pub fn len(&self) -> usize {
        self.counts.iter().sum()
    }

    /// When the oldest came.
    pub fn front(&self) -> Option<Time> {
        self.oldest.first().map(|(since, _)| *since)
    }

    /// When the message with this key came, if that is remembered.
    pub fn find(&self, hash: &KeyHash) -> Option<Time> {
        let slot = self.index.find(self.hash.hash_one(hash), |slot| self.is(*slot, hash))?;
        Some(self.slots[*slot as usize].since)
    }

    /// Remembers a key; an older one of the same hash is not found any more. What has to go for it is added
    /// to `gone`.
    pub fn note(&mut self, key: &MessageKey, limits: &KeyLimits, gone: &mut Vec<KeyChange>) {
        self.make_room(key, limits, gone);
        let publisher = self.publisher(key);
        let slot = KeySlot { hash: key.hash, since: key.since, newer: NONE };
        let number = take_place(&mut self.slots, &mut self.free, slot);
        self.change(publisher, |keeper, slots| {
            match keeper.newest {
                NONE => keeper.oldest = number,
                newest => slots[newest as usize].newer = number,
            }
            keeper.newest = number;
            keeper.count += 1;
        });
        self.counts[usize::from(key.verified)] += 1;
        let KeyTable { index, slots, hash, .. } = self;
        let of = |slot: &u32| hash.hash_one(slots[*slot as usize].hash);
        let same = |slot: &u32| slots[*slot as usize].hash == key.hash;
        index
            .entry(hash.hash_one(key.hash), same, of)
            .and_modify(|slot| *slot = number)
            .or_insert(number);
    }

    /// Forgets keys that came when `is_over` says so, the oldest first and at most `most` of them.
    pub fn expire(
        &mut self,
        is_over: impl Fn(Time) -> bool,
        most: usize,
        gone: &mut Vec<KeyChange>,
    ) {
        for _ in 0..most {
            match self.oldest.first() {
                Some((since, publisher)) if is_over(*since) => self.forget(*publisher, gone),
                _ => return,
            }
        }
    }

    /// A turn that began at `now` has noted keys, which the store has when it ends.
    pub fn open(&mut self, now: Time, opening: &Arc<UnderWay>) {
        self.open.retain(|(_, open)| !open.is_over());
        if !self.open.iter().any(|(_, open)| Arc::ptr_eq(open, opening)) {
            self.open.push((now, opening.clone()));
        }
    }

    /// The turns, but `own`, that may have noted a key at `since` and have not ended.
    pub fn opened(&self, since: Time, own: Option<&Arc<UnderWay>>) -> ThinVec<Arc<UnderWay>> {
        let others = self.open.iter().filter(|(began, open)| {
            *began == since && own.is_none_or(|own| !Arc::ptr_eq(own, open)) && !open.is_over()
        });
        others.map(|(_, open)| open.clone()).collect()
    }

    fn is(&self, slot: u32, hash: &KeyHash) -> bool {
        self.slots[slot as usize].hash == *hash
    }

    /// The number of a key's publisher, if it has keys.
    fn known(&self, key: &MessageKey) -> Option<u32> {
        let same = |number: &u32| {
            let keeper = &self.publishers[*number as usize];
            (keeper.name, keeper.verified) == (key.publisher, key.verified)
        };
        self.names.find(self.hash.hash_one(key.publisher), same).copied()
    }

    /// The number of a key's publisher.
    fn publisher(&mut self, key: &MessageKey) -> u32 {
        if let Some(number) = self.known(key) {
            return number;
        }
        let (name, verified) = (key.publisher, key.verified);
        let keeper = PublisherKeys { name, verified, oldest: NONE, newest: NONE, count: 0 };
        let KeyTable { publishers, names, hash, .. } = self;
        let number = take_place(publishers, &mut self.free_publishers, keeper);
        let of = |number: &u32| hash.hash_one(publishers[*number as usize].name);
        names.insert_unique(hash.hash_one(name), number, of);
        number
    }

    /// Makes room for another key: the oldest of its publisher goes, or the oldest of the publisher with
    /// most keys if that has more.
    fn make_room(&mut self, key: &MessageKey, limits: &KeyLimits, gone: &mut Vec<KeyChange>) {
        let class = usize::from(key.verified);
        loop {
            let own = self.known(key);
            let count = own.map_or(0, |own| self.publishers[own as usize].count);
            let unverified = self.counts[0];
            let all = self.len() >= limits.total;
            let most =
                |class: usize| self.ranks[class].last().map(|(count, _, most)| (*count, *most));
            let from = if count as usize >= limits.own {
                own
            } else if (class == 0 && unverified >= limits.unverified)
                || (all && unverified > limits.unverified)
            {
                most(0).map(|(_, most)| most)
            } else if all {
                most(0).max(most(1)).map(|(_, most)| most)
            } else {
                return;
            };
            let Some(from) = from else { return };
            let own_goes = own.filter(|_| count >= self.publishers[from as usize].count);
            self.forget(own_goes.unwrap_or(from), gone);
        }
    }

    /// Forgets the oldest key of a publisher that has one.
    fn forget(&mut self, publisher: u32, gone: &mut Vec<KeyChange>) {
        let number = self.publishers[publisher as usize].oldest;
        let KeySlot { hash, since, newer, .. } = self.slots[number as usize];
        self.change(publisher, |keeper, _| {
            keeper.oldest = newer;
            keeper.newest = if newer == NONE { NONE } else { keeper.newest };
            keeper.count -= 1;
        });
        self.free.push(number);
        if let Ok(entry) = self.index.find_entry(self.hash.hash_one(hash), |slot| *slot == number) {
            entry.remove();
        }
        gone.push(KeyChange::Gone(hash, since));
        let PublisherKeys { name, verified, count, .. } = self.publishers[publisher as usize];
        self.counts[usize::from(verified)] -= 1;
        if count > 0 {
            return;
        }
        self.free_publishers.push(publisher);
        let of_name = self.hash.hash_one(name);
        if let Ok(entry) = self.names.find_entry(of_name, |number| *number == publisher) {
            entry.remove();
        }
    }

    /// Changes a publisher, and its places in the orders.
    fn change(&mut self, publisher: u32, change: impl FnOnce(&mut PublisherKeys, &mut [KeySlot])) {
        let place = |keeper: &PublisherKeys, slots: &[KeySlot]| match keeper.oldest {
            NONE => None,
            oldest => Some((keeper.count, Reverse(slots[oldest as usize].since), publisher)),
        };
        let keeper = &mut self.publishers[publisher as usize];
        let ranks = &mut self.ranks[usize::from(keeper.verified)];
        let before = place(keeper, &self.slots);
        change(keeper, &mut self.slots);
        let after = place(keeper, &self.slots);
        if let Some(rank) = before {
            ranks.remove(&rank);
        }
        if let Some(rank) = after {
            ranks.insert(rank);
        }
        let since = |rank: Rank| (rank.1.0, publisher);
        let (before, after) = (before.map(since), after.map(since));
        if before == after {
            return;
        }
        before.map(|place| self.oldest.remove(&place));
        after.map(|place| self.oldest.insert(place));
    }
}

/// Puts `what` where nothing is.
fn take_place<T>(all: &mut Vec<T>, free: &mut Vec<u32>, what: T) -> u32 {
    if let Some(number) = free.pop() {
        all[number as usize] = what;
        return number;
    }
    all.push(what);
    u32::try_from(all.len() - 1).expect("fewer keys than a configuration may allow")
}
