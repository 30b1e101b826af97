//! A log of kept messages: what came stays, whether it is read or not, until the oldest are over a limit.
//!
//! Each message has a number, one above that of the message before. Where there is a store, messages stand in the
//! order of their numbers there too (see `Broker::flush`), so that a place in the log is found again after a
//! restart.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;
use std::time::Duration;

use crate::config::KeepLimits;
use crate::message::{Message, Mid, SessionId};
use crate::session::{LogPlace, LogStart};
use crate::time::Time;

/// The messages of one log.
#[derive(Debug, Default)]
pub(super) struct KeepLog {
    kept: VecDeque<KeptEntry>,
    /// Those that the store does not have, by number.
    here: BTreeMap<u64, Message>,
    /// The number of the first.
    first: u64,
    bytes: u64,
    /// `None`: without a definition nothing is trimmed, and nothing comes.
    limits: Option<KeepLimits>,
    /// The latest that the store has or had, 0 if there was none.
    last_mid: u64,
    /// When the latest was received, in seconds.
    latest_s: u32,
    /// Those of `QoS` 0.
    low: u64,
    /// What has a lower number was here at the start of the broker.
    restored: u64,
    /// Readers that are connected.
    readers: BTreeMap<SessionId, LogReader>,
    /// Messages that were trimmed before a reader came to them.
    missed: u64,
}

/// A reader that is connected.
#[derive(Debug)]
struct LogReader {
    /// The number of the message that it is given next.
    next: u64,
    /// It has read all, and is to be woken once.
    waker: Option<Waker>,
}

/// What a log has and its readers, at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LogState {
    /// Messages that are kept.
    pub messages: usize,
    /// Their bytes.
    pub bytes: u64,
    /// When the first was received, to the second; `None`: there is none.
    pub first: Option<Time>,
    /// The same of the last.
    pub last: Option<Time>,
    /// Readers that are connected.
    pub readers: usize,
    /// Messages that the slowest of them has not read.
    pub unread: u64,
    /// Messages that were trimmed before a reader came to them.
    pub missed: u64,
}

/// A message in the log.
#[derive(Clone, Copy, Debug)]
struct KeptEntry {
    /// Its number in the store; of one that the store does not have, that of the one before, or 0.
    mid: u64,
    bytes: u32,
    /// When it was received, in seconds since the epoch, rounded up.
    received_s: u32,
}

const _: () =
    assert!(size_of::<KeptEntry>() == 16, "a message that the store has should take few bytes");

/// A message that was trimmed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trimmed {
    /// 0 for `QoS` 0, else 1.
    pub class: usize,
    /// Its number, if the store has it.
    pub mid: Option<Mid>,
}

/// Messages of a log that come next: all of them in memory, or all of them in the store alone.
#[derive(Debug, Default)]
pub struct LogPage {
    /// The place of the first, where the reader is now if older ones were trimmed.
    pub place: LogPlace,
    /// Their numbers in the store, as in [`LogPlace::behind`].
    pub mids: Vec<u64>,
    /// The messages, if they are in memory.
    pub here: Vec<Message>,
}

impl LogPage {
    /// The messages to be fetched from the store.
    pub fn wanted(&self) -> Vec<Mid> {
        self.mids.iter().copied().map(Mid::new).collect()
    }
}

impl KeepLog {
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many, by class: `QoS` 0, and `QoS` 1 and 2.
    pub fn queued(&self) -> [u64; 2] {
        [self.low, self.kept.len() as u64 - self.low]
    }

    pub fn set_limits(&mut self, limits: Option<KeepLimits>) {
        self.limits = limits;
    }

    /// Adds a message; `stored`: the store has it.
    pub fn push(&mut self, message: Message, stored: bool) {
        let (bytes, received) = (message.bytes(), message.received);
        match message.mid().filter(|_| stored) {
            Some(mid) => self.push_stored(mid, bytes, received),
            None => {
                self.low += u64::from(class_of(&message) == 0);
                self.here.insert(self.end(), message);
                self.add(self.last_mid, bytes, received);
            }
        }
    }

    /// Adds a message that the store had at the start, before any other came.
    pub fn restore(&mut self, mid: Mid, bytes: usize, received: Time) {
        self.push_stored(mid, bytes, received);
        self.restored = self.end();
    }

    fn push_stored(&mut self, mid: Mid, bytes: usize, received: Time) {
        self.last_mid = self.last_mid.max(mid.get());
        self.add(mid.get(), bytes, received);
    }

    fn add(&mut self, mid: u64, bytes: usize, received: Time) {
        let received_s = received.as_nanos().div_ceil(1_000_000_000);
        // Threads tell the time apart, by little: the order of the log counts.
        self.latest_s = self.latest_s.max(u32::try_from(received_s).unwrap_or(u32::MAX));
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes += u64::from(bytes);
        self.kept.push_back(KeptEntry { mid, bytes, received_s: self.latest_s });
    }

    /// Takes out the oldest message.
    pub fn pop_first(&mut self) -> Option<Trimmed> {
        let oldest = *self.kept.front()?;
        Some(self.pop(oldest))
    }

    /// Takes out the oldest message, if it is over a limit, or would be if `more` messages of so many bytes
    /// came. The newest is never too large to be kept.
    pub fn trim(&mut self, now: Time, more: (u64, u64)) -> Option<Trimmed> {
        let (limits, oldest) = (self.limits.as_ref()?, *self.kept.front()?);
        let messages = self.kept.len() as u64 + more.0;
        let too_old = |span: Duration| Time::from_secs(oldest.received_s.into()).after(span) < now;
        let over = messages > limits.messages.into()
            || (messages > 1 && self.bytes + more.1 > limits.bytes.0)
            || limits.span.is_some_and(|span| too_old(span.0));
        over.then(|| self.pop(oldest))
    }

    fn pop(&mut self, oldest: KeptEntry) -> Trimmed {
        let here = self.here.remove(&self.first);
        self.kept.pop_front();
        if self.kept.capacity() / 4 > self.kept.len() {
            self.kept.shrink_to(self.kept.len() * 2);
        }
        self.first += 1;
        self.bytes -= u64::from(oldest.bytes);
        match here {
            Some(message) => {
                let class = class_of(&message);
                self.low -= u64::from(class == 0);
                Trimmed { class, mid: None }
            }
            None => Trimmed { class: 1, mid: Some(Mid::new(oldest.mid)) },
        }
    }

    /// The place where a reader begins.
    pub fn start(&self, start: LogStart) -> LogPlace {
        let index = match start {
            LogStart::All => 0,
            LogStart::Last(count) => {
                self.kept.len() - usize::try_from(count).unwrap_or(usize::MAX).min(self.kept.len())
            }
            LogStart::Since(time) => {
                let since = time.as_nanos() / 1_000_000_000;
                self.kept.partition_point(|kept| u64::from(kept.received_s) < since)
            }
            LogStart::Behind(mid) => {
                let restored = self.restored.saturating_sub(self.first);
                let restored = usize::try_from(restored).unwrap_or(usize::MAX).min(self.kept.len());
                self.kept.partition_point(|kept| kept.mid <= mid).min(restored)
            }
        };
        let behind = index.checked_sub(1).map(|before| self.kept[before].mid);
        let before_first = || self.kept.front().map_or(self.last_mid, |first| first.mid.max(1) - 1);
        LogPlace { next: self.first + index as u64, behind: behind.unwrap_or_else(before_first) }
    }

    /// Whether nothing stands at or behind the place.
    pub fn is_end(&self, place: LogPlace) -> bool {
        place.next >= self.end()
    }

    /// The messages from `place` on: at most `max`, and about `bytes_max` bytes. What was trimmed before the
    /// reader came to it is counted.
    pub fn page(&mut self, place: LogPlace, max: usize, bytes_max: usize) -> LogPage {
        let missed = self.first.saturating_sub(place.next);
        self.missed += missed;
        let next = place.next + missed;
        let mut page = LogPage { place: LogPlace { next, ..place }, ..LogPage::default() };
        let index = usize::try_from(next - self.first).unwrap_or(usize::MAX);
        let in_memory = self.here.contains_key(&next);
        let mut left = bytes_max as u64;
        for (number, kept) in (next..).zip(self.kept.iter().skip(index).take(max)) {
            let here = self.here.get(&number);
            if here.is_some() != in_memory || left == 0 {
                break;
            }
            left = left.saturating_sub(kept.bytes.into());
            page.mids.push(kept.mid);
            page.here.extend(here.cloned());
        }
        page
    }

    /// A reader is at `place`. If it has read all it is woken once when a message comes. Returns whether it has not.
    pub fn note_reader(&mut self, place: LogPlace, (reader, waker): (SessionId, &Waker)) -> bool {
        let is_behind = !self.is_end(place);
        let known = self.readers.entry(reader).or_insert(LogReader { next: 0, waker: None });
        known.next = place.next;
        match &mut known.waker {
            _ if is_behind => {}
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        is_behind
    }

    /// The reader is gone.
    pub fn leave(&mut self, reader: SessionId) {
        self.readers.remove(&reader);
    }

    /// The readers that wait: they do no more.
    pub fn take_waiting(&mut self) -> impl Iterator<Item = Waker> {
        self.readers.values_mut().filter_map(|reader| reader.waker.take())
    }

    pub fn state(&self) -> LogState {
        let time = |kept: &KeptEntry| Time::from_secs(kept.received_s.into());
        let slowest = self.readers.values().map(|reader| reader.next.max(self.first)).min();
        LogState {
            messages: self.kept.len(),
            bytes: self.bytes,
            first: self.kept.front().map(time),
            last: self.kept.back().map(time),
            readers: self.readers.len(),
            unread: slowest.map_or(0, |next| self.end().saturating_sub(next)),
            missed: self.missed,
        }
    }

    /// The number of the message that comes next.
    fn end(&self) -> u64 {
        self.first + self.kept.len() as u64
    }
}

fn class_of(message: &Message) -> usize {
    usize::from(message.qos > crate::codec::QoS::AtMostOnce)
}
