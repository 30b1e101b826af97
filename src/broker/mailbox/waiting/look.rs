//! Looking at what waits: nothing is changed.

use super::Waiting;
use super::entry::Entry;
use crate::broker::session_record::MovedCopy;
use crate::codec::QoS;
use crate::message::{Message, Mid, SubscriptionIds};
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
    due: Option<Time>,
}

impl WaitingCopy {
    fn of(entry: &Entry) -> WaitingCopy {
        let message = entry.message().cloned();
        let Entry { qos, retain, .. } = *entry;
        let (bytes, expires) = (entry.bytes(), entry.expires());
        WaitingCopy { message, mid: entry.cold(), qos, retain, bytes, expires, due: None }
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

    /// When it may be tried again; `None` if it can be taken now.
    pub fn due(&self) -> Option<Time> {
        self.due
    }

    /// Attempts at it that have failed.
    pub fn attempts(&self) -> u16 {
        self.message.as_ref().map_or(0, |message| message.attempts)
    }

    /// When it ends; [`Time::NEVER`] if it does not. Of one that only the store has, to the second.
    pub fn expires(&self) -> Time {
        self.expires
    }
}

/// A copy that waits, with all that makes it: to be put into another queue.
#[derive(Debug)]
pub struct StandingCopy {
    message: Option<Message>,
    mid: Option<Mid>,
    qos: QoS,
    retain: bool,
    ids: SubscriptionIds,
    band: u8,
    bytes: u64,
}

impl StandingCopy {
    fn of(entry: &Entry, band: u8) -> StandingCopy {
        let (message, mid) = (entry.message().cloned(), entry.cold());
        let Entry { qos, retain, .. } = *entry;
        StandingCopy {
            message,
            mid,
            qos,
            retain,
            ids: entry.ids.clone(),
            band,
            bytes: entry.bytes(),
        }
    }

    /// The number of its message, if only the store has that.
    pub fn cold(&self) -> Option<Mid> {
        self.mid
    }

    /// Bytes that its message holds in memory when it is there.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// It, on its way; `found` is its message, if only the store had that. `None`: the message is not there.
    pub fn into_moved(self, found: Option<Message>) -> Option<MovedCopy> {
        let StandingCopy { message, qos, retain, ids, band, .. } = self;
        let message = message.or(found)?;
        Some(MovedCopy { message, qos, retain, ids, band })
    }
}

impl Waiting {
    /// Every copy, in the order in which they came.
    pub fn standing(&self) -> Vec<StandingCopy> {
        let mut all = Vec::new();
        for (band, lists) in self.by_band() {
            lists.visit(|entry| all.push((entry.arrival, StandingCopy::of(entry, band))));
        }
        all.sort_by_key(|(arrival, _)| *arrival);
        all.into_iter().map(|(_, copy)| copy).collect()
    }

    /// The copies that are next, about in the order in which they will be taken: those of higher bands first, in
    /// each in the order of arrival. At most `max`, and no more once they have `bytes_max` bytes. Looks at no more
    /// than `max` copies of each list.
    pub fn page(&self, max: usize, bytes_max: u64) -> Vec<WaitingCopy> {
        let mut all = Vec::new();
        self.visit_first_tried(max, |entry, due| {
            // What can be taken now comes first, what is to wait for its time last.
            let (order, number) = (if due.is_some() { u8::MAX } else { 0 }, all.len() as u64);
            all.push((order, number, WaitingCopy { due, ..WaitingCopy::of(entry) }));
        });
        for (band, lists) in self.by_band() {
            let mut see =
                |entry: &Entry| all.push((u8::MAX - band, entry.arrival, WaitingCopy::of(entry)));
            lists.qos0.iter().take(max).for_each(&mut see);
            lists.qos12.visit_first(max, see);
        }
        let aside = self.aside().map(|aside| aside.page(max, bytes_max)).unwrap_or_default();
        all.extend(aside.into_iter().map(|copy| (0, 0, copy)));
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
        if let Some(aside) = self.aside() {
            return aside.oldest();
        }
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
        let mut tried = None::<Time>;
        self.visit_tried(|entry| {
            let received = entry.message().map(|message| message.received);
            tried = tried.into_iter().chain(received).min();
        });
        let waiting = oldest.and_then(|(_, received)| received);
        tried.into_iter().chain(waiting).min()
    }

    /// How many copies have expired, and their bytes: they will go before any other makes room.
    pub fn expired(&self, now: Time) -> (u64, u64) {
        let mut expired = self.aside().map_or((0, 0), |aside| aside.expired(now));
        if self.expires > now {
            return expired;
        }
        for lists in self.all() {
            lists.visit(|entry| {
                if entry.expires() <= now {
                    expired = (expired.0 + 1, expired.1 + entry.bytes());
                }
            });
        }
        self.visit_tried(|entry| {
            if entry.expires() <= now {
                expired = (expired.0 + 1, expired.1 + entry.bytes());
            }
        });
        expired
    }
}
