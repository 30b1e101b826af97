//! What a Session asks of the routes, and its part in a group: plain data.

use std::sync::Arc;

use crate::broker::mailbox::{Mailbox, Member};
use crate::message::SessionId;
use crate::session::Subscription;
use crate::topic::TopicFilter;

/// What a Session asks of the routes.
#[derive(Clone, Debug)]
pub enum RouteChange {
    /// Put in or replace.
    Subscribe {
        /// The whole filter.
        filter: TopicFilter,
        /// Its options and identifier.
        subscription: Subscription,
        /// The Session had none for the filter.
        is_new: bool,
    },
    /// Take out.
    Unsubscribe(TopicFilter),
}

impl RouteChange {
    /// A new Subscription.
    pub fn subscribe(filter: TopicFilter, subscription: Subscription) -> RouteChange {
        RouteChange::Subscribe { filter, subscription, is_new: true }
    }

    /// The Subscription that it puts in, if it does, and whether the Session had none for the filter.
    pub fn subscription(&self) -> Option<(&TopicFilter, &Subscription, bool)> {
        match self {
            RouteChange::Subscribe { filter, subscription, is_new } => {
                Some((filter, subscription, *is_new))
            }
            RouteChange::Unsubscribe(_) => None,
        }
    }
}

/// The Session that asks for a change.
#[derive(Clone, Copy, Debug)]
pub struct Subscriber<'a> {
    session: SessionId,
    mailbox: &'a Arc<Mailbox>,
    lasts: bool,
    connected: bool,
}

impl<'a> Subscriber<'a> {
    /// The Session of this number, with its own mailbox: it is not connected, and ends with its
    /// connection.
    pub fn new(session: SessionId, mailbox: &'a Arc<Mailbox>) -> Subscriber<'a> {
        Subscriber { session, mailbox, lasts: false, connected: false }
    }

    /// Whether it outlives its connection.
    #[must_use]
    pub fn lasting(self, lasts: bool) -> Subscriber<'a> {
        Subscriber { lasts, ..self }
    }

    /// Whether it is connected.
    #[must_use]
    pub fn connected(self, connected: bool) -> Subscriber<'a> {
        Subscriber { connected, ..self }
    }

    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    pub(super) fn mailbox(&self) -> &'a Arc<Mailbox> {
        self.mailbox
    }

    pub(super) fn lasts(&self) -> bool {
        self.lasts
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }
}

/// A Session's part in a group.
#[derive(Clone, Debug)]
pub struct Membership {
    filter: TopicFilter,
    mailbox: Arc<Mailbox>,
    member: Member,
}

impl Membership {
    /// A part in the group of `filter`.
    pub(super) fn new(filter: TopicFilter, mailbox: Arc<Mailbox>, member: Member) -> Membership {
        Membership { filter, mailbox, member }
    }

    /// The whole filter of the group.
    pub fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// The group's mailbox.
    #[inline]
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// What the Session was granted.
    #[inline]
    pub fn member(&self) -> &Member {
        &self.member
    }
}
