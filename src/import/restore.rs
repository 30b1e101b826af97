//! What mosquitto's database says, in a new store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::ImportError;
use super::database::{DbClient, DbCopy, DbMessage, DbStage, DbSubscription, MosquittoDb};
use super::report::{ImportReport, Place};
use crate::broker::ports::{Batch, Progress, Publication, Store, StoredCopy};
use crate::codec::{PacketId, Properties, QoS, SubscribeOptions};
use crate::config::StoreConfig;
use crate::message::{
    ClientId, Delivery, GroupId, Identity, Lane, Message, Meter, Parts, ReceiverId, SessionId,
    SubscriptionIds,
};
use crate::session::Op;
use crate::store::engine::Engine;
use crate::store::{self, DurableStore};
use crate::time::{Clock, SystemClock, Time};
use crate::topic::{TopicFilter, TopicLimits, TopicName};

/// The band of what no rule speaks of.
const BAND: u8 = 1;
/// What is handed to the store at once.
const BATCH: usize = 500;
/// mosquitto's own limits.
const LIMITS: TopicLimits = TopicLimits { bytes_max: 65_535, levels_max: 65_535 };

/// A store that is filled.
struct StoreFilling<'a> {
    database: &'a MosquittoDb,
    store: DurableStore<Engine>,
    meter: &'static Meter,
    now: Time,
    expiry_max: u32,
    sessions: Vec<FilledSession<'a>>,
    /// The users under which clients have published: all that older formats know of users.
    users: BTreeMap<&'a str, &'a str>,
    tally: FillingTally,
}

/// A Session, with the number that it has here.
struct FilledSession<'a> {
    id: SessionId,
    name: &'a str,
    client: &'a DbClient,
    filters: Vec<(TopicFilter, &'a DbSubscription)>,
}

/// How many there were of what.
#[derive(Default)]
struct FillingTally {
    subscriptions: usize,
    copies: usize,
    in_flight: usize,
    retained: usize,
    expired: usize,
    unreleased: usize,
    unreadable: usize,
}

/// One copy for one receiver, and what becomes of it behind the message.
struct PlannedCopy {
    session: usize,
    /// Its place among the copies of its Session.
    order: usize,
    copy: StoredCopy,
    flight: Option<(PacketId, DbStage)>,
}

/// Puts all that the database in the file `path` says into a new store in `folder`.
pub fn fill(
    path: &Path,
    folder: &Path,
    expiry_max: u32,
    report: &mut ImportReport,
) -> Result<(), ImportError> {
    let bytes = std::fs::read(path).map_err(|error| ImportError::file("read", path, &error))?;
    let database = MosquittoDb::read(&bytes);
    let database = database.map_err(|what| ImportError(format!("{}: {what}", path.display())))?;
    let section = StoreConfig { path: folder.join("data"), ..StoreConfig::default() };
    let failed = |what: String| ImportError(format!("{}: {what}", section.path.display()));
    let opened = store::open(&section).map_err(|error| ImportError(error.to_string()))?;
    let (store, _) = opened.ok_or_else(|| failed("there is no store on disk".to_owned()))?;
    let now = SystemClock::start(Time::START).now();
    let meter = Meter::forever();
    let sessions = sessions(&database);
    let tally = FillingTally::default();
    let published = database.messages().values();
    let users =
        published.filter_map(|message| Some((&*message.publisher, message.user.as_deref()?)));
    let users = users.collect();
    let mut filling =
        StoreFilling { database: &database, store, meter, now, expiry_max, sessions, users, tally };
    filling.put_sessions().map_err(failed)?;
    filling.put_messages().map_err(failed)?;
    filling.tell(&Place::of_file(path), report);
    let engine = filling.store.into_rows().ok_or_else(|| failed("it is in use".to_owned()))?;
    engine.close().map_err(|error| ImportError(error.to_string()))
}

/// A Subscription with its filter, if that is one.
fn parsed(subscription: &DbSubscription) -> Option<(TopicFilter, &DbSubscription)> {
    let filter = TopicFilter::parse(&subscription.filter, &LIMITS).ok()?;
    Some((filter, subscription))
}

fn sessions(database: &MosquittoDb) -> Vec<FilledSession<'_>> {
    let clients = database.clients().iter().filter(|(_, client)| client.expiry != Some(0));
    clients
        .zip(1..)
        .map(|((name, client), number)| {
            let filters = client.subscriptions.iter().filter_map(parsed).collect();
            FilledSession { id: SessionId::new(number), name, client, filters }
        })
        .collect()
}

impl StoreFilling<'_> {
    /// Sessions, their Subscriptions and the groups of these.
    fn put_sessions(&mut self) -> Result<(), String> {
        let mut groups = BTreeSet::new();
        let mut batch = Batch::default();
        for session in &self.sessions {
            self.put_session(session, &mut batch);
            for (filter, _) in &session.filters {
                if filter.share().is_some() && groups.insert(filter.as_str().to_owned()) {
                    let id = GroupId::new(groups.len() as u64);
                    batch.groups.push((id, Some(filter.clone())));
                }
            }
            self.tally.subscriptions += session.filters.len();
            self.tally.unreadable += session.client.subscriptions.len() - session.filters.len();
            if batch.ops.len() >= BATCH {
                self.submit(std::mem::take(&mut batch))?;
            }
        }
        self.submit(batch)
    }

    fn put_session(&self, session: &FilledSession<'_>, batch: &mut Batch) {
        let user = session.client.user.as_deref().or_else(|| self.users.get(session.name).copied());
        let user = user.map(Arc::from);
        let identity = Arc::new(Identity::new(ClientId::new(session.name), user, self.meter));
        let own = session.client.expiry.unwrap_or(u32::MAX);
        let expiry = own.min(self.expiry_max);
        // mosquitto says when it ends, not when the client went.
        let since = match session.client.ends {
            0 => self.now,
            _ if own == u32::MAX => self.now,
            ends => Time::from_secs(ends).before(Duration::from_secs(own.into())).min(self.now),
        };
        let id = session.id;
        batch.ops.push((id, Op::Session { identity, expiry }));
        batch.ops.push((id, Op::Parked { since, crashed: false }));
        for (filter, subscribed) in &session.filters {
            let options = SubscribeOptions {
                qos: QoS::from_bits(subscribed.qos).unwrap_or(QoS::ExactlyOnce),
                no_local: subscribed.no_local,
                retain_as_published: subscribed.retain_as_published,
                ..SubscribeOptions::default()
            };
            let filter = filter.clone();
            let op = Op::Subscribed { filter, options, id: subscribed.id, owes: None };
            batch.ops.push((id, op));
        }
    }

    /// Messages with their copies, in the order of their numbers; then what is in flight.
    fn put_messages(&mut self) -> Result<(), String> {
        let mut planned = self.plan();
        let mut retained: BTreeSet<u64> = self.database.retained().iter().copied().collect();
        for (_, copied) in self.unreleased() {
            if self.database.messages().get(&copied.message).is_some_and(|message| message.retain) {
                retained.insert(copied.message);
            }
        }
        let mut flights = Vec::new();
        let mut batch = Batch { oldest: u64::MAX, ..Batch::default() };
        for (number, stored) in self.database.messages() {
            let copies = planned.remove(number).unwrap_or_default();
            let is_retained = retained.contains(number) && !stored.payload.is_empty();
            self.put_message(stored, copies, is_retained, &mut batch, &mut flights);
            if batch.publishes.len() >= BATCH {
                let next = Batch { oldest: u64::MAX, ..Batch::default() };
                self.submit(std::mem::replace(&mut batch, next))?;
            }
        }
        self.tally.unreadable += planned.values().map(Vec::len).sum::<usize>();
        self.submit(batch)?;
        self.put_flights(flights)
    }

    /// The copies of each message.
    fn plan(&mut self) -> BTreeMap<u64, Vec<PlannedCopy>> {
        let mut planned: BTreeMap<u64, Vec<PlannedCopy>> = BTreeMap::new();
        for (index, session) in self.sessions.iter().enumerate() {
            for (order, copied) in session.client.copies.iter().enumerate() {
                if copied.from_client {
                    continue;
                }
                let Some(qos) = QoS::from_bits(copied.qos) else { continue };
                let ids = Properties::trusted(&copied.properties).subscription_ids();
                let copy = self.copy(session.id, qos, copied.retain, &ids);
                let packet_id = PacketId::new(copied.packet_id);
                let flight =
                    packet_id.zip(Some(copied.stage)).filter(|(_, at)| *at != DbStage::Waits);
                planned.entry(copied.message).or_default().push(PlannedCopy {
                    session: index,
                    order,
                    copy,
                    flight,
                });
            }
        }
        for (from, copied) in self.unreleased() {
            if let Some(message) = self.database.messages().get(&copied.message) {
                let routed = self.route(from, message);
                planned.entry(copied.message).or_default().extend(routed);
            }
        }
        planned
    }

    fn copy(&self, session: SessionId, qos: QoS, retain: bool, numbers: &[u32]) -> StoredCopy {
        let mut ids = SubscriptionIds::default();
        numbers.iter().for_each(|id| ids.add(*id));
        StoredCopy { receiver: ReceiverId::session(session), qos, retain, ids, band: BAND }
    }

    /// QoS 2 messages whose PUBREL has not come, with the places of the Sessions that sent them: mosquitto has not
    /// given them to any receiver yet.
    fn unreleased(&self) -> Vec<(usize, &DbCopy)> {
        let mut found = Vec::new();
        for (index, session) in self.sessions.iter().enumerate() {
            let copies = session.client.copies.iter().filter(|copied| copied.from_client);
            found.extend(copies.map(|copied| (index, copied)));
        }
        found
    }

    /// The copies of a message that has been given to no receiver yet.
    fn route(&self, from: usize, message: &DbMessage) -> Vec<PlannedCopy> {
        let Ok(topic) = TopicName::parse(&message.topic, &LIMITS) else { return Vec::new() };
        let published = QoS::from_bits(message.qos).unwrap_or(QoS::ExactlyOnce);
        let mut groups = BTreeSet::new();
        let mut routed = Vec::new();
        for (index, session) in self.sessions.iter().enumerate() {
            let fitting = session.filters.iter().filter(|(filter, subscribed)| {
                filter.matches(topic)
                    && !(subscribed.no_local && index == from)
                    && (filter.share().is_none() || groups.insert(filter.as_str()))
            });
            let fitting: Vec<&DbSubscription> =
                fitting.map(|(_, subscribed)| *subscribed).collect();
            let Some(granted) = fitting.iter().map(|subscribed| subscribed.qos).max() else {
                continue;
            };
            let ids: Vec<u32> = fitting.iter().map(|subscribed| subscribed.id).collect();
            let retain = message.retain && fitting.iter().any(|one| one.retain_as_published);
            let qos = QoS::from_bits(granted).unwrap_or(published).min(published);
            let copy = self.copy(session.id, qos, retain, &ids);
            routed.push(PlannedCopy { session: index, order: usize::MAX, copy, flight: None });
        }
        routed
    }

    /// One message: a second copy for the same receiver is one of a message of its own.
    fn put_message(
        &mut self,
        stored: &DbMessage,
        copies: Vec<PlannedCopy>,
        is_retained: bool,
        batch: &mut Batch,
        flights: &mut Vec<(PlannedCopy, Message)>,
    ) {
        let expires =
            if stored.expires == 0 { Time::NEVER } else { Time::from_secs(stored.expires) };
        let topic = TopicName::parse(&stored.topic, &LIMITS);
        let (Ok(topic), Some(qos)) = (topic, QoS::from_bits(stored.qos)) else {
            self.tally.unreadable += copies.len() + usize::from(is_retained);
            return;
        };
        if expires <= self.now {
            self.tally.expired += copies.len() + usize::from(is_retained);
            return;
        }
        let parts = Parts {
            topic: topic.as_str(),
            properties: Properties::trusted(&stored.properties),
            payload: &stored.payload,
            publisher: &stored.publisher,
            user_name: stored.user.as_deref(),
            qos,
            retain: stored.retain,
            received: self.now,
            expires,
        };
        self.tally.copies += copies.len();
        self.tally.retained += usize::from(is_retained);
        let mut retained = is_retained.then_some(1);
        let mut left = copies;
        while !left.is_empty() || retained.is_some() {
            let mut taken = BTreeSet::new();
            let (now, later): (Vec<PlannedCopy>, Vec<PlannedCopy>) =
                left.into_iter().partition(|planned| taken.insert(planned.session));
            let message = Message::new(&parts, self.meter);
            let copies = now.iter().map(|planned| planned.copy.clone()).collect();
            batch.publishes.push(Publication {
                message: message.clone(),
                copies,
                retained: retained.take(),
            });
            let in_flight = now.into_iter().filter(|planned| planned.flight.is_some());
            flights.extend(in_flight.map(|planned| (planned, message.clone())));
            left = later;
        }
    }

    /// What is in flight, in the order of sending, and the identifiers that clients have not released.
    fn put_flights(&mut self, mut flights: Vec<(PlannedCopy, Message)>) -> Result<(), String> {
        flights.sort_by_key(|(planned, _)| (planned.session, planned.order));
        self.tally.in_flight = flights.len();
        let mut batch = Batch::default();
        for (planned, message) in flights {
            let Some((packet_id, stage)) = planned.flight else { continue };
            let StoredCopy { qos, retain, ids, .. } = planned.copy;
            let op = match stage {
                DbStage::Released => {
                    Op::Released { packet_id, group: None, mid: message.mid(), lost: false }
                }
                _ => {
                    let delivery = Delivery {
                        message,
                        qos,
                        retain,
                        ids,
                        group: None,
                        lane: Lane::NONE,
                        stored: true,
                    };
                    Op::Sent { packet_id, delivery }
                }
            };
            batch.ops.push((self.sessions[planned.session].id, op));
        }
        for (from, copied) in self.unreleased() {
            if let Some(packet_id) = PacketId::new(copied.packet_id) {
                batch.ops.push((self.sessions[from].id, Op::Received { packet_id }));
            }
        }
        self.tally.unreleased = self.unreleased().len();
        self.submit(batch)
    }

    /// Hands a batch to the store and waits until it is safe.
    fn submit(&self, batch: Batch) -> Result<(), String> {
        if batch.is_empty() {
            return Ok(());
        }
        let receipt = self.store.submit(batch);
        loop {
            match self.store.state(receipt, Waker::noop()) {
                Progress::Durable => return Ok(()),
                Progress::Failed => return Err("the store cannot be written".to_owned()),
                Progress::Pending => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn tell(&self, place: &Place, report: &mut ImportReport) {
        let FillingTally { subscriptions, copies, in_flight, retained, .. } = self.tally;
        let sessions = self.sessions.len();
        let version = self.database.version();
        report.carried(
            place,
            format!(
                "format version {version}: {sessions} sessions with {subscriptions} subscriptions; {copies} \
                 messages for them, {in_flight} of these in flight; {retained} retained messages"
            ),
        );
        if version < 6 && sessions > 0 {
            let why = "this version of the format knows no user names of clients that have published nothing: \
                       the session of such a client ends if it logs in with a user name";
            report.differs(place, why);
        }
        let FillingTally { expired, unreleased, unreadable, .. } = self.tally;
        if expired > 0 {
            report.carried(place, format!("{expired} messages have expired and are left out"));
        }
        if unreleased > 0 {
            let why = "messages of QoS 2 whose PUBREL has not come are given to their receivers now, not later";
            report.differs(place, format!("{unreleased} {why}"));
        }
        let unknown = self.database.unknown();
        if unreadable + unknown > 0 {
            let what = "subscriptions, messages and chunks cannot be read and are left out";
            report.differs(place, format!("{} {what}", unreadable + unknown));
        }
    }
}
