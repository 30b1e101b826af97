//! The copies that wait in one mailbox: their order, number, bytes and soonest expiry.
//!
//! [`Waiting`] alone changes the lists, so what it counts is what they hold. Each copy has an arrival
//! number; each band has two lists in the order of these numbers, one of `QoS` 0, one of `QoS` 1 and 2.

mod band;
mod entry;
mod look;
mod priority;
mod qos12;
mod take;
#[cfg(test)]
mod tests;
mod topic_index;
mod topics;

use std::iter;

use super::copy::{BANDS, Copy, DroppedCopy};
use crate::codec::QoS;
use crate::message::{Delivery, Message, Mid};
use crate::time::Time;
use band::Band;
use entry::Entry;
pub use look::WaitingCopy;
use priority::{Bands, IN_ORDER, slot};
pub(super) use take::Limits;
use take::{Banded, Drained, drain};
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
    /// Where each topic waits.
    topics: Option<Box<TopicIndex>>,
    /// Arrival number of the copy that was given back last: these numbers go down.
    head: u64,
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
        More { bands: None, topics: None, head: ARRIVAL_START }
    }
}

/// Totals.
impl Waiting {
    pub fn len(&self) -> usize {
        match self.bands() {
            None => self.ordinary.len(),
            Some(_) => self.all().map(Band::len).sum(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.ordinary.is_empty() && (self.bands().is_none() || self.all().all(Band::is_empty))
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Copies by class: `QoS` 0, and `QoS` 1 and 2.
    pub fn queued(&self) -> [usize; 2] {
        self.all().map(Band::queued).fold([0, 0], |sum, band| [sum[0] + band[0], sum[1] + band[1]])
    }

    /// Copies of `QoS` 0 and their bytes.
    pub fn qos0_totals(&self) -> (u64, u64) {
        let qos0 = self.all().flat_map(|band| &band.qos0);
        qos0.fold((0, 0), |(count, bytes), entry| (count + 1, bytes + entry.bytes()))
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
        for band in self.all() {
            band.visit(|entry| visit(entry.message(), entry.mid()));
        }
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
            entry.cool();
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
        let oldest = self.all_mut().filter_map(|band| Some((band.oldest()?, band)));
        let ((_, qos0), band) = oldest.min_by_key(|(oldest, _)| *oldest)?;
        let entry = band.pop(qos0)?;
        Some(self.count_out(&entry))
    }

    /// Takes out the oldest copy of `QoS` 0, of the lowest band that has one.
    pub fn pop_qos0(&mut self) -> Option<DroppedCopy> {
        let entry = match self.bands() {
            None => self.ordinary.qos0.pop_front(),
            Some(_) => (0..BANDS as u8).find_map(|band| self.band_mut(band).qos0.pop_front()),
        };
        entry.map(|entry| self.count_out(&entry))
    }

    /// Takes out what has expired. It is looked for only if something can have.
    pub fn expire(&mut self, now: Time) -> Vec<DroppedCopy> {
        let mut expired = Vec::new();
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
        self.bytes -= bytes;
        self.expires = soonest;
        self.check();
        expired
    }

    /// Takes out all copies of `QoS` 0.
    pub fn take_qos0(&mut self) -> Waiting {
        let mut taken = Waiting::default();
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
        let empty = Waiting { arrival: self.arrival, ..Waiting::default() };
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
        self.bytes = bytes;
        // Something may have expired.
        self.expires = Time::START;
    }

    /// The receiver is not there: what the store has stays in the store alone.
    pub fn cool(&mut self) {
        self.all_mut().for_each(|band| band.qos12.cool());
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
        for band in self.all_mut() {
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

    /// All bands, the ordinary one first.
    fn all(&self) -> impl Iterator<Item = &Band> {
        iter::once(&self.ordinary).chain(self.bands().into_iter().flat_map(Bands::all))
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Band> {
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
        self.all_mut().for_each(Band::give_memory_back);
        if !self.is_empty() {
            return;
        }
        if let Some(more) = &mut self.more {
            more.bands = None;
            more.topics.take_if(|topics| !topics.outlasts_copies());
            if more.topics.is_none() && more.head == ARRIVAL_START {
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
            assert_eq!(bytes, self.bytes, "bytes are those of the copies");
            assert!(self.expires <= soonest, "no copy expires before it is looked for");
        }
    }
}

#[cfg(debug_assertions)]
const RECOUNT_MAX: usize = 16;
