//! The subscription tree: Topic Filter → values by key.
//!
//! It is not a tree of levels. Filters without wildcard, by far the most, are in one hashed map of whole
//! texts. The others are kept by their length and their shape: where their `+` stand. Of one shape at
//! most one filter matches a name, and it is found by a fingerprint. So what a visit costs is bounded by
//! construction: it looks once at each shape, some nanoseconds, and at the filters that match. With a
//! trie, filters that share their beginnings make a visit go through all of them.
//!
//! No order that is visible outside depends on a hash.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::exact::Exact;
use super::name::{TopicFilter, TopicName, matches};
use super::prints::{Printer, Shape, levels};
use super::shapes::Shapes;
use super::shards::TextHash;
use super::values::Values;

/// Topic Filters and, under each, values by key. Cost of a visit grows with matches, depth, and the number
/// of different shapes of filters that are not longer than the name.
///
/// Of a filter with a wildcard no text is kept: its memory does not grow with its depth.
#[derive(Debug)]
pub struct Tree<K, V> {
    exact: Exact<K, V>,
    hash: TextHash,
    /// Filters that end with `#`, by their levels before it.
    rests: Vec<Shapes<K, V>>,
    /// Filters with `+` alone, by their levels.
    pluses: Vec<Shapes<K, V>>,
    printer: Printer,
    /// Filters deeper than prints are: looked at one by one. No configuration has them that does not
    /// raise `limits.topic_levels_max` beyond its default.
    deep: BTreeMap<Box<str>, Values<K, V>>,
    /// Different filters with a wildcard.
    wild: usize,
    len: usize,
}

impl<K: Ord + Copy, V> Tree<K, V> {
    /// An empty tree; its hashes depend on `seed`.
    pub fn new(seed: u64) -> Tree<K, V> {
        Tree {
            exact: Exact::new(),
            hash: TextHash::new(seed),
            rests: Vec::new(),
            pluses: Vec::new(),
            printer: Printer::new(seed),
            deep: BTreeMap::new(),
            wild: 0,
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
        debug_assert!(filter.share().is_none());
        if is_exact(filter.as_str()) {
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
        let (before, is_new) = match self.printer.of_pattern(pattern) {
            Some((shape, print)) => self.group_mut(shape).insert(shape.plus, print, key, value),
            None => {
                let values = self.deep.entry(pattern.into()).or_default();
                let is_new = values.is_empty();
                (values.insert(key, value), is_new)
            }
        };
        self.wild += usize::from(is_new);
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes out what is under `pattern` and `key`.
    pub fn remove(&mut self, pattern: &str, key: K) -> Option<V> {
        let removed = if is_exact(pattern) {
            self.exact.remove(pattern, key, &self.hash)?
        } else {
            self.remove_wild(pattern, key)?
        };
        self.len -= 1;
        Some(removed)
    }

    fn remove_wild(&mut self, pattern: &str, key: K) -> Option<V> {
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
        self.wild -= usize::from(was_last);
        if self.wild == 0 {
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

    /// Calls `visit` for every value with a filter that `name` matches; a key may come several times,
    /// from several filters. Within one filter, keys come in order; filters come in an order that
    /// depends on their texts only. Returns how many shapes it has looked at: what it has cost beside the
    /// values.
    pub fn visit<'t>(&'t self, name: TopicName<'_>, visit: &mut impl FnMut(K, &'t V)) -> usize {
        if let Some(values) = self.exact.find(name.as_str(), &self.hash) {
            values.visit(visit);
        }
        if self.wild == 0 { 0 } else { self.visit_wild(name.as_str(), visit) }
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
        self.exact.len() + self.wild
    }

    /// Visits the values of filters with wildcards that `name` matches.
    fn visit_wild<'t>(&'t self, name: &str, visit: &mut impl FnMut(K, &'t V)) -> usize {
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

    fn visit_deep<'t>(&'t self, name: &str, visit: &mut impl FnMut(K, &'t V)) -> usize {
        for (pattern, values) in &self.deep {
            if matches(pattern, TopicName::trusted(name)) {
                values.visit(visit);
            }
        }
        self.deep.len() * DEEP_LOOKS
    }
}

fn is_exact(pattern: &str) -> bool {
    !pattern.bytes().any(|byte| byte == b'+' || byte == b'#')
}

/// From so many looks on, a table of prints saves more than it costs.
const TABLE_FROM: usize = 96;

/// What it costs to compare a deep filter as a text, in looks.
const DEEP_LOOKS: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::random::Random;
    use crate::topic::twin;

    fn visited(tree: &Tree<usize, u64>, name: &str) -> Vec<(usize, u64)> {
        let mut seen = Vec::new();
        tree.visit(TopicName::trusted(name), &mut |key, value| seen.push((key, *value)));
        seen
    }

    fn check(filters: &[&str], name: &str, expected: &[usize]) {
        let mut tree = Tree::new(7);
        for (key, filter) in filters.iter().enumerate() {
            tree.insert(filter, key, 0);
        }
        let mut seen: Vec<usize> = visited(&tree, name).into_iter().map(|(key, _)| key).collect();
        seen.sort_unstable();
        assert_eq!(seen, expected, "{filters:?} {name:?}");
    }

    #[test]
    fn wildcards_match_as_the_specification_says() {
        check(&["#", "+", "+/#", "a", "a/#", "a/+", "a/", "/"], "a", &[0, 1, 2, 3, 4]);
        check(&["#", "+", "+/+", "/+", "+/", "/", "/#", "//"], "/", &[0, 2, 3, 4, 5, 6]);
        check(
            &["a/+/c", "a/+/+", "a/b/c/#", "a/#", "b/#", "+/b/c", "a/b"],
            "a/b/c",
            &[0, 1, 2, 3, 5],
        );
        check(&["#", "+/x", "$SYS/#", "$SYS/+", "$SYS/x", "+/#"], "$SYS/x", &[2, 3, 4]);
        check(&["#", "+", "$", "$/#"], "$", &[2, 3]);
        check(&["a/+", "a/#"], "a/$b", &[0, 1]);
    }

    #[test]
    fn a_tree_agrees_with_its_twin() {
        for seed in 1..=60 {
            run_against_twin(seed);
        }
    }

    fn run_against_twin(seed: u64) {
        let mut random = Random::new(seed);
        let (mut tree, mut twin) = (Tree::new(seed), BTreeMap::new());
        for step in 0..600_u64 {
            let (pattern, key) = (random.pattern(), random.below(3));
            if random.below(5) < 3 {
                let before = twin.insert((pattern.clone(), key), step);
                assert_eq!(tree.insert(&pattern, key, step), before, "seed {seed} step {step}");
            } else {
                // Mostly one that is there.
                let at = random.below(twin.len() + 1);
                let (pattern, key) = twin.keys().nth(at).cloned().unwrap_or((pattern, key));
                let before = twin.remove(&(pattern.clone(), key));
                assert_eq!(tree.remove(&pattern, key), before, "seed {seed} step {step}");
            }
            assert_eq!(tree.len(), twin.len(), "seed {seed} step {step}");
            let filters: BTreeSet<&String> = twin.keys().map(|(pattern, _)| pattern).collect();
            assert_eq!(tree.filters(), filters.len(), "seed {seed} step {step}");
            let name = random.name();
            let mut expected: Vec<(usize, u64)> = twin
                .iter()
                .filter(|((pattern, _), _)| twin::oracle(pattern, &name))
                .map(|((_, key), value)| (*key, *value))
                .collect();
            let mut seen = visited(&tree, &name);
            expected.sort_unstable();
            seen.sort_unstable();
            assert_eq!(seen, expected, "seed {seed} step {step} {name:?}");
        }
        for (pattern, key) in twin.keys() {
            assert!(tree.remove(pattern, *key).is_some(), "seed {seed}");
        }
        assert_eq!((tree.len(), tree.filters()), (0, 0), "seed {seed}");
    }

    #[test]
    fn the_order_of_a_visit_depends_on_no_seed_and_no_history() {
        let patterns =
            ["+/+/+", "#", "a/+/c", "a/b/c", "+/b/c", "a/b/#", "a/#", "a/+/+", "+/+/c", "a/b/c/#"];
        let order = |seed: u64| {
            let (mut tree, mut random) = (Tree::new(seed), Random::new(seed));
            let mut keys: Vec<usize> = (0..patterns.len() * 4).collect();
            while !keys.is_empty() {
                let key = keys.swap_remove(random.below(keys.len()));
                tree.insert(patterns[key % patterns.len()], key, 0);
                let other = random.pattern();
                tree.insert(&other, usize::MAX, 0);
                tree.remove(&other, usize::MAX);
            }
            visited(&tree, "a/b/c")
        };
        let first = order(1);
        assert_eq!(first.len(), patterns.len() * 4);
        for seed in 2..50 {
            assert_eq!(order(seed), first, "seed {seed}");
        }
    }

    #[test]
    fn keys_of_one_filter_come_in_order_however_many_they_are() {
        let (mut tree, mut random) = (Tree::new(3), Random::new(3));
        for _ in 0..10_000 {
            tree.insert("a/+", random.below(100_000), 1);
        }
        let seen = visited(&tree, "a/b");
        assert_eq!(seen.len(), tree.len());
        assert!(seen.is_sorted());
    }

    #[test]
    fn a_filter_of_65536_levels_takes_linear_time_and_no_stack() {
        let deep = "/".repeat(65_535);
        let plus = "+/".repeat(32_767) + "#";
        let named = "/".repeat(65_534) + "+";
        let (mut tree, start) = (Tree::new(1), std::time::Instant::now());
        for key in 0..10 {
            tree.insert(&deep, key, 0);
            tree.insert(&plus, key, 0);
            tree.insert(&named, key, 0);
        }
        assert_eq!(tree.filters(), 3);
        assert_eq!(visited(&tree, &deep).len(), 20);
        assert_eq!(visited(&tree, &deep[1..]).len(), 20);
        for key in 0..10 {
            tree.remove(&named, key);
        }
        assert_eq!(tree.filters(), 2);
        drop(tree);
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    }

    #[test]
    fn a_name_that_reaches_many_nodes_reaches_all() {
        let mut tree = Tree::new(1);
        for key in 0..1 << 10 {
            let levels: Vec<&str> =
                (0..10).map(|bit| if key >> bit & 1 == 0 { "a" } else { "+" }).collect();
            tree.insert(&levels.join("/"), key, 0);
        }
        let mut seen = visited(&tree, "a/a/a/a/a/a/a/a/a/a");
        seen.sort_unstable();
        assert!(seen.iter().map(|(key, _)| *key).eq(0..1 << 10));
    }

    /// Filters of many shapes: chunks of shapes divide, and prints come from a table.
    #[test]
    fn many_shapes_agree_with_matching_one_by_one() {
        for seed in 1..=3 {
            let mut random = Random::new(seed);
            let (mut tree, mut twin) = (Tree::new(seed), BTreeMap::new());
            let filter = |random: &mut Random| {
                let len = 1 + random.below(14);
                let mut levels: Vec<&str> =
                    (0..len).map(|_| random.pick(&["+", "+", "a", "a", "b"])).collect();
                if random.below(3) == 0 {
                    levels.push("#");
                }
                levels.join("/")
            };
            for round in 0..4 {
                for _ in 0..1500 {
                    let (filter, key) = (filter(&mut random), random.below(3));
                    let before = tree.insert(&filter, key, 0);
                    assert_eq!(before, twin.insert((filter, key), 0), "seed {seed}");
                }
                // Down to none in the last round.
                let left = [2000, 100, 3000, 0][round];
                while twin.len() > left {
                    let at = random.below(twin.len());
                    let (filter, key) = twin.keys().nth(at).cloned().expect("it is there");
                    assert_eq!(tree.remove(&filter, key), twin.remove(&(filter, key)));
                }
                for _ in 0..60 {
                    let len = 1 + random.below(16);
                    let name: Vec<&str> = (0..len).map(|_| random.pick(&["a", "a", "b"])).collect();
                    let name = name.join("/");
                    let name = TopicName::trusted(&name);
                    let matching = twin.keys().filter(|(filter, _)| matches(filter, name));
                    let mut expected: Vec<usize> = matching.map(|(_, key)| *key).collect();
                    let mut seen = Vec::new();
                    tree.visit(name, &mut |key, _| seen.push(key));
                    expected.sort_unstable();
                    seen.sort_unstable();
                    assert_eq!(seen, expected, "seed {seed} round {round} {name:?}");
                }
            }
            assert_eq!((tree.len(), tree.filters()), (0, 0), "seed {seed}");
        }
    }

    #[test]
    fn a_visit_looks_once_at_each_shape_however_many_filters_have_it() {
        let mut tree = Tree::new(9);
        let bits = |number: usize, len: usize| {
            let level = |bit| if number >> bit & 1 == 0 { "a" } else { "+" };
            (0..len).map(level).collect::<Vec<_>>().join("/")
        };
        for number in 1..1 << 12 {
            for last in ["q", "r", "s"] {
                tree.insert(&format!("{}/{last}", bits(number, 12)), number, 0);
            }
        }
        let looks = |name: &str| tree.visit(TopicName::trusted(name), &mut |_, _| {});
        assert_eq!(looks(&("a/".repeat(12) + "z")), (1 << 12) - 1);
        assert_eq!(looks(&("a/".repeat(12) + "q")), (1 << 12) - 1);
        assert_eq!(looks(&("a/".repeat(13) + "z")), 0, "filters of another length");
        assert_eq!(looks("a"), 0);
    }

    #[test]
    fn filters_of_one_shape_are_found_however_many_they_are() {
        let (mut tree, mut random) = (Tree::new(4), Random::new(4));
        let mut there = BTreeSet::new();
        // Up and down through every form, several times.
        for most in [3, 80, 1, 300, 20, 70, 0] {
            while there.len() < most {
                let number = random.below(1000);
                there.insert(number);
                tree.insert(&format!("+/x{number}/y"), 1, number as u64);
            }
            while there.len() > most {
                let number = there.iter().nth(random.below(there.len())).copied().unwrap();
                there.remove(&number);
                assert_eq!(tree.remove(&format!("+/x{number}/y"), 1), Some(number as u64));
            }
            assert_eq!(tree.filters(), there.len());
            for number in 0..1000 {
                let expected: Vec<_> =
                    there.get(&number).map(|number| (1, *number as u64)).into_iter().collect();
                assert_eq!(visited(&tree, &format!("a/x{number}/y")), expected, "{most}");
            }
        }
    }

    #[test]
    fn filters_deeper_than_prints_are_found_too() {
        let deep = "a/".repeat(70);
        for (filter, name, found) in [
            (deep.clone() + "+", deep.clone() + "x", true),
            (deep.clone() + "+/y", deep.clone() + "x/y", true),
            (deep.clone() + "+/y", deep.clone() + "x/z", false),
            ("+/".to_owned() + &deep + "#", deep.clone() + "a", true),
            ("+/".to_owned() + &deep + "#", "$x/".to_owned() + &deep + "b", false),
            ("a/".repeat(63) + "+/#", deep.clone() + "x", true),
            ("a/".repeat(64) + "#", deep.clone() + "x", true),
            ("a/".repeat(64) + "b/#", deep.clone() + "x", false),
        ] {
            let mut tree = Tree::new(1);
            assert_eq!(tree.insert(&filter, 1, 7), None);
            assert_eq!(tree.insert(&filter, 1, 8), Some(7));
            assert_eq!(
                visited(&tree, &name),
                if found { vec![(1, 8)] } else { vec![] },
                "{filter}"
            );
            assert_eq!(tree.remove(&filter, 2), None);
            assert_eq!((tree.remove(&filter, 1), tree.filters()), (Some(8), 0));
            assert_eq!(tree.remove(&filter, 1), None);
        }
    }
}
