//! The router: which receivers get a message, and what changes in the same moment as that.
//!
//! It owns the tree of Subscriptions, the groups of Shared Subscriptions and the retained messages. A
//! PUBLISH runs under the read lock of the routes {stamp, set retained, match}; a SUBSCRIBE under the
//! write lock {insert, note the stamp}. So every retained message is either below the stamp that a new
//! Subscription noted, and its cursor's, or above it and delivered live: none missed, none twice.
//!
//! Lock order: the routes, then the retained messages or one mailbox. No waker is woken under them: it
//! is returned, in [`Changed`].

mod bindings;
mod change;
mod exclusives;
mod groups;
mod queues;
mod retained;
mod route;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

use thin_vec::ThinVec;

use super::mailbox::Mailbox;
use super::matches::{Match, MatchGathering};
use super::recent::Recent;
use crate::codec::Properties;
use crate::config::GroupConfig;
use crate::message::{GroupId, Identity, Loss, SessionId, Total};
use crate::session::{Groups, Subscription};
use crate::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, whole};
use crate::time::Time;
use crate::topic::{TextHash, TopicFilter, TopicName, Tree};

pub(super) use change::{ChangeEffects, Eviction};
pub use change::{Changed, Membership, RouteChange, Subscriber};
use exclusives::Exclusives;
pub(super) use groups::GroupFound;
use groups::GroupTable;
pub use retained::{Retain, RetainedMessages, Retaining};
use route::{Asking, Route, RouteKey};

/// All routes of a broker.
#[derive(Debug)]
pub struct Router {
    routes: RwLock<Routes>,
    retained: RetainedMessages,
    counts: Counts,
    /// Another one after each change of the routes: what was found before may be wrong then.
    version: AtomicU64,
    hash: TextHash,
}

#[derive(Debug)]
struct Routes {
    /// Sessions' Subscriptions, and each group as one receiver.
    tree: Tree<RouteKey, Route>,
    groups: GroupTable,
    exclusives: Exclusives,
}

/// Where a message goes.
pub(super) struct Routed<'r> {
    /// Of the retained message, if it is kept.
    pub stamp: Option<u64>,
    /// The receivers, each once.
    pub matches: &'r [Match],
    /// What it cost to find them, beside the copies, in looks at shapes of filters: some nanoseconds
    /// each. A node of the trie costs as much as some of them.
    pub looks: usize,
}

/// What it costs, in looks, if one more Subscription of the same receiver matches.
const OVERLAP_LOOKS: usize = 4;

/// A Session has joined a group, or its Subscription there was replaced.
#[derive(Debug)]
struct Joined {
    membership: Membership,
    /// The group, if it is new: it is still to be put into the tree.
    created: Option<(GroupId, Arc<Mailbox>)>,
    /// It was no member before.
    is_new: bool,
    /// The group, if the store is to know of it from now on.
    to_keep: Option<GroupId>,
}

/// A member has left a group.
#[derive(Debug)]
struct Left {
    /// Other members, which take what it leaves.
    wakers: Vec<Waker>,
    /// The group, if that was its last member.
    ended: Option<Ended>,
}

/// A group without members: it is out of the table, and still in the tree.
#[derive(Debug)]
struct Ended {
    id: GroupId,
    filter: TopicFilter,
    mailbox: Arc<Mailbox>,
    /// The store knows of it.
    kept: bool,
}

/// How many there are, to be read without the lock.
#[derive(Debug, Default)]
struct Counts {
    subscriptions: AtomicUsize,
    /// Those of them that are to a group.
    shared: AtomicUsize,
    /// Those to an exclusive filter.
    exclusive: AtomicUsize,
    groups: AtomicUsize,
    /// Named queues and logs without a definition.
    undefined_queues: AtomicUsize,
    /// Subscriptions to filters that start with `$SYS`.
    sys: AtomicUsize,
    /// Of those, the ones that ask for figures of single clients.
    sys_clients: AtomicUsize,
}

/// Versions are unique over all routers of the process: threads' memories outlive a router.
static VERSIONS: AtomicU64 = AtomicU64::new(1);

impl Router {
    /// An empty router; `seed` feeds the hashes of its tree.
    pub fn new(seed: u64) -> Router {
        let hash = TextHash::new(seed.rotate_left(48));
        let groups = GroupTable::new(hash.clone());
        Router {
            routes: RwLock::new(Routes {
                tree: Tree::new(seed),
                groups,
                exclusives: Exclusives::default(),
            }),
            // The seed is secret here too: strangers name the topics.
            retained: RetainedMessages::new(seed.rotate_left(16)),
            counts: Counts::default(),
            version: AtomicU64::new(VERSIONS.fetch_add(1, Ordering::Relaxed)),
            hash,
        }
    }

    /// The receivers of a message, each once: those in `recent`, or else they are sought there. Makes
    /// `retained` the retained message of its topic in the same moment.
    #[inline(always)] // In `Broker::apply`.
    pub(super) fn route<'r>(
        &self,
        topic: TopicName<'_>,
        (publisher, properties): (&Identity, &Properties<'_>),
        retained: Option<Retaining>,
        recent: &'r mut Recent,
    ) -> Routed<'r> {
        let hash = self.hash.of(topic.as_str().as_bytes());
        // As good as the read lock: what was found at this version is what is found now.
        let version = self.version.load(Ordering::Acquire);
        if retained.is_none() && recent.knows(topic, hash, version) {
            return Routed { stamp: None, matches: recent.known(hash), looks: 0 };
        }
        let routes = self.read();
        let version = self.version.load(Ordering::Acquire);
        let (mut stamp, mut looks) = (None, 0);
        let matches = recent.find_anew(topic, hash, version, |matches| {
            stamp = retained.and_then(|retaining| self.retained.change(topic, retaining));
            let mut for_all = true;
            let mut gathering = MatchGathering::new(matches);
            let mut asking = Asking { groups: &routes.groups, publisher, properties, user: None };
            looks = routes.tree.visit(topic, &mut |key: RouteKey, route: &Route| {
                for_all &= !route.asks;
                if let Some(id) = asking.admits(route) {
                    let granted = (route.qos, route.retain_as_published, id);
                    gathering.add(key.receiver(), granted, &route.mailbox);
                }
            });
            drop(routes);
            looks += gathering.finish() * OVERLAP_LOOKS;
            for_all
        });
        Routed { stamp, matches, looks }
    }

    /// Carries out a client's changes in one moment. `memberships` are those of the client in groups: it
    /// gets them back, changed.
    pub fn change(
        &self,
        subscriber: &Subscriber<'_>,
        changes: &[RouteChange],
        memberships: ThinVec<Membership>,
    ) -> Changed {
        let mut changed = Changed { memberships, ..Changed::default() };
        let routes = &mut *self.write();
        for change in changes {
            match change {
                // A queue is not made by its consumers: it may be gone since they subscribed to it.
                RouteChange::Subscribe { filter, .. }
                    if filter.queue().is_some() && !routes.groups.contains(filter) => {}
                RouteChange::Subscribe { filter, subscription, .. } if filter.is_shared() => {
                    let joined = routes.groups.join(subscriber, filter.clone(), subscription);
                    self.on_joined(&mut routes.tree, subscriber, joined, &mut changed);
                }
                RouteChange::Subscribe { filter, subscription, .. } => {
                    let key = RouteKey::of_session(subscriber.session(), filter);
                    let route = Route::to_session(subscriber.mailbox(), subscription);
                    if routes.tree.insert_filter(filter, key, route).is_none() {
                        self.counts.subscribed(subscriber, filter, 1);
                    }
                    if filter.is_exclusive() {
                        self.on_exclusive(routes, (subscriber, filter), false, &mut changed);
                    }
                }
                RouteChange::Unsubscribe(filter) if filter.is_shared() => {
                    changed.memberships.retain(|membership| membership.filter() != filter);
                    if let Some(Left { wakers, ended }) = routes.groups.leave(subscriber, filter) {
                        self.counts.subscribed(subscriber, filter, -1);
                        if !wakers.is_empty() {
                            changed.effects().wakers.extend(wakers);
                        }
                        self.on_ended(&mut routes.tree, ended, &mut changed);
                    }
                }
                RouteChange::Unsubscribe(filter) => {
                    let key = RouteKey::of_session(subscriber.session(), filter);
                    if routes.tree.remove(filter.pattern(), key).is_some() {
                        self.counts.subscribed(subscriber, filter, -1);
                    }
                    if filter.is_exclusive() {
                        self.on_exclusive(routes, (subscriber, filter), true, &mut changed);
                    }
                }
            }
        }
        self.renew_version();
        changed.moment = self.retained.moment();
        changed
    }

    /// Groups share as these sections say, also those that are there. Returns members to be woken.
    pub fn set_groups(&self, sections: &[GroupConfig]) -> Vec<Waker> {
        self.write().groups.set_sections(sections)
    }

    /// Takes in the groups the store knows, still without members. Numbers up to `last` were used
    /// before.
    pub fn restore_groups(&self, groups: Vec<(GroupId, TopicFilter)>, last: GroupId) {
        let routes = &mut *self.write();
        routes.groups.restore_last(last);
        for (id, filter) in groups {
            let mailbox = routes.groups.restore(id, &filter);
            if filter.is_defined() {
                // Its routes are those of its definition.
                self.counts.undefined_queues.fetch_add(1, Ordering::Relaxed);
            } else {
                self.add_group(&mut routes.tree, id, &filter, mailbox);
            }
        }
    }

    /// Ends the groups from the store that have no members left.
    pub fn forget_lonely_groups(&self) -> Changed {
        let mut changed = Changed::default();
        let routes = &mut *self.write();
        let lonely = routes.groups.take_lonely();
        self.on_ended(&mut routes.tree, lonely, &mut changed);
        self.renew_version();
        changed
    }

    /// The retained messages.
    pub fn retained(&self) -> &RetainedMessages {
        &self.retained
    }

    /// By which topics are told apart.
    pub(super) fn topic_hash(&self) -> &TextHash {
        &self.hash
    }

    /// The mailbox of a group, if it still exists.
    pub fn group(&self, id: GroupId) -> Option<Arc<Mailbox>> {
        self.read().groups.mailbox(id).cloned()
    }

    /// The mailbox of the group of `filter`, if there is one.
    pub(super) fn group_of(&self, filter: &TopicFilter) -> Option<Arc<Mailbox>> {
        self.read().groups.of_filter(filter)
    }

    /// All groups' mailboxes, by number.
    pub fn groups(&self) -> Vec<(GroupId, Arc<Mailbox>)> {
        let routes = self.read();
        routes.groups.mailboxes().map(|(id, mailbox)| (id, mailbox.clone())).collect()
    }

    /// The Session's part in the group of `filter`, for one that comes back.
    pub fn membership(
        &self,
        session: SessionId,
        filter: &TopicFilter,
        subscription: &Subscription,
    ) -> Option<Membership> {
        self.read().groups.membership(session, filter, subscription)
    }

    /// Subscriptions there are, shared ones counted by member.
    pub fn subscriptions(&self) -> usize {
        self.counts.subscriptions.load(Ordering::Relaxed)
    }

    /// Those of them that are shared.
    pub fn shared_subscriptions(&self) -> usize {
        self.counts.shared.load(Ordering::Relaxed)
    }

    /// Whether a message of `topic` would have a receiver.
    pub fn is_wanted(&self, topic: TopicName<'_>) -> bool {
        let mut wanted = false;
        self.read().tree.visit(topic, &mut |_, _| wanted = true);
        wanted
    }

    /// The receivers of a message of `topic`, each once, by number: those with No Local too.
    pub(super) fn wanted_by(&self, topic: TopicName<'_>) -> Vec<Match> {
        let mut matches = Vec::new();
        let mut gathering = MatchGathering::new(&mut matches);
        self.read().tree.visit(topic, &mut |key: RouteKey, route: &Route| {
            let granted = (route.qos, route.retain_as_published, route.id);
            gathering.add(key.receiver(), granted, &route.mailbox);
        });
        gathering.finish();
        matches
    }

    /// Groups by number, at most `max` of those behind `after`, each with so many of its members at most.
    pub(super) fn group_page(
        &self,
        after: Option<GroupId>,
        max: usize,
        members_max: usize,
    ) -> Vec<GroupFound> {
        self.read().groups.page(after, max, members_max)
    }

    /// Members of a group, at most `max`.
    pub(super) fn members(&self, id: GroupId, max: usize) -> Vec<Arc<Identity>> {
        self.read().groups.members(id, max)
    }

    /// Groups there are.
    pub fn group_count(&self) -> usize {
        self.counts.groups.load(Ordering::Relaxed)
    }

    /// Whether there is a Subscription to `$SYS` topics.
    pub fn sys_wanted(&self) -> bool {
        self.counts.sys.load(Ordering::Relaxed) > 0
    }

    /// Whether there is a Subscription to figures of single clients.
    pub fn sys_clients_wanted(&self) -> bool {
        self.counts.sys_clients.load(Ordering::Relaxed) > 0
    }

    fn on_joined(
        &self,
        tree: &mut Tree<RouteKey, Route>,
        subscriber: &Subscriber<'_>,
        joined: Joined,
        changed: &mut Changed,
    ) {
        let Joined { membership, created, is_new, to_keep } = joined;
        let filter = membership.filter();
        if let Some((id, mailbox)) = created {
            self.add_group(tree, id, filter, mailbox);
        }
        if is_new {
            self.counts.subscribed(subscriber, filter, 1);
        }
        if let Some(id) = to_keep {
            changed.effects().groups.push((id, Some(filter.clone())));
        }
        changed.memberships.retain(|before| before.filter() != filter);
        changed.memberships.push(membership);
    }

    fn on_ended(
        &self,
        tree: &mut Tree<RouteKey, Route>,
        ended: impl IntoIterator<Item = Ended>,
        changed: &mut Changed,
    ) {
        for Ended { id, filter, mailbox, kept } in ended {
            let count = match filter.is_defined() {
                true => &self.counts.undefined_queues,
                false => {
                    tree.remove(filter.pattern(), RouteKey::of_group(id));
                    &self.counts.groups
                }
            };
            count.fetch_sub(1, Ordering::Relaxed);
            if let Some(holdings) = mailbox.owner().holdings() {
                holdings.change(Total::Groups, 1, 0);
            }
            let effects = changed.effects();
            effects.lost.extend(mailbox.close(Loss::GroupGone, &mut [0, 0]));
            effects.groups.extend(kept.then_some((id, None)));
        }
    }

    fn add_group(
        &self,
        tree: &mut Tree<RouteKey, Route>,
        id: GroupId,
        filter: &TopicFilter,
        mailbox: Arc<Mailbox>,
    ) {
        tree.insert(filter.pattern(), RouteKey::of_group(id), Route::to_group(mailbox));
        self.counts.groups.fetch_add(1, Ordering::Relaxed);
    }

    /// What threads remember of the routes is wrong from now on. The routes are locked.
    fn renew_version(&self) {
        self.version.store(VERSIONS.fetch_add(1, Ordering::Relaxed), Ordering::Release);
    }

    fn read(&self) -> RwLockReadGuard<'_, Routes> {
        whole(self.routes.read())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Routes> {
        whole(self.routes.write())
    }
}

impl Groups for Router {
    fn exists(&self, filter: &TopicFilter) -> bool {
        self.read().groups.contains(filter)
    }

    fn visit_defined(&self, seen: &mut dyn FnMut(&TopicFilter) -> bool) {
        // None is locked while the rights are asked.
        let filters: Vec<_> =
            self.defined(|_| true).into_iter().map(|(filter, ..)| filter).collect();
        let _ = filters.iter().all(seen);
    }

    fn claim(
        &self,
        filter: &TopicFilter,
        claimant: (SessionId, &Arc<Identity>),
        now: Time,
    ) -> bool {
        self.write().exclusives.claim(filter, claimant, now)
    }

    fn keeps(&self, filter: &TopicFilter, session: SessionId) -> bool {
        self.keep_exclusive(filter, session)
    }
}

impl Counts {
    /// Counts a Subscription in (1) or out (-1).
    fn subscribed(&self, subscriber: &Subscriber<'_>, filter: &TopicFilter, by: isize) {
        if let Some(holdings) = subscriber.mailbox().owner().holdings() {
            holdings.change(Total::Subscriptions, 0, by.cast_unsigned() as u64);
        }
        self.subscriptions.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
        if filter.is_shared() {
            self.shared.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
        } else if filter.is_exclusive() {
            self.exclusive.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
        }
        if filter.pattern().starts_with("$SYS") {
            self.sys.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
            if asks_for_clients(filter.pattern()) {
                self.sys_clients.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
            }
        }
    }
}

/// Whether it asks for figures of single clients by name: `$SYS/#` does not.
pub(super) fn asks_for_clients(pattern: &str) -> bool {
    let rest = pattern.strip_prefix("$SYS/broker/clients/");
    rest.is_some_and(|rest| rest.contains('/') || rest == "#")
}
