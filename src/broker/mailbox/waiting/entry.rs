//! One copy that waits.

use std::time::Duration;

use crate::broker::mailbox::copy::{Copy, DroppedCopy, ORDINARY};
use crate::broker::ports::{Queued, StoredCopy};
use crate::codec::QoS;
use crate::message::{Message, Mid, SubscriptionIds};
use crate::time::Time;
use crate::topic::TopicName;

/// A copy that waits.
#[derive(Debug)]
pub(super) struct Entry {
    pub message: Place,
    pub ids: SubscriptionIds,
    /// Its arrival number: the order of a mailbox.
    pub arrival: u64,
    pub qos: QoS,
    pub retain: bool,
    pub stored: bool,
}

/// Where the message of a copy is.
#[derive(Debug)]
pub(super) enum Place {
    /// In memory.
    Warm(Message),
    /// Only in the store, until a receiver is there to take it.
    Cold {
        mid: Mid,
        /// Bytes that it holds in memory when it is read.
        bytes: u32,
        /// When it ends, in whole seconds since the epoch, rounded up; `u32::MAX` never.
        expires_s: u32,
    },
}

const _: () = assert!(size_of::<Entry>() <= 56, "a queued copy should stay small");

impl Entry {
    pub fn new(copy: Copy, arrival: u64) -> Entry {
        let Copy { message, qos, retain, ids, stored, band: _ } = copy;
        Entry { message: Place::Warm(message), ids, arrival, qos, retain, stored }
    }

    /// A copy that only the store has.
    pub fn stored(
        queued: &Queued,
        copy: &StoredCopy,
        arrival: u64,
        ttl: Option<Duration>,
    ) -> Entry {
        let of_queue = ttl.map_or(Time::NEVER, |ttl| queued.received.after(ttl));
        let expires = queued.expires.min(of_queue);
        Entry {
            message: Place::cold(queued.mid, queued.bytes, expires),
            ids: copy.ids.clone(),
            arrival,
            qos: copy.qos,
            retain: copy.retain,
            stored: true,
        }
    }

    /// The copy, whose message is in memory: the caller has looked.
    #[inline]
    pub fn into_copy(self) -> Copy {
        let Entry { message, ids, qos, retain, stored, .. } = self;
        let Place::Warm(message) = message else {
            unreachable!("only a copy whose message is in memory is taken")
        };
        Copy { message, qos, retain, ids, stored, band: ORDINARY }
    }

    /// What is reported of a copy that is dropped.
    pub fn dropped(&self) -> DroppedCopy {
        let message = match &self.message {
            Place::Warm(message) => Some(message.clone()),
            Place::Cold { .. } => None,
        };
        DroppedCopy { qos: self.qos, mid: self.mid(), message }
    }

    pub fn bytes(&self) -> u64 {
        match &self.message {
            Place::Warm(message) => message.bytes() as u64,
            Place::Cold { bytes, .. } => (*bytes).into(),
        }
    }

    pub fn expires(&self) -> Time {
        match &self.message {
            Place::Warm(message) => message.expires,
            Place::Cold { expires_s: u32::MAX, .. } => Time::NEVER,
            Place::Cold { expires_s, .. } => Time::from_secs((*expires_s).into()),
        }
    }

    /// Its message, if that is in memory.
    pub fn message(&self) -> Option<&Message> {
        match &self.message {
            Place::Warm(message) => Some(message),
            Place::Cold { .. } => None,
        }
    }

    /// Its topic, if its message is in memory.
    pub fn topic(&self) -> Option<TopicName<'_>> {
        self.message().map(Message::topic)
    }

    /// What the store keeps for its receiver.
    pub fn mid(&self) -> Option<Mid> {
        match &self.message {
            _ if !self.stored => None,
            Place::Warm(message) => message.mid(),
            Place::Cold { mid, .. } => Some(*mid),
        }
    }

    /// The number of its message, if only the store has it.
    pub fn cold(&self) -> Option<Mid> {
        match &self.message {
            Place::Warm(_) => None,
            Place::Cold { mid, .. } => Some(*mid),
        }
    }

    /// Its message has come from the store.
    pub fn warm(&mut self, message: Message) {
        self.message = Place::Warm(message);
    }

    /// Leaves its message to the store, if the store has it and it was not tried before. In a queue with a `ttl` it
    /// ends with that.
    pub fn cool(&mut self, ttl: Option<Duration>) {
        if let (Place::Warm(message), Some(mid)) = (&self.message, self.mid())
            && message.attempts == 0
        {
            self.message = Place::cold(mid, self.bytes() as usize, self.due(ttl));
        }
    }

    /// When it ends in a queue with a `ttl`. Of one that is only in the store that is known already.
    pub fn due(&self, ttl: Option<Duration>) -> Time {
        let of_queue = ttl.zip(self.message()).map(|(ttl, message)| message.received.after(ttl));
        self.expires().min(of_queue.unwrap_or(Time::NEVER))
    }
}

impl Place {
    pub fn cold(mid: Mid, bytes: usize, expires: Time) -> Place {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let seconds = expires.as_nanos().div_ceil(1_000_000_000);
        Place::Cold { mid, bytes, expires_s: u32::try_from(seconds).unwrap_or(u32::MAX) }
    }
}
