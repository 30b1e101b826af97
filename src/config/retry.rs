//! How often, and after how long, a message that a consumer of a named queue has failed is tried again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::units::Span;

/// What holds of attempts at one message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Retry {
    /// Attempts, the first one included.
    pub attempts_max: u16,
    /// How long it waits for the next one.
    pub backoff: Backoff,
    /// How long a consumer has for its answer at `QoS` 1; `None`: as long as it likes.
    pub ack_timeout: Option<Duration>,
}

/// The shortest and the longest wait before another attempt, written `"1s..5m"`: it doubles from one attempt to
/// the next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backoff {
    low: Span,
    high: Span,
}

/// Why a text is not a [`Backoff`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected {WANTED}, found {0:?}")]
pub struct BackoffError(String);

const WANTED: &str = r#"the shortest and the longest wait such as "1s..5m" (10ms to 7d)"#;
const LOW: Span = Span::millis(10);
const HIGH: Span = Span::secs(7 * 86_400);

/// What holds where nothing is said.
impl Default for Retry {
    fn default() -> Retry {
        Retry { attempts_max: 10, backoff: Backoff::default(), ack_timeout: None }
    }
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { low: Span::secs(1), high: Span::secs(300) }
    }
}

impl Backoff {
    /// How long a message waits of which so many attempts have failed: between the low span, doubled for each
    /// of them but the first, and twice that, where `fraction` of 2^32 says; never more than the high span.
    pub fn after(&self, failed: u16, fraction: u32) -> Duration {
        let (low, high) = (self.low.0.as_nanos() as u64, self.high.0.as_nanos() as u64);
        let doublings = u32::from(failed.saturating_sub(1)).min(32);
        let least = low.saturating_mul(1 << doublings).min(high);
        let more = (u128::from(least) * u128::from(fraction)) >> 32;
        Duration::from_nanos(least.saturating_add(more as u64).min(high))
    }
}

impl FromStr for Backoff {
    type Err = BackoffError;

    fn from_str(text: &str) -> Result<Backoff, BackoffError> {
        let spans = text.split_once("..").map(|(low, high)| (low.parse(), high.parse()));
        match spans {
            Some((Ok(low), Ok(high))) if LOW <= low && low <= high && high <= HIGH => {
                Ok(Backoff { low, high })
            }
            _ => Err(BackoffError(text.to_owned())),
        }
    }
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.low, self.high)
    }
}

impl Serialize for Backoff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Backoff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Backoff, D::Error> {
        deserializer.deserialize_str(Quoted)
    }
}

/// Takes a string only.
struct Quoted;

impl Visitor<'_> for Quoted {
    type Value = Backoff;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WANTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Backoff, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_as_written_and_anything_else_is_refused() {
        for text in ["1s..5m", "10ms..10ms", "1m..7d"] {
            assert_eq!(text.parse::<Backoff>().unwrap().to_string(), text);
        }
        for text in ["", "1s", "1s..", "..1s", "5m..1s", "1..5", "1ms..5m", "1s..8d", "1s...5m"] {
            let error = text.parse::<Backoff>().unwrap_err().to_string();
            assert!(error.contains("such as \"1s..5m\""), "{text}: {error}");
        }
    }

    #[test]
    fn the_wait_doubles_within_its_bounds() {
        let backoff: Backoff = "1s..10s".parse().unwrap();
        for (failed, least, most) in
            [(1, 1, 2), (2, 2, 4), (3, 4, 8), (4, 8, 10), (5, 10, 10), (u16::MAX, 10, 10)]
        {
            assert_eq!(backoff.after(failed, 0), Duration::from_secs(least), "{failed}");
            let longest = backoff.after(failed, u32::MAX);
            assert!(longest <= Duration::from_secs(most), "{failed} {longest:?}");
            assert!(longest + Duration::from_millis(1) >= Duration::from_secs(most), "{failed}");
        }
    }
}
