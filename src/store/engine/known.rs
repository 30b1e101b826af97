//! Which keys the table has rows of, as far as it can be said without asking the table.
//!
//! It errs on one side only: a key that is in the table is never said not to be. That makes it
//! safe to let a row vanish that was put and deleted between two checkpoints.

use hashbrown::HashTable;

use super::rows::Blob;

/// Hashes of the keys in the table. Of keys that only ever grow the greatest is enough.
pub struct Known {
    /// One for each key, so that two keys of one hash are two of them.
    hashes: HashTable<u64>,
    /// For each first byte of a key: only the greatest is kept.
    growing: [bool; 256],
    greatest: Vec<Option<Blob>>,
}

impl Known {
    /// An empty table's. Keys that begin with one of `growing` mostly come in rising order.
    pub fn new(growing: &[u8]) -> Known {
        let mut known =
            Known { hashes: HashTable::new(), growing: [false; 256], greatest: vec![None; 256] };
        growing.iter().for_each(|&prefix| known.growing[usize::from(prefix)] = true);
        known
    }

    /// Whether the table may have a row of this key.
    pub fn may_have(&self, key: &[u8], hash: u64) -> bool {
        let prefix = prefix(key);
        if self.growing[prefix] {
            self.greatest[prefix].as_ref().is_some_and(|greatest| *key <= **greatest)
        } else {
            self.hashes.find(hash, |&there| there == hash).is_some()
        }
    }

    /// The table has a row of this key from now on, and had none before.
    pub fn insert(&mut self, key: &[u8], hash: u64) {
        let prefix = prefix(key);
        if !self.growing[prefix] {
            self.hashes.insert_unique(hash, hash, |&hash| hash);
        } else if self.greatest[prefix].as_ref().is_none_or(|greatest| **greatest < *key) {
            self.greatest[prefix] = Some(key.into());
        }
    }

    /// The table has no row of this key any more, and had one before.
    pub fn remove(&mut self, key: &[u8], hash: u64) {
        if self.growing[prefix(key)] {
            return;
        }
        let found = self.hashes.find_entry(hash, |&there| there == hash);
        found.expect("what is removed was inserted").remove();
    }
}

fn prefix(key: &[u8]) -> usize {
    key.first().copied().map_or(0, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_of_one_hash_are_told_apart_by_their_number() {
        let mut known = Known::new(&[]);
        known.insert(b"a", 5);
        known.insert(b"b", 5);
        known.remove(b"a", 5);
        assert!(known.may_have(b"b", 5));
        known.remove(b"b", 5);
        assert!(!known.may_have(b"b", 5));
    }

    #[test]
    fn of_growing_keys_those_above_the_greatest_are_not_there() {
        let mut known = Known::new(&[4]);
        known.insert(&[4, 9], 1);
        known.insert(&[4, 7], 2);
        known.remove(&[4, 9], 1);
        assert!(known.may_have(&[4, 8], 3) && known.may_have(&[4, 9], 1));
        assert!(!known.may_have(&[4, 9, 0], 4));
    }
}
