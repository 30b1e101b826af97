//! How many bytes of messages are in memory.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

/// Bytes of messages in memory; each message is counted once, however many receivers wait for it.
///
/// Each thread notes what it adds and frees, and adds the sum to the meter with [`Meter::settle`],
/// once a turn: a line of memory that all processors write for every message would cost more than the
/// rest.
#[derive(Debug, Default)]
pub struct Meter(AtomicI64);

thread_local! {
    /// What this thread has noted and not settled, and of which meter.
    static UNSETTLED: Cell<(Option<&'static Meter>, i64)> = const { Cell::new((None, 0)) };
}

impl Meter {
    /// A meter that stays until the process ends, as does the broker it belongs to: so messages need
    /// not count their references to it.
    pub fn forever() -> &'static Meter {
        Box::leak(Box::default())
    }

    /// Bytes now: all that this thread has noted, and all that others have settled.
    pub fn bytes(&'static self) -> u64 {
        self.settle();
        u64::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The same without settling what this thread has noted.
    pub fn about(&'static self) -> u64 {
        let unsettled = match UNSETTLED.get() {
            (Some(meter), bytes) if std::ptr::eq(meter, self) => bytes,
            _ => 0,
        };
        u64::try_from(self.0.load(Ordering::Relaxed) + unsettled).unwrap_or(0)
    }

    /// Adds to the meter what this thread has noted.
    pub fn settle(&'static self) {
        if let (Some(meter), bytes) = UNSETTLED.get()
            && bytes != 0
        {
            meter.0.fetch_add(bytes, Ordering::Relaxed);
            UNSETTLED.set((Some(meter), 0));
        }
    }

    pub(super) fn note(&'static self, bytes: i64) {
        let (meter, before) = UNSETTLED.get();
        if meter.is_some_and(|meter| std::ptr::eq(meter, self)) {
            UNSETTLED.set((meter, before + bytes));
        } else {
            self.settle();
            UNSETTLED.set((Some(self), bytes));
        }
    }
}
