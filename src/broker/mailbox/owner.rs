//! Whose a mailbox is.

use std::sync::Arc;

use crate::message::{GroupId, Identity, ReceiverId, SessionId};

/// Whose a mailbox is.
#[derive(Debug)]
pub enum Owner {
    /// One Session's.
    Session {
        /// Its number.
        id: SessionId,
        /// Its client.
        identity: Arc<Identity>,
    },
    /// A group's: members pull from it.
    Group {
        /// Its number.
        id: GroupId,
        /// Its whole filter. Boxed, so that no Session's mailbox is larger for it.
        filter: Box<Arc<str>>,
    },
}

impl Owner {
    /// Who is behind it, if it is one client.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        match self {
            Owner::Session { identity, .. } => Some(identity),
            Owner::Group { .. } => None,
        }
    }

    /// The group's number, if it is a group's.
    pub fn group(&self) -> Option<GroupId> {
        match self {
            Owner::Session { .. } => None,
            Owner::Group { id, .. } => Some(*id),
        }
    }

    /// The receiver of what waits in it.
    pub fn receiver(&self) -> ReceiverId {
        match self {
            Owner::Session { id, .. } => ReceiverId::session(*id),
            Owner::Group { id, .. } => ReceiverId::group(*id),
        }
    }

    /// The Client Identifier, or the group's filter: for log lines and dead letters.
    pub fn name(&self) -> Arc<str> {
        match self {
            Owner::Session { identity, .. } => identity.client_id.text().clone(),
            Owner::Group { filter, .. } => Arc::clone(filter),
        }
    }
}
