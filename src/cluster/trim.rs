//! The beginning of the log is cut off once all nodes have applied it.
//!
//! Nodes tell each other how far they have come. One that is down is waited for, with its last word: what it has not
//! applied stays in the log until it has, or is forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::engine::{Bounds, LogEngine as _};
use super::health::Health;
use super::lanes::AppendLanes;
use super::nats::Nats;
use crate::broker::Broker;
use crate::broker::cluster_log::HandedIn;
use crate::sync::{Mutex, whole};
use crate::time::Time;

/// How far nodes have applied the log, as far as they have told it.
#[derive(Debug, Default)]
pub(super) struct AppliedByNodes {
    /// The last word of each node, and when it came.
    told: BTreeMap<u64, (u64, Time)>,
    /// How far all nodes had come, at some moments, the oldest first.
    all: VecDeque<(Time, u64)>,
    /// Since when nodes are listened to.
    begun: Option<Time>,
    /// A node that is about to be forgotten: it is waited for no longer, so that the log has room for the word of that.
    given_up: Option<u64>,
}

/// How often a node tells how far it has come, while it comes further.
const EVERY: Duration = Duration::from_secs(2);
/// How many times less often it tells that it has not.
const STILL: u32 = 5;
/// A node that has told nothing for so long may be down.
const SILENT: Duration = Duration::from_secs(15);
/// Nodes whose words are kept.
const NODES_MAX: usize = 1000;
/// So long frames stay that all nodes have applied: for Sessions on their way, and for an operator that reads the log.
const STAYS: Duration = Duration::from_secs(600);
/// The same while more than half of its room is taken, and while more than nine tenths are.
const STAYS_FULLER: Duration = Duration::from_secs(60);
const STAYS_FULL: Duration = Duration::from_secs(5);
/// Fewer frames are not worth it while there is room.
const FRAMES_MIN: u64 = 100;
/// How long a question to the log may take.
const TIMEOUT: Duration = Duration::from_secs(2);

impl AppliedByNodes {
    /// A node tells how far it has come.
    pub fn note(&mut self, node: u64, applied: u64, now: Time) {
        if self.told.len() < NODES_MAX || self.told.contains_key(&node) {
            self.told.insert(node, (applied, now));
        }
    }

    /// Notes how far all of `nodes` have come: only if each of them has told it.
    fn sample(&mut self, nodes: impl Iterator<Item = u64>, now: Time) {
        let mut least = u64::MAX;
        for node in nodes.filter(|node| self.given_up != Some(*node)) {
            let Some((applied, _)) = self.told.get(&node) else { return };
            least = least.min(*applied);
        }
        if least == u64::MAX {
            return;
        }
        self.all.push_back((now, least));
        // One that is older than that is enough.
        while self.all.get(1).is_some_and(|(at, _)| now.since(*at) >= STAYS) {
            self.all.pop_front();
        }
    }

    /// The first frame that is to stay, if some before it are to go.
    fn first_to_stay(&self, bounds: Bounds, now: Time) -> Option<u64> {
        let (taken, most) = bounds.bytes;
        let (stays, frames_min) = match most {
            most if taken > most - most / 10 => (STAYS_FULL, 1),
            most if taken > most / 2 => (STAYS_FULLER, 1),
            _ => (STAYS, FRAMES_MIN),
        };
        let is_old = |(at, _): &&(Time, u64)| now.since(*at) >= stays;
        let (_, applied) = self.all.iter().rev().find(is_old)?;
        // A node that has been set back needs what it has not.
        let least = self.all.back().map_or(*applied, |(_, least)| *least.min(applied));
        let first = least.min(bounds.last) + 1;
        (first >= bounds.first + frames_min).then_some(first)
    }

    /// Nodes are listened to.
    pub fn begin(&mut self, now: Time) {
        self.begun.get_or_insert(now);
    }

    /// Whether it is certain that the node has told nothing for a while.
    pub fn is_silent(&self, node: u64, now: Time) -> bool {
        let is_long_ago = |at: Time| now.since(at) >= SILENT;
        self.begun.is_some_and(is_long_ago) && !self.is_up(node, now)
    }

    /// This node is waited for no longer, or again.
    pub fn give_up(&mut self, node: Option<u64>) {
        self.given_up = node;
    }

    /// Whether the node has told something lately.
    fn is_up(&self, node: u64, now: Time) -> bool {
        self.told.get(&node).is_some_and(|(_, at)| now.since(*at) < SILENT)
    }

    /// Whether it is the first of the nodes that are up.
    fn is_first(&self, node: u64, now: Time) -> bool {
        let mut up = self.told.keys().filter(|node| self.is_up(**node, now));
        up.next() == Some(&node)
    }
}

/// Tells how far this node has come, and cuts off the beginning of the log if it is the first of those that are up.
pub(super) async fn trim(
    nats: Arc<Nats>,
    (broker, lanes): (Broker, Arc<AppendLanes<HandedIn>>),
    health: Health,
    nodes: Arc<Mutex<AppliedByNodes>>,
) {
    let own = lanes.node_and_run().0;
    let (mut last, mut rounds) = (None, 0);
    loop {
        sleep(EVERY).await;
        rounds += 1;
        let applied = lanes.fed();
        let is_still = last == Some(applied);
        let gives_up = whole(nodes.lock()).given_up.is_some();
        if is_still && !gives_up && rounds % STILL != 0 {
            continue;
        }
        last = Some(applied);
        nats.tell_applied(told(own, applied)).await;
        let now = health.now();
        let is_first = {
            let mut nodes = whole(nodes.lock());
            nodes.note(own, applied, now);
            nodes.sample(broker.nodes_of_log().into_iter(), now);
            nodes.is_first(own, now) || nodes.given_up.is_some()
        };
        if !is_first {
            continue;
        }
        let Ok(Ok(bounds)) = timeout(TIMEOUT, nats.bounds()).await else { continue };
        let first = whole(nodes.lock()).first_to_stay(bounds, now);
        let Some(first) = first else { continue };
        match timeout(TIMEOUT, nats.trim(first)).await {
            Ok(Ok(())) => debug!(first, "the beginning of the log is cut off"),
            Ok(Err(error)) => warn!(%error, "the beginning of the log cannot be cut off"),
            Err(_) => {}
        }
    }
}

/// Listens to how far the other nodes have come.
pub(super) async fn hear_applied(
    nats: Arc<Nats>,
    health: Health,
    nodes: Arc<Mutex<AppliedByNodes>>,
) {
    let mut heard = loop {
        match nats.applied().await {
            Ok(heard) => break heard,
            Err(_) => sleep(EVERY).await,
        }
    };
    whole(nodes.lock()).begin(health.now());
    while let Some(frame) = std::future::poll_fn(|cx| heard.poll_next(cx)).await {
        if let Some((node, applied)) = read_told(&frame) {
            whole(nodes.lock()).note(node, applied, health.now());
        }
    }
}

fn told(node: u64, applied: u64) -> Bytes {
    [node.to_be_bytes(), applied.to_be_bytes()].concat().into()
}

fn read_told(frame: &[u8]) -> Option<(u64, u64)> {
    let (node, applied) = frame.split_first_chunk()?;
    Some((u64::from_be_bytes(*node), u64::from_be_bytes(applied.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Time = Time::from_secs(1000);

    fn after(seconds: u64) -> Time {
        BEGIN.after(Duration::from_secs(seconds))
    }

    fn bounds(first: u64, last: u64, taken: u64) -> Bounds {
        Bounds { first, last, bytes: (taken, 100) }
    }

    #[test]
    fn what_all_have_applied_goes_after_its_time() {
        for (taken, stays) in [(10, 600), (51, 60), (91, 5)] {
            let mut nodes = AppliedByNodes::default();
            nodes.note(1, 5000, BEGIN);
            nodes.note(2, 3000, BEGIN);
            nodes.sample([1, 2].into_iter(), BEGIN);
            let bounds = bounds(1, 6000, taken);
            assert_eq!(nodes.first_to_stay(bounds, after(stays - 1)), None);
            assert_eq!(nodes.first_to_stay(bounds, after(stays)), Some(3001));
        }
    }

    #[test]
    fn a_node_that_is_down_or_was_never_heard_is_waited_for() {
        let mut nodes = AppliedByNodes::default();
        nodes.note(1, 5000, BEGIN);
        nodes.sample([1, 2].into_iter(), BEGIN);
        assert_eq!(nodes.first_to_stay(bounds(1, 6000, 99), after(700)), None);
        nodes.note(2, 200, BEGIN);
        for second in 0..2000 {
            nodes.note(1, 5000 + second, after(second));
            nodes.sample([1, 2].into_iter(), after(second));
            assert!(nodes.all.len() <= 602);
        }
        let now = after(2000);
        assert_eq!(nodes.first_to_stay(bounds(1, 9000, 99), now), Some(201));
        assert_eq!(nodes.first_to_stay(bounds(201, 9000, 99), now), None);
        assert!(!nodes.is_up(2, now) && nodes.is_up(1, now) && nodes.is_first(1, now));
        // After a moment of listening nothing is known of silence.
        nodes.begin(now);
        assert!(!nodes.is_silent(2, after(2014)));
        nodes.note(1, 6999, after(2014));
        assert!(nodes.is_silent(2, after(2015)) && !nodes.is_silent(1, after(2015)));
        // It is about to be forgotten, and is.
        nodes.give_up(Some(2));
        nodes.sample([1, 2].into_iter(), now);
        assert_eq!(nodes.first_to_stay(bounds(201, 9000, 99), after(2005)), Some(7000));
        nodes.give_up(None);
        nodes.sample([1].into_iter(), now);
        assert_eq!(nodes.first_to_stay(bounds(201, 9000, 99), after(2005)), Some(7000));
    }

    #[test]
    fn a_node_that_was_set_back_keeps_what_it_needs() {
        let mut nodes = AppliedByNodes::default();
        for (applied, second) in [(5000, 0), (1000, 700)] {
            nodes.note(1, applied, after(second));
            nodes.sample([1].into_iter(), after(second));
        }
        assert_eq!(nodes.first_to_stay(bounds(1, 6000, 10), after(700)), Some(1001));
        assert_eq!(nodes.first_to_stay(bounds(950, 6000, 10), after(700)), None);
    }

    #[test]
    fn what_is_told_is_read() {
        assert_eq!(read_told(&told(7, u64::MAX)), Some((7, u64::MAX)));
        for wrong in [&b""[..], b"1234567", b"123456789012345", b"12345678901234567"] {
            assert_eq!(read_told(wrong), None);
        }
    }
}
