//! A log in memory that fails as servers do, and what lanes and feeds make of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::engine::{Appended, Bounds, EngineError, LogEngine, LogFrames};
use super::feed::{Applies, FeedError, FeedItem, LogFeed};
use super::frame::{FRAME_OVERHEAD, FrameOrigin, put_message, put_run, seal};
use super::health::Health;
use super::lanes::{AppendLanes, Back, FrameToSend, LANES, send};
use crate::broker::cluster_log::{ArrivedSession, LogEntry, LogMark, SessionRecord};
use crate::codec::{PacketId, Properties, QoS};
use crate::message::{ClientId, Identity, Message, Meter, Parts, SessionId};
use crate::random::Random;
use crate::session::Op;
use crate::sync::{Mutex, whole};
use crate::time::{Clock, Time};

/// How often in a hundred times something goes wrong.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    /// A frame does not get there, and there is no answer.
    lost: usize,
    /// A frame is refused at once.
    refused: usize,
    /// The answer is lost.
    answer_lost: usize,
    /// A frame gets there after the sender has given up on it, and its answer is lost.
    late: usize,
    /// A frame that is there is appended once more, as after the window of identifiers.
    forgotten: usize,
    /// Reading fails.
    unreadable: usize,
    /// A frame is left out.
    gap: usize,
    /// A frame is delivered that was delivered before.
    again: usize,
    /// A reader gives nothing from some frame on, and says nothing.
    silent: usize,
}

#[derive(Clone)]
pub(super) struct MemoryEngine(Arc<Mutex<MemoryLog>>);

struct MemoryLog {
    frames: Vec<Bytes>,
    /// Frames that are not there any more.
    trimmed: u64,
    ids: BTreeSet<String>,
    /// It says nothing, and takes nothing.
    is_down: bool,
    /// It takes nothing, and says so.
    is_full: bool,
    faults: Faults,
    random: Random,
    readers: Vec<Waker>,
}

impl MemoryEngine {
    fn new(seed: u64, faults: Faults) -> MemoryEngine {
        MemoryEngine(Arc::new(Mutex::new(MemoryLog {
            frames: Vec::new(),
            trimmed: 0,
            ids: BTreeSet::new(),
            is_down: false,
            is_full: false,
            faults,
            random: Random::new(seed),
            readers: Vec::new(),
        })))
    }

    pub fn set_full(&self, is_full: bool) {
        whole(self.0.lock()).is_full = is_full;
    }

    pub fn push(&self, frame: Vec<u8>) {
        whole(self.0.lock()).frames.push(frame.into());
    }

    pub fn trim(&self, frames: u64) {
        whole(self.0.lock()).trimmed = frames;
    }

    /// A log of these frames that does not fail.
    pub fn of(frames: Vec<Vec<u8>>) -> MemoryEngine {
        let engine = MemoryEngine::new(0, Faults::default());
        whole(engine.0.lock()).frames = frames.into_iter().map(Into::into).collect();
        engine
    }
}

impl MemoryLog {
    fn put(&mut self, id: &str, frame: Bytes) {
        if self.ids.insert(id.to_owned()) || self.random.percent(self.faults.forgotten) {
            self.frames.push(frame);
            self.readers.drain(..).for_each(Waker::wake);
        }
    }
}

enum FrameFate {
    Answered(Duration),
    Full,
    Refused,
    Unanswered,
}

impl LogEngine for MemoryEngine {
    type Frames = MemoryFrames;

    async fn append(&self, id: &str, frame: Bytes) -> Result<Appended, EngineError> {
        let fate = {
            let log = &mut *whole(self.0.lock());
            let faults = log.faults;
            if log.is_down || log.random.percent(faults.refused) {
                FrameFate::Refused
            } else if log.is_full {
                FrameFate::Full
            } else if log.random.percent(faults.lost) {
                FrameFate::Unanswered
            } else if log.random.percent(faults.late) {
                let after = Duration::from_millis(1600 + log.random.below_u64(4000));
                let (log, id) = (self.0.clone(), id.to_owned());
                tokio::spawn(async move {
                    sleep(after).await;
                    whole(log.lock()).put(&id, frame);
                });
                FrameFate::Unanswered
            } else {
                log.put(id, frame);
                if log.random.percent(faults.answer_lost) {
                    FrameFate::Unanswered
                } else {
                    FrameFate::Answered(Duration::from_millis(log.random.below_u64(20)))
                }
            }
        };
        match fate {
            FrameFate::Answered(after) => {
                sleep(after).await;
                Ok(Appended::There)
            }
            FrameFate::Full => Ok(Appended::Full),
            FrameFate::Refused => Err(EngineError("no responders".to_owned())),
            FrameFate::Unanswered => std::future::pending().await,
        }
    }

    async fn bounds(&self) -> Result<Bounds, EngineError> {
        let log = whole(self.0.lock());
        if log.is_down {
            return Err(EngineError("down".to_owned()));
        }
        let bytes = log.frames.iter().map(|frame| frame.len() as u64).sum();
        let (first, last) = (log.trimmed + 1, log.frames.len() as u64);
        Ok(Bounds { first, last, bytes: (bytes, u64::MAX) })
    }

    async fn read(&self, from: u64) -> Result<MemoryFrames, EngineError> {
        let mut log = whole(self.0.lock());
        let silent = log.faults.silent;
        let ends = log.random.percent(silent).then(|| from + log.random.below_u64(20));
        Ok(MemoryFrames { log: self.0.clone(), next: from, ends: ends.unwrap_or(u64::MAX) })
    }

    async fn move_on(&self) {}
}

pub(super) struct MemoryFrames {
    log: Arc<Mutex<MemoryLog>>,
    next: u64,
    /// From here on it gives nothing.
    ends: u64,
}

impl LogFrames for MemoryFrames {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<(u64, Bytes), EngineError>> {
        let log = &mut *whole(self.log.lock());
        if log.is_down || log.random.percent(log.faults.unreadable) {
            return Poll::Ready(Err(EngineError("missed heartbeat".to_owned())));
        }
        if self.next >= self.ends {
            return Poll::Pending;
        }
        let is_last = self.next >= log.frames.len() as u64;
        if log.random.percent(log.faults.gap) && !is_last {
            self.next += 1;
        }
        if log.random.percent(log.faults.again) {
            self.next = self.next.saturating_sub(log.random.below_u64(4)).max(1);
        }
        let Some(frame) = log.frames.get(self.next as usize - 1) else {
            log.readers.push(cx.waker().clone());
            return Poll::Pending;
        };
        self.next += 1;
        Poll::Ready(Ok((self.next - 1, frame.clone())))
    }
}

/// What was applied: client, number, what waited.
pub(super) type Applied = Arc<Mutex<Vec<(String, u64, Option<u64>, Option<SessionId>)>>>;

pub(super) struct Recorder {
    applied: Applied,
    arrived: Arc<Mutex<Vec<ArrivedSession>>>,
    mark: Arc<Mutex<LogMark>>,
    said: Arc<Mutex<Vec<NodeSaid>>>,
}

/// What was applied of nodes and of Sessions: the node that it comes from, or that is gone.
#[derive(Debug, PartialEq)]
pub(super) enum NodeSaid {
    Gone(u64),
    Opened(u64, String),
}

impl Applies<u64> for Recorder {
    fn publisher(&mut self, client_id: &str, user_name: Option<&str>) -> Arc<Identity> {
        let user_name = user_name.map(Into::into);
        Arc::new(Identity::new(ClientId::new(client_id), user_name, Meter::forever()))
    }

    fn apply(&mut self, items: Vec<FeedItem<u64>>, mark: &LogMark) {
        let mut applied = whole(self.applied.lock());
        for item in items {
            let (entry, waited) = match item {
                FeedItem::Message(entry, waited) => (entry, waited),
                FeedItem::Session(node, record) => {
                    if let SessionRecord::Opened { client_id, .. } = record {
                        let client_id = client_id.as_str().to_owned();
                        whole(self.said.lock()).push(NodeSaid::Opened(node, client_id));
                    }
                    continue;
                }
                FeedItem::Gone(node) => {
                    whole(self.said.lock()).push(NodeSaid::Gone(node));
                    continue;
                }
                FeedItem::Arrived(_, arrived) => {
                    whole(self.arrived.lock()).push(*arrived);
                    continue;
                }
            };
            let LogEntry { message, publisher, with, .. } = entry;
            assert_eq!(message.publisher(), publisher.client_id.as_str());
            let number = u64::from_be_bytes(message.payload()[..8].try_into().unwrap());
            let client = message.publisher().to_owned();
            applied.push((client, number, waited, with.map(|(id, _)| id)));
        }
        assert!(mark.sequence > whole(self.mark.lock()).sequence);
        *whole(self.mark.lock()) = mark.clone();
    }
}

/// The time of the runtime, once there is one.
#[derive(Default)]
struct PausedClock(std::sync::OnceLock<tokio::time::Instant>);

impl Clock for PausedClock {
    fn now(&self) -> Time {
        let start = self.0.get_or_init(tokio::time::Instant::now);
        Time::from_secs(1).after(start.elapsed())
    }
}

/// A node, as far as lanes and a feed are one.
pub(super) struct TestNode {
    pub arrived: Arc<Mutex<Vec<ArrivedSession>>>,
    pub said: Arc<Mutex<Vec<NodeSaid>>>,
    pub lanes: Arc<AppendLanes<u64>>,
    pub feed: LogFeed<u64, MemoryEngine, Recorder>,
    pub applied: Applied,
    pub mark: Arc<Mutex<LogMark>>,
    pub health: Health,
}

pub(super) fn node(engine: &MemoryEngine, name: u64, run: u64, mark: LogMark) -> TestNode {
    // Room for the largest message of these tests: often several frames of a lane wait.
    let lanes = Arc::new(AppendLanes::new(name, run, 2200));
    let health = Health::new(Arc::new(PausedClock::default()));
    let (applied, noted) = (Applied::default(), Arc::new(Mutex::new(mark.clone())));
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let said = Arc::new(Mutex::new(Vec::new()));
    let recorder = Recorder {
        applied: applied.clone(),
        arrived: arrived.clone(),
        mark: noted.clone(),
        said: said.clone(),
    };
    let engine = Arc::new(engine.clone());
    let feed = LogFeed::new(engine, lanes.clone(), health.clone(), recorder, mark);
    TestNode { arrived, said, lanes, feed, applied, mark: noted, health }
}

pub(super) fn entry(client: &str, number: u64, len: usize, with: Option<u64>) -> LogEntry {
    let publisher = Arc::new(Identity::new(ClientId::new(client), None, Meter::forever()));
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(8 + len, b'x');
    let parts = Parts {
        topic: "t",
        properties: Properties::EMPTY,
        payload: &payload,
        publisher: client,
        user_name: None,
        qos: QoS::ExactlyOnce,
        retain: false,
        received: Time::from_secs(1),
        expires: Time::NEVER,
    };
    let packet_id = PacketId::new(1).unwrap();
    let with = with.map(|id| (SessionId::new(id), Op::Received { packet_id }));
    LogEntry { message: Message::new(&parts, publisher.meter()), publisher, retains: false, with }
}

pub(super) fn run_of(node: u64, run: u64) -> Vec<u8> {
    let mut records = Vec::new();
    put_run(&mut records);
    seal(FrameOrigin { node, run, lane: u32::MAX, number: 1 }, 1, &records)
}

pub(super) fn frame_of(node: u64, run: u64, number: u64, entry: &LogEntry) -> Vec<u8> {
    let mut records = Vec::new();
    put_message(entry, &mut records);
    seal(FrameOrigin { node, run, lane: 0, number }, 1, &records)
}

/// Runs within a runtime whose time does not pass by itself.
pub(super) fn run<R>(work: impl Future<Output = R>) -> R {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(work)
}

pub(super) async fn join(engine: &MemoryEngine, node: &mut TestNode) {
    let (name, run) = node.lanes.node_and_run();
    node.feed.begin().await.unwrap();
    let origin = FrameOrigin { node: name, run, lane: u32::MAX, number: 1 };
    let outgoing = FrameToSend { origin, frame: run_of(name, run).into() };
    let back = Back { is_back: || false, fed: || u64::MAX };
    send(engine, &node.health, &outgoing, back).await;
    node.feed.catch_up().await.unwrap();
}

/// Two nodes, each with clients that publish; both apply everything, in one order.
async fn publish_at_two_nodes(seed: u64, faults: Faults) {
    const CLIENTS: usize = 6;
    const EACH: u64 = 60;
    let engine = MemoryEngine::new(seed, faults);
    let mut random = Random::new(seed);
    let mut kept = Vec::new();
    let mut tasks = Vec::new();
    for name in 1..=2 {
        let mut node = node(&engine, name, 1, LogMark::default());
        join(&engine, &mut node).await;
        let TestNode { lanes, feed, applied, health, .. } = node;
        for lane in 0..LANES {
            let drive = lanes.clone().drive(lane, Arc::new(engine.clone()), health.clone());
            tasks.push(tokio::spawn(drive));
        }
        tasks.push(tokio::spawn(async move { panic!("{}", feed.run().await) }));
        kept.push((name, lanes, applied));
    }
    for number in 1..=EACH {
        for client in 0..CLIENTS {
            let (name, lanes, _) = &kept[client % 2];
            let entry = entry(&format!("c{client}"), number, random.below(2000), None);
            lanes.append(entry, name * 1_000_000 + number).unwrap();
        }
        sleep(Duration::from_millis(random.below_u64(200))).await;
    }
    let all = CLIENTS * EACH as usize;
    let is_all = || kept.iter().all(|(_, _, applied)| whole(applied.lock()).len() >= all);
    let mut rounds = 0;
    while !is_all() {
        sleep(Duration::from_millis(100)).await;
        rounds += 1;
        assert!(rounds < 100_000, "seed {seed}: something never comes");
    }
    // Time for what should not come.
    sleep(Duration::from_secs(30)).await;
    check_applied(seed, &kept, all, EACH);
    tasks.iter().for_each(|task| task.abort());
}

fn check_applied(seed: u64, kept: &[(u64, Arc<AppendLanes<u64>>, Applied)], all: usize, each: u64) {
    let orders: Vec<Vec<(String, u64)>> = kept
        .iter()
        .map(|(_, _, applied)| {
            whole(applied.lock()).iter().map(|(client, n, ..)| (client.clone(), *n)).collect()
        })
        .collect();
    assert_eq!(orders[0].len(), all, "seed {seed}");
    assert_eq!(orders[0], orders[1], "seed {seed}");
    let clients: BTreeSet<_> = orders[0].iter().map(|(client, _)| client).collect();
    for client in clients {
        let of = orders[0].iter().filter(|(other, _)| other == client).map(|(_, n)| *n);
        assert!(of.eq(1..=each), "seed {seed}, client {client}");
    }
    for (name, lanes, applied) in kept {
        let applied = whole(applied.lock());
        let waited = applied.iter().filter_map(|(_, n, waited, _)| Some((*n, (*waited)?)));
        assert_eq!(waited.clone().count(), all / 2, "seed {seed}");
        assert!(waited.clone().all(|(n, waited)| waited == name * 1_000_000 + n));
        assert!(lanes.has_room(64 * 1024 * 1024), "seed {seed}: bytes are still counted");
    }
}

#[test]
fn two_nodes_apply_everything_once_and_in_one_order() {
    run(publish_at_two_nodes(1, Faults::default()));
}

#[test]
fn so_they_do_whatever_the_log_loses_delays_or_repeats() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut often = |most| if random.chance() { random.below(most) } else { 0 };
        let faults = Faults {
            lost: often(30),
            refused: often(50),
            answer_lost: often(30),
            late: often(30),
            forgotten: often(60),
            unreadable: often(20),
            gap: often(20),
            again: often(20),
            silent: often(60),
        };
        run(publish_at_two_nodes(seed, faults));
    }
}

#[test]
fn a_frame_is_in_the_log_once_though_the_log_has_forgotten_its_identifier() {
    run(async {
        let engine = MemoryEngine::of(vec![]);
        let mut node = node(&engine, 1, 1, LogMark::default());
        join(&engine, &mut node).await;
        let TestNode { lanes, feed, applied, health, .. } = node;
        for lane in 0..LANES {
            tokio::spawn(lanes.clone().drive(lane, Arc::new(engine.clone()), health.clone()));
        }
        whole(engine.0.lock()).faults.answer_lost = 100;
        lanes.append(entry("c", 1, 0, None), 1).unwrap();
        sleep(Duration::from_millis(10)).await;
        {
            let log = &mut *whole(engine.0.lock());
            assert_eq!(log.frames.len(), 2);
            (log.is_down, log.faults) = (true, Faults::default());
        }
        tokio::spawn(async move {
            // It comes later than the next attempt.
            sleep(Duration::from_secs(203)).await;
            panic!("{}", feed.run().await)
        });
        sleep(Duration::from_secs(200)).await;
        {
            let log = &mut *whole(engine.0.lock());
            log.is_down = false;
            log.ids.clear();
        }
        sleep(Duration::from_secs(10)).await;
        assert_eq!(whole(engine.0.lock()).frames.len(), 2);
        assert_eq!(whole(applied.lock()).len(), 1);
        // The lane goes on.
        lanes.append(entry("c", 2, 0, None), 2).unwrap();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(whole(applied.lock()).len(), 2);
    });
}

#[test]
fn frames_of_a_run_that_has_ended_are_void() {
    let number = |n| entry("c", n, 0, None);
    let engine = MemoryEngine::of(vec![
        run_of(1, 10),
        frame_of(1, 10, 1, &number(1)),
        run_of(1, 11),
        frame_of(1, 10, 2, &number(2)),
        frame_of(1, 11, 1, &number(3)),
        frame_of(1, 11, 1, &number(4)),
    ]);
    let mut node = node(&engine, 2, 1, LogMark::default());
    run(join(&engine, &mut node));
    let applied: Vec<u64> = whole(node.applied.lock()).iter().map(|applied| applied.1).collect();
    // The last one is the first of its lane once more.
    assert_eq!(applied, [1, 3]);
    let mark = whole(node.mark.lock()).clone();
    assert_eq!(mark, LogMark { sequence: 7, runs: vec![(1, 11), (2, 1)] });
}

#[test]
fn what_is_noted_of_a_session_counts_at_its_node_alone() {
    let log = || {
        let number = |n| entry("c", n, 0, Some(n));
        MemoryEngine::of(vec![
            run_of(1, 10),
            frame_of(1, 10, 1, &number(1)),
            frame_of(1, 10, 2, &number(2)),
        ])
    };
    let noted = |name, mark| {
        let engine = log();
        let mut node = node(&engine, name, 11, mark);
        run(join(&engine, &mut node));
        let applied = whole(node.applied.lock());
        applied.iter().map(|(_, n, _, id)| (*n, id.map(SessionId::get))).collect::<Vec<_>>()
    };
    let behind = LogMark { sequence: 2, runs: vec![(1, 10)] };
    assert_eq!(noted(1, behind), [(2, Some(2))]);
    // Its store is another one.
    assert_eq!(noted(1, LogMark::default()), [(1, None), (2, None)]);
    assert_eq!(noted(2, LogMark::default()), [(1, None), (2, None)]);
}

#[test]
fn a_node_ends_when_another_has_its_name() {
    let engine = MemoryEngine::of(vec![]);
    let mut first = node(&engine, 1, 10, LogMark::default());
    run(join(&engine, &mut first));
    let mut second = node(&engine, 1, 11, LogMark::default());
    run(join(&engine, &mut second));
    assert!(matches!(run(first.feed.run()), FeedError::Replaced(2)));
}

#[test]
fn a_log_that_lacks_what_a_node_missed_stops_its_start() {
    let frames = (0..9).map(|number| run_of(number, 1)).collect();
    let engine = MemoryEngine::of(frames);
    whole(engine.0.lock()).trimmed = 5;
    let begin = |sequence| {
        let mut node = node(&engine, 99, 1, LogMark { sequence, runs: Vec::new() });
        run(node.feed.begin()).err()
    };
    let error = begin(3).unwrap();
    let words = "the log of the cluster no longer has what this node missed (frames 4 to 5)";
    assert!(error.to_string().starts_with(words), "{error}");
    assert!(begin(5).is_none());
    assert!(begin(9).is_none());
    assert!(matches!(begin(10), Some(FeedError::Shorter { last: 9, applied: 10 })));
    // It has missed what it can learn from another node.
    assert!(run(node(&engine, 99, 1, LogMark::default()).feed.lacks_beginning()));
}

#[test]
fn a_damaged_frame_is_skipped_and_one_of_a_newer_program_is_not() {
    let mut damaged = frame_of(1, 10, 1, &entry("c", 1, 0, None));
    damaged[40] ^= 1;
    let whole_one = frame_of(1, 10, 2, &entry("c", 2, 0, None));
    let engine = MemoryEngine::of(vec![run_of(1, 10), damaged, whole_one]);
    let mut first = node(&engine, 2, 1, LogMark::default());
    run(join(&engine, &mut first));
    assert_eq!(whole(first.applied.lock()).len(), 1);
    let mut newer = run_of(3, 1);
    newer.truncate(newer.len() - 4);
    newer[0] = 9;
    newer.extend(crc32fast::hash(&newer).to_be_bytes());
    whole(engine.0.lock()).frames.push(newer.into());
    assert!(matches!(run(first.feed.run()), FeedError::Unreadable(5, _)));
}

#[test]
fn what_fits_into_no_frame_is_given_back_and_room_has_an_end() {
    let lanes = AppendLanes::new(1, 1, 1000 + FRAME_OVERHEAD);
    assert!(lanes.append(entry("c", 1, 500, None), 1).is_ok());
    assert!(lanes.append(entry("c", 2, 1001, None), 2).is_err());
    assert!(lanes.has_room(63 * 1024 * 1024));
    assert!(!lanes.has_room(64 * 1024 * 1024));
}
