//! Lengths of time and sizes as people write them: a number with its unit, in quotes.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time, written `"250ms"`, `"10s"`, `"5m"`, `"1h"` or `"7d"`.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Span(pub Duration);

impl Span {
    /// A span of whole seconds.
    pub const fn secs(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }

    /// A span of whole milliseconds.
    pub const fn millis(millis: u64) -> Span {
        Span(Duration::from_millis(millis))
    }
}

/// A number of bytes, written `"512B"`, `"64KiB"`, `"1MiB"` or `"1GiB"`.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Size(pub u64);

impl Size {
    /// The largest size that a key may have: 1024 GiB.
    pub const TIB: Size = Size::kib(1 << 30);

    /// A size of whole kibibytes.
    pub const fn kib(kib: u64) -> Size {
        Size(kib * 1024)
    }

    /// As a length in memory.
    #[expect(clippy::len_without_is_empty, reason = "a number of bytes, not a collection of them")]
    pub fn len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Why a text is not a [`Span`] or a [`Size`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected {wanted}, found {found:?}{}", .meant.as_ref().map_or(String::new(), |meant| format!("; did you mean {meant:?}?")))]
pub struct UnitError {
    wanted: &'static str,
    found: String,
    /// The right form, where it can be told.
    meant: Option<String>,
}

/// What [`Span`] and [`Size`] share: units, and the words for what was expected.
trait Unit: FromStr<Err = UnitError> {
    /// Words for the form, with an example.
    const WANTED: &'static str;
    /// Units and what each is worth, the largest first.
    const UNITS: &'static [(&'static str, u64)];
    /// Words that people write for a unit, in small letters.
    const OTHER_NAMES: &'static [(&'static str, &'static [&'static str])];
}

impl Unit for Span {
    const WANTED: &'static str = r#"a length of time such as "10s" (units: ms, s, m, h, d)"#;
    const UNITS: &'static [(&'static str, u64)] =
        &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    const OTHER_NAMES: &'static [(&'static str, &'static [&'static str])] = &[
        ("ms", &["msec", "millis", "milliseconds"]),
        ("s", &["s", "sec", "secs", "second", "seconds"]),
        ("m", &["m", "min", "mins", "minute", "minutes"]),
        ("h", &["h", "hr", "hrs", "hour", "hours"]),
        ("d", &["d", "day", "days"]),
    ];
}

impl Unit for Size {
    const WANTED: &'static str = r#"a size such as "64KiB" (units: B, KiB, MiB, GiB)"#;
    const UNITS: &'static [(&'static str, u64)] =
        &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
    const OTHER_NAMES: &'static [(&'static str, &'static [&'static str])] = &[
        ("B", &["b", "byte", "bytes"]),
        ("KiB", &["k", "kb", "kib"]),
        ("MiB", &["m", "mb", "mib"]),
        ("GiB", &["g", "gb", "gib"]),
    ];
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Span, UnitError> {
        parse::<Span>(text).map(Span::millis)
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Size, UnitError> {
        parse::<Size>(text).map(Size)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 { f.write_str("0s") } else { write::<Span>(millis, f) }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_str("0B") } else { write::<Size>(self.0, f) }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        deserializer.deserialize_str(Quoted(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        deserializer.deserialize_str(Quoted(PhantomData))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Takes strings only, so that a bare number is refused with the right form in the message.
struct Quoted<T>(PhantomData<T>);

impl<T: Unit> Visitor<'_> for Quoted<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WANTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Digits and a unit, nothing between or around them.
fn parse<T: Unit>(text: &str) -> Result<u64, UnitError> {
    amount::<T>(text).ok_or_else(|| UnitError {
        wanted: T::WANTED,
        found: text.to_owned(),
        meant: meant::<T>(text),
    })
}

fn amount<T: Unit>(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let (_, worth) = T::UNITS.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*worth)
}

/// The right form of a text that has a unit by another name, or spaces.
fn meant<T: Unit>(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = (&text[..split], text[split..].trim());
    let other = T::OTHER_NAMES.iter().find(|(_, others)| others.contains(&unit));
    let name = other
        .map(|(name, _)| *name)
        .or_else(|| T::UNITS.iter().map(|(name, _)| *name).find(|name| *name == unit))?;
    let right = format!("{digits}{name}");
    amount::<T>(&right).map(|_| right)
}

/// In the largest unit that leaves no remainder.
fn write<T: Unit>(amount: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (unit, worth) in T::UNITS {
        if amount.is_multiple_of(*worth) {
            return write!(f, "{}{unit}", amount / worth);
        }
    }
    unreachable!("the smallest unit divides every amount")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_back_as_written() {
        for (text, millis) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
            ("0s", 0),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span, Span::millis(millis), "{text}");
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span, "{text}");
        }
        assert_eq!(Span::secs(90).to_string(), "90s");
        assert_eq!(Span::secs(7 * 86_400).to_string(), "7d");
        assert_eq!(Span::secs(0).to_string(), "0s");
    }

    #[test]
    fn sizes_read_back_as_written() {
        for (text, bytes) in
            [("512B", 512), ("64KiB", 65_536), ("1MiB", 1 << 20), ("1GiB", 1 << 30), ("0B", 0)]
        {
            let size: Size = text.parse().unwrap();
            assert_eq!(size, Size(bytes), "{text}");
            assert_eq!(size.to_string(), text);
        }
        assert_eq!(Size(1025).to_string(), "1025B");
    }

    #[test]
    fn anything_else_is_refused_with_the_right_form() {
        for text in
            ["", "10", "s", "10 s", " 10s", "1.5h", "-1s", "10S", "+5s", "99999999999999999d"]
        {
            let error = text.parse::<Span>().unwrap_err().to_string();
            assert!(error.contains("such as \"10s\""), "{text}: {error}");
        }
        for text in ["", "64", "64KB", "64kib", "1 MiB", "99999999999999GiB"] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains("such as \"64KiB\""), "{text}: {error}");
        }
    }

    #[test]
    fn numbers_are_not_taken_for_spans_or_sizes() {
        #[derive(Debug, Deserialize)]
        struct Row {
            #[serde(default)]
            #[expect(dead_code)]
            span: Span,
            #[serde(default)]
            #[expect(dead_code)]
            size: Size,
        }
        let error = toml::from_str::<Row>("span = 10").unwrap_err().message().to_owned();
        assert!(
            error.contains("integer `10`, expected a length of time such as \"10s\""),
            "{error}"
        );
        let error = toml::from_str::<Row>("size = 10").unwrap_err().message().to_owned();
        assert!(error.contains("integer `10`, expected a size such as \"64KiB\""), "{error}");
    }
}
