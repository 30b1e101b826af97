//! What is remembered of a Session: one [`Op`] sets or deletes exactly one key.

use std::sync::Arc;

use super::will::WillMessage;
use crate::codec::{PacketId, SubscribeOptions};
use crate::message::{Delivery, GroupId, Identity, Mid};
use crate::time::Time;
use crate::topic::TopicFilter;

/// One remembered fact. Idempotent: it states what is, never a difference, so that a journal of
/// Ops and a table of rows are the same thing.
#[derive(Clone, Debug)]
pub enum Op {
    /// The Session exists and outlives its connection by so many seconds.
    Session {
        /// Whose it is.
        identity: Arc<Identity>,
        /// Session Expiry Interval.
        expiry: u32,
    },
    /// Its client is not connected.
    Parked {
        /// Since then: its expiry counts from there.
        since: Time,
    },
    /// Its client is connected.
    Attached,
    /// No such Session any more, and nothing that belongs to it.
    Ended,
    /// A Subscription as it is now.
    Subscribed {
        /// The whole filter.
        filter: TopicFilter,
        /// Its options.
        options: SubscribeOptions,
        /// Its Subscription Identifier, 0 for none.
        id: u32,
    },
    /// No such Subscription any more.
    Unsubscribed {
        /// The whole filter.
        filter: TopicFilter,
    },
    /// A message is in flight under this identifier.
    Sent {
        /// Chosen by us.
        packet_id: PacketId,
        /// The copy.
        delivery: Delivery,
    },
    /// PUBREC seen: only PUBREL may be sent from now on.
    Released {
        /// Chosen by us.
        packet_id: PacketId,
        /// The group it came from.
        group: Option<GroupId>,
        /// The message, if the store still keeps it for the receiver.
        mid: Option<Mid>,
        /// The ledger has it already.
        lost: bool,
    },
    /// The identifier is free again.
    Done {
        /// Chosen by us.
        packet_id: PacketId,
    },
    /// A `QoS` 2 message was received under this identifier.
    Received {
        /// Chosen by the client.
        packet_id: PacketId,
    },
    /// PUBREL seen: the identifier is free again.
    Forgotten {
        /// Chosen by the client.
        packet_id: PacketId,
    },
    /// The Will of the connection, and whose it is: it is kept for every connection that has one.
    Will(Arc<WillMessage>, Arc<Identity>),
    /// No Will any more.
    WillGone,
}
