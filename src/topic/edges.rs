//! The named edges of the subscription tree.

use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use hashbrown::HashTable;

use super::nodes::{Arena, Node};

/// Where to find a named child: all edges of a tree, by parent and level.
///
/// In many small tables, so that none of them takes long to grow.
#[derive(Debug)]
pub struct Edges {
    tables: Box<[HashTable<u32>]>,
    hash: LevelHash,
}

impl Edges {
    /// None; `seed` feeds the hash.
    pub fn new(seed: u64) -> Edges {
        let tables = (0..TABLES).map(|_| HashTable::new()).collect();
        Edges { tables, hash: LevelHash { seed, shared: SharedSeed::from_u64(seed) } }
    }

    /// The hash of a level, to be used for every parent it is searched under.
    #[inline]
    pub fn hash_level(&self, level: &[u8]) -> u64 {
        self.hash.of_level(level)
    }

    /// The child of `parent` for `level`.
    #[inline]
    pub fn find<K: Ord + Copy, V>(
        &self,
        level_hash: u64,
        parent: u32,
        level: &[u8],
        nodes: &Arena<K, V>,
    ) -> Option<u32> {
        let hash = with_parent(level_hash, parent);
        let same = |id: &u32| {
            let node = nodes.at(*id);
            node.parent == parent && node.level.bytes() == level
        };
        self.tables[table_of(hash)].find(hash, same).copied()
    }

    /// Adds the edge to `child`, which is in `nodes` already.
    pub fn insert<K: Ord + Copy, V>(&mut self, child: u32, nodes: &Arena<K, V>) {
        let hash = self.hash.of_node(nodes.at(child));
        let rehash = |id: &u32| self.hash.of_node(nodes.at(*id));
        self.tables[table_of(hash)].insert_unique(hash, child, rehash);
    }

    /// Takes out the edge to `child`, which is in `nodes` still.
    pub fn remove<K: Ord + Copy, V>(&mut self, child: u32, nodes: &Arena<K, V>) {
        let hash = self.hash.of_node(nodes.at(child));
        let table = &mut self.tables[table_of(hash)];
        if let Ok(entry) = table.find_entry(hash, |id| *id == child) {
            entry.remove();
        }
        if table.len() * 8 < table.capacity() {
            let rehash = |id: &u32| self.hash.of_node(nodes.at(*id));
            table.shrink_to(table.len() * 2, rehash);
        }
    }
}

/// A hash that strangers' levels cannot attack while they do not know the seed.
#[derive(Clone, Debug)]
struct LevelHash {
    seed: u64,
    shared: SharedSeed,
}

impl LevelHash {
    #[inline]
    fn of_level(&self, level: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(level);
        hasher.finish()
    }

    fn of_node<K: Ord + Copy, V>(&self, node: &Node<K, V>) -> u64 {
        with_parent(self.of_level(node.level.bytes()), node.parent)
    }
}

/// Mixes the parent's number into the hash of a level, well in the high and in the low bits.
#[inline]
fn with_parent(level_hash: u64, parent: u32) -> u64 {
    let mixed = level_hash ^ u64::from(parent).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let product = u128::from(mixed) * 0xA076_1D64_78BD_642F;
    (product >> 64) as u64 ^ product as u64
}

/// From bits that the tables themselves do not look at until they are very large.
#[inline]
fn table_of(hash: u64) -> usize {
    (hash >> 40) as usize % TABLES
}

const TABLES: usize = 256;
