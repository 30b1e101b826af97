//! Messages that are published later.

use super::section::InForce::{Live, Restart};
use super::section::{key, rows};
use super::units::{Size, Span};

rows! {
    /// Messages published to `$delayed/<span>/<topic>`: they are kept, and published to the topic when the
    /// span is over. What is beyond a limit is refused with 0x97. Of messages and bytes each owner has its
    /// share: see `totals.unverified_share`, `totals.address_share` and `totals.user_share`.
    pub struct DelayedConfig {
        /// Delayed messages at once; 0: none is taken.
        messages_max: u32 = key(Restart, 1_000_000).range(0..=1_000_000_000);
        /// Their bytes, in the store or, without a store on disk, in memory.
        bytes_max: Size = key(Restart, Size::kib(256 * 1024)).range(Size(0)..=Size::TIB);
        /// The longest span. After a reload it holds for messages that come later.
        span_max: Span = key(Live, Span::secs(90 * 86_400)).range(Span::secs(0)..=Span::secs(3650 * 86_400));
    }
}
