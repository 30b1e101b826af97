//! The subscription tree: Topic Filter → values by key.
//!
//! There are three structures, and a filter's text says which one it is in. Filters without wildcard, by far
//! the most, are in one hashed map of whole texts. Ordinary filters with wildcards, of few `+` and few levels,
//! form a trie by level: what a visit reaches of it grows with what there is to find. All others are kept by
//! shape: a trie of those could be made to cost as much as it has nodes, while shapes cost some nanoseconds
//! each. So what a visit costs is bounded by construction, and no filter is refused for its form.
//!
//! No order that is visible outside depends on a hash.

use std::sync::Arc;

use super::by_shape::ByShape;
use super::exact::Exact;
use super::name::{TopicFilter, TopicName};
use super::shards::TextHash;
use super::trie::Trie;

/// Topic Filters and, under each, values by key. Cost of a visit grows with matches, depth, and the number
/// of different shapes of filters that are not ordinary and not longer than the name.
#[derive(Debug)]
pub struct Tree<K, V> {
    exact: Exact<K, V>,
    trie: Trie<K, V>,
    by_shape: ByShape<K, V>,
    hash: TextHash,
    len: usize,
}

impl<K: Ord + Copy, V> Tree<K, V> {
    /// An empty tree; its hashes depend on `seed`.
    pub fn new(seed: u64) -> Tree<K, V> {
        Tree {
            exact: Exact::new(),
            trie: Trie::new(),
            by_shape: ByShape::new(seed),
            hash: TextHash::new(seed),
            len: 0,
        }
    }

    /// Puts `value` under `pattern` (a Topic Filter without its share) and `key`; returns what was there.
    pub fn insert(&mut self, pattern: &str, key: K, value: V) -> Option<V> {
        if is_exact(pattern) {
            self.insert_exact(&pattern.into(), key, value)
        } else {
            self.insert_wild(pattern, key, value)
        }
    }

    /// The same for a filter that is not shared: its text is then kept once for the subscriber and
    /// the tree.
    pub fn insert_filter(&mut self, filter: &TopicFilter, key: K, value: V) -> Option<V> {
        debug_assert!(!filter.is_shared());
        if filter.is_exclusive() {
            self.insert(filter.pattern(), key, value)
        } else if is_exact(filter.as_str()) {
            self.insert_exact(filter.text(), key, value)
        } else {
            self.insert_wild(filter.as_str(), key, value)
        }
    }

    fn insert_exact(&mut self, pattern: &Arc<str>, key: K, value: V) -> Option<V> {
        let before = self.exact.insert(pattern, key, value, &self.hash);
        self.len += usize::from(before.is_none());
        before
    }

    fn insert_wild(&mut self, pattern: &str, key: K, value: V) -> Option<V> {
        let before = if Trie::<K, V>::is_for(pattern) {
            self.trie.insert(pattern, key, value, &self.hash)
        } else {
            self.by_shape.insert(pattern, key, value)
        };
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes out what is under `pattern` and `key`.
    pub fn remove(&mut self, pattern: &str, key: K) -> Option<V> {
        let removed = if is_exact(pattern) {
            self.exact.remove(pattern, key, &self.hash)?
        } else if Trie::<K, V>::is_for(pattern) {
            self.trie.remove(pattern, key, &self.hash)?
        } else {
            self.by_shape.remove(pattern, key)?
        };
        self.len -= 1;
        Some(removed)
    }

    /// Calls `visit` for every value with a filter that `name` matches; a key may come several times,
    /// from several filters. Within one filter, keys come in order; filters come in an order that
    /// depends on their texts only. Returns what it has cost beside the values, in looks: one for each
    /// shape of filters, and [`NODE_LOOKS`] for each node of the trie.
    pub fn visit<'t>(&'t self, name: TopicName<'_>, visit: &mut impl FnMut(K, &'t V)) -> usize {
        let name = name.as_str();
        if let Some(values) = self.exact.find(name, &self.hash) {
            values.visit(visit);
        }
        let mut looks = 0;
        if self.trie.len() > 0 {
            looks += self.trie.visit(name, &self.hash, visit) * NODE_LOOKS;
        }
        if self.by_shape.len() > 0 {
            looks += self.by_shape.visit(name, visit);
        }
        looks
    }

    /// Values in the tree.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Different filters in the tree: for tests and figures.
    pub fn filters(&self) -> usize {
        self.exact.len() + self.trie.len() + self.by_shape.len()
    }
}

fn is_exact(pattern: &str) -> bool {
    !pattern.bytes().any(|byte| byte == b'+' || byte == b'#')
}

/// What it costs to look at a node of the trie, in looks at a shape: it is somewhere in memory, where
/// shapes are in a row.
pub const NODE_LOOKS: usize = 8;

#[cfg(test)]
#[path = "tree/tests.rs"]
mod tests;
