//! A node of a cluster: durable messages of all nodes go into one log, a stream of NATS JetStream, and each node
//! applies the whole log in its order.
//!
//! Messages go in by `lanes`, which keep the order of each client, and come back by the `feed`, those of this node
//! too: only then are they answered. Messages of `QoS` 0, and which clients have connected, go `aside`.

#[cfg(test)]
mod absence;
#[cfg(test)]
mod arrivals;
mod aside;
mod asked;
mod asker;
mod drain;
mod engine;
mod feed;
mod frame;
mod gather;
mod health;
mod image;
mod lanes;
mod lately;
#[cfg(test)]
mod memory;
mod nats;
mod session_frame;
mod status;
mod trim;
mod view;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use crate::broker::Broker;
use crate::broker::cluster_log::{ClusterLog, HandedIn, LogEntry, LogMark, Logged, SessionRecord};
use crate::broker::turn::Scratch;
use crate::config::ClusterConfig;
use crate::message::{ClientId, Identity, Message};
use crate::sync::Mutex;
use crate::time::{Clock, Time};
use aside::{Aside, AsideSubject};
pub use asked::forget;
use asked::{AskedNode, fetch_image};
pub use drain::drain;
use engine::LogEngine;
use feed::{Applies, FeedItem, LastPublisher, LogFeed};
use frame::{FrameOrigin, FrameRecord, hash, open, put_run, seal};
use health::{Health, LogUse};
use lanes::{AppendLanes, Back, FrameToSend, LANES, send};
use nats::{Nats, look_at};
use status::NodeStatus;
use trim::{AppliedByNodes, hear_applied, trim};
pub use view::{ClusterView, LookError, look};

/// Why this node cannot join the cluster, in words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct JoinError(String);

/// A connection to the servers of a cluster.
pub struct Cluster {
    nats: Arc<Nats>,
    health: Health,
    clock: Arc<dyn Clock>,
    /// The hash of this node's name, and the number of this run.
    node: u64,
    run: u64,
    payload_max: usize,
    /// After so long without an answer of the log clients are ended; 0: they stay.
    ack_timeout: Duration,
}

/// A node that has joined: the tasks that keep it so.
pub struct NodeParts {
    cluster: Cluster,
    broker: Broker,
    lanes: Arc<AppendLanes<HandedIn>>,
    aside: Arc<Aside>,
    feed: LogFeed<HandedIn, Nats, BrokerEnd>,
    stirred: Arc<Notify>,
}

/// What is to go on as long as the node is one; its name says what it is.
pub type NodeTask = (String, Pin<Box<dyn Future<Output = ()> + Send>>);

/// Whether the cluster's log does what is asked of it, at any time.
#[derive(Clone)]
pub struct LogHealth(Health);

/// Where clients are told of that have connected to other nodes, with whether they begin anew.
pub type OnClaim = Box<dyn FnMut(&ClientId, bool) + Send>;

/// Bytes of a frame beside the packet of its message.
const BESIDE_PACKET: usize = 4096;
/// How long to wait between attempts to reach a server at the start.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a log is asked for a sign of life while it fails, and how many times less often else.
const PROBE: Duration = Duration::from_secs(1);
const PROBES: u32 = 5;
/// How often it is looked how long the log has been away.
const LOOK: Duration = Duration::from_millis(250);
/// The lane of the record of a run.
const RUN_LANE: u32 = u32::MAX;

impl Cluster {
    /// Connects to the servers, and waits until one answers. `run` is another number at each start.
    pub async fn connect(
        config: &ClusterConfig,
        run: u64,
        clock: Arc<dyn Clock>,
    ) -> Result<Cluster, JoinError> {
        let mut is_first = true;
        let servers = loop {
            if let Some(servers) = look_at(config, is_first).await? {
                break servers;
            }
            is_first = false;
            sleep(PAUSE).await;
        };
        let nats = Nats::connect(config).await?;
        let node = hash(config.node.as_deref().unwrap_or_default());
        let mut is_said = false;
        while let Err(error) = nats.open_log(config).await {
            let error = error.map_or_else(Ok, Err)?;
            if !std::mem::replace(&mut is_said, true) {
                warn!(%error, "the cluster's log cannot be opened yet");
            }
            sleep(PAUSE).await;
        }
        let (nats, health) = (Arc::new(nats), Health::new(clock.clone()));
        let (payload_max, ack_timeout) = (servers.payload_max, config.ack_timeout.0);
        Ok(Cluster { nats, health, clock, node, run, payload_max, ack_timeout })
    }

    /// The largest packet with a message that fits into the log.
    pub fn packet_max(&self) -> usize {
        self.payload_max.saturating_sub(BESIDE_PACKET)
    }

    /// Whether the log does what is asked of it.
    pub fn state(&self) -> LogHealth {
        LogHealth(self.health.clone())
    }

    /// Makes `broker` a node: what it has missed of the log is applied first. Before the first connection.
    pub async fn join(
        self,
        config: &ClusterConfig,
        broker: &Broker,
    ) -> Result<NodeParts, JoinError> {
        let (node, run) = (self.node, self.run);
        let frame_max = frame_max(self.payload_max);
        let lanes = Arc::new(AppendLanes::new(node, run, frame_max));
        let aside = Arc::new(Aside::new(node, run, frame_max));
        let stirred = Arc::new(Notify::new());
        let (own_lanes, own_aside) = (lanes.clone(), aside.clone());
        let health = self.health.clone();
        let log = NodeLog { lanes: own_lanes, aside: own_aside, health, stirred: stirred.clone() };
        broker.join(Arc::new(log));
        let mark = broker.restored_mark();
        let applied = mark.sequence;
        let end = BrokerEnd::new(broker.clone(), self.clock.clone());
        let mut feed =
            LogFeed::new(self.nats.clone(), lanes.clone(), self.health.clone(), end, mark);
        let words = |error: feed::FeedError| JoinError(error.to_string());
        if feed.lacks_beginning().await {
            let (mark, frames) = fetch_image(config, run).await;
            let taken = feed.take_image(mark, &frames);
            taken.map_err(|error| JoinError(format!("what another node has told: {error}")))?;
        }
        feed.begin().await.map_err(words)?;
        // A second one of the same run does nothing.
        let back = Back { is_back: || false, fed: || u64::MAX };
        send(&*self.nats, &self.health, &run_frame(node, run), back).await;
        feed.catch_up().await.map_err(words)?;
        info!(from = applied, to = feed.sequence(), "joined the cluster");
        Ok(NodeParts { cluster: self, broker: broker.clone(), lanes, aside, feed, stirred })
    }
}

/// The largest frame: its headers count too.
fn frame_max(payload_max: usize) -> usize {
    payload_max.saturating_sub(512)
}

impl NodeParts {
    /// Whether the log does what is asked of it.
    pub fn state(&self) -> LogHealth {
        self.cluster.state()
    }

    /// What is to go on from now on. A task that ends leaves a broker that must not go on. `about`: what the node
    /// says of itself when it is asked, beside what it counts.
    pub fn tasks(self, on_claim: OnClaim, about: Value) -> Vec<NodeTask> {
        let NodeParts { cluster, broker, lanes, aside, feed, stirred } = self;
        let Cluster { nats, health, clock, ack_timeout, payload_max, .. } = cluster;
        let mut tasks: Vec<NodeTask> = Vec::new();
        tasks.push(("cluster feed".to_owned(), Box::pin(follow(feed))));
        let status = NodeStatus::new(about, (broker.clone(), lanes.clone()), health.clone());
        tasks.push(("cluster status".to_owned(), Box::pin(status.answer(nats.clone()))));
        for lane in 0..LANES {
            let drive = lanes.clone().drive(lane, nats.clone(), health.clone());
            tasks.push((format!("cluster lane {lane}"), Box::pin(drive)));
        }
        let nodes: Arc<Mutex<AppliedByNodes>> = Arc::default();
        let hear = hear_applied(nats.clone(), health.clone(), nodes.clone());
        tasks.push(("cluster nodes".to_owned(), Box::pin(hear)));
        let ends = (broker.clone(), lanes.clone());
        let trim = trim(nats.clone(), ends, health.clone(), nodes.clone());
        tasks.push(("cluster trim".to_owned(), Box::pin(trim)));
        let asked = AskedNode {
            nats: nats.clone(),
            broker: broker.clone(),
            lanes: lanes.clone(),
            health: health.clone(),
            nodes,
            frame_max: frame_max(payload_max),
            said: 0,
        };
        tasks.push(("cluster questions".to_owned(), Box::pin(asked.serve())));
        if !ack_timeout.is_zero() {
            let watch = cut_off(broker.clone(), health.clone(), ack_timeout);
            tasks.push(("cluster cut-off".to_owned(), Box::pin(watch)));
        }
        tasks.push((
            "cluster probe".to_owned(),
            Box::pin(probe(nats.clone(), health, aside.clone())),
        ));
        let (origin, told) = (aside.node_and_run(), aside.clone());
        tasks.push(("cluster aside".to_owned(), Box::pin(tell(nats.clone(), aside))));
        let moves = move_sessions(broker.clone(), clock.clone(), stirred);
        tasks.push(("cluster sessions".to_owned(), Box::pin(moves)));
        let end = BrokerEnd::new(broker, clock);
        let messages = hear_messages(nats.clone(), origin, end);
        tasks.push(("cluster messages".to_owned(), Box::pin(messages)));
        let claims = hear_claims(nats, told, on_claim);
        tasks.push(("cluster claims".to_owned(), Box::pin(claims)));
        tasks
    }
}

impl LogHealth {
    /// Since when the log has not done what was asked; `None`: it does.
    pub fn away_since(&self) -> Option<Time> {
        self.0.away_since()
    }
}

/// From here on this run of the node counts.
fn run_frame(node: u64, run: u64) -> FrameToSend {
    let origin = FrameOrigin { node, run, lane: RUN_LANE, number: 1 };
    let mut records = Vec::new();
    put_run(&mut records);
    FrameToSend { origin, frame: seal(origin, 1, &records).into() }
}

/// Applies what the log has, until that is not possible.
async fn follow(feed: LogFeed<HandedIn, Nats, BrokerEnd>) {
    let error = feed.run().await;
    error!(%error, "this node is none of the cluster any more");
}

/// Ends clients while the log has not answered for longer than `limit`, and lets none in.
async fn cut_off(broker: Broker, health: Health, limit: Duration) {
    let mut is_cut_off = false;
    loop {
        sleep(LOOK).await;
        let away = health.away_since().map(|since| health.now().since(since));
        if away.is_some_and(|away| away >= limit) != is_cut_off {
            is_cut_off = !is_cut_off;
            let clients = broker.set_cut_off(is_cut_off);
            let limit_s = limit.as_secs();
            if is_cut_off {
                warn!(
                    clients,
                    limit_s,
                    "the cluster's log has not answered for cluster.ack_timeout: clients are ended, and none is let in"
                );
            } else {
                info!("clients are let in again");
            }
        }
    }
}

/// Looks after Sessions that come and go.
async fn move_sessions(broker: Broker, clock: Arc<dyn Clock>, stirred: Arc<Notify>) {
    let mut scratch = Scratch::default();
    loop {
        let now = clock.now();
        match broker.tick_moves(now, &mut scratch) {
            Some(next) => drop(timeout(next.since(now), stirred.notified()).await),
            None => stirred.notified().await,
        }
    }
}

/// Asks the log for a sign of life: often while it fails. Says what was not told beside it.
async fn probe(nats: Arc<Nats>, health: Health, aside: Arc<Aside>) {
    let (mut rounds, mut said) = (0, 0);
    loop {
        sleep(PROBE).await;
        rounds += 1;
        let dropped = aside.dropped();
        if dropped > said {
            let count = dropped - std::mem::replace(&mut said, dropped);
            warn!(
                count,
                "messages of QoS 0 or claims were not told to the other nodes: too many wait"
            );
        }
        if rounds % PROBES != 0 && health.away_since().is_none() {
            continue;
        }
        match timeout(PROBE, nats.bounds()).await {
            Ok(Ok(_)) => health.note_success(LogUse::ToRead),
            Ok(Err(error)) => health.note_failure(LogUse::ToRead, &error.0),
            Err(_) => health.note_failure(LogUse::ToRead, "no answer in time"),
        }
        if health.wants_move() {
            nats.move_on().await;
        }
    }
}

/// Tells the other nodes what goes beside the log.
async fn tell(nats: Arc<Nats>, aside: Arc<Aside>) {
    loop {
        let (subject, frame) = aside.next().await;
        // It may be lost.
        let _ = nats.tell(subject, frame).await;
    }
}

/// Listens to what the other nodes tell: `each` is called with the frames that are there, and the origin of this node's
/// own.
async fn hear(
    nats: &Nats,
    subject: AsideSubject,
    origin: (u64, u64),
    mut each: impl FnMut(Vec<Bytes>, (u64, u64)),
) {
    let mut told = loop {
        match nats.listen(subject).await {
            Ok(told) => break told,
            Err(_) => sleep(PAUSE).await,
        }
    };
    loop {
        let batch = poll_fn(|cx| {
            let mut batch = Vec::new();
            while let Poll::Ready(next) = told.poll_next(cx) {
                let Some(frame) = next else { return Poll::Ready(None) };
                batch.push(frame);
                if batch.len() == BATCH {
                    break;
                }
            }
            if batch.is_empty() { Poll::Pending } else { Poll::Ready(Some(batch)) }
        });
        let Some(batch) = batch.await else { return };
        each(batch, origin);
        tokio::task::yield_now().await;
    }
}

/// Frames that are taken at once.
const BATCH: usize = 64;

async fn hear_messages(nats: Arc<Nats>, origin: (u64, u64), mut end: BrokerEnd) {
    let each = |batch: Vec<Bytes>, own| end.apply_told(&batch, own);
    hear(&nats, AsideSubject::Messages, origin, each).await;
}

async fn hear_claims(nats: Arc<Nats>, aside: Arc<Aside>, mut on_claim: OnClaim) {
    let origin = aside.node_and_run();
    let each = |batch: Vec<Bytes>, own| {
        for frame in batch.iter().filter_map(|frame| open(frame).ok()) {
            if (frame.origin.node, frame.origin.run) == own {
                continue;
            }
            for record in &frame.records {
                let FrameRecord::Claim { client_id, clean_start, at } = record else { continue };
                let client_id = ClientId::new(client_id);
                if !aside.has_come_since(&client_id, *at) {
                    on_claim(&client_id, *clean_start);
                }
            }
        }
    };
    hear(&nats, AsideSubject::Claims, origin, each).await;
}

/// The port of the broker.
#[derive(Debug)]
struct NodeLog {
    lanes: Arc<AppendLanes<HandedIn>>,
    aside: Arc<Aside>,
    health: Health,
    /// Sessions come or go.
    stirred: Arc<Notify>,
}

impl ClusterLog for NodeLog {
    fn has_room(&self, bytes: usize) -> bool {
        self.lanes.fits(bytes) && self.lanes.has_room(bytes) && !self.health.is_full()
    }

    fn append(&self, entry: LogEntry, handed_in: HandedIn) {
        if let Err((entry, _)) = self.lanes.append(entry, handed_in) {
            let (client, bytes) = (&entry.publisher.client_id, entry.message.bytes());
            warn!(%client, bytes, "a message is larger than the servers of the cluster take");
        }
    }

    fn tell(&self, entry: LogEntry) {
        self.aside.tell(&entry);
    }

    fn node(&self) -> u64 {
        self.lanes.node_and_run().0
    }

    fn note(&self, record: SessionRecord) -> bool {
        self.lanes.append_session(record)
    }

    fn stir(&self) {
        self.stirred.notify_one();
    }

    fn claim(&self, client_id: &ClientId, clean_start: bool, now: Time) {
        self.aside.claim(client_id, clean_start, now);
    }
}

/// The broker as what applies.
struct BrokerEnd {
    broker: Broker,
    clock: Arc<dyn Clock>,
    scratch: Scratch,
    last: LastPublisher,
}

impl BrokerEnd {
    fn new(broker: Broker, clock: Arc<dyn Clock>) -> BrokerEnd {
        BrokerEnd { broker, clock, scratch: Scratch::default(), last: LastPublisher::default() }
    }

    fn apply_logged(&mut self, logged: Vec<Logged>, mark: Option<LogMark>) {
        let now = self.clock.now();
        self.broker.apply_logged(logged, mark, now, &mut self.scratch);
    }

    /// Applies messages that are not in the log.
    fn apply_told(&mut self, batch: &[Bytes], own: (u64, u64)) {
        let mut logged = Vec::new();
        for frame in batch.iter().filter_map(|frame| open(frame).ok()) {
            if (frame.origin.node, frame.origin.run) == own {
                continue;
            }
            for record in frame.records {
                let FrameRecord::Message(message) = record else { continue };
                let parts = message.parts;
                let publisher = self.publisher(parts.publisher, parts.user_name);
                let message = Message::new(&parts, publisher.meter());
                let entry = LogEntry { message, publisher, retains: false, with: None };
                logged.push(Logged::Message { entry, handed_in: None });
            }
        }
        if !logged.is_empty() {
            self.apply_logged(logged, None);
        }
    }
}

impl Applies<HandedIn> for BrokerEnd {
    fn publisher(&mut self, client_id: &str, user_name: Option<&str>) -> Arc<Identity> {
        let broker = &self.broker;
        self.last.get(client_id, user_name, |client_id, user_name| {
            broker.publisher_elsewhere(client_id, user_name)
        })
    }

    fn apply(&mut self, items: Vec<FeedItem<HandedIn>>, mark: &LogMark) {
        let each = items.into_iter().map(|item| match item {
            FeedItem::Message(entry, handed_in) => Logged::Message { entry, handed_in },
            FeedItem::Session(node, record) => Logged::Session { node, record },
            FeedItem::Gone(node) => Logged::Gone { node },
            FeedItem::Arrived(node, arrived) => Logged::Arrived { node, arrived },
        });
        self.apply_logged(each.collect(), Some(mark.clone()));
    }
}
