//! Answers that a client owes to named queues within a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::codec::PacketId;
use crate::message::GroupId;
use crate::time::Time;

/// Answers that a client owes to named queues within a time.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    /// How long it has, by queue: few.
    timeouts: Vec<(GroupId, Duration)>,
    /// When each message is overdue. One that is answered stays until then, or until it is the first of all.
    due: BTreeMap<PacketId, Time>,
    /// The same in the order of that.
    order: BTreeSet<(Time, PacketId)>,
}

impl Awaited {
    /// How long the client has for the messages of `queue`. Returns whether it had no time before, and has now.
    pub fn set(&mut self, queue: GroupId, timeout: Option<Duration>) -> bool {
        let at = self.timeouts.iter().position(|(known, _)| *known == queue);
        match (at, timeout) {
            (Some(at), Some(timeout)) => self.timeouts[at].1 = timeout,
            (Some(at), None) => drop(self.timeouts.swap_remove(at)),
            (None, Some(timeout)) => self.timeouts.push((queue, timeout)),
            (None, None) => {}
        }
        at.is_none() && timeout.is_some()
    }

    /// How long it has for a message of `queue`.
    pub fn timeout(&self, queue: GroupId) -> Option<Duration> {
        self.timeouts.iter().find(|(known, _)| *known == queue).map(|(_, timeout)| *timeout)
    }

    /// A message is overdue then.
    pub fn expect(&mut self, packet_id: PacketId, due: Time) {
        if let Some(before) = self.due.insert(packet_id, due) {
            self.order.remove(&(before, packet_id));
        }
        self.order.insert((due, packet_id));
    }

    /// When something may be overdue.
    pub fn deadline(&self) -> Option<Time> {
        self.order.first().map(|(due, _)| *due)
    }

    /// Takes out the first message, if it is overdue, or if its answer has come: `awaits` says whether that is still
    /// to come. Returns its identifier, and the same.
    pub fn take_first(
        &mut self,
        now: Time,
        awaits: impl Fn(PacketId) -> bool,
    ) -> Option<(PacketId, bool)> {
        let (due, packet_id) = *self.order.first()?;
        let is_awaited = awaits(packet_id);
        if due > now && is_awaited {
            return None;
        }
        self.order.pop_first();
        self.due.remove(&packet_id);
        Some((packet_id, is_awaited))
    }
}
