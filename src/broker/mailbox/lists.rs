//! What a mailbox holds, behind its lock.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::bands::{Bands, Lanes, Lists, ORDINARY};
use super::overflow::{Full, Remains, Topics};
use super::{Copy, Notices, Pace};
use crate::broker::classes::Rules;
use crate::codec::QoS;
use crate::config;
use crate::message::{Delivery, Loss, Message, Mid, SessionId, SubscriptionIds};
use crate::session::Room;
use crate::shape::{Intake, Shaper};
use crate::time::Time;

#[derive(Debug, Default)]
pub(super) struct Inner {
    /// What waits in the ordinary band.
    pub lists: Lists,
    /// Of the next entry; in a group those given back count down from [`Members::head`].
    pub arrival: u64,
    pub bytes: u64,
    pub reserved: u32,
    pub reserved_bytes: u64,
    /// Soonest expiry in the lists, if `expiring`: before it a purge finds nothing.
    pub expires: Time,
    pub expiring: bool,
    pub waker: Option<Waker>,
    pub notices: Notices,
    /// Its receiver is no more: what comes is lost for this reason.
    pub closed: Option<Loss>,
    /// A receiver is connected.
    pub attached: bool,
    /// Its Session outlives its connection.
    pub durable: bool,
    /// What waits here waits for its receiver's buckets: a push wakes nobody.
    pub paced: bool,
    /// Took nothing while a publisher waited: pauses nobody until it takes again.
    pub slow: bool,
    /// Copies ever taken, as far as 32 bits tell: only whether it moves is of interest.
    pub taken: u32,
    pub routed: [u64; 2],
    pub completed: [u64; 2],
    pub rare: Option<Box<Rare>>,
    pub members: Option<Box<Members>>,
}

/// What most mailboxes never need.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Publishers that wait for it to be below a quarter.
    pub paused: Vec<Waker>,
    pub ledger: [[u32; Loss::ALL.len()]; 2],
    /// How its receiver is shaped.
    pub pace: Option<Pace>,
    /// The buckets of a receiver that is not there.
    pub shaper: Option<Shaper>,
    /// How long its receiver has waited at buckets that it shares, on connections that are over.
    pub waited: Duration,
    /// The rules of its receiver's class, if it is in one.
    pub rules: Option<Arc<Rules>>,
    /// What waits in other bands.
    pub bands: Option<Box<Bands>>,
    /// In which band each topic waits, if one may be in different ones.
    pub lanes: Option<Box<Lanes>>,
    /// Where the newest message of each topic waits, if only that may.
    pub topics: Option<Box<Topics>>,
    /// And those of what its client sends.
    pub intake: Option<Box<Intake>>,
}

#[derive(Debug, Default)]
pub(super) struct Members {
    /// The group's whole filter.
    pub name: Arc<str>,
    /// Arrival number of the entry given back last.
    pub head: u64,
    pub connected: u32,
    pub waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub session: SessionId,
    pub waker: Waker,
    /// Its window is full: only `QoS` 0 is of use to it.
    pub qos0_only: bool,
}

/// A copy that waits.
#[derive(Debug)]
pub(super) struct Entry {
    pub message: Place,
    pub ids: SubscriptionIds,
    pub arrival: u64,
    pub qos: QoS,
    pub retain: bool,
    pub stored: bool,
}

/// Where the message of a copy is.
#[derive(Debug)]
pub(super) enum Place {
    /// Here.
    Warm(Message),
    /// Only in the store, until somebody is there to take it.
    Cold {
        mid: Mid,
        bytes: u32,
        /// When it ends, in whole seconds since the epoch, rounded up; `u32::MAX` never.
        expires_s: u32,
    },
}

impl Entry {
    pub fn new(copy: Copy, arrival: u64) -> Entry {
        let Copy { message, qos, retain, ids, stored, band: _ } = copy;
        Entry { message: Place::Warm(message), ids, arrival, qos, retain, stored }
    }

    /// What is here: the copy and its arrival. A cold one comes back.
    pub fn copy(self) -> Result<Copy, Entry> {
        let Entry { message, ids, arrival, qos, retain, stored } = self;
        match message {
            Place::Warm(message) => Ok(Copy { message, qos, retain, ids, stored, band: ORDINARY }),
            message @ Place::Cold { .. } => {
                Err(Entry { message, ids, arrival, qos, retain, stored })
            }
        }
    }

    pub fn bytes(&self) -> u64 {
        match &self.message {
            Place::Warm(message) => message.bytes() as u64,
            Place::Cold { bytes, .. } => (*bytes).into(),
        }
    }

    pub fn expires(&self) -> Time {
        match &self.message {
            Place::Warm(message) => message.expires,
            Place::Cold { expires_s: u32::MAX, .. } => Time::NEVER,
            Place::Cold { expires_s, .. } => Time::from_secs((*expires_s).into()),
        }
    }

    /// What the store still keeps it for.
    pub fn mid(&self) -> Option<Mid> {
        match &self.message {
            _ if !self.stored => None,
            Place::Warm(message) => message.mid(),
            Place::Cold { mid, .. } => Some(*mid),
        }
    }

    /// What is left to tell of it.
    pub fn remains(&self) -> Remains {
        let message = match &self.message {
            Place::Warm(message) => Some(message.clone()),
            Place::Cold { .. } => None,
        };
        Remains { qos: self.qos, bytes: self.bytes(), mid: self.mid(), message }
    }

    pub fn cold(&self) -> Option<Mid> {
        match &self.message {
            Place::Warm(_) => None,
            Place::Cold { mid, .. } => Some(*mid),
        }
    }

    /// Its message has come from the store.
    pub fn warm(&mut self, message: Message) {
        self.message = Place::Warm(message);
    }

    /// Leaves the message to the store, if the store has it.
    pub fn cool(&mut self) {
        if let (Place::Warm(_), Some(mid)) = (&self.message, self.mid()) {
            self.message = Place::cold(mid, self.bytes() as usize, self.expires());
        }
    }
}

impl Place {
    pub fn cold(mid: Mid, bytes: usize, expires: Time) -> Place {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let seconds = expires.as_nanos().div_ceil(1_000_000_000);
        Place::Cold { mid, bytes, expires_s: u32::try_from(seconds).unwrap_or(u32::MAX) }
    }
}

/// Where a group's arrival numbers begin: below is room for what is given back.
pub(super) const GROUP_START: u64 = 1 << 40;

thread_local! {
    /// Lists that were emptied by this thread.
    static SPARE: RefCell<Vec<VecDeque<Entry>>> = const { RefCell::new(Vec::new()) };
}

/// So many lists are kept, with room for so many copies each at most.
const SPARE_MAX: usize = 128;
const SPARE_ROOM_MAX: usize = 512;

const _: () = assert!(size_of::<Inner>() <= 184, "an idle mailbox should stay small");
const _: () = assert!(size_of::<Entry>() <= 56, "a queued copy should stay small");

impl Lists {
    /// An empty list owns no memory: what it had serves the next one that fills.
    fn give_memory_back(&mut self) {
        if self.qos0.is_empty() && self.qos0.capacity() > 0 {
            keep_spare(std::mem::take(&mut self.qos0));
        }
        if let Some(emptied) = self.above.take_emptied() {
            keep_spare(emptied);
        }
    }
}

/// Takes the first copy out; it is here.
#[inline]
fn take_first(lists: &mut Lists, from_qos0: bool) -> Copy {
    let Some(Ok(copy)) = lists.pop(from_qos0).map(Entry::copy) else {
        unreachable!("only what is here was looked at")
    };
    copy
}

/// A list that was emptied serves the next mailbox that fills.
fn keep_spare(list: VecDeque<Entry>) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAX && list.capacity() <= SPARE_ROOM_MAX {
            spare.push(list);
        }
    });
}

impl Inner {
    pub fn len(&self) -> usize {
        match self.has_bands() {
            false => self.lists.len(),
            true => self.all().map(Lists::len).sum(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.lists.is_empty() && (!self.has_bands() || self.all().all(Lists::is_empty))
    }

    /// Somebody is there to take.
    pub fn reachable(&self) -> bool {
        match &self.members {
            Some(members) => members.connected > 0,
            None => self.attached,
        }
    }

    pub fn held(&self) -> (u64, u64) {
        (self.len() as u64 + u64::from(self.reserved), self.bytes + self.reserved_bytes)
    }

    pub fn has_room(&self, queue: &config::QueueConfig, bytes: usize) -> bool {
        let (messages, held) = self.held();
        messages < u64::from(queue.messages_max) && held + bytes as u64 <= queue.bytes_max.0
    }

    /// Publishers should pause for it: it is above half full, and its receiver drains it.
    pub fn presses(&self, queue: &config::QueueConfig) -> bool {
        let (messages, bytes) = self.held();
        let half = messages * 2 > u64::from(queue.messages_max) || bytes * 2 > queue.bytes_max.0;
        half && !self.slow && !self.paced && self.reachable()
    }

    /// The same with one more copy of `more` bytes.
    pub fn would_press(&self, queue: &config::QueueConfig, more: u64) -> bool {
        let (messages, bytes) = self.held();
        let half = (messages + 1) * 2 > u64::from(queue.messages_max)
            || (bytes + more) * 2 > queue.bytes_max.0;
        half && !self.slow && !self.paced && self.reachable()
    }

    pub fn below_quarter(&self, queue: &config::QueueConfig) -> bool {
        let (messages, bytes) = self.held();
        messages * 4 < u64::from(queue.messages_max) && bytes * 4 < queue.bytes_max.0
    }

    /// Notes how the receiver is shaped.
    pub fn set_pace(&mut self, pace: Pace) {
        self.paced = pace.waits;
        self.rare.get_or_insert_default().pace = Some(pace);
    }

    /// It is not shaped any more, or not there.
    pub fn forget_pace(&mut self) {
        self.paced = false;
        if let Some(rare) = &mut self.rare {
            rare.pace = None;
        }
    }

    pub fn lose(&mut self, class: usize, loss: Loss) {
        self.rare.get_or_insert_default().ledger[class][loss as usize] += 1;
    }

    #[inline]
    pub fn put(&mut self, copy: Copy) -> Option<Waker> {
        let (qos, band) = (copy.qos, copy.band);
        let mut entry = Entry::new(copy, self.arrival);
        if !self.reachable() {
            entry.cool();
        }
        self.put_entry(entry, band);
        self.whom_to_wake(qos)
    }

    pub fn put_entry(&mut self, entry: Entry, band: u8) {
        self.count_in(&entry);
        self.arrival += 1;
        let spare = || SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        self.of_band(band).push(entry, spare);
    }

    /// Counts an entry that is about to take its place.
    pub fn count_in(&mut self, entry: &Entry) {
        self.bytes += entry.bytes();
        let expires = entry.expires();
        if expires != Time::NEVER {
            self.expires = if self.expiring { self.expires.min(expires) } else { expires };
            self.expiring = true;
        }
    }

    /// The rules of its receiver's class, if it is in one.
    pub fn rules(&self) -> Option<Arc<Rules>> {
        self.rare.as_ref()?.rules.clone()
    }

    /// Nobody is there: what the store has, it alone keeps.
    pub fn cool(&mut self) {
        self.all_mut().for_each(|lists| lists.above.cool());
    }

    pub fn settle(&mut self, settled: &mut [u32; 2]) {
        for (completed, settled) in self.completed.iter_mut().zip(settled) {
            *completed += u64::from(std::mem::take(settled));
        }
    }

    /// Drops what has expired, if anything can have.
    pub fn purge(&mut self, now: Time, full: &mut Full<'_>) {
        if !self.expiring || self.expires > now {
            return;
        }
        let mut soonest = Time::NEVER;
        let mut expired = Vec::new();
        let mut keep = |entry: &Entry| {
            let expires = entry.expires();
            if expires <= now {
                expired.push(entry.remains());
                return false;
            }
            soonest = soonest.min(expires);
            true
        };
        for lists in self.all_mut() {
            lists.qos0.retain(&mut keep);
            lists.above.retain(&mut keep);
        }
        self.expires = soonest;
        self.expiring = soonest != Time::NEVER;
        for remains in expired {
            self.bury(remains, Loss::Expired, full);
        }
    }

    /// Takes at most `max` copies within `room`, none that is only in the store; a lower band has its
    /// `share`, in hundredths. Returns whether more could go with more bytes.
    pub fn take(
        &mut self,
        room: Room,
        max: usize,
        share: u8,
        out: &mut Vec<Delivery>,
        deliver: impl Fn(Copy) -> Delivery,
    ) -> bool {
        let bands = self.rare.as_mut().and_then(|rare| rare.bands.take());
        let Some(mut bands) = bands else { return self.take_plain(room, max, out, deliver) };
        let Room { mut window, mut bytes } = room;
        let share = u32::from(share);
        let lanes = self.rare.as_ref().and_then(|rare| rare.lanes.as_ref());
        let fence = lanes.map_or(0, |lanes| lanes.fence());
        let mut taken = 0;
        let more = loop {
            let choice = bands.choose(&self.lists, window, share, fence);
            let Some(choice) = choice else { break false };
            if taken == max || bytes == 0 {
                break true;
            }
            bands.charge(choice, share);
            let lists = bands.of_mut(&mut self.lists, choice.band);
            let copy = take_first(lists, choice.from_qos0);
            window -= usize::from(!choice.from_qos0);
            let size = copy.message.bytes();
            self.bytes -= size as u64;
            bytes = bytes.saturating_sub(size);
            taken += 1;
            out.push(deliver(copy));
        };
        self.rare.get_or_insert_default().bands = Some(bands);
        self.after_take(taken);
        more
    }

    /// The same where nothing overtakes anything.
    #[inline]
    fn take_plain(
        &mut self,
        room: Room,
        max: usize,
        out: &mut Vec<Delivery>,
        deliver: impl Fn(Copy) -> Delivery,
    ) -> bool {
        let Room { mut window, mut bytes } = room;
        let mut taken = 0;
        let more = loop {
            let Some(from_qos0) = self.lists.first(window) else { break false };
            if taken == max || bytes == 0 {
                break true;
            }
            let copy = take_first(&mut self.lists, from_qos0);
            window -= usize::from(!from_qos0);
            let size = copy.message.bytes();
            self.bytes -= size as u64;
            bytes = bytes.saturating_sub(size);
            taken += 1;
            out.push(deliver(copy));
        };
        self.after_take(taken);
        more
    }

    pub fn after_take(&mut self, taken: usize) {
        if taken == 0 {
            return;
        }
        self.taken = self.taken.wrapping_add(taken as u32);
        self.slow = false;
        let banded = |rare: &Rare| rare.bands.is_some() || rare.lanes.is_some();
        if !self.rare.as_deref().is_some_and(banded) {
            self.lists.give_memory_back();
            return;
        }
        self.all_mut().for_each(Lists::give_memory_back);
        if self.is_empty() {
            let rare = self.rare.get_or_insert_default();
            (rare.bands, rare.lanes) = (None, None);
        }
    }

    pub fn take_paused(&mut self) -> Vec<Waker> {
        self.rare.as_mut().map(|rare| std::mem::take(&mut rare.paused)).unwrap_or_default()
    }

    pub fn release_paused(&mut self, queue: &config::QueueConfig, wakers: &mut Vec<Waker>) {
        if self.rare.as_ref().is_some_and(|rare| !rare.paused.is_empty())
            && self.below_quarter(queue)
        {
            wakers.append(&mut self.take_paused());
        }
    }

    /// A Session's own waker, or one waiting member for whom a copy of `qos` is of use.
    pub fn whom_to_wake(&mut self, qos: QoS) -> Option<Waker> {
        let Some(members) = &mut self.members else {
            return if self.paced { None } else { self.waker.take() };
        };
        let fits = |waiting: &Waiting| qos == QoS::AtMostOnce || !waiting.qos0_only;
        let index = members.waiting.iter().position(fits)?;
        members.waiting.remove(index).map(|waiting| waiting.waker)
    }
}
