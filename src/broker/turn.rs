//! One turn of one client: what it has changed so far, carried out together at its end.
//!
//! [`Broker::turn`] begins it, [`Turn::finish`] ends it: finishing twice does not compile, and a turn that
//! is dropped unfinished panics in debug builds. [`Scratch`] is the memory that it works in.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::Waker;

use thin_vec::ThinVec;

use super::Broker;
use super::dedup::opening::{OpenTurn, UnderWay};
use super::dropped::Gone;
use super::failed_copy::FailedCopy;
use super::mailbox::Mailbox;
use super::metrics::{Counter, Sampler, Tally};
use super::overload::Pressure;
use super::pending_pushes::PendingPushes;
use super::ports::{Batch, Receipt};
use super::queue_settings::QueueSettings;
use super::recent::Recent;
use super::router::RouteChange;
use super::sources::Sources;
use super::topic_ledger::Unrouted;
use super::trace::Traced;
use crate::codec::{PacketId, QoS, Reason};
use crate::message::{Delivery, Grounds, RefusalKind};
use crate::session::{Context, Count};
use crate::time::Time;

/// One turn: the broker, the time, and what is to be carried out at its end.
///
/// ```
/// # use std::sync::Arc;
/// # use sluicemq::{auth, broker::{Broker, Ports, turn::Scratch}, config::Config, store, time::Time};
/// # let ports = Ports {
/// #     store: Arc::new(store::MemoryStore),
/// #     authenticator: Arc::new(auth::PasswordAuth::new(None)),
/// #     access: Arc::new(auth::PermitAll),
/// # };
/// # let now = Time::from_secs(1);
/// let broker = Broker::new(&Config::default(), ports, 7, now);
/// let mut scratch = Scratch::default();
/// let turn = broker.turn(&mut scratch, now);
/// assert_eq!(turn.finish(), None, "nothing was changed");
/// ```
///
/// A second end does not compile:
///
/// ```compile_fail,E0382
/// fn twice(turn: sluicemq::broker::turn::Turn<'_>) {
///     turn.finish();
///     turn.finish();
/// }
/// ```
#[derive(Debug)]
#[must_use = "what a turn has changed is carried out by `finish`"]
pub struct Turn<'a> {
    pub(super) broker: &'a Broker,
    /// The time, for all that happens in it.
    pub(super) now: Time,
    pub(super) scratch: &'a mut Scratch,
    unfinished: Unfinished,
}

/// Panics in debug builds when it is dropped, unless the thread does so already.
#[derive(Debug)]
struct Unfinished;

#[cfg(debug_assertions)]
impl Drop for Unfinished {
    fn drop(&mut self) {
        if !unwinding() {
            panic!("a turn was dropped unfinished: what it changed would be lost");
        }
    }
}

/// Whether the thread panics.
pub(super) fn unwinding() -> bool {
    std::thread::panicking()
}

/// Scratch memory of a turn. One for each thread serves all its links, so that an idle one owns
/// none of it.
#[derive(Debug, Default)]
pub struct Scratch {
    /// What is to be written to the client, appended to by the link.
    pub out: Vec<u8>,
    /// What this turn has done so far.
    pub(super) work: Work,
    /// How hard the broker is pressed, as this turn has found it.
    pub(super) pressure: Pressure,
    /// The rules for queues, as this turn has found them.
    pub(super) settings: Arc<QueueSettings>,
    pub(super) tally: Tally,
    pub(super) sampler: Sampler,
    pub(super) recent: Recent,
    pub(super) pending_pushes: PendingPushes,
    pub(super) wakers: Vec<Waker>,
    pub(super) drained: Vec<Delivery>,
    pub(super) pressed: Vec<Arc<Mailbox>>,
    pub(super) answers: Vec<Answer>,
    pub(super) changes: Vec<RouteChange>,
    pub(super) batch: Batch,
    pub(super) gone: Gone,
    /// Copies of named queues that have failed.
    pub(super) failed: Vec<FailedCopy>,
    /// It has noted keys of `[[dedup]]` that are still to go to the store.
    pub(super) opening: Option<OpenTurn>,
    /// Turns of other threads whose end the answer to the message in hand waits for.
    pub(super) waits_for: ThinVec<Arc<UnderWay>>,
    /// Stamps of retained messages that the store is given at the end of the turn.
    pub(super) stamps: Vec<u64>,
    /// Why the message in hand was refused before it was routed.
    pub(super) refused: Option<Grounds>,
    /// Publishers of retained messages.
    pub(super) sources: Sources,
    /// The store has room for the PUBLISH in hand: it was asked before that was looked at.
    pub(super) room_granted: bool,
    /// The traces that are on, as this turn has found them.
    pub(super) traced: Traced,
}

/// Something owed to the client, in its place in the order.
#[derive(Debug)]
pub(super) struct Answer {
    pub due: Due,
    pub what: Owed,
}

/// What an answer waits for.
#[derive(Clone, Debug)]
pub(super) enum Due {
    /// Nothing.
    Now,
    /// What this turn changed is durable.
    ThisTurn,
    /// That too, and what these turns of other threads have changed.
    Others(ThinVec<Arc<UnderWay>>),
    /// Everything this Session ever changed is durable.
    Newest,
}

/// What is owed.
#[derive(Debug)]
pub(super) enum Owed {
    /// A PUBLISH was routed, refused, or a repeat: its PUBACK or PUBREC.
    Published {
        packet_id: PacketId,
        qos: QoS,
        reason: Reason,
        why: Option<RefusalKind>,
        repeat: bool,
    },
    /// A packet, encoded.
    Bytes(Box<[u8]>),
    /// Nothing: what comes behind it waits for what it waits for.
    Nothing,
}

/// What a turn has done: copies it has routed, and what it cost to find their receivers. It ends when
/// that is too much, so that no client keeps a worker for itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Work {
    /// Copies and looks together, in looks.
    cost: usize,
    looks: usize,
}

/// Copies after which a turn should end.
pub const COPIES_MAX: usize = 4096;
/// Changes of the routes for which there is memory between two turns.
const CHANGES_KEPT: usize = 64;
/// Looks that cost as much as a copy. A look is some nanoseconds; a copy is more, but copies of one turn reach
/// their receiver in one write.
const COPY_LOOKS: usize = 4;
/// What a turn may cost, in looks: some tenth of a millisecond.
const COST_MAX: usize = COPIES_MAX * COPY_LOOKS;

impl Work {
    /// A message was routed: so many copies, found by so many looks.
    #[inline]
    pub fn add(&mut self, copies: usize, looks: usize) {
        self.cost += copies * COPY_LOOKS + looks;
        self.looks += looks;
    }

    /// Something was done of which a turn may do `most`.
    #[inline]
    pub fn add_share(&mut self, done: usize, most: usize) {
        self.cost += done * COST_MAX / most;
    }

    /// The turn has done enough.
    #[inline]
    pub fn is_enough(self) -> bool {
        self.cost >= COST_MAX
    }

    /// Looks so far.
    #[inline]
    pub fn looks(self) -> usize {
        self.looks
    }
}

/// Notes a receiver above half full: the publisher should pause for it.
pub(super) fn press(pressed: &mut Vec<Arc<Mailbox>>, mailbox: &Arc<Mailbox>) {
    if !pressed.iter().any(|pressed| Arc::ptr_eq(pressed, mailbox)) {
        pressed.push(mailbox.clone());
    }
}

impl Broker {
    /// Begins a turn at `now`, in memory that one thread uses again and again. It keeps the rules of now
    /// to its end.
    #[inline]
    pub fn turn<'a>(&'a self, scratch: &'a mut Scratch, now: Time) -> Turn<'a> {
        scratch.pressure = self.pressure();
        self.0.queue_settings.renew(&mut scratch.settings);
        self.0.traces.renew(&mut scratch.traced);
        // A PUBLISH that ended before it was asked for room has left it set.
        scratch.room_granted = false;
        Turn { broker: self, now, scratch, unfinished: Unfinished }
    }

    /// Does something in a turn of its own. Returns what came of it, and the receipt of what the store was told.
    pub(super) fn in_turn<T>(
        &self,
        now: Time,
        scratch: &mut Scratch,
        act: impl FnOnce(&mut Turn<'_>) -> T,
    ) -> (T, Option<Receipt>) {
        let mut turn = self.turn(scratch, now);
        let done = act(&mut turn);
        (done, turn.finish())
    }
}

impl<'a> Turn<'a> {
    /// What a Session is told with every input but a SUBSCRIBE.
    #[inline]
    pub(super) fn context(&self) -> Context<'a> {
        self.broker.context(self.now)
    }

    /// Counts what a Session has reported.
    pub(super) fn count(&mut self, count: Count<'_>) {
        match count {
            Count::Repeat => self.tally.add(Counter::Repeats, 1),
            Count::Refused => self.tally.add(Counter::Refused, 1),
            Count::Unrouted { topic } => self.broker.note_unrouted(topic, Unrouted::Refused),
        }
    }

    /// Carries out what the turn has changed so far: hands it to the store, pushes the copies, wakes
    /// their receivers. The receipt is of what the store was handed, if anything.
    #[inline]
    pub fn commit(&mut self) -> Option<Receipt> {
        self.broker.flush(self)
    }

    /// Carries out what is left, and ends the turn.
    pub fn finish(mut self) -> Option<Receipt> {
        let receipt = self.commit();
        self.scratch.forget();
        self.end();
        receipt
    }

    /// Ends a turn of which, since its last commit, at most counts are left: they are added with the next
    /// commit in the same memory. An answer is counted after the commit that it waited for, and counters
    /// are shared by all threads: a link should not touch them twice a turn.
    #[inline]
    pub(super) fn finish_committed(mut self) -> Option<Receipt> {
        let receipt = if self.scratch.has_changes() { self.commit() } else { None };
        self.end();
        receipt
    }

    #[inline]
    fn end(self) {
        let Turn { unfinished, .. } = self;
        let _ = std::mem::ManuallyDrop::new(unfinished);
    }
}

impl Deref for Turn<'_> {
    type Target = Scratch;

    #[inline]
    fn deref(&self) -> &Scratch {
        self.scratch
    }
}

impl DerefMut for Turn<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Scratch {
        self.scratch
    }
}

impl Scratch {
    /// Ends a turn without a link, or with one that is gone: no answer is owed, and no link pauses.
    pub(super) fn forget(&mut self) {
        self.answers.clear();
        self.pressed.clear();
        self.work = Work::default();
    }

    /// Keeps the memory of changes that were carried out, unless they were many.
    pub(super) fn keep_changes(&mut self, mut changes: Vec<RouteChange>) {
        if changes.capacity() <= CHANGES_KEPT {
            changes.clear();
            self.changes = changes;
        }
    }

    /// It has changed nothing so far: there is nothing to carry out.
    #[inline]
    pub(super) fn is_clean(&self) -> bool {
        self.tally.is_empty() && !self.has_changes()
    }

    /// There is something to carry out, counts aside.
    #[inline]
    pub(super) fn has_changes(&self) -> bool {
        !(self.pending_pushes.is_empty()
            && self.wakers.is_empty()
            && self.gone.is_empty()
            && self.failed.is_empty()
            && self.stamps.is_empty()
            && self.batch.is_empty())
    }

    /// Wakes every link this turn had something for, with no lock held.
    pub(super) fn wake(&mut self) {
        if self.wakers.is_empty() {
            return;
        }
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }
}
