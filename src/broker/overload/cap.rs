//! What each publisher may bring in while the broker is pressed: falls fast, rises slowly.

use std::num::NonZeroU64;

/// Bytes a second of each publisher, a message counting for [`MESSAGE`] bytes more than it has. So the
/// heaviest are held up first, and the lightest not at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cap {
    rate: Option<NonZeroU64>,
}

/// What a message costs beyond its bytes.
pub const MESSAGE: u64 = 512;

/// Where it begins and ends: more than any one publisher brings.
const MOST: u64 = 1 << 26;
/// Nobody gets less: some eight messages a second.
const LEAST: u64 = 1 << 12;

impl Cap {
    /// Halves it while the load is above the mark of level 2, raises it by a quarter while it is below
    /// the one at which that level is left, and lifts it when the level has fallen to 0.
    pub fn step(&mut self, level: u8, load: u64) {
        let rate = self.rate.map(NonZeroU64::get);
        let rate = match (level, rate) {
            (0, _) => None,
            (2.., _) if load >= super::controller::RISES[1] => {
                Some((rate.unwrap_or(MOST) / 2).max(LEAST))
            }
            (_, Some(rate)) if load < super::controller::FALLS[1] => {
                Some(rate + rate / 4).filter(|rate| *rate < MOST)
            }
            (_, rate) => rate,
        };
        self.rate = rate.and_then(NonZeroU64::new);
    }

    /// Bytes a second, if anybody is held up.
    pub fn rate(&self) -> Option<NonZeroU64> {
        self.rate
    }
}
