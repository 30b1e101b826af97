//! The members of a group of Shared Subscriptions.

use std::collections::VecDeque;
use std::task::Waker;

use super::lanes::{ConnectedMember, Lanes, MemberRoom};
use super::turns::Turns;
use crate::codec::QoS;
use crate::config::Sharing;
use crate::message::{ClientId, Message, MessageMark, SessionId};
use crate::session::Asked;
use crate::topic::TextHash;

/// A member's wishes when it pulls from its group.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its Session.
    pub session: SessionId,
    /// What it was granted.
    pub qos: QoS,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Its Subscription Identifier, 0 for none.
    pub id: u32,
}

/// A member that pulls, and what it may have.
#[derive(Clone, Copy)]
pub struct Puller<'a> {
    /// The member.
    pub member: &'a Member,
    /// Whether it may receive a message: asked before the copy is taken, so that it stays for the others.
    pub may: &'a dyn Fn(&Message) -> bool,
}

impl Member {
    /// Pulls whatever waits.
    pub fn unrestricted(&self) -> Puller<'_> {
        Puller { member: self, may: &|_| true }
    }

    /// What it asks to be allowed if it is to be sent `message` of its group.
    pub fn asks<'a>(&self, message: &'a Message) -> Asked<'a> {
        Asked::Receive {
            topic: message.topic(),
            qos: message.qos.min(self.qos),
            retain: message.retain && self.retain_as_published,
            bytes: message.payload().len(),
        }
    }
}

/// The members of a group that are connected.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// In the order in which they came.
    connected: Vec<ConnectedMember>,
    /// How they share.
    sharing: Sharing,
    /// What is known of lanes, where they share by lanes.
    lanes: Option<Box<Lanes>>,
    /// Of the next lanes: copies in flight know the lanes that they are of.
    era: u16,
    /// Which of them has the turn, where they take turns.
    turns: Option<Box<Turns>>,
    /// In the order of their waiting.
    waiting: VecDeque<WaitingMember>,
    /// The first copy, by its arrival, and the members that may not have it.
    barred: Option<(u64, Vec<SessionId>)>,
    /// Copies that a member has completed after its time, while they were with another one.
    pub late: VecDeque<MessageMark>,
}

/// A member that has seen that there is nothing for it.
#[derive(Debug)]
struct WaitingMember {
    session: SessionId,
    waker: Waker,
    /// Its window is full: only `QoS` 0 is of use to it.
    qos0_only: bool,
}

impl WaitingMember {
    /// A copy of `qos` is of use to it.
    fn fits(&self, qos: QoS) -> bool {
        qos == QoS::AtMostOnce || !self.qos0_only
    }
}

impl Members {
    /// A member waits, in the place that it has or behind all others.
    pub fn wait(&mut self, session: SessionId, waker: &Waker, qos0_only: bool) {
        match self.waiting.iter_mut().find(|waiting| waiting.session == session) {
            Some(waiting) => {
                waiting.qos0_only = qos0_only;
                waiting.waker.clone_from(waker);
            }
            None => {
                self.waiting.push_back(WaitingMember { session, waker: waker.clone(), qos0_only });
            }
        }
    }

    /// A member waits no longer.
    pub fn forget(&mut self, session: SessionId) {
        self.waiting.retain(|waiting| waiting.session != session);
    }

    /// The member may not have the first copy. Returns whether no connected member may: then it is to be
    /// taken all the same, and lost.
    pub fn bar(&mut self, session: SessionId, arrival: u64) -> bool {
        let (first, members) = self.barred.get_or_insert_with(|| (arrival, Vec::new()));
        if *first != arrival {
            (*first, *members) = (arrival, Vec::new());
        }
        if !members.contains(&session) {
            members.push(session);
        }
        members.len() >= self.connected.len()
    }

    /// The first waiting member that may have the first copy, as far as is known, and has a slot of its
    /// window if the copy needs one: it waits no longer. A member without a slot is not woken: it would
    /// pass the wake back, and looks by itself when its window opens.
    pub fn next_not_barred(&mut self, needs_slot: bool) -> Option<Waker> {
        let (_, members) = self.barred.as_ref()?;
        let fits = |waiting: &WaitingMember| {
            let takes = !needs_slot || !waiting.qos0_only;
            takes && !members.contains(&waiting.session)
        };
        let index = self.waiting.iter().position(fits)?;
        self.waiting.remove(index).map(|waiting| waiting.waker)
    }

    /// The first waiting member but `last` that has a slot of its window: it waits no longer.
    pub fn next_but(&mut self, last: Option<SessionId>) -> Option<Waker> {
        let fits = |waiting: &WaitingMember| !waiting.qos0_only && Some(waiting.session) != last;
        let index = self.waiting.iter().position(fits)?;
        self.waiting.remove(index).map(|waiting| waiting.waker)
    }

    /// Copies were taken: another one may be the first. Returns whether members were barred.
    pub fn unbar(&mut self) -> bool {
        self.barred.take().is_some()
    }

    /// Connected members.
    pub fn connected(&self) -> usize {
        self.connected.len()
    }

    /// Whether another member than `session` is connected.
    pub fn has_other(&self, session: SessionId) -> bool {
        self.connected.iter().any(|member| member.session != session)
    }

    /// A member has connected.
    pub fn connect(&mut self, session: SessionId, client_id: &ClientId) {
        self.connected.push(ConnectedMember {
            session,
            client_id: client_id.clone(),
            room: MemberRoom::default(),
        });
        if let Some(lanes) = &mut self.lanes {
            lanes.came(&self.connected);
        }
    }

    /// A member has left or lost its connection. Returns whether another one is connected.
    pub fn disconnect(&mut self, session: SessionId) -> bool {
        self.forget(session);
        if let Some(at) = self.place(session) {
            self.connected.remove(at);
            if let Some(turns) = &mut self.turns {
                turns.left(at);
            }
            if let Some(lanes) = &mut self.lanes {
                lanes.left(at, &self.connected);
            }
        }
        if let Some((_, members)) = &mut self.barred {
            members.retain(|member| *member != session);
        }
        !self.connected.is_empty()
    }

    /// The first waiting member for which a copy of `qos` is of use: it waits no longer.
    pub fn next(&mut self, qos: QoS) -> Option<Waker> {
        self.wake(|waiting| waiting.fits(qos))
    }

    /// The same; where they take turns, the one that has the turn, if one has it.
    pub fn next_in_turn(&mut self, qos: QoS) -> Option<Waker> {
        match self.turn_holder() {
            Some(holder) => self.next_of(holder, QoS::AtMostOnce),
            None => self.next(qos),
        }
    }

    /// The same of this member.
    pub fn next_of(&mut self, session: SessionId, qos: QoS) -> Option<Waker> {
        self.wake(|waiting| waiting.session == session && waiting.fits(qos))
    }

    /// They share so from now on, by this hash.
    pub fn share(&mut self, sharing: &Sharing, hash: &TextHash) {
        self.sharing = sharing.clone();
        let lanes = || Box::new(Lanes::new(sharing, hash, self.era, &self.connected));
        let strategy = sharing.strategy();
        self.lanes = strategy.has_lanes().then(lanes);
        self.era = self.era.wrapping_add(u16::from(self.lanes.is_some()));
        self.turns = strategy.has_turns().then(|| Box::new(Turns::new(strategy, hash)));
    }

    /// How they share.
    pub fn sharing(&self) -> &Sharing {
        &self.sharing
    }

    /// How many lanes each owns, where they share by lanes.
    pub fn owned_lanes(&self) -> Vec<(ClientId, u16)> {
        let Some(lanes) = &self.lanes else { return Vec::new() };
        let owned = lanes.owned(self.connected.len());
        self.connected.iter().map(|member| member.client_id.clone()).zip(owned).collect()
    }

    /// The member at a place among those that are connected.
    pub fn client_at(&self, place: usize) -> Option<ClientId> {
        self.connected.get(place).map(|member| member.client_id.clone())
    }

    /// What is known of lanes, where they share by lanes.
    pub fn lanes(&self) -> Option<&Lanes> {
        self.lanes.as_deref()
    }

    /// The same, to change it.
    pub fn lanes_mut(&mut self) -> Option<&mut Lanes> {
        self.lanes.as_deref_mut()
    }

    /// The place of a Session among those that are connected.
    pub fn place(&self, session: SessionId) -> Option<usize> {
        self.connected.iter().position(|member| member.session == session)
    }

    /// All waiting members: they wait no longer.
    pub fn wake_all(&mut self) -> Vec<Waker> {
        self.waiting.drain(..).map(|waiting| waiting.waker).collect()
    }

    /// Those that are connected, and what is known of lanes.
    pub fn with_lanes(&mut self) -> Option<(&[ConnectedMember], &mut Lanes)> {
        Some((&self.connected, self.lanes.as_deref_mut()?))
    }

    /// Which of them has the turn, where they take turns.
    pub fn turns(&self) -> Option<&Turns> {
        self.turns.as_deref()
    }

    /// What a member can take now: it is its turn, if no member has it that can take.
    pub fn note_room(&mut self, session: SessionId, room: MemberRoom) {
        let Some(place) = self.place(session) else { return };
        self.connected[place].room = room;
        if let Some(turns) = &mut self.turns {
            turns.claim(place, &self.connected);
        }
    }

    /// The member that has the turn.
    pub fn turn_holder(&self) -> Option<SessionId> {
        let holder = self.turns.as_ref()?.holder()?;
        self.connected.get(holder).map(|member| member.session)
    }

    /// The turn goes on to a member that can take and may have the first copy, as far as is known.
    /// `has_qos0`: copies of `QoS` 0 wait, which need no slot of a window.
    pub fn pass_turn(&mut self, has_qos0: bool) {
        let Some(turns) = &mut self.turns else { return };
        let barred = self.barred.as_ref().map_or(&[][..], |(_, members)| members);
        let may = |member: &ConnectedMember| !barred.contains(&member.session);
        turns.pass(&self.connected, |m| m.room == MemberRoom::All && may(m));
        if turns.holder().is_none() && has_qos0 {
            turns.pass(&self.connected, |m| m.room == MemberRoom::Qos0 && may(m));
        }
    }

    /// The first waiting member that fits: it waits no longer.
    fn wake(&mut self, fits: impl Fn(&WaitingMember) -> bool) -> Option<Waker> {
        let index = self.waiting.iter().position(fits)?;
        self.waiting.remove(index).map(|waiting| waiting.waker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Strategy;

    /// What is in flight since before is not of the lanes that come after a time without lanes.
    #[test]
    fn lanes_that_come_back_are_others() {
        let (mut members, hash) = (Members::default(), TextHash::new(1));
        let mut eras = Vec::new();
        for strategy in [Strategy::Hash, Strategy::LeastInflight, Strategy::Hash, Strategy::Sticky]
        {
            members.share(&Sharing::new(strategy, None), &hash);
            eras.extend(members.lanes().map(Lanes::era));
        }
        assert_eq!(eras, [0, 1, 2]);
    }
}
