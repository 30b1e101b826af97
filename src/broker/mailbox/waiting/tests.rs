//! [`Waiting`] beside naive twins: a plain list of copies, and a map of topics.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::broker::mailbox::copy::ORDINARY;
use crate::codec::Properties;
use crate::message::{ClientId, Delivery, Draft, Identity, Lane, Meter, SubscriptionIds};
use crate::random::Random;
use crate::session::Room;
use crate::topic::{TextHash, TopicName};

const NOW: Time = Time::from_secs(1_000);

fn message(topic: &str, number: u64, qos: QoS, expiry: Option<u32>) -> Message {
    let publisher = Identity::new(ClientId::new("p"), None, Meter::forever());
    let payload = number.to_string() + &"x".repeat(number as usize % 7);
    let draft = Draft {
        topic: TopicName::trusted(topic),
        qos,
        retain: false,
        expiry,
        properties: Properties::EMPTY,
        payload: payload.as_bytes(),
    };
    // It expires between two whole seconds, which are all that a cold copy knows.
    let received = NOW.before(std::time::Duration::from_millis(400));
    let message = draft.into_message(&publisher, received);
    message.set_mid(Mid::new(number));
    message
}

fn copy(message: Message, stored: bool, band: u8) -> Copy {
    let qos = message.qos;
    Copy { message, qos, retain: false, ids: SubscriptionIds::default(), stored, band }
}

fn deliver(copy: Copy) -> Delivery {
    let Copy { message, qos, retain, ids, stored, .. } = copy;
    Delivery { message, qos, retain, ids, group: None, lane: Lane::NONE, stored }
}

/// A copy of the naive twin. Its number is its message's.
#[derive(Clone)]
struct Plain {
    number: u64,
    order: i64,
    band: u8,
    message: Message,
    stored: bool,
    cold: bool,
}

impl Plain {
    fn is_qos0(&self) -> bool {
        self.message.qos == QoS::AtMostOnce
    }

    /// When it expires, as far as it is known: of a cold copy in whole seconds, rounded up.
    fn expires(&self) -> Time {
        let exact = self.message.expires;
        if !self.cold || exact == Time::NEVER {
            return exact;
        }
        Time::from_secs(exact.as_nanos().div_ceil(1_000_000_000))
    }
}

struct Pair {
    waiting: Waiting,
    twin: Vec<Plain>,
    random: Random,
    /// Messages with a higher number than this were not made yet.
    last: u64,
    banded: bool,
}

impl Pair {
    fn plain(&mut self, order: i64, qos: QoS) -> Plain {
        self.last += 1;
        let expiry = (self.random.below_u64(3) == 0).then(|| self.random.below_u64(9) as u32 + 1);
        let band = if self.banded { self.random.below_u64(4) as u8 } else { ORDINARY };
        let message = message("t", self.last, qos, expiry);
        let stored = qos > QoS::AtMostOnce && self.random.below_u64(2) == 0;
        Plain { number: self.last, order, band, message, stored, cold: false }
    }

    fn push_back(&mut self) {
        let qos = QoS::from_bits(self.random.below_u64(3) as u8).expect("a level");
        let mut plain = self.plain(self.last as i64, qos);
        let here = self.random.below_u64(3) > 0;
        plain.cold = !here && plain.stored;
        self.waiting.push_back(copy(plain.message.clone(), plain.stored, plain.band), here);
        self.twin.push(plain);
    }

    fn push_front(&mut self) {
        let plain = self.plain(-(self.last as i64), QoS::AtLeastOnce);
        self.waiting.push_front(copy(plain.message.clone(), plain.stored, plain.band));
        self.twin.push(plain);
    }

    /// Takes the copy of this number out of the twin.
    fn remove(&mut self, number: u64) -> Plain {
        let at = self.twin.iter().position(|plain| plain.number == number);
        self.twin.remove(at.expect("it waits"))
    }

    fn first(&self, of: impl Fn(&Plain) -> bool) -> Option<&Plain> {
        self.twin.iter().filter(|plain| of(plain)).min_by_key(|plain| plain.order)
    }

    fn take(&mut self) {
        let window = self.random.below_u64(4) as usize;
        let bytes = self.random.below_u64(300) as usize;
        let (max, share) = (self.random.below_u64(4) as usize, self.random.below_u64(40) as u8);
        let limits = Limits { room: Room { window, bytes }, max, share };
        let mut out = Vec::new();
        let drained = self.waiting.take(limits, &mut out, deliver);
        assert_eq!(drained.copies, out.len());
        assert!(out.len() <= max);
        assert!(out.iter().filter(|copy| copy.qos > QoS::AtMostOnce).count() <= window);
        let (mut window, mut left) = (window, bytes);
        for delivery in out {
            assert!(left > 0);
            left = left.saturating_sub(delivery.message.bytes());
            let number = delivery.message.mid().expect("it has a number").get();
            let band = self.remove(number);
            let (qos0, order) = (band.is_qos0(), band.order);
            assert!(!band.cold && delivery.stored == band.stored);
            let overtaken = |other: &Plain| other.band == band.band && other.is_qos0() == qos0;
            assert!(self.first(overtaken).is_none_or(|other| other.order > order));
            if !self.banded {
                let may = |other: &Plain| other.is_qos0() || (window > 0 && !other.cold);
                let first = self.first(|other| !other.is_qos0());
                let blocked = first.is_some_and(|first| first.cold);
                let next = self.first(|other| may(other) && (other.is_qos0() || !blocked));
                assert!(next.is_none_or(|next| next.order > order), "the order of arrival");
            }
            window -= usize::from(!qos0);
        }
    }

    /// What left is what the twin says should leave.
    fn dropped(&mut self, dropped: Option<DroppedCopy>, expected: Option<u64>) {
        let number = dropped.map(|copy| {
            let message = copy.message.as_ref().and_then(Message::mid);
            copy.mid.or(message).expect("one of them tells").get()
        });
        assert_eq!(number, expected);
        if let Some(number) = number {
            self.remove(number);
        }
    }

    fn expire(&mut self) {
        let now = NOW.after(std::time::Duration::from_secs(self.random.below_u64(12)));
        let expired = self.waiting.expire(now).len();
        let before = self.twin.len();
        self.twin.retain(|plain| plain.message.expires > now);
        assert_eq!(expired, before - self.twin.len());
    }

    fn fetch(&mut self) {
        let page = self.waiting.cold_page(4, 1_000);
        let mut found = Vec::new();
        for mid in page {
            let plain =
                self.twin.iter_mut().find(|plain| plain.number == mid.get()).expect("it waits");
            assert!(std::mem::replace(&mut plain.cold, false), "it is only in the store");
            let readable = self.random.below_u64(5) > 0;
            found.push((mid, readable.then(|| plain.message.clone())));
        }
        let lost: Vec<_> = found.iter().filter(|(_, message)| message.is_none()).collect();
        let lost: BTreeSet<Mid> = lost.into_iter().map(|(mid, _)| *mid).collect();
        let unreadable = self.waiting.warm(found);
        assert_eq!(unreadable.into_iter().collect::<BTreeSet<_>>(), lost);
        self.twin.retain(|plain| !lost.contains(&Mid::new(plain.number)));
    }

    fn step(&mut self) {
        match self.random.below_u64(16) {
            0..6 => self.push_back(),
            6 => self.push_front(),
            7..10 => self.take(),
            10 => {
                let expected = self.first(|_| true).map(|plain| plain.number);
                let dropped = self.waiting.pop_oldest();
                self.dropped(dropped, expected);
            }
            11 => {
                let lowest = self.twin.iter().filter(|plain| plain.is_qos0());
                let lowest = lowest.map(|plain| plain.band).min();
                let expected = self.first(|p| p.is_qos0() && Some(p.band) == lowest);
                let expected = expected.map(|plain| plain.number);
                let dropped = self.waiting.pop_qos0();
                self.dropped(dropped, expected);
            }
            12 => self.expire(),
            13 => {
                self.waiting.cool();
                self.twin.iter_mut().for_each(|plain| plain.cold |= plain.stored);
            }
            14 => self.fetch(),
            _ if self.random.below_u64(4) == 0 => {
                let taken = self.waiting.take_qos0();
                let qos0 = self.twin.iter().filter(|plain| plain.is_qos0()).count();
                assert_eq!(taken.len(), qos0);
                self.twin.retain(|plain| !plain.is_qos0());
            }
            _ => {}
        }
    }

    fn compare(&self) {
        let (waiting, twin) = (&self.waiting, &self.twin);
        assert_eq!(waiting.len(), twin.len());
        assert_eq!(waiting.is_empty(), twin.is_empty());
        let bytes: u64 = twin.iter().map(|plain| plain.message.bytes() as u64).sum();
        assert_eq!(waiting.bytes(), bytes);
        let qos0 = twin.iter().filter(|plain| plain.is_qos0()).count();
        assert_eq!(waiting.queued(), [qos0, twin.len() - qos0]);
        assert_eq!(waiting.qos0_totals().0, qos0 as u64);
        assert_eq!(waiting.has_qos12(), twin.len() > qos0);
        let soonest = twin.iter().map(Plain::expires).min();
        assert!(soonest.is_none_or(|soonest| waiting.expires <= soonest));
        let cold = (0..BANDS as u8).any(|band| {
            let first = self.first(|plain| plain.band == band && !plain.is_qos0());
            first.is_some_and(|first| first.cold)
        });
        assert_eq!(waiting.first_is_cold(), cold);
        let mut visited = 0;
        waiting.visit(|topic, mid| visited += usize::from(topic.is_some() || mid.is_some()));
        assert_eq!(visited, twin.len());
    }
}

#[test]
fn what_is_counted_is_what_a_plain_list_counts() {
    for seed in 0..60 {
        let random = Random::new(seed);
        let (waiting, twin) = (Waiting::default(), Vec::new());
        let mut pair = Pair { waiting, twin, random, last: 0, banded: seed % 2 == 1 };
        for _ in 0..300 {
            pair.step();
            pair.compare();
        }
        let rest = pair.waiting.take_all();
        assert_eq!(rest.len(), pair.twin.len(), "seed {seed}");
        assert!(pair.waiting.is_empty() && pair.waiting.bytes() == 0);
    }
}

const TOPICS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// The naive twin is the newest message of each topic.
#[test]
fn only_the_newest_message_of_a_topic_waits() {
    let hash = TextHash::new(7);
    for seed in 0..30 {
        let random = &mut Random::new(seed);
        let (mut waiting, mut twin) = (Waiting::default(), BTreeMap::new());
        for number in 1..400 {
            let topic = TOPICS[random.below_u64(8) as usize];
            if random.below_u64(3) > 0 {
                let promised =
                    waiting.promise(TopicName::trusted(topic), &hash, |newest, promised| {
                        assert_eq!(newest.is_some(), twin.contains_key(topic));
                        assert_eq!(promised, 0);
                        true
                    });
                assert!(promised);
                let qos = QoS::from_bits(random.below_u64(3) as u8).expect("a level");
                let by = ByTopic { hash: &hash, one_band: seed % 2 == 0, conflate: true };
                let band = random.below_u64(4) as u8;
                let copy = copy(message(topic, number, qos, None), false, band);
                let old = waiting.push_by_topic(copy, true, by);
                let old = old.and_then(|old| old.message?.mid());
                assert_eq!(old, twin.insert(topic.to_owned(), Mid::new(number)));
            } else {
                let limits = Limits { room: Room { window: 9, bytes: 999 }, max: 2, share: 10 };
                let mut out = Vec::new();
                waiting.take(limits, &mut out, deliver);
                for delivery in out {
                    let known = twin.remove(delivery.message.topic().as_str());
                    assert_eq!(known, delivery.message.mid(), "seed {seed}");
                }
            }
            assert_eq!(waiting.len(), twin.len());
        }
    }
}

/// The naive twin is a list of numbers for each topic and class.
#[test]
fn no_message_overtakes_another_of_its_topic() {
    let hash = TextHash::new(7);
    for seed in 0..30 {
        let random = &mut Random::new(seed);
        let (mut waiting, mut twin) = (Waiting::default(), BTreeMap::new());
        for number in 1..600 {
            if random.below_u64(3) > 0 {
                let topic = TOPICS[random.below_u64(8) as usize];
                let qos = QoS::from_bits(random.below_u64(3) as u8).expect("a level");
                let by = ByTopic { hash: &hash, one_band: true, conflate: false };
                let copy =
                    copy(message(topic, number, qos, None), false, random.below_u64(4) as u8);
                assert!(waiting.push_by_topic(copy, true, by).is_none());
                let key = (topic.to_owned(), qos == QoS::AtMostOnce);
                twin.entry(key).or_insert_with(Vec::new).push(number);
            } else {
                let limits = Limits { room: Room { window: 9, bytes: 9999 }, max: 3, share: 30 };
                let mut out = Vec::new();
                waiting.take(limits, &mut out, deliver);
                for delivery in out {
                    let topic = delivery.message.topic().as_str().to_owned();
                    let waits = twin.get_mut(&(topic, delivery.qos == QoS::AtMostOnce));
                    let next = waits.expect("it waits").remove(0);
                    assert_eq!(Some(Mid::new(next)), delivery.message.mid(), "seed {seed}");
                }
            }
        }
    }
}

#[test]
fn a_copy_that_replaces_one_of_another_qos_hides_no_older_one() {
    let hash = TextHash::new(7);
    let mut waiting = Waiting::default();
    let push = |waiting: &mut Waiting, number, qos, band, conflate| {
        let by = ByTopic { hash: &hash, one_band: true, conflate };
        let old =
            waiting.push_by_topic(copy(message("t", number, qos, None), false, band), true, by);
        old.map(|old| old.message.and_then(|message| message.mid()))
    };
    let take = |waiting: &mut Waiting, window| {
        let mut out = Vec::new();
        let limits = Limits { room: Room { window, bytes: 999 }, max: 9, share: 0 };
        waiting.take(limits, &mut out, deliver);
        out.iter().filter_map(|copy| copy.message.mid()).map(Mid::get).collect::<Vec<_>>()
    };
    assert_eq!(push(&mut waiting, 1, QoS::AtLeastOnce, 0, false), None);
    assert_eq!(push(&mut waiting, 2, QoS::AtLeastOnce, 0, false), None);
    assert_eq!(push(&mut waiting, 3, QoS::AtMostOnce, 3, true), Some(Some(Mid::new(2))));
    assert_eq!(take(&mut waiting, 0), [3]);
    assert_eq!(push(&mut waiting, 4, QoS::AtLeastOnce, 3, false), None);
    assert_eq!(take(&mut waiting, 9), [1, 4]);
}

#[test]
fn an_index_stays_small_though_copies_leave_from_the_middle() {
    let hash = TextHash::new(7);
    let by = ByTopic { hash: &hash, one_band: true, conflate: false };
    let mut waiting = Waiting::default();
    let first = copy(message("first", 1, QoS::AtLeastOnce, None), false, ORDINARY);
    waiting.push_by_topic(first, true, by);
    for number in 2..2_000 {
        let message = message(&format!("t{number}"), number, QoS::AtLeastOnce, Some(1));
        waiting.push_by_topic(copy(message, false, ORDINARY), true, by);
        if number % 10 == 0 {
            let expired = waiting.expire(NOW.after(std::time::Duration::from_secs(1)));
            assert!(!expired.is_empty());
        }
    }
    assert!(waiting.len() < 20);
    let index = waiting.more.as_ref().and_then(|more| more.topics.as_ref());
    let spots = index.expect("it is kept").spots();
    assert!(spots < 300, "{spots} topics are remembered");
}
