//! Publishing inside the process, without a Network Connection: for bridges, tests and programs that
//! embed a broker.

use std::sync::Arc;
use std::task::Waker;

use super::Broker;
use super::mailbox::Mailbox;
use super::ports::{Progress, Receipt, Refused};
use super::publish::{Publisher, Submission};
use super::turn::Scratch;
use crate::codec::Reason;
use crate::message::{Draft, Identity};
use crate::time::Time;

/// A publisher inside the process. It is asked for the rights of its identity, and sees what makes a
/// client's link stop reading: a store without room, and receivers with queues more than half
/// full. See `examples/embed.rs`.
#[derive(Debug)]
pub struct PublishHandle {
    broker: Broker,
    identity: Arc<Identity>,
    /// Receivers that are more than half full, with what they had taken when that was seen.
    pressed: Vec<(Arc<Mailbox>, u32)>,
    /// When it stops waiting for them.
    until: Time,
}

/// What became of a message of a [`PublishHandle`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sent {
    reason: Reason,
    receivers: u32,
    receipt: Option<Receipt>,
    pause: bool,
}

impl Sent {
    /// What a client would find in PUBACK: an error means that it is not accepted.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Receivers that have it or will have it.
    pub fn receivers(&self) -> u32 {
        self.receivers
    }

    /// The message is safe when this is durable: see [`PublishHandle::durability`]. `None`: there is nothing
    /// to wait for.
    pub fn receipt(&self) -> Option<Receipt> {
        self.receipt
    }

    /// The next message should wait until [`PublishHandle::is_ready`].
    pub fn pauses(&self) -> bool {
        self.pause
    }
}

impl PublishHandle {
    /// A publisher of this identity: see [`Broker::identity`].
    pub fn new(broker: &Broker, identity: Arc<Identity>) -> PublishHandle {
        PublishHandle { broker: broker.clone(), identity, pressed: Vec::new(), until: Time::START }
    }

    /// Publishes a message, in a turn of its own. Back-pressure is advice: it is taken, or refused for
    /// want of room, whether the PublishHandle was ready or not.
    pub fn publish(&mut self, draft: &Draft<'_>, now: Time, scratch: &mut Scratch) -> Sent {
        let broker = &self.broker;
        let mut turn = broker.turn(scratch, now);
        let submission = Submission::new(draft, Publisher::Client(&self.identity));
        let published = broker.publish(submission, &mut turn);
        // The first of a repeat is of a turn that is under way on another thread: not safe, nor to be
        // waited for here.
        let too_soon = !std::mem::take(&mut turn.waits_for).is_empty();
        let receipt = turn.commit();
        if !turn.pressed.is_empty() {
            let pressed = turn.pressed.drain(..).map(|mailbox| (mailbox.clone(), mailbox.taken()));
            self.pressed = pressed.collect();
            self.until = now.after(turn.settings.queue().pause_max.0);
        }
        turn.finish();
        Sent {
            reason: if too_soon { Reason::QuotaExceeded } else { published.reason() },
            receivers: published.admitted(),
            receipt: receipt.filter(|_| published.is_stored()),
            pause: !self.pressed.is_empty() || published.no_room() || too_soon,
        }
    }

    /// Whether the next message may come: the store has room, and no receiver is more than half full,
    /// or has been for `queue.pause_max`. If not, `waker` is woken when that may have changed; time is
    /// the caller's, see [`PublishHandle::deadline`].
    pub fn is_ready(&mut self, waker: &Waker, now: Time, scratch: &mut Scratch) -> bool {
        let shared = &*self.broker.0;
        if shared.remembers
            && matches!(
                shared.ports.store.room(waker),
                Err(Refused::Slow | Refused::Full | Refused::Trouble)
            )
        {
            return false;
        }
        let turn = self.broker.turn(scratch, now);
        let queue = turn.settings.queue();
        self.pressed.retain(|(mailbox, _)| !mailbox.pause_over(queue, waker));
        turn.finish();
        if self.until <= now {
            // A receiver that took nothing meanwhile is slow: no publisher waits for it any more.
            for (mailbox, taken) in self.pressed.drain(..) {
                mailbox.pause_expired(taken);
            }
        }
        self.pressed.is_empty()
    }

    /// When [`PublishHandle::is_ready`] is to be asked again without a wake, if ever.
    pub fn deadline(&self) -> Option<Time> {
        (!self.pressed.is_empty()).then_some(self.until)
    }

    /// How far a message has come; while it is pending, `waker` is woken once when that changes.
    pub fn durability(&self, receipt: Receipt, waker: &Waker) -> Progress {
        self.broker.durability(receipt, waker)
    }
}
