//! Why nothing more is read from a client.

use super::live::{HELD_MAX, Live};
use super::pause::Pause;
use crate::broker::Broker;
use crate::broker::turn::Scratch;
use crate::codec::Version;

/// Why nothing more is read from a connected client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum NotRead {
    /// Too many bytes wait to be written to it.
    Unwritten,
    /// Receivers of its messages are more than half full.
    Receivers,
    /// A PUBLISH waits until the store has room for it.
    Store,
    /// A packet waits until an ingress rate allows it.
    Rate,
    /// A PUBLISH waits because the broker is overloaded.
    Overload,
    /// CONNACK waits for the store: until it leaves CONNECT may still be refused.
    Greeting,
    /// Filters of a SUBSCRIBE or UNSUBSCRIBE with very many are still to be served.
    Filters,
    /// Too many answers wait for the store.
    HeldAnswers,
    /// Too many of its PUBLISHes await an answer that the broker owes it.
    OwedAnswers,
}

impl Live {
    /// Why what the client sends is left unread, if it is. `scratch` is that of the turn under way:
    /// answers in it count as held.
    #[inline]
    pub(super) fn not_read(&self, broker: &Broker, scratch: Option<&Scratch>) -> Option<NotRead> {
        if let Some(pause) = self.attachment.pause.as_deref() {
            return Some(match pause {
                Pause::Receivers { .. } => NotRead::Receivers,
                Pause::Store => NotRead::Store,
                Pause::Rate { .. } => NotRead::Rate,
                Pause::Overload { .. } => NotRead::Overload,
                Pause::Greeting { .. } => NotRead::Greeting,
                Pause::Filters(_) => NotRead::Filters,
            });
        }
        let held = self.attachment.queue.as_ref().map_or(0, |queue| queue.held.len());
        if held + scratch.map_or(0, |scratch| scratch.answers.len()) >= HELD_MAX {
            return Some(NotRead::HeldAnswers);
        }
        let policy = broker.policy();
        // An older client has no Receive Maximum to obey; not every newer one obeys it.
        let owes = if self.attachment.version == Version::V5 {
            self.session.quota_is_owed(policy.session.receive_maximum)
        } else {
            self.session.owed() >= policy.limits.owed_max as usize
        };
        owes.then_some(NotRead::OwedAnswers)
    }
}
