//! What a mailbox does when it is full, by the policy of its queue, and where each topic waits if only
//! the newest message of it may.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

use super::bands::{BANDS, ORDINARY};
use super::lists::{Entry, Inner, Place};
use super::{Copy, Grant, Owner, Refusal, Setting};
use crate::broker::dropped::{Gone, Letter};
use crate::codec::QoS;
use crate::config::{self, QueuePolicy};
use crate::message::{Loss, Message, Mid};
use crate::time::Time;
use crate::topic::{TextHash, TopicName};

/// Where the newest waiting message of each topic is, by the hash of the topic.
///
/// Places are not taken out when their copies leave: one that nobody has is one that is free.
#[derive(Debug)]
pub(super) struct Topics {
    hash: TextHash,
    places: BTreeMap<u64, Spot>,
    /// Arrival of the next copy when this was up to date. Copies that come while another policy is in
    /// force are not noted: then it is made anew.
    seen: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Spot {
    /// Arrival of the copy that waits, or waited last.
    arrival: Option<u64>,
    /// Copies that were admitted and are still to come.
    promised: u32,
}

/// Places that are free are forgotten when there are more than so many and most are.
const FREE_MAX: usize = 64;

/// What is left to tell of a copy that had to go.
#[derive(Debug)]
pub(super) struct Remains {
    pub qos: QoS,
    pub bytes: u64,
    pub mid: Option<Mid>,
    pub message: Option<Message>,
}

/// The mailbox that is full, and what is said of what goes.
pub(super) struct Full<'a> {
    pub owner: &'a Owner,
    pub queue: &'a config::QueueConfig,
    pub gone: &'a mut Gone,
}

impl Inner {
    /// Promises room for a copy, and for some more while there is plenty, as the policy says. An error:
    /// there is none.
    pub fn admit(
        &mut self,
        topic: TopicName<'_>,
        (qos, bytes): (QoS, usize),
        setting: &Setting<'_>,
        grant: &mut Grant,
        full: &mut Full<'_>,
    ) -> Result<(), Loss> {
        let queue = full.queue;
        match queue.policy {
            QueuePolicy::DropOldest => {
                self.purge(setting.now, full);
                grant.pressed = self.would_press(queue, bytes as u64);
                promise_freely(bytes, grant);
            }
            QueuePolicy::Conflate => {
                grant.pressed = self.would_press(queue, bytes as u64);
                if !self.promise_topic(topic, bytes, setting, queue, grant) {
                    self.purge(setting.now, full);
                    if !self.promise_topic(topic, bytes, setting, queue, grant) {
                        return Err(Loss::QueueFull);
                    }
                }
            }
            _ => {
                if !self.has_room(queue, bytes) {
                    self.make_room(qos, bytes, setting.now, full)?;
                }
                grant.pressed = self.would_press(queue, bytes as u64);
                self.promise(bytes, queue, grant);
            }
        }
        Ok(())
    }

    /// Counts a copy that was routed here and is not admitted.
    pub fn refuse(&mut self, qos: QoS, loss: Loss, full: &Full<'_>) -> Refusal {
        let class = usize::from(qos > QoS::AtMostOnce);
        self.routed[class] += 1;
        self.lose(class, loss);
        let told = loss.is_drop();
        let receiver = told.then(|| self.name(full.owner));
        Refusal { loss, receiver, letter: told && full.queue.dead_letters }
    }

    /// Sets room aside for a copy, and for some more while there is plenty.
    fn promise(&mut self, bytes: usize, queue: &config::QueueConfig, grant: &mut Grant) {
        let (held, held_bytes) = self.held();
        let free = u64::from(queue.messages_max) - held - 1;
        let free_bytes = queue.bytes_max.0 - held_bytes - bytes as u64;
        // Others have turns at the same time: nobody may be refused for room that is not used.
        let messages = u32::try_from(1 + (free / 4).min(GRANT_MESSAGES)).unwrap_or(1);
        let bytes = bytes as u64 + (free_bytes / 4).min(GRANT_BYTES);
        self.reserved += messages;
        self.reserved_bytes += bytes;
        grant.messages += messages;
        grant.bytes += bytes;
        grant.promised.0 += messages;
        grant.promised.1 += bytes;
    }

    /// Admits a copy for which there may be room only if others go. An error: there is none.
    fn make_room(
        &mut self,
        qos: QoS,
        bytes: usize,
        now: Time,
        full: &mut Full<'_>,
    ) -> Result<(), Loss> {
        self.purge(now, full);
        let queue = full.queue;
        let policy = queue.policy;
        if policy == QueuePolicy::DropQos0First && self.qos0_would_do(queue, bytes) {
            while !self.has_room(queue, bytes)
                && let Some(entry) = self.pop_qos0()
            {
                self.bury(entry.remains(), Loss::DroppedQos0, full);
            }
        }
        if self.has_room(queue, bytes) {
            return Ok(());
        }
        Err(match policy {
            QueuePolicy::DropNewest => Loss::DroppedNewest,
            QueuePolicy::DropQos0First if qos == QoS::AtMostOnce => Loss::DroppedQos0,
            _ => Loss::QueueFull,
        })
    }

    /// Drops what has waited longest until the queue is within its limits.
    pub fn trim(&mut self, full: &mut Full<'_>) {
        let queue = full.queue;
        while self.len() as u64 > u64::from(queue.messages_max) || self.bytes > queue.bytes_max.0 {
            let Some(entry) = self.pop_oldest() else { return };
            self.bury(entry.remains(), Loss::DroppedOldest, full);
        }
    }

    /// Admits one copy of a topic: in the place of the one that waits, if one does.
    fn promise_topic(
        &mut self,
        topic: TopicName<'_>,
        bytes: usize,
        setting: &Setting<'_>,
        queue: &config::QueueConfig,
        grant: &mut Grant,
    ) -> bool {
        let mut topics = self.take_topics(setting.hash);
        let number = topics.hash.of(topic.as_str().as_bytes());
        let spot = topics.places.get(&number).copied().unwrap_or_default();
        let waiting = spot.arrival.and_then(|arrival| self.find(arrival)).map(Entry::bytes);
        let (messages, more) = match waiting {
            Some(old) => (0, (bytes as u64).saturating_sub(old)),
            None => (u32::from(spot.promised == 0), bytes as u64),
        };
        let (held, held_bytes) = self.held();
        // What takes no more room than the one before is in nobody's way, even above the limit.
        let fits = (messages == 0 || held < queue.messages_max.into())
            && (more == 0 || held_bytes + more <= queue.bytes_max.0);
        if fits {
            topics.places.entry(number).or_default().promised += 1;
            self.reserved += messages;
            self.reserved_bytes += more;
            grant.messages += 1;
            grant.bytes += bytes as u64;
            grant.promised.0 += messages;
            grant.promised.1 += more;
        }
        self.put_topics(topics);
        fits
    }

    /// Puts a copy where an older one of its topic waits, or at the end.
    pub fn conflate(&mut self, copy: Copy, hash: &TextHash, full: &mut Full<'_>) -> Option<Waker> {
        let mut topics = self.take_topics(hash);
        let number = topics.hash.of(copy.message.topic().as_str().as_bytes());
        let spot = topics.places.entry(number).or_default();
        spot.promised = spot.promised.saturating_sub(1);
        let place = spot.arrival.filter(|arrival| {
            let found = self.find(*arrival);
            found.is_some_and(|entry| entry.is_of(copy.message.topic()))
        });
        let waker = match place.and_then(|arrival| Some((arrival, self.remove(arrival)?))) {
            Some((arrival, (old, band))) => {
                let qos = copy.qos;
                self.bury(old.remains(), Loss::Conflated, full);
                self.put_at(copy, arrival, band);
                self.whom_to_wake(qos)
            }
            None => {
                spot.arrival = Some(self.arrival);
                self.put(copy)
            }
        };
        if topics.places.len() > 2 * self.len() + FREE_MAX {
            self.unpack();
            topics.places.retain(|_, spot| {
                spot.promised > 0 || spot.arrival.is_some_and(|at| self.find(at).is_some())
            });
        }
        self.put_topics(topics);
        waker
    }

    /// A copy that was given back waits under this arrival: its topic's newest, if no other waits.
    pub fn note_given_back(&mut self, topic: TopicName<'_>, arrival: u64) {
        let rare = self.rare.as_mut();
        let topics = rare.and_then(|rare| rare.topics.take());
        let Some(mut topics) = topics.filter(|topics| topics.seen == self.arrival) else { return };
        self.unpack();
        let number = topics.hash.of(topic.as_str().as_bytes());
        let spot = topics.places.entry(number).or_default();
        if spot.arrival.is_none_or(|arrival| self.find(arrival).is_none()) {
            spot.arrival = Some(arrival);
        }
        self.put_topics(topics);
    }

    /// A copy that only the store has was put in last: the newest of its topic, whose hash is `number`.
    pub fn note_restored(&mut self, number: u64, hash: &TextHash) {
        let (last, next) = (self.arrival - 1, self.arrival);
        let topics = &mut self.rare.get_or_insert_default().topics;
        let topics = topics.get_or_insert_with(|| Box::new(Topics::new(hash, last)));
        topics.places.entry(number).or_default().arrival = Some(last);
        topics.seen = next;
    }

    /// A copy had to go: it is in the account, and told at the end of the turn.
    pub fn bury(&mut self, remains: Remains, loss: Loss, full: &mut Full<'_>) {
        let Remains { qos, bytes, mid, message } = remains;
        self.bytes -= bytes;
        self.lose(usize::from(qos > QoS::AtMostOnce), loss);
        let (name, receiver) = (self.name(full.owner), full.owner.receiver());
        let wanted = full.queue.dead_letters;
        full.gone.fall(Letter { name, receiver, loss, qos, message, mid, wanted });
    }

    /// Who is behind it: the Client Identifier or the group's filter.
    pub fn name(&self, owner: &Owner) -> Arc<str> {
        match (owner.identity(), &self.members) {
            (Some(identity), _) => identity.client_id.text().clone(),
            (None, Some(members)) => members.name.clone(),
            (None, None) => Arc::default(),
        }
    }

    /// Whether enough room would come of dropping `QoS` 0.
    fn qos0_would_do(&self, queue: &config::QueueConfig, bytes: usize) -> bool {
        let (messages, held) = self.held();
        let waiting = || self.all().flat_map(|lists| &lists.qos0);
        let qos0: u64 = waiting().map(Entry::bytes).sum();
        messages - (waiting().count() as u64) < u64::from(queue.messages_max)
            && held - qos0 + bytes as u64 <= queue.bytes_max.0
    }

    /// Takes out the oldest copy of `QoS` 0, of the lowest band that has one.
    fn pop_qos0(&mut self) -> Option<Entry> {
        if !self.has_bands() {
            return self.lists.qos0.pop_front();
        }
        (0..BANDS).find_map(|band| self.of_band(band as u8).qos0.pop_front())
    }

    /// Takes out the copy that has waited longest.
    fn pop_oldest(&mut self) -> Option<Entry> {
        let oldest = self.all_mut().filter_map(|lists| Some((lists.oldest()?, lists)));
        let ((_, qos0), lists) = oldest.min_by_key(|(oldest, _)| *oldest)?;
        lists.pop(qos0)
    }

    /// Nothing is packed any more.
    fn unpack(&mut self) {
        self.all_mut().for_each(|lists| lists.above.unpack(usize::MAX));
    }

    /// The copy that waits under this arrival; nothing is packed.
    fn find(&self, arrival: u64) -> Option<&Entry> {
        self.all().find_map(|lists| lists.find(arrival))
    }

    /// Takes it out of its band; it is still counted.
    fn remove(&mut self, arrival: u64) -> Option<(Entry, u8)> {
        let bands = if self.has_bands() { 0..BANDS as u8 } else { ORDINARY..ORDINARY + 1 };
        bands.into_iter().find_map(|band| Some((self.of_band(band).remove(arrival)?, band)))
    }

    /// Puts a copy in where another one was.
    fn put_at(&mut self, copy: Copy, arrival: u64, band: u8) {
        let mut entry = Entry::new(copy, arrival);
        if !self.reachable() {
            entry.cool();
        }
        self.count_in(&entry);
        self.of_band(band).insert(entry);
    }

    /// The places of topics; made of what is here, if they are not known. They are put back. What only the
    /// store has is of topics that are not known then: it stays.
    fn take_topics(&mut self, hash: &TextHash) -> Box<Topics> {
        self.unpack();
        let known = self.rare.get_or_insert_default().topics.take();
        known.filter(|topics| topics.seen == self.arrival).unwrap_or_else(|| {
            let mut topics = Topics::new(hash, self.arrival);
            let all = self.all().flat_map(|l| l.qos0.iter().chain(l.above.unpacked()));
            for entry in all {
                let Place::Warm(message) = &entry.message else { continue };
                let number = topics.hash.of(message.topic().as_str().as_bytes());
                let spot = topics.places.entry(number).or_default();
                spot.arrival = spot.arrival.max(Some(entry.arrival));
            }
            Box::new(topics)
        })
    }

    fn put_topics(&mut self, mut topics: Box<Topics>) {
        topics.seen = self.arrival;
        self.rare.get_or_insert_default().topics = Some(topics);
    }
}

impl Topics {
    fn new(hash: &TextHash, seen: u64) -> Topics {
        Topics { hash: hash.clone(), places: BTreeMap::new(), seen }
    }
}

impl Entry {
    /// Whether its topic is this one, as far as is known here.
    fn is_of(&self, topic: TopicName<'_>) -> bool {
        match &self.message {
            Place::Warm(message) => Message::topic(message) == topic,
            Place::Cold { .. } => true,
        }
    }
}

/// Promises room to a turn without setting it aside: what has waited longest gives way at the push.
fn promise_freely(bytes: usize, grant: &mut Grant) {
    grant.messages += FREELY_MESSAGES;
    grant.bytes += bytes as u64 + GRANT_BYTES;
}

/// Room promised in one go, at most.
const GRANT_MESSAGES: u64 = 63;
const GRANT_BYTES: u64 = 64 * 1024;
const FREELY_MESSAGES: u32 = 64;
