//! What was lost: by reason and class of topics for the counters, by receiver for the log, and as dead
//! letters, which are published under `$dead/` when the turn in which they fell ends.
//!
//! A dead letter, whatever becomes of it, causes no other: neither does anything under `$dead/`. Where
//! only the store knows the topic of what was lost it is asked, if there are classes of topics.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tracing::warn;

use super::Broker;
use super::dropped::{DEAD, DropLine, Gone, Letter, is_dead};
use super::mailbox::{DroppedCopies, Mailbox, Refusal};
use super::metrics::Counter;
use super::ports::Fetch;
use super::publish::{Publisher, Record, Submission};
use super::topic_ledger::{TopicClass, Unrouted};
use super::turn::Turn;
use crate::codec::QoS;
use crate::codec::property::put_user_property;
use crate::codec::{Properties, Reason};
use crate::message::{Delivery, Draft, Loss, Message, ReceiverId};
use crate::sync::{Mutex, MutexGuard};
use crate::time::Time;
use crate::topic::TopicName;

/// What waits between two ticks.
#[derive(Debug, Default)]
pub(super) struct Letters {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Letter>,
    fetching: Option<(Vec<Letter>, Fetch)>,
    /// Drops that are to be logged.
    drops: BTreeMap<DropLine, Drops>,
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
/// Receivers, classes of topics and reasons that are told apart in the log.
const DROPS_MAX: usize = 4096;
/// At most one line for each of them in so long.
const QUIET: Duration = Duration::from_secs(10);
impl Broker {
    /// Counts a copy that was taken from a mailbox and is lost; without it nobody knows its topic.
    pub(super) fn count_lost(&self, delivery: Option<&Delivery>, loss: Loss) {
        self.0.metrics.lose(self.class_of(delivery.map(|copy| copy.message.topic())), loss, 1);
    }

    /// The same for the log, and for a dead letter if its queue wants one.
    pub(super) fn note_lost(
        &self,
        own: &Mailbox,
        delivery: Option<&Delivery>,
        loss: Loss,
        turn: &mut Turn<'_>,
    ) {
        let class = self.class_of(delivery.map(|copy| copy.message.topic()));
        self.0.metrics.lose(class, loss, 1);
        let Some(delivery) = delivery.filter(|_| loss.is_drop()) else { return };
        let group = delivery.group.map(|group| self.0.router.group(group));
        let mailbox = match &group {
            None => own,
            Some(Some(group)) => group,
            Some(None) => return,
        };
        let (name, wanted) = mailbox.drop_label(turn.settings.queue());
        turn.gone.tell(&name, class, loss);
        let (receiver, qos) = (mailbox.receiver(), delivery.qos);
        let message = Some(delivery.message.clone());
        // With the store it is settled where the receiver's account is.
        let letter = Letter { name, receiver, loss, qos, message, mid: None, wanted };
        if letter.is_to_be_published() {
            turn.gone.want_letter(letter);
        }
    }

    /// A copy was not admitted.
    #[cold]
    pub(super) fn note_refused(
        &self,
        refusal: Refusal,
        (receiver, qos): (ReceiverId, QoS),
        record: &mut Record<'_>,
        gone: &mut Gone,
    ) {
        let (loss, wanted) = (refusal.loss(), refusal.wants_dead_letter());
        let class = self.class_of(Some(record.topic()));
        self.0.metrics.lose(class, loss, 1);
        let Some(name) = refusal.into_name() else { return };
        gone.tell(&name, class, loss);
        if wanted && !is_dead(record.topic()) {
            let message = Some(record.share());
            gone.want_letter(Letter { name, receiver, loss, qos, message, mid: None, wanted });
        }
    }

    /// Copies were lost all at once, with their receiver or with its connection.
    pub(super) fn note_fallen(&self, fallen: &DroppedCopies, turn: &mut Turn<'_>) {
        let metrics = &self.0.metrics;
        let (loss, receiver) = (fallen.loss(), fallen.receiver());
        if !metrics.topics().is_kept() {
            metrics.lose(TopicClass::OTHER, loss, fallen.len() as u64);
            fallen.visit(|_, mid| turn.batch.settled.extend(mid.map(|mid| (receiver, mid))));
            return;
        }
        fallen.visit(|topic, mid| {
            let class = match (topic, mid) {
                (Some(topic), _) => metrics.topics().class_of(topic),
                (None, Some(_)) => TopicClass::UNREAD,
                (None, None) => TopicClass::OTHER,
            };
            metrics.lose(class, loss, 1);
            if class == TopicClass::UNREAD {
                let (name, qos, message) = (Arc::default(), QoS::default(), None);
                let letter = Letter { name, receiver, loss, qos, message, mid, wanted: false };
                self.put_aside(letter, turn);
            } else {
                turn.batch.settled.extend(mid.map(|mid| (receiver, mid)));
            }
        });
    }

    /// A PUBLISH of `QoS` 0 or a Will was dropped before it was routed; nobody may know its topic.
    pub(super) fn note_unrouted(&self, topic: Option<TopicName<'_>>, why: Unrouted) {
        self.0.metrics.drop_unrouted(self.class_of(topic), why);
    }

    /// Counts what a turn has lost, and publishes its dead letters within the turn. Those whose
    /// message only the store has wait for a tick, and are settled with it then.
    pub(super) fn tell_gone(&self, turn: &mut Turn<'_>) {
        for letter in self.digest(turn) {
            if letter.message.is_some() {
                self.publish_letter(&letter, turn);
            } else {
                self.put_aside(letter, turn);
            }
        }
    }

    /// Counts what a turn has lost and notes it for the log. Returns what wants a letter, or is to be
    /// read.
    pub(super) fn digest(&self, turn: &mut Turn<'_>) -> Vec<Letter> {
        let mut gone = std::mem::take(&mut turn.gone);
        let metrics = &self.0.metrics;
        for letter in gone.take_fallen() {
            let class = match (&letter.message, letter.mid) {
                (Some(message), _) => metrics.topics().class_of(message.topic()),
                (None, Some(_)) if metrics.topics().is_kept() => TopicClass::UNREAD,
                (None, _) => TopicClass::OTHER,
            };
            metrics.lose(class, letter.loss, 1);
            let unread = class == TopicClass::UNREAD;
            if letter.loss.is_drop() && !unread {
                gone.tell(&letter.name, class, letter.loss);
            }
            if letter.is_to_be_published() || unread {
                gone.want_letter(letter);
            } else {
                turn.batch.settled.extend(letter.mid.map(|mid| (letter.receiver, mid)));
            }
        }
        self.note_drops(gone.take_told());
        gone.take_letters()
    }

    /// Works off the letters that wait, and tells the log of drops. Returns when it is next needed.
    pub(super) fn tick_letters(&self, turn: &mut Turn<'_>) -> Option<Time> {
        self.log_drops(turn.now);
        let (ready, more) = self.ready_letters();
        for (letter, fetched) in ready {
            if fetched {
                self.class_letter(&letter);
            }
            if letter.wanted && letter.message.is_some() {
                self.publish_letter(&letter, turn);
                continue;
            }
            // It cannot be read: the ledger alone tells.
            self.0.metrics.add(Counter::LettersLost, u64::from(letter.wanted));
            turn.batch.settled.extend(letter.mid.map(|mid| (letter.receiver, mid)));
        }
        more.then_some(turn.now)
    }

    /// What is known of a copy whose topic only the store knew: it has been asked, or will not be.
    fn class_letter(&self, letter: &Letter) {
        let metrics = &self.0.metrics;
        if !metrics.topics().is_kept() {
            return;
        }
        let class = self.class_of(letter.message.as_ref().map(Message::topic));
        metrics.read(class, letter.loss);
        if letter.loss.is_drop() {
            self.note_drops(vec![((letter.name.clone(), class, letter.loss), 1)]);
        }
    }

    /// Letters that wait to be written.
    pub(super) fn letters_waiting(&self) -> usize {
        let inner = self.letters();
        inner.waiting.len() + inner.fetching.as_ref().map_or(0, |(letters, _)| letters.len())
    }

    /// Letters whose messages are here, whether each was fetched, and whether more can be had at once.
    fn ready_letters(&self) -> (Vec<(Letter, bool)>, bool) {
        let (here, away): (Vec<_>, Vec<_>) = {
            let inner = &mut *self.letters();
            let count = if inner.fetching.is_some() { 0 } else { inner.waiting.len() };
            inner.waiting.drain(..count.min(TICK_MAX)).partition(|letter| letter.message.is_some())
        };
        let mut ready: Vec<_> = here.into_iter().map(|letter| (letter, false)).collect();
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
                    ready.extend(letters.into_iter().map(|letter| (letter, true)));
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
    pub(super) fn put_aside(&self, letter: Letter, turn: &mut Turn<'_>) {
        {
            let inner = &mut *self.letters();
            if inner.waiting.len() < WAITING_MAX {
                inner.waiting.push_back(letter);
                return;
            }
        }
        if letter.message.is_none() {
            self.class_letter(&letter);
        }
        self.0.metrics.add(Counter::LettersLost, u64::from(letter.wanted));
        turn.batch.settled.extend(letter.mid.map(|mid| (letter.receiver, mid)));
    }

    fn publish_letter(&self, letter: &Letter, turn: &mut Turn<'_>) {
        let shared = &*self.0;
        turn.batch.settled.extend(letter.mid.map(|mid| (letter.receiver, mid)));
        let Some(message) = &letter.message else { return };
        if is_dead(message.topic()) {
            return;
        }
        let topic = format!("{DEAD}{}/{}", letter.loss.name(), message.topic().as_str());
        let mut properties = Vec::new();
        message.properties().forwarded(&mut properties);
        let age = turn.now.since(message.received).as_secs().to_string();
        for (name, value) in [
            ("reason", letter.loss.name()),
            ("receiver", &letter.name),
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
            let submission = Submission::new(&draft, Publisher::System);
            let reason = self.publish(submission, turn).reason();
            reason.is_error() && reason != Reason::NoMatchingSubscribers
        };
        let counter = if lost { Counter::LettersLost } else { Counter::Letters };
        shared.metrics.add(counter, 1);
    }

    /// The class of a topic, which nobody may know.
    fn class_of(&self, topic: Option<TopicName<'_>>) -> TopicClass {
        topic.map_or(TopicClass::OTHER, |topic| self.0.metrics.topics().class_of(topic))
    }

    fn note_drops(&self, told: Vec<(DropLine, u64)>) {
        if told.is_empty() {
            return;
        }
        let inner = &mut *self.letters();
        for (key, count) in told {
            if inner.drops.len() < DROPS_MAX || inner.drops.contains_key(&key) {
                inner.drops.entry(key).or_default().count += count;
            } else {
                inner.others += count;
            }
        }
    }

    /// One line for each receiver, class of topics and reason, with how many there were since the last.
    fn log_drops(&self, now: Time) {
        let inner = &mut *self.letters();
        if now < inner.look {
            return;
        }
        inner.look = now.after(LOOK);
        inner.drops.retain(|(receiver, class, loss), drops| {
            if now < drops.quiet_until {
                return true;
            }
            if drops.count > 0 {
                let (receiver, reason) = (receiver.escape_debug(), loss.name());
                // None where no class is configured: the line says nothing of it then.
                let topic_class = self.0.metrics.topics().name(*class);
                warn!(%receiver, topic_class, reason, count = drops.count, "messages dropped");
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
