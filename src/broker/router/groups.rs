//! The groups of Shared Subscriptions: one for each filter, with its mailbox and its members.
//!
//! A group is there from its first member to its last, or from the start if the store knows of it. It
//! is told to the store when its first durable member joins: from then on messages may wait for it there.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::{Ended, Joined, Left, Membership, Subscriber};
use crate::broker::mailbox::{Mailbox, Member};
use crate::codec::QoS;
use crate::message::{GroupId, Identity, SessionId};
use crate::session::Subscription;
use crate::topic::TopicFilter;

/// All groups, by filter and by number.
#[derive(Debug)]
pub(super) struct GroupTable {
    by_filter: BTreeMap<TopicFilter, SharedGroup>,
    mailboxes: BTreeMap<GroupId, (Arc<Mailbox>, TopicFilter)>,
    /// The number of the next one.
    next: GroupId,
}

/// One group.
#[derive(Debug)]
struct SharedGroup {
    id: GroupId,
    mailbox: Arc<Mailbox>,
    members: BTreeMap<SessionId, GroupMember>,
    /// The store knows of it.
    kept: bool,
}

/// A member of a group.
#[derive(Debug)]
struct GroupMember {
    identity: Arc<Identity>,
    /// It makes the group durable.
    durable: bool,
}

/// A group as it is seen from outside: its number, whole filter, mailbox, some of its members, and how many it has.
pub(in crate::broker) type GroupFound =
    (GroupId, TopicFilter, Arc<Mailbox>, Vec<Arc<Identity>>, usize);

impl GroupTable {
    pub fn new() -> GroupTable {
        let next = GroupId::new(1);
        GroupTable { by_filter: BTreeMap::new(), mailboxes: BTreeMap::new(), next }
    }

    /// A group that the store knows, still without members. Returns its mailbox, for the tree.
    pub fn restore(&mut self, id: GroupId, filter: &TopicFilter) -> Arc<Mailbox> {
        self.insert(id, filter, true)
    }

    /// Numbers up to `last` were used before.
    pub fn restore_last(&mut self, last: GroupId) {
        self.next = self.next.max(last.next());
    }

    /// Makes a Session a member of the group of `filter`; its first member makes the group.
    pub fn join(
        &mut self,
        subscriber: &Subscriber<'_>,
        filter: TopicFilter,
        subscription: &Subscription,
    ) -> Joined {
        let next = self.next;
        let created = (!self.contains(&filter)).then(|| (next, self.insert(next, &filter, false)));
        let group = self.by_filter.get_mut(&filter).expect("it is there or was made");
        group.mailbox.owner().belong_to(subscriber.mailbox().owner().holdings());
        let durable = subscriber.lasts() && subscription.options.qos > QoS::AtMostOnce;
        let identity = subscriber.mailbox().owner().identity().expect("a Session joins").clone();
        let member = GroupMember { identity, durable };
        let is_new = group.members.insert(subscriber.session(), member).is_none();
        if is_new && subscriber.is_connected() {
            group.mailbox.join();
        }
        group.set_durable();
        let to_keep = durable && !std::mem::replace(&mut group.kept, true);
        let to_keep = to_keep.then_some(group.id);
        let membership = group.membership(subscriber.session(), filter, subscription);
        Joined { membership, created, is_new, to_keep }
    }

    /// Takes a member out of the group of `filter`; `None` if it is none.
    pub fn leave(&mut self, subscriber: &Subscriber<'_>, filter: &TopicFilter) -> Option<Left> {
        let group = self.by_filter.get_mut(filter)?;
        group.members.remove(&subscriber.session())?;
        let mailbox = &group.mailbox;
        let waker = subscriber.is_connected().then(|| mailbox.part(subscriber.session())).flatten();
        group.set_durable();
        let is_last = group.members.is_empty();
        Some(Left { waker, ended: if is_last { self.remove(filter) } else { None } })
    }

    /// Takes out the groups that have no members: the store had them, and all their members are gone.
    pub fn take_lonely(&mut self) -> Vec<Ended> {
        let lonely = self.by_filter.iter().filter(|(_, group)| group.members.is_empty());
        let lonely: Vec<_> = lonely.map(|(filter, _)| filter.clone()).collect();
        lonely.iter().filter_map(|filter| self.remove(filter)).collect()
    }

    /// Whether there is one for `filter`.
    pub fn contains(&self, filter: &TopicFilter) -> bool {
        self.by_filter.contains_key(filter)
    }

    /// The mailbox of the group of `filter`, if there is one.
    pub fn of_filter(&self, filter: &TopicFilter) -> Option<Arc<Mailbox>> {
        self.by_filter.get(filter).map(|group| group.mailbox.clone())
    }

    /// The mailbox of a group, if it still exists.
    pub fn mailbox(&self, id: GroupId) -> Option<&Arc<Mailbox>> {
        self.mailboxes.get(&id).map(|(mailbox, _)| mailbox)
    }

    /// Groups by number, at most `max` of those behind `after`, each with so many of its members at most.
    pub fn page(&self, after: Option<GroupId>, max: usize, members_max: usize) -> Vec<GroupFound> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = self.mailboxes.range((from, Bound::Unbounded)).take(max);
        let seen = page.map(|(id, (mailbox, filter))| {
            let members = self.members(*id, members_max);
            let count = self.by_filter.get(filter).map_or(0, |group| group.members.len());
            (*id, filter.clone(), mailbox.clone(), members, count)
        });
        seen.collect()
    }

    /// Members of a group, at most `max`.
    pub fn members(&self, id: GroupId, max: usize) -> Vec<Arc<Identity>> {
        let filter = self.mailboxes.get(&id).map(|(_, filter)| filter);
        let group = filter.and_then(|filter| self.by_filter.get(filter));
        let members = group.into_iter().flat_map(|group| group.members.values());
        members.take(max).map(|member| member.identity.clone()).collect()
    }

    /// All groups' mailboxes, by number.
    pub fn mailboxes(&self) -> impl Iterator<Item = (GroupId, &Arc<Mailbox>)> {
        self.mailboxes.iter().map(|(id, (mailbox, _))| (*id, mailbox))
    }

    /// A Session's part in the group of `filter`.
    pub fn membership(
        &self,
        session: SessionId,
        filter: &TopicFilter,
        subscription: &Subscription,
    ) -> Option<Membership> {
        let group = self.by_filter.get(filter)?;
        Some(group.membership(session, filter.clone(), subscription))
    }

    fn insert(&mut self, id: GroupId, filter: &TopicFilter, kept: bool) -> Arc<Mailbox> {
        self.restore_last(id);
        let mailbox = Arc::new(Mailbox::for_group(id, filter.as_str()));
        self.mailboxes.insert(id, (mailbox.clone(), filter.clone()));
        let group = SharedGroup { id, mailbox: mailbox.clone(), members: BTreeMap::new(), kept };
        self.by_filter.insert(filter.clone(), group);
        mailbox
    }

    fn remove(&mut self, filter: &TopicFilter) -> Option<Ended> {
        let (filter, group) = self.by_filter.remove_entry(filter)?;
        let SharedGroup { id, mailbox, kept, .. } = group;
        self.mailboxes.remove(&id);
        Some(Ended { id, filter, mailbox, kept })
    }
}

impl SharedGroup {
    fn set_durable(&self) {
        self.mailbox.set_durable(self.members.values().any(|member| member.durable));
    }

    fn membership(
        &self,
        session: SessionId,
        filter: TopicFilter,
        subscription: &Subscription,
    ) -> Membership {
        let member = Member {
            session,
            qos: subscription.options.qos,
            retain_as_published: subscription.options.retain_as_published,
            id: subscription.id,
        };
        Membership::new(filter, self.mailbox.clone(), member)
    }
}
