//! The map from a topic to where its copies wait. Topics are told apart by their hash. A spot stays when
//! its copies leave: no copy is found where it points.

use std::collections::BTreeMap;

use crate::codec::QoS;
use crate::topic::{TextHash, TopicName};

/// Where the copies of each topic wait, by the hash of the topic.
#[derive(Debug)]
pub(super) struct TopicIndex {
    pub hash: TextHash,
    pub spots: BTreeMap<u64, Spot>,
    /// Arrival number of the mailbox's next copy when the index was up to date. Copies that come while
    /// the index is not used are not noted: then it is made again.
    pub seen: u64,
    /// What arrived before this may be of any topic, in any band.
    pub barrier: u64,
    /// A topic keeps to one band while it waits.
    pub one_band: bool,
    /// Only the newest message of a topic waits.
    pub conflates: bool,
    /// Spots are looked through when there are more than this.
    pub prune_above: usize,
}

/// Where the copies of one topic wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub band: u8,
    /// Arrivals of the newest copies, by class.
    pub newest: [Option<u64>; 2],
    /// Copies that were admitted and are still to come.
    pub promised: u32,
}

/// What a topic is looked up for.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker::mailbox) struct ByTopic<'a> {
    /// By which topics are told apart.
    pub hash: &'a TextHash,
    /// A topic keeps to one band while it waits.
    pub one_band: bool,
    /// Only the newest message of a topic waits.
    pub conflate: bool,
}

/// The index is looked through when it has this many spots more than twice the copies that wait.
pub(super) const FREE_MAX: usize = 64;

impl TopicIndex {
    pub fn new(hash: &TextHash, seen: u64) -> TopicIndex {
        TopicIndex {
            hash: hash.clone(),
            spots: BTreeMap::new(),
            seen,
            barrier: 0,
            one_band: false,
            conflates: false,
            prune_above: FREE_MAX,
        }
    }

    /// What arrived at this number or later overtakes no copy of `QoS` 1 or 2 that came before; 0: there
    /// is no such number.
    pub fn barrier(&self) -> u64 {
        if self.one_band { self.barrier } else { 0 }
    }

    /// It is of use when no copy waits: it knows of promises.
    pub fn outlasts_copies(&self) -> bool {
        self.conflates
    }

    /// Topics that it remembers.
    #[cfg(test)]
    pub fn spots(&self) -> usize {
        self.spots.len()
    }

    pub fn number(&self, topic: TopicName<'_>) -> u64 {
        self.hash.of(topic.as_str().as_bytes())
    }

    /// It is of use for this from now on.
    pub fn serve(&mut self, by: ByTopic<'_>) {
        self.one_band |= by.one_band;
        self.conflates |= by.conflate;
    }

    /// A copy waits in this band.
    pub fn note(&mut self, number: u64, band: u8, arrival: u64, class: usize) {
        let spot = self.spots.entry(number).or_insert(Spot::of_band(band));
        if spot.newest.iter().all(|newest| *newest < Some(arrival)) {
            spot.band = band;
        }
        spot.newest[class] = spot.newest[class].max(Some(arrival));
    }
}

impl Spot {
    /// A spot where nothing waits.
    pub fn of_band(band: u8) -> Spot {
        Spot { band, newest: [None; 2], promised: 0 }
    }

    /// Arrival of the newest copy, of either class.
    pub fn newest(&self) -> Option<u64> {
        self.newest.into_iter().max()?
    }
}

/// Where figures of this `QoS` stand: 0 for `QoS` 0, 1 for `QoS` 1 and 2.
pub(super) fn class_of(qos: QoS) -> usize {
    usize::from(qos > QoS::AtMostOnce)
}
