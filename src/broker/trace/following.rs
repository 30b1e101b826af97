//! Messages that are followed where they do not carry their number: in the store, and in flight to a client.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::codec::PacketId;
use crate::message::{Message, Mid, SessionId};
use crate::sync::{Mutex, MutexGuard, whole};
use crate::topic::TopicName;

/// A message that is followed: its number, and what decides which traces it is for.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Its number, while traces are on.
    pub number: u32,
    /// Its topic.
    pub topic: Arc<str>,
    /// The Client Identifier of its publisher; empty for the broker itself.
    pub publisher: Arc<str>,
}

/// A message in flight: the Session, and its Packet Identifier there.
pub type InFlightKey = (SessionId, PacketId);

/// The numbers, and the messages that do not carry theirs.
#[derive(Debug, Default)]
pub struct Following {
    last: AtomicU32,
    tables: Mutex<FollowTables>,
}

#[derive(Debug, Default)]
struct FollowTables {
    stored: FollowTable<Mid>,
    /// Sent to a client, and not acknowledged.
    in_flight: FollowTable<InFlightKey>,
    /// Sampled, from a client that waits for its acknowledgement.
    unanswered: FollowTable<InFlightKey>,
}

/// Messages by a key. The oldest go where there are too many.
#[derive(Debug)]
struct FollowTable<K> {
    found: BTreeMap<K, Followed>,
    /// Keys in the order in which they came, with the number of the message; also those that were taken out.
    order: VecDeque<(K, u32)>,
}

/// Entries of each table.
const ENTRIES_MAX: usize = 4096;
/// In the number of a message: it is sampled.
const SAMPLED: u32 = 1 << 31;

impl<K> Default for FollowTable<K> {
    fn default() -> FollowTable<K> {
        FollowTable { found: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl<K: Copy + Ord> FollowTable<K> {
    fn put(&mut self, key: K, followed: &Followed) {
        if self.order.len() >= ENTRIES_MAX
            && let Some((oldest, number)) = self.order.pop_front()
            && self.found.get(&oldest).is_some_and(|found| found.number == number)
        {
            self.found.remove(&oldest);
        }
        self.order.push_back((key, followed.number));
        self.found.insert(key, followed.clone());
    }
}

impl Followed {
    pub fn new(number: u32, topic: TopicName<'_>, publisher: &str) -> Followed {
        Followed { number, topic: topic.as_str().into(), publisher: publisher.into() }
    }

    /// It is sampled.
    pub fn is_sampled(&self) -> bool {
        self.number & SAMPLED != 0
    }
}

impl Following {
    /// A number for a message that has none. Never 0.
    pub fn next(&self, is_sampled: bool) -> u32 {
        let number = self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & !SAMPLED;
        number.max(1) | if is_sampled { SAMPLED } else { 0 }
    }

    /// Whether a message in memory is sampled. One from the store is if it was before; all others have their numbers
    /// while a sample is taken.
    pub fn is_sampled(&self, message: &Message) -> bool {
        match (message.follow_number(), message.mid()) {
            (0, Some(mid)) => self.stored(mid).is_some_and(|known| known.is_sampled()),
            (number, _) => number & SAMPLED != 0,
        }
    }

    /// A message in memory, with the number that it has or is given now. One from the store has the number that it
    /// had before.
    pub fn of(&self, message: &Message) -> Followed {
        let carried = Some(message.follow_number()).filter(|number| *number != 0);
        let number = carried.unwrap_or_else(|| {
            let known = message.mid().and_then(|mid| self.stored(mid));
            known.map_or_else(|| self.next(false), |known| known.number)
        });
        if carried.is_none() {
            message.follow(number);
        }
        Followed::new(number, message.topic(), message.publisher())
    }

    /// The store has the message under this number.
    pub fn note_stored(&self, mid: Mid, followed: &Followed) {
        self.lock().stored.put(mid, followed);
    }

    /// A message that may be with the store alone.
    pub fn stored(&self, mid: Mid) -> Option<Followed> {
        self.lock().stored.found.get(&mid).cloned()
    }

    /// It was sent.
    pub fn note_sent(&self, key: InFlightKey, followed: &Followed) {
        self.lock().in_flight.put(key, followed);
    }

    /// What was sent under this Packet Identifier; `last`: and is acknowledged now.
    pub fn sent(&self, key: InFlightKey, last: bool) -> Option<Followed> {
        let found = &mut self.lock().in_flight.found;
        if last { found.remove(&key) } else { found.get(&key).cloned() }
    }

    /// The publisher is answered when the store has it.
    pub fn note_unanswered(&self, key: InFlightKey, followed: &Followed) {
        self.lock().unanswered.put(key, followed);
    }

    /// What is answered under this Packet Identifier now, if it was sampled.
    pub fn answered(&self, key: InFlightKey) -> Option<Followed> {
        self.lock().unanswered.found.remove(&key)
    }

    /// No trace is on any more.
    pub fn forget(&self) {
        *self.lock() = FollowTables::default();
    }

    fn lock(&self) -> MutexGuard<'_, FollowTables> {
        whole(self.tables.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_too_many_is_forgotten_and_one_that_came_again_is_not() {
        let followed = |number| Followed::new(number, TopicName::trusted("t"), "p");
        let mut table = FollowTable::default();
        table.put(0, &followed(1));
        table.put(1, &followed(2));
        // Its first entry in the order is not its own any more.
        table.put(0, &followed(3));
        for key in 2..ENTRIES_MAX {
            table.put(key, &followed(4));
        }
        assert_eq!(table.found.get(&0).map(|found| found.number), Some(3));
        table.put(ENTRIES_MAX, &followed(4));
        assert!(!table.found.contains_key(&1), "the oldest");
        assert!(table.found.contains_key(&0) && table.found.contains_key(&2));
        for key in 0..10 * ENTRIES_MAX {
            table.put(key, &followed(5));
            table.found.remove(&key);
        }
        assert!(table.found.is_empty() && table.order.len() == ENTRIES_MAX);
    }
}
