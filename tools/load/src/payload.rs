//! Lengths of payloads: one, a range, or a weighted choice, drawn from what a message is, so that
//! it can be drawn again.

use std::fmt;
use std::str::FromStr;

use crate::stamp::{self, STAMP_LEN};

/// Lengths of payloads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sizes(Vec<Choice>);

/// One part of a distribution.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Choice {
    min: u32,
    max: u32,
    weight: u32,
}

impl Sizes {
    /// Always this long.
    pub fn fixed(len: u32) -> Sizes {
        Sizes(vec![Choice { min: len, max: len, weight: 1 }])
    }

    /// The length of message `sequence` of `stream`: always the same for the same message.
    #[inline]
    pub fn draw(&self, seed: u64, stream: u32, sequence: u64) -> u32 {
        let first = self.0[0];
        if self.0.len() == 1 && first.min == first.max {
            return first.min;
        }
        self.draw_random(stamp::mix(seed ^ (u64::from(stream) << 40) ^ sequence))
    }

    /// The longest there is.
    pub fn max(&self) -> u32 {
        self.0.iter().map(|choice| choice.max).max().unwrap_or(0)
    }

    fn draw_random(&self, random: u64) -> u32 {
        let total: u64 = self.0.iter().map(|choice| u64::from(choice.weight)).sum();
        let mut ticket = (random >> 32) % total;
        for choice in &self.0 {
            if ticket < u64::from(choice.weight) {
                let span = u64::from(choice.max - choice.min) + 1;
                return choice.min + ((random & 0xFFFF_FFFF) % span) as u32;
            }
            ticket -= u64::from(choice.weight);
        }
        unreachable!("a ticket is below the sum of the weights")
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        let choices = text.split(',').map(choice).collect::<Result<Vec<_>, _>>()?;
        match choices.iter().map(|choice| choice.min).min() {
            Some(min) if (min as usize) < STAMP_LEN => Err(format!(
                "payload of {min} bytes: at least {STAMP_LEN} are needed for the stamp that verifies it"
            )),
            _ if choices.iter().all(|choice| choice.weight == 0) => {
                Err(format!("{text:?}: every weight is zero"))
            }
            _ => Ok(Sizes(choices)),
        }
    }
}

/// `64`, `32..1024`, `64:90` or `32..1024:5`.
fn choice(text: &str) -> Result<Choice, String> {
    let wrong = || format!("{text:?} is no payload size such as 64, 32..1024 or 64:90,4096:10");
    let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
    let (range, weight) = match text.split_once(':') {
        Some((range, weight)) => (range, number(weight)?),
        None => (text, 1),
    };
    let (min, max) = match range.split_once("..") {
        Some((min, max)) => (number(min)?, number(max)?),
        None => (number(range)?, number(range)?),
    };
    if max < min {
        return Err(format!("{text:?}: the second size is below the first"));
    }
    if max > PAYLOAD_MAX {
        return Err(format!("{text:?}: a payload has at most {PAYLOAD_MAX} bytes here"));
    }
    Ok(Choice { min, max, weight })
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, choice) in self.0.iter().enumerate() {
            let Choice { min, max, weight } = choice;
            f.write_str(if place > 0 { "," } else { "" })?;
            if min == max {
                write!(f, "{min}")?;
            } else {
                write!(f, "{min}..{max}")?;
            }
            if self.0.len() > 1 {
                write!(f, ":{weight}")?;
            }
        }
        Ok(())
    }
}

/// Longest payload: what a Remaining Length can say, with room for a topic and properties.
pub const PAYLOAD_MAX: u32 = 268_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, shown) in [
            ("64", "64"),
            ("32..1024", "32..1024"),
            ("64:90,4096:10", "64:90,4096:10"),
            ("64,100..200:3", "64:1,100..200:3"),
        ] {
            assert_eq!(text.parse::<Sizes>().map(|sizes| sizes.to_string()), Ok(shown.into()));
        }
    }

    #[test]
    fn what_is_no_size_is_refused_in_one_line() {
        for (text, word) in [
            ("", "no payload size"),
            ("x", "no payload size"),
            ("31", "at least 32"),
            ("64..40", "below the first"),
            ("64:0", "weight"),
            ("300000000", "at most"),
        ] {
            let error = text.parse::<Sizes>().unwrap_err();
            assert!(error.contains(word) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn a_size_is_drawn_again_and_the_weights_hold() {
        let sizes: Sizes = "64:90,1000..1999:10".parse().unwrap();
        let drawn: Vec<u32> = (0..10_000).map(|number| sizes.draw(7, 3, number)).collect();
        assert!((0..10_000).all(|number| sizes.draw(7, 3, number) == drawn[number as usize]));
        let small = drawn.iter().filter(|size| **size == 64).count();
        assert!((8_700..9_300).contains(&small), "{small}");
        assert!(drawn.iter().all(|size| *size == 64 || (1000..2000).contains(size)));
        assert_eq!(sizes.max(), 1999);
    }
}
