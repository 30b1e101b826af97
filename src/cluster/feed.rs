//! The feed: brings the whole log to the broker, frame by frame, in its order.
//!
//! The numbers of the log leave none out, so that a gap is seen, and read again. Everything that decides what a frame
//! does is in the log itself or in the mark that the store keeps with what was applied: all nodes decide alike.

mod coming;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info};

use super::engine::{Bounds, EngineError, LogEngine, LogFrames};
use super::frame::{FrameError, FrameMessage, FrameOrigin, FrameRecord, RawRecord, open};
use super::health::{Health, LogUse};
use super::lanes::AppendLanes;
use super::lately::LatelyApplied;
use super::session_frame::read_session_record;
use crate::broker::cluster_log::{ArrivedSession, LogEntry, LogMark, SessionRecord};
use crate::message::{ClientId, Identity, Message};

/// Reads the log from where the store has applied it to.
pub(super) struct LogFeed<T, E: LogEngine, A> {
    engine: Arc<E>,
    lanes: Arc<AppendLanes<T>>,
    health: Health,
    applier: A,
    frames: Option<E::Frames>,
    /// The last frame of the log when nothing had come for a while.
    awaited: u64,
    mark: LogMark,
    /// The store had applied nothing: what earlier runs of this node noted of Sessions is of another store.
    begun_empty: bool,
    /// The record of this run has come.
    has_joined: bool,
    lately: LatelyApplied,
    /// The last frame of each lane, by node and lane: of the run in `mark.runs`.
    numbers: BTreeMap<(u64, u32), u64>,
}

/// What is done with what the log has.
pub(super) trait Applies<T>: Send {
    /// A client of another node.
    fn publisher(&mut self, client_id: &str, user_name: Option<&str>) -> Arc<Identity>;

    /// Applies these in their order. The store notes the mark with them.
    fn apply(&mut self, items: Vec<FeedItem<T>>, mark: &LogMark);
}

/// Something that the log has.
pub(super) enum FeedItem<T> {
    /// A message, with what waits for it at this node.
    Message(LogEntry, Option<T>),
    /// A record about a Session, and the node that it comes from.
    Session(u64, SessionRecord),
    /// This node does not come back.
    Gone(u64),
    /// A Session that has come to this node, and the node that it comes from.
    Arrived(u64, Box<ArrivedSession>),
}

/// Why the feed has ended.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum FeedError {
    /// The log does not reach back far enough.
    #[error(
        "the log of the cluster no longer has what this node missed (frames {missed} to {before}): it begins at frame \
         {first}; a node with an empty store can join"
    )]
    Trimmed {
        /// The first frame that was missed.
        missed: u64,
        /// The last that is not there any more.
        before: u64,
        /// The first that is.
        first: u64,
    },
    /// The log is another one, or has lost its end.
    #[error(
        "the log of the cluster ends at frame {last}, but this node has applied it up to frame {applied}: it is another \
         log, or has lost its end"
    )]
    Shorter {
        /// Its last frame.
        last: u64,
        /// The last that was applied.
        applied: u64,
    },
    /// A frame that cannot be read, which the others may apply.
    #[error("frame {0} of the log of the cluster cannot be applied: {1}")]
    Unreadable(u64, FrameError),
    /// Another process has joined under the name of this node.
    #[error("another process has joined the cluster under the name of this node (at frame {0})")]
    Replaced(u64),
    /// This node was thought not to come back.
    #[error(
        "this node has been forgotten by the cluster (at frame {0}): started again it joins anew, with the sessions that no \
         other node has begun since"
    )]
    Forgotten(u64),
}

/// Frames that are applied at once.
const FRAMES: usize = 64;
/// Bytes of frames that are applied at once, but for the last one.
const BYTES: usize = 1024 * 1024;
/// Nodes that are remembered, those that have begun last.
const NODES_MAX: usize = 1000;
/// How long nothing may come before the log is asked whether it has more. The consumer of a server that has just died can
/// be there without ever giving anything, and its client waits for it.
const SILENCE: Duration = Duration::from_secs(1);
/// How long to wait before the log is read again.
const PAUSE: Duration = Duration::from_millis(250);

impl<T, E: LogEngine, A: Applies<T>> LogFeed<T, E, A> {
    /// A feed that goes on from `mark`.
    pub fn new(
        engine: Arc<E>,
        lanes: Arc<AppendLanes<T>>,
        health: Health,
        applier: A,
        mark: LogMark,
    ) -> LogFeed<T, E, A> {
        LogFeed {
            engine,
            lanes,
            health,
            applier,
            frames: None,
            awaited: 0,
            begun_empty: mark.sequence == 0,
            lately: LatelyApplied::at(mark.sequence),
            mark,
            has_joined: false,
            numbers: BTreeMap::new(),
        }
    }

    /// Finds where to read on, before anything is appended.
    pub async fn begin(&mut self) -> Result<(), FeedError> {
        let bounds = self.bounds().await;
        self.check(bounds)
    }

    /// Whether the log has lost its beginning, and this node has applied nothing of it: another node knows what was there.
    pub async fn lacks_beginning(&mut self) -> bool {
        self.mark.sequence == 0 && self.bounds().await.first > 1
    }

    /// Takes what another node has made of the log: frames that make the same, and its mark.
    pub fn take_image(&mut self, mark: LogMark, frames: &[Bytes]) -> Result<(), FrameError> {
        let mut items = Vec::new();
        for bytes in frames {
            let frame = open(bytes)?;
            let node = frame.origin.node;
            for record in frame.records {
                match record {
                    FrameRecord::Message(message) => {
                        items.push(FeedItem::Message(self.entry(node, message), None));
                    }
                    FrameRecord::Session(raw) => {
                        let record = self.session(mark.sequence, raw);
                        items.extend(record.map(|record| FeedItem::Session(node, record)));
                    }
                    FrameRecord::Run | FrameRecord::Gone { .. } | FrameRecord::Claim { .. } => {}
                }
            }
        }
        self.lately = LatelyApplied::at(mark.sequence);
        self.mark = mark;
        // All at once: a crash leaves all of it, or nothing.
        self.applier.apply(items, &self.mark);
        self.lanes.note_fed(self.mark.sequence);
        Ok(())
    }

    /// Applies the log until the record of this run comes.
    pub async fn catch_up(&mut self) -> Result<(), FeedError> {
        while !self.has_joined {
            self.advance().await?;
        }
        Ok(())
    }

    /// Applies what comes, until it cannot go on.
    pub async fn run(mut self) -> FeedError {
        loop {
            if let Err(error) = self.advance().await {
                return error;
            }
        }
    }

    /// The last frame that was applied.
    pub fn sequence(&self) -> u64 {
        self.mark.sequence
    }

    /// Waits for frames, and applies those that are there.
    async fn advance(&mut self) -> Result<(), FeedError> {
        if self.frames.is_none() {
            self.frames = Some(self.reopen().await?);
        }
        let frames = self.frames.as_mut().expect("they were opened above");
        let Ok(batch) = timeout(SILENCE, poll_fn(|cx| poll_batch(frames, cx))).await else {
            self.look_for_more().await;
            return Ok(());
        };
        match batch {
            Ok(batch) => {
                self.health.note_success(LogUse::ToRead);
                self.apply(batch).await?;
            }
            Err(error) => {
                debug!(%error, "the log is read again");
                self.health.note_failure(LogUse::ToRead, &error.0);
                self.frames = None;
                sleep(PAUSE).await;
            }
        }
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Nothing has come: is there nothing, or does it not come?
    async fn look_for_more(&mut self) {
        match self.engine.bounds().await {
            Ok(Bounds { last, .. }) if last <= self.mark.sequence => {
                self.health.note_success(LogUse::ToRead);
            }
            // It may be on its way: the next look decides.
            Ok(Bounds { last, .. }) if self.awaited <= self.mark.sequence => self.awaited = last,
            Ok(Bounds { last, .. }) => {
                let applied = self.mark.sequence;
                info!(applied, last, "nothing comes of the log, which has more: it is read anew");
                self.health.note_failure(LogUse::ToRead, "nothing comes");
                self.frames = None;
            }
            Err(error) => self.health.note_failure(LogUse::ToRead, &error.0),
        }
    }

    /// Reads on from the last frame that was applied.
    async fn reopen(&mut self) -> Result<E::Frames, FeedError> {
        loop {
            let bounds = self.bounds().await;
            self.check(bounds)?;
            match self.engine.read(self.mark.sequence + 1).await {
                Ok(frames) => return Ok(frames),
                Err(error) => self.health.note_failure(LogUse::ToRead, &error.0),
            }
            sleep(PAUSE).await;
        }
    }

    async fn bounds(&mut self) -> Bounds {
        loop {
            match self.engine.bounds().await {
                Ok(bounds) => return bounds,
                Err(error) => self.health.note_failure(LogUse::ToRead, &error.0),
            }
            sleep(PAUSE).await;
        }
    }

    fn check(&self, Bounds { first, last, .. }: Bounds) -> Result<(), FeedError> {
        let applied = self.mark.sequence;
        if first > applied + 1 {
            return Err(FeedError::Trimmed { missed: applied + 1, before: first - 1, first });
        }
        if last < applied {
            return Err(FeedError::Shorter { last, applied });
        }
        Ok(())
    }

    async fn apply(&mut self, batch: Vec<(u64, Bytes)>) -> Result<(), FeedError> {
        let mut items = Vec::new();
        let before = self.mark.sequence;
        for (sequence, bytes) in batch {
            if sequence <= self.mark.sequence {
                continue;
            }
            if sequence > self.mark.sequence + 1 {
                info!(
                    expected = self.mark.sequence + 1,
                    sequence, "a gap in the log: it is read again"
                );
                self.frames = None;
                break;
            }
            let first = items.len();
            self.take(sequence, &bytes, &mut items)?;
            for item in &mut items[first..] {
                self.complete(sequence, item).await;
            }
            self.mark.sequence = sequence;
        }
        if self.mark.sequence > before {
            self.applier.apply(items, &self.mark);
            self.lanes.note_fed(self.mark.sequence);
        }
        Ok(())
    }

    /// Takes one frame, the next one.
    fn take(
        &mut self,
        sequence: u64,
        bytes: &Bytes,
        items: &mut Vec<FeedItem<T>>,
    ) -> Result<(), FeedError> {
        let frame = match open(bytes) {
            Ok(frame) => frame,
            Err(error @ FrameError::Version(_)) => {
                return Err(FeedError::Unreadable(sequence, error));
            }
            Err(error) => {
                // The same bytes are skipped by all nodes.
                error!(sequence, %error, "a frame of the log of the cluster is damaged: it is skipped");
                return Ok(());
            }
        };
        if frame.records.contains(&FrameRecord::Run) {
            self.begin_run(sequence, frame.origin)?;
        }
        if !self.counts(frame.origin) {
            debug!(sequence, origin = ?frame.origin, "a frame is void");
            return Ok(());
        }
        self.lately.push(sequence, bytes.clone());
        for record in &frame.records {
            if let FrameRecord::Gone { node } = record {
                self.end_runs(sequence, *node)?;
                items.push(FeedItem::Gone(*node));
            }
        }
        let FrameOrigin { node, run, lane, number } = frame.origin;
        let is_own = self.lanes.node_and_run() == (node, run);
        let own = is_own.then(|| self.lanes.take_back(lane, number)).flatten();
        let mut own = own.into_iter().flatten();
        for record in frame.records {
            match record {
                FrameRecord::Message(_) if is_own => {
                    let own = own.next();
                    items.extend(own.map(|(entry, waits)| FeedItem::Message(entry, Some(waits))));
                }
                FrameRecord::Message(message) => {
                    items.push(FeedItem::Message(self.entry(node, message), None));
                }
                FrameRecord::Session(raw) => {
                    let record = self.session(sequence, raw);
                    items.extend(record.map(|record| FeedItem::Session(node, record)));
                }
                FrameRecord::Run | FrameRecord::Gone { .. } | FrameRecord::Claim { .. } => {}
            }
        }
        Ok(())
    }

    /// From here on no run of this node counts.
    fn end_runs(&mut self, sequence: u64, node: u64) -> Result<(), FeedError> {
        if self.has_joined && node == self.lanes.node_and_run().0 {
            return Err(FeedError::Forgotten(sequence));
        }
        self.set_run(node, LogMark::NO_RUN);
        Ok(())
    }

    /// Reads a record about a Session.
    fn session(&mut self, sequence: u64, raw: RawRecord<'_>) -> Option<SessionRecord> {
        let make =
            &mut |client_id: &str, user: Option<&str>| self.applier.publisher(client_id, user);
        let read = read_session_record(raw.kind, raw.body, make);
        if let Err(error) = &read {
            error!(sequence, %error, "a record of the log of the cluster is damaged: it is skipped");
        }
        read.ok()
    }

    /// From here on only this run of the node counts.
    fn begin_run(&mut self, sequence: u64, origin: FrameOrigin) -> Result<(), FeedError> {
        let FrameOrigin { node, run, .. } = origin;
        let own = self.lanes.node_and_run();
        if own.0 == node {
            if self.has_joined && own.1 != run {
                return Err(FeedError::Replaced(sequence));
            }
            self.has_joined |= own.1 == run;
        }
        if !self.mark.runs.contains(&(node, run)) {
            self.set_run(node, run);
        }
        Ok(())
    }

    fn set_run(&mut self, node: u64, run: u64) {
        self.mark.runs.retain(|(other, _)| *other != node);
        if self.mark.runs.len() >= NODES_MAX {
            self.mark.runs.remove(0);
        }
        self.mark.runs.push((node, run));
        let runs = &self.mark.runs;
        let is_known = |node: u64| runs.iter().any(|(other, _)| *other == node);
        self.numbers.retain(|(other, _), _| *other != node && is_known(*other));
    }

    /// Whether a frame is of the run that may add to the log, and not one that was there before.
    fn counts(&mut self, origin: FrameOrigin) -> bool {
        let FrameOrigin { node, run, lane, number } = origin;
        let current = self.mark.runs.iter().find(|(other, _)| *other == node);
        if current.is_some_and(|(_, current)| *current != run) {
            return false;
        }
        if self.numbers.get(&(node, lane)).is_some_and(|last| number <= *last) {
            return false;
        }
        self.numbers.insert((node, lane), number);
        true
    }

    /// A message that another node has handed in, or an earlier run of this one.
    fn entry(&mut self, node: u64, message: FrameMessage<'_>) -> LogEntry {
        let FrameMessage { parts, retains, with } = message;
        let publisher = self.applier.publisher(parts.publisher, parts.user_name);
        // Sessions are of their node.
        let is_own = node == self.lanes.node_and_run().0 && !self.begun_empty;
        let with = with.filter(|_| is_own).map(|(id, noted)| (id, noted.op()));
        LogEntry { message: Message::new(&parts, publisher.meter()), publisher, retains, with }
    }
}

/// Takes the frames that are there; waits for the first.
fn poll_batch(
    frames: &mut impl LogFrames,
    cx: &mut Context<'_>,
) -> Poll<Result<Vec<(u64, Bytes)>, EngineError>> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while batch.len() < FRAMES && bytes < BYTES {
        match frames.poll_next(cx) {
            Poll::Ready(Ok((sequence, frame))) => {
                bytes += frame.len();
                batch.push((sequence, frame));
            }
            Poll::Ready(Err(error)) if batch.is_empty() => return Poll::Ready(Err(error)),
            // It comes again when they are read anew.
            Poll::Ready(Err(_)) | Poll::Pending => break,
        }
    }
    if batch.is_empty() { Poll::Pending } else { Poll::Ready(Ok(batch)) }
}

/// Keeps the publisher that came last: messages of one often come together.
#[derive(Debug, Default)]
pub(super) struct LastPublisher(Option<Arc<Identity>>);

impl LastPublisher {
    /// The same as last time, or what `make` makes.
    pub fn get(
        &mut self,
        client_id: &str,
        user_name: Option<&str>,
        make: impl FnOnce(ClientId, Option<Arc<str>>) -> Identity,
    ) -> Arc<Identity> {
        let is_last = |last: &&Arc<Identity>| {
            last.client_id.as_str() == client_id && last.user_name.as_deref() == user_name
        };
        if let Some(last) = self.0.as_ref().filter(is_last) {
            return last.clone();
        }
        let made = make(ClientId::new(client_id), user_name.map(Into::into));
        self.0.insert(Arc::new(made)).clone()
    }
}
