//! The receivers of one message, as the router has found them.

use std::cell::Cell;
use std::sync::Arc;

use super::mailbox::Mailbox;
use crate::codec::QoS;
use crate::message::{ReceiverId, SubscriptionIds};

/// A receiver of one message, its overlapping Subscriptions merged `[MQTT5-3.3.4-2]`.
#[derive(Debug)]
pub struct Match {
    /// Its receiver.
    pub receiver: ReceiverId,
    /// Where its messages wait.
    pub mailbox: Arc<Mailbox>,
    /// The highest `QoS` granted by a matching Subscription.
    pub qos: QoS,
    /// One of them keeps the RETAIN flag.
    pub retain_as_published: bool,
    /// All their identifiers.
    pub ids: SubscriptionIds,
    /// Where the turn has it, if it has.
    pub(super) open: Cell<u32>,
}

/// Makes each receiver stand once: the highest `QoS`, every identifier `[MQTT5-3.3.4-4]`.
pub(super) fn merge(matches: &mut Vec<Match>) {
    if matches.is_sorted_by(|a, b| a.receiver < b.receiver) {
        return;
    }
    matches.sort_by_key(|found| found.receiver);
    matches.dedup_by(|next, kept| {
        if next.receiver != kept.receiver {
            return false;
        }
        kept.qos = kept.qos.max(next.qos);
        kept.retain_as_published |= next.retain_as_published;
        for id in next.ids.as_slice() {
            kept.ids.add(*id);
        }
        true
    });
}
