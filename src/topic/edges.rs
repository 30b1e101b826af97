//! The named edges of the trie.

use super::nodes::{Arena, Node};
use super::shards::{Shards, TextHash, spread};

/// All edges of a trie to named children, by parent and level.
///
/// An edge is only the child's number: parent and level are compared in the child's node.
#[derive(Debug)]
pub struct Edges {
    children: Shards<u32>,
}

impl Edges {
    /// Without edges.
    pub fn new() -> Edges {
        Edges { children: Shards::new() }
    }

    /// The child of `parent` for `level`, which has the hash `level_hash`.
    #[inline]
    pub fn find<K: Ord + Copy, V>(
        &self,
        level_hash: u64,
        parent: u32,
        level: &[u8],
        nodes: &Arena<K, V>,
    ) -> Option<u32> {
        let same = |id: &u32| {
            let node = nodes.at(*id);
            node.parent == parent && node.level.bytes() == level
        };
        self.children.find(with_parent(level_hash, parent), same).copied()
    }

    /// Adds the edge to `child`, which is in `nodes` already.
    pub fn insert<K: Ord + Copy, V>(&mut self, child: u32, nodes: &Arena<K, V>, hash: &TextHash) {
        let rehash = |id: &u32| of_node(hash, nodes.at(*id));
        self.children.insert(rehash(&child), child, rehash);
    }

    /// Takes out the edge to `child`, which is in `nodes` still.
    pub fn remove<K: Ord + Copy, V>(&mut self, child: u32, nodes: &Arena<K, V>, hash: &TextHash) {
        let rehash = |id: &u32| of_node(hash, nodes.at(*id));
        self.children.remove(rehash(&child), |id| *id == child, rehash);
    }
}

fn of_node<K: Ord + Copy, V>(hash: &TextHash, node: &Node<K, V>) -> u64 {
    with_parent(hash.of(node.level.bytes()), node.parent)
}

/// Mixes the parent's number into the hash of a level, so that a level is hashed once for all
/// parents it is searched under.
#[inline]
fn with_parent(level_hash: u64, parent: u32) -> u64 {
    spread(level_hash ^ u64::from(parent).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}
