//! How many messages are in memory, and their bytes.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

/// Messages in memory, and their bytes; each is counted once, however many receivers wait for it.
///
/// Each thread notes what it adds and frees, and adds the sum to the meter with [`Meter::settle`],
/// once a turn: a line of memory that all processors write for every message would cost more than the
/// rest.
#[derive(Debug, Default)]
pub struct Meter {
    bytes: AtomicI64,
    messages: AtomicI64,
}

/// What a thread has noted and not settled, and of which meter: bytes and messages.
type Unsettled = (Option<&'static Meter>, i64, i64);

thread_local! {
    static UNSETTLED: Cell<Unsettled> = const { Cell::new((None, 0, 0)) };
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
        u64::try_from(self.bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Messages now: all that this thread has noted, and all that others have settled.
    pub fn messages(&'static self) -> u64 {
        self.settle();
        u64::try_from(self.messages.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Bytes, without settling what this thread has noted.
    pub fn about(&'static self) -> u64 {
        let unsettled = match UNSETTLED.get() {
            (Some(meter), bytes, _) if std::ptr::eq(meter, self) => bytes,
            _ => 0,
        };
        u64::try_from(self.bytes.load(Ordering::Relaxed) + unsettled).unwrap_or(0)
    }

    /// Adds to the meter what this thread has noted.
    pub fn settle(&'static self) {
        if let (Some(meter), bytes, messages) = UNSETTLED.get()
            && (bytes != 0 || messages != 0)
        {
            meter.bytes.fetch_add(bytes, Ordering::Relaxed);
            if messages != 0 {
                meter.messages.fetch_add(messages, Ordering::Relaxed);
            }
            UNSETTLED.set((Some(meter), 0, 0));
        }
    }

    /// A message of so many bytes is made or, below 0, freed.
    pub(super) fn note(&'static self, bytes: i64) {
        let (meter, before, messages) = UNSETTLED.get();
        if meter.is_some_and(|meter| std::ptr::eq(meter, self)) {
            UNSETTLED.set((meter, before + bytes, messages + bytes.signum()));
        } else {
            self.settle();
            UNSETTLED.set((Some(self), bytes, bytes.signum()));
        }
    }
}
