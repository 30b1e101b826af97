//! A route: where a message goes that a Topic Filter matches, and what is asked where not every message does.

use std::sync::Arc;

use super::groups::GroupTable;
use crate::broker::mailbox::{Mailbox, Owner};
use crate::codec::{Properties, QoS};
use crate::message::{GroupId, Identity, ReceiverId, SessionId};
use crate::session::Subscription;
use crate::topic::TopicFilter;

/// A way of messages to a receiver: a Subscription, or a binding of a named queue.
#[derive(Debug)]
pub(super) struct Route {
    pub mailbox: Arc<Mailbox>,
    pub qos: QoS,
    /// Not every message goes there: a Session's by No Local, a named queue's by the conditions of its
    /// binding.
    pub asks: bool,
    pub retain_as_published: bool,
    /// The Subscription Identifier, or the number of the binding with conditions.
    pub id: u32,
}

/// What a route stands under in the tree, beside its pattern: the receiver, and whether the filter is exclusive. A
/// Session may have `a` and `$exclusive/a`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct RouteKey(u64);

/// Set for an exclusive filter: no Session has so high a number.
const OF_EXCLUSIVE: u64 = 1 << 62;

impl RouteKey {
    /// That of a Session's Subscription to `filter`.
    pub fn of_session(session: SessionId, filter: &TopicFilter) -> RouteKey {
        let receiver = ReceiverId::session(session).to_bits();
        RouteKey(if filter.is_exclusive() { receiver | OF_EXCLUSIVE } else { receiver })
    }

    /// That of a group.
    pub fn of_group(group: GroupId) -> RouteKey {
        RouteKey(ReceiverId::group(group).to_bits())
    }

    #[inline]
    pub fn receiver(self) -> ReceiverId {
        ReceiverId::from_bits(self.0 & !OF_EXCLUSIVE)
    }
}

const _: () = assert!(size_of::<Route>() == 16, "a route should stay small");

/// What decides where not every message goes.
pub(super) struct Asking<'a> {
    pub groups: &'a GroupTable,
    pub publisher: &'a Identity,
    pub properties: &'a Properties<'a>,
    /// The User Properties, once they were asked for.
    pub user: Option<Vec<(&'a str, &'a str)>>,
}

impl Route {
    pub fn to_session(mailbox: &Arc<Mailbox>, subscription: &Subscription) -> Route {
        Route {
            mailbox: mailbox.clone(),
            qos: subscription.options.qos,
            asks: subscription.options.no_local,
            retain_as_published: subscription.options.retain_as_published,
            id: subscription.id,
        }
    }

    /// What a member was granted counts when it takes a message.
    pub fn to_group(mailbox: Arc<Mailbox>) -> Route {
        Route::to_queue(mailbox, None)
    }

    /// To a named queue, by a binding that has conditions if it has a number.
    pub fn to_queue(mailbox: Arc<Mailbox>, binding: Option<u32>) -> Route {
        let (qos, asks, id) = (QoS::ExactlyOnce, binding.is_some(), binding.unwrap_or(0));
        Route { mailbox, qos, asks, retain_as_published: true, id }
    }
}

impl Asking<'_> {
    /// The Subscription Identifier by which a message takes this route; `None`: it does not take it.
    #[inline]
    pub fn admits(&mut self, route: &Route) -> Option<u32> {
        if route.asks { self.ask(route) } else { Some(route.id) }
    }

    /// No Local compares Client Identifiers, across reconnects too `[MQTT5-3.8.3-3]`.
    fn ask(&mut self, route: &Route) -> Option<u32> {
        match route.mailbox.owner() {
            Owner::Session { identity, .. } => {
                (identity.client_id != self.publisher.client_id).then_some(route.id)
            }
            Owner::Group(group) => {
                let properties = self.properties;
                let user = self.user.get_or_insert_with(|| properties.user_properties());
                let bindings = self.groups.bindings(group.id());
                bindings.is_some_and(|bindings| bindings.hold(route.id, user)).then_some(0)
            }
        }
    }
}
