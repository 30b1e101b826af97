//! Egress for many clients together: one pair of buckets, shared fairly by the clients that wait.
//!
//! This is deficit round robin. Clients that have something to send wait in one queue; only the first
//! of the queue sends. Its turn is a *visit*. A visit adds a quantum of credit; what leaves is
//! subtracted from the credit, and the last packet may exceed it, since a packet's size is not known
//! before it is taken. When the credit is used up, the visit of the next client begins. Debt is carried
//! over, so in the long run all waiting clients get the same to within a quantum and a packet, and one
//! huge backlog does not starve the others.
//!
//! A client leaves the queue when it has nothing to send, or cannot take anything for another reason:
//! the others wait for the buckets only.

use super::{Allowance, Shaper};
use crate::config::{Egress, Shaping, Size};
use crate::time::Time;

/// The buckets and the queue of waiting clients. `W` wakes a client.
///
/// Every operation takes constant time, except for debt: a packet of many quanta costs one step each.
///
/// ```
/// # use std::time::Duration;
/// # use sluicemq::config::Egress;
/// # use sluicemq::shape::{Clearance, FairQueue};
/// # use sluicemq::time::Time;
/// let egress = Egress { messages_rate: 1, messages_burst: 1, ..Egress::default() };
/// let mut queue = FairQueue::new(&egress).expect("something is limited");
/// let (a, b, now) = (queue.add(), queue.add(), Time::from_secs(1));
/// assert!(matches!(queue.ask(a, &"a", now), Clearance::Go(_)));
/// assert_eq!(queue.ask(b, &"b", now), Clearance::Wait(None));
/// // One message of 100 bytes has left for `a`, and it has no more: `b` is woken, and waits for a token.
/// assert_eq!(queue.pour_last(a, 1, 100, now), Some("b"));
/// let later = now.after(Duration::from_secs(1));
/// assert_eq!(queue.ask(b, &"b", now), Clearance::Wait(Some(later)));
/// assert!(matches!(queue.ask(b, &"b", later), Clearance::Go(_)));
/// ```
#[derive(Debug)]
pub struct FairQueue<W> {
    buckets: Shaper,
    /// Credit is counted in bytes if bytes have a rate, else in messages.
    by_bytes: bool,
    /// Credit that a visit adds.
    quantum: i64,
    waiters: Vec<Waiter<W>>,
    /// Slots that no client has.
    free: Vec<QueueSlot>,
    first: Option<QueueSlot>,
    last: Option<QueueSlot>,
    /// How often the queue has become empty: then all debts are forgiven.
    emptied: u64,
}

/// A client's number in a [`FairQueue`].
pub type QueueSlot = u32;

/// One client: in the queue or not.
#[derive(Debug)]
struct Waiter<W> {
    waker: Option<W>,
    waits: bool,
    before: Option<QueueSlot>,
    behind: Option<QueueSlot>,
    credit: i64,
    /// Its visit has begun: it has its quantum.
    visits: bool,
    /// The queue's `emptied` when the credit was last set: credit of an earlier count is void.
    emptied: u64,
}

/// Whether a client may send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Clearance {
    /// This much may leave now: at least a message and a byte.
    Go(Allowance),
    /// Nothing may leave before this time; `None`: before the client is woken.
    Wait(Option<Time>),
}

impl<W: Clone> FairQueue<W> {
    /// Empty buckets and an empty queue; `None` where nothing is limited.
    pub fn new(egress: &Egress) -> Option<FairQueue<W>> {
        Some(FairQueue {
            buckets: Shaper::new(&shaping(egress))?,
            by_bytes: egress.bytes_rate.0 > 0,
            quantum: quantum(egress),
            waiters: Vec::new(),
            free: Vec::new(),
            first: None,
            last: None,
            emptied: 0,
        })
    }

    /// Changes the limits at `now`. What is in the buckets stays in them, and the queue stays as it is.
    /// Waiting clients should ask again: the first may go earlier.
    pub fn set(&mut self, egress: &Egress, now: Time) {
        self.buckets.set(&shaping(egress), now);
        if self.by_bytes != (egress.bytes_rate.0 > 0) {
            // Old credit is in another unit.
            self.by_bytes = !self.by_bytes;
            for waiter in &mut self.waiters {
                waiter.credit = 0;
                waiter.visits = false;
            }
        }
        self.quantum = quantum(egress);
    }

    /// A slot for a client that may come to wait.
    pub fn add(&mut self) -> QueueSlot {
        let waiter = Waiter {
            waker: None,
            waits: false,
            before: None,
            behind: None,
            credit: 0,
            visits: false,
            emptied: self.emptied,
        };
        match self.free.pop() {
            Some(slot) => {
                self.waiters[slot as usize] = waiter;
                slot
            }
            None => {
                self.waiters.push(waiter);
                u32::try_from(self.waiters.len() - 1).expect("fewer clients than that")
            }
        }
    }

    /// Frees the slot of a client that is gone. Returns the client to wake, if any.
    pub fn remove(&mut self, slot: QueueSlot) -> Option<W> {
        let woken = self.leave(slot);
        self.free.push(slot);
        woken
    }

    /// What a client that has something to send may send. If it must wait it enters the queue, and
    /// `waker` is returned by the call that makes it the first.
    pub fn ask(&mut self, slot: QueueSlot, waker: &W, now: Time) -> Clearance {
        let emptied = self.emptied;
        let waiter = self.waiter_mut(slot);
        waiter.waker = Some(waker.clone());
        if !waiter.waits {
            if waiter.emptied != emptied {
                waiter.emptied = emptied;
                waiter.credit = 0;
            }
            self.push(slot);
            if self.first == Some(slot) {
                self.begin_visit();
            }
        }
        if self.first != Some(slot) {
            return Clearance::Wait(None);
        }
        let allowance = self.buckets.allowance(now);
        if allowance.is_none() {
            self.buckets.set_waits(true, now);
            return Clearance::Wait(Some(self.buckets.ready_at()));
        }
        Clearance::Go(self.within_credit(slot, allowance))
    }

    /// `messages` and `bytes` have left, and there is more: the client stays in the queue. Returns the
    /// client to wake, if the next visit is another one's.
    pub fn pour(&mut self, slot: QueueSlot, messages: usize, bytes: usize, now: Time) -> Option<W> {
        self.spend(slot, messages, bytes, now);
        let alone = self.first == self.last;
        let waiter = self.waiter_mut(slot);
        if alone {
            // No other client waits: a new visit.
            waiter.credit = 0;
            waiter.visits = false;
        } else if waiter.credit > 0 {
            return None;
        }
        self.begin_visit();
        self.first.filter(|first| *first != slot).and_then(|first| self.waiter(first).waker.clone())
    }

    /// `messages` and `bytes` have left, and nothing more can: the client leaves the queue. Returns the
    /// client to wake, if any.
    pub fn pour_last(
        &mut self,
        slot: QueueSlot,
        messages: usize,
        bytes: usize,
        now: Time,
    ) -> Option<W> {
        self.spend(slot, messages, bytes, now);
        self.leave(slot)
    }

    /// Takes a client out of the queue that has nothing to send for now, or cannot take anything.
    /// Returns the client to wake, if any.
    pub fn leave(&mut self, slot: QueueSlot) -> Option<W> {
        if !self.waiter(slot).waits {
            return None;
        }
        let was_first = self.first == Some(slot);
        self.unlink(slot);
        let waiter = self.waiter_mut(slot);
        waiter.waker = None;
        waiter.visits = false;
        // Credit is for clients that wait; debt stays.
        waiter.credit = waiter.credit.min(0);
        if self.first.is_none() {
            self.emptied += 1;
            self.buckets.end_wait();
        }
        if !was_first {
            return None;
        }
        self.begin_visit();
        self.first.and_then(|first| self.waiter(first).waker.clone())
    }

    /// Clients in the queue.
    pub fn waiting(&self) -> usize {
        let mut count = 0;
        let mut at = self.first;
        while let Some(slot) = at {
            count += 1;
            at = self.waiter(slot).behind;
        }
        count
    }

    fn spend(&mut self, slot: QueueSlot, messages: usize, bytes: usize, now: Time) {
        self.buckets.pour_many(messages, bytes, now);
        let cost = if self.by_bytes { bytes } else { messages };
        let waiter = self.waiter_mut(slot);
        waiter.credit = waiter.credit.saturating_sub(i64::try_from(cost).unwrap_or(i64::MAX));
    }

    /// Gives the first of the queue its quantum. If it is still in debt it goes to the end, with a
    /// quantum less of debt.
    fn begin_visit(&mut self) {
        let quantum = self.quantum;
        while let Some(first) = self.first {
            let alone = self.first == self.last;
            let waiter = self.waiter_mut(first);
            if !waiter.visits {
                waiter.visits = true;
                waiter.credit = waiter.credit.saturating_add(quantum);
            }
            if waiter.credit > 0 || alone {
                return;
            }
            waiter.visits = false;
            self.unlink(first);
            self.push(first);
        }
    }

    /// Limits an allowance to the client's credit, if others wait behind it.
    fn within_credit(&self, slot: QueueSlot, allowance: Allowance) -> Allowance {
        if self.first == self.last {
            return allowance;
        }
        let credit = usize::try_from(self.waiter(slot).credit).unwrap_or(0).max(1);
        if self.by_bytes {
            Allowance { bytes: allowance.bytes.min(credit), ..allowance }
        } else {
            Allowance { messages: allowance.messages.min(credit), ..allowance }
        }
    }

    fn push(&mut self, slot: QueueSlot) {
        let last = self.last.replace(slot);
        match last {
            Some(last) => self.waiter_mut(last).behind = Some(slot),
            None => self.first = Some(slot),
        }
        let waiter = self.waiter_mut(slot);
        waiter.waits = true;
        waiter.before = last;
        waiter.behind = None;
    }

    fn unlink(&mut self, slot: QueueSlot) {
        let waiter = self.waiter_mut(slot);
        waiter.waits = false;
        let (before, behind) = (waiter.before.take(), waiter.behind.take());
        match before {
            Some(before) => self.waiter_mut(before).behind = behind,
            None => self.first = behind,
        }
        match behind {
            Some(behind) => self.waiter_mut(behind).before = before,
            None => self.last = before,
        }
    }

    fn waiter(&self, slot: QueueSlot) -> &Waiter<W> {
        &self.waiters[slot as usize]
    }

    fn waiter_mut(&mut self, slot: QueueSlot) -> &mut Waiter<W> {
        &mut self.waiters[slot as usize]
    }
}

fn shaping(egress: &Egress) -> Shaping {
    Shaping {
        messages_rate: egress.messages_rate,
        messages_burst: egress.messages_burst,
        bytes_rate: egress.bytes_rate,
        bytes_burst: egress.bytes_burst,
        ..Shaping::default()
    }
}

/// Credit of a visit: about what leaves in a millisecond. Less means more wakes, more means longer
/// waits.
fn quantum(egress: &Egress) -> i64 {
    let Size(bytes) = egress.bytes_rate;
    let quantum = if bytes > 0 {
        (bytes / 1_000).clamp(1_024, 65_536)
    } else {
        (u64::from(egress.messages_rate) / 1_000).clamp(1, 64)
    };
    i64::try_from(quantum).expect("a small number")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, VecDeque};
    use std::time::Duration;

    use super::*;
    use crate::random::Random;

    const BEGIN: Time = Time::from_secs(1_800_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn by_bytes(rate: u64, burst: u64) -> Egress {
        Egress { bytes_rate: Size(rate), bytes_burst: Size(burst), ..Egress::default() }
    }

    fn by_messages(messages_rate: u32, messages_burst: u32) -> Egress {
        Egress { messages_rate, messages_burst, ..Egress::default() }
    }

    /// Clients with backlogs of packets, a queue, and a clock that jumps.
    struct Hall {
        queue: FairQueue<usize>,
        slots: Vec<QueueSlot>,
        backlogs: Vec<VecDeque<usize>>,
        now: Time,
        ready: VecDeque<usize>,
        deadlines: BTreeMap<usize, Time>,
        /// When each packet left, its client and its length.
        left: Vec<(Time, usize, usize)>,
    }

    impl Hall {
        fn new(egress: &Egress, backlogs: Vec<VecDeque<usize>>) -> Hall {
            let mut queue = FairQueue::new(egress).unwrap();
            let slots = backlogs.iter().map(|_| queue.add()).collect();
            let ready = (0..backlogs.len()).collect();
            let (deadlines, left) = (BTreeMap::new(), Vec::new());
            Hall { queue, slots, backlogs, now: BEGIN, ready, deadlines, left }
        }

        /// A client does what it can.
        fn poll(&mut self, client: usize) {
            self.deadlines.remove(&client);
            let slot = self.slots[client];
            if self.backlogs[client].is_empty() {
                let woken = self.queue.leave(slot);
                self.ready.extend(woken);
                return;
            }
            let mut allowance = match self.queue.ask(slot, &client, self.now) {
                Clearance::Wait(until) => {
                    self.deadlines.extend(until.map(|until| (client, until)));
                    return;
                }
                Clearance::Go(allowance) => allowance,
            };
            assert!(!allowance.is_none());
            let (mut messages, mut bytes) = (0, 0);
            while !allowance.is_none()
                && let Some(packet) = self.backlogs[client].pop_front()
            {
                allowance.messages -= 1;
                allowance.bytes = allowance.bytes.saturating_sub(packet);
                messages += 1;
                bytes += packet;
                self.left.push((self.now, client, packet));
            }
            let woken = if self.backlogs[client].is_empty() {
                self.queue.pour_last(slot, messages, bytes, self.now)
            } else {
                self.ready.push_back(client);
                self.queue.pour(slot, messages, bytes, self.now)
            };
            self.ready.extend(woken);
        }

        /// Lets time pass.
        fn pass(&mut self, span: Duration) {
            let end = self.now.after(span);
            loop {
                while let Some(client) = self.ready.pop_front() {
                    self.poll(client);
                }
                let next = self.deadlines.iter().min_by_key(|(_, at)| **at);
                let Some((client, at)) = next.map(|(client, at)| (*client, *at)) else { break };
                if at > end {
                    break;
                }
                self.now = self.now.max(at);
                self.poll(client);
            }
            self.now = end;
        }

        /// Messages and bytes of a client that have left.
        fn share(&self, client: usize) -> (usize, usize) {
            let own = self.left.iter().filter(|(_, of, _)| *of == client);
            own.fold((0, 0), |(count, sum), (_, _, bytes)| (count + 1, sum + bytes))
        }
    }

    fn backlog(count: usize, mut size: impl FnMut() -> usize) -> VecDeque<usize> {
        (0..count).map(|_| size()).collect()
    }

    #[test]
    fn one_huge_backlog_starves_nobody() {
        let mut random = Random::new(1);
        let egress = by_bytes(100_000, 1_000);
        let mut backlogs = vec![backlog(10_000, || 1_400)];
        backlogs.extend((0..20).map(|_| backlog(1_000, || 100 + random.below(300))));
        let mut hall = Hall::new(&egress, backlogs);
        // What the first client gets before the others are there takes nothing from them.
        hall.pass(Duration::ZERO);
        let before: Vec<_> = (0..21).map(|client| hall.share(client).1).collect();
        hall.pass(SECOND * 20);
        let shares: Vec<_> = (0..21).map(|client| hall.share(client).1 - before[client]).collect();
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(hall.backlogs.iter().all(|left| !left.is_empty()));
        assert!(most - least <= 1_024 + 1_400, "{shares:?}");
        let sum: usize = shares.iter().chain(&before).sum();
        assert!((2_001_000..=2_001_000 + 1_400).contains(&sum), "{sum}");
    }

    #[test]
    fn messages_are_shared_where_only_they_are_limited() {
        let backlogs = (0..7).map(|n| backlog(1_000, || 1 << n)).collect();
        let mut hall = Hall::new(&by_messages(100, 1), backlogs);
        hall.pass(SECOND * 10);
        let shares: Vec<_> = (0..7).map(|client| hall.share(client).0).collect();
        assert_eq!(shares.iter().sum::<usize>(), 1_001);
        assert!(shares.iter().all(|share| (142..=144).contains(share)), "{shares:?}");
    }

    #[test]
    fn packets_of_many_quanta_are_made_up_for() {
        // One sends a megabyte at a time, the others little: in the long run all the same.
        let mut backlogs = vec![backlog(1_000, || 1_000_000)];
        backlogs.extend((0..4).map(|_| backlog(200_000, || 500)));
        let mut hall = Hall::new(&by_bytes(1_000_000, 1), backlogs);
        hall.pass(Duration::ZERO);
        let before: Vec<_> = (0..5).map(|client| hall.share(client).1).collect();
        hall.pass(SECOND * 100);
        let shares: Vec<_> = (0..5).map(|client| hall.share(client).1 - before[client]).collect();
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(most - least <= 1_024 + 1_000_000, "{shares:?}");
    }

    #[test]
    fn the_rate_holds_exactly_whoever_comes_and_goes() {
        for seed in 1..=200 {
            let mut random = Random::new(seed);
            let rate = [1_000, 12_345, 1_000_000][random.below(3)];
            let burst = [1, 500, 10_000][random.below(3)];
            let clients = 1 + random.below(8);
            let backlogs = (0..clients).map(|_| VecDeque::new()).collect();
            let mut hall = Hall::new(&by_bytes(rate, burst), backlogs);
            let largest = 600;
            for _ in 0..200 {
                let client = random.below(clients);
                let more = backlog(random.below(20), || 1 + random.below(largest));
                hall.backlogs[client].extend(more);
                hall.ready.push_back(client);
                hall.pass(Duration::from_micros(random.below(100_000) as u64));
            }
            // Never faster: in any span the burst, what the rate lets out, and one packet.
            for (index, (start, ..)) in hall.left.iter().enumerate() {
                let mut sum = 0;
                for (at, _, bytes) in hall.left[index..].iter().take(200) {
                    let most = u128::from(burst) * 1_000_000_000
                        + (at.since(*start).as_nanos() + 1) * u128::from(rate);
                    assert!(sum * 1_000_000_000 <= most, "seed {seed}");
                    sum += *bytes as u128;
                }
            }
            // Never slower: while clients wait, one has a deadline, and the bucket is full.
            if hall.backlogs.iter().any(|backlog| !backlog.is_empty()) {
                assert_eq!(hall.deadlines.len(), 1, "seed {seed}");
                let until = *hall.deadlines.values().next().unwrap();
                assert!(until > hall.now, "seed {seed}");
            } else {
                assert_eq!(hall.queue.waiting(), 0, "seed {seed}");
            }
            let mut total =
                hall.left.len() + hall.backlogs.iter().map(VecDeque::len).sum::<usize>();
            hall.pass(SECOND * 10_000);
            total -= hall.left.len();
            assert_eq!(total, 0, "seed {seed}: somebody was never woken");
        }
    }

    #[test]
    fn nothing_drifts_over_the_days() {
        for rate in [7, 333, 99_991] {
            let backlogs = (0..3).map(|_| backlog(100_000, || 10)).collect();
            let mut hall = Hall::new(&by_messages(rate, 1), backlogs);
            hall.pass(SECOND * 90_000);
            let count = hall.left.len() as u64;
            let last = hall.left.last().unwrap().0.since(BEGIN).as_nanos();
            let exact = (u128::from(count - 1) * 1_000_000_000).div_ceil(rate.into());
            assert!(last.abs_diff(exact) <= 1, "{rate}: {last} ns, not {exact}");
        }
    }

    #[test]
    fn other_rules_keep_what_has_left() {
        let backlogs = (0..2).map(|_| backlog(1_000, || 100)).collect();
        let mut hall = Hall::new(&by_bytes(1_000, 1), backlogs);
        hall.pass(SECOND);
        let before = hall.left.len();
        // Half of a packet's time has passed; the other half lasts as long as the new rate says.
        hall.queue.set(&by_bytes(10_000, 1), hall.now);
        hall.ready.extend(hall.deadlines.keys());
        hall.pass(SECOND);
        let after = hall.left.len() - before;
        assert!((100..=101).contains(&after), "{before} {after}");
        // And from bytes to messages.
        hall.queue.set(&by_messages(50, 1), hall.now);
        hall.ready.extend(hall.deadlines.keys());
        let before = [hall.share(0).0, hall.share(1).0];
        hall.pass(SECOND);
        for (client, before) in before.into_iter().enumerate() {
            let share = hall.share(client).0 - before;
            assert!((24..=27).contains(&share), "{share}");
        }
    }

    #[test]
    fn nothing_overflows_at_extreme_rates() {
        let most = Egress {
            messages_rate: 1_000_000_000,
            messages_burst: 1_000_000_000,
            ..by_bytes(1 << 40, 1 << 40)
        };
        let mut queue = FairQueue::new(&most).unwrap();
        let (a, b) = (queue.add(), queue.add());
        assert!(matches!(queue.ask(a, &0, BEGIN), Clearance::Go(_)));
        assert_eq!(queue.ask(b, &1, BEGIN), Clearance::Wait(None));
        assert_eq!(queue.pour(a, usize::MAX, usize::MAX, BEGIN), Some(1));
        assert!(matches!(queue.ask(b, &1, BEGIN), Clearance::Wait(Some(_))));
        assert_eq!(queue.remove(b), Some(0));
        assert!(FairQueue::<usize>::new(&Egress::default()).is_none());
    }

    /// The naive twin keeps its line in a list, and everything else in maps.
    struct Twin {
        buckets: Shaper,
        quantum: i64,
        line: Vec<usize>,
        visiting: BTreeSet<usize>,
        credit: BTreeMap<usize, i64>,
    }

    impl Twin {
        fn ask(&mut self, client: usize, now: Time) -> Clearance {
            if !self.line.contains(&client) {
                self.line.push(client);
                // The visit of the first goes on: it may be sending.
                if self.line[0] == client {
                    self.turn();
                }
            }
            if self.line[0] != client {
                return Clearance::Wait(None);
            }
            let mut allowance = self.buckets.allowance(now);
            if allowance.is_none() {
                self.buckets.set_waits(true, now);
                return Clearance::Wait(Some(self.buckets.ready_at()));
            }
            if self.line.len() > 1 {
                allowance.bytes = allowance.bytes.min(self.credit[&client].max(1) as usize);
            }
            Clearance::Go(allowance)
        }

        fn turn(&mut self) {
            while let Some(first) = self.line.first().copied() {
                let credit = self.credit.entry(first).or_default();
                if self.visiting.insert(first) {
                    *credit += self.quantum;
                }
                if *credit > 0 || self.line.len() == 1 {
                    break;
                }
                self.visiting.remove(&first);
                self.line.rotate_left(1);
            }
        }

        fn pour(
            &mut self,
            client: usize,
            messages: usize,
            bytes: usize,
            now: Time,
        ) -> Option<usize> {
            self.buckets.pour_many(messages, bytes, now);
            *self.credit.get_mut(&client).unwrap() -= bytes as i64;
            if self.line.len() == 1 {
                self.credit.insert(client, 0);
                self.visiting.remove(&client);
            }
            self.turn();
            self.line.first().copied().filter(|first| *first != client)
        }

        fn leave(&mut self, client: usize) -> Option<usize> {
            let at = self.line.iter().position(|other| *other == client)?;
            self.line.remove(at);
            self.visiting.remove(&client);
            self.credit.entry(client).and_modify(|credit| *credit = (*credit).min(0));
            if self.line.is_empty() {
                self.credit.clear();
                self.buckets.end_wait();
            }
            if at > 0 {
                return None;
            }
            self.turn();
            self.line.first().copied()
        }
    }

    #[test]
    fn it_agrees_with_its_naive_twin() {
        for seed in 1..=500 {
            let mut random = Random::new(seed);
            let egress = by_bytes(10_000, 1 + random.below(5_000) as u64);
            let mut queue = FairQueue::new(&egress).unwrap();
            let mut twin = Twin {
                buckets: Shaper::new(&shaping(&egress)).unwrap(),
                quantum: quantum(&egress),
                line: Vec::new(),
                visiting: BTreeSet::new(),
                credit: BTreeMap::new(),
            };
            let slots: Vec<_> = (0..6).map(|_| queue.add()).collect();
            let mut now = BEGIN;
            for step in 0..400 {
                let client = random.below(6);
                let (slot, cx) = (slots[client], format!("seed {seed} step {step}"));
                now = now.after(Duration::from_micros([0, 10, 50_000][random.below(3)]));
                if random.below(3) == 0 {
                    assert_eq!(queue.leave(slot), twin.leave(client), "{cx}");
                    continue;
                }
                let pass = queue.ask(slot, &client, now);
                assert_eq!(pass, twin.ask(client, now), "{cx}");
                if let Clearance::Go(allowance) = pass {
                    let bytes = 1 + random.below(allowance.bytes + 3_000);
                    let woken = queue.pour(slot, 1, bytes, now);
                    assert_eq!(woken, twin.pour(client, 1, bytes, now), "{cx}");
                }
                assert_eq!(queue.waiting(), twin.line.len(), "{cx}");
            }
        }
    }
}
