//! What the log of a cluster says of Sessions: which node has which, and a Session on its way to another node.

use std::sync::Arc;

use super::log_entry::LogEntry;
use crate::codec::QoS;
use crate::message::{ClientId, Message, SubscriptionIds};
use crate::session::Op;

/// A record of the log that is about a Session. What counts is the order of the log.
#[derive(Clone, Debug)]
pub enum SessionRecord {
    /// The node that it comes from makes a Session that lasts, unless another has one that goes on.
    Opened {
        /// Its client.
        client_id: ClientId,
        /// The verified user of that.
        user: Option<Arc<str>>,
        /// A Session that another node has ends.
        clean: bool,
    },
    /// The Session of a client, which its node had, is no more.
    Ended {
        /// The client.
        client_id: ClientId,
    },
    /// A client has connected to the node that it comes from: the node that has the Session sends it there.
    Wanted {
        /// The client.
        client_id: ClientId,
    },
    /// Some of the copies that wait for a Session which moves, in their order.
    Copies {
        /// Its client.
        client_id: ClientId,
        /// The number of the move.
        number: u64,
        /// They.
        copies: Vec<MovedCopy>,
    },
    /// A Session is at another node from here on. What waits for it there: the copies that came before under the number
    /// of the move, and what the log has for it behind [`MovedSession::after`].
    Moved(Box<MovedSession>),
}

impl SessionRecord {
    /// The client of that Session.
    pub fn client_id(&self) -> &ClientId {
        match self {
            SessionRecord::Opened { client_id, .. }
            | SessionRecord::Ended { client_id }
            | SessionRecord::Wanted { client_id }
            | SessionRecord::Copies { client_id, .. } => client_id,
            SessionRecord::Moved(moved) => &moved.client_id,
        }
    }
}

/// A Session that goes from one node to another.
#[derive(Clone, Debug)]
pub struct MovedSession {
    /// Its client.
    pub client_id: ClientId,
    /// The number of the move, of the node that it comes from.
    pub number: u64,
    /// The node that has it from now on.
    pub to: u64,
    /// The frame of the log up to which what waits was copied.
    pub after: u64,
    /// Everything of it but what waits.
    pub facts: Vec<Op>,
}

/// One copy that waits for a Session.
#[derive(Clone, Debug)]
pub struct MovedCopy {
    /// The message.
    pub message: Message,
    /// The lower of published and granted.
    pub qos: QoS,
    /// RETAIN flag to send.
    pub retain: bool,
    /// Subscription Identifiers to send.
    pub ids: SubscriptionIds,
    /// The band that it waits in.
    pub band: u8,
}

/// A Session that comes to this node, with what waits for it.
#[derive(Clone, Debug)]
pub struct ArrivedSession {
    /// The Session.
    pub moved: MovedSession,
    /// What waited when it was copied.
    pub copies: Vec<MovedCopy>,
    /// What the log has behind that, up to where the Session moved: messages for any receiver, in order.
    pub later: Vec<LogEntry>,
}
