//! When the broker is overloaded.

use super::section::InForce::Live;
use super::section::{key, rows};
use super::units::{Size, Span};

rows! {
    /// When the broker is overloaded: a level from 0 to 3. Each cause has a maximum; level 1 begins at
    /// half of it, 2 at three quarters, 3 at nine tenths. At level 1 windows shrink; at 2 the heaviest
    /// publishers pause and connections are accepted more slowly; at 3 CONNECT is refused with 0x89, and
    /// QoS 0 of clients that is not retained is dropped and counted. If level 3 lasts for 10 s because of
    /// bytes that wait or of memory, the clients that hold most and have not acknowledged all of it are
    /// disconnected with 0x97, those without a verified user name first. Waiting bytes are measured against
    /// `totals.queued_bytes_max`, bytes that the store has not written against
    /// `store.unwritten_bytes_max`; the store alone causes level 2 at most. After a reload the next
    /// sample is measured against the new maxima; only a level above `overload.level_max` falls at once.
    pub struct OverloadConfig {
        /// No level above this; 0 is off.
        level_max: u8 = key(Live, 3).range(0..=3);
        /// How late a task is woken; `"0s"` is not watched.
        lag_max: Span = key(Live, Span::millis(500)).range(Span::secs(0)..=Span::secs(60));
        /// Resident memory of the process (on Linux); `"0B"` is not watched.
        memory_max: Size = key(Live, Size(0)).range(Size(0)..=Size::TIB);
        /// Time from handing something to the store until it is durable; `"0s"` is not watched.
        commit_max: Span = key(Live, Span::millis(500)).range(Span::secs(0)..=Span::secs(3600));
        /// The level falls by one when the load has been well below it for this long.
        hold: Span = key(Live, Span::secs(2)).range(Span::millis(100)..=Span::secs(600));
    }
}
