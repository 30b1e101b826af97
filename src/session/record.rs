//! What is remembered of a Session: one [`Op`] sets or deletes exactly one key.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::will::WillMessage;
use super::window::FlightStage;
use super::{Owed, Session, Subscription};
use crate::codec::{PacketId, SubscribeOptions};
use crate::message::{Delivery, GroupId, Identity, Mid};
use crate::time::Time;
use crate::topic::TopicFilter;

/// One remembered fact. It is idempotent: it sets a value and never changes one by a difference, so
/// that a journal of Ops and a table of rows have the same content.
#[derive(Clone, Debug)]
pub enum Op {
    /// The Session exists and outlives its connection.
    Session {
        /// Its client.
        identity: Arc<Identity>,
        /// Session Expiry Interval, seconds.
        expiry: u32,
    },
    /// Its client is not connected.
    Parked {
        /// When the connection ended: the expiry counts from then.
        since: Time,
        /// The broker stopped before that: it is when it started again.
        crashed: bool,
    },
    /// Its client is connected.
    Attached,
    /// No such Session any more, and nothing that belongs to it.
    Ended,
    /// A Subscription as it is now.
    Subscribed {
        /// The whole filter.
        filter: TopicFilter,
        /// Its options.
        options: SubscribeOptions,
        /// Its Subscription Identifier, 0 for none.
        id: u32,
        /// Retained messages that the client has not been sent yet.
        owes: Option<Box<Owed>>,
    },
    /// No such Subscription any more.
    Unsubscribed {
        /// The whole filter.
        filter: TopicFilter,
    },
    /// A message is in flight under this identifier.
    Sent {
        /// Chosen by us.
        packet_id: PacketId,
        /// The copy.
        delivery: Delivery,
    },
    /// PUBREC seen: only PUBREL may be sent from now on.
    Released {
        /// Chosen by us.
        packet_id: PacketId,
        /// The group it came from.
        group: Option<GroupId>,
        /// The message, if the store still keeps it for the receiver.
        mid: Option<Mid>,
        /// The ledger has it already.
        lost: bool,
    },
    /// The identifier is free again.
    Done {
        /// Chosen by us.
        packet_id: PacketId,
    },
    /// A `QoS` 2 message was received under this identifier.
    Received {
        /// Chosen by the client.
        packet_id: PacketId,
    },
    /// PUBREL seen: the identifier is free again.
    Forgotten {
        /// Chosen by the client.
        packet_id: PacketId,
    },
    /// The Will of the connection, and its client: it is kept for every connection that has one.
    Will(Arc<WillMessage>, Arc<Identity>),
    /// No Will any more.
    WillGone,
}

/// A Session as a store remembers it, put together at a start.
#[derive(Clone, Debug)]
pub struct Record {
    pub(super) identity: Arc<Identity>,
    pub(super) expiry: u32,
    pub(super) parked: Option<Time>,
    pub(super) crashed: Option<Time>,
    pub(super) subscriptions: Vec<(TopicFilter, Subscription)>,
    pub(super) owed: Vec<(TopicFilter, Owed)>,
    pub(super) flights: Vec<(PacketId, FlightStage)>,
    pub(super) received: Vec<PacketId>,
    pub(super) will: Option<Arc<WillMessage>>,
}

impl Record {
    /// A Session of which nothing else is known yet.
    pub fn new(identity: Arc<Identity>, expiry: u32) -> Record {
        Record {
            identity,
            expiry,
            parked: None,
            crashed: None,
            subscriptions: Vec::new(),
            owed: Vec::new(),
            flights: Vec::new(),
            received: Vec::new(),
            will: None,
        }
    }

    /// Adds what a store has: each of its rows is the Op that states it.
    pub fn add(&mut self, op: Op) {
        match op {
            Op::Session { identity, expiry } => (self.identity, self.expiry) = (identity, expiry),
            Op::Parked { since, crashed: false } => self.parked = Some(since),
            Op::Parked { since, crashed: true } => self.crashed = Some(since),
            Op::Subscribed { filter, options, id, owes } => {
                self.owed.extend(owes.map(|owes| (filter.clone(), *owes)));
                self.subscriptions.push((filter, Subscription { options, id }));
            }
            Op::Sent { packet_id, delivery } => {
                self.flights.push((packet_id, FlightStage::Sent(delivery)));
            }
            Op::Released { packet_id, group, mid, lost } => {
                self.flights.push((packet_id, FlightStage::Released { group, mid, lost }));
            }
            Op::Received { packet_id } => self.received.push(packet_id),
            Op::Will(will, _) => self.will = Some(will),
            // These delete a row: a store has none of them.
            Op::Attached
            | Op::Ended
            | Op::Unsubscribed { .. }
            | Op::Done { .. }
            | Op::Forgotten { .. }
            | Op::WillGone => {}
        }
    }

    /// Takes out what was in flight and is given back, by `takes`. Returns the identifiers, which are free.
    pub fn take_back(&mut self, takes: impl Fn(&Delivery) -> bool) -> Vec<PacketId> {
        let is_taken =
            |state: &FlightStage| matches!(state, FlightStage::Sent(delivery) if takes(delivery));
        let taken = self.flights.extract_if(.., |(_, state)| is_taken(state));
        taken.map(|(packet_id, _)| packet_id).collect()
    }

    /// What is in flight to its client, to change it.
    pub fn flights_mut(&mut self) -> &mut [(PacketId, FlightStage)] {
        &mut self.flights
    }

    /// Copies in flight that were tried before say so: `attempts` returns how many attempts at a group's message
    /// have failed.
    pub fn note_attempts(&mut self, attempts: impl Fn(GroupId, Mid) -> Option<u16>) {
        for (_, state) in &mut self.flights {
            if let FlightStage::Sent(delivery) = state
                && let Some((group, mid)) = delivery.group.zip(delivery.mid())
                && let Some(attempts) = attempts(group, mid)
            {
                delivery.message = delivery.message.tried(attempts);
            }
        }
    }

    /// Its client.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Session Expiry Interval.
    pub fn expiry(&self) -> u32 {
        self.expiry
    }

    /// Since when its client is not connected; `None`: it was connected to the end.
    pub fn parked(&self) -> Option<Time> {
        self.parked
    }

    /// If it was connected to the end: when the broker started for the first time after that, if it has done so
    /// before.
    pub fn crashed(&self) -> Option<Time> {
        self.crashed
    }

    /// Its Subscriptions.
    pub fn subscriptions(&self) -> &[(TopicFilter, Subscription)] {
        &self.subscriptions
    }

    /// What is in flight to its client, in the order of sending.
    pub fn flights(&self) -> &[(PacketId, FlightStage)] {
        &self.flights
    }

    /// The Will of its last connection.
    pub fn will(&self) -> Option<&WillMessage> {
        self.will.as_deref()
    }
}

impl Session {
    /// What is in flight, in the order of sending.
    pub fn stages(&self) -> impl Iterator<Item = &FlightStage> {
        self.window.flights().map(|flight| &flight.state)
    }

    /// What a store knows of it, each fact as the [`Op`] that states it: to be made again from a [`Record`] of them. Its
    /// connection has ended at `since`. A Will of which only the store knows what it says is left out.
    pub fn facts(&mut self, since: Time) -> Vec<Op> {
        let (identity, expiry) = (self.identity.clone(), self.terms.expiry);
        let parked = Op::Parked { since, crashed: false };
        let mut facts = vec![Op::Session { identity: identity.clone(), expiry }, parked];
        let owed = |(filter, owes): (TopicFilter, Option<Owed>)| (filter, owes.map(Box::new));
        let cursors = self.cursors.iter_mut().map(|cursor| (cursor.filter.clone(), cursor.owed()));
        let mut owing: BTreeMap<_, _> = cursors.map(owed).collect();
        facts.extend(self.subscriptions.iter().map(|(filter, Subscription { options, id })| {
            let owes = owing.remove(filter).flatten();
            Op::Subscribed { filter: filter.clone(), options: *options, id: *id, owes }
        }));
        for flight in self.window.flights() {
            let packet_id = flight.packet_id;
            facts.push(match &flight.state {
                FlightStage::Sent(delivery) => Op::Sent { packet_id, delivery: delivery.clone() },
                FlightStage::Released { group, mid, lost } => {
                    Op::Released { packet_id, group: *group, mid: *mid, lost: *lost }
                }
                // The queue has it back, and the connection is over.
                FlightStage::GivenAway(..) => continue,
            });
        }
        facts.extend(self.received.iter().map(|packet_id| Op::Received { packet_id }));
        let will = self.will.iter().filter(|will| !will.is_stored());
        facts.extend(will.map(|will| Op::Will(will.clone(), identity.clone())));
        facts
    }
}
