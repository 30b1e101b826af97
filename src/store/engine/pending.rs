//! Rows that changed since the last checkpoint: what the table does not know yet.
//!
//! A row that is put and deleted before a checkpoint, and was not in the table before, leaves no
//! trace: it never reaches the table.

use hashbrown::HashTable;

use super::rows::Blob;

/// A map from keys to what they are to become.
pub struct PendingRows {
    /// Many small tables instead of one: what one of them must do to grow is short.
    shards: Vec<HashTable<PendingRow>>,
    rows: usize,
    bytes: usize,
}

/// What a row is to become.
#[derive(Debug)]
pub struct PendingRow {
    /// Its key.
    pub key: Blob,
    /// Its value; none: deleted.
    pub value: Option<Blob>,
    /// The key's hash.
    pub hash: u64,
    /// The table may have a row of that key; if not, it certainly has none.
    pub in_table: bool,
}

/// What a change did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// It is waiting for the next checkpoint.
    Waits,
    /// It cancelled out what was waiting.
    Cancelled,
    /// There was no such row.
    Nothing,
}

impl PendingRows {
    /// Nothing.
    pub fn new() -> PendingRows {
        let shards = std::iter::repeat_with(HashTable::new).take(SHARDS).collect();
        PendingRows { shards, rows: 0, bytes: 0 }
    }

    /// Notes a change. `in_table` says whether the table may have a row of that key, if nothing
    /// is known of it here.
    pub fn set(
        &mut self,
        key: Blob,
        value: Option<Blob>,
        hash: u64,
        in_table: impl FnOnce(&[u8]) -> bool,
    ) -> Effect {
        let shard = &mut self.shards[shard_of(hash)];
        if let Ok(mut found) =
            shard.find_entry(hash, |entry| entry.hash == hash && entry.key == key)
        {
            let entry = found.get_mut();
            self.bytes -= entry.bytes();
            if value.is_none() && !entry.in_table {
                found.remove();
                self.rows -= 1;
                return Effect::Cancelled;
            }
            entry.value = value;
            self.bytes += entry.bytes();
            return Effect::Waits;
        }
        let in_table = in_table(&key);
        if value.is_none() && !in_table {
            return Effect::Nothing;
        }
        let entry = PendingRow { key, value, hash, in_table };
        self.bytes += entry.bytes();
        self.rows += 1;
        shard.insert_unique(hash, entry, |entry| entry.hash);
        Effect::Waits
    }

    /// What is known of a key.
    pub fn get(&self, key: &[u8], hash: u64) -> Option<&PendingRow> {
        self.shards[shard_of(hash)].find(hash, |entry| entry.hash == hash && *entry.key == *key)
    }

    /// Now it is known whether the table has a row of this key. A deletion of a row that is not
    /// there is forgotten.
    pub fn settle(&mut self, key: &[u8], hash: u64, in_table: bool) {
        let shard = &mut self.shards[shard_of(hash)];
        let found = shard.find_entry(hash, |entry| entry.hash == hash && *entry.key == *key);
        let Ok(mut found) = found else { return };
        found.get_mut().in_table = in_table;
        if !in_table && found.get().value.is_none() {
            self.bytes -= found.get().bytes();
            self.rows -= 1;
            found.remove();
        }
    }

    /// All of it, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &PendingRow> {
        self.shards.iter().flat_map(HashTable::iter)
    }

    /// All of it, in the order of keys.
    pub fn sorted(&self) -> Vec<&PendingRow> {
        let mut sorted: Vec<&PendingRow> = self.iter().collect();
        sorted.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        sorted
    }

    /// Rows that wait.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Memory they take, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl PendingRow {
    fn bytes(&self) -> usize {
        ENTRY + self.key.outside() + self.value.as_ref().map_or(0, Blob::outside)
    }
}

/// The upper bits: the table uses the lower ones, and the uppermost seven for itself.
fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

const SHARDS: usize = 64;

/// Memory of an entry: itself, and its share of an unfilled table.
const ENTRY: usize = size_of::<PendingRow>() * 3 / 2;
