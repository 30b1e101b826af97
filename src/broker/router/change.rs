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
    Subscribe(TopicFilter, Subscription),
    /// Take out.
    Unsubscribe(TopicFilter),
}

/// The Session that asks for a change.
#[derive(Clone, Copy, Debug)]
pub struct Subscriber<'a> {
    /// Its number.
    pub session: SessionId,
    /// Its own mailbox.
    pub mailbox: &'a Arc<Mailbox>,
    /// It outlives its connection.
    pub lasts: bool,
    /// It is connected.
    pub connected: bool,
}

/// A Session's part in a group.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The whole filter.
    filter: TopicFilter,
    /// The group's mailbox.
    pub mailbox: Arc<Mailbox>,
    /// What it was granted.
    pub member: Member,
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
}
