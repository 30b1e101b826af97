//! Where deliveries wait: one for each Session, one for each group of Shared Subscriptions.
//!
//! Two lists, `QoS` 0 and above, joined by an arrival number: with a full window `QoS` 0 goes on
//! alone. Both are bounded by messages and bytes; a copy is admitted or refused at routing time,
//! before any acknowledgement. A turn reserves room ([`Mailbox::reserve`]), uses it
//! ([`Grant::spend`]), and pushes its copies at its end ([`Mailbox::push`]).

mod account;
mod ask;
mod by_turns;
mod connection;
mod copy;
mod dropped;
mod grant;
mod group;
mod inner;
mod keep;
mod keep_log;
mod laned;
mod lanes;
mod members;
mod named_queue;
mod notice;
mod outlook;
mod overflow;
mod owner;
mod pause;
mod receiver;
mod restore;
mod retry;
#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests;
mod turns;
mod waiting;

use std::sync::Arc;
use std::task::Waker;

pub use super::dropped::Gone;
pub use account::Account;
pub use ask::{Ask, Offer, Pace, Setting, Taken};
pub use copy::{BANDS, Copy, ORDINARY};
pub use dropped::{DroppedCopies, Refusal};
pub use grant::Grant;
use inner::Inner;
pub use keep_log::{LogPage, LogState};
pub use laned::LaneFor;
pub use members::{Member, Puller};
pub use notice::{Notice, Notices};
pub use outlook::Outlook;
pub use overflow::Effects;
use overflow::Full;
pub use owner::{Owner, SharedGroup};
pub use retry::Late;
use waiting::Limits;
pub use waiting::{StandingCopy, WaitingCopy};

use crate::codec::QoS;
use crate::fault;
use crate::message::{Delivery, GroupId, Identity, Lane, Loss, ReceiverId, SessionId};
use crate::session::EndedCopy;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::time::Time;

/// A bounded queue of deliveries, shared by all publishers and its one receiver or group.
#[derive(Debug)]
pub struct Mailbox {
    owner: Owner,
    /// It is empty, its receiver has seen that, and whatever changes it will wake the receiver.
    quiet: AtomicBool,
    inner: Mutex<Inner>,
}

#[cfg(not(feature = "shuttle"))] // Its locks are larger.
const _: () = assert!(size_of::<Mailbox>() <= 216, "an idle mailbox should stay small");

impl Mailbox {
    /// A Session's mailbox.
    pub fn for_session(id: SessionId, identity: Arc<Identity>) -> Mailbox {
        Mailbox::new(Owner::Session { id, identity })
    }

    /// The mailbox of a group of the whole filter `name`.
    pub fn for_group(id: GroupId, name: &str) -> Mailbox {
        let owner = Owner::of_group(id, name);
        let keeps = owner.is_log();
        let mailbox = Mailbox::new(owner);
        if keeps {
            mailbox.keep_all();
        }
        mailbox
    }

    fn new(owner: Owner) -> Mailbox {
        Mailbox { owner, quiet: AtomicBool::new(false), inner: Mutex::default() }
    }

    /// The Session or group that it belongs to.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Reserves room for a copy, and for some more while there is plenty, in `grant`. Copies that are
    /// dropped to make room are reported to `gone`.
    ///
    /// # Errors
    ///
    /// There is no room: the copy is in the receiver's account, and still to be reported.
    #[inline(always)] // In `Broker::apply`.
    pub fn reserve(
        &self,
        offer: Offer<'_>,
        setting: &Setting<'_>,
        grant: &mut Grant,
        gone: &mut Gone,
    ) -> Result<(), Refusal> {
        if self.owner.is_log() {
            return self.reserve_kept(offer, setting, grant, gone);
        }
        let inner = &mut *self.lock();
        let before = inner.counted();
        let rules = inner.rules();
        let queue = rules.as_ref().map_or(setting.queue, |rules| rules.queue());
        let qos0 = inner.attached || queue.qos0_offline;
        let full = &mut Full { owner: &self.owner, queue, gone };
        let refused = match inner.closed {
            _ if offer.qos == QoS::AtMostOnce && !qos0 => Some(Loss::OfflineQos0),
            Some(loss) => Some(loss),
            None => inner.admit(offer, setting, grant, full).err(),
        };
        inner.count_for(&self.owner, before);
        if let Some(loss) = refused {
            return Err(inner.refuse(offer.qos, loss, full));
        }
        grant.set_kinds(qos0, inner.durable);
        Ok(())
    }

    /// Puts in what was admitted under `grant`, and gives back the room that was not used. `grant` then
    /// says whether the publisher should pause.
    pub fn push(
        &self,
        copies: &mut Vec<Copy>,
        setting: &Setting<'_>,
        grant: &mut Grant,
        effects: &mut Effects<'_>,
    ) {
        if self.owner.is_log() {
            return self.push_kept(copies, setting, grant, effects);
        }
        let inner = &mut *self.lock();
        let before = inner.counted();
        let rules = inner.rules();
        let queue = rules.as_ref().map_or(setting.queue, |rules| rules.queue());
        let Effects { wakers, gone } = effects;
        let full = &mut Full { owner: &self.owner, queue, gone };
        // What was promised, not what came: a message may be smaller than its draft.
        let (messages, bytes) = grant.end();
        inner.reserved -= messages;
        inner.reserved_bytes -= bytes;
        for copy in copies.drain(..) {
            let class = usize::from(copy.qos > QoS::AtMostOnce);
            inner.routed[class] += 1;
            let left = class == 0 && !inner.attached && !queue.qos0_offline;
            fault::reach("mailbox");
            match inner.closed.or(left.then_some(Loss::OfflineQos0)) {
                Some(loss) => inner.lose_late(copy, loss, full),
                None if inner.has_lanes() => inner.put_in_lane(copy, full, wakers),
                None => wakers.extend(inner.put(copy, setting, full)),
            }
        }
        grant.set_pressed(inner.presses(queue));
        inner.count_for(&self.owner, before);
    }

    /// Takes what `ask` allows into `out`, in order of arrival; then registers its waker. `settled` are
    /// copies completed since the last call, by class. Others to wake, with no lock held, are added to
    /// `wakers`.
    pub fn take(
        &self,
        ask: &Ask<'_>,
        settled: &mut [u32; 2],
        out: &mut Vec<Delivery>,
        wakers: &mut Vec<Waker>,
    ) -> Taken {
        let Ask { room, max, .. } = *ask;
        let inner = &mut *self.lock();
        let rules = inner.rules();
        let queue = rules.as_ref().map_or(ask.queue, |rules| rules.queue());
        inner.settle(settled);
        let limits = Limits { room, max, share: queue.lower_band_share };
        let drained = inner.waiting.take(limits, out, |copy| Delivery {
            message: copy.message,
            qos: copy.qos,
            retain: copy.retain,
            ids: copy.ids,
            group: None,
            lane: Lane::NONE,
            stored: copy.stored,
        });
        inner.note_taken(drained.copies);
        let more = drained.more;
        if let Some(pace) = ask.pace {
            inner.set_pace(Pace { waits: pace.waits && more, ..pace.clone() });
        }
        inner.release_paused(queue, wakers);
        match &inner.waker {
            Some(old) if old.will_wake(ask.waker) => {}
            _ => inner.waker = Some(ask.waker.clone()),
        }
        let notices = inner.notices.take();
        let quiet = inner.waiting.is_empty() && inner.notices.is_empty() && !inner.paced;
        self.quiet.store(quiet, Ordering::Relaxed);
        let cold = room.window > 0 && inner.waiting.first_is_cold();
        Taken::new(more, notices, cold)
    }

    /// Whether [`Mailbox::take`] has nothing to say that it has not said. Asked without the lock: what
    /// changes anything takes the receiver's waker, under the lock, and wakes it afterwards.
    pub fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    /// The receiver's account. Looking changes nothing.
    pub fn account(&self) -> Account {
        self.look().account()
    }

    /// Copies and bytes waiting. Looking changes nothing.
    pub fn depth(&self) -> (usize, u64) {
        let inner = self.look();
        let log = inner.rare.as_ref().and_then(|rare| rare.log.as_ref());
        match log {
            Some(log) => (log.len(), log.bytes()),
            None => (inner.waiting.len(), inner.waiting.bytes()),
        }
    }

    /// The copies that are next, at most `max` and about `bytes_max` bytes. Looking changes nothing.
    pub fn page(&self, max: usize, bytes_max: u64) -> Vec<WaitingCopy> {
        self.look().waiting.page(max, bytes_max)
    }

    /// Every copy of a Session, in the order in which they came. Looking changes nothing.
    pub fn standing_copies(&self) -> Vec<StandingCopy> {
        self.look().waiting.standing()
    }

    /// When what waits first was received; `None` if nothing waits, or only the store has it.
    pub fn oldest(&self) -> Option<Time> {
        self.look().waiting.oldest()
    }

    /// A receiver is connected: the Session's client, or a member of the group.
    pub fn is_attached(&self) -> bool {
        self.look().attached
    }

    /// Counts a retained message that was pulled, not pushed. `class`: 0 for `QoS` 0, else 1.
    pub fn count_routed(&self, class: usize) {
        self.look().routed[class] += 1;
    }

    /// Counts a copy that was taken from here as completed or lost. Returns the waker of another member that
    /// now has the lane it came from.
    pub fn settle(&self, copy: &EndedCopy<'_>, loss: Option<Loss>) -> Option<Waker> {
        let inner = &mut *self.look();
        let class = usize::from(copy.above_qos0());
        let lane = copy.lane();
        inner.forget_late(copy);
        match loss {
            None => inner.completed[class] += 1,
            Some(loss) => inner.lose(class, loss, 1),
        }
        if lane == Lane::NONE { None } else { inner.end_flight(lane) }
    }

    /// Counts copies that were taken from here as completed, by class, and sets `settled` to 0.
    pub fn settle_many(&self, settled: &mut [u32; 2]) {
        if *settled != [0, 0] {
            self.look().settle(settled);
        }
    }

    /// The receiver of what waits in it.
    pub fn receiver(&self) -> ReceiverId {
        self.owner.receiver()
    }

    /// To change something. The receiver looks at its next turn, whatever it is.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        let inner = self.look();
        self.quiet.store(false, Ordering::Relaxed);
        inner
    }

    /// To look, or to count what is nothing new to the receiver: the mailbox stays quiet.
    fn look(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|torn| self.mend(torn.into_inner()))
    }

    /// A thread has panicked with the lock. No copy is lost by that, but what is counted of them may be
    /// wrong: it is counted anew.
    #[cold]
    fn mend<'a>(&self, mut inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        let before = inner.counted();
        inner.waiting.count_anew();
        inner.count_for(&self.owner, before);
        self.quiet.store(false, Ordering::Relaxed);
        #[cfg(not(feature = "shuttle"))]
        self.inner.clear_poison();
        inner
    }
}
