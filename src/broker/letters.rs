//! What was dropped: by reason for the counters, by receiver for the log, and as dead letters, which are
//! published under `$dead/` when the turn in which they fell ends.
//!
//! A dead letter, whatever becomes of it, causes no other: neither does anything under `$dead/`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tracing::warn;

use super::Broker;
use super::mailbox::Mailbox;
use super::metrics::Counter;
use super::ports::Fetch;
use super::turn::Turn;
use crate::codec::QoS;
use crate::codec::property::put_user_property;
use crate::codec::{Properties, Reason};
use crate::message::{Delivery, Draft, Loss, Message, Mid};
use crate::sync::{Mutex, MutexGuard};
use crate::time::Time;
use crate::topic::TopicName;

/// What a turn has dropped and not yet told.
#[derive(Debug, Default)]
pub struct Gone {
    /// By reason: for the counters.
    lost: Vec<(Loss, u64)>,
    /// By whose it was, too: for the log.
    told: Vec<(Arc<str>, Loss, u64)>,
    /// What the store kept of it: the receiver's number, and the message's.
    settled: Vec<(u64, Mid)>,
    letters: Vec<Letter>,
}

/// A copy that was dropped and whose receiver's queue wants a dead letter for it.
#[derive(Debug)]
pub struct Letter {
    /// Client Identifier, or the filter of a group.
    pub receiver: Arc<str>,
    /// The number stores know the receiver by.
    pub number: u64,
    /// Why.
    pub loss: Loss,
    /// The copy's.
    pub qos: QoS,
    /// `None`: only the store has it.
    pub message: Option<Message>,
    /// What is to be settled with the store, once the letter is published.
    pub mid: Option<Mid>,
}

/// What waits between two ticks.
#[derive(Debug, Default)]
pub(super) struct Letters {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Letter>,
    fetching: Option<(Vec<Letter>, Fetch)>,
    /// Drops that are to be logged, by receiver and reason.
    drops: BTreeMap<(Arc<str>, Loss), Drops>,
    /// Of more receivers than are remembered.
    others: u64,
    look: Time,
}

#[derive(Debug, Default)]
struct Drops {
    /// Since the last line.
    count: u64,
    /// No line before this.
    quiet_until: Time,
}

/// Letters that wait for a tick at most; of more only the ledger tells.
const WAITING_MAX: usize = 16 * 1024;
/// Letters published, or fetched from the store, in one tick.
const TICK_MAX: usize = 256;
/// Receivers and reasons of which drops are told apart in the log.
const DROPS_MAX: usize = 4096;
/// At most one line for each receiver and reason in so long.
const QUIET: Duration = Duration::from_secs(10);
/// How often a letter may push out another copy, whose letter pushes out another, in one turn.
const ROUNDS_MAX: usize = 4;

/// Where dead letters are published.
const DEAD: &str = "$dead/";

impl Gone {
    /// Counts copies; `receiver`: whose they were, for the log.
    pub fn lose(&mut self, receiver: Option<&Arc<str>>, loss: Loss, count: u64) {
        match self.lost.last_mut() {
            Some((last, sum)) if *last == loss => *sum += count,
            _ => self.lost.push((loss, count)),
        }
        if let Some(receiver) = receiver.filter(|_| loss.is_drop()) {
            self.tell(receiver, loss, count);
        }
    }

    /// For the log alone: copies that are counted elsewhere.
    pub fn tell(&mut self, receiver: &Arc<str>, loss: Loss, count: u64) {
        match self.told.last_mut() {
            Some((last, same, sum)) if *same == loss && last == receiver => *sum += count,
            _ => self.told.push((receiver.clone(), loss, count)),
        }
    }

    /// What the store kept of a copy that has no letter.
    pub fn settle(&mut self, receiver: u64, mid: Option<Mid>) {
        self.settled.extend(mid.map(|mid| (receiver, mid)));
    }

    /// A copy was dropped: `wanted`: there is to be a letter.
    pub fn bury(&mut self, letter: Letter, wanted: bool) {
        let own = letter.message.as_ref().is_some_and(|message| is_dead(message.topic()));
        if wanted && letter.loss.is_drop() && !own {
            self.letters.push(letter);
        } else {
            self.settle(letter.number, letter.mid);
        }
    }

    /// Nothing was dropped.
    pub fn is_empty(&self) -> bool {
        // Whatever is dropped is counted or told.
        self.lost.is_empty() && self.told.is_empty()
    }
}

/// Whether it is a topic of dead letters.
pub(super) fn is_dead(topic: TopicName<'_>) -> bool {
    topic.as_str().starts_with(DEAD)
}

impl Broker {
    /// A copy that was taken for its receiver and is lost, and counted: for the log, and for a dead
    /// letter if its queue wants one.
    pub(super) fn note_lost(
        &self,
        own: &Mailbox,
        delivery: &Delivery,
        loss: Loss,
        turn: &mut Turn,
    ) {
        if !loss.is_drop() {
            return;
        }
        let group = delivery.group.map(|group| self.0.router.group(group));
        let mailbox = match &group {
            None => own,
            Some(Some(group)) => group,
            Some(None) => return,
        };
        let (receiver, wanted) = mailbox.epitaph(&self.0.queue);
        turn.gone.tell(&receiver, loss, 1);
        let (number, qos) = (mailbox.receiver(), delivery.qos);
        let message = Some(delivery.message.clone());
        // With the store it is settled where it is counted.
        let letter = Letter { receiver, number, loss, qos, message, mid: None };
        turn.gone.bury(letter, wanted);
    }

    /// Counts what a turn has dropped, and publishes its dead letters within the turn. Those whose
    /// message only the store has wait for a tick, and are settled with it then.
    pub(super) fn tell_gone(&self, now: Time, turn: &mut Turn) {
        let Gone { lost, told, mut settled, letters } = std::mem::take(&mut turn.gone);
        turn.batch.settled.append(&mut settled);
        self.note_drops(told);
        for (loss, count) in lost {
            self.0.metrics.lose(loss, count);
        }
        for letter in letters {
            if letter.message.is_some() {
                self.publish_letter(&letter, now, turn);
            } else {
                self.put_aside(letter, turn);
            }
        }
    }

    /// Pushes what is staged. What had to go for it is told, and pushed in its turn.
    pub(super) fn flush_and_tell(&self, now: Time, turn: &mut Turn) {
        for round in 0.. {
            self.flush_copies(now, turn);
            if turn.gone.is_empty() {
                return;
            }
            if round == ROUNDS_MAX {
                // The rest is the next tick's.
                for letter in std::mem::take(&mut turn.gone.letters) {
                    self.put_aside(letter, turn);
                }
            }
            self.tell_gone(now, turn);
            self.0.metrics.add_all(&mut turn.tally);
            let permit = std::mem::take(&mut turn.permit);
            let batch = std::mem::take(&mut turn.batch);
            if !batch.is_empty() {
                self.0.ports.store.submit(permit, batch);
            }
        }
    }

    /// Works off the letters that wait, and tells the log of drops. Returns when it is next needed.
    pub(super) fn tick_letters(&self, now: Time, turn: &mut Turn) -> Option<Time> {
        self.log_drops(now);
        let (ready, more) = self.ready_letters();
        for letter in ready {
            if letter.message.is_some() {
                self.publish_letter(&letter, now, turn);
            } else {
                // It cannot be read: the ledger alone tells.
                self.0.metrics.add(Counter::LettersLost, 1);
                turn.batch.settled.extend(letter.mid.map(|mid| (letter.number, mid)));
            }
        }
        more.then_some(now)
    }

    /// Letters that wait to be written.
    pub(super) fn letters_waiting(&self) -> usize {
        let inner = self.letters();
        inner.waiting.len() + inner.fetching.as_ref().map_or(0, |(letters, _)| letters.len())
    }

    /// Letters whose messages are here, and whether more can be had at once.
    fn ready_letters(&self) -> (Vec<Letter>, bool) {
        let (mut ready, away) = {
            let inner = &mut *self.letters();
            let count = if inner.fetching.is_some() { 0 } else { inner.waiting.len() };
            inner.waiting.drain(..count.min(TICK_MAX)).partition(|letter| letter.message.is_some())
        };
        let begun = self.fetch_letters(away);
        let inner = &mut *self.letters();
        if let Some((mut letters, fetch)) = begun.or_else(|| inner.fetching.take()) {
            match fetch.take() {
                Some(found) => {
                    // In the order of the question.
                    for (letter, (mid, message)) in letters.iter_mut().zip(found) {
                        if let Some(message) = message {
                            message.set_mid(mid);
                            letter.message = Some(message);
                        }
                    }
                    ready.append(&mut letters);
                }
                None => inner.fetching = Some((letters, fetch)),
            }
        }
        (ready, inner.fetching.is_none() && !inner.waiting.is_empty())
    }

    fn fetch_letters(&self, letters: Vec<Letter>) -> Option<(Vec<Letter>, Fetch)> {
        if letters.is_empty() {
            return None;
        }
        let want = letters.iter().filter_map(|letter| letter.mid).collect();
        let shared = &*self.0;
        // A tick comes by itself: nobody is to be woken.
        let fetch = shared.ports.store.fetch(want, shared.meter, Waker::noop());
        Some((letters, fetch))
    }

    /// Keeps a letter for a tick, if there is room.
    fn put_aside(&self, letter: Letter, turn: &mut Turn) {
        let inner = &mut *self.letters();
        if inner.waiting.len() < WAITING_MAX {
            inner.waiting.push_back(letter);
        } else {
            self.0.metrics.add(Counter::LettersLost, 1);
            turn.batch.settled.extend(letter.mid.map(|mid| (letter.number, mid)));
        }
    }

    fn publish_letter(&self, letter: &Letter, now: Time, turn: &mut Turn) {
        let shared = &*self.0;
        turn.batch.settled.extend(letter.mid.map(|mid| (letter.number, mid)));
        let Some(message) = &letter.message else { return };
        if is_dead(message.topic()) {
            return;
        }
        let topic = format!("{DEAD}{}/{}", letter.loss.name(), message.topic().as_str());
        let mut properties = Vec::new();
        message.properties().forwarded(&mut properties);
        let age = now.since(message.received).as_secs().to_string();
        for (name, value) in [
            ("reason", letter.loss.name()),
            ("receiver", &letter.receiver),
            ("age", &age),
            ("publisher", message.publisher()),
        ] {
            put_user_property(&mut properties, name, value);
        }
        let draft = Draft {
            topic: TopicName::trusted(&topic),
            qos: letter.qos,
            retain: false,
            expiry: None,
            properties: Properties::trusted(&properties),
            payload: message.payload(),
        };
        let full = shared.meter.about() + draft.bytes(&shared.system) as u64
            > shared.totals.queued_bytes_max.0;
        let lost = topic.len() > usize::from(u16::MAX) || full || {
            let published = self.publish(&draft, &shared.system, None, now, turn);
            published.reason.is_error() && published.reason != Reason::NoMatchingSubscribers
        };
        let counter = if lost { Counter::LettersLost } else { Counter::Letters };
        shared.metrics.add(counter, 1);
    }

    fn note_drops(&self, told: Vec<(Arc<str>, Loss, u64)>) {
        if told.is_empty() {
            return;
        }
        let inner = &mut *self.letters();
        for (receiver, loss, count) in told {
            let key = (receiver, loss);
            if inner.drops.len() < DROPS_MAX || inner.drops.contains_key(&key) {
                inner.drops.entry(key).or_default().count += count;
            } else {
                inner.others += count;
            }
        }
    }

    /// One line for each receiver and reason, with how many there were since the last.
    fn log_drops(&self, now: Time) {
        let inner = &mut *self.letters();
        if now < inner.look {
            return;
        }
        inner.look = now.after(LOOK);
        inner.drops.retain(|(receiver, loss), drops| {
            if now < drops.quiet_until {
                return true;
            }
            if drops.count > 0 {
                let (receiver, reason) = (receiver.escape_debug(), loss.name());
                warn!(%receiver, reason, count = drops.count, "messages dropped");
                *drops = Drops { count: 0, quiet_until: now.after(QUIET) };
                return true;
            }
            false
        });
        if inner.others > 0 && inner.drops.len() < DROPS_MAX {
            let count = std::mem::take(&mut inner.others);
            warn!(count, "messages dropped of more receivers than are told apart");
        }
    }

    fn letters(&self) -> MutexGuard<'_, Inner> {
        self.0.letters.inner.lock().expect("no code panics while it holds the letters")
    }
}

/// How often drops are looked at for the log.
const LOOK: Duration = Duration::from_secs(1);
