//! The trie of ordinary filters with wildcards: a node for each level.
//!
//! Its nodes are in one arena; its edges to named children are in one hashed map by parent and level, so a
//! node without children needs no memory for them. A visit goes level by level with the set of nodes
//! reached so far: a level of the name is hashed once, however many branches `+` opens.
//!
//! Filters that share their beginnings could make a visit go through all of them. So a filter is ordinary
//! only if it has few `+` and few levels. A node that a visit reaches stands for a choice of levels of the
//! name that are `+`; so at depth d there are at most C(d, 0) + … + C(d, [`PLUS_MAX`]), however many
//! filters there are. With 4 and 12 that is 2,379 nodes in all, and as many `#` below them.

use super::edges::Edges;
use super::nodes::{Arena, NONE, Node, ROOT};
use super::prints::levels;
use super::shards::TextHash;

/// Filters with wildcards and, under each, values by key.
#[derive(Debug)]
pub struct Trie<K, V> {
    nodes: Arena<K, V>,
    edges: Edges,
    /// Different filters.
    len: usize,
}

impl<K: Ord + Copy, V> Trie<K, V> {
    /// Whether a filter with a wildcard belongs here.
    pub fn is_for(pattern: &str) -> bool {
        let (mut pluses, mut separators) = (0, 0);
        for byte in pattern.bytes() {
            pluses += usize::from(byte == b'+');
            separators += usize::from(byte == b'/');
            if pluses > PLUS_MAX || separators > DEPTH_MAX {
                return false;
            }
        }
        // A last `#` is no level.
        separators < DEPTH_MAX || pattern.ends_with('#')
    }

    /// Without filters.
    pub fn new() -> Trie<K, V> {
        Trie { nodes: Arena::new(), edges: Edges::new(), len: 0 }
    }

    /// Puts `value` under a filter and `key`; returns what was there.
    pub fn insert(&mut self, pattern: &str, key: K, value: V, hash: &TextHash) -> Option<V> {
        let node = self.grow_to(pattern, hash);
        let values = &mut self.nodes.at_mut(node).values;
        self.len += usize::from(values.is_empty());
        values.insert(key, value)
    }

    /// Takes out what is under a filter and `key`; nodes left without values are freed.
    pub fn remove(&mut self, pattern: &str, key: K, hash: &TextHash) -> Option<V> {
        let node = levels(pattern).try_fold(ROOT, |node, level| self.child(node, level, hash))?;
        let values = &mut self.nodes.at_mut(node).values;
        let removed = values.remove(key)?;
        self.len -= usize::from(values.is_empty());
        self.prune(node, hash);
        Some(removed)
    }

    /// Calls `visit` for the values of the filters that `name` matches: in an order that depends on the
    /// texts of the filters only, and of one filter in the order of the keys. Returns how many nodes it has
    /// looked at.
    pub fn visit<'t>(
        &'t self,
        name: &str,
        hash: &TextHash,
        visit: &mut impl FnMut(K, &'t V),
    ) -> usize {
        let mut walk = Walk { looks: 1, visit };
        // `$`-topics are not matched by a leading wildcard [MQTT5-4.7.2-1].
        let mut wild = !name.starts_with('$');
        // Two sets that take turns by reference: to swap what is in them would move it at each level.
        let (mut reached, mut next) = (&mut Reached::new(), &mut Reached::new());
        reached.push(ROOT);
        for level in levels(name) {
            let of_level = hash.of(level);
            for node in reached.iter() {
                self.step(node, (level, of_level), wild, &mut walk, next);
            }
            if next.is_empty() {
                return walk.looks;
            }
            std::mem::swap(&mut reached, &mut next);
            next.clear();
            wild = true;
        }
        for node in reached.iter() {
            let node = self.nodes.at(node);
            node.values.visit(walk.visit);
            self.visit_rest(node, &mut walk); // `a/#` matches `a` too.
        }
        walk.looks
    }

    /// From `node` by one level of the name: visits `#`, collects `+` and the named child.
    #[inline]
    fn step<'t, F: FnMut(K, &'t V)>(
        &'t self,
        node: u32,
        (level, of_level): (&[u8], u64),
        wild: bool,
        walk: &mut Walk<'_, F>,
        next: &mut Reached,
    ) {
        let parent = self.nodes.at(node);
        if wild {
            self.visit_rest(parent, walk);
            if parent.plus != NONE {
                walk.reach(parent.plus, next);
            }
        }
        if parent.named > 0
            && let Some(child) = self.edges.find(of_level, node, level, &self.nodes)
        {
            walk.reach(child, next);
        }
    }

    #[inline]
    fn visit_rest<'t, F: FnMut(K, &'t V)>(&'t self, node: &'t Node<K, V>, walk: &mut Walk<'_, F>) {
        if node.rest != NONE {
            walk.looks += 1;
            self.nodes.at(node.rest).values.visit(walk.visit);
        }
    }

    /// Different filters.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nodes, the root not counted: for tests.
    #[cfg(test)]
    pub fn nodes(&self) -> usize {
        self.nodes.len() - 1
    }

    /// The child of `node` for a level of a filter.
    fn child(&self, node: u32, level: &[u8], hash: &TextHash) -> Option<u32> {
        let parent = self.nodes.at(node);
        let child = match level {
            b"+" => parent.plus,
            b"#" => parent.rest,
            _ => return self.edges.find(hash.of(level), node, level, &self.nodes),
        };
        (child != NONE).then_some(child)
    }

    /// The node of `pattern`; adds it and the nodes above it where they are missing.
    fn grow_to(&mut self, pattern: &str, hash: &TextHash) -> u32 {
        let mut node = ROOT;
        for level in levels(pattern) {
            let child = self.child(node, level, hash);
            node = child.unwrap_or_else(|| self.grow(node, level, hash));
        }
        node
    }

    /// Adds a child to `node`.
    fn grow(&mut self, node: u32, level: &[u8], hash: &TextHash) -> u32 {
        let child = self.nodes.add(node, level);
        let parent = self.nodes.at_mut(node);
        match level {
            b"+" => parent.plus = child,
            b"#" => parent.rest = child,
            _ => {
                parent.named += 1;
                self.edges.insert(child, &self.nodes, hash);
            }
        }
        child
    }

    /// Frees `node` and the nodes above it, as far as they have neither values nor children.
    fn prune(&mut self, mut node: u32, hash: &TextHash) {
        while node != ROOT && self.nodes.at(node).is_bare() {
            let above = self.nodes.at(node).parent;
            let parent = self.nodes.at_mut(above);
            if parent.plus == node {
                parent.plus = NONE;
            } else if parent.rest == node {
                parent.rest = NONE;
            } else {
                parent.named -= 1;
                self.edges.remove(node, &self.nodes, hash);
            }
            self.nodes.free(node);
            node = above;
        }
        if self.len == 0 {
            self.nodes = Arena::new();
        }
    }
}

/// A visit on its way.
struct Walk<'w, F> {
    /// Nodes that were looked at.
    looks: usize,
    visit: &'w mut F,
}

impl<F> Walk<'_, F> {
    #[inline]
    fn reach(&mut self, node: u32, next: &mut Reached) {
        self.looks += 1;
        next.push(node);
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

    #[inline]
    fn is_empty(&self) -> bool {
        self.near_len == 0
    }

    #[inline]
    fn clear(&mut self) {
        self.near_len = 0;
        self.far.clear();
    }
}

/// Most `+` of a filter in the trie.
pub const PLUS_MAX: usize = 4;

/// Most levels of a filter in the trie, a last `#` not counted.
pub const DEPTH_MAX: usize = 12;

const NEAR: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(filters: impl IntoIterator<Item = String>) -> (Trie<usize, ()>, TextHash) {
        let (mut trie, hash) = (Trie::new(), TextHash::new(1));
        for (key, filter) in filters.into_iter().enumerate() {
            assert!(Trie::<usize, ()>::is_for(&filter), "{filter}");
            trie.insert(&filter, key, (), &hash);
        }
        (trie, hash)
    }

    #[test]
    fn few_levels_and_few_pluses_belong_here() {
        let is_for = Trie::<u8, ()>::is_for;
        for (filter, expected) in [
            ("#".to_owned(), true),
            ("+/+/+/+".to_owned(), true),
            ("+/a/+/b/+/+/#".to_owned(), true),
            ("+/+/+/+/+".to_owned(), false),
            ("+/+/+/+/a/+/#".to_owned(), false),
            ("a/".repeat(11) + "+", true),
            ("a/".repeat(12) + "+", false),
            ("a/".repeat(12) + "#", true),
            ("a/".repeat(13) + "#", false),
            ("+/+/+/+/".to_owned() + &"a/".repeat(8) + "#", true),
            ("/".repeat(11) + "+", true),
            ("/".repeat(12) + "+", false),
        ] {
            assert_eq!(is_for(&filter), expected, "{filter}");
        }
    }

    /// All filters that belong here and match `a/a/…`, on one visit: no others can make it look at more.
    #[test]
    fn a_visit_looks_at_no_more_nodes_than_there_are_choices_of_pluses() {
        let few = |mask: &usize| mask.count_ones() as usize <= PLUS_MAX;
        let ways =
            (0..=DEPTH_MAX).flat_map(|len| (0..1 << len).filter(few).map(move |mask| (len, mask)));
        let filters = ways.map(|(len, mask)| {
            let level = |at: usize| if mask >> at & 1 == 1 { "+/" } else { "a/" };
            (0..len).map(level).collect::<String>() + "#"
        });
        let (mut trie, hash) = filled(filters);
        let choose = |n: usize, k: usize| {
            (0..k).fold(1, |product, i| product * n.saturating_sub(i) / (i + 1))
        };
        let bound: usize =
            (0..=DEPTH_MAX).map(|d| (0..=PLUS_MAX).map(|k| choose(d, k)).sum::<usize>()).sum();
        assert_eq!((bound, trie.len(), trie.nodes()), (2379, 2379, 2 * 2379 - 1));
        let looks = |trie: &Trie<usize, ()>, name: &str| {
            let mut found = 0;
            (trie.visit(name, &hash, &mut |_, ()| found += 1), found)
        };
        let name = "a/".repeat(DEPTH_MAX) + "a/a";
        assert_eq!(looks(&trie, &name), (2 * bound, bound));
        assert_eq!(looks(&trie, "z").0, 4, "the root, its `#`, `+` and the `#` below");
        // Others beside them are not looked at.
        for key in 0..1000 {
            assert_eq!(trie.insert(&format!("a/b{key}/+/#"), key, (), &hash), None);
        }
        assert_eq!(looks(&trie, &name), (2 * bound, bound));
    }

    #[test]
    fn nodes_are_those_of_the_beginnings_and_go_with_the_last_filter() {
        let filters = ["a/+/c", "a/+/d", "a/#", "+/b", "+"];
        let (mut trie, hash) = filled(filters.map(str::to_owned));
        assert_eq!((trie.len(), trie.nodes()), (5, 7));
        assert_eq!(trie.insert("a/#", 7, (), &hash), None);
        assert_eq!((trie.len(), trie.nodes()), (5, 7));
        assert_eq!(trie.remove("a/+", 0, &hash), None, "a node, and no filter");
        assert_eq!(trie.remove("a/+/c", 9, &hash), None);
        for (key, filter, left) in [
            (0, "a/+/c", (4, 6)),
            (4, "+", (3, 6)),
            (1, "a/+/d", (2, 4)),
            (3, "+/b", (1, 2)),
            (2, "a/#", (1, 2)),
            (7, "a/#", (0, 0)),
        ] {
            assert_eq!(trie.remove(filter, key, &hash), Some(()));
            assert_eq!((trie.len(), trie.nodes()), left, "{filter}");
        }
    }
}
