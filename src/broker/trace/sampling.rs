//! Which messages are sampled for OpenTelemetry.

use std::sync::atomic::{AtomicU64, Ordering};

use super::parent::TraceParent;
use crate::sync::{Mutex, whole};
use crate::time::Time;

/// Chooses messages as they come in.
#[derive(Debug)]
pub struct Sampling {
    /// A message is chosen if its number, mixed, is below this.
    threshold: u128,
    flagged_max: u32,
    seed: u64,
    asked: AtomicU64,
    flagged: Mutex<FlaggedSecond>,
}

/// Messages chosen in one second because their publisher had sampled them.
#[derive(Debug, Default)]
struct FlaggedSecond {
    second: u64,
    chosen: u32,
}

impl Sampling {
    /// Chooses this share of all messages, from 0 to 1; and each that its publisher has sampled, up to `flagged_max`
    /// a second. The same seed chooses the same messages.
    pub fn new(share: f64, flagged_max: u32, seed: u64) -> Sampling {
        // The product is exact enough, and a cast saturates.
        let threshold = (share * (1_u128 << 64) as f64) as u128;
        Sampling {
            threshold,
            flagged_max,
            seed,
            asked: AtomicU64::new(0),
            flagged: Mutex::default(),
        }
    }

    /// Whether the next message is chosen; `parent`: where its publisher is in a trace.
    pub(super) fn chooses(&self, parent: Option<TraceParent>, now: Time) -> bool {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let by_share = u128::from(mixed(self.seed.wrapping_add(number))) < self.threshold;
        by_share || (parent.is_some_and(|parent| parent.is_sampled) && self.has_room(now))
    }

    fn has_room(&self, now: Time) -> bool {
        let second = now.as_nanos() / 1_000_000_000;
        let flagged = &mut *whole(self.flagged.lock());
        if flagged.second != second {
            *flagged = FlaggedSecond { second, chosen: 0 };
        }
        let has_room = flagged.chosen < self.flagged_max;
        flagged.chosen += u32::from(has_room);
        has_room
    }
}

/// Numbers in a row become numbers without order (the finish of SplitMix64).
pub fn mixed(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use super::*;

    const FLAGGED: Option<TraceParent> =
        Some(TraceParent { trace_id: [1; 16], span_id: [2; 8], is_sampled: true });

    fn chosen(sampling: &Sampling, parent: Option<TraceParent>, asked: usize, at: u64) -> usize {
        (0..asked).filter(|_| sampling.chooses(parent, Time::from_secs(at))).count()
    }

    #[test]
    fn a_share_of_the_messages_is_chosen_and_the_seed_says_which() {
        for (share, least, most) in
            [(0.0, 0, 0), (0.01, 850, 1150), (0.5, 49_300, 50_700), (1.0, 100_000, 100_000)]
        {
            let found = chosen(&Sampling::new(share, 0, 7), None, 100_000, 1);
            assert!((least..=most).contains(&found), "{share}: {found}");
        }
        let first = |seed| {
            let sampling = Sampling::new(0.5, 0, seed);
            (0..64).map(|_| sampling.chooses(None, Time::from_secs(1))).collect::<Vec<_>>()
        };
        assert_eq!(first(7), first(7));
        assert_ne!(first(7), first(8));
    }

    #[test]
    fn what_its_publisher_has_sampled_is_chosen_up_to_a_number_each_second() {
        let sampling = Sampling::new(0.0, 10, 7);
        assert_eq!(chosen(&sampling, FLAGGED, 100, 1), 10);
        assert_eq!(chosen(&sampling, FLAGGED, 100, 1), 0);
        assert_eq!(chosen(&sampling, FLAGGED, 100, 2), 10);
        let not = FLAGGED.map(|parent| TraceParent { is_sampled: false, ..parent });
        assert_eq!(chosen(&sampling, not, 100, 3), 0);
        assert_eq!(chosen(&sampling, None, 100, 3), 0);
        let share = Sampling::new(0.5, 0, 7);
        let found = chosen(&share, FLAGGED, 1000, 1);
        assert!(
            (400..600).contains(&found),
            "without room it has the chance of any other: {found}"
        );
    }
}
