//! A copy that has come to its end, as its Session tells it.

use crate::codec::Reason;
use crate::message::{Delivery, GroupId, Lane, Loss, Mid};

/// A copy at its end: what its account, the store and the ledger need of it.
#[derive(Clone, Copy, Debug)]
pub struct EndedCopy<'a> {
    delivery: Option<&'a Delivery>,
    above_qos0: bool,
    group: Option<GroupId>,
    mid: Option<Mid>,
}

/// How a copy has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CopyEnd {
    /// It reached the client, and was answered if it asks for that.
    Completed,
    /// It was lost.
    Lost(Loss),
    /// The client answered with this Reason Code, of 0x80 or above.
    Refused(Reason),
    /// The connection ended, and the client had not answered.
    Unanswered,
    /// The client has not answered in time.
    TimedOut,
}

impl<'a> EndedCopy<'a> {
    /// A copy with its message.
    #[inline]
    pub fn new(delivery: &'a Delivery) -> EndedCopy<'a> {
        EndedCopy {
            above_qos0: delivery.counts_above_qos0(),
            group: delivery.group,
            mid: delivery.mid(),
            delivery: Some(delivery),
        }
    }

    /// A copy of `QoS` 2 after its PUBREC: the message is not known any more.
    pub fn released(group: Option<GroupId>, mid: Option<Mid>) -> EndedCopy<'a> {
        EndedCopy { delivery: None, above_qos0: true, group, mid }
    }

    /// A copy of which nothing is known but what its account counts; the store does not keep it.
    pub fn unknown(above_qos0: bool) -> EndedCopy<'a> {
        EndedCopy { delivery: None, above_qos0, group: None, mid: None }
    }

    /// The copy, if its message is known.
    pub fn delivery(&self) -> Option<&'a Delivery> {
        self.delivery
    }

    /// It is counted as `QoS` above 0.
    #[inline]
    pub fn above_qos0(&self) -> bool {
        self.above_qos0
    }

    /// The group it came from.
    #[inline]
    pub fn group(&self) -> Option<GroupId> {
        self.group
    }

    /// The lane of the group that waits for this end.
    #[inline]
    pub fn lane(&self) -> Lane {
        self.delivery.map_or(Lane::NONE, |delivery| delivery.lane)
    }

    /// The message, if the store keeps it for the receiver until now.
    #[inline]
    pub fn mid(&self) -> Option<Mid> {
        self.mid
    }
}

impl CopyEnd {
    /// Why it was lost; `None` if it was completed.
    #[inline]
    pub fn loss(self) -> Option<Loss> {
        match self {
            CopyEnd::Completed => None,
            CopyEnd::Lost(loss) => Some(loss),
            CopyEnd::Refused(_) => Some(Loss::RefusedByReceiver),
            CopyEnd::Unanswered | CopyEnd::TimedOut => Some(Loss::SessionEnded),
        }
    }
}
