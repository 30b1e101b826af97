//! Dead letters: dropped copies that are published again, under `$dead/`, when the turn in which they were
//! dropped ends.
//!
//! A dead letter, whatever becomes of it, causes no other: neither does anything under `$dead/`. A letter
//! waits for a tick if only the store has its message: the tick fetches it. So does a copy of which only
//! the topic is needed.

use std::collections::VecDeque;
use std::task::Waker;

use super::Broker;
use super::dropped::{DEAD, Letter, Tries, is_dead};
use super::metrics::Counter;
use super::ports::Fetch;
use super::publish::{Publisher, Submission};
use super::turn::Turn;
use crate::codec::property::put_user_property;
use crate::codec::{Properties, Reason};
use crate::message::{ATTEMPT, Draft, Message, Mid};
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;
use crate::topic::TopicName;

/// Letters that wait for a tick.
#[derive(Debug, Default)]
pub(super) struct DeadLetters {
    postponed: Mutex<Postponed>,
}

#[derive(Debug, Default)]
struct Postponed {
    waiting: VecDeque<Letter>,
    /// What the store was asked for, with the letters in the order of the question.
    fetching: Option<(Vec<Letter>, Fetch)>,
}

/// Letters of one tick.
struct Ready {
    /// Each with whether its message was fetched.
    letters: Vec<(Letter, bool)>,
    /// More can be had at once.
    more: bool,
}

/// Letters that wait for a tick at most; of more only the ledger tells.
const WAITING_MAX: usize = 16 * 1024;
/// Letters published, or fetched from the store, in one tick.
const TICK_MAX: usize = 256;

impl DeadLetters {
    /// Letters that wait.
    pub fn len(&self) -> usize {
        let postponed = self.lock();
        let fetching = postponed.fetching.as_ref();
        postponed.waiting.len() + fetching.map_or(0, |(letters, _)| letters.len())
    }

    /// Keeps a letter for a tick.
    ///
    /// # Errors
    ///
    /// The letter, if there is no room for it.
    fn add(&self, letter: Letter) -> Result<(), Letter> {
        let mut postponed = self.lock();
        if postponed.waiting.len() >= WAITING_MAX {
            return Err(letter);
        }
        postponed.waiting.push_back(letter);
        Ok(())
    }

    /// Letters that can be worked off now; `fetch` asks the store for messages.
    fn take_ready(&self, fetch: impl FnOnce(Vec<Mid>) -> Fetch) -> Ready {
        let (here, away): (Vec<_>, Vec<_>) = {
            let postponed = &mut *self.lock();
            let is_free = postponed.fetching.is_none();
            let count = if is_free { postponed.waiting.len().min(TICK_MAX) } else { 0 };
            postponed.waiting.drain(..count).partition(|letter| letter.message().is_some())
        };
        let mut letters: Vec<_> = here.into_iter().map(|letter| (letter, false)).collect();
        let begun = (!away.is_empty()).then(|| {
            let want = away.iter().filter_map(Letter::mid).collect();
            (away, fetch(want))
        });
        let postponed = &mut *self.lock();
        if let Some((mut asked, fetch)) = begun.or_else(|| postponed.fetching.take()) {
            match fetch.take() {
                Some(found) => {
                    // In the order of the question.
                    for (letter, (mid, message)) in asked.iter_mut().zip(found) {
                        if let Some(message) = message {
                            message.set_mid(mid);
                            letter.set_message(message);
                        }
                    }
                    letters.extend(asked.into_iter().map(|letter| (letter, true)));
                }
                None => postponed.fetching = Some((asked, fetch)),
            }
        }
        let more = postponed.fetching.is_none() && !postponed.waiting.is_empty();
        Ready { letters, more }
    }

    fn lock(&self) -> MutexGuard<'_, Postponed> {
        whole(self.postponed.lock())
    }
}

impl Broker {
    /// Works off the letters that wait, and writes the log of drops. Returns when it is next needed.
    pub(super) fn tick_letters(&self, turn: &mut Turn<'_>) -> Option<Time> {
        let shared = &*self.0;
        shared.drop_log.write(shared.metrics.topics(), turn.now);
        // A tick comes by itself: there is nothing to wake.
        let fetch = |want| shared.ports.store.fetch(want, shared.meter, Waker::noop());
        let Ready { letters, more } = shared.dead_letters.take_ready(fetch);
        for (letter, fetched) in letters {
            if fetched {
                self.class_letter(&letter);
            }
            if letter.is_wanted() && letter.message().is_some() {
                self.publish_letter(&letter, turn);
            } else {
                // It cannot be read: the ledger alone tells.
                self.give_letter_up(&letter, turn);
            }
        }
        more.then_some(turn.now)
    }

    /// Keeps a letter for a tick, if there is room.
    pub(super) fn put_aside(&self, letter: Letter, turn: &mut Turn<'_>) {
        if let Err(letter) = self.0.dead_letters.add(letter) {
            if letter.message().is_none() {
                self.class_letter(&letter);
            }
            self.give_letter_up(&letter, turn);
        }
    }

    /// Publishes a letter: its copy is settled with it.
    pub(super) fn publish_letter(&self, letter: &Letter, turn: &mut Turn<'_>) {
        let shared = &*self.0;
        turn.batch.settled.extend(letter.row());
        let Some(message) = letter.message() else { return };
        if is_dead(message.topic()) {
            return;
        }
        let topic = format!("{DEAD}{}/{}", letter.loss().name(), message.topic().as_str());
        let mut properties = Vec::new();
        match message.attempts {
            0 => message.properties().forwarded(&mut properties),
            // The number of the attempt is the broker's.
            _ => message.properties().forwarded_without(ATTEMPT, &mut properties),
        }
        let age = turn.now.since(message.received).as_secs().to_string();
        for (name, value) in [
            ("reason", letter.loss().name()),
            ("receiver", letter.name()),
            ("age", &age),
            ("publisher", message.publisher()),
        ] {
            put_user_property(&mut properties, name, value);
        }
        if let Some(Tries { attempts, consumer, reason }) = letter.tries() {
            put_user_property(&mut properties, "attempts", &attempts.to_string());
            put_user_property(&mut properties, "last-consumer", consumer);
            put_user_property(&mut properties, "last-reason", reason);
        }
        let draft = Draft {
            topic: TopicName::trusted(&topic),
            qos: letter.qos(),
            retain: false,
            expiry: None,
            properties: Properties::trusted(&properties),
            payload: message.payload(),
        };
        let full = shared.meter.about() + draft.bytes(&shared.system) as u64
            > shared.totals.queued_bytes_max.0;
        let lost = topic.len() > usize::from(u16::MAX) || full || {
            let submission = Submission::new(&draft, Publisher::System);
            let reason = self.publish(submission, turn).reason();
            reason.is_error() && reason != Reason::NoMatchingSubscribers
        };
        let counter = if lost { Counter::LettersLost } else { Counter::Letters };
        shared.metrics.add(counter, 1);
    }

    /// A letter cannot be written: its copy is settled without one.
    fn give_letter_up(&self, letter: &Letter, turn: &mut Turn<'_>) {
        self.0.metrics.add(Counter::LettersLost, u64::from(letter.is_wanted()));
        turn.batch.settled.extend(letter.row());
    }

    /// Counts a lost copy by its topic, once the store has told the topic or can no longer be asked.
    fn class_letter(&self, letter: &Letter) {
        let metrics = &self.0.metrics;
        if !metrics.topics().is_kept() {
            return;
        }
        let class = self.class_of(letter.message().map(Message::topic));
        metrics.read(class, letter.loss());
        if letter.loss().is_drop() {
            self.0.drop_log.note(vec![((letter.name().clone(), class, letter.loss()), 1)]);
        }
    }
}
