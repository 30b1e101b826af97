//! What a broker says of itself in a few numbers, without a look at any one client.

use super::Broker;
use super::metrics::Counter;
use super::ports::{Refused, StoreFigures};
use super::view::OverloadView;
use crate::message::Loss;
use crate::time::Time;

/// A broker at one moment: plain data, at a cost that does not depend on how many clients there are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Summary {
    /// When it was made.
    pub started: Time,
    /// Clients connected.
    pub connected: usize,
    /// Sessions, of connected clients and of others.
    pub sessions: usize,
    /// Subscriptions, shared ones too.
    pub subscriptions: usize,
    /// Retained messages.
    pub retained: usize,
    /// Memory that messages take, in bytes.
    pub message_bytes: u64,
    /// PUBLISH packets received and sent since the start.
    pub publishes: (u64, u64),
    /// Copies in the ledger since the start.
    pub lost: u64,
    /// How hard the broker is pressed, and by what.
    pub overload: OverloadView,
    /// Why the store takes nothing new, if so.
    pub store_refuses: Option<Refused>,
}

impl Broker {
    /// What the store has to say of itself; it looks at its files for that.
    pub fn store_figures(&self) -> Option<StoreFigures> {
        self.0.ports.store.figures()
    }

    /// Its summary.
    pub fn summary(&self) -> Summary {
        let shared = &*self.0;
        let metrics = &shared.metrics;
        Summary {
            started: shared.started,
            connected: metrics.connected(),
            sessions: shared.registry.sessions(),
            subscriptions: shared.router.subscriptions(),
            retained: shared.router.retained().totals().0,
            message_bytes: shared.meter.bytes(),
            publishes: (metrics.sum(Counter::Received), metrics.sum(Counter::Sent)),
            lost: Loss::ALL.into_iter().map(|loss| metrics.lost(loss)).sum(),
            overload: self.overload_view(),
            store_refuses: shared.ports.store.admit(0).err(),
        }
    }
}
