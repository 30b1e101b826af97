//! Beside the log: messages of `QoS` 0 and claims of clients, by plain NATS. They may be lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::frame::{FRAME_OVERHEAD, FrameOrigin, put_claim, put_message, seal};
use super::gather::{FrameLimits, Gatherer};
use crate::broker::cluster_log::LogEntry;
use crate::message::ClientId;
use crate::sync::{Mutex, whole};
use crate::time::Time;

/// What this node tells the others.
#[derive(Debug)]
pub(super) struct Aside {
    node: u64,
    run: u64,
    waiting: Mutex<AsideQueues>,
    wake: Notify,
    /// Messages for which there was no room.
    dropped: AtomicU64,
    recent: Mutex<RecentClaims>,
}

/// When clients have connected to this node lately: a claim of another node that is older than that comes late.
#[derive(Debug, Default)]
struct RecentClaims {
    at: BTreeMap<ClientId, Time>,
    /// The same in the order in which they came.
    order: VecDeque<(Time, ClientId)>,
}

/// For so long a connection is remembered; no claim takes longer.
const RECENT: Duration = Duration::from_secs(30);
/// Connections that are remembered.
const RECENT_MAX: usize = 65_536;

impl RecentClaims {
    fn add(&mut self, client_id: &ClientId, at: Time) {
        let is_over = |(first, _): &(Time, ClientId)| at.since(*first) > RECENT;
        while self.order.len() >= RECENT_MAX || self.order.front().is_some_and(is_over) {
            let Some((first, client_id)) = self.order.pop_front() else { break };
            if self.at.get(&client_id) == Some(&first) {
                self.at.remove(&client_id);
            }
        }
        self.at.insert(client_id.clone(), at);
        self.order.push_back((at, client_id.clone()));
    }
}

#[derive(Debug)]
struct AsideQueues {
    messages: Gatherer<()>,
    claims: Gatherer<()>,
    number: u64,
}

/// What is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AsideSubject {
    /// Messages of `QoS` 0.
    Messages,
    /// Clients that have connected.
    Claims,
}

/// Bytes of messages that go together.
const TOGETHER: usize = 64 * 1024;
/// Bytes that may wait; what comes then is dropped.
const WAITING_MAX: usize = 16 * 1024 * 1024;

impl Aside {
    /// Nothing yet.
    pub fn new(node: u64, run: u64, frame_max: usize) -> Aside {
        let most = frame_max.saturating_sub(FRAME_OVERHEAD);
        let limits = FrameLimits { together: TOGETHER.min(most), most, records: 1000 };
        let (messages, claims) = (Gatherer::new(limits), Gatherer::new(limits));
        let waiting = Mutex::new(AsideQueues { messages, claims, number: 0 });
        let recent = Mutex::default();
        Aside { node, run, waiting, wake: Notify::new(), dropped: AtomicU64::new(0), recent }
    }

    /// The node and its run.
    pub fn node_and_run(&self) -> (u64, u64) {
        (self.node, self.run)
    }

    /// Tells a message.
    pub fn tell(&self, entry: &LogEntry) {
        let told = {
            let messages = &mut whole(self.waiting.lock()).messages;
            let has_room = messages.bytes() + entry.message.bytes() <= WAITING_MAX;
            has_room && messages.push((), |(), records| put_message(entry, records)).is_ok()
        };
        self.note(told);
    }

    /// Tells that a client has connected.
    pub fn claim(&self, client_id: &ClientId, clean_start: bool, at: Time) {
        whole(self.recent.lock()).add(client_id, at);
        let told = {
            let claims = &mut whole(self.waiting.lock()).claims;
            let put = |(): &(), records: &mut Vec<u8>| {
                put_claim(client_id.as_str(), clean_start, at, records);
            };
            claims.bytes() <= WAITING_MAX && claims.push((), put).is_ok()
        };
        self.note(told);
    }

    /// Whether the client has connected here after `at`.
    pub fn has_come_since(&self, client_id: &ClientId, at: Time) -> bool {
        whole(self.recent.lock()).at.get(client_id).is_some_and(|came| *came > at)
    }

    fn note(&self, told: bool) {
        if told {
            self.wake.notify_one();
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was not told, because more waited than may.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits for the next frame to send. Claims go first.
    pub async fn next(&self) -> (AsideSubject, Bytes) {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.wake.notified().await;
        }
    }

    fn take(&self) -> Option<(AsideSubject, Bytes)> {
        let waiting = &mut *whole(self.waiting.lock());
        let (subject, gathered) = match waiting.claims.pop() {
            Some(claims) => (AsideSubject::Claims, claims),
            None => (AsideSubject::Messages, waiting.messages.pop()?),
        };
        waiting.number += 1;
        let (node, run, number) = (self.node, self.run, waiting.number);
        let origin = FrameOrigin { node, run, lane: 0, number };
        let frame = seal(origin, gathered.items.len() as u16, &gathered.records);
        Some((subject, frame.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_comes_late_is_known_by_its_time() {
        let aside = Aside::new(1, 2, 1000);
        let (client, other) = (ClientId::new("c"), ClientId::new("d"));
        aside.claim(&client, true, Time::from_secs(10));
        for (at, came) in [(9, true), (10, false), (11, false)] {
            assert_eq!(aside.has_come_since(&client, Time::from_secs(at)), came, "{at}");
        }
        assert!(!aside.has_come_since(&other, Time::from_secs(9)));
        // It is forgotten after a while; what came again meanwhile is not.
        aside.claim(&other, true, Time::from_secs(20));
        aside.claim(&other, true, Time::from_secs(45));
        aside.claim(&other, true, Time::from_secs(51));
        assert!(!aside.has_come_since(&client, Time::from_secs(9)));
        assert!(aside.has_come_since(&other, Time::from_secs(50)));
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let mut recent = RecentClaims::default();
        for number in 0..RECENT_MAX + 100 {
            recent.add(&ClientId::new(&number.to_string()), Time::from_secs(1));
        }
        assert_eq!((recent.at.len(), recent.order.len()), (RECENT_MAX, RECENT_MAX));
    }
}
