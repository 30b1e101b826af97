//! The copies of `QoS` 1 and 2, in order: first those that may be here, then those that are only in the
//! store and take a few bytes each, then what came behind them.

use std::collections::VecDeque;
use std::collections::vec_deque;
use std::time::Duration;

use super::entry::{Entry, Place};
use crate::codec::QoS;
use crate::message::{Mid, SubscriptionIds};

/// The copies of `QoS` 1 and 2, in order.
#[derive(Debug, Default)]
pub(super) struct Qos12 {
    front: VecDeque<Entry>,
    /// There only while something is packed.
    rest: Option<Box<Rest>>,
}

#[derive(Debug, Default)]
struct Rest {
    packed: Packed,
    back: VecDeque<Entry>,
}

/// Copies that are only in the store, each written as its distance from the one before.
#[derive(Debug, Default)]
struct Packed {
    bytes: VecDeque<u8>,
    count: usize,
    /// Of the copy before the first.
    before: Base,
    /// Of the last one.
    last: Base,
}

/// What a copy is told from.
#[derive(Clone, Copy, Debug, Default)]
struct Base {
    mid: u64,
    arrival: u64,
}

impl Qos12 {
    pub fn len(&self) -> usize {
        self.front.len() + self.rest.as_ref().map_or(0, |rest| rest.packed.count + rest.back.len())
    }

    pub fn is_empty(&self) -> bool {
        self.front.is_empty() && self.rest.is_none()
    }

    /// The first copy; none if there is none or it is packed.
    pub fn first(&self) -> Option<&Entry> {
        self.front.front()
    }

    /// The first copy is only in the store.
    pub fn first_is_cold(&self) -> bool {
        match self.front.front() {
            Some(first) => first.cold().is_some(),
            None => self.rest.is_some(),
        }
    }

    /// The copies that are not packed, up to the first that is.
    pub fn unpacked(&self) -> &VecDeque<Entry> {
        &self.front
    }

    /// Takes the first copy out, unless it is packed.
    pub fn pop_front(&mut self) -> Option<Entry> {
        self.front.pop_front()
    }

    pub fn push_front(&mut self, entry: Entry) {
        self.front.push_front(entry);
    }

    /// Adds a copy at the end. `spare` is asked for a list if one is needed.
    #[inline(always)]
    pub fn push_back(&mut self, entry: Entry, spare: impl FnOnce() -> VecDeque<Entry>) {
        let cold = entry.cold().is_some();
        match &mut self.rest {
            Some(rest) if cold && rest.back.is_empty() => rest.packed.push(&entry),
            Some(rest) => rest.back.push_back(entry),
            None if cold => self.rest.insert(Box::default()).packed.push(&entry),
            None => {
                if self.front.capacity() == 0 {
                    self.front = spare();
                }
                self.front.push_back(entry);
            }
        }
    }

    /// Leaves to the store what the store has, and packs it.
    pub fn cool(&mut self, ttl: Option<Duration>) {
        if self.is_empty() {
            return;
        }
        self.front.iter_mut().for_each(|entry| entry.cool(ttl));
        let old = self.rest.take().map(|rest| *rest).unwrap_or_default();
        let mut rest = Rest::default();
        if self.front.iter().all(|entry| entry.cold().is_some()) {
            std::mem::take(&mut self.front).iter().for_each(|entry| rest.packed.push(entry));
        }
        if rest.packed.count == 0 {
            rest.packed = old.packed;
        } else {
            old.packed.iter().for_each(|entry| rest.packed.push(&entry));
        }
        for mut entry in old.back {
            entry.cool(ttl);
            if rest.back.is_empty() && entry.cold().is_some() {
                rest.packed.push(&entry);
            } else {
                rest.back.push_back(entry);
            }
        }
        self.put_rest(rest);
    }

    /// Unpacks at the front, until so many copies are there.
    pub fn unpack(&mut self, count: usize) {
        let Some(mut rest) = self.rest.take() else { return };
        while self.front.len() < count {
            let Some(entry) = rest.packed.pop() else { break };
            self.front.push_back(entry);
        }
        self.put_rest(*rest);
    }

    /// The copies at the front, without those packed.
    pub fn front(&mut self) -> &mut VecDeque<Entry> {
        &mut self.front
    }

    /// The copies at the front, if there are no others.
    pub fn take_emptied(&mut self) -> Option<VecDeque<Entry>> {
        let emptied = self.is_empty() && self.front.capacity() > 0;
        emptied.then(|| std::mem::take(&mut self.front))
    }

    /// Keeps those of which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&Entry) -> bool) {
        self.front.retain(&mut keep);
        let Some(rest) = self.rest.take() else { return };
        let Rest { packed, mut back } = *rest;
        let mut kept = Packed::default();
        packed.iter().filter(&mut keep).for_each(|entry| kept.push(&entry));
        back.retain(keep);
        self.put_rest(Rest { packed: kept, back });
    }

    /// Shows every copy, in order.
    pub fn visit(&self, mut visit: impl FnMut(&Entry)) {
        self.front.iter().for_each(&mut visit);
        if let Some(rest) = &self.rest {
            rest.packed.iter().for_each(|entry| visit(&entry));
            rest.back.iter().for_each(visit);
        }
    }

    /// Shows the first `max` copies, in order.
    pub fn visit_first(&self, max: usize, mut visit: impl FnMut(&Entry)) {
        self.front.iter().take(max).for_each(&mut visit);
        if let Some(rest) = self.rest.as_ref().filter(|_| self.front.len() < max) {
            let left = max - self.front.len();
            rest.packed.iter().take(left).for_each(|entry| visit(&entry));
            let left = left.saturating_sub(rest.packed.count);
            rest.back.iter().take(left).for_each(visit);
        }
    }

    /// What stands behind the front; where nothing is packed it belongs to the front.
    fn put_rest(&mut self, mut rest: Rest) {
        if rest.packed.count > 0 {
            rest.packed.give_back();
            self.rest = Some(Box::new(rest));
        } else if self.front.is_empty() {
            self.front = rest.back;
        } else {
            self.front.append(&mut rest.back);
        }
    }
}

impl Packed {
    /// Adds a copy that is only in the store.
    fn push(&mut self, entry: &Entry) {
        let Place::Cold { mid, bytes, expires_s } = entry.message else {
            unreachable!("only what the store has is packed")
        };
        let ids = entry.ids.as_slice();
        let next = entry.arrival == self.last.arrival.wrapping_add(1);
        let mut flags = if entry.qos == QoS::ExactlyOnce { TWICE_CHECKED } else { 0 };
        flags |= if entry.retain { RETAIN } else { 0 };
        flags |= if expires_s < u32::MAX { EXPIRES } else { 0 };
        flags |= if next { NEXT } else { 0 };
        flags |= if ids.is_empty() { 0 } else { IDS };
        if self.count == 0 {
            self.before = self.last;
        }
        self.bytes.push_back(flags);
        self.put(distance(self.last.mid, mid.get()));
        if !next {
            self.put(distance(self.last.arrival, entry.arrival));
        }
        self.put(bytes.into());
        if expires_s < u32::MAX {
            self.put(expires_s.into());
        }
        if !ids.is_empty() {
            self.put(ids.len() as u64);
            ids.iter().for_each(|id| self.put((*id).into()));
        }
        self.last = Base { mid: mid.get(), arrival: entry.arrival };
        self.count += 1;
    }

    /// Takes the first copy out.
    fn pop(&mut self) -> Option<Entry> {
        let mut iter = self.iter();
        let entry = iter.next()?;
        let (read, before) = (self.bytes.len() - iter.bytes.len(), iter.before);
        self.bytes.drain(..read);
        self.before = before;
        self.count -= 1;
        Some(entry)
    }

    /// Gives memory back, once most of it is not needed.
    fn give_back(&mut self) {
        if self.bytes.capacity() / 4 > self.bytes.len() {
            self.bytes.shrink_to(self.bytes.len() * 2);
        }
    }

    fn iter(&self) -> Unpacked<'_> {
        Unpacked { bytes: self.bytes.iter(), before: self.before }
    }

    /// Seven bits a byte, lowest first.
    fn put(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push_back(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push_back(number as u8);
    }
}

/// Reads what was packed.
struct Unpacked<'a> {
    bytes: vec_deque::Iter<'a, u8>,
    before: Base,
}

impl Unpacked<'_> {
    fn byte(&mut self) -> u8 {
        *self.bytes.next().expect("what was packed is whole")
    }

    fn number(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
    }

    fn number32(&mut self) -> u32 {
        u32::try_from(self.number()).expect("it was packed as such a number")
    }
}

impl Iterator for Unpacked<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let flags = *self.bytes.next()?;
        let mid = after(self.before.mid, self.number());
        let arrival = if flags & NEXT != 0 {
            self.before.arrival.wrapping_add(1)
        } else {
            after(self.before.arrival, self.number())
        };
        let bytes = self.number32();
        let expires_s = if flags & EXPIRES != 0 { self.number32() } else { u32::MAX };
        let mut ids = SubscriptionIds::default();
        if flags & IDS != 0 {
            for _ in 0..self.number() {
                ids.add(self.number32());
            }
        }
        self.before = Base { mid, arrival };
        Some(Entry {
            message: Place::Cold { mid: Mid::new(mid), bytes, expires_s },
            ids,
            arrival,
            qos: if flags & TWICE_CHECKED != 0 { QoS::ExactlyOnce } else { QoS::AtLeastOnce },
            retain: flags & RETAIN != 0,
            stored: true,
        })
    }
}

/// From one number to another: small if it is near, on either side.
fn distance(from: u64, to: u64) -> u64 {
    let distance = to.wrapping_sub(from) as i64;
    ((distance << 1) ^ (distance >> 63)) as u64
}

/// The number at a distance.
fn after(from: u64, distance: u64) -> u64 {
    from.wrapping_add((distance >> 1) ^ (distance & 1).wrapping_neg())
}

const TWICE_CHECKED: u8 = 1;
const RETAIN: u8 = 2;
const EXPIRES: u8 = 4;
/// It arrived right behind the one before.
const NEXT: u8 = 8;
const IDS: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::time::Time;

    /// What tells copies apart.
    type Seen = (Option<Mid>, u64, u64, QoS, bool, Vec<u32>, Time);

    fn seen(entry: &Entry) -> Seen {
        let ids = entry.ids.as_slice().to_vec();
        let Entry { arrival, qos, retain, .. } = *entry;
        (entry.cold(), entry.bytes(), arrival, qos, retain, ids, entry.expires())
    }

    fn all(list: &Qos12) -> Vec<Seen> {
        let mut all = Vec::new();
        list.visit(|entry| all.push(seen(entry)));
        all
    }

    fn cold(random: &mut Random, arrival: u64) -> Entry {
        let edge = [1, 127, 128, 1 << 32, u64::MAX][random.below_u64(5) as usize];
        let mid =
            if random.below_u64(20) == 0 { edge } else { arrival * 3 + random.below_u64(50) + 1 };
        let mut ids = SubscriptionIds::default();
        (0..random.below_u64(4)).for_each(|_| ids.add(random.below_u64(1 << 28) as u32));
        let expires = [Time::NEVER, Time::from_secs(random.below_u64(2_000_000_000))];
        Entry {
            message: Place::cold(
                Mid::new(mid),
                random.below_u64(1 << 20) as usize,
                expires[arrival as usize % 2],
            ),
            ids,
            arrival,
            qos: if random.below_u64(2) == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce },
            retain: random.below_u64(2) == 0,
            stored: true,
        }
    }

    /// The naive twin is one list.
    #[test]
    fn packed_or_not_it_is_one_list() {
        for seed in 0..50 {
            let random = &mut Random::new(seed);
            let (mut list, mut twin) = (Qos12::default(), VecDeque::new());
            let (mut arrival, mut head) = (1 << 40, 1 << 40);
            for _ in 0..200 {
                match random.below_u64(8) {
                    0..3 => {
                        arrival += 1 + random.below_u64(2);
                        let entry = cold(random, arrival);
                        twin.push_back(seen(&entry));
                        list.push_back(entry, VecDeque::new);
                    }
                    3 => {
                        head -= 1;
                        let entry = cold(random, head);
                        twin.push_front(seen(&entry));
                        list.push_front(entry);
                    }
                    4 => list.cool(None),
                    5 => list.unpack(random.below(30)),
                    6 => {
                        if let Some(entry) = list.pop_front() {
                            assert_eq!(Some(seen(&entry)), twin.pop_front());
                        }
                    }
                    _ => {
                        let parity = random.below_u64(2);
                        if random.below(5) == 0 {
                            list.retain(|entry| entry.bytes() % 2 == parity);
                            twin.retain(|(_, bytes, ..)| bytes % 2 == parity);
                        }
                    }
                }
                assert_eq!(all(&list), Vec::from(twin.clone()));
                assert_eq!(list.len(), twin.len());
                assert_eq!(list.is_empty(), twin.is_empty());
                assert_eq!(list.first_is_cold(), !twin.is_empty());
            }
        }
    }

    #[test]
    fn a_copy_that_waits_in_the_store_takes_a_few_bytes() {
        let mut list = Qos12::default();
        for number in 0..1000 {
            let entry = Entry {
                message: Place::cold(Mid::new(1_000_000 + number * 1000), 300, Time::NEVER),
                ids: SubscriptionIds::default(),
                arrival: number,
                qos: QoS::AtLeastOnce,
                retain: false,
                stored: true,
            };
            list.push_back(entry, VecDeque::new);
        }
        let packed = &list.rest.as_ref().unwrap().packed;
        assert!(packed.bytes.len() < 5100, "{}", packed.bytes.len());
    }
}
