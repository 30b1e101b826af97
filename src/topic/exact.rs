//! Topic Filters without a wildcard: found by one lookup of the whole name.

use std::sync::Arc;

use super::shards::{Shards, TextHash};
use super::values::Values;

/// Values by exact Topic Filter.
#[derive(Debug)]
pub struct Exact<K, V> {
    filters: Shards<Filter<K, V>>,
    len: usize,
}

#[derive(Debug)]
struct Filter<K, V> {
    /// Mostly the subscriber's own copy of it.
    text: Arc<str>,
    values: Values<K, V>,
}

impl<K: Ord + Copy, V> Exact<K, V> {
    /// Without filters.
    pub fn new() -> Exact<K, V> {
        Exact { filters: Shards::new(), len: 0 }
    }

    /// Puts `value` under `text` and `key`; returns what was there.
    pub fn insert(&mut self, text: &Arc<str>, key: K, value: V, hash: &TextHash) -> Option<V> {
        let of_text = hash.of(text.as_bytes());
        if let Some(filter) = self.filters.find_mut(of_text, |filter| *filter.text == **text) {
            return filter.values.insert(key, value);
        }
        let filter = Filter { text: text.clone(), values: Values::One(key, value) };
        self.filters.insert(of_text, filter, |filter| hash.of(filter.text.as_bytes()));
        self.len += 1;
        None
    }

    /// Takes out what is under `text` and `key`, and the filter with the last value.
    pub fn remove(&mut self, text: &str, key: K, hash: &TextHash) -> Option<V> {
        let of_text = hash.of(text.as_bytes());
        let filter = self.filters.find_mut(of_text, |filter| *filter.text == *text)?;
        let removed = filter.values.remove(key)?;
        if filter.values.is_empty() {
            let rehash = |filter: &Filter<K, V>| hash.of(filter.text.as_bytes());
            self.filters.remove(of_text, |filter| *filter.text == *text, rehash);
            self.len -= 1;
        }
        Some(removed)
    }

    /// The values under `text`.
    #[inline]
    pub fn find(&self, text: &str, hash: &TextHash) -> Option<&Values<K, V>> {
        if self.len == 0 {
            return None;
        }
        let filter = self.filters.find(hash.of(text.as_bytes()), |filter| *filter.text == *text)?;
        Some(&filter.values)
    }

    /// Filters.
    pub fn len(&self) -> usize {
        self.len
    }
}
