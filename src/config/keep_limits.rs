//! How long kept messages stay.

use std::ops::RangeInclusive;

use super::queue::{BYTES_MAX, MESSAGES_MAX};
use super::section::InForce::Live;
use super::section::{key, rows};
use super::units::{Size, Span};

/// How long a message may stay.
pub(super) const SPAN: RangeInclusive<Span> = Span::secs(1)..=Span::secs(10 * 365 * 86_400);
/// Kept where no number is set.
pub(super) const MESSAGES: u32 = 1000;
/// Kept where no size is set.
pub(super) const BYTES: Size = Size::kib(64 * 1024);

rows! {
    /// Keeps the messages of the queue for clients that come later, whether or not they were consumed: they
    /// subscribe to `$replay/<name>/<from>`. See [kept messages](queues.md#kept-messages).
    pub struct KeepLimits {
        /// Messages that are kept.
        messages: u32 = key(Live, MESSAGES).range(MESSAGES_MAX);
        /// Bytes of messages that are kept, as they are counted in memory.
        bytes: Size = key(Live, BYTES).range(BYTES_MAX);
        /// How long a message is kept, to the second. Not set: as long as there is room.
        span: Option<Span> = key(Live, None).example(Some(Span::secs(3600))).range(SPAN);
    }
}
