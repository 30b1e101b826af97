//! Numbers as people write them: `100k`, `1.5M`, `250ms`; and back.

use std::time::Duration;

use sluicemq::config::Span;

/// A number, perhaps in thousands (`k`) or millions (`M`).
///
/// # Errors
///
/// If it is none, or is negative.
pub fn number(text: &str) -> Result<f64, String> {
    let (digits, times) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1e3),
        Some(b'M') => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    let parsed = digits.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    parsed
        .map(|number| number * times)
        .ok_or_else(|| format!("{text:?} is no number such as 500, 100k or 1.5M"))
}

/// A whole number of at least 1, perhaps in thousands or millions.
///
/// # Errors
///
/// If it is none.
pub fn count(text: &str) -> Result<u64, String> {
    let number = number(text)?;
    if number.fract() != 0.0 || !(1.0..=1e15).contains(&number) {
        return Err(format!(
            "{text:?} is no whole number of at least 1, such as 500, 100k or 1.5M"
        ));
    }
    Ok(number as u64)
}

/// Like [`count`], small enough for what there are few of.
///
/// # Errors
///
/// If it is none.
pub fn small_count(text: &str) -> Result<u32, String> {
    u32::try_from(count(text)?)
        .ok()
        .filter(|count| *count <= SMALL_MAX)
        .ok_or_else(|| format!("{text:?} is more than {SMALL_MAX}"))
}

/// A rate above zero.
///
/// # Errors
///
/// If it is none.
pub fn rate(text: &str) -> Result<f64, String> {
    Some(number(text)?)
        .filter(|rate| *rate > 0.0)
        .ok_or_else(|| format!("{text:?} is no rate above 0"))
}

/// A length of time, with its unit.
///
/// # Errors
///
/// If it is none.
pub fn span(text: &str) -> Result<Duration, String> {
    text.parse::<Span>().map(|span| span.0).map_err(|error| error.to_string())
}

/// A length of time as it is written.
pub fn span_in_words(span: Duration) -> String {
    Span(span).to_string()
}

/// A number with its thousands set apart: `1,234,567`.
pub fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut words = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            words.push(',');
        }
        words.push(digit);
    }
    words
}

/// Most clients, topics or subscriptions of one kind.
const SMALL_MAX: u32 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read() {
        assert_eq!(number("100k"), Ok(100_000.0));
        assert_eq!(count("1.5M"), Ok(1_500_000));
        assert_eq!(rate("0.5"), Ok(0.5));
        assert_eq!(span("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "k", "x", "-1", "nan", "inf"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
        assert!(count("0").is_err() && count("1.5").is_err() && rate("0").is_err());
        assert!(small_count("11M").is_err() && span("5").is_err());
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, words) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(with_commas(number), words);
        }
    }
}
