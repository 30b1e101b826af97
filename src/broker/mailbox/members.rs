//! The members of a group of Shared Subscriptions.

use std::collections::VecDeque;
use std::task::Waker;

use crate::codec::QoS;
use crate::message::SessionId;

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

/// The members of a group that are connected.
#[derive(Debug, Default)]
pub(super) struct Members {
    connected: u32,
    /// In the order of their waiting.
    waiting: VecDeque<WaitingMember>,
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
        self.connected > 0
    }

    /// The first waiting member for which a copy of `qos` is of use: it waits no longer.
    pub fn next(&mut self, qos: QoS) -> Option<Waker> {
        let fits = |waiting: &WaitingMember| qos == QoS::AtMostOnce || !waiting.qos0_only;
        let index = self.waiting.iter().position(fits)?;
        self.waiting.remove(index).map(|waiting| waiting.waker)
    }
}
