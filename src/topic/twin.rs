//! For tests: random names and filters, and the naive matcher that the structures are compared with.

use crate::random::Random;

impl Random {
    /// A Topic Name from a small alphabet, never empty.
    pub fn name(&mut self) -> String {
        loop {
            let name = self.levels(&LEVELS[..]).join("/");
            if !name.is_empty() {
                return name;
            }
        }
    }

    /// A Topic Filter from the same alphabet with wildcards, never empty.
    pub fn pattern(&mut self) -> String {
        loop {
            let mut levels = self.levels(&["+", "+", "+", "+", "a", "b", "", "$s", "ä", LONG][..]);
            if self.below(4) == 0 {
                levels.push("#");
            }
            let pattern = levels.join("/");
            if !pattern.is_empty() {
                return pattern;
            }
        }
    }

    fn levels(&mut self, alphabet: &[&'static str]) -> Vec<&'static str> {
        (0..self.below(5)).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }
}

/// Some levels are alike to their last byte, some sort on both sides of `/`, `$` and `+`.
const LEVELS: [&str; 12] = ["a", "b", "", "$s", "ä", "ab", "a-", "!", "日", LONG, "%", "\u{1}"];

const LONG: &str = "a level too long to be kept inside of its node";

/// Whether `name` matches `pattern`, as the specification tells it.
pub fn oracle(pattern: &str, name: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let name: Vec<&str> = name.split('/').collect();
    levels_match(&pattern, &name, true)
}

fn levels_match(filter: &[&str], topic: &[&str], first: bool) -> bool {
    let wild = !(first && topic.first().is_some_and(|level| level.starts_with('$')));
    match (filter, topic) {
        (["#"], _) => wild,
        ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => wild && levels_match(filter, topic, false),
        ([a, filter @ ..], [b, topic @ ..]) => a == b && levels_match(filter, topic, false),
        _ => false,
    }
}
