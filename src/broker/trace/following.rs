//! Messages that are followed where they do not carry their number: in the store, and in flight to a client.

use std::collections::BTreeMap;
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
    stored: BTreeMap<Mid, Followed>,
    in_flight: BTreeMap<InFlightKey, Followed>,
}

/// Entries of each table.
const ENTRIES_MAX: usize = 4096;

impl Followed {
    pub fn new(number: u32, topic: TopicName<'_>, publisher: &str) -> Followed {
        Followed { number, topic: topic.as_str().into(), publisher: publisher.into() }
    }
}

impl Following {
    /// A number for a message that has none. Never 0.
    pub fn next(&self) -> u32 {
        self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1)
    }

    /// A message in memory, with the number that it has or is given now. One from the store has the number that it
    /// had before.
    pub fn of(&self, message: &Message) -> Followed {
        let carried = Some(message.follow_number()).filter(|number| *number != 0);
        let number = carried.unwrap_or_else(|| {
            let known = message.mid().and_then(|mid| self.stored(mid));
            known.map_or_else(|| self.next(), |known| known.number)
        });
        if carried.is_none() {
            message.follow(number);
        }
        Followed::new(number, message.topic(), message.publisher())
    }

    /// The store has the message under this number.
    pub fn note_stored(&self, mid: Mid, followed: &Followed) {
        let tables = &mut *self.lock();
        if tables.stored.len() >= ENTRIES_MAX && !tables.stored.contains_key(&mid) {
            // The oldest one is the first.
            tables.stored.pop_first();
        }
        tables.stored.insert(mid, followed.clone());
    }

    /// A message that may be with the store alone.
    pub fn stored(&self, mid: Mid) -> Option<Followed> {
        self.lock().stored.get(&mid).cloned()
    }

    /// It was sent. Beyond a number of them it is not followed further.
    pub fn note_sent(&self, key: InFlightKey, followed: &Followed) {
        let tables = &mut *self.lock();
        if tables.in_flight.len() < ENTRIES_MAX || tables.in_flight.contains_key(&key) {
            tables.in_flight.insert(key, followed.clone());
        }
    }

    /// What was sent under this Packet Identifier; `last`: and is acknowledged now.
    pub fn sent(&self, key: InFlightKey, last: bool) -> Option<Followed> {
        let tables = &mut *self.lock();
        if last { tables.in_flight.remove(&key) } else { tables.in_flight.get(&key).cloned() }
    }

    /// No trace is on any more.
    pub fn forget(&self) {
        *self.lock() = FollowTables::default();
    }

    fn lock(&self) -> MutexGuard<'_, FollowTables> {
        whole(self.tables.lock())
    }
}
