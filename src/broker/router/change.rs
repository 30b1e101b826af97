//! What a Session asks of the routes, its part in a group, and what comes of a change: plain data.

use std::sync::Arc;
use std::task::Waker;

use thin_vec::ThinVec;

use crate::broker::mailbox::{DroppedCopies, Mailbox, Member};
use crate::message::{GroupId, Identity, SessionId};
use crate::session::{RetainedMoment, Subscription};
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

    /// The filter of the Subscription that it takes out, if it does.
    pub fn unsubscribed(&self) -> Option<&TopicFilter> {
        match self {
            RouteChange::Subscribe { .. } => None,
            RouteChange::Unsubscribe(filter) => Some(filter),
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

/// What came of a change, for the caller to carry out with no lock held.
#[derive(Debug, Default)]
#[must_use]
pub struct Changed {
    /// How far the retained messages had come at the change; `None` if there were none.
    pub(super) moment: Option<RetainedMoment>,
    /// The client's memberships in groups, as they are now.
    pub(super) memberships: ThinVec<Membership>,
    pub(super) effects: Option<Box<ChangeEffects>>,
}

/// What most changes have nothing of.
#[derive(Debug, Default)]
pub(in crate::broker) struct ChangeEffects {
    /// What is lost with groups that have ended.
    pub lost: Vec<DroppedCopies>,
    /// Members of groups that take the turn of one that has left.
    pub wakers: Vec<Waker>,
    /// Groups that the store is to know or, with no filter, to forget.
    pub groups: Vec<GroupFact>,
    /// Exclusive Subscriptions that are another Session's now.
    pub evicted: Vec<Eviction>,
}

/// An exclusive Subscription that has ended: it is another Session's now.
#[derive(Debug)]
pub(in crate::broker) struct Eviction {
    pub filter: TopicFilter,
    /// The Session that had it.
    pub session: SessionId,
    pub identity: Arc<Identity>,
}

impl Changed {
    /// How far the retained messages had come at the change; `None` if there were none.
    pub fn moment(&self) -> Option<RetainedMoment> {
        self.moment
    }

    /// The client's memberships in groups, as they are now; they are taken out.
    pub fn take_memberships(&mut self) -> ThinVec<Membership> {
        std::mem::take(&mut self.memberships)
    }

    /// What is to be lost, woken or told, if anything is.
    pub(in crate::broker) fn into_effects(self) -> Option<Box<ChangeEffects>> {
        self.effects
    }

    /// Whether something is lost with a group, or a member is to be woken.
    pub(in crate::broker) fn loses_or_wakes(&self) -> bool {
        let tells = |effects: &ChangeEffects| effects.lost.len() + effects.wakers.len() > 0;
        self.effects.as_deref().is_some_and(tells)
    }

    /// What is to be lost, woken or told, to add to it.
    pub(super) fn effects(&mut self) -> &mut ChangeEffects {
        self.effects.get_or_insert_default()
    }
}

/// A group that the store is to know or, with no filter, to forget.
pub(in crate::broker) type GroupFact = (GroupId, Option<TopicFilter>);
