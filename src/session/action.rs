//! What a Session is told, and what it answers.

use std::sync::Arc;

use super::ended::{CopyEnd, EndedCopy};
use super::record::Op;
use super::subscription::Subscription;
use super::will::WillMessage;
use crate::codec::{Packet, PacketId, Publish, QoS, Reason};
use crate::message::{Delivery, Draft, Grounds, GroupId, Lane, MessageMark, RefusalKind};
use crate::topic::{TopicFilter, TopicName};

/// What a Session is told, one thing at a time: see [`Session::handle`](super::Session::handle).
#[derive(Debug)]
pub enum Input<'a> {
    /// The client sent a packet.
    Packet(&'a Packet<'a>),
    /// A message for the client was taken from a mailbox or the retained store.
    Deliver(Delivery),
    /// The client's own PUBLISH was routed and what its answer promises is durable, or it was refused.
    Published {
        /// The client's identifier.
        packet_id: PacketId,
        /// Above 0.
        qos: QoS,
        /// What to answer.
        reason: Reason,
        /// Why it was refused, where that is known: a refusal says so in words.
        why: Option<RefusalKind>,
    },
    /// Time has passed.
    Tick,
}

/// What the owner of a Session has to do, in the order of the calls.
#[derive(Debug)]
pub enum Action<'a> {
    /// Write a packet; `after_ops`: only when everything remembered so far is durable.
    Send {
        /// The packet.
        packet: &'a Packet<'a>,
        /// The packet promises something.
        after_ops: bool,
    },
    /// Route a message; answer with [`Input::Published`] if it has an identifier.
    Publish {
        /// The message.
        draft: Draft<'a>,
        /// The client's identifier; `None` at `QoS` 0.
        packet_id: Option<PacketId>,
        /// Remembered in the same batch as the message.
        with: Option<Op>,
        /// It is beyond the client's rate: it is refused, if rights do not refuse it first.
        over_rate: bool,
    },
    /// Put a Subscription into the tree, or replace it there.
    Subscribe {
        /// The whole filter.
        filter: &'a TopicFilter,
        /// Its options and identifier.
        subscription: Subscription,
        /// There was none for the filter.
        is_new: bool,
    },
    /// Take a Subscription out of the tree.
    Unsubscribe {
        /// The whole filter.
        filter: &'a TopicFilter,
    },
    /// Remember a fact.
    Remember(Op),
    /// A copy has come to its end: account, counters, store, and what is reported of a loss.
    Ended {
        /// The copy.
        copy: EndedCopy<'a>,
        /// How.
        end: CopyEnd,
    },
    /// A copy that was given away for want of an answer in time was answered with success.
    CompletedLate {
        /// Its message.
        message: MessageMark,
        /// The queue.
        queue: GroupId,
    },
    /// Something to count.
    Count(Count<'a>),
    /// Something that the client asked for was refused, and its connection goes on: for the log.
    Refused {
        /// Why.
        grounds: Grounds,
        /// The topic or the first filter that was refused.
        topic: &'a str,
        /// How many topics or filters.
        count: u64,
    },
    /// A copy of `QoS` 2 has reached the client: its lane need not wait for it any more.
    LaneFree {
        /// The group it came from.
        group: GroupId,
        /// The lane.
        lane: Lane,
    },
    /// The connection has ended and its Will is to be published.
    WillDue(Arc<WillMessage>),
    /// Give an unacknowledged message back to the head of its group.
    Return(Delivery),
    /// Close the Network Connection; the answer is written first.
    Close {
        /// With this Reason Code.
        reason: Reason,
        /// What was refused, where that does not say it.
        kind: Option<RefusalKind>,
    },
    /// The client said DISCONNECT: close without an answer.
    Goodbye,
}

/// Events of the second law (what became of each PUBLISH) that only the Session sees.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Count<'a> {
    /// A `QoS` 2 PUBLISH came again before it was released: absorbed.
    Repeat,
    /// A PUBLISH of `QoS` 1 or 2 was refused for its form.
    Refused,
    /// A PUBLISH of `QoS` 0 was refused before routing; it asks for no answer.
    Unrouted {
        /// Its topic, if it has a valid one.
        topic: Option<TopicName<'a>>,
    },
}

impl<'a> Count<'a> {
    /// A PUBLISH was refused before routing.
    pub(super) fn refused(publish: &Publish<'_>, topic: Option<TopicName<'a>>) -> Count<'a> {
        match publish.packet_id {
            Some(_) => Count::Refused,
            None => Count::Unrouted { topic },
        }
    }
}
