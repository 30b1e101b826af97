//! Looking at what waits: nothing is changed.

use super::Waiting;
use super::entry::Entry;
use super::priority::IN_ORDER;
use crate::codec::QoS;
use crate::message::{Message, Mid};
use crate::time::Time;

/// A copy that waits, as it is seen from outside.
#[derive(Clone, Debug)]
pub struct WaitingCopy {
    message: Option<Message>,
    mid: Option<Mid>,
    qos: QoS,
    retain: bool,
    bytes: u64,
    expires: Time,
}

impl WaitingCopy {
    fn of(entry: &Entry) -> WaitingCopy {
        let message = entry.message().cloned();
        let Entry { qos, retain, .. } = *entry;
        let (bytes, expires) = (entry.bytes(), entry.expires());
        WaitingCopy { message, mid: entry.cold(), qos, retain, bytes, expires }
    }

    /// Its message; `None` if only the store has it.
    pub fn message(&self) -> Option<&Message> {
        self.message.as_ref()
    }

    /// The number of its message, if only the store has that.
    pub fn cold(&self) -> Option<Mid> {
        self.mid
    }

    /// The store has given the message.
    pub fn warm(&mut self, message: Message) {
        (self.message, self.mid) = (Some(message), None);
    }

    /// The lower of published and granted.
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// The RETAIN flag to send.
    pub fn retain(&self) -> bool {
        self.retain
    }

    /// Bytes that its message holds in memory when it is there.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When it ends; [`Time::NEVER`] if it does not. Of one that only the store has, to the second.
    pub fn expires(&self) -> Time {
        self.expires
    }
}

impl Waiting {
    /// The copies that are next, about in the order in which they will be taken: those of higher bands first, in
    /// each in the order of arrival. At most `max`, and no more once they have `bytes_max` bytes. Looks at no more
    /// than `max` copies of each list.
    pub fn page(&self, max: usize, bytes_max: u64) -> Vec<WaitingCopy> {
        let mut all = Vec::new();
        for (lists, band) in self.all().zip(IN_ORDER) {
            let mut see =
                |entry: &Entry| all.push((u8::MAX - band, entry.arrival, WaitingCopy::of(entry)));
            lists.qos0.iter().take(max).for_each(&mut see);
            lists.qos12.visit_first(max, see);
        }
        all.sort_by_key(|(band, arrival, _)| (*band, *arrival));
        let mut bytes = 0;
        let within = all.into_iter().take(max).map(|(.., copy)| copy).take_while(|copy| {
            let before = bytes;
            bytes += copy.bytes;
            before < bytes_max
        });
        within.collect()
    }

    /// When the copy that came first was received; `None` if there is none, or only the store has its message.
    pub fn oldest(&self) -> Option<Time> {
        let mut oldest = None::<(u64, Option<Time>)>;
        for lists in self.all() {
            let mut see = |entry: &Entry| {
                if oldest.is_none_or(|(arrival, _)| entry.arrival < arrival) {
                    let received = entry.message().map(|message| message.received);
                    oldest = Some((entry.arrival, received));
                }
            };
            lists.qos0.iter().take(1).for_each(&mut see);
            lists.qos12.visit_first(1, see);
        }
        oldest.and_then(|(_, received)| received)
    }

    /// How many copies have expired, and their bytes: they will go before any other makes room.
    pub fn expired(&self, now: Time) -> (u64, u64) {
        if self.expires > now {
            return (0, 0);
        }
        let mut expired = (0, 0);
        for lists in self.all() {
            lists.visit(|entry| {
                if entry.expires() <= now {
                    expired = (expired.0 + 1, expired.1 + entry.bytes());
                }
            });
        }
        expired
    }
}
