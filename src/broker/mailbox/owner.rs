//! The Session or group that a mailbox belongs to.

use std::sync::{Arc, OnceLock};

use crate::message::{GroupId, Holdings, Identity, ReceiverId, SessionId, Total};
use crate::topic::{REPLAY, is_queue_filter};

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
    /// Of the owner that it is counted for.
    holdings: OnceLock<Arc<Holdings>>,
    /// It is a log of kept messages, from which nothing is taken.
    is_log: bool,
}

const _: () = assert!(size_of::<Owner>() <= 16, "an idle mailbox should stay small");

impl SharedGroup {
    /// Its number.
    pub fn id(&self) -> GroupId {
        self.id
    }
}

impl Owner {
    /// A group of the whole filter `filter`.
    pub fn of_group(id: GroupId, filter: &str) -> Owner {
        let (filter, holdings): (Arc<str>, _) = (filter.into(), OnceLock::new());
        let is_log = filter.starts_with(REPLAY);
        Owner::Group(Box::new(SharedGroup { id, filter, holdings, is_log }))
    }

    /// Whether it is a log of kept messages.
    #[inline]
    pub fn is_log(&self) -> bool {
        matches!(self, Owner::Group(group) if group.is_log)
    }

    /// The client, if it is one client's.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        match self {
            Owner::Session { identity, .. } => Some(identity),
            Owner::Group(_) => None,
        }
    }

    /// What its owner has: the client's, or of a group that of its first member.
    #[inline]
    pub fn holdings(&self) -> Option<&Arc<Holdings>> {
        match self {
            Owner::Session { identity, .. } => identity.holdings(),
            Owner::Group(group) => group.holdings.get(),
        }
    }

    /// A member has joined the group: the first one's owner has it from now on.
    pub fn belong_to(&self, holdings: Option<&Arc<Holdings>>) {
        if let (Owner::Group(group), Some(holdings)) = (self, holdings) {
            group.holdings.get_or_init(|| {
                holdings.change(Total::Groups, 0, 1);
                holdings.clone()
            });
        }
    }

    /// The Session's number, if it is a Session's.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Owner::Session { id, .. } => Some(*id),
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

    /// It is a named queue's.
    pub fn is_queue(&self) -> bool {
        matches!(self, Owner::Group(group) if is_queue_filter(&group.filter))
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
