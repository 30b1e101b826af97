//! A copy of a message for one receiver.

use crate::codec::QoS;
use crate::message::{Message, Mid, SubscriptionIds};

/// How many priority bands there are.
pub const BANDS: usize = 4;
/// The band of messages that no rule names.
pub const ORDINARY: u8 = 1;

/// A copy for one receiver.
#[derive(Debug)]
pub struct Copy {
    /// The message.
    pub message: Message,
    /// The lower of published and granted; for a group, as published.
    pub qos: QoS,
    /// RETAIN flag to send; for a group, decided by the member.
    pub retain: bool,
    /// Subscription Identifiers; for a group, the member's.
    pub ids: SubscriptionIds,
    /// The store keeps it for the receiver until it is settled.
    pub stored: bool,
    /// The band it waits in, below [`BANDS`].
    pub band: u8,
}

/// What is reported of a copy that a mailbox drops.
#[derive(Debug)]
pub(super) struct DroppedCopy {
    pub qos: QoS,
    /// What the store keeps for its receiver.
    pub mid: Option<Mid>,
    /// `None`: only the store has it.
    pub message: Option<Message>,
}
