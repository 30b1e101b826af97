//! The router: which receivers get a message, and what changes in the same moment as that.
//!
//! It owns the tree of Subscriptions, the groups of Shared Subscriptions and the retained messages. A
//! PUBLISH runs under the read lock of the routes {stamp, set retained, match}; a SUBSCRIBE under the
//! write lock {insert, note the stamp}. So every retained message is either below the stamp that a new
//! Subscription noted, and its cursor's, or above it and delivered live: none missed, none twice.
//!
//! Lock order: the routes, then the retained messages or one mailbox. No waker is woken under them: it
//! is returned, in [`Changed`].

mod change;
mod groups;
mod retained;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

use thin_vec::ThinVec;

use super::mailbox::{DroppedCopies, Mailbox, Owner};
use super::matches::{Match, MatchGathering};
use super::recent::Recent;
use crate::codec::QoS;
use crate::message::{GroupId, Identity, Loss, ReceiverId, SessionId, Total};
use crate::session::{Groups, RetainedMoment, Subscription};
use crate::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, whole};
use crate::topic::{TextHash, TopicFilter, TopicName, Tree};

pub use change::{Membership, RouteChange, Subscriber};
use groups::{GroupFound, GroupTable};
pub use retained::{Retain, RetainedMessages, Retaining};

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
    tree: Tree<ReceiverId, Route>,
    groups: GroupTable,
}

#[derive(Debug)]
struct Route {
    mailbox: Arc<Mailbox>,
    qos: QoS,
    no_local: bool,
    retain_as_published: bool,
    id: u32,
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

/// What came of a change, for the caller to carry out with no lock held.
#[derive(Debug, Default)]
#[must_use]
pub struct Changed {
    /// How far the retained messages had come at the change; `None` if there were none.
    moment: Option<RetainedMoment>,
    /// The client's memberships in groups, as they are now.
    memberships: ThinVec<Membership>,
    /// What is lost with groups that have ended.
    lost: Vec<DroppedCopies>,
    /// Members of groups that take the turn of one that has left.
    wakers: Vec<Waker>,
    /// Groups that the store is to know or, with no filter, to forget.
    groups: Vec<(GroupId, Option<TopicFilter>)>,
}

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
    /// Another member, which takes its turn.
    waker: Option<Waker>,
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
    groups: AtomicUsize,
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
        Router {
            routes: RwLock::new(Routes { tree: Tree::new(seed), groups: GroupTable::new() }),
            // The seed is secret here too: strangers name the topics.
            retained: RetainedMessages::new(seed.rotate_left(16)),
            counts: Counts::default(),
            version: AtomicU64::new(VERSIONS.fetch_add(1, Ordering::Relaxed)),
            hash: TextHash::new(seed.rotate_left(48)),
        }
    }

    /// The receivers of a message, each once: those in `recent`, or else they are sought there. Makes
    /// `retained` the retained message of its topic in the same moment.
    pub(super) fn route<'r>(
        &self,
        topic: TopicName<'_>,
        publisher: &Identity,
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
            looks = routes.tree.visit(topic, &mut |receiver, route: &Route| {
                for_all &= !route.no_local;
                if !(route.no_local && own(&route.mailbox, publisher)) {
                    let granted = (route.qos, route.retain_as_published, route.id);
                    gathering.add(receiver, granted, &route.mailbox);
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
                RouteChange::Subscribe { filter, subscription, .. } if filter.share().is_some() => {
                    let joined = routes.groups.join(subscriber, filter.clone(), subscription);
                    self.on_joined(&mut routes.tree, subscriber, joined, &mut changed);
                }
                RouteChange::Subscribe { filter, subscription, .. } => {
                    let receiver = ReceiverId::session(subscriber.session());
                    let route = Route::to_session(subscriber.mailbox(), subscription);
                    if routes.tree.insert_filter(filter, receiver, route).is_none() {
                        self.counts.subscribed(subscriber, filter, 1);
                    }
                }
                RouteChange::Unsubscribe(filter) if filter.share().is_some() => {
                    changed.memberships.retain(|membership| membership.filter() != filter);
                    if let Some(Left { waker, ended }) = routes.groups.leave(subscriber, filter) {
                        self.counts.subscribed(subscriber, filter, -1);
                        changed.wakers.extend(waker);
                        self.on_ended(&mut routes.tree, ended, &mut changed);
                    }
                }
                RouteChange::Unsubscribe(filter) => {
                    let receiver = ReceiverId::session(subscriber.session());
                    if routes.tree.remove(filter.pattern(), receiver).is_some() {
                        self.counts.subscribed(subscriber, filter, -1);
                    }
                }
            }
        }
        self.renew_version();
        changed.moment = self.retained.moment();
        changed
    }

    /// Takes in the groups the store knows, still without members. Numbers up to `last` were used
    /// before.
    pub fn restore_groups(&self, groups: Vec<(GroupId, TopicFilter)>, last: GroupId) {
        let routes = &mut *self.write();
        routes.groups.restore_last(last);
        for (id, filter) in groups {
            let mailbox = routes.groups.restore(id, &filter);
            self.add_group(&mut routes.tree, id, &filter, mailbox);
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
        self.read().tree.visit(topic, &mut |receiver, route: &Route| {
            let granted = (route.qos, route.retain_as_published, route.id);
            gathering.add(receiver, granted, &route.mailbox);
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
        tree: &mut Tree<ReceiverId, Route>,
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
        changed.groups.extend(to_keep.map(|id| (id, Some(filter.clone()))));
        changed.memberships.retain(|before| before.filter() != filter);
        changed.memberships.push(membership);
    }

    fn on_ended(
        &self,
        tree: &mut Tree<ReceiverId, Route>,
        ended: impl IntoIterator<Item = Ended>,
        changed: &mut Changed,
    ) {
        for Ended { id, filter, mailbox, kept } in ended {
            tree.remove(filter.pattern(), ReceiverId::group(id));
            self.counts.groups.fetch_sub(1, Ordering::Relaxed);
            if let Some(holdings) = mailbox.owner().holdings() {
                holdings.change(Total::Groups, 1, 0);
            }
            changed.lost.push(mailbox.close(Loss::GroupGone, &mut [0, 0]));
            changed.groups.extend(kept.then_some((id, None)));
        }
    }

    fn add_group(
        &self,
        tree: &mut Tree<ReceiverId, Route>,
        id: GroupId,
        filter: &TopicFilter,
        mailbox: Arc<Mailbox>,
    ) {
        tree.insert(filter.pattern(), ReceiverId::group(id), Route::to_group(mailbox));
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
}

impl Route {
    fn to_session(mailbox: &Arc<Mailbox>, subscription: &Subscription) -> Route {
        Route {
            mailbox: mailbox.clone(),
            qos: subscription.options.qos,
            no_local: subscription.options.no_local,
            retain_as_published: subscription.options.retain_as_published,
            id: subscription.id,
        }
    }

    /// What a member was granted counts when it takes a message.
    fn to_group(mailbox: Arc<Mailbox>) -> Route {
        let qos = QoS::ExactlyOnce;
        Route { mailbox, qos, no_local: false, retain_as_published: true, id: 0 }
    }
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

    /// What is lost with groups that have ended, members to be woken, and groups that the store is to know
    /// or, with no filter, to forget.
    pub fn into_parts(self) -> (Vec<DroppedCopies>, Vec<Waker>, Vec<GroupFact>) {
        (self.lost, self.wakers, self.groups)
    }
}

/// A group that the store is to know or, with no filter, to forget.
pub(super) type GroupFact = (GroupId, Option<TopicFilter>);

impl Counts {
    /// Counts a Subscription in (1) or out (-1).
    fn subscribed(&self, subscriber: &Subscriber<'_>, filter: &TopicFilter, by: isize) {
        if let Some(holdings) = subscriber.mailbox().owner().holdings() {
            holdings.change(Total::Subscriptions, 0, by.cast_unsigned() as u64);
        }
        self.subscriptions.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
        if filter.share().is_some() {
            self.shared.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
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

/// No Local compares Client Identifiers, across reconnects too `[MQTT5-3.8.3-3]`.
fn own(mailbox: &Mailbox, publisher: &Identity) -> bool {
    match mailbox.owner() {
        Owner::Session { identity, .. } => identity.client_id == publisher.client_id,
        Owner::Group { .. } => false,
    }
}
