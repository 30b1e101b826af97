//! The copies that wait, by band: a higher band overtakes, each keeps its order, and a lower one has its
//! share. Most mailboxes have one band and never see this.

use std::collections::{BTreeMap, VecDeque};
use std::iter;

use super::above::Above;
use super::lists::{Entry, Inner, Place};
use crate::codec::QoS;
use crate::message::{Message, Mid};
use crate::topic::{TextHash, TopicName};

/// What waits in one band: two lists, joined by arrival.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub qos0: VecDeque<Entry>,
    pub above: Above,
}

/// The bands beside the ordinary one.
#[derive(Debug, Default)]
pub(super) struct Bands {
    lists: [Lists; BANDS - 1],
    /// What each is owed of its share, in hundredths of a copy, while a higher one is served.
    credit: [u32; BANDS],
}

/// In which band each topic waits, where messages of one topic may have different ones.
#[derive(Debug)]
pub(super) struct Lanes {
    hash: TextHash,
    of: BTreeMap<u64, Lane>,
    /// Arrival of the next copy when this was up to date. Copies that come while no topic may be of
    /// different bands are not noted: then it is made anew.
    seen: u64,
    /// What arrived before this may be of any topic, in any band: nothing that came later overtakes it.
    fence: u64,
}

#[derive(Clone, Copy, Debug)]
struct Lane {
    band: u8,
    /// Arrivals of the newest copies, `QoS` 0 and above.
    newest: [Option<u64>; 2],
}

/// What is taken next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Choice {
    pub band: u8,
    pub from_qos0: bool,
    /// Bands below the highest that have something too.
    lower: [bool; BANDS],
}

/// How many bands there are.
pub const BANDS: usize = 4;
/// The band of what no rule speaks of.
pub const ORDINARY: u8 = 1;
/// What is owed for one copy.
const WHOLE: u32 = 100;
/// Topics that do not wait any more are forgotten when there are more than so many and most are.
const FREE_MAX: usize = 64;

impl Lists {
    pub fn is_empty(&self) -> bool {
        self.qos0.is_empty() && self.above.is_empty()
    }

    pub fn len(&self) -> usize {
        self.qos0.len() + self.above.len()
    }

    /// Whether the next copy that is here is of `QoS` 0; `None`: none is here that `window` allows.
    pub fn first(&self, window: usize) -> Option<bool> {
        let first0 = self.qos0.front().map(|entry| entry.arrival);
        let first = self.above.first().filter(|entry| window > 0 && entry.cold().is_none());
        match (first0, first.map(|entry| entry.arrival)) {
            (None, None) => None,
            (Some(zero), Some(above)) => Some(zero < above),
            (zero, _) => Some(zero.is_some()),
        }
    }

    /// The first copy above `QoS` 0 arrived before this, or it is not known yet when it did.
    fn is_before(&self, fence: u64) -> bool {
        let first = self.above.first();
        first.map_or(!self.above.is_empty(), |first| first.arrival < fence)
    }

    pub fn pop(&mut self, from_qos0: bool) -> Option<Entry> {
        if from_qos0 { self.qos0.pop_front() } else { self.above.pop_front() }
    }

    /// Arrival of the copy that has waited longest, and whether it is of `QoS` 0.
    pub fn oldest(&mut self) -> Option<(u64, bool)> {
        self.above.unpack(1);
        let arrival = |first: Option<&Entry>| first.map_or(u64::MAX, |first| first.arrival);
        let (zero, above) = (arrival(self.qos0.front()), arrival(self.above.first()));
        (!self.is_empty()).then(|| (zero.min(above), zero < above))
    }

    /// Adds a copy at the end. `spare` is asked for a list if one is needed.
    pub fn push(&mut self, entry: Entry, spare: impl FnOnce() -> VecDeque<Entry>) {
        if entry.qos > QoS::AtMostOnce {
            self.above.push_back(entry, spare);
            return;
        }
        if self.qos0.capacity() == 0 {
            self.qos0 = spare();
        }
        self.qos0.push_back(entry);
    }

    /// The messages at the front that are only in the store: at most so many, and about so many bytes.
    pub fn cold_page(&mut self, max: usize, bytes_max: u64) -> Vec<Mid> {
        let mut bytes = 0;
        self.above.unpack(max);
        let front = self.above.front().iter().take(max).take_while(|entry| {
            let before = bytes;
            bytes += entry.bytes();
            before < bytes_max
        });
        front.filter_map(Entry::cold).collect()
    }

    /// The copy that waits under this arrival; nothing is packed.
    pub fn find(&self, arrival: u64) -> Option<&Entry> {
        let lists = [&self.qos0, self.above.unpacked()];
        lists.into_iter().find_map(|list| Some(&list[position(list, arrival)?]))
    }

    /// Takes it out; nothing is packed.
    pub fn remove(&mut self, arrival: u64) -> Option<Entry> {
        let mut lists = [&mut self.qos0, self.above.front()].into_iter();
        lists.find_map(|list| position(list, arrival).and_then(|at| list.remove(at)))
    }

    /// Puts a copy in its place by arrival; nothing is packed.
    pub fn insert(&mut self, entry: Entry) {
        let zero = entry.qos == QoS::AtMostOnce;
        let list = if zero { &mut self.qos0 } else { self.above.front() };
        let at = list.partition_point(|other| other.arrival < entry.arrival);
        list.insert(at, entry);
    }
}

impl Bands {
    fn of<'a>(&'a self, ordinary: &'a Lists, band: usize) -> &'a Lists {
        slot(band as u8).map_or(ordinary, |slot| &self.lists[slot])
    }

    pub fn of_mut<'a>(&'a mut self, ordinary: &'a mut Lists, band: u8) -> &'a mut Lists {
        match slot(band) {
            Some(slot) => &mut self.lists[slot],
            None => ordinary,
        }
    }

    /// What is next: of the highest band that has something, unless a lower one is owed its `share`,
    /// which is in hundredths.
    /// What arrived at `fence` or later overtakes nothing above `QoS` 0 that came before.
    pub fn choose(
        &self,
        ordinary: &Lists,
        window: usize,
        share: u32,
        fence: u64,
    ) -> Option<Choice> {
        let mut ready = [None; BANDS];
        let fenced = fence > 0 && (0..BANDS).any(|band| self.of(ordinary, band).is_before(fence));
        for band in (0..BANDS).rev() {
            let lists = self.of(ordinary, band);
            let waits = fenced && !lists.is_before(fence);
            ready[band] = lists.first(if waits { 0 } else { window });
            if window > 0 && lists.above.first_is_cold() {
                // It is on its way from the store: those below wait for it too.
                break;
            }
        }
        let highest = (0..BANDS).rev().find(|band| ready[*band].is_some())?;
        let mut lower = [false; BANDS];
        for band in 0..highest {
            lower[band] = ready[band].is_some();
        }
        let due = (0..highest).filter(|band| lower[*band] && self.credit[*band] + share >= WHOLE);
        let band = due.max_by_key(|band| self.credit[*band]).unwrap_or(highest);
        Some(Choice { band: band as u8, from_qos0: ready[band]?, lower })
    }

    /// The choice was taken: each lower band that waited is owed more, who waited for nothing, nothing.
    pub fn charge(&mut self, choice: Choice, share: u32) {
        for (band, credit) in self.credit.iter_mut().enumerate() {
            *credit = if choice.lower[band] { *credit + share } else { 0 };
            if band == usize::from(choice.band) {
                *credit = credit.saturating_sub(WHOLE);
            }
        }
    }
}

impl Lanes {
    fn new(hash: &TextHash, seen: u64) -> Lanes {
        Lanes { hash: hash.clone(), of: BTreeMap::new(), seen, fence: 0 }
    }

    /// Nothing that arrived at this moment or later overtakes what came before.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// A copy waits in this band.
    fn note(&mut self, number: u64, band: u8, arrival: u64, above: bool) {
        let lane = self.of.entry(number).or_insert(Lane { band, newest: [None; 2] });
        if lane.newest.iter().all(|newest| *newest < Some(arrival)) {
            lane.band = band;
        }
        let newest = &mut lane.newest[usize::from(above)];
        *newest = (*newest).max(Some(arrival));
    }
}

impl Inner {
    /// All lists, the ordinary ones first.
    pub fn all(&self) -> impl Iterator<Item = &Lists> {
        let bands = self.rare.as_ref().and_then(|rare| rare.bands.as_ref());
        iter::once(&self.lists).chain(bands.into_iter().flat_map(|bands| &bands.lists))
    }

    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Lists> {
        let bands = self.rare.as_mut().and_then(|rare| rare.bands.as_mut());
        iter::once(&mut self.lists).chain(bands.into_iter().flat_map(|bands| &mut bands.lists))
    }

    /// Copies that wait, `QoS` 0 and above.
    pub fn queued(&self) -> [usize; 2] {
        self.all().fold([0, 0], |[zero, above], lists| {
            [zero + lists.qos0.len(), above + lists.above.len()]
        })
    }

    /// Copies above `QoS` 0 wait.
    pub fn has_above(&self) -> bool {
        self.all().any(|lists| !lists.above.is_empty())
    }

    /// The lists of a band, made if need be.
    #[inline]
    pub fn of_band(&mut self, band: u8) -> &mut Lists {
        match slot(band) {
            None => &mut self.lists,
            Some(slot) => {
                let rare = self.rare.get_or_insert_default();
                &mut rare.bands.get_or_insert_default().lists[slot]
            }
        }
    }

    /// There are more bands than the ordinary one.
    pub fn has_bands(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.bands.is_some())
    }

    /// The next copy above `QoS` 0 of some band is only in the store.
    pub fn first_is_cold(&self) -> bool {
        self.lists.above.first_is_cold()
            || self.has_bands() && self.all().any(|lists| lists.above.first_is_cold())
    }

    /// The messages to be fetched next: of each band those at its front, of the highest most.
    pub fn cold_page(&mut self, max: usize, bytes_max: u64) -> Vec<Mid> {
        if !self.has_bands() {
            return self.lists.cold_page(max, bytes_max);
        }
        let mut page = Vec::new();
        for band in (0..BANDS).rev() {
            let part = if page.is_empty() { 1 } else { BANDS };
            let lists = self.of_band(band as u8);
            page.extend(lists.cold_page(max / part, bytes_max / part as u64));
        }
        page
    }

    /// Messages have come from the store: they take their places at the front. Returns those that the
    /// store could not read: their copies are lost.
    pub fn warm(&mut self, found: Vec<(Mid, Option<Message>)>) -> Vec<Mid> {
        let mut left = found;
        let mut unreadable = Vec::new();
        let (mut more, mut fewer) = (0, 0);
        for lists in self.all_mut() {
            let mut strangers = Vec::new();
            let mut index = 0;
            // Both are in the order of the list.
            for (mid, message) in left {
                let front = lists.above.front();
                let at = front.iter().skip(index).position(|entry| entry.cold() == Some(mid));
                let Some(at) = at else {
                    strangers.push((mid, message));
                    continue;
                };
                index += at;
                fewer += front[index].bytes();
                match message {
                    Some(message) => {
                        message.set_mid(mid);
                        front[index].warm(message);
                        more += front[index].bytes();
                        index += 1;
                    }
                    None => {
                        front.remove(index);
                        unreadable.push(mid);
                    }
                }
            }
            left = strangers;
            if left.is_empty() {
                break;
            }
        }
        self.bytes = self.bytes + more - fewer;
        for _ in &unreadable {
            self.lose(1, crate::message::Loss::Unreadable);
        }
        unreadable
    }

    /// The band in which a copy has to wait: that of its topic, while something of it waits.
    pub fn lane(&mut self, topic: TopicName<'_>, qos: QoS, band: u8, hash: &TextHash) -> u8 {
        let known = self.rare.get_or_insert_default().lanes.take();
        let known = known.filter(|lanes| lanes.seen == self.arrival);
        let mut lanes = known.unwrap_or_else(|| self.make_lanes(hash));
        let number = lanes.hash.of(topic.as_str().as_bytes());
        let known = lanes.of.get(&number).copied();
        let known = known.filter(|lane| self.waits(lane));
        let mut lane = known.unwrap_or(Lane { band, newest: [None; 2] });
        lane.newest[usize::from(qos > QoS::AtMostOnce)] = Some(self.arrival);
        lanes.of.insert(number, lane);
        if lanes.of.len() > 2 * self.len() + FREE_MAX {
            lanes.of.retain(|kept, lane| *kept == number || self.waits(lane));
        }
        self.rare.get_or_insert_default().lanes = Some(lanes);
        lane.band
    }

    /// What was put in last has its lane.
    pub fn settle_lanes(&mut self) {
        let lanes = self.rare.as_mut().and_then(|rare| rare.lanes.as_mut());
        if let Some(lanes) = lanes {
            lanes.seen = self.arrival;
        }
    }

    /// The band in which a copy that only the store has, and that is put in next, waits: that of its topic,
    /// whose hash is `number`, if something of it waits.
    pub fn restored_lane(&mut self, number: u64, band: u8, hash: &TextHash) -> u8 {
        let arrival = self.arrival;
        let lanes = &mut self.rare.get_or_insert_default().lanes;
        let lanes = lanes.get_or_insert_with(|| Box::new(Lanes::new(hash, arrival)));
        let band = lanes.of.get(&number).map_or(band, |lane| lane.band);
        lanes.note(number, band, arrival, true);
        lanes.seen = arrival + 1;
        band
    }

    /// The lanes of what waits. Of what only the store has no topic is known: the fence is behind it.
    fn make_lanes(&self, hash: &TextHash) -> Box<Lanes> {
        let mut lanes = Box::new(Lanes::new(hash, self.arrival));
        let mut fence = 0;
        for (lists, band) in self.all().zip([ORDINARY, 0, 2, 3]) {
            let mut note = |entry: &Entry| match &entry.message {
                Place::Warm(message) => {
                    let number = lanes.hash.of(message.topic().as_str().as_bytes());
                    lanes.note(number, band, entry.arrival, entry.qos > QoS::AtMostOnce);
                }
                Place::Cold { .. } => fence = self.arrival,
            };
            lists.qos0.iter().for_each(&mut note);
            lists.above.visit(note);
        }
        lanes.fence = fence;
        lanes
    }

    /// Whether something may still wait there: within a list what came first leaves first.
    fn waits(&mut self, lane: &Lane) -> bool {
        if lane.band != ORDINARY && !self.has_bands() {
            return false;
        }
        let lists = self.of_band(lane.band);
        lists.above.unpack(1);
        let first = [lists.qos0.front(), lists.above.first()];
        first.into_iter().zip(lane.newest).any(|(first, newest)| {
            first.zip(newest).is_some_and(|(first, newest)| first.arrival <= newest)
        })
    }
}

/// Where a band is among those beside the ordinary one: as in [`Inner::make_lanes`].
fn slot(band: u8) -> Option<usize> {
    match band {
        ORDINARY => None,
        0 => Some(0),
        band => Some(usize::from(band).min(BANDS - 1) - 1),
    }
}

/// Where in a list that is in the order of arrival.
fn position(list: &VecDeque<Entry>, arrival: u64) -> Option<usize> {
    list.binary_search_by_key(&arrival, |entry| entry.arrival).ok()
}
