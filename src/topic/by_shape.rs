//! Filters with wildcards by their shape: their length, and where their `+` stand.
//!
//! Of one shape at most one filter matches a name, and it is found by a fingerprint. So a visit looks once at
//! each shape, some nanoseconds, and at the filters that match, whatever the texts of the filters. No text
//! of them is kept: the memory of a filter does not grow with its depth.

use std::collections::BTreeMap;

use super::name::{TopicName, matches};
use super::prints::{Printer, Shape, levels};
use super::shapes::Shapes;
use super::values::Values;

/// Filters with wildcards and, under each, values by key.
#[derive(Debug)]
pub struct ByShape<K, V> {
    /// Filters that end with `#`, by their levels before it.
    rests: Vec<Shapes<K, V>>,
    /// Filters with `+` alone, by their levels.
    pluses: Vec<Shapes<K, V>>,
    printer: Printer,
    /// Filters deeper than prints are: looked at one by one. No configuration has them that does not
    /// raise `limits.topic_levels_max` beyond its default.
    deep: BTreeMap<Box<str>, Values<K, V>>,
    /// Different filters.
    len: usize,
}

impl<K: Ord + Copy, V> ByShape<K, V> {
    /// Without filters; its prints depend on `seed`.
    pub fn new(seed: u64) -> ByShape<K, V> {
        ByShape {
            rests: Vec::new(),
            pluses: Vec::new(),
            printer: Printer::new(seed),
            deep: BTreeMap::new(),
            len: 0,
        }
    }

    /// Puts `value` under a filter and `key`; returns what was there.
    pub fn insert(&mut self, pattern: &str, key: K, value: V) -> Option<V> {
        let (before, is_new) = match self.printer.of_pattern(pattern) {
            Some((shape, print)) => self.group_mut(shape).insert(shape.plus, print, key, value),
            None => {
                let values = self.deep.entry(pattern.into()).or_default();
                let is_new = values.is_empty();
                (values.insert(key, value), is_new)
            }
        };
        self.len += usize::from(is_new);
        before
    }

    /// Takes out what is under a filter and `key`.
    pub fn remove(&mut self, pattern: &str, key: K) -> Option<V> {
        let (removed, was_last) = match self.printer.of_pattern(pattern) {
            Some((shape, print)) => self.group_mut(shape).remove(shape.plus, print, key)?,
            None => {
                let values = self.deep.get_mut(pattern)?;
                let removed = values.remove(key)?;
                let was_last = values.is_empty();
                if was_last {
                    self.deep.remove(pattern);
                }
                (removed, was_last)
            }
        };
        self.len -= usize::from(was_last);
        if self.len == 0 {
            (self.rests, self.pluses) = (Vec::new(), Vec::new());
        }
        Some(removed)
    }

    fn group_mut(&mut self, shape: Shape) -> &mut Shapes<K, V> {
        let groups = if shape.rest { &mut self.rests } else { &mut self.pluses };
        if groups.len() <= shape.len {
            groups.resize_with(shape.len + 1, Shapes::new);
        }
        &mut groups[shape.len]
    }

    /// Calls `visit` for the values of the filters that `name` matches, in an order that depends on the texts
    /// of the filters only. Returns how many shapes it has looked at.
    pub fn visit<'t>(&'t self, name: &str, visit: &mut impl FnMut(K, &'t V)) -> usize {
        // `$`-topics are not matched by a leading wildcard [MQTT5-4.7.2-1].
        let skip = u8::from(name.starts_with('$'));
        let len = levels(name).count();
        // `a/#` matches `a` too.
        let rests = &self.rests[..self.rests.len().min(len + 1)];
        let pluses = self.pluses.get(len).filter(|shapes| shapes.len() > 0);
        let needed = if pluses.is_some() { len } else { rests.len().saturating_sub(1) };
        let prints = self.printer.of_name(name, needed);
        let groups = rests.iter().enumerate().skip(usize::from(skip));
        let groups = groups.chain(pluses.map(|shapes| (len, shapes)));
        let groups = groups.filter(|(_, shapes)| shapes.len() > 0);
        let looks = groups.clone().map(|(_, shapes)| shapes.len()).sum::<usize>();
        if looks > TABLE_FROM {
            let many = prints.tabulate();
            for (len, shapes) in groups {
                let of_plus = |plus| many.of_plus(plus, len);
                shapes.visit(prints.whole(len), skip.into(), of_plus, visit);
            }
        } else {
            for (len, shapes) in groups {
                let of_plus = |plus| prints.of_plus(plus);
                shapes.visit(prints.whole(len), skip.into(), of_plus, visit);
            }
        }
        looks + self.visit_deep(name, visit)
    }

    /// Different filters.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    fn visit_deep<'t>(&'t self, name: &str, visit: &mut impl FnMut(K, &'t V)) -> usize {
        for (pattern, values) in &self.deep {
            if matches(pattern, TopicName::trusted(name)) {
                values.visit(visit);
            }
        }
        self.deep.len() * DEEP_LOOKS
    }
}

/// From so many looks on, a table of prints saves more than it costs.
const TABLE_FROM: usize = 96;

/// What it costs to compare a deep filter as a text, in looks.
const DEEP_LOOKS: usize = 64;
