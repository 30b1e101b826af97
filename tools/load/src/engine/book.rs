//! What one thread writes down as messages come and go: counts, times, verdicts, and the publishers
//! that may publish again because of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sluicemq::codec::{ConnAck, Publish, QoS, Reason};

use super::shared::{Counts, Shared, Taking};
use crate::client::Told;
use crate::journal::Journal;
use crate::measure::{Evenness, Times, Windows};
use crate::outcome::Sample;
use crate::verify::{Arrival, Receiver, Verdict, Verifier};
use crate::window::Sent;

/// What one thread writes down.
pub struct Book {
    shared: Arc<Shared>,
    thread: u16,
    /// Counts so far.
    pub counts: Counts,
    /// Judges what arrives.
    pub verifier: Verifier,
    /// Messages that the broker refused: stream and sequence number.
    pub refused: Vec<(u32, u64)>,
    /// Why connections were lost or not opened: the first few.
    pub losses: Vec<String>,
    /// Windows of arrival of all receivers here, if they are asked for.
    pub windows: Option<(u64, Windows)>,
    /// Where acknowledged messages are written down.
    pub journal: Option<Journal>,
    /// From due to arrival.
    pub latency: Ladder,
    /// From due to the end of the handshake.
    pub acknowledgement: Ladder,
    /// From connect to CONNACK.
    pub connect: Times,
    /// Clients here that may publish again.
    pub may_publish: Vec<u32>,
    /// Threads with publishers that may publish again.
    pub may_look: Vec<bool>,
    /// What else the present client was told, for when its bytes are used up.
    pub told: Vec<Happened>,
    /// What is measured.
    taking: Taking,
    /// The present bytes came in the measured time.
    in_time: bool,
    /// Publishers wait for the arrival of what they published.
    counts_arrivals: bool,
    now_ns: u64,
    receiver: Receiver,
    evenness: Option<Box<Evenness>>,
    /// Arrivals not yet credited to their publisher: its client and how many.
    credit: (u32, u64),
    shown: Shown,
}

/// Times of the present slice and of all before it.
pub struct Ladder {
    /// Of what is not measured; only for the timeline.
    early: Times,
    slice: Times,
    /// Of everything measured, up to the last slice.
    pub total: Times,
}

/// What a client was told that its owner has to act upon.
#[derive(Clone, Debug, PartialEq)]
pub enum Happened {
    /// CONNACK.
    Answered {
        /// Its code.
        reason: Reason,
        /// The Session was there.
        session_present: bool,
        /// What the broker takes at once.
        receive_maximum: u16,
        /// Largest packet it takes.
        packet_max: Option<u32>,
    },
    /// SUBACK.
    Subscribed(Vec<Reason>),
    /// DISCONNECT.
    Dismissed(Reason),
}

/// Counts when the last slice ended.
#[derive(Clone, Copy, Default)]
struct Shown {
    published: u64,
    delivered: u64,
    lost: u64,
    drops: u64,
}

impl Book {
    /// Nothing has happened yet.
    pub fn new(
        shared: Arc<Shared>,
        thread: u16,
        verifier: Verifier,
        smoothness_ms: Option<u64>,
        journal: Option<Journal>,
    ) -> Book {
        Book {
            may_look: vec![false; shared.posts.len()],
            shared,
            thread,
            verifier,
            journal,
            windows: smoothness_ms.map(|length| (length * 1_000_000, Windows::default())),
            counts: Counts::default(),
            refused: Vec::new(),
            losses: Vec::new(),
            latency: Ladder::new(),
            acknowledgement: Ladder::new(),
            connect: Times::new(),
            may_publish: Vec::new(),
            told: Vec::new(),
            taking: Taking { since_ns: u64::MAX, floor_ns: 0, until_ns: u64::MAX },
            in_time: false,
            counts_arrivals: false,
            now_ns: 0,
            receiver: Receiver::default(),
            evenness: None,
            credit: (0, 0),
            shown: Shown::default(),
        }
    }

    /// Bytes came at `now_ns`, for `receiver`.
    #[inline]
    pub fn open(&mut self, now_ns: u64, receiver: Receiver, evenness: Option<Box<Evenness>>) {
        self.now_ns = now_ns;
        self.in_time = (self.taking.since_ns.max(self.taking.floor_ns)..self.taking.until_ns)
            .contains(&now_ns);
        self.receiver = receiver;
        self.evenness = evenness;
    }

    /// The bytes are used up.
    #[inline]
    pub fn close(&mut self) -> Option<Box<Evenness>> {
        self.credit();
        self.evenness.take()
    }

    /// From now on, takes these times.
    pub fn take(&mut self, taking: Taking) {
        self.taking = taking;
    }

    /// Whether publishers wait for the arrival of what they published.
    pub fn count_arrivals(&mut self, counts: bool) {
        self.counts_arrivals = counts;
    }

    /// A PUBLISH of `bytes` payload was written, that was due at `due_ns` and should give `copies`.
    #[inline]
    pub fn published(&mut self, now_ns: u64, due_ns: u64, bytes: u64, copies: u64) {
        let counts = &mut self.counts;
        counts.published += 1;
        counts.expected += copies;
        counts.bytes.0 += bytes;
        counts.last_publish_ns = now_ns;
        if due_ns >= self.taking.since_ns {
            counts.measured.published += 1;
            counts.measured.expected += copies;
            counts.measured.bytes.0 += bytes;
        }
    }

    /// A slice of the timeline ends: what happened in it.
    pub fn end_slice(&mut self, now_ns: u64) -> (Sample, Times) {
        let counts = &self.counts;
        let now = Shown {
            published: counts.published,
            delivered: counts.delivered,
            lost: counts.lost,
            drops: counts.refused + self.verifier.tally().missing,
        };
        let sample = Sample {
            measured: self.taking.since_ns <= now_ns,
            published: now.published - self.shown.published,
            delivered: now.delivered - self.shown.delivered,
            connections: counts.open,
            disconnects: now.lost - self.shown.lost,
            drops: now.drops.saturating_sub(self.shown.drops),
            ..Sample::default()
        };
        self.shown = now;
        self.acknowledgement.end_slice();
        (sample, self.latency.end_slice())
    }

    /// A connection was lost or not opened.
    pub fn note_loss(&mut self, client: u32, why: &str) {
        if self.losses.len() < LOSSES_MAX {
            self.losses.push(format!("connection of client {client}: {why}"));
        }
    }

    /// When the last bytes came.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Takes over what the verifier has counted.
    pub fn count_verified(&mut self) {
        let tally = self.verifier.tally();
        self.counts.unique = tally.unique;
        self.counts.missing = tally.missing;
    }

    /// Hands the arrivals of one publisher's messages to it.
    #[inline]
    fn credit(&mut self) {
        let (client, arrivals) = self.credit;
        if arrivals == 0 {
            return;
        }
        self.credit.1 = 0;
        self.shared.arrived[client as usize].fetch_add(arrivals, Ordering::Relaxed);
        let (thread, place) = self.shared.homes[client as usize];
        if thread == self.thread {
            self.may_publish.push(place);
        } else {
            self.may_look[usize::from(thread)] = true;
        }
    }
}

impl Told for Book {
    #[inline]
    fn message(&mut self, publish: &Publish<'_>, repeat_allowed: bool) {
        let bytes = publish.payload.len() as u64;
        // A publisher may have sent it twice, or a member of the group has left it unanswered.
        let sent_again = || {
            let left = self.receiver.is_shared() && self.counts.lost > 0;
            left || self.shared.resent.load(Ordering::Relaxed)
        };
        let arrival = Arrival {
            topic: publish.topic.as_bytes(),
            payload: publish.payload,
            repeat_allowed: repeat_allowed || (publish.qos == QoS::AtLeastOnce && sent_again()),
        };
        let routes = &self.shared.routes;
        let (due_ns, fresh) = match self.verifier.arrived(self.receiver, routes, &arrival) {
            Verdict::Fresh { stream, due_ns, progress } => (due_ns, Some((stream, progress))),
            Verdict::Again { due_ns } => (due_ns, None),
            Verdict::Wrong => (self.now_ns, None),
            Verdict::Foreign => return,
        };
        self.counts.delivered += 1;
        self.counts.in_time += u64::from(self.in_time);
        self.counts.bytes.1 += bytes;
        self.counts.last_arrival_ns = self.now_ns;
        let measured = due_ns >= self.taking.since_ns;
        if measured {
            self.counts.measured.delivered += 1;
            self.counts.measured.bytes.1 += bytes;
        }
        if let (Some((length, windows)), Some(evenness)) = (&mut self.windows, &mut self.evenness) {
            evenness.arrived(self.now_ns / *length, bytes, windows);
        }
        let Some((stream, progress)) = fresh else { return };
        self.latency.record(measured, self.now_ns.saturating_sub(due_ns.max(self.taking.floor_ns)));
        if self.counts_arrivals && progress > 0 {
            let client = self.shared.routes.streams[stream as usize].client;
            if self.credit.0 != client {
                self.credit();
                self.credit.0 = client;
            }
            self.credit.1 += progress;
        }
    }

    #[inline]
    fn acknowledged(&mut self, sent: Sent, reason: Reason) {
        let measured = sent.due_ns >= self.taking.since_ns;
        self.counts.acknowledged += 1;
        self.counts.in_flight -= 1;
        self.counts.measured.acknowledged += u64::from(measured);
        self.acknowledgement.record(measured, self.now_ns.saturating_sub(sent.due_ns));
        if reason.is_error() {
            self.counts.refused += 1;
            self.counts.measured.refused += u64::from(measured);
            let copies = u64::from(self.shared.routes.streams[sent.stream as usize].copies);
            self.counts.expected -= copies;
            self.counts.measured.expected -= if measured { copies } else { 0 };
            if self.refused.len() < REFUSED_MAX {
                self.refused.push((sent.stream, sent.sequence));
            }
        } else if let Some(journal) = &mut self.journal {
            journal.note(sent.stream, sent.sequence);
        }
    }

    fn answered(&mut self, connack: &ConnAck<'_>) {
        self.told.push(Happened::Answered {
            reason: connack.reason,
            session_present: connack.session_present,
            receive_maximum: connack.receive_maximum.map_or(u16::MAX, |most| most.get()),
            packet_max: connack.maximum_packet_size.map(|most| most.get()),
        });
    }

    fn subscribed(&mut self, reasons: &[Reason]) {
        self.told.push(Happened::Subscribed(reasons.to_vec()));
    }

    fn dismissed(&mut self, reason: Reason) {
        self.told.push(Happened::Dismissed(reason));
    }
}

impl Ladder {
    fn new() -> Ladder {
        Ladder { early: Times::new(), slice: Times::new(), total: Times::new() }
    }

    #[inline]
    fn record(&mut self, measured: bool, nanos: u64) {
        if measured {
            self.slice.record(nanos);
        } else {
            self.early.record(nanos);
        }
    }

    /// Adds the slice to the total, and gives it back with what was not measured.
    fn end_slice(&mut self) -> Times {
        if !self.slice.is_empty() {
            self.total.add(&self.slice);
        }
        self.early.add(&self.slice);
        self.slice.clear();
        std::mem::take(&mut self.early)
    }
}

/// Reasons for lost connections that are remembered.
const LOSSES_MAX: usize = 5;
/// Refused messages that are remembered one by one; of more, copies count as lost.
const REFUSED_MAX: usize = 1_000_000;
