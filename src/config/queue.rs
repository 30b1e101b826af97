//! What waits for one receiver.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::limits::LimitsConfig;
use super::problems::Problems;
use super::section::InForce::Live;
use super::section::{key, rows};
use super::totals::Totals;
use super::units::{Size, Span};

pub(super) const MESSAGES_MAX: RangeInclusive<u32> = 1..=10_000_000;
pub(super) const BYTES_MAX: RangeInclusive<Size> = Size::kib(1)..=Size::TIB;

rows! {
    /// What waits for one receiver. A reload drops nothing: messages that wait stay, even beyond a
    /// lower limit, and new ones are judged by the new rules. (With `"drop_oldest"`, the next message
    /// makes everything beyond the limit go.)
    pub struct QueueConfig {
        /// Messages that may wait for one Session or group beyond the window.
        messages_max: u32 = key(Live, 1000).range(MESSAGES_MAX);
        /// Bytes that may wait for one Session or group; an empty queue takes any one message. At most
        /// `totals.queued_bytes_max`.
        bytes_max: Size = key(Live, Size::kib(8 * 1024)).range(BYTES_MAX);
        /// How long a receiver above half full pauses the publishers that feed it.
        pause_max: Span = key(Live, Span::millis(50)).range(Span::secs(0)..=Span::secs(10));
        /// QoS 0 waits for a disconnected Session too.
        qos0_offline: bool = key(Live, false);
        /// What a full queue does. A dropped message is in the ledger, and its publisher is told that it
        /// was accepted; a rejected one is refused to its publisher if no other receiver had room for it.
        /// `"reject"`: the new message is rejected. `"drop_oldest"`: the message that has waited longest
        /// is dropped. `"drop_newest"`: the new message is dropped. `"drop_qos0_first"`: a waiting QoS 0
        /// message is dropped, the oldest first; if none waits, a new QoS 0 message is dropped and any
        /// other rejected. `"conflate"`: full or not, only the newest message of each topic waits, in the
        /// place of the one before; a message of one more topic than fits is rejected. (After a reload
        /// to this policy, messages that wait in the store alone, for a client that is not connected,
        /// are not replaced.)
        policy: QueuePolicy = key(Live, QueuePolicy::Reject).words::<QueuePolicy>();
        /// A message that is dropped, rejected, expired or too large for its receiver is published again
        /// under `$dead/<reason>/<topic>`, with User Properties that name the reason, the receiver, its
        /// age and its publisher.
        dead_letters: bool = key(Live, false);
        /// Of what one client is sent, the percentage that each lower band of `[[priority]]` has while a
        /// higher one always has something.
        lower_band_share: u8 = key(Live, 10).range(1..=25);
    }
}

rows! {
    /// What waits for each client of a class. Keys that are left out are as in `[queue]`.
    pub struct ClassQueue {
        /// As in `[queue]`.
        messages_max: Option<u32> = key(Live, None).example(Some(1000)).range(MESSAGES_MAX);
        /// As in `[queue]`.
        bytes_max: Option<Size> =
            key(Live, None).example(Some(Size::kib(8 * 1024))).range(BYTES_MAX);
        /// As in `[queue]`.
        qos0_offline: Option<bool> = key(Live, None).example(Some(false));
        /// As in `[queue]`.
        policy: Option<QueuePolicy> =
            key(Live, None).example(Some(QueuePolicy::DropOldest)).words::<QueuePolicy>();
        /// As in `[queue]`.
        dead_letters: Option<bool> = key(Live, None).example(Some(false));
    }
}

/// What a full queue does. A dropped message is in the ledger, and its publisher is told that it was
/// accepted; only a rejected one is refused to it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QueuePolicy {
    /// The new message is rejected: a version 5 publisher is told 0x97 if no other receiver had room.
    #[default]
    Reject,
    /// The message that has waited longest is dropped.
    DropOldest,
    /// The new message is dropped.
    DropNewest,
    /// A waiting `QoS` 0 message is dropped, the oldest first; if none waits, a new `QoS` 0 message is
    /// dropped and any other rejected.
    DropQos0First,
    /// Full or not: only the newest message of each topic waits, in the place of the one before. A
    /// message of one more topic than fits is rejected.
    Conflate,
}

impl QueueConfig {
    /// Adds what is wrong with it, apart from ranges; `at` is the section's name.
    pub(super) fn check(
        &self,
        at: &str,
        limits: &LimitsConfig,
        totals: &Totals,
        found: &mut Problems,
    ) {
        let bytes_max = format!("{at}.bytes_max");
        let packet_max = limits.packet_bytes_max;
        found.at_most("limits.packet_bytes_max", packet_max, (&bytes_max, self.bytes_max));
        let totals = ("totals.queued_bytes_max", totals.queued_bytes_max);
        found.at_most(&bytes_max, self.bytes_max, totals);
    }
}

impl ClassQueue {
    /// The whole, with keys that are left out as in `queue`.
    pub fn over(&self, queue: &QueueConfig) -> QueueConfig {
        QueueConfig {
            messages_max: self.messages_max.unwrap_or(queue.messages_max),
            bytes_max: self.bytes_max.unwrap_or(queue.bytes_max),
            pause_max: queue.pause_max,
            qos0_offline: self.qos0_offline.unwrap_or(queue.qos0_offline),
            policy: self.policy.unwrap_or(queue.policy),
            dead_letters: self.dead_letters.unwrap_or(queue.dead_letters),
            lower_band_share: queue.lower_band_share,
        }
    }
}
