//! Messages of named queues that a consumer has failed: each is tried again after a while, as often as the queue
//! says; then it is lost, and has a dead letter.

use std::collections::BTreeMap;

use super::Broker;
use super::dropped::Tries;
use super::failed_copy::FailedCopy;
use super::mailbox::{Late, Mailbox};
use super::metrics::Counter;
use super::turn::Turn;
use crate::codec::{QoS, Reason};
use crate::message::{Attempt, Delivery, GroupId, Lane, Loss, Message, MessageMark};
use crate::session::{CopyEnd, EndedCopy};
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;
use crate::topic::spread;

/// When what waits for another attempt is to be looked at.
#[derive(Debug)]
pub(super) struct Retries {
    /// Spreads the attempts: strangers must not guess when they come.
    seed: u64,
    /// The first moment of each queue that has such messages.
    due: Mutex<BTreeMap<GroupId, Time>>,
}

/// What comes of a copy of a group that a member did not complete.
pub(super) enum Judged {
    /// It waits for another attempt.
    Again,
    /// Another member has completed it, after its time.
    Completed,
    /// It is lost.
    Over(Loss, Option<Box<Tries>>),
}

/// Messages of one queue, and queues, that are looked at in one tick.
const TICK_MAX: usize = 256;

impl Retries {
    pub fn new(seed: u64) -> Retries {
        Retries { seed, due: Mutex::default() }
    }

    /// A queue has a message that may be tried at `due`.
    fn note(&self, queue: GroupId, due: Time) {
        self.lock().entry(queue).and_modify(|first| *first = due.min(*first)).or_insert(due);
    }

    /// A number that looks drawn, the same for the same attempt.
    fn draw(&self, delivery: &Delivery, attempts: u16) -> u32 {
        let message = &delivery.message;
        let number = message.mid().map_or(0, |mid| mid.get());
        let mixed = spread(self.seed ^ message.received.as_nanos()).wrapping_add(number);
        (spread(mixed ^ u64::from(attempts) << 48) >> 32) as u32
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GroupId, Time>> {
        whole(self.due.lock())
    }
}

impl Broker {
    /// A member of the group of `queue` did not complete a copy: what comes of it, if it is a named queue. `own`
    /// is the member's mailbox.
    pub(super) fn judge(
        &self,
        (own, queue): (&Mailbox, &Mailbox),
        copy: &EndedCopy<'_>,
        (end, loss): (CopyEnd, Loss),
        turn: &mut Turn<'_>,
    ) -> Judged {
        let (Some(retry), Some(delivery)) = (queue.retry(), copy.delivery()) else {
            return Judged::Over(loss, None);
        };
        let (reason, why) = match end {
            CopyEnd::Refused(reason) => (reason, reason.name()),
            CopyEnd::Unanswered => (Reason::Success, "connection ended"),
            CopyEnd::TimedOut => {
                self.0.metrics.add(Counter::GivenAway, 1);
                (Reason::Success, "no answer in time")
            }
            // It may have had it: another consumer must not get it [MQTT5-4.8.2-5].
            CopyEnd::Lost(Loss::SessionEnded | Loss::TakenClean)
                if delivery.qos == QoS::ExactlyOnce =>
            {
                (Reason::Success, "session ended")
            }
            CopyEnd::Lost(_) | CopyEnd::Completed => return Judged::Over(loss, None),
        };
        if queue.was_completed(&delivery.message) {
            return Judged::Completed;
        }
        let attempts = delivery.message.attempts.saturating_add(1);
        let is_last = attempts >= retry.attempts_max || matches!(end, CopyEnd::Lost(_));
        if !is_last {
            let wait = retry.backoff.after(attempts, self.0.retries.draw(delivery, attempts));
            let due = turn.now.after(wait);
            self.try_again((own, queue), delivery, (attempts, due, reason), turn);
            return Judged::Again;
        }
        let consumer = own.owner().name();
        Judged::Over(Loss::Attempts, Some(Box::new(Tries { attempts, consumer, reason: why })))
    }

    /// A member had not answered in time, and says now that it has completed the message.
    pub(super) fn complete_late(&self, queue: GroupId, message: MessageMark, turn: &mut Turn<'_>) {
        self.0.metrics.add(Counter::CompletedLate, 1);
        let Some(mailbox) = self.0.router.group(queue) else { return };
        if mailbox.complete_late(message, &mut turn.wakers) == Late::Ended {
            turn.tally.add(Counter::Completed, 1);
            turn.batch.settled.extend(message.mid().map(|mid| (mailbox.receiver(), mid)));
        }
    }

    /// Keeps a copy for another attempt, in the store and then in memory.
    fn try_again(
        &self,
        (own, queue): (&Mailbox, &Mailbox),
        delivery: &Delivery,
        (attempts, due, reason): (u16, Time, Reason),
        turn: &mut Turn<'_>,
    ) {
        let last = own.owner().session().unwrap_or_default();
        let receiver = queue.receiver();
        if let Some(mid) = delivery.mid() {
            turn.batch.rare().attempts.push(Attempt { receiver, mid, attempts, due, last, reason });
        }
        let queue = delivery.group.unwrap_or_default();
        let delivery = Delivery { message: delivery.message.tried(attempts), ..delivery.clone() };
        turn.failed.push(FailedCopy { queue, delivery, due, last });
    }

    /// Copies that have failed in this turn wait in their queues: the store has their attempts.
    #[cold]
    pub(super) fn postpone_failed(&self, turn: &mut Turn<'_>) {
        for copy in std::mem::take(&mut turn.failed) {
            let FailedCopy { queue, delivery, due, last } = copy;
            let mailbox = self.0.router.group(queue);
            let kept = mailbox.is_some_and(|mailbox| {
                let copy = (delivery.message.clone(), delivery.stored);
                mailbox.postpone(copy, delivery.lane, (due, last), &mut turn.wakers)
            });
            if kept {
                self.0.metrics.add(Counter::Retried, 1);
                self.0.retries.note(queue, due);
            } else {
                self.lose_returned(queue, &[delivery], turn);
            }
        }
        let batch = std::mem::take(&mut turn.batch);
        if !batch.is_empty() {
            self.0.ports.store.submit(batch);
        }
    }

    /// At a start: a copy that was to be tried again is.
    pub(super) fn restore_attempt(&self, queue: &Mailbox, message: &Message, attempt: &Attempt) {
        queue.count_routed(1);
        let copy = (message.tried(attempt.attempts), true);
        let when = (attempt.due, attempt.last);
        queue.postpone(copy, Lane::NONE, when, &mut Vec::new());
        if let Some(group) = queue.owner().group() {
            self.0.retries.note(group, attempt.due);
        }
    }

    /// Messages that are due wait for a consumer from now on. Returns when this is next needed.
    pub(super) fn tick_retries(&self, turn: &mut Turn<'_>) -> Option<Time> {
        let now = turn.now;
        let ripe: Vec<GroupId> = {
            let mut due = self.0.retries.lock();
            let ripe = due.iter().filter(|(_, first)| **first <= now).map(|(id, _)| *id);
            let ripe: Vec<_> = ripe.take(TICK_MAX).collect();
            ripe.iter().for_each(|id| {
                due.remove(id);
            });
            ripe
        };
        for id in ripe {
            let Some(queue) = self.0.router.group(id) else { continue };
            if let Some(next) = queue.ripen(now, TICK_MAX, &mut turn.wakers) {
                self.0.retries.note(id, next);
            }
        }
        self.0.retries.lock().values().min().copied()
    }
}
