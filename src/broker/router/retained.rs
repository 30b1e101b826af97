//! The retained messages of a broker, each with the stamp of the PUBLISH that set it.
//!
//! Stamps rise with every change. A Subscription notes the stamp at which it entered the tree, and its
//! cursor yields only what is not newer. A change that the store is to be given stays *open* until its
//! batch has been submitted: two turns may submit in another order than they changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::codec::QoS;
use crate::config;
use crate::message::{
    ClientId, Delivery, Grounds, Holdings, Lane, Message, RefusalKind, SubscriptionIds, Total,
};
use crate::session::{Cursor, RetainedMoment, Room};
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;
use crate::topic::{Retained, TopicFilter, TopicName};

/// The retained messages. Its lock comes after that of the routes; under it nothing else is locked
/// and nothing is woken.
#[derive(Debug)]
pub struct RetainedMessages {
    inner: Mutex<RetainedTopics>,
}

/// A PUBLISH with RETAIN.
#[derive(Debug)]
pub struct Retaining {
    /// What it does.
    pub what: Retain,
    /// The store is given it.
    pub kept: bool,
    /// Of the owner that it is counted for.
    pub owner: Option<Arc<Holdings>>,
}

/// What a PUBLISH with RETAIN does to the retained message of its topic.
#[derive(Debug)]
pub enum Retain {
    /// Replace it `[MQTT5-3.3.1-5]`.
    Set(Message),
    /// Remove it: the payload was empty `[MQTT5-3.3.1-6]`.
    Clear,
}

#[derive(Debug, Default)]
struct RetainedTopics {
    topics: Retained<Stamped>,
    all: Sum,
    /// The part of `all` that the broker publishes itself: clients' totals leave it out.
    own: Sum,
    /// Of the last change.
    stamp: u64,
    /// When the latest that was ever retained was received.
    latest: Time,
    /// Stamps of changes that the store is still to be given.
    open: BTreeSet<u64>,
    /// Topics of messages that expire, by time and stamp.
    expiries: BTreeMap<(Time, u64), Box<str>>,
}

#[derive(Debug)]
struct Stamped {
    message: Message,
    stamp: u64,
    /// Of the owner that it is counted for.
    owner: Option<Arc<Holdings>>,
}

/// A number of messages, and their bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Sum {
    messages: usize,
    bytes: u64,
}

/// Topics that are looked at for one page.
const LOOKS: usize = 256;
/// Bytes of messages in one page.
const PAGE_BYTES: usize = 1024 * 1024;
/// Retained messages forgotten in one sweep.
const EXPIRE_MAX: usize = 1024;

impl RetainedMessages {
    /// None; `seed` feeds the hash of their topics.
    pub(super) fn new(seed: u64) -> RetainedMessages {
        let topics = Retained::with_seed(seed);
        RetainedMessages {
            inner: Mutex::new(RetainedTopics { topics, ..RetainedTopics::default() }),
        }
    }

    /// Carries out a PUBLISH with RETAIN. Returns its stamp if the store is to be given it: then
    /// [`RetainedMessages::submitted`] follows.
    pub(in crate::broker) fn change(
        &self,
        topic: TopicName<'_>,
        retaining: Retaining,
    ) -> Option<u64> {
        let inner = &mut *self.lock();
        inner.set(topic, retaining.what, retaining.owner);
        retaining.kept.then(|| inner.open_stamp())
    }

    /// How far they have come; `None` if there is none.
    pub(super) fn moment(&self) -> Option<RetainedMoment> {
        let inner = self.lock();
        let is_some = inner.all.messages > 0;
        is_some.then(|| RetainedMoment { stamp: inner.stamp, latest: inner.latest })
    }

    /// Whether there is nothing for `cursor`, as far as a look at `steps` topics shows.
    pub fn is_at_end(&self, cursor: &mut Cursor, steps: &mut usize, now: Time) -> bool {
        *steps > 0 && self.pull(cursor, Room::default(), (0, steps), now, &mut Vec::new())
    }

    /// Takes in a retained message from the store: it is counted for `owner`.
    pub fn restore(&self, message: Message, owner: Arc<Holdings>) {
        self.lock().set(message.topic(), Retain::Set(message.clone()), Some(owner));
    }

    /// No stamp below this one is still to come to the store.
    pub fn oldest_open(&self) -> u64 {
        let inner = self.lock();
        inner.open.first().copied().unwrap_or(inner.stamp + 1)
    }

    /// The store has been given the changes of these stamps; leaves `stamps` empty.
    #[inline]
    pub fn submitted(&self, stamps: &mut Vec<u64>) {
        if !stamps.is_empty() {
            self.close(stamps);
        }
    }

    fn close(&self, stamps: &mut Vec<u64>) {
        let mut inner = self.lock();
        for stamp in stamps.drain(..) {
            inner.open.remove(&stamp);
        }
    }

    /// Pulls retained messages for `cursor` into `out`: at most `max` and within `room`. Looks at no more
    /// than `steps` topics, at least one, and counts them down: a leap to the next topic that could match
    /// takes about a microsecond. Returns true when the cursor is at its end.
    pub fn pull(
        &self,
        cursor: &mut Cursor,
        mut room: Room,
        (max, steps): (usize, &mut usize),
        now: Time,
        out: &mut Vec<Delivery>,
    ) -> bool {
        let Some(RetainedMoment { stamp, latest }) = cursor.moment else { return false };
        let start = cursor.after.take();
        let Cursor { filter, qos: granted, id, .. } = &*cursor;
        let mut resume = None;
        let mut last = None::<String>;
        let mut left = max;
        let mut visit = |name: &str, found: &Stamped| {
            let message = &found.message;
            let qos = message.qos.min(*granted);
            let old = found.stamp <= stamp && message.received <= latest;
            if old && !message.expired(now) && !cursor.may_be_sent(qos) {
                let takes_slot = qos > QoS::AtMostOnce;
                if left == 0 || room.bytes == 0 || (takes_slot && room.window == 0) {
                    return false;
                }
                left -= 1;
                room.window -= usize::from(takes_slot);
                room.bytes = room.bytes.saturating_sub(message.bytes());
                out.push(Delivery {
                    lane: Lane::NONE,
                    message: message.clone(),
                    qos,
                    retain: true,
                    ids: SubscriptionIds::new(*id),
                    group: None,
                    stored: false,
                });
            }
            name.clone_into(last.get_or_insert_default());
            true
        };
        let topics = &self.lock().topics;
        let done = topics.scan(filter.pattern(), start.as_deref(), steps, &mut resume, &mut visit);
        if !done {
            cursor.after = resume.or(last).or(start);
        }
        done
    }

    /// Whether one more retained message of a client, of `bytes` for `topic`, is within the totals, and within
    /// what `owner` may have of them.
    ///
    /// # Errors
    ///
    /// The total that it would exceed.
    pub fn room(
        &self,
        topic: TopicName<'_>,
        bytes: usize,
        totals: &config::Totals,
        owner: Option<&Arc<Holdings>>,
    ) -> Result<(), Grounds> {
        let inner = self.lock();
        let replaced = inner.topics.get(topic);
        let old = replaced.map_or(Sum::default(), |old| Sum::of(&old.message));
        let before = replaced.and_then(|old| old.owner.as_ref());
        let own = owner.zip(before).is_some_and(|(owner, before)| Arc::ptr_eq(owner, before));
        let more = bytes as u64;
        let messages = inner.all.messages - inner.own.messages - old.messages + 1;
        let bytes = inner.all.bytes - inner.own.bytes - old.bytes + bytes as u64;
        let (max, messages) = (u64::from(totals.retained_max), messages as u64);
        if messages > max {
            return Err(Grounds::limit(RefusalKind::RetainedMax, max, messages));
        }
        let max = totals.retained_bytes_max.0;
        if bytes > max {
            let grounds = Grounds::limit(RefusalKind::RetainedMax, max, bytes);
            return Err(grounds.by_key("totals.retained_bytes_max"));
        }
        let Some(owner) = owner else { return Ok(()) };
        if !own {
            owner.room(Total::Retained, 1)?;
        }
        match more.saturating_sub(if own { old.bytes } else { 0 }) {
            0 => Ok(()),
            more => owner.room(Total::RetainedBytes, more),
        }
    }

    /// Forgets retained messages that have expired, a bounded number. If the store is to be given that
    /// (`kept`), their topics and the stamps of the change are added to `gone`. Returns whether more are
    /// due.
    pub fn expire(&self, now: Time, kept: bool, gone: &mut Vec<(Box<str>, u64)>) -> bool {
        let inner = &mut *self.lock();
        for _ in 0..EXPIRE_MAX {
            match inner.expiries.first_key_value() {
                Some(((due, _), _)) if *due <= now => {}
                _ => return false,
            }
            let Some((_, topic)) = inner.expiries.pop_first() else { return false };
            inner.set(TopicName::trusted(&topic), Retain::Clear, None);
            if kept {
                gone.push((topic, inner.open_stamp()));
            }
        }
        true
    }

    /// The one of `topic`.
    pub(in crate::broker) fn get(&self, topic: TopicName<'_>) -> Option<Message> {
        self.lock().topics.get(topic).map(|found| found.message.clone())
    }

    /// Those that match `filter`, in the order of topics: at most `max` behind `after`, and about a MiB. Where the next
    /// page begins.
    pub(in crate::broker) fn page(
        &self,
        filter: &TopicFilter,
        after: Option<&str>,
        max: usize,
        now: Time,
    ) -> (Vec<Message>, Option<String>) {
        let (mut messages, mut bytes) = (Vec::new(), 0);
        let next = self.lock().look((filter, after), |_, found| {
            if messages.len() >= max || bytes >= PAGE_BYTES {
                return false;
            }
            if !found.message.expired(now) {
                bytes += found.message.bytes();
                messages.push(found.message.clone());
            }
            true
        });
        (messages, next)
    }

    /// Deletes those of a page that match, but for what the broker itself says. Returns how many, and where the next
    /// page begins. If the store is to be given that (`kept`), their topics and the stamps of the change are added to
    /// `gone`.
    pub(in crate::broker) fn delete(
        &self,
        (filter, after, max): (&TopicFilter, Option<&str>, usize),
        kept: bool,
        gone: &mut Vec<(Box<str>, u64)>,
    ) -> (usize, Option<String>) {
        let inner = &mut *self.lock();
        let mut found = Vec::<Box<str>>::new();
        let next = inner.look((filter, after), |topic, _| {
            let more = found.len() < max;
            if more && !is_own(TopicName::trusted(topic)) {
                found.push(topic.into());
            }
            more
        });
        let count = found.len();
        for topic in found {
            inner.set(TopicName::trusted(&topic), Retain::Clear, None);
            if kept {
                gone.push((topic, inner.open_stamp()));
            }
        }
        (count, next)
    }

    /// All that clients have set, in the order of topics.
    pub(in crate::broker) fn all_of_clients(&self) -> Vec<Message> {
        let inner = self.lock();
        let mut all = Vec::with_capacity(inner.all.messages - inner.own.messages);
        let is_of_client = |topic: &str| !is_own(TopicName::trusted(topic));
        inner.topics.each(|topic, found| {
            if is_of_client(topic) {
                all.push(found.message.clone());
            }
        });
        all
    }

    /// The publisher of a retained message: its Client Identifier and its user.
    pub fn publisher(&self, topic: TopicName<'_>) -> Option<(ClientId, Option<Box<str>>)> {
        let inner = self.lock();
        let parts = inner.topics.get(topic)?.message.parts();
        Some((ClientId::new(parts.publisher), parts.user_name.map(Into::into)))
    }

    /// When the next one expires.
    pub fn deadline(&self) -> Option<Time> {
        self.lock().expiries.first_key_value().map(|((due, _), _)| *due)
    }

    /// How many there are, and their bytes.
    pub fn totals(&self) -> (usize, u64) {
        let all = self.lock().all;
        (all.messages, all.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, RetainedTopics> {
        whole(self.inner.lock())
    }
}

impl RetainedTopics {
    /// Shows those that match a filter behind a topic, in order, until `see` returns false: that one is not seen yet.
    /// Looks at [`LOOKS`] topics at most. Returns the topic to go on after, if there may be more.
    fn look(
        &self,
        (filter, after): (&TopicFilter, Option<&str>),
        mut see: impl FnMut(&str, &Stamped) -> bool,
    ) -> Option<String> {
        let (mut resume, mut last) = (None, after.map(str::to_owned));
        let mut visit = |topic: &str, found: &Stamped| {
            let seen = see(topic, found);
            if seen {
                topic.clone_into(last.get_or_insert_default());
            }
            seen
        };
        let mut steps = LOOKS;
        let done = self.topics.scan(filter.pattern(), after, &mut steps, &mut resume, &mut visit);
        if done { None } else { resume.or(last) }
    }

    /// The stamp of the last change, which the store is still to be given.
    fn open_stamp(&mut self) -> u64 {
        self.open.insert(self.stamp);
        self.stamp
    }

    fn set(&mut self, topic: TopicName<'_>, retain: Retain, owner: Option<Arc<Holdings>>) {
        self.stamp += 1;
        self.remove(topic);
        let Retain::Set(message) = retain else { return };
        let (stamp, sum) = (self.stamp, Sum::of(&message));
        self.latest = self.latest.max(message.received);
        self.all.add(sum);
        if is_own(topic) {
            self.own.add(sum);
        }
        if message.expires != Time::NEVER {
            self.expiries.insert((message.expires, stamp), topic.as_str().into());
        }
        if let Some(owner) = &owner {
            owner.change(Total::Retained, 0, 1);
            owner.change(Total::RetainedBytes, 0, sum.bytes);
        }
        self.topics.insert(topic, Stamped { message, stamp, owner });
    }

    fn remove(&mut self, topic: TopicName<'_>) {
        let Some(Stamped { message, stamp, owner }) = self.topics.remove(topic) else { return };
        let sum = Sum::of(&message);
        if let Some(owner) = owner {
            owner.change(Total::Retained, 1, 0);
            owner.change(Total::RetainedBytes, sum.bytes, 0);
        }
        self.all.subtract(sum);
        if is_own(topic) {
            self.own.subtract(sum);
        }
        self.expiries.remove(&(message.expires, stamp));
    }
}

impl Sum {
    fn of(message: &Message) -> Sum {
        Sum { messages: 1, bytes: message.bytes() as u64 }
    }

    fn add(&mut self, other: Sum) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }

    fn subtract(&mut self, other: Sum) {
        self.messages -= other.messages;
        self.bytes -= other.bytes;
    }
}

/// Whether only the broker publishes to it: bridges publish their state.
fn is_own(topic: TopicName<'_>) -> bool {
    let topic = topic.as_str();
    topic.starts_with("$SYS/") && !topic.starts_with("$SYS/broker/connection/")
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::codec::Properties;
    use crate::message::{ClientId, Draft, Identity, Meter};
    use crate::topic::TopicFilter;

    const TOPICS: [&str; 5] = ["a", "a/b", "b", "$SYS/a", "$SYS/b"];

    fn message(topic: &str, expiry: Option<u32>, size: usize, now: Time) -> Message {
        let publisher = Identity::new(ClientId::new("p"), None, Meter::forever());
        let draft = Draft {
            topic: TopicName::trusted(topic),
            qos: QoS::AtLeastOnce,
            retain: true,
            expiry,
            properties: Properties::EMPTY,
            payload: &b"payload"[..size],
        };
        draft.into_message(&publisher, now)
    }

    fn names(retained: &RetainedMessages, stamp: u64, max: usize, now: Time) -> Vec<String> {
        let limits = crate::topic::TopicLimits { bytes_max: 100, levels_max: 10 };
        let mut all = Vec::new();
        // `#` leaves out the topics that begin with `$`.
        for pattern in ["#", "$SYS/#"] {
            let filter = TopicFilter::parse(pattern, &limits).expect("a filter");
            let (qos, stamp) = (QoS::ExactlyOnce, Some(stamp));
            let mut cursor = Cursor::new(filter, qos, 0);
            cursor.moment = stamp.map(|stamp| RetainedMoment { stamp, latest: now });
            let room = Room { window: usize::MAX, bytes: usize::MAX };
            let mut out = Vec::new();
            while !retained.pull(&mut cursor, room, (max, &mut 3), now, &mut out) {
                assert!(out.len() <= TOPICS.len(), "the cursor goes forward");
            }
            all.extend(out.iter().map(|found| found.message.topic().as_str().to_owned()));
        }
        all.sort();
        all
    }

    /// The naive twin counts again what is there each time.
    #[test]
    fn totals_expiry_and_cursors_agree_with_counting_again() {
        for seed in 0..20u64 {
            let mut random = seed;
            let mut draw = |below: usize| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 33) as usize % below
            };
            let retained = RetainedMessages::new(seed);
            let mut twin = BTreeMap::<&str, (Message, u64)>::new();
            let (mut open, mut stamp) = (BTreeSet::new(), 0);
            let mut now = Time::from_secs(1_000);
            for step in 0..300 {
                let topic = TOPICS[draw(TOPICS.len())];
                let name = TopicName::trusted(topic);
                match draw(6) {
                    0..3 => {
                        let expiry = [None, Some(1 + draw(5) as u32)][draw(2)];
                        let message = message(topic, expiry, draw(7), now);
                        let kept = draw(2) == 0;
                        let what = Retain::Set(message.clone());
                        let given = retained.change(name, Retaining { what, kept, owner: None });
                        stamp += 1;
                        assert_eq!(given, kept.then_some(stamp), "{seed} {step}");
                        open.extend(given);
                        twin.insert(topic, (message, stamp));
                    }
                    3 => {
                        let (what, kept) = (Retain::Clear, false);
                        assert_eq!(
                            retained.change(name, Retaining { what, kept, owner: None }),
                            None
                        );
                        stamp += 1;
                        twin.remove(topic);
                    }
                    4 => {
                        now = now.after(Duration::from_secs(1));
                        let mut gone = Vec::new();
                        assert!(!retained.expire(now, true, &mut gone));
                        for (topic, given) in gone {
                            stamp += 1;
                            assert_eq!(given, stamp, "{seed} {step}");
                            open.insert(given);
                            let (message, _) = twin.remove(&*topic).expect("it was there");
                            assert!(message.expired(now));
                        }
                        assert!(twin.values().all(|(message, _)| !message.expired(now)));
                    }
                    _ => {
                        let mut some: Vec<_> = open.iter().copied().take(draw(3)).collect();
                        some.iter().for_each(|stamp| assert!(open.remove(stamp)));
                        retained.submitted(&mut some);
                        assert!(some.is_empty());
                    }
                }
                let bytes = |own: bool| {
                    let all = twin.iter().filter(|(topic, _)| own || !topic.starts_with("$SYS"));
                    all.map(|(_, (message, _))| message.bytes() as u64).collect::<Vec<_>>()
                };
                let (all, clients) = (bytes(true), bytes(false));
                assert_eq!(retained.totals(), (all.len(), all.iter().sum()), "{seed} {step}");
                let totals = config::Totals {
                    retained_max: clients.len() as u32 + 1,
                    retained_bytes_max: config::Size(clients.iter().sum::<u64>() + 9),
                    ..config::Totals::default()
                };
                let new = TopicName::trusted("new");
                let room = |bytes| retained.room(new, bytes, &totals, None);
                assert!(room(9).is_ok() && room(10).is_err());
                let soonest = twin.values().map(|(message, _)| message.expires).min();
                let soonest = soonest.filter(|time| *time != Time::NEVER);
                assert_eq!(retained.deadline(), soonest, "{seed} {step}");
                let oldest = open.first().copied().unwrap_or(stamp + 1);
                assert_eq!(retained.oldest_open(), oldest);
                let moment = retained.moment().map(|moment| moment.stamp);
                assert_eq!(moment, (!twin.is_empty()).then_some(stamp));
                let noted = draw(stamp as usize + 1) as u64;
                let seen = twin.iter().filter(|(_, (_, stamp))| *stamp <= noted);
                let mut seen: Vec<_> = seen.map(|(topic, _)| (*topic).to_owned()).collect();
                seen.sort();
                assert_eq!(names(&retained, noted, 1 + draw(3), now), seen, "{seed} {step}");
            }
        }
    }
}
