//! One Subscription.

use crate::codec::SubscribeOptions;

/// One Subscription of this Session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Subscription {
    /// As granted.
    pub options: SubscribeOptions,
    /// Subscription Identifier, 0 for none.
    pub id: u32,
}
