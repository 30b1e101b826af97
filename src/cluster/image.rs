//! What the log has made so far, from node to node: for one that begins with an empty store when the log has lost its
//! beginning. It goes as frames that make the same.

use std::vec::IntoIter;

use bytes::Bytes;
use serde_json::{Value, json};

use super::frame::{FrameOrigin, put_message, seal};
use super::gather::{FrameLimits, Gatherer};
use super::session_frame::put_session_record;
use crate::broker::cluster_log::{ClusterImage, LogEntry, LogMark, SessionRecord};
use crate::message::{ClientId, SessionHome};

/// The frames of an image, made as they are asked for.
pub(super) struct ImageFrames {
    mark: LogMark,
    retained: IntoIter<LogEntry>,
    homes: IntoIter<(ClientId, SessionHome)>,
    gatherer: Gatherer<ImageItem>,
    together: usize,
    /// The node of what is gathered.
    node: u64,
    /// What comes next, and belongs to another node.
    held: Option<(u64, ImageItem)>,
    number: u64,
}

enum ImageItem {
    Retained(LogEntry),
    Home(SessionRecord),
}

impl ImageFrames {
    /// Those of an image.
    pub fn of(mut image: ClusterImage, limits: FrameLimits) -> ImageFrames {
        image.homes.sort_by_key(|(_, home)| home.node);
        ImageFrames {
            mark: image.mark,
            retained: image.retained.into_iter(),
            homes: image.homes.into_iter(),
            gatherer: Gatherer::new(limits),
            together: limits.together,
            node: 0,
            held: None,
            number: 0,
        }
    }

    /// What comes before the frames.
    pub fn head(&self) -> Value {
        let runs = self.mark.runs.iter().map(|(node, run)| [hex(*node), hex(*run)]);
        json!({ "frame": self.mark.sequence, "runs": runs.collect::<Vec<_>>() })
    }

    fn next_item(&mut self) -> Option<(u64, ImageItem)> {
        let retained = |entry| (0, ImageItem::Retained(entry));
        let home = |(client_id, SessionHome { node, user })| {
            (node, ImageItem::Home(SessionRecord::Opened { client_id, user, clean: false }))
        };
        let held = self.held.take();
        held.or_else(|| self.retained.next().map(retained)).or_else(|| self.homes.next().map(home))
    }

    fn sealed(&mut self) -> Option<Bytes> {
        let gathered = self.gatherer.pop()?;
        self.number += 1;
        let run = LogMark::NO_RUN;
        let origin = FrameOrigin { node: self.node, run, lane: 0, number: self.number };
        Some(seal(origin, gathered.items.len() as u16, &gathered.records).into())
    }
}

impl Iterator for ImageFrames {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while self.gatherer.bytes() <= self.together {
            let Some((node, item)) = self.next_item() else { break };
            if node != self.node && self.gatherer.bytes() > 0 {
                self.held = Some((node, item));
                break;
            }
            self.node = node;
            // One that is too large for a frame did not come in one either.
            let _ = self.gatherer.push(item, ImageItem::put);
        }
        self.sealed()
    }
}

impl ImageItem {
    fn put(&self, records: &mut Vec<u8>) {
        match self {
            ImageItem::Retained(entry) => put_message(entry, records),
            ImageItem::Home(record) => put_session_record(record, records),
        }
    }
}

/// Reads what comes before the frames.
pub(super) fn read_head(head: &Value) -> Option<LogMark> {
    let mut mark = LogMark { sequence: head["frame"].as_u64()?, runs: Vec::new() };
    for pair in head["runs"].as_array()? {
        mark.runs.push((unhex(&pair[0])?, unhex(&pair[1])?));
    }
    Some(mark)
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}

fn unhex(text: &Value) -> Option<u64> {
    u64::from_str_radix(text.as_str()?, 16).ok()
}
