//! Sessions of a cluster: a client that connects to another node than the one that has its Session finds it there, with
//! all that waits.
//!
//! The log decides. A node that a client has connected to says in it that it opens a Session, or wants the one that
//! another node has ([`entering`]). The node that has it ends its connection, copies what waits into the log, and says
//! last that the Session has moved ([`leaving`]). At that place of the log it ends here and begins there
//! ([`arriving`]), with what the log had for it since it was copied. Until then nothing is changed, so that a crash at
//! any moment leaves one whole Session at one node.

mod arriving;
mod draining;
mod entering;
mod image;
mod leaving;

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::info;

use self::draining::Drain;
use self::entering::Entering;
pub(super) use self::entering::Entrance;
pub use self::image::ClusterImage;
use self::leaving::Leaving;
use super::Broker;
use super::cluster_log::ClusterEnd;
use super::homes::{HomeClaim, Homes};
use super::mailbox::Notice;
use super::registry::Whereabouts;
use super::session_record::{ArrivedSession, MovedSession, SessionRecord};
use super::turn::{Scratch, Turn};
use crate::codec::Reason;
use crate::message::{ClientId, LogMark, Loss, SessionHome};
use crate::session::Op;
use crate::sync::atomic::AtomicBool;
use crate::sync::{Mutex, whole};
use crate::time::Time;

/// What a node knows of Sessions that are at other nodes, come, or go.
#[derive(Debug, Default)]
pub(super) struct Moving {
    homes: Mutex<Homes>,
    leaving: Mutex<BTreeMap<ClientId, Leaving>>,
    entering: Mutex<BTreeMap<ClientId, Entering>>,
    /// How far the log is applied. Locked while more is: nothing of the log is half applied then.
    applied: Mutex<LogMark>,
    /// The number of the last move.
    number: Mutex<u64>,
    /// The log does not answer, and clients are to go elsewhere.
    is_cut_off: AtomicBool,
    /// All Sessions are to go to other nodes.
    is_draining: AtomicBool,
    drain: Mutex<Drain>,
}

/// How often it is looked after a Session that leaves.
const EVERY: Duration = Duration::from_millis(5);
/// How often the log is asked again for a Session that does not come.
const AGAIN: Duration = Duration::from_secs(1);

impl Moving {
    /// As the store had the homes of Sessions.
    pub fn restore_home(&self, client_id: ClientId, home: SessionHome) {
        whole(self.homes.lock()).restore(client_id, home);
    }

    /// How far the log is applied, to be locked while more is.
    pub fn applied(&self) -> &Mutex<LogMark> {
        &self.applied
    }

    /// A number for a move that no other move of this node has, of an earlier run either.
    fn next_number(&self, now: Time) -> u64 {
        let number = &mut *whole(self.number.lock());
        *number = now.as_nanos().max(*number + 1);
        *number
    }

    fn is_at(&self, client_id: &ClientId, node: u64) -> bool {
        whole(self.homes.lock()).is_at(client_id, node)
    }
}

impl Broker {
    /// How many Sessions that last each node of the cluster has: node, Sessions.
    pub fn sessions_by_node(&self) -> Vec<(u64, usize)> {
        let mut counts: Vec<_> = whole(self.0.moving.homes.lock()).counts().into_iter().collect();
        counts.sort_unstable();
        counts
    }

    /// Carries out what the log says of a Session: `node` says so.
    pub(super) fn apply_session_record(
        &self,
        node: u64,
        record: SessionRecord,
        turn: &mut Turn<'_>,
    ) {
        let Some(cluster) = self.0.cluster.get() else { return };
        match record {
            SessionRecord::Opened { client_id, user, clean } => {
                self.apply_opened(cluster, &client_id, (SessionHome { node, user }, clean), turn);
            }
            SessionRecord::Ended { client_id } => {
                if whole(self.0.moving.homes.lock()).end(&client_id, node) {
                    turn.batch.rare().homes.push((client_id.clone(), None));
                    self.ask_again(&client_id, turn.now);
                }
            }
            SessionRecord::Wanted { client_id } => {
                let own = cluster.node();
                if node != own && self.0.moving.is_at(&client_id, own) {
                    self.leave(&client_id, node, turn);
                }
            }
            SessionRecord::Copies { .. } => {}
            SessionRecord::Moved(moved) => {
                if self.move_home(node, &moved, turn) && node == cluster.node() {
                    self.depart(&moved, turn);
                }
            }
        }
    }

    /// A Session comes to this node, from `node`.
    pub(super) fn apply_arrived(&self, node: u64, arrived: ArrivedSession, turn: &mut Turn<'_>) {
        if self.move_home(node, &arrived.moved, turn) {
            self.arrive(arrived, turn);
        }
    }

    /// A node does not come back: its Sessions that last are begun anew, by whichever node their clients come to.
    pub(super) fn apply_gone(&self, node: u64, turn: &mut Turn<'_>) {
        let gone = whole(self.0.moving.homes.lock()).forget(node);
        info!(
            node = format!("{node:016x}"),
            sessions = gone.len(),
            "a node is forgotten, and its sessions"
        );
        let rows = gone.iter().map(|client_id| (client_id.clone(), None));
        turn.batch.rare().homes.extend(rows);
        gone.iter().for_each(|client_id| self.ask_again(client_id, turn.now));
    }

    fn apply_opened(
        &self,
        cluster: &ClusterEnd,
        client_id: &ClientId,
        (home, clean): (SessionHome, bool),
        turn: &mut Turn<'_>,
    ) {
        let (node, own) = (home.node, cluster.node());
        let opening = whole(self.0.moving.homes.lock()).open(client_id, home.clone(), clean);
        if opening != HomeClaim::Refused {
            turn.batch.rare().homes.push((client_id.clone(), Some(home)));
        }
        match opening {
            HomeClaim::Refused if node == own => self.ask_again(client_id, turn.now),
            HomeClaim::Refused => {}
            _ if node == own => self.settle_entry(client_id, Entrance::Opened, turn),
            // It is connected to that node: whatever there is of it here is over.
            _ => self.give_way(client_id, turn),
        }
    }

    /// A Session moves, if its node still had it.
    fn move_home(&self, from: u64, moved: &MovedSession, turn: &mut Turn<'_>) -> bool {
        let identity = moved.facts.iter().find_map(|fact| match fact {
            Op::Session { identity, .. } => Some(identity),
            _ => None,
        });
        let Some(identity) = identity else { return false };
        let home = SessionHome::of(moved.to, identity);
        let client_id = &moved.client_id;
        let moves = whole(self.0.moving.homes.lock()).move_from(client_id, from, home.clone());
        if moves {
            turn.batch.rare().homes.push((client_id.clone(), Some(home)));
        }
        moves
    }

    /// The Session that this node has of a client, if it has one, is over.
    fn give_way(&self, client_id: &ClientId, turn: &mut Turn<'_>) {
        if self.end_leaving(client_id, turn) {
            return;
        }
        loop {
            match self.0.registry.look(client_id, |_| ()) {
                Whereabouts::Nowhere | Whereabouts::OnItsWay => return,
                Whereabouts::Attached(mailbox) => {
                    let notice = Notice::End(Reason::SessionTakenOver);
                    turn.wakers.extend(mailbox.notify(notice));
                    return;
                }
                Whereabouts::Parked(()) => {
                    let Some(parked) = self.0.registry.end_parked(client_id) else { continue };
                    return self.end_session(*parked, Loss::TakenClean, turn);
                }
            }
        }
    }

    /// This node has come to the end of the log: what it says of Sessions is compared with what the store has.
    pub(super) fn check_homes(&self) {
        let Some(cluster) = self.0.cluster.get() else { return };
        let (registry, own) = (&self.0.registry, cluster.node());
        let missing = whole(self.0.moving.homes.lock()).of(own);
        for client_id in missing.into_iter().filter(|client_id| !registry.keeps(client_id)) {
            cluster.note(SessionRecord::Ended { client_id });
        }
        for (client_id, mailbox, _) in registry.mailboxes() {
            if registry.keeps(&client_id) && !self.0.moving.is_at(&client_id, own) {
                let identity = mailbox.owner().identity();
                let user = identity.and_then(|identity| identity.user_name.clone());
                cluster.note(SessionRecord::Opened { client_id, user, clean: false });
            }
        }
    }

    /// A Session has ended here: the other nodes are told, if it was of those that last.
    #[inline]
    pub(super) fn say_ended(&self, client_id: &ClientId) {
        if let Some(cluster) = self.0.cluster.get()
            && self.keeps_home(client_id)
        {
            cluster.note(SessionRecord::Ended { client_id: client_id.clone() });
        }
    }

    /// Looks after Sessions that come and go. Returns when it is to be asked again.
    pub fn tick_moves(&self, now: Time, scratch: &mut Scratch) -> Option<Time> {
        let cluster = self.0.cluster.get()?;
        let leaving: Vec<_> = whole(self.0.moving.leaving.lock()).keys().cloned().collect();
        for client_id in &leaving {
            self.drive_leaving(cluster, client_id, now, scratch);
        }
        let again = self.tick_entering(cluster, now);
        let every = (!leaving.is_empty()).then(|| now.after(EVERY));
        every.into_iter().chain(again).min()
    }

    /// Whether this node has the Session of a client that lasts, as the log says it.
    pub(super) fn keeps_home(&self, client_id: &ClientId) -> bool {
        let cluster = self.0.cluster.get();
        cluster.is_some_and(|cluster| self.0.moving.is_at(client_id, cluster.node()))
    }
}
