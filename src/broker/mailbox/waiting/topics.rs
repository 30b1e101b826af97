//! By topic: for queues that keep only the newest message of a topic, and where messages of one topic may
//! have different bands, so that none overtakes another.

use super::Waiting;
use super::entry::Entry;
use super::topic_index::{ByTopic, FREE_MAX, Spot, TopicIndex, class_of};
use crate::broker::mailbox::copy::{BANDS, Copy, DroppedCopy, ORDINARY};
use crate::broker::ports::{Queued, StoredCopy};
use crate::topic::{TextHash, TopicName};

impl Waiting {
    /// Adds a copy where its topic has it: in the topic's band, in the place of the topic's older copy, or
    /// behind all others. Returns the copy that it replaces.
    pub fn push_by_topic(
        &mut self,
        mut copy: Copy,
        here: bool,
        by: ByTopic<'_>,
    ) -> Option<DroppedCopy> {
        let mut index = self.take_index(by);
        let number = index.number(copy.message.topic());
        let mut spot = index.spots.get(&number).copied().unwrap_or(Spot::of_band(copy.band));
        if by.one_band {
            if !self.may_wait(&spot) {
                spot = Spot { promised: spot.promised, ..Spot::of_band(copy.band) };
            }
            copy.band = spot.band;
        }
        let mut replaced = None;
        if by.conflate {
            spot.promised = spot.promised.saturating_sub(1);
            replaced = self.remove_newest(&spot, copy.message.topic());
        }
        let class = class_of(copy.qos);
        let dropped = match replaced {
            Some((old, band)) => {
                spot.band = band;
                // The other class keeps its newest: an older copy of the topic may still wait there.
                spot.newest[class] = Some(old.arrival);
                let mut entry = Entry::new(copy, old.arrival);
                if !here {
                    entry.cool(self.ttl());
                }
                let dropped = self.count_out(&old);
                self.count_in(&entry);
                self.band_mut(band).insert(entry);
                Some(dropped)
            }
            None => {
                spot.band = copy.band;
                spot.newest[class] = Some(self.arrival);
                self.push_back(copy, here);
                None
            }
        };
        index.spots.insert(number, spot);
        self.prune(&mut index, number);
        self.put_index(index);
        dropped
    }

    /// Adds a copy that only the store has, behind all others of its band; with [`ByTopic::one_band`] of
    /// the band of its topic, else of the ordinary one. Returns the band.
    pub fn push_stored(&mut self, queued: &Queued, copy: &StoredCopy, by: ByTopic<'_>) -> u8 {
        let arrival = self.arrival;
        let entry = Entry::stored(queued, copy, arrival, self.ttl());
        let mut band = ORDINARY;
        if by.one_band || by.conflate {
            let topics = &mut self.more.get_or_insert_default().topics;
            let index = topics.get_or_insert_with(|| Box::new(TopicIndex::new(by.hash, arrival)));
            index.serve(by);
            let number = queued.mark.hash;
            if by.one_band {
                band = index.spots.get(&number).map_or(copy.band, |spot| spot.band);
            }
            index.note(number, band, arrival, class_of(copy.qos));
            index.seen = arrival + 1;
        }
        self.push_entry(entry, band);
        band
    }

    /// Asks `fits` whether one more copy of `topic` may come, and notes that it will. `fits` is given the
    /// bytes of the topic's newest copy, if one waits, and how many are promised already.
    pub fn promise(
        &mut self,
        topic: TopicName<'_>,
        hash: &TextHash,
        fits: impl FnOnce(Option<u64>, u32) -> bool,
    ) -> bool {
        let mut index = self.take_index(ByTopic { hash, one_band: false, conflate: true });
        let number = index.number(topic);
        let spot = index.spots.get(&number).copied().unwrap_or(Spot::of_band(ORDINARY));
        let newest = spot.newest().and_then(|arrival| self.find(arrival));
        let fits = fits(newest.map(Entry::bytes), spot.promised);
        if fits {
            index.spots.insert(number, Spot { promised: spot.promised + 1, ..spot });
        }
        self.put_index(index);
        fits
    }

    /// Older messages of a topic wait beside the newest one from now on.
    pub fn stop_conflating(&mut self) {
        let Some(more) = &mut self.more else { return };
        if let Some(index) = &mut more.topics {
            index.conflates = false;
            index.spots.values_mut().for_each(|spot| spot.promised = 0);
        }
        more.topics.take_if(|index| !index.one_band);
    }

    /// A copy is given back under this arrival: it is its topic's newest, if no other waits.
    pub(super) fn note_given_back(&mut self, copy: &Copy, arrival: u64) {
        let topics = self.more.as_mut().and_then(|more| more.topics.take());
        let Some(mut index) = topics.filter(|index| index.seen == self.arrival) else { return };
        let number = index.number(copy.message.topic());
        let old = index.spots.get(&number).copied();
        let waits = old.is_some_and(|spot| match index.conflates {
            true => {
                self.unpack();
                spot.newest().is_some_and(|arrival| self.find(arrival).is_some())
            }
            false => self.may_wait(&spot),
        });
        if !waits {
            let promised = old.map_or(0, |spot| spot.promised);
            let mut spot = Spot { promised, ..Spot::of_band(copy.band) };
            spot.newest[class_of(copy.qos)] = Some(arrival);
            index.spots.insert(number, spot);
        }
        self.put_index(index);
    }

    /// Takes out the topic's newest copy, if it waits. What only the store has may be of any topic: the
    /// index knows better.
    fn remove_newest(&mut self, spot: &Spot, topic: TopicName<'_>) -> Option<(Entry, u8)> {
        let arrival = spot.newest()?;
        if self.find(arrival)?.topic().is_some_and(|found| found != topic) {
            return None;
        }
        let bands = if self.bands().is_some() { 0..BANDS as u8 } else { ORDINARY..ORDINARY + 1 };
        bands.into_iter().find_map(|band| Some((self.band_mut(band).remove(arrival)?, band)))
    }

    /// The copy that waits under this arrival; nothing is packed.
    fn find(&self, arrival: u64) -> Option<&Entry> {
        self.all().find_map(|band| band.find(arrival))
    }

    fn unpack(&mut self) {
        self.all_mut().for_each(|band| band.qos12.unpack(usize::MAX));
    }

    /// Whether a copy of the topic may still wait: within a list the first to come is the first to leave.
    fn may_wait(&mut self, spot: &Spot) -> bool {
        if spot.band != ORDINARY && self.bands().is_none() {
            return false;
        }
        let band = self.band_mut(spot.band);
        band.qos12.unpack(1);
        let first = [band.qos0.front(), band.qos12.first()];
        first.into_iter().zip(spot.newest).any(|(first, newest)| {
            first.zip(newest).is_some_and(|(first, newest)| first.arrival <= newest)
        })
    }

    /// The index, made of what waits if there is none that is up to date. It is put back. To conflate,
    /// nothing is packed.
    fn take_index(&mut self, by: ByTopic<'_>) -> Box<TopicIndex> {
        if by.conflate {
            self.unpack();
        }
        let known = self.more.as_mut().and_then(|more| more.topics.take());
        let known = known.filter(|index| index.seen == self.arrival);
        let mut index = known.unwrap_or_else(|| self.make_index(by.hash));
        index.serve(by);
        index
    }

    fn put_index(&mut self, mut index: Box<TopicIndex>) {
        index.seen = self.arrival;
        self.more.get_or_insert_default().topics = Some(index);
    }

    /// The index of what waits. No topic is known of what only the store has: the barrier is behind it.
    fn make_index(&self, hash: &TextHash) -> Box<TopicIndex> {
        let mut index = Box::new(TopicIndex::new(hash, self.arrival));
        let mut barrier = 0;
        for (band, lists) in self.by_band() {
            lists.visit(|entry| match entry.topic() {
                Some(topic) => {
                    let number = index.number(topic);
                    index.note(number, band, entry.arrival, class_of(entry.qos));
                }
                None => barrier = self.arrival,
            });
        }
        index.barrier = barrier;
        index
    }

    /// Forgets topics of which nothing waits, if there are many. `number` is the topic in hand.
    fn prune(&mut self, index: &mut TopicIndex, number: u64) {
        if index.spots.len() <= index.prune_above {
            return;
        }
        index
            .spots
            .retain(|kept, spot| *kept == number || spot.promised > 0 || self.may_wait(spot));
        let free_above = 2 * self.len() + FREE_MAX;
        if index.spots.len() > free_above {
            // Copies have left from the middle of the lists, which spots do not show.
            let mut anew = self.make_index(&index.hash);
            for (number, spot) in index.spots.iter().filter(|(_, spot)| spot.promised > 0) {
                let spot_anew = anew.spots.entry(*number).or_insert(Spot::of_band(spot.band));
                spot_anew.promised = spot.promised;
            }
            index.spots = anew.spots;
            index.barrier = index.barrier.max(anew.barrier);
        }
        index.prune_above = free_above.max(2 * index.spots.len());
    }
}
