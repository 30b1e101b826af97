//! The copies of one band: two lists, joined by arrival.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::entry::Entry;
use super::qos12::Qos12;
use crate::codec::QoS;
use crate::message::{Message, Mid};

/// The copies of one band.
#[derive(Debug, Default)]
pub(super) struct Band {
    pub qos0: VecDeque<Entry>,
    pub qos12: Qos12,
}

thread_local! {
    /// Lists that were emptied by this thread: they serve the next ones that fill.
    static SPARE: RefCell<Vec<VecDeque<Entry>>> = const { RefCell::new(Vec::new()) };
}

/// Lists kept by a thread, and the room of each, at most.
const SPARE_MAX: usize = 128;
const SPARE_ROOM_MAX: usize = 512;

impl Band {
    pub fn is_empty(&self) -> bool {
        self.qos0.is_empty() && self.qos12.is_empty()
    }

    pub fn len(&self) -> usize {
        self.qos0.len() + self.qos12.len()
    }

    pub fn queued(&self) -> [usize; 2] {
        [self.qos0.len(), self.qos12.len()]
    }

    /// Whether the next copy whose message is in memory is of `QoS` 0; `None`: there is none that
    /// `window` allows.
    #[inline]
    pub fn next_is_qos0(&self, window: usize) -> Option<bool> {
        let qos0 = self.qos0.front().map(|entry| entry.arrival);
        let first = self.qos12.first().filter(|entry| window > 0 && entry.cold().is_none());
        match (qos0, first.map(|entry| entry.arrival)) {
            (None, None) => None,
            (Some(qos0), Some(qos12)) => Some(qos0 < qos12),
            (qos0, _) => Some(qos0.is_some()),
        }
    }

    /// The first copy of `QoS` 1 or 2 arrived before this, or it is packed: then that is not known.
    pub fn is_before(&self, barrier: u64) -> bool {
        let first = self.qos12.first();
        first.map_or(!self.qos12.is_empty(), |first| first.arrival < barrier)
    }

    #[inline]
    pub fn pop(&mut self, from_qos0: bool) -> Option<Entry> {
        if from_qos0 { self.qos0.pop_front() } else { self.qos12.pop_front() }
    }

    /// Arrival of the copy that has waited longest, and whether it is of `QoS` 0.
    pub fn oldest(&mut self) -> Option<(u64, bool)> {
        self.qos12.unpack(1);
        let arrival = |first: Option<&Entry>| first.map_or(u64::MAX, |first| first.arrival);
        let (qos0, qos12) = (arrival(self.qos0.front()), arrival(self.qos12.first()));
        (!self.is_empty()).then(|| (qos0.min(qos12), qos0 < qos12))
    }

    /// Adds a copy at the end.
    #[inline(always)]
    pub fn push_back(&mut self, entry: Entry) {
        if entry.qos > QoS::AtMostOnce {
            self.qos12.push_back(entry, spare);
            return;
        }
        if self.qos0.capacity() == 0 {
            self.qos0 = spare();
        }
        self.qos0.push_back(entry);
    }

    /// Shows every copy, list by list.
    pub fn visit(&self, mut visit: impl FnMut(&Entry)) {
        self.qos0.iter().for_each(&mut visit);
        self.qos12.visit(visit);
    }

    /// The messages at the front that are only in the store: at most `max`, and about `bytes_max` bytes.
    pub fn cold_page(&mut self, max: usize, bytes_max: u64) -> Vec<Mid> {
        let mut bytes = 0;
        self.qos12.unpack(max);
        let front = self.qos12.front().iter().take(max).take_while(|entry| {
            let before = bytes;
            bytes += entry.bytes();
            before < bytes_max
        });
        front.filter_map(Entry::cold).collect()
    }

    /// Puts messages from the store into their copies at the front. `found` is in the order of the list.
    /// Returns those of no copy here; those that could not be read are `unreadable`, and their copies are
    /// taken out. Adds to `bytes` how many bytes came and how many left.
    pub fn warm(
        &mut self,
        found: Vec<(Mid, Option<Message>)>,
        unreadable: &mut Vec<Mid>,
        bytes: (&mut u64, &mut u64),
    ) -> Vec<(Mid, Option<Message>)> {
        let front = self.qos12.front();
        let mut strangers = Vec::new();
        let mut index = 0;
        for (mid, message) in found {
            let at = front.iter().skip(index).position(|entry| entry.cold() == Some(mid));
            let Some(at) = at else {
                strangers.push((mid, message));
                continue;
            };
            index += at;
            *bytes.1 += front[index].bytes();
            match message {
                Some(message) => {
                    message.set_mid(mid);
                    front[index].warm(message);
                    *bytes.0 += front[index].bytes();
                    index += 1;
                }
                None => {
                    front.remove(index);
                    unreadable.push(mid);
                }
            }
        }
        strangers
    }

    /// The copy that waits under this arrival; nothing is packed.
    pub fn find(&self, arrival: u64) -> Option<&Entry> {
        let lists = [&self.qos0, self.qos12.unpacked()];
        lists.into_iter().find_map(|list| Some(&list[position(list, arrival)?]))
    }

    /// Takes it out; nothing is packed.
    pub fn remove(&mut self, arrival: u64) -> Option<Entry> {
        let mut lists = [&mut self.qos0, self.qos12.front()].into_iter();
        lists.find_map(|list| position(list, arrival).and_then(|at| list.remove(at)))
    }

    /// Puts a copy in its place by arrival; nothing is packed.
    pub fn insert(&mut self, entry: Entry) {
        let qos0 = entry.qos == QoS::AtMostOnce;
        let list = if qos0 { &mut self.qos0 } else { self.qos12.front() };
        let at = list.partition_point(|other| other.arrival < entry.arrival);
        list.insert(at, entry);
    }

    /// Leaves the memory of lists that are empty to the thread.
    pub fn give_memory_back(&mut self) {
        if self.qos0.is_empty() && self.qos0.capacity() > 0 {
            keep_spare(std::mem::take(&mut self.qos0));
        }
        if let Some(emptied) = self.qos12.take_emptied() {
            keep_spare(emptied);
        }
    }
}

/// An empty list, with memory if the thread has some.
fn spare() -> VecDeque<Entry> {
    with_spare(Vec::pop).flatten().unwrap_or_default()
}

fn keep_spare(list: VecDeque<Entry>) {
    with_spare(|spare| {
        if spare.len() < SPARE_MAX && list.capacity() <= SPARE_ROOM_MAX {
            spare.push(list);
        }
    });
}

/// Uses the spare lists of this thread. `None`: the thread ends and has none any more.
fn with_spare<R>(use_them: impl FnOnce(&mut Vec<VecDeque<Entry>>) -> R) -> Option<R> {
    SPARE.try_with(|spare| use_them(&mut spare.borrow_mut())).ok()
}

/// Where in a list that is in the order of arrival.
fn position(list: &VecDeque<Entry>, arrival: u64) -> Option<usize> {
    list.binary_search_by_key(&arrival, |entry| entry.arrival).ok()
}
