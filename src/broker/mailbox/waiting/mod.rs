//! The copies that wait in one mailbox: their order, number, bytes and soonest expiry.
//!
//! [`Waiting`] alone changes the lists, so what it counts is what they hold. Each copy has an arrival
//! number; each band has two lists in the order of these numbers, one of `QoS` 0, one of `QoS` 1 and 2.

mod aside;
mod band;
mod entry;
mod laned;
mod look;
mod postponed;
mod priority;
mod qos12;
mod take;
#[cfg(test)]
mod tests;
mod topic_index;
mod topics;

use std::iter;
use std::time::Duration;

use super::copy::{BANDS, Copy, DroppedCopy, ORDINARY};
use crate::codec::QoS;
use crate::message::{Delivery, Message, Mid};
use crate::time::Time;
use band::Band;
use entry::Entry;
use laned::LaneLists;
pub use look::{StandingCopy, WaitingCopy};
use postponed::Postponed;
use priority::{Bands, IN_ORDER, slot};
use take::{Banded, drain};
pub(super) use take::{Drained, Limits};
pub(super) use topic_index::ByTopic;
use topic_index::TopicIndex;

/// The copies that wait in one mailbox.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The copies in the ordinary band.
    ordinary: Band,
    /// Allocated only for mailboxes that need more.
    more: Option<Box<More>>,
    /// Arrival number of the next copy.
    arrival: u64,
    /// Bytes of all copies.
    bytes: u64,
    /// No copy expires before this.
    expires: Time,
}

/// What most mailboxes never need.
#[derive(Debug)]
struct More {
    /// The copies in the other bands.
    bands: Option<Box<Bands>>,
    /// The copies that are in lanes; those in the ordinary band are not in theirs yet.
    lanes: Option<Box<LaneLists>>,
    /// Where each topic waits.
    topics: Option<Box<TopicIndex>>,
    /// Copies that have failed.
    postponed: Option<Box<Postponed>>,
    /// Arrival number of the copy that was given back last: these numbers go down.
    head: u64,
    /// Copies that no consumer of a named queue may have: no other waits for them.
    aside: Option<Box<Waiting>>,
    /// How long a copy may wait, in a named queue that says it.
    ttl: Option<Duration>,
}

/// Where arrival numbers begin: below is room for copies that are given back.
const ARRIVAL_START: u64 = 1 << 40;

impl Default for Waiting {
    fn default() -> Waiting {
        Waiting {
            ordinary: Band::default(),
            more: None,
            arrival: ARRIVAL_START,
            bytes: 0,
            expires: Time::NEVER,
        }
    }
}

impl Default for More {
    fn default() -> More {
        let head = ARRIVAL_START;
        let (lanes, postponed) = (None, None);
        More { bands: None, lanes, topics: None, postponed, head, aside: None, ttl: None }
    }
}

/// Totals.
impl Waiting {
    #[inline]
    pub fn len(&self) -> usize {
        self.more.as_ref().map_or_else(|| self.ordinary.len(), |more| self.len_with(more))
    }

    #[inline(never)]
    fn len_with(&self, more: &More) -> usize {
        let taken_up = match more.bands {
            None => self.ordinary.len() + self.laned(),
            Some(_) => self.all().map(Band::len).sum(),
        };
        taken_up + self.tried_count() + more.aside.as_ref().map_or(0, |aside| aside.len())
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        match self.more {
            None => self.ordinary.is_empty(),
            Some(_) => self.has_nothing_to_take() && self.aside().is_none() && self.has_no_tried(),
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes + self.aside().map_or(0, Waiting::bytes)
    }

    /// Copies by class: `QoS` 0, and `QoS` 1 and 2.
    #[inline]
    pub fn queued(&self) -> [usize; 2] {
        if self.more.is_none() {
            return self.ordinary.queued();
        }
        let mut aside = self.aside().map_or([0, 0], Waiting::queued);
        aside[1] += self.tried_count();
        self.all().map(Band::queued).fold(aside, |sum, band| [sum[0] + band[0], sum[1] + band[1]])
    }

    /// Copies of `QoS` 0 and their bytes.
    pub fn qos0_totals(&self) -> (u64, u64) {
        let aside = self.aside().map_or((0, 0), Waiting::qos0_totals);
        let qos0 = self.all().flat_map(|band| &band.qos0);
        qos0.fold(aside, |(count, bytes), entry| (count + 1, bytes + entry.bytes()))
    }

    /// A copy of `QoS` 1 or 2 waits.
    pub fn has_qos12(&self) -> bool {
        self.all().any(|band| !band.qos12.is_empty())
    }

    /// The next copy of `QoS` 1 or 2 of some band is only in the store.
    pub fn first_is_cold(&self) -> bool {
        self.ordinary.qos12.first_is_cold()
            || self.bands().is_some() && self.all().any(|band| band.qos12.first_is_cold())
    }

    /// Shows each copy: its message, if that is in memory, and its number, if the store keeps it.
    pub fn visit(&self, mut visit: impl FnMut(Option<&Message>, Option<Mid>)) {
        for waiting in iter::once(self).chain(self.aside()) {
            for band in waiting.all() {
                band.visit(|entry| visit(entry.message(), entry.mid()));
            }
        }
        self.visit_tried(|entry| visit(entry.message(), entry.mid()));
    }
}

/// What comes in, and what leaves without being taken.
impl Waiting {
    /// Adds a copy behind all others of its band. If the receiver is not `here`, the message of a stored
    /// copy stays in the store alone.
    #[inline]
    pub fn push_back(&mut self, copy: Copy, here: bool) {
        let band = copy.band;
        let mut entry = Entry::new(copy, self.arrival);
        if !here {
            entry.cool(self.ttl());
        }
        self.push_entry(entry, band);
    }

    /// Adds a copy that was taken and is given back, before all others of its band.
    pub fn push_front(&mut self, copy: Copy) {
        debug_assert!(copy.qos > QoS::AtMostOnce, "no copy of QoS 0 is given back");
        let more = self.more.get_or_insert_default();
        more.head -= 1;
        let arrival = more.head;
        self.note_given_back(&copy, arrival);
        let band = copy.band;
        let entry = Entry::new(copy, arrival);
        self.count_in(&entry);
        self.band_mut(band).qos12.push_front(entry);
        self.check();
    }

    /// Takes out the copy that has waited longest.
    pub fn pop_oldest(&mut self) -> Option<DroppedCopy> {
        if let Some(oldest) = self.in_aside(Waiting::pop_oldest).or_else(|| self.pop_tried()) {
            return Some(oldest);
        }
        let oldest = self.all_mut().filter_map(|band| Some((band.oldest()?, band)));
        let ((_, qos0), band) = oldest.min_by_key(|(oldest, _)| *oldest)?;
        let entry = band.pop(qos0)?;
        self.count_lanes();
        Some(self.count_out(&entry))
    }

    /// Takes out the oldest copy of `QoS` 0, of the lowest band that has one.
    pub fn pop_qos0(&mut self) -> Option<DroppedCopy> {
        let entry = match self.bands() {
            None => self.pop_ordinary_qos0(),
            Some(_) => (0..BANDS as u8).find_map(|band| self.band_mut(band).qos0.pop_front()),
        };
        self.count_lanes();
        entry.map(|entry| self.count_out(&entry)).or_else(|| self.in_aside(Waiting::pop_qos0))
    }

    /// Takes out what has expired. It is looked for only if something can have.
    pub fn expire(&mut self, now: Time) -> Vec<DroppedCopy> {
        let mut expired = self.in_aside(|aside| Some(aside.expire(now))).unwrap_or_default();
        if self.expires > now {
            return expired;
        }
        let (mut soonest, mut bytes) = (Time::NEVER, 0);
        let mut keep = |entry: &Entry| {
            let expires = entry.expires();
            if expires <= now {
                bytes += entry.bytes();
                expired.push(entry.dropped());
                return false;
            }
            soonest = soonest.min(expires);
            true
        };
        for band in self.all_mut() {
            band.qos0.retain(&mut keep);
            band.qos12.retain(&mut keep);
        }
        self.retain_tried(&mut keep);
        self.bytes -= bytes;
        self.expires = soonest;
        self.count_lanes();
        self.check();
        expired
    }

    /// Takes out all copies of `QoS` 0.
    pub fn take_qos0(&mut self) -> Waiting {
        let mut taken = Waiting::default();
        debug_assert_eq!(self.laned(), 0, "only a group has lanes");
        for (band, lists) in IN_ORDER.into_iter().zip(self.all_mut()) {
            if !lists.qos0.is_empty() {
                taken.band_mut(band).qos0 = std::mem::take(&mut lists.qos0);
            }
        }
        taken.bytes = taken.qos0_totals().1;
        self.bytes -= taken.bytes;
        self.check();
        taken
    }

    /// Takes out all copies.
    pub fn take_all(&mut self) -> Waiting {
        // Arrival numbers go on: what is known of topics goes by them.
        let mut empty = Waiting { arrival: self.arrival, ..Waiting::default() };
        empty.set_ttl(self.ttl());
        std::mem::replace(self, empty)
    }

    fn push_entry(&mut self, entry: Entry, band: u8) {
        self.count_in(&entry);
        self.arrival += 1;
        self.band_mut(band).push_back(entry);
        self.check();
    }

    /// Counts an entry that is about to take its place.
    #[inline]
    fn count_in(&mut self, entry: &Entry) {
        self.bytes += entry.bytes();
        self.expires = self.expires.min(entry.expires());
    }

    /// Counts an entry that has left its place.
    fn count_out(&mut self, entry: &Entry) -> DroppedCopy {
        self.bytes -= entry.bytes();
        self.check();
        entry.dropped()
    }
}

/// Taking.
impl Waiting {
    /// Takes what `limits` allow into `out`, as `deliver` makes it; no copy that is only in the store.
    #[inline]
    pub fn take(
        &mut self,
        limits: Limits,
        out: &mut Vec<Delivery>,
        deliver: impl Fn(Copy) -> Delivery,
    ) -> Drained {
        self.take_allowed(limits, out, |_| true, deliver)
    }

    /// The same, up to the first copy whose message the receiver may not have.
    #[inline]
    pub fn take_allowed(
        &mut self,
        limits: Limits,
        out: &mut Vec<Delivery>,
        may: impl Fn(&Message) -> bool,
        deliver: impl Fn(Copy) -> Delivery,
    ) -> Drained {
        let drained = match self.bands() {
            None => drain(&mut self.ordinary, limits, out, may, deliver),
            Some(_) => self.take_banded(limits, out, may, deliver),
        };
        if drained.copies > 0 {
            self.bytes -= drained.bytes;
            self.give_memory_back();
            self.check();
        }
        drained
    }

    fn take_banded(
        &mut self,
        limits: Limits,
        out: &mut Vec<Delivery>,
        may: impl Fn(&Message) -> bool,
        deliver: impl Fn(Copy) -> Delivery,
    ) -> Drained {
        let more = self.more.get_or_insert_default();
        let barrier = more.topics.as_ref().map_or(0, |topics| topics.barrier());
        let (ordinary, share) = (&mut self.ordinary, limits.share.into());
        let bands = more.bands.get_or_insert_default();
        drain(&mut Banded { ordinary, bands, share, barrier }, limits, out, may, deliver)
    }
}

/// What is only in the store.
impl Waiting {
    /// What is known of the copies may be wrong: looks at each.
    pub fn count_anew(&mut self) {
        let mut bytes = 0;
        self.all().for_each(|band| band.visit(|entry| bytes += entry.bytes()));
        self.with_aside(Waiting::count_anew);
        self.visit_tried(|entry| bytes += entry.bytes());
        self.bytes = bytes;
        // Something may have expired.
        self.expires = Time::START;
    }

    /// The receiver is not there: what the store has stays in the store alone.
    pub fn cool(&mut self) {
        if self.is_empty() {
            return;
        }
        let ttl = self.ttl();
        self.all_mut().for_each(|band| band.qos12.cool(ttl));
        if ttl.is_some() {
            // Each of them may end sooner than its message.
            self.expires = Time::START;
        }
        self.with_aside(Waiting::cool);
        self.check();
    }

    /// The messages to be fetched next, in the order of their copies: of each band those at its front,
    /// of the highest most. At most `max` messages and about `bytes_max` bytes.
    pub fn cold_page(&mut self, max: usize, bytes_max: u64) -> Vec<Mid> {
        if self.bands().is_none() {
            return self.ordinary.cold_page(max, bytes_max);
        }
        let mut page = Vec::new();
        for band in (0..BANDS as u8).rev() {
            let part = if page.is_empty() { 1 } else { BANDS };
            page.extend(self.band_mut(band).cold_page(max / part, bytes_max / part as u64));
        }
        page
    }

    /// Messages have come from the store, in the order of [`Waiting::cold_page`]: their copies keep their
    /// places. Returns the messages that the store could not read: their copies are taken out.
    pub fn warm(&mut self, found: Vec<(Mid, Option<Message>)>) -> Vec<Mid> {
        // A cold copy knows its expiry in whole seconds, rounded up; its message knows it exactly.
        let soonest = found.iter().filter_map(|(_, message)| Some(message.as_ref()?.expires)).min();
        self.expires = self.expires.min(soonest.unwrap_or(Time::NEVER));
        let (mut left, mut unreadable) = (found, Vec::new());
        let (mut more, mut fewer) = (0, 0);
        // Nothing in lanes is in the store alone.
        for band in self.bands_mut() {
            left = band.warm(left, &mut unreadable, (&mut more, &mut fewer));
            if left.is_empty() {
                break;
            }
        }
        self.bytes = self.bytes + more - fewer;
        self.check();
        unreadable
    }
}

impl Waiting {
    fn bands(&self) -> Option<&Bands> {
        self.more.as_ref()?.bands.as_deref()
    }

    /// Nothing waits for a member now: what is set aside, and what has failed, aside.
    #[inline]
    pub fn has_nothing_to_take(&self) -> bool {
        self.ordinary.is_empty() && (self.more.is_none() || self.all().all(Band::is_empty))
    }

    /// All bands, the ordinary one first.
    fn all(&self) -> impl Iterator<Item = &Band> {
        self.by_band().map(|(_, lists)| lists)
    }

    /// The same with their numbers; lanes are of the ordinary one.
    fn by_band(&self) -> impl Iterator<Item = (u8, &Band)> {
        let bands = self.bands().into_iter().flat_map(Bands::all);
        let bands = IN_ORDER.into_iter().zip(iter::once(&self.ordinary).chain(bands));
        let lanes = self.lane_lists().into_iter().flat_map(LaneLists::all);
        bands.chain(lanes.map(|lists| (ORDINARY, lists)))
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Band> {
        let (bands, lanes) = match &mut self.more {
            None => (None, None),
            Some(more) => (more.bands.as_mut(), more.lanes.as_mut()),
        };
        let bands = bands.into_iter().flat_map(|bands| bands.all_mut());
        let lanes = lanes.into_iter().flat_map(|lanes| lanes.all_mut());
        iter::once(&mut self.ordinary).chain(bands).chain(lanes)
    }

    /// The same without lanes.
    fn bands_mut(&mut self) -> impl Iterator<Item = &mut Band> {
        let bands = self.more.as_mut().and_then(|more| more.bands.as_mut());
        iter::once(&mut self.ordinary).chain(bands.into_iter().flat_map(|bands| bands.all_mut()))
    }

    /// The lists of a band, made if need be.
    #[inline]
    fn band_mut(&mut self, band: u8) -> &mut Band {
        match slot(band) {
            None => &mut self.ordinary,
            Some(slot) => {
                let bands = &mut self.more.get_or_insert_default().bands;
                bands.get_or_insert_default().slot_mut(slot)
            }
        }
    }

    /// Copies have left: lists that are empty own no memory.
    fn give_memory_back(&mut self) {
        if self.more.is_none() {
            self.ordinary.give_memory_back();
            return;
        }
        self.bands_mut().for_each(Band::give_memory_back);
        if !self.has_nothing_to_take() {
            return;
        }
        if let Some(more) = &mut self.more {
            more.bands = None;
            more.lanes = None;
            more.topics.take_if(|topics| !topics.outlasts_copies());
            more.postponed.take_if(|postponed| postponed.is_empty());
            let has_rules = more.aside.is_some() || more.ttl.is_some() || more.postponed.is_some();
            if more.topics.is_none() && more.head == ARRIVAL_START && !has_rules {
                self.more = None;
            }
        }
    }

    /// What is counted is what is there. Only few are counted again, so that tests stay fast.
    #[inline]
    fn check(&self) {
        #[cfg(debug_assertions)]
        if self.len() <= RECOUNT_MAX {
            let (mut bytes, mut soonest) = (0, Time::NEVER);
            self.all().for_each(|band| {
                band.visit(|entry| {
                    bytes += entry.bytes();
                    soonest = soonest.min(entry.expires());
                });
            });
            self.visit_tried(|entry| {
                bytes += entry.bytes();
                soonest = soonest.min(entry.expires());
            });
            assert_eq!(bytes, self.bytes, "bytes are those of the copies");
            assert_eq!(
                self.all().map(Band::len).sum::<usize>(),
                self.len() - self.set_aside_count() - self.tried_count(),
                "copies in lanes are counted"
            );
            assert!(self.expires <= soonest, "no copy expires before it is looked for");
        }
    }
}

#[cfg(debug_assertions)]
const RECOUNT_MAX: usize = 16;
