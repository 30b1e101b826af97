//! Which client should get which message: routing in a few naive lines, for exact rounds.

use std::collections::{BTreeMap, BTreeSet};

use sluicemq::codec::{PacketId, Publish, QoS, Subscribe, Unsubscribe};
use sluicemq::message::SessionId;

use super::access::Rights;
use super::plan::SUBSCRIPTIONS_MAX;

#[derive(Debug)]
pub struct Oracle {
    rights: Rights,
    clients: Vec<Known>,
    /// Messages to topics of groups.
    shared: BTreeSet<u64>,
}

#[derive(Debug, Default)]
struct Known {
    session: Option<SessionId>,
    subscriptions: BTreeMap<String, (QoS, bool)>,
    routed: [u64; 2],
    above: BTreeSet<u64>,
    unreleased: BTreeSet<u16>,
}

impl Oracle {
    pub fn new(clients: usize, rights: Rights) -> Oracle {
        let clients = (0..clients).map(|_| Known::default()).collect();
        Oracle { rights, clients, shared: BTreeSet::new() }
    }

    /// The Session of `client` is now this one.
    pub fn session(&mut self, client: usize, session: Option<SessionId>) {
        if self.clients[client].session != session {
            self.clients[client] = Known { session, ..Known::default() };
        }
    }

    pub fn subscribe(&mut self, client: usize, subscribe: &Subscribe<'_>) {
        let subscriptions = &mut self.clients[client].subscriptions;
        for (filter, options) in &subscribe.filters {
            if !self.rights.subscribes(&format!("c{client}"), filter) {
                continue;
            }
            let full = subscriptions.len() >= SUBSCRIPTIONS_MAX as usize;
            if !full || subscriptions.contains_key(*filter) {
                subscriptions.insert((*filter).to_owned(), (options.qos, options.no_local));
            }
        }
    }

    pub fn unsubscribe(&mut self, client: usize, unsubscribe: &Unsubscribe<'_>) {
        for filter in &unsubscribe.filters {
            self.clients[client].subscriptions.remove(*filter);
        }
    }

    pub fn publish(&mut self, publisher: usize, publish: &Publish<'_>, number: u64) {
        if publish.qos == QoS::ExactlyOnce {
            let packet_id = publish.packet_id.map_or(0, std::num::NonZero::get);
            if !self.clients[publisher].unreleased.insert(packet_id) {
                return;
            }
        }
        if !self.rights.publishes(&format!("c{publisher}"), publish.topic) {
            return;
        }
        if publish.topic.starts_with("g/") || publish.topic.starts_with("q/") {
            self.shared.insert(number);
        }
        for (client, known) in self.clients.iter_mut().enumerate() {
            let granted = known.subscriptions.iter().filter(|(filter, (_, no_local))| {
                !(*no_local && client == publisher) && matches(filter, publish.topic)
            });
            let Some(qos) = granted.map(|(_, (qos, _))| *qos).max() else { continue };
            let qos = qos.min(publish.qos);
            let above = qos > QoS::AtMostOnce;
            known.routed[usize::from(above)] += 1;
            if above {
                known.above.insert(number);
            }
        }
    }

    /// An identifier of a `QoS` 2 message of `client` is free again.
    pub fn free(&mut self, client: usize, packet_id: u16) {
        self.clients[client].unreleased.remove(&packet_id);
    }

    /// These identifiers are not released at the beginning of a connection.
    pub fn resume(&mut self, client: usize, unreleased: &[PacketId]) {
        self.clients[client].unreleased = unreleased.iter().map(|id| id.get()).collect();
    }

    pub fn routed(&self, client: usize) -> [u64; 2] {
        self.clients[client].routed
    }

    pub fn above(&self, client: usize) -> &BTreeSet<u64> {
        &self.clients[client].above
    }

    pub fn shared(&self, number: u64) -> bool {
        self.shared.contains(&number)
    }
}

/// Shared filters match nothing here: which member of a group gets a message is not foretold.
fn matches(filter: &str, topic: &str) -> bool {
    fn levels(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => levels(filter, topic),
            ([a, filter @ ..], [b, topic @ ..]) => a == b && levels(filter, topic),
            _ => false,
        }
    }
    let split = |text: &'_ str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (filter, topic) = (split(filter), split(topic));
    let filter: Vec<_> = filter.iter().map(String::as_str).collect();
    let topic: Vec<_> = topic.iter().map(String::as_str).collect();
    filter.first() != Some(&"$share") && levels(&filter, &topic)
}
