//! A Session that comes to this node: what the log has for it is brought together.

use std::collections::BTreeMap;
use std::future::poll_fn;

use bytes::Bytes;
use tokio::time::sleep;
use tracing::{error, info};

use super::super::engine::{EngineError, LogEngine, LogFrames};
use super::super::frame::{FrameMessage, FrameOrigin, FrameRecord, open};
use super::super::health::LogUse;
use super::{Applies, FeedItem, LogFeed, PAUSE};
use crate::broker::cluster_log::{ArrivedSession, LogMark, MovedSession, SessionRecord};

impl<T, E: LogEngine, A: Applies<T>> LogFeed<T, E, A> {
    /// Adds what waits for it to a Session that comes to this node.
    pub(super) async fn complete(&mut self, sequence: u64, item: &mut FeedItem<T>) {
        let own = self.lanes.node_and_run().0;
        let FeedItem::Session(node, SessionRecord::Moved(moved)) = item else { return };
        if moved.to != own {
            return;
        }
        let (node, moved) = (*node, (**moved).clone());
        let frames = match self.lately.behind(moved.after) {
            Some(frames) => frames,
            None => self.read_span(moved.after, sequence).await,
        };
        let arrived = self.arrived(node, moved, &frames);
        *item = FeedItem::Arrived(node, Box::new(arrived));
    }

    /// What these frames have for a Session, up to the record that moves it.
    fn arrived(
        &mut self,
        node: u64,
        moved: MovedSession,
        frames: &[(u64, Bytes)],
    ) -> ArrivedSession {
        let (mut copies, mut later) = (Vec::new(), Vec::new());
        let frames = frames.iter().filter_map(|(_, bytes)| open(bytes).ok());
        'all: for frame in frames {
            let from = frame.origin.node;
            for record in frame.records {
                match record {
                    FrameRecord::Message(message) => {
                        let message = FrameMessage { with: None, ..message };
                        later.push(self.entry(from, message));
                    }
                    FrameRecord::Session(raw) if from == node => match self.session(0, raw) {
                        Some(SessionRecord::Copies { number, copies: more, .. })
                            if number == moved.number =>
                        {
                            copies.extend(more);
                        }
                        Some(SessionRecord::Moved(other)) if other.number == moved.number => {
                            break 'all;
                        }
                        _ => {}
                    },
                    _ => {}
                }
            }
        }
        ArrivedSession { moved, copies, later }
    }

    /// Reads frames again that were applied before this node kept any, up to this one.
    #[cold]
    async fn read_span(&mut self, after: u64, last: u64) -> Vec<(u64, Bytes)> {
        info!(after, last, "a part of the log is read again, for a session that comes");
        loop {
            let first = self.bounds().await.first.max(after + 1);
            if first > after + 1 {
                error!(
                    after,
                    first, "a part of the log is cut off that a session which comes would need"
                );
            }
            match self.engine.read(first).await {
                Ok(mut frames) => match span(&mut frames, last).await {
                    Ok(span) => return span,
                    Err(error) => self.health.note_failure(LogUse::ToRead, &error.0),
                },
                Err(error) => self.health.note_failure(LogUse::ToRead, &error.0),
            }
            sleep(PAUSE).await;
        }
    }
}

/// The frames up to `last`, but for those of runs of nodes that had ended, and those that came twice.
async fn span(frames: &mut impl LogFrames, last: u64) -> Result<Vec<(u64, Bytes)>, EngineError> {
    let mut span = Vec::new();
    let mut runs = BTreeMap::new();
    let mut numbers = BTreeMap::new();
    loop {
        let (sequence, bytes) = poll_fn(|cx| frames.poll_next(cx)).await?;
        if let Ok(frame) = open(&bytes) {
            let FrameOrigin { node, run, lane, number } = frame.origin;
            if frame.records.contains(&FrameRecord::Run) {
                runs.insert(node, run);
            }
            let gone = frame.records.iter().filter_map(|record| match record {
                FrameRecord::Gone { node } => Some((*node, LogMark::NO_RUN)),
                _ => None,
            });
            runs.extend(gone);
            let is_current = runs.get(&node).is_none_or(|current| *current == run);
            let before = numbers.entry((node, run, lane)).or_default();
            if is_current && number > *before {
                *before = number;
                span.push((sequence, bytes.clone()));
            }
        }
        if sequence >= last {
            return Ok(span);
        }
    }
}
