//! What each publisher may bring in while the broker is pressed: falls fast, rises slowly.

use std::num::NonZeroU64;

use super::SLOW;

/// Bytes a second of each publisher, a message counting for [`MESSAGE`] bytes more than it has. So the
/// heaviest are held up first, and the lightest not at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cap {
    rate: Option<NonZeroU64>,
}

/// What becomes of the cap; the later is the stronger.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Grip {
    /// There is room for more.
    Loosen,
    /// It is right as it is.
    Keep,
    /// There is too much.
    Tighten,
}

/// What a message costs beyond its bytes.
pub const MESSAGE: u64 = 512;

/// Where it begins and ends: more than any one publisher brings.
const MOST: u64 = 1 << 26;
/// The least any publisher gets: some eight messages a second.
const LEAST: u64 = 1 << 12;

impl Cap {
    /// Halves it, keeps it or raises it by a quarter; lifts it when the level has fallen to 0.
    pub fn step(&mut self, level: u8, grip: Grip) {
        let rate = self.rate.map(NonZeroU64::get);
        let rate = match (level, grip, rate) {
            (0, _, _) => None,
            (SLOW.., Grip::Tighten, _) => Some((rate.unwrap_or(MOST) / 2).max(LEAST)),
            (_, Grip::Loosen, Some(rate)) => Some(rate + rate / 4).filter(|rate| *rate < MOST),
            (_, _, rate) => rate,
        };
        self.rate = rate.and_then(NonZeroU64::new);
    }

    /// Bytes a second, if anybody is held up.
    pub fn rate(&self) -> Option<NonZeroU64> {
        self.rate
    }
}
