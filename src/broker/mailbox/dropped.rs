//! Copies that a mailbox refuses or drops, as they are reported.

use std::sync::Arc;

use super::owner::Owner;
use super::waiting::Waiting;
use crate::message::{Loss, Message, Mid, ReceiverId};

/// A copy was not admitted: it is in the receiver's account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    loss: Loss,
    name: Option<Arc<str>>,
    dead_letter: bool,
}

/// Copies, at least one, that are lost all at once: they are in the receiver's account, and still to be reported.
#[derive(Debug)]
#[must_use]
pub struct DroppedCopies {
    waiting: Waiting,
    loss: Loss,
    receiver: ReceiverId,
    name: Arc<str>,
}

impl Refusal {
    pub(super) fn new(loss: Loss, name: Option<Arc<str>>, dead_letter: bool) -> Refusal {
        Refusal { loss, name, dead_letter }
    }

    /// Why.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// The receiver's name for the log; none if the refusal is not logged.
    pub fn into_name(self) -> Option<Arc<str>> {
        self.name
    }

    /// The receiver's queue asks for a dead letter.
    pub fn wants_dead_letter(&self) -> bool {
        self.dead_letter
    }
}

impl DroppedCopies {
    pub(super) fn new(waiting: Waiting, loss: Loss, owner: &Owner) -> DroppedCopies {
        DroppedCopies { waiting, loss, receiver: owner.receiver(), name: owner.name() }
    }

    /// Why.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// The receiver.
    pub fn receiver(&self) -> ReceiverId {
        self.receiver
    }

    /// The receiver's name: a Client Identifier, or the filter of a group.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Shows each: its message, if it is in memory, and its number, if the store keeps it.
    pub fn visit(&self, visit: impl FnMut(Option<&Message>, Option<Mid>)) {
        self.waiting.visit(visit);
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.waiting.len()
    }
}
