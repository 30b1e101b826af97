//! Logins that were right lately, so that a fleet that comes back does not cost its hashes or requests again.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::sync::{Mutex, whole};

/// A keyed hash of each, with a value: the password itself is not kept, and without the key, which is never written,
/// the hash tells nothing.
pub(super) struct Successes<V> {
    key: [u8; 32],
    max: usize,
    lately: Mutex<SuccessTags<V>>,
}

struct SuccessTags<V> {
    values: HashMap<Tag, V, foldhash::fast::RandomState>,
    /// Their tags, the oldest in front.
    order: VecDeque<Tag>,
}

type Tag = [u8; 32];

impl<V> Default for SuccessTags<V> {
    fn default() -> SuccessTags<V> {
        SuccessTags { values: HashMap::default(), order: VecDeque::new() }
    }
}

impl<V: Clone> Successes<V> {
    /// None yet, and `max` at most.
    pub fn new(max: usize) -> Result<Successes<V>, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Successes { key, max, lately: Mutex::default() })
    }

    /// What `parts` say together was right; the value takes the place of an earlier one.
    pub fn note(&self, parts: &[&[u8]], value: V) {
        let tag = self.tag(parts);
        let SuccessTags { values, order } = &mut *whole(self.lately.lock());
        if values.insert(tag, value).is_some() {
            return;
        }
        order.push_back(tag);
        if order.len() > self.max
            && let Some(oldest) = order.pop_front()
        {
            values.remove(&oldest);
        }
    }

    /// The value, if that was noted.
    pub fn find(&self, parts: &[&[u8]]) -> Option<V> {
        let tag = self.tag(parts);
        whole(self.lately.lock()).values.get(&tag).cloned()
    }

    /// Bytes that belong to a user that there is not, always the same.
    pub fn bytes_of(&self, user: &str) -> [u8; 32] {
        self.tag(&[user.as_bytes(), b"", b"", b""])
    }

    /// Forgets all.
    pub fn forget(&self) {
        *whole(self.lately.lock()) = SuccessTags::default();
    }

    fn tag(&self, parts: &[&[u8]]) -> Tag {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length will do");
        for part in parts {
            // With the lengths, no two lists of parts are the same bytes.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl<V> fmt::Debug for Successes<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Successes").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use super::*;

    #[test]
    fn only_all_parts_together_are_known() {
        let successes = Successes::new(10).unwrap();
        let right: [&[u8]; 4] = [b"ann", b"salt", b"hash", b"secret"];
        successes.note(&right, 1);
        assert_eq!(successes.find(&right), Some(1));
        successes.note(&right, 2);
        assert_eq!(successes.find(&right), Some(2));
        let wrong: [[&[u8]; 4]; 5] = [
            [b"bob", b"salt", b"hash", b"secret"],
            [b"ann", b"other", b"hash", b"secret"],
            [b"ann", b"salt", b"other", b"secret"],
            [b"ann", b"salt", b"hash", b"secret "],
            [b"ann", b"salth", b"ash", b"secret"],
        ];
        for parts in &wrong {
            assert_eq!(successes.find(parts), None, "{parts:?}");
        }
        successes.forget();
        assert_eq!(successes.find(&right), None);
    }

    #[test]
    fn the_oldest_makes_room() {
        const MAX: u32 = 1000;
        let successes = Successes::new(MAX as usize).unwrap();
        for number in 0..=MAX {
            for _ in 0..2 {
                successes.note(&[&number.to_be_bytes()], number);
            }
        }
        let find = |number: u32| successes.find(&[&number.to_be_bytes()]);
        assert_eq!([0, 1, MAX].map(find), [None, Some(1), Some(MAX)]);
        let lately = whole(successes.lately.lock());
        assert_eq!((lately.values.len(), lately.order.len()), (MAX as usize, MAX as usize));
    }
}
