//! What a Session asks of the routes, and what comes of it: plain data.

use std::sync::Arc;
use std::task::Waker;

use thin_vec::ThinVec;

use crate::broker::mailbox::{Fallen, Mailbox, Member};
use crate::message::{GroupId, SessionId};
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

/// What came of a change, for the caller to carry out with no lock held.
#[derive(Debug, Default)]
#[must_use]
pub struct Changed {
    /// The stamp of the retained messages in the moment of the change.
    pub stamp: u64,
    /// The client's memberships in groups, as they are now.
    pub memberships: ThinVec<Membership>,
    /// What is lost with groups that have ended.
    pub lost: Vec<Fallen>,
    /// Members of groups that take the turn of one that has left.
    pub wakers: Vec<Waker>,
    /// Groups that the store is to know or, with no filter, to forget.
    pub groups: Vec<(GroupId, Option<TopicFilter>)>,
}
