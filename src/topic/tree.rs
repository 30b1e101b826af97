//! The subscription tree: Topic Filter → values by key.

use super::name::TopicName;

/// Topic Filters and, under each, values by key. Cost of a visit grows with matches and depth,
/// not with the number of filters.
#[derive(Debug)]
pub struct Tree<K, V> {
    _values: Vec<(K, V)>,
}

impl<K: Ord + Copy, V> Tree<K, V> {
    /// An empty tree; `seed` feeds its hashes.
    pub fn new(_seed: u64) -> Tree<K, V> {
        todo!()
    }

    /// Puts `value` under `pattern` (a Topic Filter without its share) and `key`; returns what was there.
    pub fn insert(&mut self, _pattern: &str, _key: K, _value: V) -> Option<V> {
        todo!()
    }

    /// Takes out what is under `pattern` and `key`; nodes left without values are freed.
    pub fn remove(&mut self, _pattern: &str, _key: K) -> Option<V> {
        todo!()
    }

    /// Calls `visit` for every value whose filter `name` matches; a key may come several times,
    /// from several filters. Within one filter, keys come in order.
    pub fn visit<'t>(&'t self, _name: TopicName<'_>, _visit: &mut impl FnMut(K, &'t V)) {
        todo!()
    }

    /// Values in the tree.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Nodes in the tree, the root not counted: for tests and figures.
    pub fn nodes(&self) -> usize {
        todo!()
    }
}
