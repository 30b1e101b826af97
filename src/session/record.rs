//! What is remembered of a Session: one [`Op`] sets or deletes exactly one key.

use std::sync::Arc;

use super::will::WillMessage;
use crate::codec::{PacketId, SubscribeOptions};
use crate::message::Message;
use crate::topic::TopicFilter;

/// One remembered fact. Idempotent: it states what is, never a difference, so that a journal of
/// Ops and a table of rows are the same thing.
#[derive(Clone, Debug)]
pub enum Op {
    /// The Session exists and outlives its connection by so many seconds.
    Session {
        /// Session Expiry Interval.
        expiry: u32,
    },
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
        /// The message.
        message: Message,
    },
    /// PUBREC seen: only PUBREL may be sent from now on.
    Released {
        /// Chosen by us.
        packet_id: PacketId,
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
    /// The Will of the connection.
    Will(Arc<WillMessage>),
    /// No Will any more.
    WillGone,
}
