//! What the mailbox of a named queue keeps for another attempt.

use std::task::Waker;

use super::Mailbox;
use super::copy::{Copy, ORDINARY};
use super::inner::Inner;
use super::lanes::Lanes;
use crate::codec::QoS;
use crate::config::Retry;
use crate::message::{Lane, Message, MessageMark, SessionId, SubscriptionIds};
use crate::session::EndedCopy;
use crate::time::Time;

/// What a late answer of success has done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Late {
    /// The copy has ended.
    Ended,
    /// The copy is with another consumer, or has ended before.
    UnderWay,
}

/// Late answers that are remembered for each queue.
const LATE_MAX: usize = 64;

impl Mailbox {
    /// How often its messages are tried; `None` if it is no named queue's.
    pub fn retry(&self) -> Option<Retry> {
        let is_queue = self.owner.is_queue();
        is_queue.then(|| self.look().rules().map_or_else(Retry::default, |rules| rules.retry()))
    }

    /// Keeps a copy that has failed until `due`: `message` says how often it was tried, `last` is the consumer
    /// that has failed, `stored` whether the store has the copy. What comes after it in its `lane` goes on. Wakers of
    /// members that can take that, to be woken with no lock held, are added to `wakers`. `false`: the queue is no
    /// more.
    pub fn postpone(
        &self,
        (message, stored): (Message, bool),
        lane: Lane,
        (due, last): (Time, SessionId),
        wakers: &mut Vec<Waker>,
    ) -> bool {
        let inner = &mut *self.lock();
        if inner.closed.is_some() {
            return false;
        }
        let before = inner.counted();
        let (qos, ids) = (message.qos, SubscriptionIds::default());
        let copy = Copy { message, qos, retain: false, ids, stored, band: ORDINARY };
        let held_up = inner.held_up_by(&copy.message);
        inner.waiting.postpone(copy, (due, last), held_up);
        if lane != Lane::NONE {
            wakers.extend(inner.end_flight(lane));
        }
        inner.count_for(&self.owner, before);
        true
    }

    /// Copies that are due, at most `max`, wait for a member from now on: where lanes or turns say which member
    /// takes what, at the head of what waits. Wakers of members that can take them, to be woken with no lock held,
    /// are added to `wakers`. Returns when there is more to do.
    pub fn ripen(&self, now: Time, max: usize, wakers: &mut Vec<Waker>) -> Option<Time> {
        let inner = &mut *self.lock();
        let Inner { waiting, rare, .. } = &mut *inner;
        let members = rare.get_or_insert_default().members.get_or_insert_default();
        let in_lanes = members.lanes().is_some();
        if members.lanes().map_or(members.turns().is_none(), Lanes::blocks) {
            let next = waiting.ripen(now, max, members, wakers);
            if in_lanes {
                inner.wake_owners(wakers);
            }
            return next;
        }
        let (ripe, next) = waiting.take_ripe(now, max);
        inner.put_ripe(ripe, wakers);
        next
    }

    /// Whether another member than `session` can have a copy of this lane.
    pub fn has_other(&self, session: SessionId, lane: Lane) -> bool {
        let inner = &mut *self.look();
        let members = inner.members();
        if let Some((connected, lanes)) = members.with_lanes()
            && let Some(number) = lane.of_era(lanes.era())
        {
            let owner = lanes.owner(number, connected).map(|owner| connected[owner].session);
            return owner.is_some_and(|owner| owner != session);
        }
        members.has_other(session)
    }

    /// A consumer that had not answered in time has completed a copy after all. If it waits for another attempt it
    /// is taken out, and has ended; else it has ended when the attempt under way fails. Wakers to be woken with no
    /// lock held are added to `wakers`.
    pub fn complete_late(&self, message: MessageMark, wakers: &mut Vec<Waker>) -> Late {
        let inner = &mut *self.lock();
        let before = inner.counted();
        if inner.waiting.remove_tried(message) {
            inner.completed[1] += 1;
            // What it held up goes on.
            inner.wake_owners(wakers);
            inner.count_for(&self.owner, before);
            if let Some(rules) = inner.rules() {
                inner.release_paused(rules.queue(), wakers);
            }
            return Late::Ended;
        }
        let late = &mut inner.members().late;
        if late.len() >= LATE_MAX {
            late.pop_front();
        }
        late.push_back(message);
        Late::UnderWay
    }

    /// Whether a consumer that had not answered in time has completed a copy since.
    pub fn was_completed(&self, message: &Message) -> bool {
        let inner = self.look();
        let late = inner.group_members().map(|members| &members.late);
        late.is_some_and(|late| !late.is_empty() && late.contains(&MessageMark::of(message)))
    }

    /// Copies that have failed, among those that wait.
    pub fn postponed(&self) -> usize {
        self.look().waiting.tried_count()
    }
}

impl Inner {
    /// The lane that a copy holds up while it waits for another attempt.
    fn held_up_by(&self, message: &Message) -> Option<u16> {
        let lanes = self.group_members()?.lanes().filter(|lanes| lanes.blocks())?;
        Some(lanes.number_of(message))
    }

    /// Copies that are due wait at the head of what waits: of their lanes, where there are lanes.
    pub fn put_ripe(&mut self, ripe: Vec<Copy>, wakers: &mut Vec<Waker>) {
        for copy in ripe.into_iter().rev() {
            if let Err(copy) = self.give_back_to_lane(copy, Lane::NONE) {
                self.waiting.push_front(copy);
                wakers.extend(self.whom_to_wake(QoS::AtLeastOnce));
            }
        }
        self.wake_owners(wakers);
    }

    /// A copy has ended: that it was completed late is of no interest any more.
    #[inline]
    pub fn forget_late(&mut self, copy: &EndedCopy<'_>) {
        let members = self.rare.as_mut().and_then(|rare| rare.members.as_mut());
        let Some(members) = members.filter(|members| !members.late.is_empty()) else { return };
        let known = copy.delivery().map(|delivery| MessageMark::of(&delivery.message));
        let mark = known.or_else(|| copy.mid().map(MessageMark::Stored));
        members.late.retain(|late| Some(*late) != mark);
    }
}
