//! Shared state: router, registry, mailboxes, groups. Synchronous and deterministic: no runtime,
//! no file, no clock. A [`Broker`] is told the time, and asks the world only through [`ports`].

mod admit;
pub mod buffers;
pub(crate) mod classes;
pub mod cluster_log;
mod command;
mod dead_letters;
mod dedup;
mod delaying;
mod delays;
mod departures;
mod details;
mod drop_log;
mod dropped;
mod ending;
mod enquiry;
mod failed_copy;
mod fetch;
mod history;
mod homes;
mod journey;
mod keep_logs;
mod ledger;
pub mod link;
mod listeners;
mod loads;
mod log_entry;
pub mod mailbox;
mod matches;
pub mod metrics;
mod moving;
mod named_queues;
mod orphans;
pub mod overload;
mod owners;
mod parked;
pub mod peer_log;
mod pending_pushes;
pub mod pools;
pub mod ports;
mod priorities;
pub mod publish;
mod publish_handle;
mod queue_look;
mod queue_settings;
mod receipt;
mod receiver;
mod recent;
mod recent_losses;
mod record;
mod recovery;
pub mod registry;
mod relief;
mod reload;
pub(crate) mod restore;
mod retained_view;
mod retry;
mod router;
mod routes_view;
pub mod session_record;
mod shares;
mod sources;
mod store_answers;
mod store_figures;
mod subscribing;
mod summary;
mod sys;
mod takeovers;
mod tick;
pub mod topic_ledger;
pub mod trace;
pub mod turn;
mod view;
mod why;
mod wills;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::config::{self, Config};
use crate::message::{ClientId, Identity, Meter, SessionId};
use crate::session::{Access, Context, Op, Policy, WillMeter};
use crate::sync::Mutex;
use crate::time::Time;

use mailbox::Effects;
use metrics::{Counter, Metrics};
use ports::{Authenticator, Receipt, Store};
use registry::Registry;
use router::Router;
use topic_ledger::TopicLedger;
use turn::{Scratch, Turn, press};

pub use command::SessionEnd;
pub use delaying::DelayedLook;
pub use details::{ClientDetails, ConnectionView, Question, Slowed, WindowView};
pub use dropped::LossCause;
pub use enquiry::{Enquiry, NoAnswer};
pub use history::{FigurePoint, POINTS_MAX, STEP};
pub use keep_logs::{KeepView, LogNotRemoved};
pub use link::{ENOUGH_UNWRITTEN, Flow, Link, NOBODY_READS, NotRead, PeerInfo, Unfinished};
pub use listeners::{ListenerCounts, ListenerId, ListenerView};
pub use mailbox::{Account, Pace, WaitingCopy};
pub use named_queues::{QueueNotMade, QueueNotRemoved, QueueSource, QueueView};
pub use peer_log::{Peer, RefusalNote};
pub use publish::{Published, Publisher, Submission};
pub use publish_handle::{PublishHandle, Sent};
pub use queue_look::QueueLook;
pub use receiver::{DeliveryOutcome, Receiver};
pub use recent_losses::LossNote;
pub use registry::PageStart;
pub use retained_view::{RetainedDeletion, RetainedPage};
pub use routes_view::{GroupView, Permission, ReceiverView};
pub use summary::Summary;
pub use view::{Batching, ClientPage, ClientView, OverloadView, View};
pub use why::{Why, WhyEnquiry, WhyQuestion, WhyStep, WhyVerdict};

/// The world a broker lives in.
#[derive(Clone)]
pub struct Ports {
    /// Where Sessions and messages are kept.
    pub store: Arc<dyn Store>,
    /// Decides which clients may connect.
    pub authenticator: Arc<dyn Authenticator>,
    /// Decides what a client may publish and subscribe to.
    pub access: Arc<dyn Access>,
}

/// A broker; cloning it gives another handle to the same one.
#[derive(Clone)]
pub struct Broker(Arc<Shared>);

struct Shared {
    policy: Policy,
    totals: config::Totals,
    session_quotas: config::Quotas,
    settings: config::BrokerConfig,
    classes: classes::Classes,
    pools: pools::Pools,
    listeners: listeners::Listeners,
    queue_settings: queue_settings::CurrentQueueSettings,
    ports: Ports,
    /// The store remembers anything at all: asked once.
    remembers: bool,
    router: Router,
    named_queues: named_queues::NamedQueues,
    keep_logs: keep_logs::KeepLogs,
    retries: retry::Retries,
    registry: Registry,
    owners: owners::Owners,
    metrics: Metrics,
    overload: overload::Overload,
    buffers: buffers::Buffers,
    wills: &'static WillMeter,
    meter: &'static Meter,
    /// The publisher of `$SYS` topics.
    system: Arc<Identity>,
    sys: sys::Sys,
    dead_letters: dead_letters::DeadLetters,
    delays: delays::Delays,
    dedup: dedup::rules::Dedup,
    drop_log: drop_log::DropLog,
    recent_losses: recent_losses::RecentLosses,
    traces: trace::Traces,
    history: history::History,
    peer_log: peer_log::PeerLog,
    enquiries: enquiry::Enquiries,
    departures: departures::Departures,
    /// What may be looked at later is noted.
    watched: AtomicBool,
    /// It is a node of a cluster.
    cluster: OnceLock<cluster_log::ClusterEnd>,
    /// Sessions of the cluster: where they are, and those that come and go.
    moving: moving::Moving,
    /// Wills of Sessions that are no more, which a node publishes when it has come to the end of its log.
    wills_left: Mutex<Option<Vec<cluster_log::WillLeft>>>,
    /// How far the store had applied the log of the cluster at the start.
    log_mark: OnceLock<cluster_log::LogMark>,
    panicked: recovery::Panicked,
    started: Time,
}

/// Rounds of dead letters in one turn: a letter can push out a copy, and the copy's letter another.
const ROUNDS_MAX: usize = 4;

/// What a Session without Subscriptions takes, about.
const SESSION_BYTES: u64 = 1024;

impl Broker {
    /// A broker under `config`. `seed` feeds its hashes: strangers must not guess it. Its named queues are
    /// made by [`Broker::restore`].
    pub fn new(config: &Config, ports: Ports, seed: u64, now: Time) -> Broker {
        let meter = Meter::forever();
        let system = Identity::new(ClientId::new(""), None, meter);
        let dedup = dedup::rules::Dedup::new(config, seed.rotate_left(40));
        let broker = Broker(Arc::new(Shared {
            policy: Policy {
                shared_available: !config.cluster.is_on(),
                server_reference: config.cluster.server_reference.clone(),
                ..Policy::new(&config.limits, &config.session)
            },
            totals: config.totals.clone(),
            session_quotas: config.totals.quotas(config.totals.sessions_max.into()),
            classes: classes::Classes::new(config),
            pools: pools::Pools::new(config),
            listeners: listeners::Listeners::default(),
            queue_settings: queue_settings::CurrentQueueSettings::new(config, dedup.rules()),
            dedup,
            settings: config.broker.clone(),
            remembers: ports.store.remembers(),
            delays: delays::Delays::new(config.delayed.span_max.0, ports.store.remembers()),
            owners: owners::Owners::new(&config.totals, &config.delayed, ports.store.remembers()),
            ports,
            router: Router::new(seed),
            named_queues: named_queues::NamedQueues::new(config),
            keep_logs: keep_logs::KeepLogs::new(config),
            retries: retry::Retries::new(seed.rotate_left(40)),
            registry: Registry::new(seed.rotate_left(32), config.limits.takeovers_max),
            metrics: Metrics::new(TopicLedger::new(&config.topic_class, seed.rotate_left(8))),
            overload: overload::Overload::new(config),
            buffers: buffers::Buffers::new(config.totals.connection_bytes_max.0),
            wills: WillMeter::forever(),
            meter,
            system: Arc::new(system),
            sys: sys::Sys::new(now),
            dead_letters: dead_letters::DeadLetters::default(),
            drop_log: drop_log::DropLog::default(),
            recent_losses: recent_losses::RecentLosses::default(),
            traces: trace::Traces::default(),
            history: history::History::default(),
            peer_log: peer_log::PeerLog::new(),
            enquiries: enquiry::Enquiries::default(),
            departures: departures::Departures::new(seed.rotate_left(24)),
            watched: AtomicBool::new(false),
            cluster: OnceLock::new(),
            moving: moving::Moving::default(),
            wills_left: Mutex::new(config.cluster.is_on().then(Vec::new)),
            log_mark: OnceLock::new(),
            panicked: recovery::Panicked::default(),
            started: now,
        }));
        broker.look_who_is_verified();
        broker.0.router.set_groups(&config.group);
        broker.0.router.set_exclusive_max(config.session.exclusive_max.0);
        broker
    }

    /// Ends a turn: hands its changes to the store, pushes the copies, wakes their receivers. Because submit comes before
    /// push, no receiver can be done with a message before it is stored.
    #[inline]
    pub(super) fn flush(&self, turn: &mut Turn<'_>) -> Option<Receipt> {
        if turn.is_clean() {
            self.0.meter.settle();
            return None;
        }
        self.flush_changes(turn)
    }

    #[inline(never)]
    fn flush_changes(&self, turn: &mut Turn<'_>) -> Option<Receipt> {
        let mut receipt = None;
        for round in 0.. {
            if !turn.gone.is_empty() {
                self.tell_gone(round, turn);
            }
            self.0.metrics.add_all(&mut turn.tally);
            let in_order = turn.pending_pushes.has_log().then(|| self.order_of_logs());
            if !turn.batch.is_empty() {
                let submitted = self.hand_in(turn);
                if round == 0 {
                    receipt = Some(submitted);
                }
            }
            self.0.router.retained().submitted(&mut turn.stamps);
            if !turn.failed.is_empty() {
                self.postpone_failed(turn);
            }
            self.flush_copies(turn);
            drop(in_order);
            // What had to go for what was pushed is told, and what that changes is carried out in its turn.
            if turn.gone.is_empty() {
                break;
            }
        }
        self.0.meter.settle();
        turn.wake();
        receipt
    }

    #[cold]
    fn tell_gone(&self, round: usize, turn: &mut Turn<'_>) {
        if round <= ROUNDS_MAX {
            self.report_drops(turn);
        } else {
            // The rest is the next tick's.
            self.report_drops_later(turn);
        }
    }

    /// Hands the batch of a turn to the store.
    fn hand_in(&self, turn: &mut Turn<'_>) -> Receipt {
        self.0.metrics.add(Counter::Stored, turn.batch.publishes.len() as u64);
        let mut batch = std::mem::take(&mut turn.batch);
        if !turn.stamps.is_empty() {
            batch.oldest = self.0.router.retained().oldest_open();
        }
        if batch.rare.is_some() {
            return self.submit_rare(batch, turn);
        }
        self.0.ports.store.submit(batch)
    }

    /// Hands in a batch with something rare: messages that are delayed wait from when the store has them, and so
    /// do answers of other turns to what repeats a message of this one.
    fn submit_rare(&self, mut batch: ports::Batch, turn: &mut Turn<'_>) -> Receipt {
        let appends = batch.rare.as_mut().map(|rare| std::mem::take(&mut rare.appends));
        let delayed = batch.rare.iter().flat_map(|rare| &rare.delayed);
        let kept = delayed.filter(|(_, message)| message.is_some());
        let delayed: Vec<_> = kept.map(|(place, _)| *place).collect();
        let receipt = self.0.ports.store.submit(batch);
        if !delayed.is_empty() {
            self.0.delays.add(delayed);
        }
        if let Some(open) = turn.opening.take() {
            turn.wakers.extend(open.submitted(receipt));
        }
        self.append_all(appends.unwrap_or_default(), receipt);
        receipt
    }

    /// Hands facts to the store and waits for no answer.
    pub(crate) fn remember_unawaited(&self, ops: Vec<(SessionId, Op)>) {
        if !ops.is_empty() {
            let batch = ports::Batch { ops, ..ports::Batch::default() };
            self.0.ports.store.submit(batch);
        }
    }

    /// Pushes the copies routed so far: the store has them.
    fn flush_copies(&self, turn: &mut Turn<'_>) {
        let now = turn.now;
        let Scratch { pending_pushes, wakers, pressed, gone, settings, traced, .. } =
            &mut *turn.scratch;
        let setting = settings.setting(self.0.router.topic_hash(), now);
        let effects = &mut Effects { wakers, gone };
        pending_pushes.drain(|open| {
            if traced.is_on() {
                self.trace_queued(&open.mailbox, &open.copies, traced, now);
            }
            open.mailbox.push(&mut open.copies, &setting, &mut open.grant, effects);
            if open.grant.is_pressed() {
                press(pressed, &open.mailbox);
            }
        });
    }

    /// Enters a listener; the result is what its connections name it by. One of the same names is
    /// entered once.
    ///
    /// - `configured`: what the configuration calls it ([`config::Listener::called`]); the limits of
    ///   the listener are found by it.
    /// - `name`: what it is called in logs and in the conditions of classes.
    pub fn open_listener(&self, configured: &str, name: &str) -> ListenerId {
        self.0.listeners.open(configured, name)
    }

    /// Where what comes to a listener of this broker is counted.
    pub fn listener_counts(&self, id: ListenerId) -> Option<Arc<ListenerCounts>> {
        self.0.listeners.counts(id)
    }

    /// The listeners, in the order in which they were opened.
    pub fn listeners(&self) -> Vec<ListenerView> {
        self.0.listeners.views()
    }

    /// What a Session is told with every input but a SUBSCRIBE.
    pub(crate) fn context(&self, now: Time) -> Context<'_> {
        let shared = &*self.0;
        Context {
            now,
            session: SessionId::default(),
            policy: &shared.policy,
            access: &*shared.ports.access,
            subscriptions_free: 0,
            filters_free: 0,
            groups_free: 0,
            groups: &shared.router,
            remembers: shared.remembers,
            over_rate: false,
            store_refuses: None,
        }
    }

    /// What a Session is told with a SUBSCRIBE.
    pub(crate) fn context_to_subscribe(&self, client: &Identity, now: Time) -> Context<'_> {
        let shared = &*self.0;
        shared.owners.of_client(client);
        let totals = &shared.totals;
        Context {
            subscriptions_free: (totals.subscriptions_max as usize)
                .saturating_sub(shared.router.subscriptions()),
            filters_free: match shared.policy.limits.filters_max {
                0 => usize::MAX,
                max => max as usize,
            },
            groups_free: (totals.groups_max as usize).saturating_sub(shared.router.group_count()),
            store_refuses: self.no_room_to_subscribe(),
            ..self.context(now)
        }
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// What connections hold that is in no queue.
    pub fn buffers(&self) -> &buffers::Buffers {
        &self.0.buffers
    }

    /// Bytes that it knows to hold in memory, about: messages, what connections hold, Sessions.
    pub fn held_bytes(&self) -> u64 {
        let sessions = self.0.registry.sessions() as u64;
        let messages = self.0.meter.bytes();
        messages + self.0.buffers.bytes() + self.0.wills.memory() + sessions * SESSION_BYTES
    }

    /// From now on what may be looked at later is noted: the latest losses, Sessions that have ended lately, and how
    /// long things take. Until then nothing is, and that costs one look at a flag where it happens.
    pub fn watch(&self) {
        self.0.watched.store(true, Ordering::Relaxed);
    }

    #[inline]
    fn is_watched(&self) -> bool {
        self.0.watched.load(Ordering::Relaxed)
    }

    /// What it may hold in all.
    pub fn totals(&self) -> &config::Totals {
        &self.0.totals
    }

    /// The rules every Session obeys.
    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}
