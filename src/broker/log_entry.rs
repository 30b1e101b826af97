//! A message on its way through the log of a cluster.

use std::sync::Arc;
use std::task::Waker;

use super::dedup::opening::{OpenTurn, UnderWay};
use super::receipt::Receipt;
use crate::message::{Identity, Message, SessionId};
use crate::session::Op;

/// A message in the log.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// It, as it was let in.
    pub message: Message,
    /// Its publisher.
    pub publisher: Arc<Identity>,
    /// It changes the retained message of its topic.
    pub retains: bool,
    /// What the node that it came in at notes of a Session together with it.
    pub with: Option<(SessionId, Op)>,
}

/// An answer that waits until this node has applied a message.
#[derive(Debug)]
pub struct HandedIn(OpenTurn);

impl HandedIn {
    /// A message is about to be handed in.
    pub(super) fn begin() -> HandedIn {
        HandedIn(OpenTurn::begin())
    }

    /// What the answer waits for.
    pub(super) fn under_way(&self) -> &Arc<UnderWay> {
        self.0.opening()
    }

    /// It is applied, and the store has that: returns what waits for it.
    pub(super) fn applied(self, receipt: Receipt) -> Vec<Waker> {
        self.0.submitted(receipt)
    }
}
