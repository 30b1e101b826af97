//! The members of a group share by lanes: see [`Lanes`](super::lanes::Lanes).

use std::task::Waker;

use super::group::{SHARE_MAX, delivery_to, qos12_of};
use super::inner::Inner;
use super::members::{Member, Members};
use super::overflow::Full;
use super::waiting::{Drained, Limits, Waiting};
use super::{Ask, Copy, Mailbox, Notices, Taken};
use crate::codec::QoS;
use crate::config::{QueuePolicy, Sharing, Strategy};
use crate::message::{ClientId, Delivery, GroupId, Lane, SessionId};
use crate::session::Room;
use crate::time::Time;
use crate::topic::{TextHash, TopicName};

/// Which member of a group has messages of a topic.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LaneFor {
    /// Any that is connected.
    Any,
    /// This one.
    Member(ClientId),
    /// What else is known of the message says it.
    Depends,
}

impl Mailbox {
    /// The members of the group share so from now on, also what waits. Returns the wakers of members that may
    /// have something to take, to be woken with no lock held.
    pub fn set_sharing(&self, sharing: &Sharing, hash: &TextHash) -> Vec<Waker> {
        let inner = &mut *self.lock();
        let is_new = match inner.group_members() {
            None => *sharing != Sharing::default(),
            Some(members) => members.sharing() != sharing,
        };
        if !is_new {
            return Vec::new();
        }
        inner.members().share(sharing, hash);
        inner.waiting.gather();
        inner.place_tried();
        inner.members().wake_all()
    }

    /// How the members of the group share, and how many lanes each connected one owns, where they share by lanes.
    /// Looking changes nothing.
    pub fn sharing(&self) -> (Strategy, Vec<(ClientId, u16)>) {
        let inner = self.look();
        let Some(members) = inner.group_members() else { return Default::default() };
        (members.sharing().strategy(), members.owned_lanes())
    }

    /// Which member has messages of this topic, as far as the topic says that. Looking changes nothing.
    pub fn lane_for(&self, topic: TopicName<'_>) -> LaneFor {
        let inner = self.look();
        let Some(members) = inner.group_members() else { return LaneFor::Any };
        match members.lanes() {
            Some(lanes) => match lanes.owner_by_topic(topic) {
                Some(Some(place)) => members.client_at(place).map_or(LaneFor::Any, LaneFor::Member),
                Some(None) => LaneFor::Any,
                None => LaneFor::Depends,
            },
            None => LaneFor::Any,
        }
    }

    /// What a member has not acknowledged when its connection ends is given back: another member can take it,
    /// or a lane would wait for it.
    pub fn takes_back(&self) -> bool {
        let inner = self.look();
        inner
            .group_members()
            .is_some_and(|members| members.connected() > 0 || members.lanes().is_some())
    }

    /// A copy that came from this lane has reached its client. Returns the waker of another member that now has
    /// the lane.
    pub fn free_lane(&self, lane: Lane) -> Option<Waker> {
        self.look().end_flight(lane)
    }

    /// A message was in flight to this Session when the broker stopped, and is still: it is counted as routed.
    pub fn restore_flight(&self, session: SessionId, delivery: &mut Delivery) {
        let inner = &mut *self.look();
        inner.routed[1] += 1;
        let members = inner.rare.as_mut().and_then(|rare| rare.members.as_mut());
        if let Some(lanes) = members.and_then(|members| members.lanes_mut()) {
            delivery.lane = lanes.fly_again(&delivery.message, session);
        }
    }
}

impl Inner {
    /// The owner of lanes takes its share of what waits there, as [`Mailbox::take_shared`] does.
    pub fn take_own(
        &mut self,
        member: &Member,
        ask: &Ask<'_>,
        group: Option<GroupId>,
        out: &mut Vec<Delivery>,
        wakers: &mut Vec<Waker>,
    ) -> Taken {
        let session = member.session;
        self.members().forget(session);
        if self.sort() {
            self.wake_owners(wakers);
        }
        let window = if member.qos == QoS::AtMostOnce { usize::MAX } else { ask.room.window };
        let room = Room { window, ..ask.room };
        let limits = Limits { room, max: SHARE_MAX.min(ask.max), share: 0 };
        let (before, mut taken) = (out.len(), Vec::new());
        let deliver = |copy: Copy| delivery_to(member, copy, group);
        let (tried, limits) = self.try_own(member, limits, out, deliver);
        let tried_end = out.len();
        let (waiting, members) = self.shared_parts();
        let place = members.place(session);
        let Some(lanes) = members.lanes_mut() else { return Taken::default() };
        let may = |lane| place.is_some_and(|place| lanes.lets(lane, place, session));
        let mut drained = waiting.take_from_lanes(limits, (out, &mut taken), may, deliver);
        for (delivery, lane) in out[tried_end..].iter_mut().zip(taken) {
            if delivery.qos > QoS::AtMostOnce {
                delivery.lane = lanes.fly(lane, session);
            }
        }
        drained.more |= tried.more;
        let is_held_up = lanes.count() == 1 && waiting.holds_up(0);
        self.note_taken(drained.copies + tried.copies);
        self.release_paused(ask.queue, wakers);
        if ask.room.bytes == 0 && drained.more {
            // It looks again when it can write.
            return Taken::new(drained.more, Notices::default(), false);
        }
        let qos0_only = window <= qos12_of(&out[before..]);
        self.members().wait(session, ask.waker, qos0_only);
        // What is held up can wait in the store.
        let cold = window > 0 && !drained.more && !is_held_up && self.waiting.first_is_cold();
        Taken::new(drained.more, Notices::default(), cold)
    }

    /// Whether a copy that comes now goes to a lane: the members share by lanes, and one is there.
    #[inline]
    pub fn has_lanes(&self) -> bool {
        let members = self.rare.as_ref().and_then(|rare| rare.members.as_ref());
        members.is_some_and(|members| self.attached && members.lanes().is_some())
    }

    /// Puts a copy into its lane, as the policy of its queue says. The waker of its owner is added to `wakers`, and
    /// those of owners of lanes that nothing holds up any more.
    #[cold]
    pub fn put_in_lane(&mut self, copy: Copy, full: &mut Full<'_>, wakers: &mut Vec<Waker>) {
        wakers.extend(self.put_behind(copy));
        if full.queue.policy == QueuePolicy::DropOldest {
            self.trim(full);
        }
        if self.waiting.were_freed() {
            self.wake_owners(wakers);
        }
    }

    /// Puts a copy into its lane. Returns the waker of its owner.
    fn put_behind(&mut self, copy: Copy) -> Option<Waker> {
        let (waiting, members) = self.shared_parts();
        let lanes = members.lanes()?;
        let (lane, qos) = (lanes.number_of(&copy.message), copy.qos);
        if waiting.is_sorted() {
            waiting.push_to_lane(copy, lane);
            return self.owner_to_wake(lane, qos);
        }
        // Whoever takes next puts all of it into lanes, and wakes their owners.
        waiting.push_back(copy, true);
        self.members().next(qos)
    }

    /// Puts back what a member has not acknowledged, where it waited. Returns the copy where there are no lanes.
    pub fn give_back_to_lane(&mut self, copy: Copy, from: Lane) -> Result<(), Copy> {
        let attached = self.attached;
        let (waiting, members) = self.shared_parts();
        let Some(lanes) = members.lanes_mut() else { return Err(copy) };
        lanes.land(from);
        let lane = lanes.number_of(&copy.message);
        if lanes.blocks() && (copy.message.attempts > 0 || waiting.holds_up(lane)) {
            waiting.push_tried(copy, lane);
            return Ok(());
        }
        if !attached {
            return Err(copy);
        }
        waiting.push_to_head(copy, lane);
        Ok(())
    }

    /// A copy is not in flight any more. Returns the waker of the lane's owner, if it had to wait for that.
    pub fn end_flight(&mut self, lane: Lane) -> Option<Waker> {
        let lanes = self.members().lanes_mut()?;
        let holder = lane.of_era(lanes.era()).and_then(|number| lanes.holder(number));
        let was_alone = lane.of_era(lanes.era()).is_some_and(|number| lanes.flies_alone(number));
        let number = lanes.land(lane)?;
        if was_alone || self.waiting.holds_up(number) {
            return self.owner_to_wake(number, QoS::AtLeastOnce);
        }
        let (members, lanes) = self.members().with_lanes()?;
        let owner = members.get(lanes.owner(number, members)?)?.session;
        if Some(owner) == holder { None } else { self.members().next_of(owner, QoS::AtLeastOnce) }
    }

    /// The owner of lanes takes what has failed and is due, where that holds up what comes after it: the first of
    /// each lane, alone. Returns what is left of `limits` too.
    fn try_own(
        &mut self,
        member: &Member,
        limits: Limits,
        out: &mut Vec<Delivery>,
        deliver: impl Fn(Copy) -> Delivery,
    ) -> (Drained, Limits) {
        let held_up = self.waiting.held_up();
        let (waiting, members) = self.shared_parts();
        let place = members.place(member.session);
        let Some((connected, lanes)) = members.with_lanes().filter(|_| !held_up.is_empty()) else {
            return (Drained::default(), limits);
        };
        for lane in held_up {
            // One that has no owner yet gets one.
            lanes.owner(lane, connected);
        }
        let before = out.len();
        let may = |lane| place.is_some_and(|place| lanes.lets_try(lane, place));
        let (mut drained, limits) = waiting.take_first_tried(limits, out, may, deliver);
        for delivery in &mut out[before..] {
            if delivery.qos > QoS::AtMostOnce {
                delivery.lane = lanes.fly_again(&delivery.message, member.session);
            }
        }
        // At QoS 0 it has ended, and the next of its lane can be taken.
        drained.more |= drained.copies > 0 && member.qos == QoS::AtMostOnce;
        (drained, limits)
    }

    /// Members share in another way: what has failed holds up its lane, is in it or waits beside it as that says.
    fn place_tried(&mut self) {
        let (waiting, members) = self.shared_parts();
        let lanes = members.lanes().filter(|lanes| lanes.blocks());
        waiting.hold_up(|message| lanes.map(|lanes| lanes.number_of(message)));
        if lanes.is_none() && (members.lanes().is_some() || members.turns().is_some()) {
            let (due, _) = waiting.take_ripe(Time::START, usize::MAX);
            self.put_ripe(due, &mut Vec::new());
        }
    }

    /// Wakes each member that owns a lane in which something waits that it may take.
    pub fn wake_owners(&mut self, wakers: &mut Vec<Waker>) {
        for lane in self.waiting.lanes() {
            wakers.extend(self.owner_to_wake(lane, QoS::AtLeastOnce));
        }
    }

    /// A member has left: others may own its lanes now.
    pub fn wake_heirs(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        self.wake_owners(&mut wakers);
        if !self.waiting.is_sorted() {
            // What the store has is fetched by any of them.
            wakers.extend(self.members().next(QoS::AtLeastOnce));
        }
        wakers
    }

    /// Moves what is in memory to its lane. Returns whether anything was moved.
    fn sort(&mut self) -> bool {
        let (waiting, members) = self.shared_parts();
        let Some(lanes) = members.lanes() else { return false };
        waiting.sort(|message| lanes.number_of(message))
    }

    fn owner_to_wake(&mut self, lane: u16, qos: QoS) -> Option<Waker> {
        let (held_up, due) = (self.waiting.holds_up(lane), self.waiting.has_due(lane));
        let (members, lanes) = self.members().with_lanes()?;
        let place = lanes.owner(lane, members)?;
        let owner = members[place].session;
        let lets = match held_up {
            true => due && lanes.lets_try(lane, place),
            false => lanes.lets(lane, place, owner),
        };
        if lets { self.members().next_of(owner, qos) } else { None }
    }

    pub fn shared_parts(&mut self) -> (&mut Waiting, &mut Members) {
        let rare = self.rare.get_or_insert_default();
        (&mut self.waiting, rare.members.get_or_insert_default())
    }
}
