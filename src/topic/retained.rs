//! The retained tree: Topic Name → value.
//!
//! It is not a tree of levels but one sorted map of whole names, in an order that compares level by
//! level: a name comes before everything below it, and everything below it before its next
//! sibling. A search by filter leaps: a name that does not match determines the least name that
//! could. So the search does not recurse, and it can be resumed at any text.
//!
//! Values are kept apart, in a hashed map by name: most often one only replaces another.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::name::TopicName;
use super::shards::{Shards, TextHash};

/// Topic Names and their values, searched by Topic Filter in a fixed order, resumable.
///
/// The order is that of the levels from the left, each by its bytes.
#[derive(Debug)]
pub struct Retained<V> {
    /// The names of `entries`.
    order: BTreeSet<Name>,
    entries: Shards<RetainedEntry<V>>,
    hash: TextHash,
}

#[derive(Debug)]
struct RetainedEntry<V> {
    name: Arc<str>,
    value: V,
}

impl<V> Default for Retained<V> {
    fn default() -> Retained<V> {
        Retained::new()
    }
}

impl<V> Retained<V> {
    /// An empty store with a fixed hash seed.
    pub fn new() -> Retained<V> {
        Retained::with_seed(0)
    }

    /// An empty store; its hashes depend on `seed`: keep it secret where clients choose the names.
    pub fn with_seed(seed: u64) -> Retained<V> {
        Retained { order: BTreeSet::new(), entries: Shards::new(), hash: TextHash::new(seed) }
    }

    /// Puts `value` under `name`; returns what was there.
    pub fn insert(&mut self, name: TopicName<'_>, value: V) -> Option<V> {
        let name = name.as_str();
        let hash = self.hash.of(name.as_bytes());
        if let Some(entry) = self.entries.find_mut(hash, |entry| *entry.name == *name) {
            return Some(std::mem::replace(&mut entry.value, value));
        }
        let name: Arc<str> = name.into();
        self.order.insert(Name(name.clone()));
        self.entries.insert(hash, RetainedEntry { name, value }, |entry| {
            self.hash.of(entry.name.as_bytes())
        });
        None
    }

    /// Takes out what is under `name`; nodes left empty are freed.
    pub fn remove(&mut self, name: TopicName<'_>) -> Option<V> {
        let name = name.as_str();
        let rehash = |entry: &RetainedEntry<V>| self.hash.of(entry.name.as_bytes());
        let hash = self.hash.of(name.as_bytes());
        let removed = self.entries.remove(hash, |entry| *entry.name == *name, rehash)?;
        self.order.remove(key(&name));
        Some(removed.value)
    }

    /// Visits all of them, in their order.
    pub fn each(&self, mut visit: impl FnMut(&str, &V)) {
        for name in &self.order {
            let value = self.get(TopicName::trusted(&name.0));
            value.into_iter().for_each(|value| visit(&name.0, value));
        }
    }

    /// What is under `name`. One lookup.
    pub fn get(&self, name: TopicName<'_>) -> Option<&V> {
        let name = name.as_str();
        let hash = self.hash.of(name.as_bytes());
        self.entries.find(hash, |entry| *entry.name == *name).map(|entry| &entry.value)
    }

    /// Calls `visit` for names that match `pattern`, in the tree's order, beginning after the name
    /// `after`, until it returns false. The order does not change by insertions and removals, and
    /// resuming after a name that is gone by now is allowed.
    ///
    /// Returns true if it came to the end, false if `visit` stopped it. Looks at no more than
    /// `steps` names (at least one), and counts them down; if that runs out it returns false too and
    /// leaves in `resume` the name to go on after. In all other cases it leaves nothing there.
    /// A scan that finds no name to look at counts as one step: the search for it costs as much.
    pub fn scan(
        &self,
        pattern: &str,
        after: Option<&str>,
        steps: &mut usize,
        resume: &mut Option<String>,
        visit: &mut impl FnMut(&str, &V) -> bool,
    ) -> bool {
        *resume = None;
        *steps = (*steps).max(1);
        if !pattern.contains(['+', '#']) {
            *steps -= 1;
            return self.scan_exact(pattern, after, visit);
        }
        let given = *steps;
        let end = self.scan_wild(pattern, after, steps, resume, visit);
        *steps = (*steps).min(given - 1);
        end
    }

    /// A scan for a filter with wildcards: true at its end.
    fn scan_wild(
        &self,
        pattern: &str,
        after: Option<&str>,
        steps: &mut usize,
        resume: &mut Option<String>,
        visit: &mut impl FnMut(&str, &V) -> bool,
    ) -> bool {
        let Some(mut place) = first_place(pattern, after) else { return true };
        loop {
            let start = match &place {
                SearchStart::At(text) => Bound::Included(key(text)),
                SearchStart::After(text) => Bound::Excluded(key(text)),
            };
            let mut names = self.order.range::<dyn Levels + '_, _>((start, Bound::Unbounded));
            let leap = loop {
                let Some(Name(name)) = names.next() else { return true };
                let step = look(pattern, name);
                *steps -= 1;
                if matches!(step, SearchStep::Match) && !visit(name, self.value_of(name)) {
                    return false;
                }
                match step {
                    SearchStep::End => return true,
                    SearchStep::Match | SearchStep::Leap(_) if *steps == 0 => {
                        *resume = Some(name.to_string());
                        return false;
                    }
                    SearchStep::Match => {}
                    SearchStep::Leap(to) => break to,
                }
            };
            place = SearchStart::At(leap);
        }
    }

    /// A scan for one name only: true at its end.
    fn scan_exact(
        &self,
        name: &str,
        after: Option<&str>,
        visit: &mut impl FnMut(&str, &V) -> bool,
    ) -> bool {
        if after.is_some_and(|after| by_level(after, name).is_ge()) {
            return true;
        }
        self.get(TopicName::trusted(name)).is_none_or(|value| visit(name, value))
    }

    fn value_of(&self, name: &str) -> &V {
        self.get(TopicName::trusted(name)).expect("what is in order has an entry")
    }

    /// Values in the store.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where a search begins; `None` if no name after `after` can match.
fn first_place(pattern: &str, after: Option<&str>) -> Option<SearchStart> {
    let Some(after) = after else {
        // All that matches begins as the pattern does, up to its first wildcard.
        let literal = pattern.find(['+', '#']).map_or(pattern, |at| &pattern[..at]);
        let parent = if pattern.ends_with('#') { literal.strip_suffix('/') } else { None };
        return Some(SearchStart::At(parent.unwrap_or(literal).into()));
    };
    match look(pattern, after) {
        SearchStep::Match => Some(SearchStart::After(after.into())),
        SearchStep::Leap(to) => Some(SearchStart::At(to)),
        SearchStep::End => None,
    }
}

/// The next step of the search for `pattern` after a look at `name`.
fn look(pattern: &str, name: &str) -> SearchStep {
    if name.starts_with('$') && pattern.starts_with(['+', '#']) {
        // `$`-topics are not matched by a leading wildcard [MQTT5-4.7.2-1]. `%` follows on `$`.
        return SearchStep::Leap("%".into());
    }
    let mut levels = name.split('/');
    // Where in `name` the level begins, and where the last level ends that `+` matched.
    let (mut at, mut plus_end) = (0, None);
    for part in pattern.split('/') {
        if part == "#" {
            return SearchStep::Match;
        }
        let Some(level) = levels.next() else {
            // Too short. What matches is below it.
            let literal = if part == "+" { "" } else { part };
            return SearchStep::Leap(format!("{name}/{literal}"));
        };
        let end = at + level.len();
        if part == "+" {
            plus_end = Some(end);
        } else {
            match level.cmp(part) {
                Ordering::Less => return SearchStep::Leap(format!("{}{part}", &name[..at])),
                Ordering::Greater => return beyond(name, plus_end),
                Ordering::Equal => {}
            }
        }
        at = end + 1;
    }
    if levels.next().is_none() { SearchStep::Match } else { beyond(name, plus_end) }
}

/// Leaps over all that shares with `name` the levels up to `plus_end`.
fn beyond(name: &str, plus_end: Option<usize>) -> SearchStep {
    match plus_end {
        // U+0001 is the least there may be in a level: U+0000 is forbidden.
        Some(end) => SearchStep::Leap(format!("{}\u{1}", &name[..end])),
        None => SearchStep::End,
    }
}

/// What to do after a look at a name.
enum SearchStep {
    /// It matches; so may the next.
    Match,
    /// It does not match, nor does anything before this text.
    Leap(String),
    /// Nothing after it matches.
    End,
}

/// Where the search goes on.
enum SearchStart {
    At(String),
    After(String),
}

/// A Topic Name, ordered level by level.
#[derive(Debug, Eq, PartialEq)]
struct Name(Arc<str>);

impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        by_level(&self.0, &other.0)
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Texts ordered level by level: lets the map be searched for a text without making a [`Name`].
trait Levels {
    fn text(&self) -> &str;
}

fn key<'a>(text: &'a impl Levels) -> &'a (dyn Levels + 'a) {
    text
}

impl Levels for Name {
    fn text(&self) -> &str {
        &self.0
    }
}

impl Levels for &str {
    fn text(&self) -> &str {
        self
    }
}

impl Levels for String {
    fn text(&self) -> &str {
        self
    }
}

impl<'a> Borrow<dyn Levels + 'a> for Name {
    fn borrow(&self) -> &(dyn Levels + 'a) {
        self
    }
}

impl Ord for dyn Levels + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        by_level(self.text(), other.text())
    }
}

impl PartialOrd for dyn Levels + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Levels + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for dyn Levels + '_ {}

/// As bytes, but `/` before all others: then a level ends before any longer one goes on.
fn by_level(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let same = common(a, b);
    rank(a.get(same)).cmp(&rank(b.get(same)))
}

/// How many bytes at the beginning are alike.
fn common(a: &[u8], b: &[u8]) -> usize {
    const WORD: usize = 16;
    let words = a.chunks_exact(WORD).zip(b.chunks_exact(WORD));
    let same = words.take_while(|(a, b)| a == b).count() * WORD;
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

fn rank(byte: Option<&u8>) -> u16 {
    match byte {
        None => 0,
        Some(b'/') => 1,
        Some(byte) => 2 + u16::from(*byte),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::random::Random;
    use crate::topic::twin;

    fn name(text: &str) -> TopicName<'_> {
        TopicName::trusted(text)
    }

    fn store(names: &[&str]) -> Retained<usize> {
        let mut store = Retained::new();
        for (value, text) in names.iter().enumerate() {
            store.insert(name(text), value);
        }
        store
    }

    /// All that matches, by calls of `steps` steps; and how many calls.
    fn scan_by(store: &Retained<usize>, pattern: &str, steps: usize) -> (Vec<String>, usize) {
        let (mut found, mut after, mut resume, mut calls) = (Vec::new(), None, None, 1);
        let mut visit = |name: &str, _: &usize| {
            found.push(name.to_owned());
            true
        };
        while !store.scan(pattern, after.as_deref(), &mut steps.clone(), &mut resume, &mut visit) {
            after = resume.take();
            assert!(after.is_some());
            calls += 1;
        }
        assert_eq!(resume, None);
        (found, calls)
    }

    fn check(pattern: &str, expected: &[&str]) {
        let names = [
            "a", "a/", "a/b", "a/b/c", "a!", "a-/b", "b/b", "b/c", "$S/a", "$S", "/", "//", "/a",
            "ä/b", "%/b",
        ];
        assert_eq!(scan_by(&store(&names), pattern, 1000).0, expected, "{pattern}");
    }

    #[test]
    fn a_scan_finds_what_matches_in_order() {
        check(
            "#",
            &["/", "//", "/a", "%/b", "a", "a/", "a/b", "a/b/c", "a!", "a-/b", "b/b", "b/c", "ä/b"],
        );
        check("+/b", &["%/b", "a/b", "a-/b", "b/b", "ä/b"]);
        check("a/#", &["a", "a/", "a/b", "a/b/c"]);
        check("/#", &["/", "//", "/a"]);
        check("+", &["a", "a!"]);
        check("+/+", &["/", "/a", "%/b", "a/", "a/b", "a-/b", "b/b", "b/c", "ä/b"]);
        check("$S/#", &["$S", "$S/a"]);
        check("$S/+", &["$S/a"]);
        check("a/b", &["a/b"]);
        check("a/x", &[]);
        check("+/+/c", &["a/b/c"]);
        check("a/+/c/#", &["a/b/c"]);
    }

    #[test]
    fn a_filter_that_matches_nothing_is_answered_in_steps() {
        let mut store = Retained::new();
        for i in 0..10_000 {
            store.insert(name(&format!("site{}/device{i}/state", i % 100)), i);
        }
        let (found, calls) = scan_by(&store, "+/+/x", 100);
        assert_eq!(found, [""; 0]);
        assert!((99..=110).contains(&calls), "{calls}");
        let (found, calls) = scan_by(&store, "site7/+/state", 10);
        assert_eq!((found.len(), calls <= 21), (100, true));
        assert_eq!(scan_by(&store, "site7/device7/state", 1).1, 1);
    }

    #[test]
    fn a_scan_without_a_name_to_look_at_is_a_step_too() {
        let mut store = store(&["a/1", "b/1"]);
        let left = |store: &Retained<usize>, pattern: &str, after: Option<&str>| {
            let (mut steps, mut resume) = (5, None);
            assert!(store.scan(pattern, after, &mut steps, &mut resume, &mut |_, _| true));
            steps
        };
        assert_eq!(left(&store, "a/+", Some("b/1")), 4, "it was at its end");
        assert_eq!(left(&store, "c/+", None), 4, "nothing is there");
        assert_eq!(left(&store, "+/1", None), 3);
        assert_eq!((store.remove(name("a/1")), store.remove(name("b/1"))), (Some(0), Some(1)));
        assert_eq!(left(&store, "#", None), 4);
    }

    #[test]
    fn one_name_out_of_many_below_is_found_by_leaps() {
        let mut store = Retained::new();
        for i in 0..10_000 {
            store.insert(name(&format!("{}/{:04}/x", i / 1000, i % 1000)), i);
        }
        let (found, calls) = scan_by(&store, "+/0500/x", 31);
        assert_eq!((found.len(), calls), (10, 1));
    }

    #[test]
    fn visit_can_stop_and_the_scan_go_on_after_what_it_saw() {
        let store = store(&["a/1", "a/2", "a/3"]);
        let mut resume = None;
        let mut seen = String::new();
        assert!(!store.scan("a/+", None, &mut 10, &mut resume, &mut |name, _| {
            seen = name.to_owned();
            false
        }));
        assert_eq!((seen.as_str(), &resume), ("a/1", &None));
        let mut rest = Vec::new();
        assert!(store.scan("a/+", Some("a/1"), &mut 10, &mut resume, &mut |_, value| {
            rest.push(*value);
            true
        }));
        assert_eq!(rest, [1, 2]);
    }

    #[test]
    fn a_scan_in_pieces_sees_each_name_that_stays_exactly_once() {
        for seed in 1..=300 {
            run_in_pieces(seed);
        }
    }

    fn run_in_pieces(seed: u64) {
        let mut random = Random::new(seed);
        let mut store = Retained::new();
        let stay: Vec<String> = (0..random.below(60)).map(|_| random.name()).collect();
        for text in &stay {
            store.insert(name(text), 1);
        }
        let pattern = random.pattern();
        let mut expected: Vec<&String> =
            stay.iter().filter(|name| twin::oracle(&pattern, name)).collect();
        expected.sort_by_key(|name| name.split('/').collect::<Vec<_>>());
        expected.dedup();

        let (mut seen, mut after, mut resume) = (Vec::<String>::new(), None::<String>, None);
        let mut others: Vec<String> = Vec::new();
        loop {
            let before = seen.len();
            let mut room = 1 + random.below(4);
            let most = 1 + random.below(5);
            let mut steps = most;
            let end =
                store.scan(&pattern, after.as_deref(), &mut steps, &mut resume, &mut |name, _| {
                    seen.push(name.to_owned());
                    room -= 1;
                    room > 0
                });
            assert!(steps < most && seen.len() - before <= most - steps, "seed {seed}");
            if end {
                break;
            }
            after = resume.take().or_else(|| seen[before..].last().cloned());
            // What comes and goes must not disturb, the name to go on after included.
            for text in others.drain(..) {
                store.remove(name(&text));
            }
            for text in
                (0..random.below(4)).map(|_| random.name()).filter(|text| !stay.contains(text))
            {
                store.insert(name(&text), 0);
                others.push(text);
            }
        }
        assert!(seen.iter().all(|name| twin::oracle(&pattern, name)), "seed {seed}");
        assert!(seen.is_sorted_by_key(|name| name.split('/').collect::<Vec<_>>()), "seed {seed}");
        seen.retain(|name| stay.contains(name));
        assert!(
            seen.iter().eq(expected.iter().copied()),
            "seed {seed} {pattern:?}\n{seen:?}\n{expected:?}"
        );
    }

    #[test]
    fn a_store_agrees_with_its_twin() {
        for seed in 1..=40 {
            let mut random = Random::new(seed);
            let (mut store, mut twin) = (Retained::new(), BTreeMap::<String, usize>::new());
            for step in 0..400 {
                let text = random.name();
                if random.below(2) == 0 {
                    assert_eq!(
                        store.insert(name(&text), step),
                        twin.insert(text, step),
                        "seed {seed} step {step}"
                    );
                } else {
                    assert_eq!(
                        store.remove(name(&text)),
                        twin.remove(&text),
                        "seed {seed} step {step}"
                    );
                }
                let text = random.name();
                assert_eq!(store.get(name(&text)), twin.get(&text), "seed {seed} step {step}");
                assert_eq!(store.len(), twin.len(), "seed {seed} step {step}");
                let pattern = random.pattern();
                let mut expected: Vec<&String> =
                    twin.keys().filter(|name| twin::oracle(&pattern, name)).collect();
                expected.sort_by_key(|name| name.split('/').collect::<Vec<_>>());
                let (found, _) = scan_by(&store, &pattern, 1 + random.below(9));
                assert!(
                    found.iter().eq(expected.iter().copied()),
                    "seed {seed} step {step} {pattern:?}"
                );
            }
        }
    }

    #[test]
    fn the_order_is_that_of_the_levels() {
        let mut random = Random::new(9);
        for _ in 0..100_000 {
            let (a, b) = (random.name(), random.name());
            assert_eq!(by_level(&a, &b), a.split('/').cmp(b.split('/')), "{a:?} {b:?}");
        }
    }

    #[test]
    fn names_of_65536_levels_take_no_stack() {
        let deep = "/".repeat(65_535);
        let mut store = store(&[&deep]);
        for pattern in ["#", &deep, &("+/".repeat(65_535) + "+"), &("+/".repeat(65_535) + "#")] {
            assert_eq!(scan_by(&store, pattern, 100).0.len(), 1);
        }
        assert_eq!(store.remove(name(&deep)), Some(0));
        assert!(store.is_empty());
    }
}
