//! An attempt at a message of a named queue that has failed.

use super::ids::{Mid, ReceiverId, SessionId};
use crate::codec::Reason;
use crate::time::Time;

/// What is known of a copy that is to be tried again: for the store, which tells it at a start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attempt {
    /// The queue.
    pub receiver: ReceiverId,
    /// The message.
    pub mid: Mid,
    /// Attempts that have failed.
    pub attempts: u16,
    /// When it may be taken again.
    pub due: Time,
    /// The consumer that has failed last.
    pub last: SessionId,
    /// What that has answered; [`Reason::Success`]: nothing.
    pub reason: Reason,
}
