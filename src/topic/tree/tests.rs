//! The tree against naive matching, and what a visit costs.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::random::Random;
use crate::topic::name::matches;
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
    check(&["a/+/c", "a/+/+", "a/b/c/#", "a/#", "b/#", "+/b/c", "a/b"], "a/b/c", &[0, 1, 2, 3, 5]);
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
    one_order(&patterns, "a/b/c");
    // Ordinary filters and others.
    let patterns = [
        "+/+/+/+/+/+",
        "#",
        "+/+/+/+/+/f",
        "a/+/+/+/+/+",
        "+/+/+/d/e/f",
        "+/+/c/+/+/+/#",
        "a/b/c/d/e/f",
        "+/+/+/+/+/#",
        "a/b/c/d/+/f",
    ];
    one_order(&patterns, "a/b/c/d/e/f");
}

/// All of the patterns match the name.
fn one_order(patterns: &[&str], name: &str) {
    let order = |seed: u64| {
        let (mut tree, mut random) = (Tree::new(seed), Random::new(seed));
        let mut keys: Vec<usize> = (0..patterns.len() * 4).collect();
        while !keys.is_empty() {
            let key = keys.swap_remove(random.below(keys.len()));
            tree.insert(patterns[key % patterns.len()], key, 0);
            // It comes and goes in the same structure as one of the others.
            let other = random.pick(&["", "+/+/+/+/+/"]).to_owned() + &random.pattern();
            tree.insert(&other, usize::MAX, 0);
            tree.remove(&other, usize::MAX);
        }
        visited(&tree, name)
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
    // `+` in front, so that none of them is ordinary.
    for number in 0..1 << 12 {
        for last in ["q", "r", "s"] {
            tree.insert(&format!("+/+/+/+/+/{}/{last}", bits(number, 12)), number, 0);
        }
    }
    let looks = |name: &str| tree.visit(TopicName::trusted(name), &mut |_, _| {});
    assert_eq!(looks(&("a/".repeat(17) + "z")), 1 << 12);
    assert_eq!(looks(&("a/".repeat(17) + "q")), 1 << 12);
    assert_eq!(looks(&("a/".repeat(18) + "z")), 0, "filters of another length");
    assert_eq!(looks("a"), 0);
}

#[test]
fn nodes_of_the_trie_count_and_both_structures_add_up() {
    let mut tree = Tree::new(9);
    let looks =
        |tree: &Tree<u64, u64>, name: &str| tree.visit(TopicName::trusted(name), &mut |_, _| {});
    tree.insert("a/b/c", 1, 0);
    assert_eq!(looks(&tree, "a/b/c"), 0, "a filter without wildcard is found at once");
    tree.insert("a/+/c", 1, 0);
    assert_eq!(looks(&tree, "a/b/c"), 4 * NODE_LOOKS, "the root and three levels");
    tree.insert("+/+/+/+/+", 1, 0);
    assert_eq!(looks(&tree, "a/b/c"), 4 * NODE_LOOKS);
    assert_eq!(looks(&tree, "a/b/c/d/e"), 4 * NODE_LOOKS + 1);
    tree.remove("a/+/c", 1);
    assert_eq!(looks(&tree, "a/b/c/d/e"), 1);
}

/// Filters on both sides of the border between ordinary ones and others, all of which can match one name.
#[test]
fn filters_around_the_border_agree_with_matching_one_by_one() {
    for seed in 1..=8 {
        let mut random = Random::new(seed);
        let (mut tree, mut twin) = (Tree::new(seed), BTreeMap::new());
        for round in 0..3 {
            for _ in 0..600 {
                let (filter, key) = (around_the_border(&mut random), random.below(3));
                let before = twin.insert((filter.clone(), key), round);
                assert_eq!(tree.insert(&filter, key, round), before, "seed {seed} {filter}");
            }
            let left = [200, 300, 0][round as usize];
            while twin.len() > left {
                let at = random.below(twin.len());
                let (filter, key) = twin.keys().nth(at).cloned().expect("it is there");
                let removed = twin.remove(&(filter.clone(), key));
                assert_eq!(tree.remove(&filter, key), removed, "seed {seed} {filter}");
                assert_eq!(tree.remove(&filter, key), None, "seed {seed} {filter}");
            }
            let filters: BTreeSet<&String> = twin.keys().map(|(filter, _)| filter).collect();
            assert_eq!((tree.len(), tree.filters()), (twin.len(), filters.len()), "seed {seed}");
            let (ordinary, others): (Vec<&String>, Vec<&String>) =
                filters.iter().partition(|filter| Trie::<usize, u64>::is_for(filter));
            assert!(left == 0 || ordinary.len() > 20 && others.len() > 20, "both sides are tried");
            for _ in 0..40 {
                let len = 10 + random.below(5);
                let name: Vec<&str> =
                    (0..len).map(|_| random.pick(&["a", "a", "a", "b"])).collect();
                let name = random.pick(&["", "", "$"]).to_owned() + &name.join("/");
                let matching = twin
                    .iter()
                    .filter(|((filter, _), _)| matches(filter, TopicName::trusted(&name)));
                let mut expected: Vec<(usize, u64)> =
                    matching.map(|((_, key), value)| (*key, *value)).collect();
                let mut seen = visited(&tree, &name);
                expected.sort_unstable();
                seen.sort_unstable();
                assert_eq!(seen, expected, "seed {seed} round {round} {name:?}");
            }
        }
    }
}

/// 0 to 7 `+` among 10 to 14 levels, and sometimes `#`.
fn around_the_border(random: &mut Random) -> String {
    let len = 10 + random.below(5);
    let mut levels: Vec<&str> =
        (0..len).map(|_| random.pick(&["a", "a", "a", "a", "a", "b"])).collect();
    for _ in 0..random.below(8) {
        levels[random.below(len)] = "+";
    }
    if random.chance() {
        levels.truncate(2 + random.below(len));
        levels.push("#");
    }
    levels.join("/")
}

#[test]
fn filters_of_one_shape_are_found_however_many_they_are() {
    for (filter, name) in [("+/x", "a/x"), ("+/+/+/+/+/x", "a/a/a/a/a/x")] {
        many_alike(filter, name);
    }
}

/// Filters that differ by a number behind `filter`, which names that differ by a number behind `name` match.
fn many_alike(filter: &str, name: &str) {
    let (mut tree, mut random) = (Tree::new(4), Random::new(4));
    let mut there = BTreeSet::new();
    // Up and down through every form, several times.
    for most in [3, 80, 1, 300, 20, 70, 0] {
        while there.len() < most {
            let number = random.below(1000);
            there.insert(number);
            tree.insert(&format!("{filter}{number}/y"), 1, number as u64);
        }
        while there.len() > most {
            let number = there.iter().nth(random.below(there.len())).copied().unwrap();
            there.remove(&number);
            assert_eq!(tree.remove(&format!("{filter}{number}/y"), 1), Some(number as u64));
        }
        assert_eq!(tree.filters(), there.len());
        for number in 0..1000 {
            let expected: Vec<_> =
                there.get(&number).map(|number| (1, *number as u64)).into_iter().collect();
            assert_eq!(visited(&tree, &format!("{name}{number}/y")), expected, "{most}");
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
        assert_eq!(visited(&tree, &name), if found { vec![(1, 8)] } else { vec![] }, "{filter}");
        assert_eq!(tree.remove(&filter, 2), None);
        assert_eq!((tree.remove(&filter, 1), tree.filters()), (Some(8), 0));
        assert_eq!(tree.remove(&filter, 1), None);
    }
}
