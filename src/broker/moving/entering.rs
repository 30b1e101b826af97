//! A client has connected to this node, and its Session is to be here before it is told so.

use std::sync::Arc;
use std::task::Waker;

use super::AGAIN;
use crate::broker::Broker;
use crate::broker::cluster_log::ClusterEnd;
use crate::broker::session_record::SessionRecord;
use crate::broker::turn::Turn;
use crate::message::{ClientId, Identity};
use crate::sync::whole;
use crate::time::Time;

/// A client that waits for its Session.
#[derive(Debug)]
pub(super) struct Entering {
    user: Option<Arc<str>>,
    /// It begins anew.
    clean: bool,
    state: Entrance,
    /// When the log was asked last.
    asked: Time,
    waker: Waker,
}

/// How it stands with a client that waits for its Session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::broker) enum Entrance {
    /// The log does not say it yet.
    Pending,
    /// The Session is this node's to make.
    Opened,
    /// It has come from another node, and is parked here.
    Arrived,
    /// It belongs to another user.
    OfOther,
}

impl Broker {
    /// A client has claimed its Session, and this node has none. `false`: nothing is in its way; else
    /// [`Broker::poll_entry`] says when it can go on.
    pub(in crate::broker) fn enter(
        &self,
        identity: &Identity,
        (clean, lasts): (bool, bool),
        waker: &Waker,
        now: Time,
    ) -> bool {
        let Some(cluster) = self.0.cluster.get() else { return false };
        let client_id = &identity.client_id;
        if !lasts && whole(self.0.moving.homes.lock()).get(client_id).is_none() {
            return false;
        }
        let user = identity.user_name.clone();
        let (state, waker) = (Entrance::Pending, waker.clone());
        let entering = Entering { user, clean, state, asked: now, waker };
        whole(self.0.moving.entering.lock()).insert(client_id.clone(), entering);
        self.ask(cluster, client_id, now);
        cluster.stir();
        true
    }

    /// How it stands with a client for which [`Broker::enter`] returned `true`; while it is pending `waker` is woken when
    /// that changes. What is not pending is told once.
    pub(in crate::broker) fn poll_entry(&self, client_id: &ClientId, waker: &Waker) -> Entrance {
        let entering = &mut *whole(self.0.moving.entering.lock());
        let Some(known) = entering.get_mut(client_id) else { return Entrance::Opened };
        let state = known.state;
        if state == Entrance::Pending {
            known.waker.clone_from(waker);
        } else {
            entering.remove(client_id);
        }
        state
    }

    /// The connection of a client that waits is gone, or is not let in.
    pub(in crate::broker) fn forget_entry(&self, client_id: &ClientId) {
        whole(self.0.moving.entering.lock()).remove(client_id);
        self.0.registry.give_up(client_id).into_iter().for_each(Waker::wake);
    }

    /// Asks the log again for the Sessions that do not come. Returns when that is to be done next.
    pub(super) fn tick_entering(&self, cluster: &ClusterEnd, now: Time) -> Option<Time> {
        let due: Vec<_> = {
            let entering = whole(self.0.moving.entering.lock());
            let is_due = |known: &Entering| {
                known.state == Entrance::Pending && known.asked.after(AGAIN) <= now
            };
            let due = entering.iter().filter(|(_, known)| is_due(known));
            due.map(|(client_id, _)| client_id.clone()).collect()
        };
        due.iter().for_each(|client_id| self.ask(cluster, client_id, now));
        let entering = whole(self.0.moving.entering.lock());
        let pending = entering.values().filter(|known| known.state == Entrance::Pending);
        pending.map(|known| known.asked.after(AGAIN)).min()
    }

    /// What the log says of a client's Session has changed: if it waits for it, the log is asked again.
    pub(super) fn ask_again(&self, client_id: &ClientId, now: Time) {
        if let Some(cluster) = self.0.cluster.get() {
            self.ask(cluster, client_id, now);
        }
    }

    /// How it stands with a client has changed, if it waits.
    pub(super) fn settle_entry(&self, client_id: &ClientId, state: Entrance, turn: &mut Turn<'_>) {
        let entering = &mut *whole(self.0.moving.entering.lock());
        if let Some(known) = entering.get_mut(client_id) {
            known.state = state;
            turn.wakers.push(known.waker.clone());
        }
    }

    /// Says in the log what is wanted of it for a client that waits, as it stands now.
    fn ask(&self, cluster: &ClusterEnd, client_id: &ClientId, now: Time) {
        let home = whole(self.0.moving.homes.lock()).get(client_id).cloned();
        let elsewhere = home.filter(|home| home.node != cluster.node());
        let mut woken = None;
        let record = {
            let entering = &mut *whole(self.0.moving.entering.lock());
            let waiting = entering.get_mut(client_id);
            let Some(known) = waiting.filter(|known| known.state == Entrance::Pending) else {
                return;
            };
            known.asked = now;
            let user = known.user.as_deref();
            // One that belongs to no user ends if a user comes.
            let clean = known.clean || elsewhere.as_ref().is_some_and(|home| !home.is_of(user));
            let client_id = client_id.clone();
            match elsewhere {
                Some(home) if !home.gives_way_to(user) => {
                    known.state = Entrance::OfOther;
                    woken = Some(known.waker.clone());
                    None
                }
                Some(_) if !clean => Some(SessionRecord::Wanted { client_id }),
                _ => Some(SessionRecord::Opened { client_id, user: known.user.clone(), clean }),
            }
        };
        woken.into_iter().for_each(Waker::wake);
        if let Some(record) = record {
            cluster.note(record);
        }
    }
}
