//! Copies in lanes, for a group with members that share by lanes. Lanes hold only what is in memory. What came
//! while no member was there, or is in the store alone, waits in the ordinary band until its message is at
//! hand; all of that is newer than what is in lanes, so that each lane keeps its order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::band::Band;
use super::entry::Entry;
use super::take::{Drained, Limits, Source, drain};
use super::{More, Waiting};
use crate::broker::mailbox::copy::Copy;
use crate::message::{Delivery, Message};

/// The lanes in which something waits, by number.
#[derive(Debug, Default)]
pub(super) struct LaneLists {
    lists: BTreeMap<u16, Band>,
    /// Copies in all of them.
    count: usize,
}

/// The lanes that one member may take from, joined by arrival.
struct OwnLanes<'a> {
    lists: &'a mut BTreeMap<u16, Band>,
    /// Arrival of the first copy of each, and the lane.
    heads: BinaryHeap<Reverse<(u64, u16)>>,
    /// The lanes of the copies that were taken.
    taken: &'a mut Vec<u16>,
}

/// The next copy: its lane, and whether it is of `QoS` 0.
#[derive(Clone, Copy)]
struct LaneChoice {
    lane: u16,
    qos0: bool,
}

impl LaneLists {
    /// In the order of their numbers.
    pub fn all(&self) -> impl Iterator<Item = &Band> {
        self.lists.values()
    }

    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Band> {
        self.lists.values_mut()
    }
}

impl Waiting {
    /// Whether everything that waits is in its lane.
    pub fn is_sorted(&self) -> bool {
        self.ordinary.is_empty() && self.bands().is_none()
    }

    /// The lanes in which something waits.
    pub fn lanes(&self) -> Vec<u16> {
        let mut all = self.held_up();
        all.extend(self.lane_lists().into_iter().flat_map(|lanes| lanes.lists.keys()));
        all
    }

    /// Adds a copy behind all others of its lane: everything is sorted.
    pub fn push_to_lane(&mut self, copy: Copy, lane: u16) {
        let entry = Entry::new(copy, self.arrival);
        self.arrival += 1;
        self.count_in(&entry);
        self.put_in_lane(entry, lane);
        self.check();
    }

    /// Adds a copy that was taken and is given back, before all others of its lane.
    pub fn push_to_head(&mut self, copy: Copy, lane: u16) {
        let more = self.more.get_or_insert_default();
        more.head -= 1;
        let entry = Entry::new(copy, more.head);
        self.count_in(&entry);
        self.lane_mut(lane).qos12.push_front(entry);
        self.check();
    }

    /// Moves what is in memory to its lane, up to the first copy that only the store has. Returns whether
    /// anything was moved.
    pub fn sort(&mut self, lane_of: impl Fn(&Message) -> u16) -> bool {
        if self.bands().is_some() {
            self.gather();
        }
        let before = self.laned();
        while let Some(entry) = self.ordinary.pop(true).or_else(|| self.pop_warm()) {
            let lane = entry.message().map_or(0, &lane_of);
            self.put_in_lane(entry, lane);
        }
        self.ordinary.give_memory_back();
        self.laned() > before
    }

    /// Takes everything out of its lane and its band: it waits in the order of arrival.
    pub fn gather(&mut self) {
        self.take_up_again();
        let bands = self.more.as_mut().and_then(|more| more.bands.take());
        let lanes = self.more.as_mut().and_then(|more| more.lanes.take());
        if bands.is_none() && lanes.is_none() {
            return;
        }
        let mut all = Vec::new();
        let mut empty = |mut band: Band| {
            all.extend(band.qos0.drain(..));
            band.qos12.unpack(usize::MAX);
            while let Some(entry) = band.qos12.pop_front() {
                all.push(entry);
            }
        };
        empty(std::mem::take(&mut self.ordinary));
        bands.into_iter().flat_map(|bands| bands.into_all()).for_each(&mut empty);
        lanes.into_iter().flat_map(|lanes| lanes.lists.into_values()).for_each(&mut empty);
        all.sort_by_key(|entry| entry.arrival);
        all.into_iter().for_each(|entry| self.ordinary.push_back(entry));
        self.check();
    }

    /// Takes what `limits` allow from the lanes that `may` names and that nothing holds up, in the order of
    /// arrival, into `out`; the lane of each is added to `taken`.
    pub fn take_from_lanes(
        &mut self,
        limits: Limits,
        (out, taken): (&mut Vec<Delivery>, &mut Vec<u16>),
        may: impl Fn(u16) -> bool,
        deliver: impl Fn(Copy) -> Delivery,
    ) -> Drained {
        let Some(More { lanes: Some(lanes), postponed, .. }) = self.more.as_deref_mut() else {
            return Drained::default();
        };
        let held_up = |lane| postponed.as_ref().is_some_and(|tried| tried.holds_up(lane));
        let lists = &mut lanes.lists;
        let own = lists.iter_mut().filter(|(lane, _)| may(**lane) && !held_up(**lane));
        let heads = own.filter_map(|(lane, list)| Some(Reverse((list.oldest()?.0, *lane))));
        let heads = heads.collect();
        let drained = drain(&mut OwnLanes { lists, heads, taken }, limits, out, |_| true, deliver);
        lanes.count -= drained.copies;
        if drained.copies > 0 {
            self.bytes -= drained.bytes;
            self.give_memory_back();
            self.check();
        }
        drained
    }

    /// Copies in lanes.
    pub(super) fn laned(&self) -> usize {
        self.lane_lists().map_or(0, |lanes| lanes.count)
    }

    pub(super) fn lane_lists(&self) -> Option<&LaneLists> {
        self.more.as_ref()?.lanes.as_deref()
    }

    /// Copies may have left any lane: counts what is there.
    pub(super) fn count_lanes(&mut self) {
        if let Some(lanes) = self.more.as_mut().and_then(|more| more.lanes.as_mut()) {
            lanes.lists.retain(|_, list| !list.is_empty());
            lanes.count = lanes.lists.values().map(Band::len).sum();
        }
    }

    /// Takes out the oldest copy of `QoS` 0 where there is one band.
    pub(super) fn pop_ordinary_qos0(&mut self) -> Option<Entry> {
        if self.laned() == 0 {
            return self.ordinary.qos0.pop_front();
        }
        let first = |band: &&mut Band| band.qos0.front().map_or(u64::MAX, |entry| entry.arrival);
        self.all_mut().min_by_key(first)?.qos0.pop_front()
    }

    fn put_in_lane(&mut self, entry: Entry, lane: u16) {
        self.lane_mut(lane).push_back(entry);
    }

    /// The lane that one more copy is about to come to.
    fn lane_mut(&mut self, lane: u16) -> &mut Band {
        let lanes = self.more.get_or_insert_default().lanes.get_or_insert_default();
        lanes.count += 1;
        lanes.lists.entry(lane).or_default()
    }

    /// Takes out the first copy of `QoS` 1 or 2, if it is in memory.
    fn pop_warm(&mut self) -> Option<Entry> {
        self.ordinary.qos12.first().filter(|entry| entry.cold().is_none())?;
        self.ordinary.qos12.pop_front()
    }
}

impl Source for OwnLanes<'_> {
    type Choice = LaneChoice;

    fn next(&mut self, window: usize) -> Option<LaneChoice> {
        loop {
            let Reverse((_, lane)) = *self.heads.peek()?;
            match self.lists.get(&lane).and_then(|list| list.next_is_qos0(window)) {
                Some(qos0) => return Some(LaneChoice { lane, qos0 }),
                // What is left of it needs a slot of the window, and there is none.
                None => self.heads.pop(),
            };
        }
    }

    fn is_qos0(choice: LaneChoice) -> bool {
        choice.qos0
    }

    fn peek(&self, choice: LaneChoice) -> Option<&Entry> {
        self.lists.get(&choice.lane)?.peek(choice.qos0)
    }

    fn pop(&mut self, LaneChoice { lane, qos0 }: LaneChoice) -> Option<Copy> {
        let list = self.lists.get_mut(&lane)?;
        let copy = Source::pop(list, qos0)?;
        self.heads.pop();
        match list.oldest() {
            Some((arrival, _)) => self.heads.push(Reverse((arrival, lane))),
            None => {
                list.give_memory_back();
                self.lists.remove(&lane);
            }
        }
        self.taken.push(lane);
        Some(copy)
    }
}
