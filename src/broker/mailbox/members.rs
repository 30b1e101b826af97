//! The members of a group of Shared Subscriptions.

use std::collections::VecDeque;
use std::task::Waker;

use crate::codec::QoS;
use crate::message::{Message, SessionId};
use crate::session::Asked;

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
    connected: u32,
    /// In the order of their waiting.
    waiting: VecDeque<WaitingMember>,
    /// The first copy, by its arrival, and the members that may not have it.
    barred: Option<(u64, Vec<SessionId>)>,
}

/// A member that has seen that there is nothing for it.
#[derive(Debug)]
struct WaitingMember {
    session: SessionId,
    waker: Waker,
    /// Its window is full: only `QoS` 0 is of use to it.
    qos0_only: bool,
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
        members.len() >= self.connected as usize
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

    /// Copies were taken: another one may be the first. Returns whether members were barred.
    pub fn unbar(&mut self) -> bool {
        self.barred.take().is_some()
    }

    /// Connected members.
    pub fn connected(&self) -> u32 {
        self.connected
    }

    /// A member has connected.
    pub fn connect(&mut self) {
        self.connected += 1;
    }

    /// A member has left or lost its connection. Returns whether another one is connected.
    pub fn disconnect(&mut self, session: SessionId) -> bool {
        self.connected = self.connected.saturating_sub(1);
        self.forget(session);
        if let Some((_, members)) = &mut self.barred {
            members.retain(|member| *member != session);
        }
        self.connected > 0
    }

    /// The first waiting member for which a copy of `qos` is of use: it waits no longer.
    pub fn next(&mut self, qos: QoS) -> Option<Waker> {
        let fits = |waiting: &WaitingMember| qos == QoS::AtMostOnce || !waiting.qos0_only;
        let index = self.waiting.iter().position(fits)?;
        self.waiting.remove(index).map(|waiting| waiting.waker)
    }
}
