//! One turn of one client: what it has changed so far, carried out together at its end.

use std::sync::Arc;
use std::task::Waker;

use super::Broker;
use super::dropped::Gone;
use super::mailbox::Mailbox;
use super::metrics::Tally;
use super::overload::Pressure;
use super::ports::{Batch, Permit};
use super::queue_settings::QueueSettings;
use super::recent::Recent;
use super::router::RouteChange;
use super::staged::Staged;
use crate::codec::{PacketId, QoS, Reason};
use crate::message::Delivery;

/// Scratch memory of a turn. One for each thread serves all its links, so that an idle one owns
/// none of it.
#[derive(Debug, Default)]
pub struct Turn {
    /// What is to be written to the client, appended to by the link.
    pub out: Vec<u8>,
    /// Copies routed so far in this turn.
    pub copies: usize,
    /// How hard the broker is pressed, as this turn has found it.
    pub(super) pressure: Pressure,
    /// The rules for queues, as this turn has found them.
    pub(super) settings: Arc<QueueSettings>,
    pub(super) tally: Tally,
    pub(super) recent: Recent,
    pub(super) staged: Staged,
    pub(super) wakers: Vec<Waker>,
    pub(super) drained: Vec<Delivery>,
    pub(super) pressed: Vec<Arc<Mailbox>>,
    pub(super) answers: Vec<Answer>,
    pub(super) changes: Vec<RouteChange>,
    pub(super) batch: Batch,
    pub(super) gone: Gone,
    pub(super) permit: Permit,
    /// Stamps of retained messages that the store is given at the end of the turn.
    pub(super) stamps: Vec<u64>,
    /// Room that was asked for before the PUBLISH in hand was looked at.
    pub(super) room: Option<Permit>,
}

/// Something owed to the client, in its place in the order.
#[derive(Debug)]
pub(super) struct Answer {
    pub due: Due,
    pub what: Owed,
}

/// What an answer waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Due {
    /// Nothing.
    Now,
    /// What this turn changed is durable.
    ThisTurn,
    /// Everything this Session ever changed is durable.
    Newest,
}

/// What is owed.
#[derive(Debug)]
pub(super) enum Owed {
    /// A PUBLISH was routed: its PUBACK or PUBREC.
    Published { packet_id: PacketId, qos: QoS, reason: Reason, over_rate: bool },
    /// A packet, encoded.
    Bytes(Box<[u8]>),
}

/// Copies after which a turn should end, so that no client keeps a worker for itself.
pub const COPIES_MAX: usize = 4096;

/// Notes a receiver above half full: the publisher should pause for it.
pub(super) fn press(pressed: &mut Vec<Arc<Mailbox>>, mailbox: &Arc<Mailbox>) {
    if !pressed.iter().any(|pressed| Arc::ptr_eq(pressed, mailbox)) {
        pressed.push(mailbox.clone());
    }
}

impl Broker {
    /// Begins a turn: with the rules of now, which it keeps to its end.
    #[inline]
    pub fn begin(&self, turn: &mut Turn) {
        turn.pressure = self.pressure();
        self.0.queue_settings.renew(&mut turn.settings);
    }
}

impl Turn {
    /// A turn that was nobody's, or whose link is gone: nobody is owed, and nobody pauses for it.
    pub(super) fn forget(&mut self) {
        self.answers.clear();
        self.pressed.clear();
        self.copies = 0;
    }

    /// It has changed nothing so far: there is nothing to carry out.
    #[inline]
    pub(super) fn is_clean(&self) -> bool {
        self.tally.is_empty()
            && self.staged.is_empty()
            && self.wakers.is_empty()
            && self.gone.is_empty()
            && self.stamps.is_empty()
            && self.permit.bytes() == 0
            && self.batch.is_empty()
    }

    /// Wakes everybody this turn had something for, with no lock held.
    pub(super) fn wake(&mut self) {
        if self.wakers.is_empty() {
            return;
        }
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }
}
