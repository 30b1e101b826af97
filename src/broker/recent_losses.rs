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
    /// It has grown since it had its number.
    grown: bool,
}

/// The losses that are remembered.
#[derive(Debug, Default)]
pub(super) struct RecentLosses {
    ring: Mutex<LossRing>,
}

/// A loss is much more frequent than a look: a note that grows stays where it is, and has a new number at the next look.
#[derive(Debug, Default)]
struct LossRing {
    /// Each receiver's.
    receivers: BTreeMap<Arc<str>, Vec<LossNote>>,
    /// The receiver of the note with a number: the oldest is the first.
    order: BTreeMap<u64, Arc<str>>,
    /// The numbers of those that have grown. Some of them may be gone.
    grown: Vec<u64>,
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
        let mut oldest = None;
        if let Some(own) = self.receivers.get_mut(&loss.receiver) {
            if let Some(note) = own.iter_mut().find(|note| note.is_of(&loss)) {
                (note.last, note.count) = (now, note.count + loss.count);
                if !std::mem::replace(&mut note.grown, true) {
                    self.grown.push(note.number);
                }
                return;
            }
            if own.len() >= SHARE_MAX {
                let last = |note: &&LossNote| (note.last, note.number);
                oldest = own.iter().min_by_key(last).map(|note| note.number);
            }
        }
        if let Some(oldest) = oldest {
            self.remove(oldest);
        }
        // Those that have grown did so before this one came.
        self.number_anew();
        self.insert(loss, now);
        while self.order.len() > NOTES_MAX || (self.bytes > BYTES_MAX && self.order.len() > 1) {
            let Some(oldest) = self.order.keys().next().copied() else { break };
            self.remove(oldest);
        }
    }

    fn insert(&mut self, loss: FreshLoss, now: Time) {
        self.newest += 1;
        let (number, (first, last)) = (self.newest, (now, now));
        let FreshLoss { receiver, topic, cause, count } = loss;
        let note = LossNote { number, receiver, topic, cause, first, last, count, grown: false };
        self.bytes += note.bytes();
        self.order.insert(number, note.receiver.clone());
        self.receivers.entry(note.receiver.clone()).or_default().push(note);
    }

    /// Gives those that have grown new numbers, in the order in which they did so last.
    fn number_anew(&mut self) {
        let mut grown: Vec<_> = std::mem::take(&mut self.grown)
            .into_iter()
            .filter_map(|number| Some((self.note(number)?.last, number)))
            .collect();
        grown.sort_unstable();
        for (_, number) in grown {
            let Some(note) = self.remove(number) else { continue };
            self.newest += 1;
            let note = LossNote { number: self.newest, grown: false, ..note };
            self.bytes += note.bytes();
            self.order.insert(note.number, note.receiver.clone());
            self.receivers.entry(note.receiver.clone()).or_default().push(note);
        }
    }

    fn note(&self, number: u64) -> Option<&LossNote> {
        let own = self.receivers.get(self.order.get(&number)?)?;
        own.iter().find(|note| note.number == number)
    }

    fn remove(&mut self, number: u64) -> Option<LossNote> {
        let receiver = self.order.remove(&number)?;
        let own = self.receivers.get_mut(&receiver)?;
        let note = own.remove(own.iter().position(|note| note.number == number)?);
        self.bytes -= note.bytes();
        if own.is_empty() {
            self.receivers.remove(&receiver);
        }
        Some(note)
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
        let ring = &mut *self.0.recent_losses.lock();
        ring.number_anew();
        let fits = |note: &&LossNote| topic.is_none_or(|topic| note.fits(topic));
        match client {
            None => {
                let notes = ring.order.keys().rev().filter_map(|number| ring.note(*number));
                notes.filter(fits).take(max).cloned().collect()
            }
            Some(client) => {
                let own = ring.receivers.get(client).map_or(&[][..], Vec::as_slice);
                own.iter().rev().filter(fits).take(max).cloned().collect()
            }
        }
    }

    /// Entries that are new or have grown since the one of `number`, the oldest first, `max` at most; and how many
    /// losses have no entry, since the start.
    pub fn losses_since(&self, number: u64, max: usize) -> (Vec<LossNote>, u64) {
        let ring = &mut *self.0.recent_losses.lock();
        ring.number_anew();
        let notes = ring.order.range(number + 1..).filter_map(|(number, _)| ring.note(*number));
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
        let all = || ring.receivers.values().flatten();
        assert_eq!(ring.bytes, all().map(LossNote::bytes).sum::<usize>());
        assert_eq!(ring.order.len(), all().count());
        for (receiver, own) in &ring.receivers {
            assert!(own.is_sorted_by_key(|note| note.number));
            assert!(own.len() <= SHARE_MAX && !own.is_empty());
            assert!(own.iter().all(|note| note.receiver == *receiver));
            assert!(own.iter().all(|note| ring.order[&note.number] == *receiver));
        }
        let grown = all().filter(|note| note.grown);
        assert!(grown.into_iter().all(|note| ring.grown.contains(&note.number)));
    }

    /// A plain list of notes, the latest that has changed last: what the ring shows, as long as there is room.
    #[test]
    fn it_shows_what_a_plain_list_shows() {
        let (mut ring, mut twin) = (LossRing::default(), Vec::<(String, String, u64)>::new());
        let mut random = 3u64;
        for round in 0..3000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let receiver = ((random >> 40) % 40).to_string();
            let topic = ((random >> 20) % 24).to_string();
            ring.add(fresh(&receiver, &topic), Time::from_nanos(round));
            let same = twin.iter().position(|(r, t, _)| (r, t) == (&receiver, &topic));
            let before = same.map_or(0, |same| twin.remove(same).2);
            let own: Vec<_> = (0..twin.len()).filter(|at| twin[*at].0 == receiver).collect();
            if own.len() >= SHARE_MAX {
                twin.remove(own[0]);
            }
            twin.push((receiver, topic, before + 1));
            if round % 7 == 0 {
                ring.number_anew();
                assert_whole(&ring);
                let notes = ring.order.keys().filter_map(|number| ring.note(*number));
                let shown: Vec<_> = notes
                    .map(|note| (note.receiver().into(), note.topic().unwrap().into(), note.count))
                    .collect();
                assert_eq!(shown, twin);
            }
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
        assert!(ring.bytes <= BYTES_MAX && ring.order.len() <= NOTES_MAX);
        assert!(ring.bytes > BYTES_MAX - 2000 || ring.order.len() == NOTES_MAX);
    }
}
