//! AppendLanes: how messages get into the log in the order in which each client published them.
//!
//! A client belongs to one lane, and a lane has one frame on its way; what comes meanwhile gathers for the next. A frame
//! is sent under the same identifier until the log has it: a log that changes its leader keeps no other order. What was
//! handed in stays here until the feed brings its frame.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::engine::{Appended, LogEngine};
use super::frame::{FRAME_OVERHEAD, FrameOrigin, hash, put_message, seal};
use super::gather::{FrameLimits, Gatherer};
use super::health::{Health, LogUse};
use super::session_frame::put_session_record;
use crate::broker::cluster_log::{LogEntry, SessionRecord};
use crate::message::ClientId;
use crate::sync::{Mutex, whole};
use crate::time::Time;

/// What this node appends. `T` is what waits for a message to be applied.
#[derive(Debug)]
pub(super) struct AppendLanes<T> {
    node: u64,
    run: u64,
    lanes: [AppendLane<T>; LANES],
    /// Bytes of records that were handed in and are not back.
    bytes: AtomicUsize,
    /// Bytes of the largest record.
    most: usize,
    /// The number of the last frame of the log that the feed has brought.
    fed: AtomicU64,
}

#[derive(Debug)]
struct AppendLane<T> {
    state: Mutex<LaneState<T>>,
    /// There is something to send.
    wake: Notify,
}

#[derive(Debug)]
struct LaneState<T> {
    gatherer: Gatherer<LaneItem<T>>,
    /// Of the last frame.
    number: u64,
    /// What was sent and is not back, by the numbers of frames.
    sent: BTreeMap<u64, SentFrame<T>>,
}

#[derive(Debug)]
struct SentFrame<T> {
    entries: Vec<LaneItem<T>>,
    bytes: usize,
}

/// What one record of a frame was made of.
#[derive(Debug)]
enum LaneItem<T> {
    Message(LogEntry, T),
    Session(SessionRecord),
}

/// A frame on its way.
#[derive(Clone, Debug)]
pub(super) struct FrameToSend {
    /// Where it comes from.
    pub origin: FrameOrigin,
    /// Its bytes.
    pub frame: Bytes,
}

/// AppendLanes of a node.
pub(super) const LANES: usize = 4;
/// Bytes of records that go into one frame, but for a larger one alone.
const TOGETHER: usize = 256 * 1024;
/// Records of one frame.
const RECORDS: usize = 500;
/// Bytes that may be under way.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a frame may take.
const APPEND_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long the log knows the identifier of a frame for certain: half of what it was told.
const KNOWN: Duration = Duration::from_secs(60);
/// How long to wait before it is sent again: servers without a leader refuse it at once.
const PAUSE: Duration = Duration::from_millis(50);
/// The same while it has no room.
const FULL_PAUSE: Duration = Duration::from_millis(250);

impl<T> AppendLanes<T> {
    /// AppendLanes of this run of the node, with frames of at most `frame_max` bytes.
    pub fn new(node: u64, run: u64, frame_max: usize) -> AppendLanes<T> {
        let most = frame_max.saturating_sub(FRAME_OVERHEAD);
        let limits = FrameLimits { together: TOGETHER.min(most), most, records: RECORDS };
        let lane = |_| AppendLane {
            state: Mutex::new(LaneState {
                gatherer: Gatherer::new(limits),
                number: 0,
                sent: BTreeMap::new(),
            }),
            wake: Notify::new(),
        };
        let lanes = std::array::from_fn(lane);
        AppendLanes { node, run, lanes, bytes: AtomicUsize::new(0), most, fed: AtomicU64::new(0) }
    }

    /// The node and its run.
    pub fn node_and_run(&self) -> (u64, u64) {
        (self.node, self.run)
    }

    /// Whether a message of so many bytes fits into a frame.
    pub fn fits(&self, bytes: usize) -> bool {
        bytes <= self.most
    }

    /// Whether so many bytes more may be under way.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.bytes.load(Ordering::Relaxed).saturating_add(bytes) <= BYTES_MAX
    }

    /// Appends a message to the lane of its publisher. One that fits into no frame is given back.
    pub fn append(&self, entry: LogEntry, waits: T) -> Result<(), (LogEntry, T)> {
        let lane = lane_of(&entry.publisher.client_id);
        match self.push(lane, LaneItem::Message(entry, waits)) {
            Err(LaneItem::Message(entry, waits)) => Err((entry, waits)),
            _ => Ok(()),
        }
    }

    /// Appends a record about a Session to the lane of its client. `false`: it fits into no frame.
    pub fn append_session(&self, record: SessionRecord) -> bool {
        self.push(lane_of(record.client_id()), LaneItem::Session(record)).is_ok()
    }

    fn push(&self, lane: usize, item: LaneItem<T>) -> Result<(), LaneItem<T>> {
        let lane = &self.lanes[lane];
        {
            let state = &mut *whole(lane.state.lock());
            let bytes = state.gatherer.push(item, LaneItem::put)?;
            // Before the frame can be back.
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        lane.wake.notify_one();
        Ok(())
    }

    /// Takes the next frame of a lane: its entries wait for the feed from now on.
    fn take(&self, lane: usize) -> Option<FrameToSend> {
        let state = &mut *whole(self.lanes[lane].state.lock());
        let gathered = state.gatherer.pop()?;
        state.number += 1;
        let (node, run, number) = (self.node, self.run, state.number);
        let origin = FrameOrigin { node, run, lane: lane as u32, number };
        let bytes = gathered.records.len();
        let frame = seal(origin, gathered.items.len() as u16, &gathered.records);
        state.sent.insert(number, SentFrame { entries: gathered.items, bytes });
        Some(FrameToSend { origin, frame: frame.into() })
    }

    /// The feed has brought this frame: returns the messages that were handed in with it, the first time.
    pub fn take_back(&self, lane: u32, number: u64) -> Option<Vec<(LogEntry, T)>> {
        let lane = self.lanes.get(lane as usize)?;
        let sent = whole(lane.state.lock()).sent.remove(&number)?;
        self.bytes.fetch_sub(sent.bytes, Ordering::Relaxed);
        let messages = sent.entries.into_iter().filter_map(|item| match item {
            LaneItem::Message(entry, waits) => Some((entry, waits)),
            LaneItem::Session(_) => None,
        });
        Some(messages.collect())
    }

    /// The feed has brought the log up to this frame.
    pub fn note_fed(&self, sequence: u64) {
        self.fed.store(sequence, Ordering::Release);
    }

    /// The last frame of the log that the feed has brought.
    pub fn fed(&self) -> u64 {
        self.fed.load(Ordering::Acquire)
    }

    /// Bytes of records that were handed in and are not back.
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn is_back(&self, origin: FrameOrigin) -> bool {
        let state = whole(self.lanes[origin.lane as usize].state.lock());
        !state.sent.contains_key(&origin.number)
    }

    /// Sends the frames of one lane, for ever.
    pub async fn drive<E: LogEngine>(self: Arc<Self>, lane: usize, engine: Arc<E>, health: Health) {
        loop {
            match self.take(lane) {
                Some(outgoing) => {
                    let is_back = || self.is_back(outgoing.origin);
                    let fed = || self.fed();
                    send(&*engine, &health, &outgoing, Back { is_back, fed }).await;
                }
                None => self.lanes[lane].wake.notified().await,
            }
        }
    }
}

impl<T> LaneItem<T> {
    fn put(&self, records: &mut Vec<u8>) {
        match self {
            LaneItem::Message(entry, _) => put_message(entry, records),
            LaneItem::Session(record) => put_session_record(record, records),
        }
    }
}

/// What has come back from the log.
pub(super) struct Back<B, F> {
    /// Whether the frame has.
    pub is_back: B,
    /// The number of the last frame that has.
    pub fed: F,
}

/// Sends a frame until the log has it.
pub(super) async fn send<E: LogEngine>(
    engine: &E,
    health: &Health,
    outgoing: &FrameToSend,
    back: Back<impl Fn() -> bool, impl Fn() -> u64>,
) {
    let id = outgoing.origin.id();
    let mut refused = None;
    let (mut is_again, mut since) = (false, health.now());
    // An answer may be lost on its way, and the frame come back all the same.
    while !(is_again && (back.is_back)()) {
        if is_again && health.now().since(since) >= KNOWN {
            // The log may have it and not know its identifier any more.
            since = health.now();
            if !has_seen_all(engine, health, &back).await {
                since = Time::START;
                sleep(PAUSE).await;
            }
            continue;
        }
        let appended = engine.append(&id, outgoing.frame.clone());
        let mut pause = PAUSE;
        match timeout(APPEND_TIMEOUT, appended).await {
            Ok(Ok(Appended::There)) => break,
            Ok(Ok(Appended::Full)) => {
                // It answers.
                health.note_success(LogUse::ToAppend);
                refused.get_or_insert_with(|| RefusedFrame::of(health));
                pause = FULL_PAUSE;
            }
            Ok(Err(error)) => health.note_failure(LogUse::ToAppend, &error.0),
            Err(_) => health.note_failure(LogUse::ToAppend, "no answer in time"),
        }
        is_again = true;
        if health.wants_move() {
            // This may take its time too.
            let _ = timeout(APPEND_TIMEOUT, engine.move_on()).await;
        }
        sleep(pause).await;
    }
    health.note_success(LogUse::ToAppend);
}

/// A frame that the log has no room for, as long as it waits.
struct RefusedFrame<'a>(&'a Health);

impl RefusedFrame<'_> {
    fn of(health: &Health) -> RefusedFrame<'_> {
        health.note_refused();
        RefusedFrame(health)
    }
}

impl Drop for RefusedFrame<'_> {
    fn drop(&mut self) {
        self.0.note_taken();
    }
}

/// Waits until everything that the log has now is back. `false`: it does not tell what it has.
async fn has_seen_all<E: LogEngine>(
    engine: &E,
    health: &Health,
    back: &Back<impl Fn() -> bool, impl Fn() -> u64>,
) -> bool {
    let last = match timeout(APPEND_TIMEOUT, engine.bounds()).await {
        Ok(Ok(bounds)) => bounds.last,
        Ok(Err(error)) => {
            health.note_failure(LogUse::ToAppend, &error.0);
            return false;
        }
        Err(_) => {
            health.note_failure(LogUse::ToAppend, "no answer in time");
            return false;
        }
    };
    while (back.fed)() < last && !(back.is_back)() {
        sleep(PAUSE).await;
    }
    true
}

fn lane_of(client_id: &ClientId) -> usize {
    (hash(client_id.as_str()) % LANES as u64) as usize
}

impl FrameOrigin {
    /// The identifier of the frame, by which the log knows one that is sent again.
    pub fn id(&self) -> String {
        let FrameOrigin { node, run, lane, number } = self;
        format!("{node:016x}.{run:016x}.{lane}.{number}")
    }
}
