//! What a mailbox is told, and what it says: plain data.

use std::sync::Arc;
use std::time::Duration;

use super::bands::Lists;
use super::lists::{Entry, Place};
use super::notice::Notices;
use crate::message::{Loss, Mid, ReceiverId};
use crate::session::Room;
use crate::topic::TopicName;

/// What a receiver's account says: the first law is `routed = completed + in flight + queued +
/// ledger`, each for `QoS` 0 and above.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Account {
    /// Copies routed here: admitted or refused.
    pub routed: [u64; 2],
    /// Copies that reached the client, and were answered if they ask for it.
    pub completed: [u64; 2],
    /// Copies waiting.
    pub queued: [u64; 2],
    /// Copies lost, by [`Loss`].
    pub ledger: [[u32; Loss::ALL.len()]; 2],
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
    /// Something waits for the buckets now: a push wakes nobody, and presses no publisher.
    pub waits: bool,
}

/// What a receiver takes at most.
#[derive(Clone, Debug, Default)]
pub struct Ask<'a> {
    /// Its window, and bytes.
    pub room: Room,
    /// Copies.
    pub max: usize,
    /// How it is shaped; with `waits`: nothing may be taken now.
    pub pace: Option<&'a Pace>,
}

/// What [`super::Mailbox::take`] left behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Taken {
    /// There is more that could be taken with more room for bytes.
    pub more: bool,
    /// What the link is told: see [`super::Mailbox::notify`].
    pub notices: Notices,
    /// What comes next is only in the store: fetch it.
    pub cold: bool,
}

/// A copy was not admitted: it is in the receiver's account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Why.
    pub loss: Loss,
    /// Whose it was, if that is to be told.
    pub receiver: Option<Arc<str>>,
    /// There is to be a dead letter.
    pub letter: bool,
}

/// Copies that are lost all at once: they are in the receiver's account, and still to be told.
#[derive(Debug)]
#[must_use]
pub struct Fallen {
    pub(super) lists: Vec<Lists>,
    /// Why.
    pub loss: Loss,
    /// The receiver.
    pub receiver: ReceiverId,
}

impl Fallen {
    /// Shows each: its topic, if its message is here, and its message's number, if the store keeps it.
    pub fn visit(&self, mut visit: impl FnMut(Option<TopicName<'_>>, Option<Mid>)) {
        let mut show = |entry: &Entry| {
            let topic = match &entry.message {
                Place::Warm(message) => Some(message.topic()),
                Place::Cold { .. } => None,
            };
            visit(topic, entry.mid());
        };
        for lists in &self.lists {
            lists.qos0.iter().for_each(&mut show);
            lists.above.visit(&mut show);
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.lists.iter().map(Lists::len).sum()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
