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

/// What a thread has noted and not settled, and of which meter.
struct Unsettled {
    meter: Cell<Option<&'static Meter>>,
    bytes: Cell<i64>,
    messages: Cell<i64>,
}

thread_local! {
    static UNSETTLED: Unsettled = const {
        Unsettled { meter: Cell::new(None), bytes: Cell::new(0), messages: Cell::new(0) }
    };
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
    #[inline]
    pub fn about(&'static self) -> u64 {
        let unsettled = UNSETTLED.with(|own| if own.is_of(self) { own.bytes.get() } else { 0 });
        u64::try_from(self.bytes.load(Ordering::Relaxed) + unsettled).unwrap_or(0)
    }

    /// Adds to the meter what this thread has noted.
    #[inline]
    pub fn settle(&'static self) {
        UNSETTLED.with(Unsettled::settle);
    }

    /// A message of so many bytes is made.
    #[inline]
    pub(super) fn note_made(&'static self, bytes: u32) {
        self.note(bytes.into(), 1);
    }

    /// A message of so many bytes is freed.
    #[inline]
    pub(super) fn note_freed(&'static self, bytes: u32) {
        self.note(-i64::from(bytes), -1);
    }

    #[inline]
    fn note(&'static self, bytes: i64, messages: i64) {
        UNSETTLED.with(|own| {
            if !own.is_of(self) {
                own.settle();
                own.meter.set(Some(self));
            }
            own.bytes.set(own.bytes.get() + bytes);
            own.messages.set(own.messages.get() + messages);
        });
    }
}

impl Unsettled {
    #[inline]
    fn is_of(&self, meter: &'static Meter) -> bool {
        self.meter.get().is_some_and(|own| std::ptr::eq(own, meter))
    }

    #[inline]
    fn settle(&self) {
        if (self.bytes.get(), self.messages.get()) == (0, 0) {
            return;
        }
        let (bytes, messages) = (self.bytes.take(), self.messages.take());
        if let Some(meter) = self.meter.get() {
            meter.bytes.fetch_add(bytes, Ordering::Relaxed);
            if messages != 0 {
                meter.messages.fetch_add(messages, Ordering::Relaxed);
            }
        }
    }
}
