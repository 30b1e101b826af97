//! The reasons for which a copy is not delivered.

/// Why a copy of a message was not delivered: the reasons that are counted.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Loss {
    /// The receiver's queue was full (messages or bytes).
    QueueFull,
    /// All queues together had too many bytes.
    MemoryFull,
    /// The message expired before it was sent.
    Expired,
    /// Larger than the receiver's Maximum Packet Size.
    TooLarge,
    /// The receiver may not read this topic.
    NotAuthorized,
    /// The receiver answered with a Reason Code of 0x80 or above.
    RefusedByReceiver,
    /// The Session ended with the message queued or in flight.
    SessionEnded,
    /// The Session was replaced by a Clean Start.
    TakenClean,
    /// The last member of the group left.
    GroupGone,
    /// `QoS` 0 for a Session that is not connected: counted, not called dropped.
    OfflineQos0,
    /// The store could not read it back.
    Unreadable,
    /// `QoS` 0 that waited for longer than the receiver's class allows.
    TooOld,
    /// It had waited longest when the receiver's queue was full.
    DroppedOldest,
    /// It came when the receiver's queue was full.
    DroppedNewest,
    /// `QoS` 0, when the receiver's queue was full.
    DroppedQos0,
    /// A newer message of its topic came for the same receiver.
    Conflated,
    /// There was no room to retain it: it was delivered, and its publisher could not be told.
    NotRetained,
    /// An operator has emptied the receiver's queue.
    Purged,
    /// All attempts at it have failed: of a named queue.
    Attempts,
}

impl Loss {
    /// Every reason, in the order of its number.
    pub const ALL: [Loss; 19] = [
        Loss::QueueFull,
        Loss::MemoryFull,
        Loss::Expired,
        Loss::TooLarge,
        Loss::NotAuthorized,
        Loss::RefusedByReceiver,
        Loss::SessionEnded,
        Loss::TakenClean,
        Loss::GroupGone,
        Loss::OfflineQos0,
        Loss::Unreadable,
        Loss::TooOld,
        Loss::DroppedOldest,
        Loss::DroppedNewest,
        Loss::DroppedQos0,
        Loss::Conflated,
        Loss::NotRetained,
        Loss::Purged,
        Loss::Attempts,
    ];

    /// Whether the publisher is told that its message was refused; a drop by policy counts as accepted.
    pub const fn is_refusal(self) -> bool {
        !matches!(
            self,
            Loss::OfflineQos0
                | Loss::DroppedNewest
                | Loss::DroppedQos0
                | Loss::NotRetained
                | Loss::Purged
        )
    }

    /// Whether the receiver still exists and would have wanted the copy: such losses are logged, and
    /// have dead letters.
    pub const fn is_drop(self) -> bool {
        match self {
            Loss::QueueFull
            | Loss::MemoryFull
            | Loss::Expired
            | Loss::TooLarge
            | Loss::RefusedByReceiver
            | Loss::TooOld
            | Loss::DroppedOldest
            | Loss::DroppedNewest
            | Loss::DroppedQos0
            | Loss::Conflated
            | Loss::Attempts => true,
            Loss::NotAuthorized
            | Loss::SessionEnded
            | Loss::TakenClean
            | Loss::GroupGone
            | Loss::OfflineQos0
            | Loss::Unreadable
            | Loss::NotRetained
            | Loss::Purged => false,
        }
    }

    /// The name in `$SYS`, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Loss::QueueFull => "queue_full",
            Loss::MemoryFull => "memory_full",
            Loss::Expired => "expired",
            Loss::TooLarge => "too_large",
            Loss::NotAuthorized => "not_authorized",
            Loss::RefusedByReceiver => "refused_by_receiver",
            Loss::SessionEnded => "session_ended",
            Loss::TakenClean => "taken_clean",
            Loss::GroupGone => "group_gone",
            Loss::OfflineQos0 => "offline_qos0",
            Loss::Unreadable => "unreadable",
            Loss::TooOld => "too_old",
            Loss::DroppedOldest => "dropped_oldest",
            Loss::DroppedNewest => "dropped_newest",
            Loss::DroppedQos0 => "dropped_qos0",
            Loss::Conflated => "conflated",
            Loss::NotRetained => "not_retained",
            Loss::Purged => "purged",
            Loss::Attempts => "attempts",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ledger_reasons_are_numbered_in_order() {
        for (index, loss) in Loss::ALL.into_iter().enumerate() {
            assert_eq!(loss as usize, index);
        }
    }
}
