//! What a named queue has that other mailboxes have not: copies that no consumer may have, which no other
//! waits for, and an end of waiting.

use std::time::Duration;

use super::priority::IN_ORDER;
use super::{DroppedCopy, Waiting};
use crate::time::Time;

impl Waiting {
    /// The copy that arrived under this number, the first of its list, is taken out of the order: those behind
    /// it do not wait for it.
    pub fn set_aside(&mut self, arrival: u64) {
        let lists = IN_ORDER.into_iter().zip(self.all_mut());
        let found = lists.filter_map(|(band, lists)| {
            let of_qos0 = lists.qos0.front().is_some_and(|first| first.arrival == arrival);
            let of_qos12 = lists.qos12.first().is_some_and(|first| first.arrival == arrival);
            (of_qos0 || of_qos12).then(|| lists.pop(of_qos0)).flatten().map(|entry| (band, entry))
        });
        let Some((band, entry)) = { found }.next() else { return };
        self.bytes -= entry.bytes();
        let ttl = self.ttl();
        let aside = &mut self.more.get_or_insert_default().aside;
        let aside = aside.get_or_insert_with(|| {
            let mut aside = Box::<Waiting>::default();
            aside.set_ttl(ttl);
            aside
        });
        aside.push_entry(entry, band);
        self.check();
    }

    /// What was set aside waits before all others again, in its order.
    pub fn take_up_again(&mut self) {
        let Some(mut aside) = self.more.as_mut().and_then(|more| more.aside.take()) else { return };
        for (band, lists) in IN_ORDER.into_iter().zip(aside.all_mut()) {
            lists.qos12.unpack(usize::MAX);
            for from_qos0 in [true, false] {
                let entries: Vec<_> = std::iter::from_fn(|| lists.pop(from_qos0)).collect();
                for mut entry in entries.into_iter().rev() {
                    let more = self.more.get_or_insert_default();
                    more.head -= 1;
                    entry.arrival = more.head;
                    self.count_in(&entry);
                    let lists = self.band_mut(band);
                    match from_qos0 {
                        true => lists.qos0.push_front(entry),
                        false => lists.qos12.push_front(entry),
                    }
                }
            }
        }
        self.check();
    }

    /// Copies that are set aside.
    pub fn set_aside_count(&self) -> usize {
        self.aside().map_or(0, Waiting::len)
    }

    /// Sets how long a copy may wait. A copy that is only in the store keeps the end that it had.
    pub fn set_ttl(&mut self, ttl: Option<Duration>) {
        if ttl.is_some() || self.more.is_some() {
            self.more.get_or_insert_default().ttl = ttl;
        }
        self.with_aside(|aside| aside.set_ttl(ttl));
    }

    /// Takes out of the front of each list what has come to its end, at most `max` copies.
    pub fn expire_front(&mut self, now: Time, max: usize) -> Vec<DroppedCopy> {
        let mut expired =
            self.in_aside(|aside| Some(aside.expire_front(now, max))).unwrap_or_default();
        let (ttl, mut bytes) = (self.ttl(), 0);
        for lists in self.all_mut() {
            while expired.len() < max {
                lists.qos12.unpack(1);
                let is_due =
                    |first: Option<&super::Entry>| first.is_some_and(|first| first.due(ttl) <= now);
                let from_qos0 = is_due(lists.qos0.front());
                if !from_qos0 && !is_due(lists.qos12.first()) {
                    break;
                }
                let Some(entry) = lists.pop(from_qos0) else { break };
                bytes += entry.bytes();
                expired.push(entry.dropped());
            }
        }
        self.bytes -= bytes;
        expired.extend(self.expire_tried(now, max - expired.len().min(max)));
        self.count_lanes();
        self.give_memory_back();
        self.check();
        expired
    }

    pub(super) fn ttl(&self) -> Option<Duration> {
        self.more.as_ref()?.ttl
    }

    pub(super) fn aside(&self) -> Option<&Waiting> {
        self.more.as_ref()?.aside.as_deref()
    }

    /// Does something to what is set aside, if anything is.
    pub(super) fn with_aside(&mut self, act: impl FnOnce(&mut Waiting)) {
        if let Some(aside) = self.more.as_mut().and_then(|more| more.aside.as_mut()) {
            act(aside);
        }
    }

    /// Takes something out of what is set aside; what is empty then is there no more.
    pub(super) fn in_aside<T>(&mut self, act: impl FnOnce(&mut Waiting) -> Option<T>) -> Option<T> {
        let more = self.more.as_mut()?;
        let done = act(more.aside.as_deref_mut()?);
        more.aside.take_if(|aside| aside.is_empty());
        done
    }
}
