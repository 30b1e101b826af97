//! The latest losses, each with its receiver, topic and reason: the ledger counts, this remembers.
//!
//! It is kept while the broker is watched ([`Broker::watch`]); else a loss costs one look at a flag. It is bounded by
//! entries and bytes. Losses of one receiver, topic and reason are one entry with a count, and a receiver has
//! [`SHARE_MAX`] entries at most: one that loses much pushes out its own, not those of others. Of what a turn loses
//! beyond [`TURN_MAX`](super::dropped::TURN_MAX) only the number is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Broker;
use super::dropped::{CUT_MARK, FreshLoss, Gone, LossCause};
use super::mailbox::{DroppedCopies, Owner};
use super::turn::Turn;
use crate::message::{Identity, Loss, Message, RefusalKind};
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;
use crate::topic::TopicName;
use crate::topic::name::matches;

/// Losses of one receiver, topic and reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LossNote {
    number: u64,
    receiver: Arc<str>,
    topic: Option<Arc<str>>,
    cause: LossCause,
    first: Time,
    last: Time,
    count: u64,
}

/// The losses that are remembered.
#[derive(Debug, Default)]
pub(super) struct RecentLosses {
    ring: Mutex<LossRing>,
}

#[derive(Debug, Default)]
struct LossRing {
    /// By number: the oldest is the first.
    notes: BTreeMap<u64, LossNote>,
    /// The numbers of each receiver's.
    receivers: BTreeMap<Arc<str>, Vec<u64>>,
    newest: u64,
    bytes: usize,
    unlisted: u64,
}

/// Entries in all, and their bytes.
pub const NOTES_MAX: usize = 4096;
const BYTES_MAX: usize = 1024 * 1024;
/// Entries of one receiver.
pub const SHARE_MAX: usize = 16;

impl LossNote {
    /// Its number: larger for every entry that is new or has grown.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The Client Identifier of the receiver or publisher, or the whole filter of a group; empty if it is of none, or
    /// of a group that has ended.
    pub fn receiver(&self) -> &str {
        &self.receiver
    }

    /// The topic, cut to 256 bytes and `…`. `None`: only the store has it, or these are many copies that were lost
    /// at once, beyond those with an entry of their own.
    pub fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    /// Why.
    pub fn cause(&self) -> LossCause {
        self.cause
    }

    /// When the first of them was lost.
    pub fn first(&self) -> Time {
        self.first
    }

    /// When the last of them was lost.
    pub fn last(&self) -> Time {
        self.last
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether it is of this Client Identifier, or group, and of this topic, or one that fits this Topic Filter.
    pub fn concerns(&self, client: Option<&str>, topic: Option<&str>) -> bool {
        client.is_none_or(|client| *self.receiver == *client)
            && topic.is_none_or(|topic| self.fits(topic))
    }

    fn is_of(&self, loss: &FreshLoss) -> bool {
        self.cause == loss.cause && self.topic == loss.topic
    }

    fn bytes(&self) -> usize {
        size_of::<LossNote>()
            + self.receiver.len()
            + self.topic.as_ref().map_or(0, |topic| topic.len())
    }

    /// Whether it may be of this topic, or of one that fits this Topic Filter.
    fn fits(&self, filter: &str) -> bool {
        let Some(topic) = self.topic() else { return false };
        match topic.strip_suffix(CUT_MARK) {
            Some(begin) if filter.starts_with(begin) => true,
            _ => matches(filter, TopicName::trusted(topic)),
        }
    }
}

impl RecentLosses {
    /// Notes what a turn has lost.
    #[cold]
    pub fn note(&self, losses: Vec<FreshLoss>, unlisted: u64, now: Time) {
        let ring = &mut *self.lock();
        ring.unlisted += unlisted;
        for loss in losses {
            ring.add(loss, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, LossRing> {
        whole(self.ring.lock())
    }
}

impl LossRing {
    fn add(&mut self, loss: FreshLoss, now: Time) {
        self.newest += 1;
        let number = self.newest;
        let of_receiver = self.receivers.get(&loss.receiver).map_or(&[][..], Vec::as_slice);
        let same = of_receiver.iter().find(|number| self.notes[number].is_of(&loss)).copied();
        let (first, before) = same.map_or((now, 0), |same| {
            let note = self.remove(same);
            (note.first, note.count)
        });
        if let Some(own) = self.receivers.get(&loss.receiver).filter(|own| own.len() >= SHARE_MAX) {
            self.remove(own[0]);
        }
        let FreshLoss { receiver, topic, cause, count } = loss;
        let count = before + count;
        let note = LossNote { number, receiver, topic, cause, first, last: now, count };
        self.bytes += note.bytes();
        self.receivers.entry(note.receiver.clone()).or_default().push(number);
        self.notes.insert(number, note);
        while self.notes.len() > NOTES_MAX || (self.bytes > BYTES_MAX && self.notes.len() > 1) {
            let Some(oldest) = self.notes.keys().next().copied() else { break };
            self.remove(oldest);
        }
    }

    fn remove(&mut self, number: u64) -> LossNote {
        let note = self.notes.remove(&number).expect("the numbers of receivers are those of notes");
        self.bytes -= note.bytes();
        if let Some(own) = self.receivers.get_mut(&note.receiver) {
            own.retain(|own| *own != number);
            if own.is_empty() {
                self.receivers.remove(&note.receiver);
            }
        }
        note
    }
}

impl Broker {
    /// The latest losses that are remembered, the newest first, `max` at most.
    ///
    /// - `client`: only those of this Client Identifier, as receiver or publisher, or of the group of this filter.
    /// - `topic`: only those of this topic, or of topics that fit this Topic Filter.
    pub fn recent_losses(
        &self,
        client: Option<&str>,
        topic: Option<&str>,
        max: usize,
    ) -> Vec<LossNote> {
        let ring = self.0.recent_losses.lock();
        let fits = |note: &&LossNote| topic.is_none_or(|topic| note.fits(topic));
        match client {
            None => ring.notes.values().rev().filter(fits).take(max).cloned().collect(),
            Some(client) => {
                let own = ring.receivers.get(client).map_or(&[][..], Vec::as_slice);
                let notes = own.iter().rev().map(|number| &ring.notes[number]);
                notes.filter(fits).take(max).cloned().collect()
            }
        }
    }

    /// Entries that are new or have grown since the one of `number`, the oldest first, `max` at most; and how many
    /// losses have no entry, since the start.
    pub fn losses_since(&self, number: u64, max: usize) -> (Vec<LossNote>, u64) {
        let ring = self.0.recent_losses.lock();
        let notes = ring.notes.range(number + 1..).map(|(_, note)| note);
        (notes.take(max).cloned().collect(), ring.unlisted)
    }

    /// Copies were lost, or a PUBLISH was refused: remembers it with the turn, if that is asked for.
    /// `owner`: of the mailbox, if it is known.
    #[inline]
    pub(super) fn note_loss(
        &self,
        gone: &mut Gone,
        owner: Option<&Owner>,
        topic: Option<TopicName<'_>>,
        loss: Loss,
    ) {
        if self.is_watched() {
            let receiver = owner.map_or_else(Arc::default, Owner::name);
            gone.remember(FreshLoss::new(receiver, topic, LossCause::Copy(loss)));
        }
    }

    /// A PUBLISH of a client was refused, or dropped before it was routed.
    #[cold]
    pub(super) fn note_refused_publish(
        &self,
        client: &Identity,
        topic: &str,
        kind: RefusalKind,
        gone: &mut Gone,
    ) {
        if self.is_watched() {
            let (client, topic) = (client.client_id.text().clone(), TopicName::trusted(topic));
            gone.remember(FreshLoss::new(client, Some(topic), LossCause::Publish(kind)));
        }
    }

    /// Copies of one receiver were lost all at once: the first have entries of their own, the others one together.
    pub(super) fn note_all_lost(&self, dropped: &DroppedCopies, gone: &mut Gone) {
        if !self.is_watched() {
            return;
        }
        let (name, cause) = (dropped.name(), LossCause::Copy(dropped.loss()));
        let mut left = SHARE_MAX - 1;
        dropped.visit(|message, _| {
            if left > 0 {
                left -= 1;
                let topic = message.map(Message::topic);
                gone.remember(FreshLoss::new(name.clone(), topic, cause));
            }
        });
        let others = dropped.count().saturating_sub(SHARE_MAX - 1);
        if others > 0 {
            let others =
                FreshLoss { count: others as u64, ..FreshLoss::new(name.clone(), None, cause) };
            gone.remember(others);
        }
    }

    /// What this turn has lost is remembered.
    pub(super) fn remember_losses(&self, turn: &mut Turn<'_>) {
        let (losses, unlisted) = turn.gone.take_fresh();
        if !losses.is_empty() {
            self.0.recent_losses.note(losses, unlisted, turn.now);
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use super::*;

    fn fresh(receiver: &str, topic: &str) -> FreshLoss {
        let cause = LossCause::Copy(Loss::Expired);
        FreshLoss::new(receiver.into(), Some(TopicName::trusted(topic)), cause)
    }

    /// What the ring says of itself, counted anew.
    fn assert_whole(ring: &LossRing) {
        assert_eq!(ring.bytes, ring.notes.values().map(LossNote::bytes).sum::<usize>());
        assert_eq!(ring.notes.len(), ring.receivers.values().map(Vec::len).sum::<usize>());
        for (receiver, own) in &ring.receivers {
            assert!(own.is_sorted() && own.len() <= SHARE_MAX && !own.is_empty());
            assert!(own.iter().all(|number| ring.notes[number].receiver == *receiver));
        }
    }

    #[test]
    fn entries_and_bytes_are_bounded_whatever_is_lost() {
        let mut ring = LossRing::default();
        let mut random = 7u64;
        for round in 0..60_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let long = if random >> 63 == 1 { "x".repeat(300) } else { String::new() };
            let receiver = format!("{}{long}", (random >> 40) % 3000);
            let topic = format!("{}{long}", (random >> 20) % 40);
            ring.add(fresh(&receiver, &topic), Time::from_nanos(round));
            if round % 1000 == 0 {
                assert_whole(&ring);
            }
        }
        assert_whole(&ring);
        assert!(ring.bytes <= BYTES_MAX && ring.notes.len() <= NOTES_MAX);
        assert!(ring.bytes > BYTES_MAX - 2000 || ring.notes.len() == NOTES_MAX);
    }
}
