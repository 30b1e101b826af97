//! The subscription tree: Topic Filter → values by key.
//!
//! There are two structures. Filters without wildcard, by far the most, are in one hashed map of whole
//! texts. The others form a trie by level. Its nodes are in one arena, so a filter of 65,536 levels
//! is dropped without recursion; its edges to named children are in one hashed map by parent and
//! level, so a node without children needs no memory for them. A visit goes level by level with the
//! set of nodes reached so far: a level of the name is hashed once, however many branches `+` opens.
//!
//! No order that is visible outside depends on a hash.

use std::sync::Arc;

use super::edges::Edges;
use super::exact::Exact;
use super::name::{TopicFilter, TopicName};
use super::nodes::{Arena, NONE, Node, ROOT};
use super::shards::TextHash;

/// Topic Filters and, under each, values by key. Cost of a visit grows with matches and depth,
/// not with the number of filters.
///
/// Unused nodes are kept for the next filter; their memory is freed with the last filter that has a
/// wildcard. The memory of filters without one is freed at once.
#[derive(Debug)]
pub struct Tree<K, V> {
    exact: Exact<K, V>,
    nodes: Arena<K, V>,
    edges: Edges,
    hash: TextHash,
    len: usize,
}

impl<K: Ord + Copy, V> Tree<K, V> {
    /// An empty tree; its hashes depend on `seed`.
    pub fn new(seed: u64) -> Tree<K, V> {
        Tree {
            exact: Exact::new(),
            nodes: Arena::new(),
            edges: Edges::new(),
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
        let node = self.grow_to(pattern);
        let before = self.nodes.at_mut(node).values.insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes out what is under `pattern` and `key`; nodes left without values are freed.
    pub fn remove(&mut self, pattern: &str, key: K) -> Option<V> {
        let removed = if is_exact(pattern) {
            self.exact.remove(pattern, key, &self.hash)?
        } else {
            let node = levels(pattern).try_fold(ROOT, |node, level| self.child(node, level))?;
            let removed = self.nodes.at_mut(node).values.remove(key)?;
            self.prune(node);
            removed
        };
        self.len -= 1;
        Some(removed)
    }

    /// Calls `visit` for every value with a filter that `name` matches; a key may come several times,
    /// from several filters. Within one filter, keys come in order; filters come in an order that
    /// depends on their texts only.
    pub fn visit<'t>(&'t self, name: TopicName<'_>, visit: &mut impl FnMut(K, &'t V)) {
        if let Some(values) = self.exact.find(name.as_str(), &self.hash) {
            values.visit(visit);
        }
        if self.nodes.len() > 1 {
            self.visit_wild(name.as_str(), visit);
        }
    }

    /// Values in the tree.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Nodes in the tree, the root not counted, filters without wildcard as one each: for tests
    /// and figures.
    pub fn nodes(&self) -> usize {
        self.exact.len() + self.nodes.len() - 1
    }

    /// Visits the values of filters with wildcards that `name` matches.
    fn visit_wild<'t>(&'t self, name: &str, visit: &mut impl FnMut(K, &'t V)) {
        // `$`-topics are not matched by a leading wildcard [MQTT5-4.7.2-1].
        let mut wild = !name.starts_with('$');
        let (mut reached, mut next) = (Reached::new(), Reached::new());
        reached.push(ROOT);
        for level in levels(name) {
            let hash = self.hash.of(level);
            for node in reached.iter() {
                self.step(node, level, hash, wild, &mut next, visit);
            }
            if next.is_empty() {
                return;
            }
            std::mem::swap(&mut reached, &mut next);
            next.clear();
            wild = true;
        }
        for node in reached.iter() {
            let node = self.nodes.at(node);
            node.values.visit(visit);
            self.visit_rest(node, visit); // `a/#` matches `a` too.
        }
    }

    /// From `node` by one level of the name: visits `#`, collects `+` and the named child.
    #[inline]
    fn step<'t>(
        &'t self,
        node: u32,
        level: &[u8],
        hash: u64,
        wild: bool,
        next: &mut Reached,
        visit: &mut impl FnMut(K, &'t V),
    ) {
        let parent = self.nodes.at(node);
        if wild {
            self.visit_rest(parent, visit);
            if parent.plus != NONE {
                next.push(parent.plus);
            }
        }
        if parent.named > 0
            && let Some(child) = self.edges.find(hash, node, level, &self.nodes)
        {
            next.push(child);
        }
    }

    #[inline]
    fn visit_rest<'t>(&'t self, node: &'t Node<K, V>, visit: &mut impl FnMut(K, &'t V)) {
        if node.rest != NONE {
            self.nodes.at(node.rest).values.visit(visit);
        }
    }

    /// The child of `node` for a level of a filter.
    fn child(&self, node: u32, level: &[u8]) -> Option<u32> {
        let parent = self.nodes.at(node);
        let child = match level {
            b"+" => parent.plus,
            b"#" => parent.rest,
            _ => return self.edges.find(self.hash.of(level), node, level, &self.nodes),
        };
        (child != NONE).then_some(child)
    }

    /// The node of `pattern`; adds it and the nodes above it where they are missing.
    fn grow_to(&mut self, pattern: &str) -> u32 {
        let mut node = ROOT;
        for level in levels(pattern) {
            node = self.child(node, level).unwrap_or_else(|| self.grow(node, level));
        }
        node
    }

    /// Adds a child to `node`.
    fn grow(&mut self, node: u32, level: &[u8]) -> u32 {
        let child = self.nodes.add(node, level);
        let parent = self.nodes.at_mut(node);
        match level {
            b"+" => parent.plus = child,
            b"#" => parent.rest = child,
            _ => {
                parent.named += 1;
                self.edges.insert(child, &self.nodes, &self.hash);
            }
        }
        child
    }

    /// Frees `node` and the nodes above it, as far as they have neither values nor children.
    fn prune(&mut self, mut node: u32) {
        while node != ROOT && self.nodes.at(node).is_bare() {
            let above = self.nodes.at(node).parent;
            let parent = self.nodes.at_mut(above);
            if parent.plus == node {
                parent.plus = NONE;
            } else if parent.rest == node {
                parent.rest = NONE;
            } else {
                parent.named -= 1;
                self.edges.remove(node, &self.nodes, &self.hash);
            }
            self.nodes.free(node);
            node = above;
        }
        if self.nodes.len() == 1 {
            self.nodes = Arena::new();
        }
    }
}

/// The nodes that the levels read so far lead to. Mostly a few, which need no allocation.
struct Reached {
    near: [u32; NEAR],
    near_len: usize,
    far: Vec<u32>,
}

impl Reached {
    fn new() -> Reached {
        Reached { near: [NONE; NEAR], near_len: 0, far: Vec::new() }
    }

    #[inline]
    fn push(&mut self, id: u32) {
        if self.near_len < NEAR {
            self.near[self.near_len] = id;
            self.near_len += 1;
        } else {
            self.far.push(id);
        }
    }

    #[inline]
    fn iter(&self) -> impl Iterator<Item = u32> {
        self.near[..self.near_len].iter().chain(&self.far).copied()
    }

    fn is_empty(&self) -> bool {
        self.near_len == 0
    }

    fn clear(&mut self) {
        self.near_len = 0;
        self.far.clear();
    }
}

fn is_exact(pattern: &str) -> bool {
    !pattern.bytes().any(|byte| byte == b'+' || byte == b'#')
}

#[inline]
fn levels(text: &str) -> impl Iterator<Item = &[u8]> {
    text.as_bytes().split(|byte| *byte == b'/')
}

const NEAR: usize = 12;

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
            assert_eq!(tree.nodes(), nodes_of(&twin), "seed {seed} step {step}");
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
        assert_eq!((tree.len(), tree.nodes()), (0, 0), "seed {seed}");
    }

    /// One for each exact filter, and one for each different beginning of the others.
    fn nodes_of(twin: &BTreeMap<(String, usize), u64>) -> usize {
        let (exact, wild): (BTreeSet<&str>, BTreeSet<&str>) =
            twin.keys().map(|(pattern, _)| pattern.as_str()).partition(|pattern| is_exact(pattern));
        let mut beginnings = wild.clone();
        for pattern in wild {
            beginnings.extend(pattern.match_indices('/').map(|(at, _)| &pattern[..at]));
        }
        exact.len() + beginnings.len()
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
        assert_eq!(tree.nodes(), 1 + 32_768 + 65_535);
        assert_eq!(visited(&tree, &deep).len(), 20);
        assert_eq!(visited(&tree, &deep[1..]).len(), 20);
        for key in 0..10 {
            tree.remove(&named, key);
        }
        assert_eq!(tree.nodes(), 1 + 32_768);
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
}
