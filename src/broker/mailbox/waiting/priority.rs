//! Priority bands: a higher band overtakes, each keeps its order, and a lower one has its share. Most
//! mailboxes have one band and never come here.

use super::band::Band;
use crate::broker::mailbox::copy::{BANDS, ORDINARY};

/// The bands beside the ordinary one.
#[derive(Debug, Default)]
pub(super) struct Bands {
    bands: [Band; BANDS - 1],
    /// What each is owed of its share, in hundredths of a copy, while a higher one is served.
    credit: [u32; BANDS],
}

/// The copy that is taken next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Choice {
    band: u8,
    qos0: bool,
    /// Bands below the highest that have a copy too.
    lower: [bool; BANDS],
}

/// What is owed for one copy.
const WHOLE: u32 = 100;

impl Choice {
    pub fn band(self) -> u8 {
        self.band
    }

    pub fn is_qos0(self) -> bool {
        self.qos0
    }
}

impl Bands {
    /// In the order of their slots.
    pub fn all(&self) -> &[Band] {
        &self.bands
    }

    pub fn all_mut(&mut self) -> &mut [Band] {
        &mut self.bands
    }

    pub fn into_all(self) -> [Band; BANDS - 1] {
        self.bands
    }

    pub fn slot_mut(&mut self, slot: usize) -> &mut Band {
        &mut self.bands[slot]
    }

    pub fn of<'a>(&'a self, ordinary: &'a Band, band: usize) -> &'a Band {
        slot(band as u8).map_or(ordinary, |slot| &self.bands[slot])
    }

    pub fn of_mut<'a>(&'a mut self, ordinary: &'a mut Band, band: u8) -> &'a mut Band {
        match slot(band) {
            Some(slot) => &mut self.bands[slot],
            None => ordinary,
        }
    }

    /// The next copy: of the highest band that has one, unless a lower band is owed its `share`, which is
    /// in hundredths. What arrived at `barrier` or later overtakes no copy of `QoS` 1 or 2 that came
    /// before.
    pub fn choose(
        &self,
        ordinary: &Band,
        window: usize,
        share: u32,
        barrier: u64,
    ) -> Option<Choice> {
        let mut ready = [None; BANDS];
        let barred =
            barrier > 0 && (0..BANDS).any(|band| self.of(ordinary, band).is_before(barrier));
        for band in (0..BANDS).rev() {
            let lists = self.of(ordinary, band);
            let waits = barred && !lists.is_before(barrier);
            ready[band] = lists.next_is_qos0(if waits { 0 } else { window });
            if window > 0 && lists.qos12.first_is_cold() {
                // It is on its way from the store: those below wait for it too.
                break;
            }
        }
        let highest = (0..BANDS).rev().find(|band| ready[*band].is_some())?;
        let mut lower = [false; BANDS];
        for band in 0..highest {
            lower[band] = ready[band].is_some();
        }
        let due = (0..highest).filter(|band| lower[*band] && self.credit[*band] + share >= WHOLE);
        let band = due.max_by_key(|band| self.credit[*band]).unwrap_or(highest);
        Some(Choice { band: band as u8, qos0: ready[band]?, lower })
    }

    /// The choice was taken: each lower band that waited is owed more; a band that had nothing to wait
    /// with is owed nothing.
    pub fn charge(&mut self, choice: Choice, share: u32) {
        for (band, credit) in self.credit.iter_mut().enumerate() {
            *credit = if choice.lower[band] { *credit + share } else { 0 };
            if band == usize::from(choice.band) {
                *credit = credit.saturating_sub(WHOLE);
            }
        }
    }
}

/// Where a band is among those beside the ordinary one; `None`: it is the ordinary one. Bands in the
/// order of [`super::Waiting::all`] are [`IN_ORDER`].
pub(super) fn slot(band: u8) -> Option<usize> {
    match band {
        ORDINARY => None,
        0 => Some(0),
        band => Some(usize::from(band).min(BANDS - 1) - 1),
    }
}

/// The ordinary band, then the others in the order of their slots.
pub(super) const IN_ORDER: [u8; BANDS] = [ORDINARY, 0, 2, 3];
