//! The Session or group that a mailbox belongs to.

use std::sync::Arc;

use crate::message::{GroupId, Identity, ReceiverId, SessionId};

/// The Session or group that a mailbox belongs to.
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
    Group(Box<SharedGroup>),
}

/// A group of Shared Subscriptions. It is boxed, so that no Session's mailbox is larger for it.
#[derive(Debug)]
pub struct SharedGroup {
    id: GroupId,
    /// Its whole filter.
    filter: Arc<str>,
}

const _: () = assert!(size_of::<Owner>() <= 16, "an idle mailbox should stay small");

impl Owner {
    /// A group of the whole filter `filter`.
    pub fn of_group(id: GroupId, filter: &str) -> Owner {
        Owner::Group(Box::new(SharedGroup { id, filter: filter.into() }))
    }

    /// The client, if it is one client's.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        match self {
            Owner::Session { identity, .. } => Some(identity),
            Owner::Group(_) => None,
        }
    }

    /// The group's number, if it is a group's.
    pub fn group(&self) -> Option<GroupId> {
        match self {
            Owner::Session { .. } => None,
            Owner::Group(group) => Some(group.id),
        }
    }

    /// The receiver of what waits in it.
    pub fn receiver(&self) -> ReceiverId {
        match self {
            Owner::Session { id, .. } => ReceiverId::session(*id),
            Owner::Group(group) => ReceiverId::group(group.id),
        }
    }

    /// The Client Identifier, or the group's filter: for log lines and dead letters.
    pub fn name(&self) -> Arc<str> {
        match self {
            Owner::Session { identity, .. } => identity.client_id.text().clone(),
            Owner::Group(group) => group.filter.clone(),
        }
    }
}
