//! Messages that are published later.

use std::fmt;
use std::str::FromStr;

use super::content::Message;
use super::holdings::OwnerName;
use super::network::Network;
use crate::time::Time;

/// Where a delayed message stands among all: they are published in this order. In words, which the API uses,
/// it is 32 hexadecimal digits.
///
/// ```
/// use sluicemq::message::DelayKey;
/// use sluicemq::time::Time;
///
/// let [first, second] = [1, 2].map(|number| DelayKey::new(Time::from_secs(9), number));
/// assert!(first < second && second < DelayKey::new(Time::from_secs(10), 1));
/// assert_eq!(first.to_string().parse(), Ok(first));
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DelayKey {
    due: Time,
    number: u64,
}

/// A text that is no [`DelayKey`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected 32 hexadecimal digits")]
pub struct NoDelayKey;

/// A message that waits until it is due.
#[derive(Clone, Debug)]
pub struct DelayedMessage {
    /// It, with the topic that it is published to.
    pub message: Message,
    /// Where its publisher came from.
    pub network: Network,
}

impl DelayKey {
    /// Due at `due`, the `number`th that came.
    pub const fn new(due: Time, number: u64) -> DelayKey {
        DelayKey { due, number }
    }

    /// The place that it is the next one behind; `None` of the very first there can be.
    pub fn before(self) -> Option<DelayKey> {
        let number = self.number.checked_sub(1)?;
        Some(DelayKey { number, ..self })
    }

    /// When it is due.
    pub const fn due(self) -> Time {
        self.due
    }

    /// The how-manieth it is of all that came.
    pub const fn number(self) -> u64 {
        self.number
    }
}

impl fmt::Display for DelayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.due.as_nanos(), self.number)
    }
}

impl FromStr for DelayKey {
    type Err = NoDelayKey;

    fn from_str(text: &str) -> Result<DelayKey, NoDelayKey> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoDelayKey);
        }
        let number = |text| u64::from_str_radix(text, 16).map_err(|_| NoDelayKey);
        let (due, behind) = text.split_at(16);
        Ok(DelayKey::new(Time::from_nanos(number(due)?), number(behind)?))
    }
}

impl DelayedMessage {
    /// The owner that it is counted for.
    pub fn owner(&self) -> OwnerName {
        OwnerName::of(self.message.user_name().map(Into::into), self.network)
    }
}
