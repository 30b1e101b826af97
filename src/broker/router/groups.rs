//! The groups of Shared Subscriptions: one for each filter, with its mailbox and its members.
//!
//! A group is there from its first member to its last, or from the start if the store knows of it. It
//! is told to the store when its first durable member joins: from then on messages may wait for it there.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::task::Waker;

use super::bindings::Bindings;
use super::{Ended, Joined, Left, Membership, Subscriber};
use crate::broker::mailbox::{Mailbox, Member};
use crate::codec::QoS;
use crate::config::{Binding, GroupConfig, Sharing};
use crate::message::{GroupId, Identity, SessionId};
use crate::session::Subscription;
use crate::topic::{TextHash, TopicFilter};

/// All groups, by filter and by number.
#[derive(Debug)]
pub(super) struct GroupTable {
    by_filter: BTreeMap<TopicFilter, SharedGroup>,
    mailboxes: BTreeMap<GroupId, (Arc<Mailbox>, TopicFilter)>,
    /// The number of the next one.
    next: GroupId,
    /// How groups share, by the first that fits.
    sections: Vec<GroupConfig>,
    /// By which keys of lanes are told apart.
    hash: TextHash,
}

/// One group.
#[derive(Debug)]
struct SharedGroup {
    id: GroupId,
    mailbox: Arc<Mailbox>,
    members: BTreeMap<SessionId, GroupMember>,
    /// The store knows of it.
    kept: bool,
    /// It is the group of a named queue, with what that collects.
    queue: Option<Box<QueueState>>,
}

/// What the group of a named queue has that others have not.
#[derive(Debug, Default)]
struct QueueState {
    /// It has a definition: it collects, and stays without members.
    defined: bool,
    bindings: Bindings,
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
    pub fn new(hash: TextHash) -> GroupTable {
        let next = GroupId::new(1);
        GroupTable {
            by_filter: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
            next,
            sections: Vec::new(),
            hash,
        }
    }

    /// Groups share as these sections say, also those that are there. Returns members to be woken.
    pub fn set_sections(&mut self, sections: &[GroupConfig]) -> Vec<Waker> {
        self.sections = sections.to_vec();
        let groups = self.by_filter.iter();
        groups.flat_map(|(filter, group)| self.set_sharing(filter, &group.mailbox)).collect()
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
        if group.queue.is_none() {
            group.mailbox.owner().belong_to(subscriber.mailbox().owner().holdings());
        }
        let durable = subscriber.lasts() && subscription.options.qos > QoS::AtMostOnce;
        let identity = subscriber.mailbox().owner().identity().expect("a Session joins").clone();
        let client_id = &identity.client_id.clone();
        let member = GroupMember { identity, durable };
        let is_new = group.members.insert(subscriber.session(), member).is_none();
        if is_new && subscriber.is_connected() {
            group.mailbox.join(subscriber.session(), client_id);
        }
        group.set_durable();
        let to_keep = durable && !std::mem::replace(&mut group.kept, true);
        let to_keep = to_keep.then_some(group.id);
        let membership = group.membership(subscriber.session(), filter, subscription);
        Joined { membership, created, is_new, to_keep }
    }

    /// Gives the named queue of `filter` a definition, or takes it away. `None`: there is no such queue.
    /// Returns its number and mailbox, with what it has collected until now.
    pub fn set_bindings(
        &mut self,
        filter: &TopicFilter,
        bindings: Option<&[Binding]>,
    ) -> Option<(GroupId, Arc<Mailbox>, Bindings)> {
        let group = self.by_filter.get_mut(filter)?;
        let queue = group.queue.as_mut()?;
        queue.defined = bindings.is_some();
        let bindings = bindings.map(Bindings::new).unwrap_or_default();
        let before = std::mem::replace(&mut queue.bindings, bindings);
        Some((group.id, group.mailbox.clone(), before))
    }

    /// Makes a named queue, still without a definition.
    pub fn make_queue(&mut self, filter: &TopicFilter) -> GroupId {
        let id = self.next;
        self.insert(id, filter, true);
        id
    }

    /// What the named queue of this number collects.
    pub fn bindings(&self, id: GroupId) -> Option<&Bindings> {
        let (_, filter) = self.mailboxes.get(&id)?;
        self.by_filter.get(filter)?.queue.as_ref().map(|queue| &queue.bindings)
    }

    /// The named queues and the logs, each with whether it has a definition.
    pub fn queues(&self) -> impl Iterator<Item = (&TopicFilter, &Arc<Mailbox>, bool)> {
        // They stand together: nothing else begins as their filters do.
        let first = self.by_filter.range(TopicFilter::of_queue("")..);
        first.map_while(|(filter, group)| {
            group.queue.as_ref().map(|queue| (filter, &group.mailbox, queue.defined))
        })
    }

    /// Those that nothing holds any more.
    pub fn lonely_queues(&self) -> Vec<TopicFilter> {
        let queues = self.by_filter.range(TopicFilter::of_queue("")..);
        let queues = queues.take_while(|(_, group)| group.queue.is_some());
        let lonely = queues.filter(|(_, group)| group.is_lonely());
        lonely.map(|(filter, _)| filter.clone()).collect()
    }

    /// Takes a member out of the group of `filter`; `None` if it is none.
    pub fn leave(&mut self, subscriber: &Subscriber<'_>, filter: &TopicFilter) -> Option<Left> {
        let group = self.by_filter.get_mut(filter)?;
        group.members.remove(&subscriber.session())?;
        let mailbox = &group.mailbox;
        let wakers = subscriber.is_connected().then(|| mailbox.part(subscriber.session()));
        group.set_durable();
        let is_last = group.is_lonely();
        Some(Left {
            wakers: wakers.unwrap_or_default(),
            ended: if is_last { self.remove(filter) } else { None },
        })
    }

    /// Takes out the groups that have no members: the store had them, and all their members are gone. A named
    /// queue stays as long as it has a definition or messages.
    pub fn take_lonely(&mut self) -> Vec<Ended> {
        let lonely = self.by_filter.iter().filter(|(_, group)| group.is_lonely());
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
        let groups = page.filter_map(|(_, (_, filter))| self.by_filter.get_key_value(filter));
        groups.map(|(filter, group)| group.found(filter, members_max)).collect()
    }

    /// Named queues by name, in the same way.
    pub fn queue_page(
        &self,
        after: Option<&TopicFilter>,
        max: usize,
        members_max: usize,
    ) -> Vec<GroupFound> {
        let first = TopicFilter::of_queue("");
        self.defined_page(after.unwrap_or(&first), |filter| filter.queue().is_some())
            .take(max)
            .map(|(filter, group)| group.found(filter, members_max))
            .collect()
    }

    /// Logs of kept messages by name, at most `max` of those behind `after`.
    pub fn log_page(
        &self,
        after: Option<&TopicFilter>,
        max: usize,
    ) -> Vec<(TopicFilter, Arc<Mailbox>)> {
        let first = TopicFilter::of_log("");
        let logs = self.defined_page(after.unwrap_or(&first), |filter| filter.replay().is_some());
        logs.take(max).map(|(filter, group)| (filter.clone(), group.mailbox.clone())).collect()
    }

    /// Those behind `after` whose filters are `of` interest. No name is empty.
    fn defined_page(
        &self,
        after: &TopicFilter,
        of: fn(&TopicFilter) -> bool,
    ) -> impl Iterator<Item = (&TopicFilter, &SharedGroup)> {
        let from = (Bound::Excluded(after), Bound::Unbounded);
        self.by_filter.range(from).take_while(move |(filter, _)| of(filter))
    }

    /// Members of a group, at most `max`.
    pub fn members(&self, id: GroupId, max: usize) -> Vec<Arc<Identity>> {
        let filter = self.mailboxes.get(&id).map(|(_, filter)| filter);
        let group = filter.and_then(|filter| self.by_filter.get(filter));
        group.map(|group| group.some_members(max)).unwrap_or_default()
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
        // A named queue that was removed and made again has no members before they subscribe again.
        group.members.get(&session)?;
        Some(group.membership(session, filter.clone(), subscription))
    }

    fn insert(&mut self, id: GroupId, filter: &TopicFilter, kept: bool) -> Arc<Mailbox> {
        self.restore_last(id);
        let mailbox = Arc::new(Mailbox::for_group(id, filter.as_str()));
        self.set_sharing(filter, &mailbox);
        self.mailboxes.insert(id, (mailbox.clone(), filter.clone()));
        let members = BTreeMap::new();
        let queue = filter.is_defined().then(Box::default);
        let group = SharedGroup { id, mailbox: mailbox.clone(), members, kept, queue };
        group.set_durable();
        self.by_filter.insert(filter.clone(), group);
        mailbox
    }

    /// The members of the group of `filter` share as the first section says that fits; a named queue has that in
    /// its definition.
    fn set_sharing(&self, filter: &TopicFilter, mailbox: &Mailbox) -> Vec<Waker> {
        let Some(share) = filter.share() else { return Vec::new() };
        let found = self.sections.iter().find_map(|group| group.sharing_of(share, filter.as_str()));
        self.share_by(mailbox, &found.unwrap_or_default())
    }

    /// The members of the group of `mailbox` share so from now on. Returns those to be woken.
    pub fn share_by(&self, mailbox: &Mailbox, sharing: &Sharing) -> Vec<Waker> {
        mailbox.set_sharing(sharing, &self.hash)
    }

    /// Takes out the group of `filter`.
    pub fn remove(&mut self, filter: &TopicFilter) -> Option<Ended> {
        let (filter, group) = self.by_filter.remove_entry(filter)?;
        let SharedGroup { id, mailbox, kept, .. } = group;
        self.mailboxes.remove(&id);
        Some(Ended { id, filter, mailbox, kept })
    }
}

impl SharedGroup {
    fn set_durable(&self) {
        let durable = self.queue.is_some() || self.members.values().any(|member| member.durable);
        self.mailbox.set_durable(durable);
    }

    /// Nothing holds it any more: no member and, of a named queue, neither a definition nor a message.
    fn is_lonely(&self) -> bool {
        let holds = |queue: &QueueState| {
            let account = self.mailbox.account();
            queue.defined || account.queued != [0, 0] || account.in_flight() > 0
        };
        self.members.is_empty() && !self.queue.as_deref().is_some_and(holds)
    }

    fn some_members(&self, max: usize) -> Vec<Arc<Identity>> {
        self.members.values().take(max).map(|member| member.identity.clone()).collect()
    }

    fn found(&self, filter: &TopicFilter, members_max: usize) -> GroupFound {
        let (members, count) = (self.some_members(members_max), self.members.len());
        (self.id, filter.clone(), self.mailbox.clone(), members, count)
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
