//! The tree that lookups are measured in, and names to look up.

use sluicemq::topic::Tree;

/// What a broker keeps under a filter: a number and a word of options.
pub type Subscriptions = Tree<u64, u64>;

/// 100,000 subscriptions: exact ones of three levels, 1 % with `+`, 1 % with `#`.
pub fn hundred_thousand() -> Subscriptions {
    let mut tree = Tree::new(1);
    for (name, key) in exact().iter().zip(0..) {
        tree.insert(name, key, 0);
    }
    for i in 0..FEW / 100 {
        tree.insert(&format!("site{}/+/alarm{i}", i % 100), i as u64, 0);
        tree.insert(&format!("site{}/group{i}/#", i % 100), i as u64, 0);
    }
    tree
}

/// Names that one exact filter matches.
pub fn exact() -> Vec<String> {
    (0..FEW).map(|i| format!("site{}/device{i}/state", i % 100)).collect()
}

/// Names that one filter with `+` matches.
pub fn plus() -> Vec<String> {
    (0..FEW / 100).map(|i| format!("site{}/device7/alarm{i}", i % 100)).collect()
}

/// Names that one filter with `#` matches.
pub fn rest() -> Vec<String> {
    (0..FEW / 100).map(|i| format!("site{}/group{i}/a/b", i % 100)).collect()
}

/// Names that nothing matches, though it goes on to the last level.
pub fn nobody() -> Vec<String> {
    (0..FEW).map(|i| format!("site{}/device{i}/level", i % 100)).collect()
}

/// Exact filters in the tree.
pub const FEW: usize = 100_000;
