//! What is asked for with a trace.

use std::sync::Arc;

use super::sampling::Sampling;
use crate::topic::TopicFilter;

/// What a trace is about.
#[derive(Clone, Debug)]
pub enum TraceOf {
    /// The client of this Client Identifier, connected or not: its packets, and the messages that it publishes or is
    /// to receive.
    Client(Arc<str>),
    /// Messages with a topic that fits: their PUBLISH packets of all clients, and their journeys.
    Filter(TopicFilter),
    /// The journeys of messages that are chosen as clients publish them. No packets.
    Sample(Arc<Sampling>),
}

/// A trace that is asked for.
#[derive(Clone, Debug)]
pub struct TraceOrder {
    /// What it is about.
    pub of: TraceOf,
    /// Bytes of each payload that are shown; 0: none.
    pub payload_max: usize,
    /// Events until it is over.
    pub events_max: u64,
}

/// As many traces are on as may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0} traces are on, as many as may be")]
pub struct TooManyTraces(pub usize);
