//! Traces: each packet of one client, or each PUBLISH of one Topic Filter, decoded; and the journey of each message
//! that they are about.
//!
//! A trace is begun with [`Broker::trace`] and ends when its [`TraceHandle`] is dropped. Its events wait in a bounded
//! queue until they are taken: what does not fit is counted. A turn finds out with one look at a number whether any
//! trace is on; where none is, nothing else is asked.
//!
//! Passwords and authentication data are in no event. A payload is in an event only if the trace asks for it, and is
//! cut at a length.
//!
//! The journey of a message is told by its number. A message in memory carries it; one that only the store has, and
//! one of which the client has acknowledged a part, is found in a bounded table. What is beyond that table, and what
//! was in the store when the trace began, is not followed.
//!
//! A trace can also be of a sample of all messages, for OpenTelemetry. It lasts, and it sees no packets: nothing that is
//! written is decoded for it. It is told when a publisher is answered that waited for the store.

mod describe;
mod event;
mod following;
mod order;
mod parent;
#[cfg(feature = "otel")]
mod sampling;
#[cfg(not(feature = "otel"))]
#[path = "trace/no_sampling.rs"]
mod sampling;
mod set;

use std::sync::Arc;

use super::Broker;

pub(super) use event::text;
pub use event::{TraceEvent, TraceKind, TraceRecord, TraceValue};
pub(super) use following::{Followed, InFlightKey};
pub use order::{TooManyTraces, TraceOf, TraceOrder};
pub use parent::TraceParent;
pub use sampling::Sampling;
#[cfg(feature = "otel")]
pub(crate) use sampling::mixed;
pub use set::TakenEvents;
use set::Trace;
pub(super) use set::{Direction, Seen, TraceSet, Traced, Traces};

/// A trace that is on, until this is dropped.
#[derive(Debug)]
pub struct TraceHandle {
    broker: Broker,
    trace: Arc<Trace>,
}

impl Broker {
    /// Begins a trace, if fewer than `most` are on. One of a sample is not counted, and always begun.
    ///
    /// # Errors
    ///
    /// `most` traces are on that are not of a sample.
    pub fn trace(&self, order: TraceOrder, most: usize) -> Result<TraceHandle, TooManyTraces> {
        let trace = Arc::new(Trace::new(order));
        self.0.traces.begin(trace.clone(), most)?;
        Ok(TraceHandle { broker: self.clone(), trace })
    }
}

impl TraceHandle {
    /// Takes what has come since the last call, the oldest first.
    pub fn take(&self) -> TakenEvents {
        self.trace.take()
    }
}

impl Drop for TraceHandle {
    fn drop(&mut self) {
        self.broker.0.traces.end(&self.trace);
    }
}
