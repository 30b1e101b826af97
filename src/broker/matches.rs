//! The receivers of one message, as the router has found them.

use std::cell::Cell;
use std::sync::Arc;

use hashbrown::HashTable;

use super::mailbox::Mailbox;
use crate::codec::QoS;
use crate::message::{ReceiverId, SubscriptionIds};
use crate::topic::spread;

/// A receiver of one message, its overlapping Subscriptions merged `[MQTT5-3.3.4-2]`.
#[derive(Debug)]
pub struct Match {
    receiver: ReceiverId,
    mailbox: Arc<Mailbox>,
    qos: QoS,
    retain_as_published: bool,
    ids: SubscriptionIds,
    /// Where the turn has it, if it has.
    place: Cell<u32>,
}

impl Match {
    /// A receiver with what one matching Subscription has: its granted `QoS`, whether it keeps the
    /// RETAIN flag, its identifier.
    pub fn new(
        receiver: ReceiverId,
        mailbox: Arc<Mailbox>,
        qos: QoS,
        retain_as_published: bool,
        ids: SubscriptionIds,
    ) -> Match {
        Match { receiver, mailbox, qos, retain_as_published, ids, place: Cell::new(u32::MAX) }
    }

    /// The receiver.
    #[inline]
    pub fn receiver(&self) -> ReceiverId {
        self.receiver
    }

    /// Where its messages wait.
    #[inline]
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// The highest `QoS` granted by a matching Subscription.
    #[inline]
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// Whether one of the Subscriptions keeps the RETAIN flag.
    #[inline]
    pub fn retain_as_published(&self) -> bool {
        self.retain_as_published
    }

    /// The identifiers of all matching Subscriptions.
    #[inline]
    pub fn ids(&self) -> &SubscriptionIds {
        &self.ids
    }

    /// Where the turn has it; any number if it has it not.
    #[inline]
    pub(super) fn place(&self) -> u32 {
        self.place.get()
    }

    /// Another of its Subscriptions matches too.
    #[inline]
    fn join(&mut self, qos: QoS, retain_as_published: bool, id: u32) {
        self.qos = self.qos.max(qos);
        self.retain_as_published |= retain_as_published;
        self.ids.add(id);
    }

    /// Remembers where the turn has it.
    #[inline]
    pub(super) fn set_place(&self, place: u32) {
        self.place.set(place);
    }
}

/// Gathers the Subscriptions that match one message by receiver: the highest `QoS`, every identifier
/// `[MQTT5-3.3.4-4]`.
///
/// Mostly each receiver comes once and in order, and is only pushed. Where many Subscriptions of the same
/// receivers match, each one costs a look into an index, and no sorting of all of them.
#[derive(Debug)]
pub(super) struct MatchGathering<'m> {
    matches: &'m mut Vec<Match>,
    /// So many came in the order of their numbers, each once; the others stand behind them.
    ordered: usize,
    /// Where each receiver stands, once there is an index.
    places: HashTable<u32>,
    /// Subscriptions, each counted.
    subscriptions: usize,
}

/// So many out of order, beside a part of those in order, before there is an index.
const UNORDERED_MAX: usize = 64;

impl<'m> MatchGathering<'m> {
    /// Into `matches`, which is empty.
    pub fn new(matches: &'m mut Vec<Match>) -> MatchGathering<'m> {
        debug_assert!(matches.is_empty());
        MatchGathering { matches, ordered: 0, places: HashTable::new(), subscriptions: 0 }
    }

    /// One more matching Subscription: its granted `QoS`, whether it keeps the RETAIN flag, its
    /// identifier.
    #[inline]
    pub fn add(
        &mut self,
        receiver: ReceiverId,
        (qos, retain_as_published, id): (QoS, bool, u32),
        mailbox: &Arc<Mailbox>,
    ) {
        self.subscriptions += 1;
        let len = self.matches.len();
        let new = || {
            let ids = SubscriptionIds::new(id);
            Match::new(receiver, mailbox.clone(), qos, retain_as_published, ids)
        };
        if self.ordered == len && self.matches.last().is_none_or(|last| last.receiver < receiver) {
            self.matches.push(new());
            self.ordered += 1;
            return;
        }
        if len - self.ordered < UNORDERED_MAX + self.ordered / 4 && self.places.is_empty() {
            self.matches.push(new());
            return;
        }
        if self.places.is_empty() {
            self.index();
        }
        let hash = |receiver: ReceiverId| spread(receiver.to_bits());
        let matches = &mut *self.matches;
        let same = |place: &u32| matches[*place as usize].receiver == receiver;
        if let Some(place) = self.places.find(hash(receiver), same) {
            matches[*place as usize].join(qos, retain_as_published, id);
            return;
        }
        let place = u32::try_from(matches.len()).expect("memory ends before the numbers do");
        matches.push(new());
        let rehash = |place: &u32| hash(matches[*place as usize].receiver);
        self.places.insert_unique(hash(receiver), place, rehash);
    }

    /// Puts the receivers in order, each once. Returns how many Subscriptions there were beyond one for
    /// each.
    pub fn finish(self) -> usize {
        if self.ordered < self.matches.len() {
            merge(self.matches);
        }
        self.subscriptions - self.matches.len()
    }

    #[cold]
    fn index(&mut self) {
        merge(self.matches);
        self.ordered = 0;
        let hash = |found: &Match| spread(found.receiver.to_bits());
        let matches = &*self.matches;
        for (place, found) in (0..).zip(matches) {
            self.places.insert_unique(hash(found), place, |at| hash(&matches[*at as usize]));
        }
    }
}

/// Makes each receiver stand once.
fn merge(matches: &mut Vec<Match>) {
    matches.sort_by_key(|found| found.receiver);
    matches.dedup_by(|next, kept| {
        if next.receiver != kept.receiver {
            return false;
        }
        kept.qos = kept.qos.max(next.qos);
        kept.retain_as_published |= next.retain_as_published;
        for id in next.ids.as_slice() {
            kept.ids.add(*id);
        }
        true
    });
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::message::{ClientId, Identity, Meter, SessionId};
    use crate::random::Random;

    /// What a receiver is to have: its highest `QoS`, RETAIN, the identifiers in their order.
    type Gathered = (QoS, bool, Vec<u32>);

    /// The naive twin is a map.
    #[test]
    fn receivers_are_gathered_as_a_map_gathers_them() {
        for seed in 1..=200 {
            let mut random = Random::new(seed);
            let clients = 1 + random.below(300);
            let mailboxes: Vec<_> = (0..clients as u64)
                .map(|number| {
                    let identity = Identity::new(ClientId::new("c"), None, Meter::forever());
                    Arc::new(Mailbox::for_session(SessionId::new(number + 1), identity.into()))
                })
                .collect();
            let mut twin = BTreeMap::<ReceiverId, Gathered>::new();
            let mut matches = Vec::new();
            let mut gathering = MatchGathering::new(&mut matches);
            let mut added = 0;
            for _ in 0..random.below(40) {
                // Some filters have all clients in order, some have one.
                let (from, many) = (random.below(clients), random.below(3) == 0);
                let to = if many { clients } else { from + 1 };
                for (number, mailbox) in mailboxes.iter().enumerate().take(to).skip(from) {
                    let receiver = ReceiverId::session(SessionId::new(number as u64 + 1));
                    let qos = QoS::from_bits(random.below(3) as u8).expect("a level");
                    let (retain, id) = (random.chance(), random.below(4) as u32);
                    gathering.add(receiver, (qos, retain, id), mailbox);
                    let nothing = (QoS::AtMostOnce, false, Vec::new());
                    let has = twin.entry(receiver).or_insert(nothing);
                    *has = (has.0.max(qos), has.1 | retain, std::mem::take(&mut has.2));
                    has.2.extend((id > 0).then_some(id));
                    added += 1;
                }
            }
            assert_eq!(gathering.finish(), added - twin.len(), "seed {seed}");
            let matches = matches.iter().map(|found| {
                let gathered =
                    (found.qos, found.retain_as_published, found.ids.as_slice().to_vec());
                (found.receiver, gathered)
            });
            assert!(matches.eq(twin), "seed {seed}");
        }
    }
}
