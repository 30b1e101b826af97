//! Hash tables that grow in small steps, and the hash they are used with.

use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use hashbrown::HashTable;

/// One hash table as many small ones, so that growing never moves many entries at a time.
///
/// The caller provides hash and comparison, as with [`HashTable`].
#[derive(Debug)]
pub struct Shards<T> {
    tables: Box<[HashTable<T>]>,
}

impl<T> Shards<T> {
    /// Empty.
    pub fn new() -> Shards<T> {
        Shards { tables: (0..TABLES).map(|_| HashTable::new()).collect() }
    }

    /// The entry with this hash for which `same` is true.
    #[inline]
    pub fn find(&self, hash: u64, same: impl FnMut(&T) -> bool) -> Option<&T> {
        self.tables[table_of(hash)].find(hash, same)
    }

    /// As [`find`](Self::find), to be changed, but not in what is hashed and compared.
    #[inline]
    pub fn find_mut(&mut self, hash: u64, same: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.tables[table_of(hash)].find_mut(hash, same)
    }

    /// Adds an entry that is not there yet; `rehash` returns the hash of any entry.
    pub fn insert(&mut self, hash: u64, entry: T, rehash: impl Fn(&T) -> u64) {
        self.tables[table_of(hash)].insert_unique(hash, entry, rehash);
    }

    /// Takes out the entry for which `same` is true; `rehash` returns the hash of any entry.
    pub fn remove(
        &mut self,
        hash: u64,
        same: impl FnMut(&T) -> bool,
        rehash: impl Fn(&T) -> u64,
    ) -> Option<T> {
        let table = &mut self.tables[table_of(hash)];
        let (entry, _) = table.find_entry(hash, same).ok()?.remove();
        if table.capacity() > KEPT && table.len() * 8 < table.capacity() {
            table.shrink_to(table.len() * 2, rehash);
        }
        Some(entry)
    }

    /// All entries, in no order.
    pub fn into_entries(self) -> impl Iterator<Item = T> {
        self.tables.into_iter().flatten()
    }
}

/// From bits that the tables themselves do not look at until they are very large.
#[inline]
fn table_of(hash: u64) -> usize {
    (hash >> 40) as usize % TABLES
}

/// A hash of texts that clients choose: without knowing the seed they cannot make texts collide.
#[derive(Clone, Debug)]
pub struct TextHash {
    seed: u64,
    // Its own, because the ones that come with foldhash are the same everywhere.
    shared: SharedSeed,
}

impl TextHash {
    /// The hash that `seed` chooses.
    pub fn new(seed: u64) -> TextHash {
        TextHash { seed, shared: SharedSeed::from_u64(seed) }
    }

    /// The hash of `text`.
    #[inline]
    pub fn of(&self, text: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(text);
        spread(hasher.finish())
    }
}

/// Makes the high and the low bits equally good: a table uses some of both.
#[inline]
pub fn spread(hash: u64) -> u64 {
    let product = u128::from(hash) * 0xA076_1D64_78BD_642F;
    (product >> 64) as u64 ^ product as u64
}

const TABLES: usize = 256;
/// The smallest table has room for so many and stays: one entry that comes and goes would make it each time.
const KEPT: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_count_up_fill_all_tables_alike() {
        let hash = TextHash::new(1);
        let mut filled = [0; TABLES];
        for i in 0..TABLES * 100 {
            filled[table_of(hash.of(format!("device{i}").as_bytes()))] += 1;
        }
        assert!(filled.iter().all(|count| (50..200).contains(count)), "{filled:?}");
    }

    #[test]
    fn another_seed_is_another_hash() {
        assert_ne!(TextHash::new(1).of(b"a"), TextHash::new(2).of(b"a"));
        assert_ne!(
            TextHash::new(1).of(b"0123456789abcdef0"),
            TextHash::new(2).of(b"0123456789abcdef0")
        );
    }
}
