//! A node that sends its clients away: the log of the cluster does not answer it, or it is to stop.

use crate::broker::Broker;
use crate::broker::turn::{Scratch, Turn};
use crate::codec::Reason;
use crate::message::{ClientId, RefusalKind};
use crate::sync::atomic::Ordering;
use crate::sync::whole;
use crate::time::Time;
use crate::topic::spread;

/// The Sessions that are to go to other nodes.
#[derive(Debug, Default)]
pub(super) struct Drain {
    /// These nodes.
    to: Vec<u64>,
    /// Those that have not begun to leave, as far as that is known.
    left: Vec<ClientId>,
}

/// Sessions that leave at once.
const AT_ONCE: usize = 128;

impl Broker {
    /// The log has not answered for too long, or does again: while it does not, no client is let in. Returns how many
    /// connections end because of that.
    pub fn set_cut_off(&self, is_cut_off: bool) -> usize {
        self.0.moving.is_cut_off.store(is_cut_off, Ordering::Relaxed);
        if is_cut_off { self.send_away() } else { 0 }
    }

    /// Why no client is let in, if none is: as CONNACK says it, and as the log does.
    #[inline]
    pub(in crate::broker) fn sends_away(&self) -> Option<(Reason, RefusalKind)> {
        let moving = &self.0.moving;
        let kind = if moving.is_cut_off.load(Ordering::Relaxed) {
            RefusalKind::LogAway
        } else if moving.is_draining.load(Ordering::Relaxed) {
            RefusalKind::Draining
        } else {
            return None;
        };
        let elsewhere = self.0.policy.server_reference.as_ref().map(|_| Reason::UseAnotherServer);
        Some((elsewhere.unwrap_or(Reason::ServerUnavailable), kind))
    }

    /// Every connection ends. Returns how many there are.
    fn send_away(&self) -> usize {
        let reason = match self.sends_away() {
            Some((Reason::UseAnotherServer, _)) => Reason::UseAnotherServer,
            _ => Reason::ServerShuttingDown,
        };
        let all = self.0.registry.mailboxes().into_iter();
        all.filter(|(client_id, _, connected)| *connected && self.kick(client_id, reason)).count()
    }

    /// This node is to stop: no client is let in any more, all connections end, and [`Broker::drain`] sends the Sessions
    /// that last to these nodes. Returns how many there are.
    pub fn begin_drain(&self, to: &[u64]) -> usize {
        let Some(cluster) = self.0.cluster.get() else { return 0 };
        self.0.moving.is_draining.store(true, Ordering::Relaxed);
        self.send_away();
        let left = whole(self.0.moving.homes.lock()).of(cluster.node());
        let count = left.len();
        *whole(self.0.moving.drain.lock()) = Drain { to: to.to_vec(), left };
        count
    }

    /// Clients are let in again. Returns how many Sessions have not left.
    pub fn end_drain(&self) -> usize {
        self.0.moving.is_draining.store(false, Ordering::Relaxed);
        let node = self.0.cluster.get().map(|cluster| cluster.node());
        node.map_or(0, |node| whole(self.0.moving.homes.lock()).of(node).len())
    }

    /// Whether its Sessions are to go to other nodes.
    pub fn is_draining(&self) -> bool {
        self.0.moving.is_draining.load(Ordering::Relaxed)
    }

    /// Has more Sessions leave, while others do. Returns how many have not left; to be called until there is none.
    pub fn drain(&self, now: Time, scratch: &mut Scratch) -> usize {
        let Some(cluster) = self.0.cluster.get() else { return 0 };
        let room = AT_ONCE.saturating_sub(whole(self.0.moving.leaving.lock()).len());
        let (to, some, rest) = {
            let drain = &mut *whole(self.0.moving.drain.lock());
            let rest = drain.left.len().saturating_sub(room);
            (drain.to.clone(), drain.left.split_off(rest), rest)
        };
        self.in_turn(now, scratch, |turn| self.leave_all(&some, &to, turn));
        if rest > 0 {
            return rest + some.len();
        }
        // Those that could not leave yet, and those that are on their way.
        let left = whole(self.0.moving.homes.lock()).of(cluster.node());
        let count = left.len();
        whole(self.0.moving.drain.lock()).left = left;
        count
    }

    fn leave_all(&self, clients: &[ClientId], to: &[u64], turn: &mut Turn<'_>) {
        for client_id in clients {
            let hash = self.0.router.topic_hash().of(client_id.as_str().as_bytes());
            let to = to[spread(hash) as usize % to.len()];
            self.leave(client_id, to, turn);
        }
    }
}
