//! What a mailbox holds, behind its lock.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::ask::Pace;
use super::keep_log::KeepLog;
use super::members::Members;
use super::notice::Notices;
use super::owner::Owner;
use super::waiting::Waiting;
use crate::broker::classes::Rules;
use crate::codec::QoS;
use crate::config;
use crate::message::{Loss, Total};
use crate::shape::{Intake, Shaper};

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub waiting: Waiting,
    pub reserved: u32,
    pub reserved_bytes: u64,
    pub waker: Option<Waker>,
    pub notices: Notices,
    /// Its receiver is no more: what comes is lost for this reason.
    pub closed: Option<Loss>,
    /// A receiver is connected: the Session's client, or a member of the group.
    pub attached: bool,
    /// Its Session outlives its connection.
    pub durable: bool,
    /// Copies wait for the receiver's buckets: a push wakes nothing.
    pub paced: bool,
    /// Took nothing while a publisher waited: pauses no publisher until it takes again.
    pub slow: bool,
    /// Copies ever taken, modulo 2^32: only whether it moves is of interest.
    pub taken: u32,
    pub routed: [u64; 2],
    pub completed: [u64; 2],
    pub rare: Option<Box<Rare>>,
}

/// What most mailboxes never need.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Publishers that wait for it to be below a quarter.
    pub paused: Vec<Waker>,
    pub ledger: [[u32; Loss::ALL.len()]; 2],
    /// How its receiver is shaped.
    pub pace: Option<Pace>,
    /// The buckets of a receiver that is not connected.
    pub shaper: Option<Shaper>,
    /// How long its receiver has waited at buckets that it shares, on connections that are over.
    pub waited: Duration,
    /// The rules of its receiver's class, if it is in one.
    pub rules: Option<Arc<Rules>>,
    /// The ingress limits of a client that is not connected.
    pub intake: Option<Box<Intake>>,
    /// The members of a group.
    pub members: Option<Box<Members>>,
    /// What a log of kept messages has.
    pub log: Option<Box<KeepLog>>,
}

const _: () = assert!(size_of::<Inner>() <= 184, "an idle mailbox should stay small");

impl Inner {
    /// Copies and bytes that wait or are promised room.
    pub fn held(&self) -> (u64, u64) {
        let waiting = &self.waiting;
        (waiting.len() as u64 + u64::from(self.reserved), waiting.bytes() + self.reserved_bytes)
    }

    /// Bytes that are counted for the owner: what waits, while no receiver is connected.
    #[inline]
    pub fn counted(&self) -> u64 {
        if self.attached { 0 } else { self.waiting.bytes() }
    }

    /// As many were counted `before`: from now on it is what waits now.
    #[inline]
    pub fn count_for(&self, owner: &Owner, before: u64) {
        let now = self.counted();
        if now != before
            && let Some(holdings) = owner.holdings()
        {
            holdings.change(Total::WaitingBytes, before, now);
        }
    }

    /// Whether a copy fits. An empty queue takes any: the largest packet takes more in memory than on the
    /// wire, and would else never come through a queue of its size.
    pub fn has_room(&self, queue: &config::QueueConfig, bytes: usize) -> bool {
        Inner::fits(self.held(), queue, bytes)
    }

    /// Whether a copy fits beside so many messages and bytes.
    pub fn fits((messages, held): (u64, u64), queue: &config::QueueConfig, bytes: usize) -> bool {
        let fits = messages == 0 || held + bytes as u64 <= queue.bytes_max.0;
        messages < u64::from(queue.messages_max) && fits
    }

    /// A Session's own waker, or one waiting member for which a copy of `qos` is of use.
    #[inline]
    pub fn whom_to_wake(&mut self, qos: QoS) -> Option<Waker> {
        if self.paced {
            return None;
        }
        // A group has none.
        self.waker.take().or_else(|| self.rare.as_mut()?.members.as_mut()?.next_in_turn(qos))
    }

    /// The members of a group. A Session's mailbox has none, and none asks it.
    pub fn members(&mut self) -> &mut Members {
        self.rare.get_or_insert_default().members.get_or_insert_default()
    }

    /// The same to look at; `None`: it has none, or is a Session's mailbox.
    pub fn group_members(&self) -> Option<&Members> {
        self.rare.as_ref()?.members.as_deref()
    }

    /// What a log has.
    pub fn log(&mut self) -> Option<&mut KeepLog> {
        self.rare.as_mut()?.log.as_deref_mut()
    }

    /// The rules of its receiver's class, if it is in one.
    pub fn rules(&self) -> Option<Arc<Rules>> {
        self.rare.as_ref()?.rules.clone()
    }

    /// Notes how the receiver is shaped.
    pub fn set_pace(&mut self, pace: Pace) {
        self.paced = pace.waits;
        self.rare.get_or_insert_default().pace = Some(pace);
    }

    /// It is not shaped any more, or not connected.
    pub fn forget_pace(&mut self) {
        self.paced = false;
        if let Some(rare) = &mut self.rare {
            rare.pace = None;
        }
    }
}
