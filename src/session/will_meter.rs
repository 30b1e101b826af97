//! How many Wills there are, and how many bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::message::{Grounds, Holdings, Total};

/// All Wills of a broker: those of connected clients and those that their clients left behind, in memory or
/// in the store only.
#[derive(Debug, Default)]
pub struct WillMeter {
    count: AtomicU64,
    bytes: AtomicU64,
    /// Of them, what is in the store only.
    stored: AtomicU64,
}

/// One Will in the meter; dropped, it is not counted any more.
#[derive(Debug)]
pub(super) struct WillCount {
    meter: &'static WillMeter,
    bytes: u64,
    is_stored: bool,
    owner: Arc<Holdings>,
}

/// What a Will takes beside its topic, properties and payload, about.
const OVERHEAD: u64 = 128;
/// A Will up to so many bytes may use all the room, a larger one half of it: so a few clients with large
/// Wills keep no client out that has one as small as Wills are.
const SMALL: u64 = 1024;

impl WillMeter {
    /// A meter that stays until the process ends, as does the broker it belongs to.
    pub fn forever() -> &'static WillMeter {
        Box::leak(Box::default())
    }

    /// Whether there is room for one more of `bytes`, if all may take `max`.
    pub fn has_room(&self, bytes: usize, max: u64) -> bool {
        let bytes = bytes as u64;
        let max = if bytes > SMALL { max / 2 } else { max };
        self.bytes() + bytes + OVERHEAD <= max
    }

    /// Whether its owner may have one more of `bytes`.
    ///
    /// # Errors
    ///
    /// The share that it would exceed.
    pub fn room_of(owner: &Holdings, bytes: usize) -> Result<(), Grounds> {
        owner.room(Total::WillBytes, bytes as u64 + OVERHEAD)
    }

    /// Wills there are.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Those that are in memory.
    pub fn memory(&self) -> u64 {
        self.bytes().saturating_sub(self.stored.load(Ordering::Relaxed))
    }

    /// Counts one more, of `bytes`.
    pub(super) fn add(&'static self, bytes: usize, owner: Arc<Holdings>) -> WillCount {
        let bytes = bytes as u64 + OVERHEAD;
        owner.change(Total::WillBytes, 0, bytes);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        WillCount { meter: self, bytes, is_stored: false, owner }
    }
}

impl WillCount {
    /// Bytes of the Will itself.
    pub fn own_bytes(&self) -> usize {
        usize::try_from(self.bytes - OVERHEAD).unwrap_or(usize::MAX)
    }

    /// Counts the same once more, as one that is in the store only.
    pub fn again_stored(&self) -> WillCount {
        self.meter.count.fetch_add(1, Ordering::Relaxed);
        self.meter.bytes.fetch_add(self.bytes, Ordering::Relaxed);
        self.meter.stored.fetch_add(self.bytes, Ordering::Relaxed);
        self.owner.change(Total::WillBytes, 0, self.bytes);
        let owner = self.owner.clone();
        WillCount { meter: self.meter, bytes: self.bytes, is_stored: true, owner }
    }
}

impl Drop for WillCount {
    fn drop(&mut self) {
        self.meter.count.fetch_sub(1, Ordering::Relaxed);
        self.owner.change(Total::WillBytes, self.bytes, 0);
        if self.is_stored {
            self.meter.stored.fetch_sub(self.bytes, Ordering::Relaxed);
        }
        self.meter.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
