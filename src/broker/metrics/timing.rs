//! What is timed: of each the histogram of how long it took.

use super::histogram::{Histogram, Spans};
use crate::broker::Broker;
use crate::message::Delivery;
use crate::time::Time;

/// Something of which the broker tells how long it takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Timing {
    /// Of the store: from handing in the first batch of a commit until the commit is durable.
    Commit,
    /// Of the store: one flush of the disk.
    Flush,
    /// From CONNECT to an accepting CONNACK.
    Connack,
    /// From a PUBLISH to the turn that writes a copy of it, of one in 16 copies.
    Deliver,
    /// One wait of copies for a client at buckets, its own or shared ones, until some may leave.
    Shaped,
}

impl Timing {
    /// All of them.
    pub const ALL: [Timing; 5] =
        [Timing::Commit, Timing::Flush, Timing::Connack, Timing::Deliver, Timing::Shaped];

    /// The name for exporters, without a prefix and without its unit, as [`Metric::name`].
    ///
    /// [`Metric::name`]: super::Metric::name
    pub const fn name(self) -> &'static str {
        match self {
            Timing::Commit => "store_commit",
            Timing::Flush => "store_flush",
            Timing::Connack => "connack",
            Timing::Deliver => "delivery",
            Timing::Shaped => "shaping_wait",
        }
    }

    /// What it means, in a sentence.
    pub const fn help(self) -> &'static str {
        match self {
            Timing::Commit => "Time until a commit was durable, from its first batch on.",
            Timing::Flush => "Time that a flush of the disk took.",
            Timing::Connack => "Time from CONNECT to an accepting CONNACK.",
            Timing::Deliver => {
                "Time from a PUBLISH to the turn that writes a copy of it, waits in queues included; of one copy in 16."
            }
            Timing::Shaped => {
                "Time that copies for a client waited at its bucket or at shared ones until some left."
            }
        }
    }
}

/// Histograms of what the broker itself times.
#[derive(Debug, Default)]
pub(in crate::broker) struct Timings {
    pub connack: Histogram,
    pub deliver: Histogram,
    pub shaped: Histogram,
}

/// Chooses the copies of which the delivery is timed: one thread's.
#[derive(Debug, Default)]
pub(in crate::broker) struct Sampler {
    /// So many copies are passed over before the next one.
    skip: usize,
}

impl Sampler {
    /// One copy in so many is timed.
    const EVERY: usize = 16;

    /// Copies are about to be sent, at `now`: counts how long ago those that are chosen came in.
    #[inline]
    pub fn pass(&mut self, copies: &[Delivery], now: Time, to: &Histogram) {
        while let Some(copy) = copies.get(self.skip) {
            to.note(now.since(copy.message.received));
            self.skip += Sampler::EVERY;
        }
        self.skip -= copies.len();
    }
}

impl Broker {
    /// Where it is counted how long things take; nowhere if the broker is not watched.
    #[inline]
    pub(in crate::broker) fn timings(&self) -> Option<&Timings> {
        self.is_watched().then(|| self.0.metrics.timings())
    }

    /// How long something took: of the store since the start, else since the broker is watched. `None` for what a store
    /// that keeps nothing does.
    ///
    /// What took place between two looks is [`Spans::since`], and [`Spans::quantile`] says how long
    /// most of it took.
    pub fn timing(&self, what: Timing) -> Option<Spans> {
        let timings = self.0.metrics.timings();
        let own = match what {
            Timing::Commit => return Some(self.0.ports.store.times()?.commit),
            Timing::Flush => return Some(self.0.ports.store.times()?.flush),
            Timing::Connack => &timings.connack,
            Timing::Deliver => &timings.deliver,
            Timing::Shaped => &timings.shaped,
        };
        Some(own.spans())
    }
}
