//! Messages as work, looked at as they come to the broker and leave it.

use std::collections::BTreeMap;
use std::task::{Poll, Waker};
use std::time::Duration;

use sluicemq::codec::{Publish, QoS, Subscribe, Version};

use super::wire::parts;
use super::{TOPICS, World};
use crate::check::Order;
use crate::client::Conn;
use crate::extras::{Extras, LATE, ONCE, QUEUE, READ, SPANS};
use crate::jobs::{Jobs, Sent};
use crate::promises::{Delays, History, Keys};

/// What was promised, and what has come of it.
#[derive(Default)]
pub struct Work {
    pub jobs: Jobs,
    pub delays: Delays,
    pub keys: Keys,
    pub history: History,
    /// What groups with lanes hand out, by publisher and topic.
    lanes: Order,
    /// `QoS` that a message was published at.
    published: BTreeMap<u64, QoS>,
    /// How often messages of some topics left.
    pub late: u64,
    pub read: u64,
}

impl Work {
    pub fn new(extras: &Extras) -> Work {
        Work {
            jobs: Jobs::new(extras.queue.unwrap_or_default()),
            keys: Keys::new(extras.keys.unwrap_or_default()),
            ..Work::default()
        }
    }
}

impl World {
    /// A PUBLISH has come to the link.
    pub(super) fn note_asked(&mut self, publish: &Publish<'_>) {
        let Some((_, message, number)) = parts(publish.payload) else { return };
        let (now, work) = (self.now, &mut self.work);
        work.published.insert(number, publish.qos);
        match publish.topic.split('/').next() {
            Some("q") => work.jobs.asked(number, message, publish.expiry.is_some()),
            Some("k") => work.history.asked(number),
            Some("$delayed") => {
                let span = publish.topic.split('/').nth(1);
                let span = SPANS.iter().find(|(text, _)| Some(*text) == span).expect("a span").1;
                work.delays.asked(number, now.after(span));
            }
            _ if publish.topic == TOPICS[ONCE] => work.keys.asked(number, now),
            _ => {}
        }
    }

    /// A publisher knows that its message is accepted. `sure`: it would have been told else.
    pub(super) fn note_accepted(&mut self, message: u64, topic: usize, sure: bool) {
        match TOPICS[topic].split('/').next() {
            Some("q") if sure => self.work.jobs.accepted(message),
            Some("k") if sure => self.work.history.accepted(message),
            _ => {}
        }
    }

    /// A SUBSCRIBE has come to the link.
    pub(super) fn note_subscribe(&mut self, conn: &mut Conn, subscribe: &Subscribe<'_>) {
        conn.watch.reads |= subscribe.filters.iter().any(|(filter, _)| *filter == READ);
        self.note_reading(conn);
    }

    /// A reader of the log begins, if one was asked for and it is known for which Session.
    pub(super) fn note_reading(&mut self, conn: &mut Conn) {
        let Some(session) = conn.watch.session else { return };
        if conn.watch.packet_max < usize::MAX {
            // It may miss some from here on.
            self.work.history.granted(session, false);
        }
        if std::mem::take(&mut conn.watch.reads) {
            self.work.history.begins(session);
            self.note(&format!("c{} reads the log from its beginning", conn.client));
        }
    }

    /// It was granted, or refused.
    pub(super) fn note_granted(&mut self, conn: &Conn, filter: &str, granted: bool) {
        let all_sizes = conn.watch.packet_max == usize::MAX;
        if let Some(session) = conn.watch.session.filter(|_| filter == READ) {
            self.work.history.granted(session, granted && all_sizes);
        }
    }

    /// A PUBLISH leaves the link.
    pub(super) fn note_sent(
        &mut self,
        conn: &Conn,
        topic: &str,
        publish: &Publish<'_>,
        place: &str,
    ) {
        let Some(session) = conn.watch.session else { return };
        let packet_id = publish.packet_id.map(|id| id.get());
        if let (Some(packet_id), false) = (packet_id, publish.dup) {
            self.work.jobs.reused(session, packet_id);
        }
        let Some((publisher, message, number)) = parts(publish.payload) else { return };
        if publish.retain || topic.starts_with("$dead") {
            return;
        }
        let first = !publish.dup;
        let kind = topic.split('/').next().unwrap_or_default();
        let (now, work) = (self.now, &mut self.work);
        let verdict = match kind {
            "q" => {
                let attempt = attempt_of(conn.version, publish);
                let (qos, dup) = (publish.qos, publish.dup);
                work.jobs.sent(&Sent { session, number, packet_id, qos, dup, attempt }, now)
            }
            "k" if first => {
                work.read += 1;
                work.history.sent(session, (message, number, publish.qos))
            }
            "k" => {
                work.history.sent_again(session, message);
                Ok(())
            }
            _ if topic == TOPICS[LATE] => {
                work.late += 1;
                work.delays.sent(number, now)
            }
            _ if topic == TOPICS[ONCE] && first => work.keys.sent(session, number),
            _ => Ok(()),
        };
        self.demand(verdict, place);
        if self.plan.extras.lanes && first && ["q", "g"].contains(&kind) {
            let qos = self.work.published.get(&number).copied().unwrap_or(publish.qos);
            let verdict = self.work.lanes.came(publisher, topic, qos, number);
            self.demand(verdict, &format!("{place}: of one lane"));
        }
    }

    /// A consumer has answered; `None`: the link may not have seen it.
    pub(super) fn note_answered(&mut self, conn: &Conn, packet_id: u16, success: Option<bool>) {
        if let Some(session) = conn.watch.session {
            self.work.jobs.answered(session, packet_id, success, self.now);
        }
    }

    /// A connection has ended.
    pub(super) fn note_parted(&mut self, conn: &mut Conn) {
        if let Some(session) = conn.watch.session.filter(|_| !conn.watch.parted) {
            self.work.jobs.parted(session, !conn.watch.said_goodbye, self.now);
        }
        conn.watch.parted = true;
    }

    /// What is due is published. What only the store has is read a moment later.
    pub(super) fn nothing_is_late(&mut self) {
        let now = self.now;
        for _ in 0..10 {
            let first = self.broker.look_at_delayed(None, 1, Waker::noop());
            let Poll::Ready(first) = { first }.poll() else { return };
            let Some((first, _)) = first.first() else { return };
            if first.due() > now {
                return;
            }
            self.now = self.now.after(Duration::from_millis(1));
            self.broker.tick(self.now, &mut self.turn);
        }
        let first = self.broker.look_at_delayed(None, 1, Waker::noop());
        if let Poll::Ready(found) = { first }.poll()
            && let Some((first, _)) = found.first()
        {
            self.demand(Delays::waits(first.due(), now), "delayed messages");
        }
    }

    /// At the quiet end: what was accepted has come, or what has become of it is known.
    pub(super) fn no_work_is_missing(&mut self) {
        let missing = self.work.jobs.missing();
        let queue = self.broker.queues(None, 1);
        let account = queue.first().map(|queue| queue.group().account().clone());
        let known = account.as_ref().map_or(0, |account| {
            let lost = account.ledger.iter().flatten().map(|lost| u64::from(*lost)).sum::<u64>();
            lost + account.queued[1]
        });
        // Where the broker dies, nothing is lost but by attempts.
        let known = if self.disk.is_some() { 0 } else { known };
        if missing.len() as u64 > known {
            let jobs = self.work.jobs.about(&missing);
            self.fail(&format!("{QUEUE} has lost {jobs}, {known} are known: {account:?}"));
        }
        for client in 0..self.plan.clients {
            let Some(conn) = self.usable(client).map(|id| &self.conns[&id]) else { continue };
            let missing = conn.watch.session.map(|session| self.work.history.missing(session));
            if let Some(missing) = missing.filter(|missing| !missing.is_empty()) {
                self.fail(&format!("c{client} was never sent {missing:?} of the log"));
            }
        }
    }
}

/// Which attempt at it a message says it is, if the version can say that.
fn attempt_of(version: Version, publish: &Publish<'_>) -> Option<u32> {
    let properties = publish.properties.user_properties();
    let said = properties.iter().find(|(name, _)| *name == "sluice-attempt");
    let said = said.map(|(_, text)| text.parse().expect("a number"));
    (version == Version::V5).then(|| said.unwrap_or(1))
}

/// How often a message has come to a client.
pub fn count(times: &mut BTreeMap<u64, u32>, number: u64) -> u32 {
    let times = times.entry(number).or_default();
    *times += 1;
    *times
}
