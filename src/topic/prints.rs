//! Fingerprints of Topic Filters with wildcards: by them a filter is found without its text.
//!
//! A level has a number of 128 bits that depends on its text, its place and a secret seed. The print
//! of a filter is the exclusive or of the numbers of its levels, `+` and `#` left out. So the print that
//! a name would have under a filter is the print of the whole name, less the levels where the filter has
//! `+`. Two texts of one shape have the same print by chance alone, once in 2^128: a stranger without
//! the seed cannot choose texts that have.

use super::shards::{TextHash, spread};

/// The print of a filter, or of a name under the shape of a filter.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Print(u64, u64);

/// What of a filter with wildcards is not in its print.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shape {
    /// Levels, a last `#` not counted.
    pub len: usize,
    /// Whether it ends with `#`.
    pub rest: bool,
    /// Which levels are `+`: bit 0 is the first.
    pub plus: u64,
}

/// Makes the prints of one tree.
#[derive(Debug)]
pub struct Printer {
    hashes: [TextHash; 2],
    /// What tells the places of a level apart.
    places: Box<[Print]>,
}

/// The levels of a name, and what is left out of its print for each shape.
pub struct NamePrints {
    levels: [Print; DEPTH_MAX],
    len: usize,
}

/// The same for many shapes: what each group of levels takes away is in a table.
pub struct ManyPrints {
    tables: [[Print; 1 << GROUP]; DEPTH_MAX.div_ceil(GROUP)],
}

/// Levels that a print can have.
pub const DEPTH_MAX: usize = 64;
/// Levels that are looked up together.
const GROUP: usize = 6;

impl Print {
    /// Adds what is not in it, takes away what is.
    #[inline]
    pub fn xor(self, other: Print) -> Print {
        Print(self.0 ^ other.0, self.1 ^ other.1)
    }

    /// Its part that hash tables use.
    #[inline]
    pub fn hash(self) -> u64 {
        self.0
    }

    /// One of 64 bits. Prints of different shapes that differ by the same levels have different ones.
    #[inline]
    pub fn tag(self) -> u64 {
        1 << (spread(self.0) >> 58)
    }
}

impl Printer {
    /// Its prints depend on `seed`.
    pub fn new(seed: u64) -> Printer {
        let hashes = [TextHash::new(seed), TextHash::new(seed.rotate_left(32) ^ ODD)];
        let secret = |place: usize, hash: &TextHash| {
            hash.of(&[b"place ", &place.to_le_bytes()[..]].concat())
        };
        let places =
            (0..DEPTH_MAX).map(|place| Print(secret(place, &hashes[0]), secret(place, &hashes[1])));
        Printer { places: places.collect(), hashes }
    }

    /// Shape and print of a filter with wildcards; `None` if it has more than [`DEPTH_MAX`] levels.
    pub fn of_pattern(&self, pattern: &str) -> Option<(Shape, Print)> {
        let mut shape = Shape { len: 0, rest: false, plus: 0 };
        let mut print = Print::default();
        for level in levels(pattern) {
            match level {
                b"#" => {
                    shape.rest = true;
                    break;
                }
                _ if shape.len == DEPTH_MAX => return None,
                b"+" => shape.plus |= 1 << shape.len,
                level => print = print.xor(self.level(level, shape.len)),
            }
            shape.len += 1;
        }
        Some((shape, print))
    }

    /// The levels of `name`, at most the first `most`.
    #[inline]
    pub fn of_name(&self, name: &str, most: usize) -> NamePrints {
        let mut prints = NamePrints { levels: [Print::default(); DEPTH_MAX], len: 0 };
        for level in levels(name).take(most.min(DEPTH_MAX)) {
            prints.levels[prints.len] = self.level(level, prints.len);
            prints.len += 1;
        }
        prints
    }

    #[inline]
    fn level(&self, level: &[u8], place: usize) -> Print {
        let Print(low, high) = self.places[place];
        let [first, second] = &self.hashes;
        Print(spread(first.of(level) ^ low), spread(second.of(level) ^ high))
    }
}

impl NamePrints {
    /// The print of its first `len` levels.
    #[inline]
    pub fn whole(&self, len: usize) -> Print {
        self.levels[..len].iter().fold(Print::default(), |print, level| print.xor(*level))
    }

    /// What a shape takes away.
    #[inline]
    pub fn of_plus(&self, mut plus: u64) -> Print {
        let mut print = Print::default();
        while plus != 0 {
            print = print.xor(self.levels[plus.trailing_zeros() as usize]);
            plus &= plus - 1;
        }
        print
    }

    /// For many shapes.
    pub fn tabulate(&self) -> ManyPrints {
        let mut tables = [[Print::default(); 1 << GROUP]; DEPTH_MAX.div_ceil(GROUP)];
        for (table, levels) in tables.iter_mut().zip(self.levels[..self.len].chunks(GROUP)) {
            for (place, level) in levels.iter().enumerate() {
                for below in 0..1 << place {
                    table[1 << place | below] = table[below].xor(*level);
                }
            }
        }
        ManyPrints { tables }
    }
}

impl ManyPrints {
    /// What a shape of at most `len` levels takes away.
    #[inline]
    pub fn of_plus(&self, plus: u64, len: usize) -> Print {
        let groups = self.tables.iter().take(len.div_ceil(GROUP)).enumerate();
        groups.fold(Print::default(), |print, (group, table)| {
            print.xor(table[(plus >> (group * GROUP)) as usize % (1 << GROUP)])
        })
    }
}

/// The levels of a Topic Name or a Topic Filter.
#[inline]
pub fn levels(text: &str) -> impl Iterator<Item = &[u8]> {
    text.as_bytes().split(|byte| *byte == b'/')
}

/// From the golden ratio: has no pattern of its own.
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn both_ways_to_leave_levels_out_agree() {
        let printer = Printer::new(3);
        let mut random = Random::new(3);
        for len in 1..=DEPTH_MAX {
            let name: Vec<String> = (0..len).map(|_| random.below(3).to_string()).collect();
            let prints = printer.of_name(&name.join("/"), DEPTH_MAX);
            let many = prints.tabulate();
            for _ in 0..50 {
                let plus = random.next() & (u64::MAX >> (DEPTH_MAX - len));
                let pattern: Vec<&str> = (0..len)
                    .map(|at| if plus >> at & 1 == 1 { "+" } else { name[at].as_str() })
                    .collect();
                let (shape, print) = printer.of_pattern(&pattern.join("/")).expect("not too deep");
                assert_eq!(shape, Shape { len, rest: false, plus });
                assert_eq!(prints.whole(len).xor(prints.of_plus(plus)), print);
                assert_eq!(prints.whole(len).xor(many.of_plus(plus, len)), print);
            }
        }
    }

    #[test]
    fn levels_in_other_places_have_other_prints() {
        let printer = Printer::new(5);
        let texts = ["a/b/+", "b/a/+", "a/a/+", "b/b/+", "//+", "a//+", "/a/+", "c/c/+"];
        let prints: Vec<_> = texts.iter().map(|text| printer.of_pattern(text).unwrap().1).collect();
        for (at, print) in prints.iter().enumerate() {
            assert!(!prints[..at].contains(print), "{}", texts[at]);
        }
        assert_ne!(Printer::new(6).of_pattern("a/+"), printer.of_pattern("a/+"));
    }

    #[test]
    fn a_filter_beyond_the_deepest_has_no_print() {
        let printer = Printer::new(1);
        assert!(printer.of_pattern(&("a/".repeat(DEPTH_MAX - 1) + "+")).is_some());
        assert!(printer.of_pattern(&("a/".repeat(DEPTH_MAX) + "#")).is_some());
        assert!(printer.of_pattern(&("a/".repeat(DEPTH_MAX) + "+")).is_none());
    }
}
