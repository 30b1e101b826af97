//! The values under one Topic Filter, by key, in the order of the keys.

use std::collections::BTreeMap;

/// Values by key. Most filters have one subscriber, so one value needs no allocation; a filter with
/// many subscribers uses a balanced tree.
#[derive(Debug, Default)]
pub enum Values<K, V> {
    #[default]
    None,
    One(K, V),
    /// In order, 2 to [`FEW_MAX`].
    Few(Vec<(K, V)>),
    #[expect(clippy::box_collection, reason = "keeps this type as small as a `Vec`")]
    Many(Box<BTreeMap<K, V>>),
}

impl<K: Ord + Copy, V> Values<K, V> {
    /// Puts `value` under `key`; returns what was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self {
            Values::None => *self = Values::One(key, value),
            Values::One(old, kept) if *old == key => return Some(std::mem::replace(kept, value)),
            Values::One(..) => self.insert_second(key, value),
            Values::Few(few) => match few.binary_search_by_key(&key, |(key, _)| *key) {
                Ok(at) => return Some(std::mem::replace(&mut few[at].1, value)),
                Err(at) if few.len() < FEW_MAX => few.insert(at, (key, value)),
                Err(_) => self.insert_beyond_few(key, value),
            },
            Values::Many(many) => return many.insert(key, value),
        }
        None
    }

    /// Takes out what is under `key`.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let removed = match self {
            Values::None => None,
            Values::One(old, _) if *old != key => None,
            Values::One(..) => match std::mem::take(self) {
                Values::One(_, value) => Some(value),
                Values::None | Values::Few(_) | Values::Many(_) => None,
            },
            Values::Few(few) => {
                let at = few.binary_search_by_key(&key, |(key, _)| *key).ok()?;
                Some(few.remove(at).1)
            }
            Values::Many(many) => many.remove(&key),
        };
        self.shrink();
        removed
    }

    /// Calls `visit` for each, in the order of the keys.
    pub fn visit<'t>(&'t self, visit: &mut impl FnMut(K, &'t V)) {
        match self {
            Values::None => {}
            Values::One(key, value) => visit(*key, value),
            Values::Few(few) => few.iter().for_each(|(key, value)| visit(*key, value)),
            Values::Many(many) => many.iter().for_each(|(key, value)| visit(*key, value)),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        matches!(self, Values::None)
    }

    fn insert_second(&mut self, key: K, value: V) {
        let Values::One(old, kept) = std::mem::take(self) else { return };
        let mut few = Vec::with_capacity(2);
        few.push((old, kept));
        few.insert(usize::from(key > old), (key, value));
        *self = Values::Few(few);
    }

    fn insert_beyond_few(&mut self, key: K, value: V) {
        let Values::Few(few) = std::mem::take(self) else { return };
        let mut many: BTreeMap<K, V> = few.into_iter().collect();
        many.insert(key, value);
        *self = Values::Many(Box::new(many));
    }

    /// Moves to the smaller form once it is far enough from the larger one.
    fn shrink(&mut self) {
        match self {
            Values::Few(few) if few.len() == 1 => {
                *self = few.pop().map_or(Values::None, |(key, value)| Values::One(key, value));
            }
            Values::Few(few) if few.len() * 4 <= few.capacity() => few.shrink_to(few.len() * 2),
            Values::Many(many) if many.len() <= FEW_MAX / 2 => {
                *self = Values::Few(std::mem::take(&mut **many).into_iter().collect());
            }
            Values::None | Values::One(..) | Values::Few(_) | Values::Many(_) => {}
        }
    }
}

/// Most values in a sorted `Vec`: beyond, moving them costs more than a balanced tree.
const FEW_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn values_agree_with_a_sorted_map_at_every_size() {
        for seed in 1..=20 {
            let mut random = Random::new(seed);
            let (mut values, mut twin) = (Values::None, BTreeMap::new());
            for step in 0..4000 {
                // The number of keys in play breathes, so that every form is entered and left.
                let key = random.below(1 + step % 1000 / 10);
                let same = if random.below(100) < step % 200 {
                    values.remove(key) == twin.remove(&key)
                } else {
                    values.insert(key, step) == twin.insert(key, step)
                };
                assert!(same, "seed {seed} step {step}");
                let mut seen = Vec::new();
                values.visit(&mut |key, value: &usize| seen.push((key, *value)));
                assert!(
                    seen.iter().copied().eq(twin.iter().map(|(k, v)| (*k, *v))),
                    "seed {seed} step {step}"
                );
                assert_eq!(values.is_empty(), twin.is_empty());
            }
        }
    }

    #[test]
    fn a_small_subscription_keeps_within_the_size_of_a_vec() {
        assert_eq!(size_of::<Values<u32, (u32, u8)>>(), 24);
        assert_eq!(size_of::<Values<u64, u64>>(), 24);
    }
}
