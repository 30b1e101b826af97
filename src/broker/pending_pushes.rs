//! Copies that one turn has admitted and not yet pushed. A receiver's mailbox is locked once when the
//! turn first has something for it, for room, and once at the turn's end: not once a message.

use std::sync::Arc;

use super::mailbox::{Copy, Grant, Mailbox};
use super::matches::Match;
use crate::message::ReceiverId;

/// What a turn has for its receivers, by receiver, in the order of routing.
#[derive(Debug, Default)]
pub(super) struct PendingPushes {
    /// Those in use, then those of earlier turns with the memory they had.
    open: Vec<Open>,
    used: usize,
    /// Those in use are in the order of their keys.
    sorted: bool,
    /// One of them is a log.
    has_log: bool,
}

/// One receiver of this turn.
#[derive(Debug)]
pub(super) struct Open {
    receiver: ReceiverId,
    pub mailbox: Arc<Mailbox>,
    /// Room that is promised and not yet used.
    pub grant: Grant,
    pub copies: Vec<Copy>,
}

/// So many are kept for later turns; the first few with room for many copies, the others for some.
const KEPT: usize = 1024;
const FEW: usize = 64;
const COPIES_FEW: usize = 128;
const COPIES_MANY: usize = 8;

impl PendingPushes {
    /// How many receivers this turn has had so far: for [`PendingPushes::of`].
    pub fn receivers(&self) -> usize {
        self.used
    }

    /// This turn has no copies to push.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Whether a log has something to come.
    pub fn has_log(&self) -> bool {
        self.has_log
    }

    /// The place of a receiver. `before`: how many there were before its message; each message has
    /// its receivers once.
    #[inline(always)]
    pub fn of(&mut self, found: &Match, before: usize) -> &mut Open {
        let at = found.place() as usize;
        let known =
            self.open[..self.used].get(at).is_some_and(|open| open.receiver == found.receiver());
        let at = if known { at } else { self.place(found, before) };
        &mut self.open[at]
    }

    /// Empties it, receiver by receiver; `end` takes the copies out.
    pub fn drain(&mut self, mut end: impl FnMut(&mut Open)) {
        for (index, open) in self.open[..self.used].iter_mut().enumerate() {
            end(open);
            open.copies.clear();
            open.copies.shrink_to(if index < FEW { COPIES_FEW } else { COPIES_MANY });
        }
        self.used = 0;
        self.has_log = false;
        self.open.truncate(KEPT);
    }

    #[inline(always)] // In `of`.
    fn place(&mut self, found: &Match, before: usize) -> usize {
        let earlier = &self.open[..before];
        let same = if self.sorted {
            earlier.binary_search_by_key(&found.receiver(), |open| open.receiver).ok()
        } else {
            earlier.iter().position(|open| open.receiver == found.receiver())
        };
        let at = same.unwrap_or_else(|| self.begin(found));
        found.set_place(u32::try_from(at).unwrap_or(u32::MAX));
        at
    }

    #[inline(always)] // In `place`.
    fn begin(&mut self, found: &Match) -> usize {
        let at = self.used;
        let last = self.open[..at].last();
        self.has_log |= found.mailbox().owner().is_log();
        self.sorted = last.is_none_or(|last| self.sorted && last.receiver < found.receiver());
        match self.open.get_mut(at) {
            Some(open) => {
                open.receiver = found.receiver();
                open.mailbox.clone_from(found.mailbox());
                open.grant = Grant::default();
            }
            None => self.open.push(Open {
                receiver: found.receiver(),
                mailbox: found.mailbox().clone(),
                grant: Grant::default(),
                copies: Vec::new(),
            }),
        }
        self.used += 1;
        at
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::codec::{Properties, QoS};
    use crate::message::{ClientId, Draft, Identity, Message, Meter, SessionId, SubscriptionIds};
    use crate::time::Time;
    use crate::topic::TopicName;

    fn message(publisher: &Identity, payload: &str) -> Message {
        let draft = Draft {
            topic: TopicName::trusted("t"),
            qos: QoS::AtMostOnce,
            retain: false,
            expiry: None,
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        };
        draft.into_message(publisher, Time::START)
    }

    /// The naive twin is a list for each receiver.
    #[test]
    fn each_receiver_has_its_copies_in_the_order_of_routing() {
        let mut random = 3u64;
        let mut draw = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % below
        };
        let client = Arc::new(Identity::new(ClientId::new("c"), None, Meter::forever()));
        let receivers: Vec<_> = (0..40)
            .map(SessionId::new)
            .map(|id| {
                let mailbox = Arc::new(Mailbox::for_session(id, client.clone()));
                (ReceiverId::session(id), mailbox)
            })
            .collect();
        // Topics, each with its receivers as they were found: in order, or as it happened.
        let mut topics: Vec<Vec<Match>> = (0..6)
            .map(|topic| {
                let mut found: Vec<_> = (0..40).filter(|_| draw(3) == 0).collect();
                if topic % 2 == 1 {
                    found.reverse();
                }
                let found = found.into_iter().map(|n: usize| {
                    let (receiver, mailbox) = &receivers[n];
                    let ids = SubscriptionIds::default();
                    Match::new(*receiver, mailbox.clone(), QoS::AtMostOnce, false, ids)
                });
                found.collect()
            })
            .collect();
        let mut pending_pushes = PendingPushes::default();
        for turn in 0..200 {
            let mut twin: BTreeMap<ReceiverId, Vec<String>> = BTreeMap::new();
            for number in 0..draw(12) {
                let payload = format!("{turn}.{number}");
                let before = pending_pushes.receivers();
                for found in &topics[draw(6)] {
                    let (qos, ids) = (QoS::AtMostOnce, SubscriptionIds::default());
                    let message = message(&client, &payload);
                    let copy = Copy { message, qos, retain: false, ids, stored: false, band: 1 };
                    pending_pushes.of(found, before).copies.push(copy);
                    twin.entry(found.receiver()).or_default().push(payload.clone());
                }
            }
            let mut drained = BTreeMap::new();
            pending_pushes.drain(|open| {
                let text = |copy: &Copy| String::from_utf8_lossy(copy.message.payload()).into();
                let all: Vec<String> = open.copies.iter().map(text).collect();
                assert_eq!(drained.insert(open.receiver, all), None, "each receiver once");
            });
            assert_eq!(drained, twin);
            // What another thread remembers of places means nothing here.
            let topic = draw(6);
            topics[topic].iter_mut().for_each(|found| found.set_place(draw(50) as u32));
        }
    }
}
