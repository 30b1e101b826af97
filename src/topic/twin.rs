//! For tests: dice, and the naive matcher that the clever structures are compared with.

/// A tiny xorshift: the same seed, the same tests.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.max(1))
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `sides`.
    pub fn below(&mut self, sides: usize) -> usize {
        usize::try_from((self.roll() >> 32) % sides as u64).unwrap()
    }

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
