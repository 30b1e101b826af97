//! The receivers of one message, as the router has found them.

use std::cell::Cell;
use std::sync::Arc;

use super::mailbox::Mailbox;
use crate::codec::QoS;
use crate::message::{ReceiverId, SubscriptionIds};

/// A receiver of one message, its overlapping Subscriptions merged `[MQTT5-3.3.4-2]`.
#[derive(Debug)]
pub struct Match {
    receiver: ReceiverId,
    mailbox: Arc<Mailbox>,
    qos: QoS,
    retain_as_published: bool,
    ids: SubscriptionIds,
    /// Where the turn has it, if it has.
    place: Cell<u32>,
}

impl Match {
    /// A receiver with what one matching Subscription has: its granted `QoS`, whether it keeps the
    /// RETAIN flag, its identifier.
    pub fn new(
        receiver: ReceiverId,
        mailbox: Arc<Mailbox>,
        qos: QoS,
        retain_as_published: bool,
        ids: SubscriptionIds,
    ) -> Match {
        Match { receiver, mailbox, qos, retain_as_published, ids, place: Cell::new(u32::MAX) }
    }

    /// The receiver.
    #[inline]
    pub fn receiver(&self) -> ReceiverId {
        self.receiver
    }

    /// Where its messages wait.
    #[inline]
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// The highest `QoS` granted by a matching Subscription.
    #[inline]
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// Whether one of the Subscriptions keeps the RETAIN flag.
    #[inline]
    pub fn retain_as_published(&self) -> bool {
        self.retain_as_published
    }

    /// The identifiers of all matching Subscriptions.
    #[inline]
    pub fn ids(&self) -> &SubscriptionIds {
        &self.ids
    }

    /// Where the turn has it; any number if it has it not.
    #[inline]
    pub(super) fn place(&self) -> u32 {
        self.place.get()
    }

    /// Remembers where the turn has it.
    #[inline]
    pub(super) fn set_place(&self, place: u32) {
        self.place.set(place);
    }
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
