//! What a mailbox is told and asked, and what it answers: plain data. An [`Offer`] comes from a
//! publisher, an [`Ask`] from a receiver.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::notice::Notices;
use crate::codec::QoS;
use crate::config;
use crate::session::Room;
use crate::time::Time;
use crate::topic::{TextHash, TopicName};

/// A copy for which room is asked.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Its topic.
    pub topic: TopicName<'a>,
    /// The lower of published and granted; for a group, as published.
    pub qos: QoS,
    /// What its message holds in memory, at most.
    pub bytes: usize,
}

/// What holds for all mailboxes of a turn.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The rules of mailboxes of receivers that are in no class.
    pub queue: &'a config::QueueConfig,
    /// By which topics are told apart.
    pub hash: &'a TextHash,
    /// The present moment.
    pub now: Time,
    /// Messages of one topic may be of different bands: a topic keeps to one while it waits.
    pub lanes: bool,
}

/// What a receiver asks of a mailbox.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Its window, and bytes.
    pub room: Room,
    /// Copies, at most.
    pub max: usize,
    /// How it is shaped; with `waits`: nothing may be taken now.
    pub pace: Option<&'a Pace>,
    /// To be woken when there is more.
    pub waker: &'a Waker,
    /// The rules of receivers in no class.
    pub queue: &'a config::QueueConfig,
}

/// What a take left behind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Taken {
    more: bool,
    notices: Notices,
    cold: bool,
    set_aside: bool,
    ack_timeout: Option<Duration>,
}

/// How the messages of one receiver are shaped, as its link last said.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pace {
    /// The class it is in; empty for everybody.
    pub class: Arc<str>,
    /// Messages and bytes in its buckets.
    pub level: (u64, u64),
    /// How long, in all, something was ready to leave and waited for the buckets.
    pub delayed: Duration,
    /// How long, in all, its own buckets would have let something leave that waited for those that it
    /// shares with others.
    pub waited: Duration,
    /// Something waits for the buckets now: a push wakes nothing, and presses no publisher.
    pub waits: bool,
}

impl<'a> Ask<'a> {
    /// Asks for no copies: the notices are of interest, and `waker` is registered.
    pub fn nothing(waker: &'a Waker, queue: &'a config::QueueConfig) -> Ask<'a> {
        Ask { room: Room::default(), max: 0, pace: None, waker, queue }
    }
}

impl Taken {
    pub(super) fn new(more: bool, notices: Notices, cold: bool) -> Taken {
        Taken { more, notices, cold, set_aside: false, ack_timeout: None }
    }

    /// Whether a copy was set aside, because no connected consumer of the queue may have it: there is more.
    pub(super) fn with_set_aside(self, set_aside: bool) -> Taken {
        Taken { set_aside, more: self.more || set_aside, ..self }
    }

    /// A copy was set aside, because no connected consumer of the queue may have it.
    pub fn has_set_aside(self) -> bool {
        self.set_aside
    }

    /// There is more that could be taken with more room for bytes.
    pub fn more(self) -> bool {
        self.more
    }

    /// What the link is told: see [`Mailbox::notify`](super::Mailbox::notify).
    pub fn notices(self) -> Notices {
        self.notices
    }

    pub(super) fn with_ack_timeout(self, ack_timeout: Option<Duration>) -> Taken {
        Taken { ack_timeout, ..self }
    }

    /// How long the client has for its answers, if a named queue says that.
    pub fn ack_timeout(self) -> Option<Duration> {
        self.ack_timeout
    }

    /// What comes next is only in the store: fetch it.
    pub fn cold(self) -> bool {
        self.cold
    }
}
