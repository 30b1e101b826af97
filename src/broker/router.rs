//! The router: who receives a message, what is retained, which groups there are.
//!
//! A PUBLISH runs under the read lock {stamp, set retained, match}; a SUBSCRIBE under the write
//! lock {insert, note the stamp}. So every retained message is either below the stamp a new
//! Subscription noted, and its cursor's, or above it and delivered live: none missed, none twice.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use thin_vec::ThinVec;

use super::mailbox::{Fallen, Mailbox, Member, Owner};
use super::ports::Batch;
use super::recent::Recent;
use crate::codec::QoS;
use crate::config;
use crate::message::{
    Delivery, GroupId, Identity, Loss, Message, ReceiverId, SessionId, SubscriptionIds,
};
use crate::session::{Cursor, Groups, Subscription};
use crate::sync::{Mutex, MutexGuard, RwLock};
use crate::time::Time;
use crate::topic::{Retained, TextHash, TopicFilter, TopicName, Tree};

/// All routes of a broker.
#[derive(Debug)]
pub struct Router {
    routes: RwLock<Routes>,
    retained: Mutex<RetainedStore>,
    subscriptions: AtomicUsize,
    groups: AtomicUsize,
    /// Subscriptions whose filter starts with `$SYS`.
    sys: AtomicUsize,
    /// Of those, the ones that ask for figures of single clients.
    sys_clients: AtomicUsize,
    /// Another one after each change of the routes: what was found before may be wrong then.
    version: AtomicU64,
    hash: TextHash,
}

/// Versions are of all routers there are: threads' memories outlive a router.
static VERSIONS: AtomicU64 = AtomicU64::new(1);

#[derive(Debug)]
struct Routes {
    tree: Tree<ReceiverId, Route>,
    groups: BTreeMap<TopicFilter, Group>,
    mailboxes: BTreeMap<GroupId, Arc<Mailbox>>,
    next_group: GroupId,
}

#[derive(Debug)]
struct Route {
    mailbox: Arc<Mailbox>,
    qos: QoS,
    no_local: bool,
    retain_as_published: bool,
    id: u32,
}

#[derive(Debug)]
struct Group {
    id: GroupId,
    mailbox: Arc<Mailbox>,
    /// Members, and whether each makes the group durable.
    members: BTreeMap<SessionId, bool>,
    /// The store knows of it.
    kept: bool,
}

/// A receiver of one message, its overlapping Subscriptions merged `[MQTT5-3.3.4-2]`.
#[derive(Debug)]
pub struct Match {
    /// Its receiver.
    pub receiver: ReceiverId,
    /// Where its messages wait.
    pub mailbox: Arc<Mailbox>,
    /// The highest `QoS` granted by a matching Subscription.
    pub qos: QoS,
    /// One of them keeps the RETAIN flag.
    pub retain_as_published: bool,
    /// All their identifiers.
    pub ids: SubscriptionIds,
    /// Where the turn has it, if it has.
    pub(super) open: Cell<u32>,
}

/// What a Session asks of the tree.
#[derive(Clone, Debug)]
pub enum Change {
    /// Put in or replace.
    Subscribe(TopicFilter, Subscription),
    /// Take out.
    Unsubscribe(TopicFilter),
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

/// Who asks for a change.
#[derive(Clone, Copy, Debug)]
pub struct Subscriber<'a> {
    /// Its Session.
    pub session: SessionId,
    /// Its own mailbox.
    pub mailbox: &'a Arc<Mailbox>,
    /// It outlives its connection.
    pub lasts: bool,
    /// It is connected.
    pub connected: bool,
}

#[derive(Debug, Default)]
struct RetainedStore {
    topics: Retained<Kept>,
    bytes: u64,
    /// How many of them, and how many bytes, are the broker's own: clients' totals leave them out.
    own: (usize, u64),
    stamp: u64,
    /// Stamps of what the store is still to be given.
    open: BTreeSet<u64>,
    expiries: BTreeMap<(Time, u64), Box<str>>,
}

#[derive(Debug)]
struct Kept {
    message: Message,
    stamp: u64,
}

impl Router {
    /// An empty router; `seed` feeds the hashes of its tree.
    pub fn new(seed: u64) -> Router {
        let routes = Routes {
            tree: Tree::new(seed),
            groups: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
            next_group: GroupId::new(1),
        };
        Router {
            routes: RwLock::new(routes),
            // The seed is secret here too: strangers name the topics.
            retained: Mutex::new(RetainedStore {
                topics: Retained::with_seed(seed.rotate_left(16)),
                ..RetainedStore::default()
            }),
            subscriptions: AtomicUsize::new(0),
            groups: AtomicUsize::new(0),
            sys: AtomicUsize::new(0),
            sys_clients: AtomicUsize::new(0),
            version: AtomicU64::new(VERSIONS.fetch_add(1, Ordering::Relaxed)),
            hash: TextHash::new(seed.rotate_left(48)),
        }
    }

    /// The receivers of a message, each once: those in `recent`, or else they are sought there. Makes
    /// `retained` the retained message of its topic in the same moment; its stamp, if it is kept.
    pub(super) fn route<'r>(
        &self,
        topic: TopicName<'_>,
        publisher: &Identity,
        retained: Option<Retaining>,
        recent: &'r mut Recent,
    ) -> (Option<u64>, &'r [Match]) {
        let hash = self.hash.of(topic.as_str().as_bytes());
        // As good as the read lock: who was found at this version is who is found now.
        let version = self.version.load(Ordering::Acquire);
        if retained.is_none() && recent.knows(topic, hash, version) {
            return (None, recent.known(hash));
        }
        let routes = self.routes.read().expect("no code panics while it holds the routes");
        let version = self.version.load(Ordering::Acquire);
        let mut stamp = None;
        let matches = recent.find_anew(topic, hash, version, |matches| {
            if let Some(Retaining { what, kept }) = retained {
                let mut store = self.retained();
                store.set(topic, what);
                stamp = kept.then(|| store.open_stamp());
            }
            let mut for_all = true;
            routes.tree.visit(topic, &mut |receiver, route: &Route| {
                for_all &= !route.no_local;
                if !(route.no_local && own(&route.mailbox, publisher)) {
                    matches.push(Match {
                        receiver,
                        mailbox: route.mailbox.clone(),
                        qos: route.qos,
                        retain_as_published: route.retain_as_published,
                        ids: SubscriptionIds::new(route.id),
                        open: Cell::new(u32::MAX),
                    });
                }
            });
            drop(routes);
            merge(matches);
            for_all
        });
        (stamp, matches)
    }

    /// No stamp below this one is still to come to the store.
    pub fn oldest_stamp(&self) -> u64 {
        let retained = self.retained();
        retained.open.first().copied().unwrap_or(retained.stamp + 1)
    }

    /// The store has been given what has these stamps.
    pub fn stored(&self, stamps: &mut Vec<u64>) {
        if !stamps.is_empty() {
            let mut retained = self.retained();
            for stamp in stamps.drain(..) {
                retained.open.remove(&stamp);
            }
        }
    }

    /// Carries out a client's changes in one moment; returns its stamp. `fallen` is told what is lost with
    /// groups that end.
    pub fn change(
        &self,
        subscriber: &Subscriber<'_>,
        changes: Vec<Change>,
        memberships: &mut ThinVec<Membership>,
        fallen: &mut Vec<Fallen>,
        mut batch: Option<&mut Batch>,
    ) -> u64 {
        let mut routes = self.routes.write().expect("no code panics while it holds the routes");
        for change in changes {
            match change {
                Change::Subscribe(filter, subscription) if filter.share().is_some() => {
                    let made =
                        self.join(&mut routes, subscriber, filter, subscription, memberships);
                    if let Some(batch) = &mut batch {
                        batch.groups.extend(made.map(|(id, filter)| (id, Some(filter))));
                    }
                }
                Change::Subscribe(filter, subscription) => {
                    let route = Route {
                        mailbox: subscriber.mailbox.clone(),
                        qos: subscription.options.qos,
                        no_local: subscription.options.no_local,
                        retain_as_published: subscription.options.retain_as_published,
                        id: subscription.id,
                    };
                    let key = ReceiverId::session(subscriber.session);
                    if routes.tree.insert_filter(&filter, key, route).is_none() {
                        self.count(&filter, 1);
                    }
                }
                Change::Unsubscribe(filter) if filter.share().is_some() => {
                    let batch = batch.as_deref_mut();
                    self.part(&mut routes, subscriber, &filter, memberships, fallen, batch);
                }
                Change::Unsubscribe(filter) => {
                    let key = ReceiverId::session(subscriber.session);
                    if routes.tree.remove(filter.pattern(), key).is_some() {
                        self.count(&filter, -1);
                    }
                }
            }
        }
        self.version.store(VERSIONS.fetch_add(1, Ordering::Relaxed), Ordering::Release);
        self.retained().stamp
    }

    /// By which topics are told apart.
    pub(super) fn topic_hash(&self) -> &TextHash {
        &self.hash
    }

    /// The mailbox of a group, if it still exists.
    pub fn group(&self, id: GroupId) -> Option<Arc<Mailbox>> {
        let routes = self.routes.read().expect("no code panics while it holds the routes");
        routes.mailboxes.get(&id).cloned()
    }

    /// All groups' mailboxes, by number.
    pub fn groups(&self) -> Vec<(GroupId, Arc<Mailbox>)> {
        let routes = self.routes.read().expect("no code panics while it holds the routes");
        routes.mailboxes.iter().map(|(id, mailbox)| (*id, mailbox.clone())).collect()
    }

    /// The Session's part in the group of `filter`, for one that comes back.
    pub fn membership(
        &self,
        session: SessionId,
        filter: &TopicFilter,
        subscription: &Subscription,
    ) -> Option<Membership> {
        let routes = self.routes.read().expect("no code panics while it holds the routes");
        let group = routes.groups.get(filter)?;
        Some(Membership {
            filter: filter.clone(),
            mailbox: group.mailbox.clone(),
            member: member(session, subscription),
        })
    }

    /// Takes in a retained message from the store.
    pub fn restore_retained(&self, message: Message) {
        self.retained().set(message.topic(), Retain::Set(message.clone()));
    }

    /// Takes in the groups the store knows, still without members. Numbers up to `last` were used
    /// before.
    pub fn restore_groups(&self, groups: Vec<(GroupId, TopicFilter)>, last: GroupId) {
        let mut routes = self.routes.write().expect("no code panics while it holds the routes");
        routes.next_group = routes.next_group.max(last.next());
        for (id, filter) in groups {
            routes.next_group = routes.next_group.max(id.next());
            self.found(&mut routes, id, &filter);
            if let Some(group) = routes.groups.get_mut(&filter) {
                group.kept = true;
            }
        }
    }

    /// Groups from the store whose members are all gone end. Returns what is lost with them.
    pub fn forget_lonely_groups(&self, batch: &mut Batch) -> Vec<Fallen> {
        let mut routes = self.routes.write().expect("no code panics while it holds the routes");
        let routes = &mut *routes;
        let lonely = routes.groups.iter().filter(|(_, group)| group.members.is_empty());
        let lonely: Vec<_> = lonely.map(|(filter, group)| (filter.clone(), group.id)).collect();
        let mut fallen = Vec::new();
        for (filter, id) in lonely {
            routes.groups.remove(&filter);
            routes.tree.remove(filter.pattern(), ReceiverId::group(id));
            if let Some(mailbox) = routes.mailboxes.remove(&id) {
                fallen.push(mailbox.close(Loss::GroupGone, &mut [0, 0]));
            }
            batch.groups.push((id, None));
            self.groups.fetch_sub(1, Ordering::Relaxed);
        }
        self.version.store(VERSIONS.fetch_add(1, Ordering::Relaxed), Ordering::Release);
        fallen
    }

    /// Pulls retained messages for `cursor` into `out`: at most `max`, looking at a bounded number
    /// of topics. Returns true when the cursor is at its end.
    pub fn pull(
        &self,
        cursor: &mut Cursor,
        room: crate::session::Room,
        max: usize,
        now: Time,
        out: &mut Vec<Delivery>,
    ) -> bool {
        let Some(stamp) = cursor.stamp else { return false };
        let crate::session::Room { mut window, mut bytes } = room;
        let mut resume = None;
        let mut after = cursor.after.take();
        let mut last = None::<String>;
        let mut left = max;
        let done = self.retained().topics.scan(
            cursor.filter.pattern(),
            after.as_deref(),
            SCAN_STEPS,
            &mut resume,
            &mut |name, kept| {
                let wanted = kept.stamp <= stamp && !kept.message.expired(now);
                let qos = kept.message.qos.min(cursor.qos);
                if wanted {
                    if left == 0 || bytes == 0 || (qos > QoS::AtMostOnce && window == 0) {
                        return false;
                    }
                    left -= 1;
                    window -= usize::from(qos > QoS::AtMostOnce);
                    bytes = bytes.saturating_sub(kept.message.bytes());
                    out.push(Delivery {
                        message: kept.message.clone(),
                        qos,
                        retain: true,
                        ids: SubscriptionIds::new(cursor.id),
                        group: None,
                        stored: false,
                    });
                }
                name.clone_into(last.get_or_insert_default());
                true
            },
        );
        if !done {
            after = resume.or(last).or(after);
            cursor.after = after;
        }
        done
    }

    /// Whether one more retained message of a client, of `bytes` for `topic`, is within the totals.
    pub fn may_retain(&self, topic: TopicName<'_>, bytes: usize, totals: &config::Totals) -> bool {
        let retained = self.retained();
        let (old_count, old_bytes) = match retained.topics.get(topic) {
            Some(kept) => (1, kept.message.bytes() as u64),
            None => (0, 0),
        };
        let (own_count, own_bytes) = retained.own;
        let count = (retained.topics.len() - own_count - old_count) as u64 + 1;
        let bytes = retained.bytes - own_bytes - old_bytes + bytes as u64;
        count <= u64::from(totals.retained_max) && bytes <= totals.retained_bytes_max.0
    }

    /// Forgets retained messages that have expired, a bounded number; `gone` is told their topics
    /// and the stamps of that, if they are `kept`. Returns whether more are due.
    pub fn expire_retained(&self, now: Time, kept: bool, gone: &mut Vec<(Box<str>, u64)>) -> bool {
        let retained = &mut *self.retained();
        for _ in 0..EXPIRE_MAX {
            match retained.expiries.first_key_value() {
                Some(((due, _), _)) if *due <= now => {}
                _ => return false,
            }
            let Some(((_, stamp), topic)) = retained.expiries.pop_first() else { return false };
            let name = TopicName::trusted(&topic);
            if retained.topics.get(name).is_some_and(|kept| kept.stamp == stamp) {
                retained.set(name, Retain::Clear);
                if kept {
                    gone.push((topic, retained.open_stamp()));
                }
            }
        }
        true
    }

    /// When the next retained message expires.
    pub fn retained_deadline(&self) -> Option<Time> {
        self.retained().expiries.first_key_value().map(|((due, _), _)| *due)
    }

    /// Retained messages and their bytes.
    pub fn retained_totals(&self) -> (usize, u64) {
        let retained = self.retained();
        (retained.topics.len(), retained.bytes)
    }

    /// Subscriptions there are, shared ones counted by member.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.load(Ordering::Relaxed)
    }

    /// Groups there are.
    pub fn group_count(&self) -> usize {
        self.groups.load(Ordering::Relaxed)
    }

    /// Whether anybody subscribes to `$SYS` topics.
    pub fn sys_wanted(&self) -> bool {
        self.sys.load(Ordering::Relaxed) > 0
    }

    /// Whether anybody subscribes to figures of single clients.
    pub fn sys_clients_wanted(&self) -> bool {
        self.sys_clients.load(Ordering::Relaxed) > 0
    }

    fn join(
        &self,
        routes: &mut Routes,
        subscriber: &Subscriber<'_>,
        filter: TopicFilter,
        subscription: Subscription,
        memberships: &mut ThinVec<Membership>,
    ) -> Option<(GroupId, TopicFilter)> {
        let session = subscriber.session;
        if !routes.groups.contains_key(&filter) {
            let id = routes.next_group;
            routes.next_group = id.next();
            self.found(routes, id, &filter);
        }
        let group = routes.groups.get_mut(&filter)?;
        let durable = subscriber.lasts && subscription.options.qos > QoS::AtMostOnce;
        if group.members.insert(session, durable).is_none() {
            self.count(&filter, 1);
            if subscriber.connected {
                group.mailbox.join();
            }
        }
        group.mailbox.set_durable(group.members.values().any(|durable| *durable));
        // From the first on whom something may wait the store has to know it.
        let made = durable && !std::mem::replace(&mut group.kept, true);
        let made = made.then(|| (group.id, filter.clone()));
        memberships.retain(|membership| membership.filter != filter);
        memberships.push(Membership {
            filter,
            mailbox: group.mailbox.clone(),
            member: member(session, &subscription),
        });
        made
    }

    /// A new group, still without members.
    fn found(&self, routes: &mut Routes, id: GroupId, filter: &TopicFilter) {
        let mailbox = Arc::new(Mailbox::for_group(id, filter.as_str()));
        let route = Route {
            mailbox: mailbox.clone(),
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: true,
            id: 0,
        };
        routes.tree.insert(filter.pattern(), ReceiverId::group(id), route);
        routes.mailboxes.insert(id, mailbox.clone());
        let group = Group { id, mailbox, members: BTreeMap::new(), kept: false };
        routes.groups.insert(filter.clone(), group);
        self.groups.fetch_add(1, Ordering::Relaxed);
    }

    fn part(
        &self,
        routes: &mut Routes,
        subscriber: &Subscriber<'_>,
        filter: &TopicFilter,
        memberships: &mut ThinVec<Membership>,
        fallen: &mut Vec<Fallen>,
        batch: Option<&mut Batch>,
    ) {
        memberships.retain(|membership| membership.filter != *filter);
        let Some(group) = routes.groups.get_mut(filter) else { return };
        if group.members.remove(&subscriber.session).is_none() {
            return;
        }
        self.count(filter, -1);
        if subscriber.connected {
            // Waking under the lock is harmless here: a wake only schedules.
            if let Some(waker) = group.mailbox.part(subscriber.session) {
                waker.wake();
            }
        }
        group.mailbox.set_durable(group.members.values().any(|durable| *durable));
        if !group.members.is_empty() {
            return;
        }
        let id = group.id;
        fallen.push(group.mailbox.close(Loss::GroupGone, &mut [0, 0]));
        if let Some(batch) = batch {
            batch.groups.extend(group.kept.then_some((id, None)));
        }
        routes.groups.remove(filter);
        routes.mailboxes.remove(&id);
        routes.tree.remove(filter.pattern(), ReceiverId::group(id));
        self.groups.fetch_sub(1, Ordering::Relaxed);
    }

    fn count(&self, filter: &TopicFilter, by: isize) {
        self.subscriptions.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
        if filter.pattern().starts_with("$SYS") {
            self.sys.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
            if asks_for_clients(filter.pattern()) {
                self.sys_clients.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
            }
        }
    }

    fn retained(&self) -> MutexGuard<'_, RetainedStore> {
        self.retained.lock().expect("no code panics while it holds the retained messages")
    }
}

impl Groups for Router {
    fn exists(&self, filter: &TopicFilter) -> bool {
        let routes = self.routes.read().expect("no code panics while it holds the routes");
        routes.groups.contains_key(filter)
    }
}

/// A PUBLISH with RETAIN.
#[derive(Debug)]
pub struct Retaining {
    /// What it does.
    pub what: Retain,
    /// The store is given it.
    pub kept: bool,
}

/// What a PUBLISH with RETAIN does to the retained message of its topic.
#[derive(Debug)]
pub enum Retain {
    /// Replace it `[MQTT5-3.3.1-5]`.
    Set(Message),
    /// Remove it: the payload was empty `[MQTT5-3.3.1-6]`.
    Clear,
}

impl RetainedStore {
    /// The last stamp, which the store is still to be given.
    fn open_stamp(&mut self) -> u64 {
        self.open.insert(self.stamp);
        self.stamp
    }

    fn set(&mut self, topic: TopicName<'_>, retain: Retain) {
        self.stamp += 1;
        self.remove(topic);
        let Retain::Set(message) = retain else { return };
        let stamp = self.stamp;
        self.bytes += message.bytes() as u64;
        if is_own(topic) {
            self.own.0 += 1;
            self.own.1 += message.bytes() as u64;
        }
        if message.expires != Time::NEVER {
            self.expiries.insert((message.expires, stamp), topic.as_str().into());
        }
        self.topics.insert(topic, Kept { message, stamp });
    }

    fn remove(&mut self, topic: TopicName<'_>) {
        if let Some(kept) = self.topics.remove(topic) {
            self.bytes -= kept.message.bytes() as u64;
            if is_own(topic) {
                self.own.0 -= 1;
                self.own.1 -= kept.message.bytes() as u64;
            }
            self.expiries.remove(&(kept.message.expires, kept.stamp));
        }
    }
}

/// Whether it asks for figures of single clients by name: `$SYS/#` does not.
pub(super) fn asks_for_clients(pattern: &str) -> bool {
    let rest = pattern.strip_prefix("$SYS/broker/clients/");
    rest.is_some_and(|rest| rest.contains('/') || rest == "#")
}

/// Whether it is a topic that only the broker publishes to.
fn is_own(topic: TopicName<'_>) -> bool {
    topic.as_str().starts_with("$SYS/")
}

/// Topics looked at in one pull.
const SCAN_STEPS: usize = 4096;
/// Retained messages forgotten in one sweep.
const EXPIRE_MAX: usize = 1024;

fn member(session: SessionId, subscription: &Subscription) -> Member {
    Member {
        session,
        qos: subscription.options.qos,
        retain_as_published: subscription.options.retain_as_published,
        id: subscription.id,
    }
}

/// No Local compares Client Identifiers, across reconnects too `[MQTT5-3.8.3-3]`.
fn own(mailbox: &Mailbox, publisher: &Identity) -> bool {
    match &mailbox.owner {
        Owner::Session { identity, .. } => identity.client_id == publisher.client_id,
        Owner::Group { .. } => false,
    }
}

/// Makes each receiver stand once: the highest `QoS`, every identifier `[MQTT5-3.3.4-4]`.
fn merge(matches: &mut Vec<Match>) {
    if matches.is_sorted_by(|a, b| a.receiver < b.receiver) {
        return;
    }
    matches.sort_by_key(|found| found.receiver);
    matches.dedup_by(|next, kept| {
        if next.receiver != kept.receiver {
            return false;
        }
        kept.qos = kept.qos.max(next.qos);
        kept.retain_as_published |= next.retain_as_published;
        for id in next.ids.as_slice() {
            kept.ids.add(*id);
        }
        true
    });
}
