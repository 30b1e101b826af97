//! Delayed publish: a message to `$delayed/<span>/<topic>` is kept, and published to the topic when the span
//! is over. `Broker::tick` publishes what is due, in the order of due times, through [`Broker::publish`].

use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tracing::error;

use super::Broker;
use super::delays::Delays;
use super::metrics::Counter;
use super::ports::{Fetch, Receipt};
use super::publish::{LetIn, Published, Publisher, Submission, no_room, refuse};
use super::topic_ledger::Unrouted;
use super::turn::{Scratch, Turn};
use crate::codec::Reason;
use crate::message::{
    ClientId, DelayKey, DelayedMessage, Draft, Grounds, Identity, OwnerName, RefusalKind,
    SessionId, Total,
};
use crate::session::Op;
use crate::time::Time;
use crate::topic::DelayedTopic;

/// Delayed messages on their way from the store, to be looked at.
#[derive(Debug)]
pub struct DelayedLook {
    found: Vec<(DelayKey, Option<DelayedMessage>)>,
    fetch: Option<Fetch<DelayKey, DelayedMessage>>,
}

/// Messages published in one tick.
const TICK_MAX: usize = 256;

impl Broker {
    /// Keeps a message until it is due, if it may come in.
    #[cold]
    pub(super) fn publish_later(
        &self,
        submission: Submission<'_>,
        identity: &Arc<Identity>,
        turn: &mut Turn<'_>,
    ) -> Published {
        let draft = submission.draft;
        match self.delay(submission, identity, turn) {
            Err(LetIn::Not(refused)) => self.turn_away(draft, identity, refused, turn),
            Err(_) => unreachable!("nothing is retained before it is due"),
            Ok(published) => published,
        }
    }

    /// Keeps a message until it is due, if it may come in; otherwise nothing is changed.
    #[cold]
    fn delay(
        &self,
        submission: Submission<'_>,
        identity: &Arc<Identity>,
        turn: &mut Turn<'_>,
    ) -> Result<Published, LetIn> {
        if self.is_node() {
            let grounds = Grounds::new(RefusalKind::NotInCluster);
            let reason = Reason::ImplementationSpecificError;
            return Err(refuse(reason, Unrouted::Refused, grounds, turn));
        }
        let Ok(topic) = DelayedTopic::parse(submission.draft.topic.as_str()) else {
            let grounds = Grounds::new(RefusalKind::PublishDelayed);
            return Err(refuse(Reason::TopicNameInvalid, Unrouted::Refused, grounds, turn));
        };
        let draft = &Draft { topic: topic.target(), ..submission.draft.clone() };
        let bytes = draft.bytes(identity);
        let is_will = matches!(submission.publisher, Publisher::Will(_));
        self.may_come(&submission, draft, bytes, turn)?;
        if let Err(grounds) = self.room_to_delay(topic.span(), draft, identity, bytes) {
            return Err(refuse(Reason::QuotaExceeded, Unrouted::Refused, grounds, turn));
        }
        if !is_will && let Err(reason) = self.admit_kept(bytes, turn) {
            return Err(no_room(reason, turn));
        }
        let keep = |with, turn: &mut Turn<'_>| {
            let message = draft.into_message(identity, turn.now);
            let delayed = DelayedMessage { message, network: identity.network() };
            let place = self.0.delays.next(turn.now.after(topic.span()));
            self.count_delayed(delayed.owner(), bytes, true);
            self.0.metrics.add(Counter::DelayedAccepted, 1);
            self.keep(place, delayed, with, turn)
        };
        let rules = turn.settings.dedup();
        let keyed = rules.and_then(|rules| self.keyed(rules, draft, identity, turn.now));
        Ok(match keyed {
            Some(keyed) => self.take_once(&keyed, draft.qos, submission.with, turn, keep),
            None => keep(submission.with, turn),
        })
    }

    fn keep(
        &self,
        place: DelayKey,
        delayed: DelayedMessage,
        with: Option<(SessionId, Op)>,
        turn: &mut Turn<'_>,
    ) -> Published {
        turn.batch.ops.extend(with);
        let stored = self.0.remembers;
        if stored {
            // It waits from when the store has been handed it.
            turn.batch.rare().delayed.push((place, Some(delayed)));
        } else {
            self.0.delays.add_whole(place, delayed);
        }
        Published::kept(stored)
    }

    /// Whether there is room for one more.
    fn room_to_delay(
        &self,
        span: Duration,
        draft: &Draft<'_>,
        identity: &Identity,
        bytes: usize,
    ) -> Result<(), Grounds> {
        let max = self.0.delays.span_max();
        if span > max {
            return Err(Grounds::limit(RefusalKind::DelayedSpan, max.as_secs(), span.as_secs()));
        }
        let expires = draft.expiry.map(|seconds| Duration::from_secs(seconds.into()));
        if expires.is_some_and(|expires| expires <= span) {
            return Err(Grounds::new(RefusalKind::DelayedExpiry));
        }
        let owner = self.0.owners.of_client(identity);
        owner.room(Total::Delayed, 1)?;
        owner.room(Total::DelayedBytes, bytes as u64)
    }

    /// There is one more of this owner, or one less.
    fn count_delayed(&self, owner: OwnerName, bytes: usize, more: bool) {
        let owner = self.0.owners.of(owner);
        for (total, amount) in [(Total::Delayed, 1), (Total::DelayedBytes, bytes as u64)] {
            let (before, now) = if more { (0, amount) } else { (amount, 0) };
            owner.change(total, before, now);
        }
    }

    /// One that the store remembers.
    pub(super) fn restore_delayed(&self, place: DelayKey, owner: OwnerName, bytes: usize) {
        self.count_delayed(owner, bytes, true);
        self.0.metrics.add(Counter::DelayedAccepted, 1);
        self.0.delays.restore(place);
    }

    /// Publishes what is due, as much as one tick may. Returns when it is next needed.
    pub(super) fn tick_delayed(&self, turn: &mut Turn<'_>) -> Option<Time> {
        let (now, delays) = (turn.now, &self.0.delays);
        let unread = delays.take_in(now);
        for place in &unread {
            error!(%place, "a delayed message cannot be read from the store: it is not published");
        }
        self.0.metrics.add(Counter::DelayedRefused, unread.len() as u64);
        for _ in 0..TICK_MAX {
            if turn.work.is_enough() {
                break;
            }
            let Some((place, delayed)) = delays.take_due(now) else { break };
            self.publish_delayed(place, &delayed, turn);
        }
        self.read_ahead(delays, now);
        delays.deadline(now)
    }

    fn read_ahead(&self, delays: &Delays, now: Time) {
        let all = self.0.owners.all();
        let average = all.amount(Total::DelayedBytes) / all.amount(Total::Delayed).max(1);
        let wanted = delays.wanted(now, average);
        if !wanted.is_empty() {
            // A tick comes by itself: there is nothing to wake.
            let shared = &*self.0;
            delays.asked(shared.ports.store.fetch_delayed(wanted, shared.meter, Waker::noop()));
        }
    }

    fn publish_delayed(&self, place: DelayKey, delayed: &DelayedMessage, turn: &mut Turn<'_>) {
        self.end_delayed(place, delayed, turn);
        let message = &delayed.message;
        let identity = self.publisher_of(delayed);
        let draft = message.draft();
        let publisher = Publisher::Delayed(&identity, message.received);
        let refused = {
            let submission = Submission::new(&draft, publisher);
            self.publish_untold(submission, &identity, "a delayed message", turn)
        };
        let counter = if refused { Counter::DelayedRefused } else { Counter::DelayedPublished };
        self.0.metrics.add(counter, 1);
    }

    /// It waits no more: in the store so from the end of this turn.
    fn end_delayed(&self, place: DelayKey, delayed: &DelayedMessage, turn: &mut Turn<'_>) {
        self.count_delayed(delayed.owner(), delayed.message.bytes(), false);
        if self.0.remembers {
            turn.batch.rare().delayed.push((place, None));
        }
    }

    /// Its publisher: as the Session is known now, or else as the message says.
    fn publisher_of(&self, delayed: &DelayedMessage) -> Arc<Identity> {
        let client_id = ClientId::new(delayed.message.publisher());
        let named = self.0.ports.authenticator.checks_names();
        let user = delayed.message.user_name().filter(|_| named);
        let known = self.0.registry.mailbox(&client_id);
        let known = known.and_then(|(mailbox, _)| mailbox.owner().identity().cloned());
        known.filter(|known| known.user_name.as_deref() == user).unwrap_or_else(|| {
            let identity = Identity::new(client_id, user.map(Into::into), self.0.meter);
            Arc::new(identity.at(delayed.network))
        })
    }

    /// Looks at up to `max` delayed messages behind `after`, in the order in which they are due. `waker` is
    /// woken when those are there that only the store has.
    pub fn look_at_delayed(
        &self,
        after: Option<DelayKey>,
        max: usize,
        waker: &Waker,
    ) -> DelayedLook {
        let found = self.0.delays.page(after, max);
        let cold = found.iter().filter(|(_, message)| message.is_none());
        let cold: Vec<_> = cold.map(|(place, _)| *place).collect();
        let store = &self.0.ports.store;
        let fetch = (!cold.is_empty()).then(|| store.fetch_delayed(cold, self.0.meter, waker));
        DelayedLook { found, fetch }
    }

    /// Cancels a delayed message that was looked at; `None` if it waits no more. Otherwise it is gone for good
    /// when the receipt, if there is one, is durable.
    pub fn cancel_delayed(
        &self,
        place: DelayKey,
        delayed: &DelayedMessage,
        now: Time,
        scratch: &mut Scratch,
    ) -> Option<Option<Receipt>> {
        if !self.0.delays.take_out(place) {
            return None;
        }
        let mut turn = self.turn(scratch, now);
        self.end_delayed(place, delayed, &mut turn);
        self.0.metrics.add(Counter::DelayedCancelled, 1);
        Some(turn.finish())
    }
}

impl DelayedLook {
    /// The messages, once they are there, in order. What was published meanwhile, or cannot be read, is missing.
    pub fn poll(&mut self) -> Poll<Vec<(DelayKey, Option<DelayedMessage>)>> {
        if let Some(fetch) = &self.fetch {
            let read = match fetch.take() {
                Some(read) => read,
                None if fetch.has_failed() => Vec::new(),
                None => return Poll::Pending,
            };
            // In the order of the question.
            let cold = self.found.iter_mut().filter(|(_, message)| message.is_none());
            for ((_, message), (_, found)) in cold.zip(read) {
                *message = found;
            }
            self.fetch = None;
        }
        Poll::Ready(std::mem::take(&mut self.found))
    }
}
