//! What a run found, of what its threads wrote down.

use super::book::Book;
use super::shared::Counts;
use super::{Commander, Measured};
use crate::measure::{Times, Windows};
use crate::outcome::{BrokerUse, Connections, Outcome, Traffic, Verification};
use crate::plan::Length;
use crate::target::Target;

impl Commander<'_> {
    pub(super) fn sum_up(&self, books: Vec<Book>, target: &Target) -> Outcome {
        let counts = self.shared.counts();
        let Measured { from_ns, to_ns, drained_ns, own_cpu, length, .. } = self.measured;
        let span = seconds(from_ns, to_ns);
        let routes = &self.shared.routes;
        let mut refused: Vec<(u32, u64)> =
            books.iter().flat_map(|book| book.refused.iter().copied()).collect();
        refused.sort_unstable();
        let mut verification = Verification::default();
        let (mut latency, mut acknowledgement) = (Times::new(), Times::new());
        let (mut connect, mut windows) = (Times::new(), Windows::default());
        for book in &books {
            let sent = |stream| self.shared.sent(stream);
            verification.add(match &self.plan.owed {
                Some(owed) => book.verifier.finish_owed(routes, owed),
                None => book.verifier.finish(routes, sent, &refused),
            });
            verification.examples.extend(book.losses.iter().cloned());
            latency.add(&book.latency.total);
            acknowledgement.add(&book.acknowledgement.total);
            connect.add(&book.connect);
            if let Some((_, seen)) = &book.windows {
                windows.merge(seen);
            }
        }
        let timeline = self.shared.timeline().take();
        let started_unix_ms = timeline.started_ns() / 1_000_000;
        let mut measured = counts.measured;
        if measured.published == 0 {
            // What was prepared before the measured time is what the run is about.
            measured.published = counts.published;
            measured.acknowledged = counts.acknowledged;
            measured.refused = counts.refused;
            measured.bytes.0 = counts.bytes.0;
        }
        let published_in_time = counts.measured.published;
        if let Some(owed) = &self.plan.owed {
            measured.expected = owed.count();
        } else if published_in_time == 0 {
            measured.expected = counts.expected;
        }
        // Of so many messages, what counts is how long all of them took to arrive.
        let arriving = match length {
            Some(Length::Count(_)) => {
                rate(measured.delivered, seconds(from_ns, counts.last_arrival_ns))
            }
            Some(Length::For(_)) | None => rate(counts.in_time, span),
        };
        Outcome {
            scenario: self.plan.scenario.clone(),
            target: target.name(),
            settings: self.plan.settings.clone(),
            started_unix_ms,
            seconds: span,
            drain_seconds: seconds(to_ns, drained_ns),
            traffic: Traffic {
                published: measured.published,
                acknowledged: measured.acknowledged,
                refused: measured.refused,
                expected: measured.expected,
                delivered: measured.delivered,
                payload_bytes: measured.bytes,
                publish_rate: rate(published_in_time, span),
                delivery_rate: arriving,
            },
            latency: latency.latency(),
            acknowledgement: acknowledgement.latency(),
            verification,
            connections: Connections {
                wanted: self.opening.wanted,
                opened: counts.opened,
                failed: counts.failed,
                lost: counts.lost,
                connect: connect.latency(),
                open_rate: rate(self.opening.wanted - counts.failed, self.opening.seconds),
                may_be_lost: self.plan.may_lose_connections,
                recovery: self.recovery.clone(),
            },
            smoothness: self.plan.smoothness_ms.map(|length| windows.smoothness(length)),
            own_cpu_seconds: own_cpu.1 - own_cpu.0,
            broker: self.broker_use(&counts, target.pid),
            timeline: timeline.samples(),
            is_about_messages: self.plan.is_about_messages(),
            is_interrupted: self.is_interrupted,
            unmet: Vec::new(),
        }
    }

    fn broker_use(&self, counts: &Counts, pid: Option<u32>) -> Option<BrokerUse> {
        let (before, (Some(from), Some(to))) = (self.before?, self.measured.broker) else {
            return None;
        };
        let opened = self.measured.opened.1 - self.measured.opened.0;
        let arrived = counts.delivered - self.measured.delivered;
        let counted = [arrived, counts.measured.published, opened, self.measured.open];
        let units = counted.into_iter().find(|units| *units > 0);
        let units = units.unwrap_or(1) as f64;
        let cpu_seconds = (to.cpu_seconds - from.cpu_seconds).max(0.0);
        let grown = to.resident.saturating_sub(before.resident) as f64;
        Some(BrokerUse {
            pid: pid?,
            cpu_seconds,
            cpu_us_per_message: cpu_seconds * 1e6 / units,
            resident_before: before.resident,
            resident_max: self.watched.resident_max,
            resident_after: to.resident,
            bytes_per_connection: grown / self.opening.wanted.max(1) as f64,
            switches_per_message: to.switches.saturating_sub(from.switches) as f64 / units,
        })
    }
}

/// Seconds between two moments, none if they are the other way round.
pub(super) fn seconds(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e9
}

fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}
