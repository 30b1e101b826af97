//! The last minutes in figures: a bounded ring of points, one each five seconds, and the latest second.
//!
//! It is fed by [`Broker::sample_figures`], once a second where somebody may look; else it is empty and costs nothing.

use std::collections::VecDeque;
use std::time::Duration;

use super::Broker;
use super::metrics::{Counter, Spans};
use super::overload::Cause;
use crate::message::Loss;
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;

/// Figures of one moment, and what has happened a second since the point before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FigurePoint {
    /// When.
    pub time: Time,
    /// Clients connected.
    pub clients: usize,
    /// PUBLISH packets received and sent, a second.
    pub messages: (f64, f64),
    /// Bytes read from clients and written to them, a second.
    pub bytes: (f64, f64),
    /// Copies lost, a second, by reason.
    pub lost: [f64; Loss::ALL.len()],
    /// Half of the commits since the point before, and 99 of 100, were durable within this time; `None`: there was none.
    pub commit: Option<(Duration, Duration)>,
    /// How hard the broker is pressed, from 0 to 3.
    pub level: u8,
    /// What that is due to.
    pub cause: Option<Cause>,
}

/// The points of the last minutes.
#[derive(Debug, Default)]
pub(super) struct History {
    ring: Mutex<FigureRing>,
}

#[derive(Debug, Default)]
struct FigureRing {
    points: VecDeque<FigurePoint>,
    latest: Option<FigurePoint>,
    /// Counts of the last call, and of the last point.
    last: Option<FigureCounts>,
    kept: Option<FigureCounts>,
}

/// What is counted since the start, at one moment.
#[derive(Clone, Debug)]
struct FigureCounts {
    at: Time,
    messages: (u64, u64),
    bytes: (u64, u64),
    lost: [u64; Loss::ALL.len()],
    commits: Option<Spans>,
}

/// Time between two points that are kept.
pub const STEP: Duration = Duration::from_secs(5);
/// Points that are kept: of a quarter of an hour.
pub const POINTS_MAX: usize = 180;

impl Broker {
    /// Takes a sample at `now`, to be called once a second. The result is the point since the last call; the first
    /// call only counts.
    pub fn sample_figures(&self, now: Time) -> Option<FigurePoint> {
        let counts = self.figure_counts(now);
        let still = self.figures_now(now);
        let ring = &mut *self.0.history.lock();
        if ring.kept.as_ref().is_none_or(|kept| now.since(kept.at) >= STEP) {
            if let Some(kept) = ring.kept.replace(counts.clone()) {
                ring.points.push_back(counts.since(&kept, still.clone()));
            }
            let first = now.before(STEP * POINTS_MAX as u32);
            while ring.points.front().is_some_and(|point| point.time <= first) {
                ring.points.pop_front();
            }
        }
        let last = ring.last.replace(counts.clone());
        ring.latest = last.map(|last| counts.since(&last, still));
        ring.latest.clone()
    }

    /// The points of the last quarter of an hour, the oldest first: one each five seconds.
    pub fn figure_history(&self) -> Vec<FigurePoint> {
        self.0.history.lock().points.iter().cloned().collect()
    }

    /// The point of the last second.
    pub fn latest_figures(&self) -> Option<FigurePoint> {
        self.0.history.lock().latest.clone()
    }

    fn figure_counts(&self, at: Time) -> FigureCounts {
        let metrics = &self.0.metrics;
        FigureCounts {
            at,
            messages: (metrics.sum(Counter::Received), metrics.sum(Counter::Sent)),
            bytes: (metrics.sum(Counter::BytesReceived), metrics.sum(Counter::BytesSent)),
            lost: Loss::ALL.map(|loss| metrics.lost(loss)),
            commits: self.0.ports.store.times().map(|times| times.commit),
        }
    }

    /// What is no rate.
    fn figures_now(&self, time: Time) -> FigurePoint {
        let (cause, _) = self.readings();
        let (clients, level) = (self.0.metrics.connected(), self.pressure().level());
        FigurePoint { time, clients, level, cause, ..FigurePoint::default() }
    }
}

impl FigureCounts {
    /// The rates since `before`, beside what is no rate.
    fn since(&self, before: &FigureCounts, still: FigurePoint) -> FigurePoint {
        let seconds = self.at.since(before.at).as_secs_f64().max(f64::MIN_POSITIVE);
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        let both = |now: (u64, u64), then: (u64, u64)| (rate(now.0, then.0), rate(now.1, then.1));
        let mut lost = [0.0; Loss::ALL.len()];
        for (rated, (now, then)) in lost.iter_mut().zip(self.lost.iter().zip(before.lost)) {
            *rated = rate(*now, then);
        }
        let commits = self.commits.as_ref().zip(before.commits.as_ref());
        let commits = commits.map(|(now, then)| now.since(then)).filter(|spans| spans.count() > 0);
        FigurePoint {
            messages: both(self.messages, before.messages),
            bytes: both(self.bytes, before.bytes),
            lost,
            commit: commits.map(|spans| (spans.quantile(50), spans.quantile(99))),
            ..still
        }
    }
}

impl History {
    fn lock(&self) -> MutexGuard<'_, FigureRing> {
        whole(self.ring.lock())
    }
}
