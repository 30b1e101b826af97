//! How a thread opens connections and makes subscriptions: so many at once, or so many a second;
//! and what it does when one is refused or lost.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::atomic::Ordering;

use mio::Token;
use sluicemq::codec::{
    Connect, Packet, PacketId, Properties, Publish, QoS, Reason, Subscribe, SubscribeOptions,
};

use super::book::Happened;
use super::shared::Connecting;
use super::slot::Life;
use super::socket::Socket;
use super::worker::Worker;
use crate::client::{PUBREL, Phase};
use crate::error::{Error, in_words};
use crate::plan::{Plan, Subscribing};
use crate::stamp::Stamp;
use crate::window::State;

/// Connections that are to be opened.
pub struct Dialing {
    /// The clients that are next.
    queue: VecDeque<u32>,
    /// When a client is tried again, and its number.
    retries: VecDeque<(u64, u32)>,
    /// Begun and not yet accepted.
    under_way: usize,
    /// Most of those.
    under_way_max: usize,
    /// Nanoseconds from one to the next, if they are paced.
    every_ns: Option<u64>,
    /// When the next may begin.
    next_ns: u64,
    /// With their subscriptions.
    subscribe: bool,
    /// Without the Session that may be there.
    clean: bool,
    /// A storm: connections still to be made.
    storm: Option<u64>,
    /// Clients that the present command is about.
    wanted: u64,
}

impl Dialing {
    /// None yet; the plan's rate is dealt to `threads`.
    pub fn new(plan: &Plan, threads: usize) -> Dialing {
        Dialing {
            queue: VecDeque::new(),
            retries: VecDeque::new(),
            under_way: 0,
            under_way_max: (UNDER_WAY_MAX / threads).max(1),
            every_ns: plan.connect_rate.map(|rate| (1e9 / rate * threads as f64) as u64),
            next_ns: 0,
            subscribe: true,
            clean: false,
            storm: None,
            wanted: 0,
        }
    }
}

impl Worker {
    /// Begins to open the connections of a group.
    pub(super) fn connect(&mut self, connecting: Connecting) {
        let Connecting { group, subscribe, clean } = connecting;
        self.book.counts.settled = 0;
        (self.dialing.subscribe, self.dialing.clean) = (subscribe, clean);
        self.dialing.storm = None;
        self.dialing.next_ns = self.now_ns();
        let members = self.of_group(group);
        self.dialing.wanted = members.len() as u64;
        self.dialing.queue.extend(members.into_iter().map(|at| at as u32));
        self.shared.nudge();
    }

    /// Begins to connect and disconnect the clients of a group, `count` times in all.
    pub(super) fn storm(&mut self, group: usize, count: u64) {
        self.connect(Connecting { group, subscribe: false, clean: false });
        self.dialing.storm = Some(count);
        self.dialing.wanted = count;
    }

    /// Opens no more connections of a group.
    pub(super) fn calm(&mut self, group: usize) {
        let slots = &self.slots;
        let others = |at: u32| usize::from(slots[at as usize].group) != group;
        self.dialing.queue.retain(|at| others(*at));
        self.dialing.retries.retain(|retry| others(retry.1));
        self.dialing.storm = None;
    }

    /// The subscriptions of a connected group.
    pub(super) fn subscribe_all(&mut self, group: usize) -> Result<(), Error> {
        self.book.counts.settled = 0;
        let members = self.of_group(group);
        self.dialing.wanted = members.len() as u64;
        for at in members {
            self.out.clear();
            if self.slots[at].life == Life::Ready && !self.subscribe_more(at)? {
                self.settle();
            }
            self.write(at)?;
        }
        Ok(())
    }

    /// Opens connections as far as pace and number allow.
    pub(super) fn dial_some(&mut self, now_ns: u64) -> Result<(), Error> {
        while self.dialing.retries.front().is_some_and(|retry| retry.0 <= now_ns) {
            let retry = self.dialing.retries.pop_front();
            self.dialing.queue.extend(retry.map(|(_, at)| at));
        }
        let mut begun = 0;
        while self.dialing.under_way < self.dialing.under_way_max && begun < UNDER_WAY_MAX {
            if self.dialing.every_ns.is_some() && self.dialing.next_ns > now_ns {
                break;
            }
            let Some(at) = self.dialing.queue.pop_front() else { break };
            if let Some(left) = &mut self.dialing.storm {
                let Some(rest) = left.checked_sub(1) else { continue };
                *left = rest;
            }
            self.dialing.next_ns += self.dialing.every_ns.unwrap_or(0);
            self.dial(at as usize)?;
            begun += 1;
        }
        Ok(())
    }

    /// When the next connection may be begun, if only time is waited for.
    pub(super) fn next_dial_ns(&self, now_ns: u64) -> Option<u64> {
        let dialing = &self.dialing;
        let retry = dialing.retries.front().map(|retry| retry.0);
        let free = !dialing.queue.is_empty() && dialing.under_way < dialing.under_way_max;
        let next = free.then(|| dialing.every_ns.map_or(now_ns, |_| dialing.next_ns));
        retry.into_iter().chain(next).min()
    }

    fn dial(&mut self, at: usize) -> Result<(), Error> {
        let sources = &self.broker.sources;
        let number = self.slots[at].number;
        let source = (!sources.is_empty()).then(|| sources[number as usize % sources.len()]);
        self.slots[at].opened_ns = self.now_ns();
        match Socket::dial(&self.broker, number, source, self.poll.registry(), Token(at)) {
            Ok(socket) => {
                let slot = &mut self.slots[at];
                slot.socket = Some(socket);
                slot.life = Life::Dialing;
                self.dialing.under_way += 1;
                Ok(())
            }
            Err(error) => self.on_failed(at, Failed::Unreachable(error.to_string())),
        }
    }

    /// The socket can be written for the first time: the connection is there, or it is not.
    pub(super) fn on_dialed(&mut self, at: usize) -> Result<(), Error> {
        let slot = &mut self.slots[at];
        let dialed = slot.socket.as_ref().map_or(Ok(()), Socket::dialed);
        if let Err(error) = dialed {
            return self.on_failed(at, Failed::Unreachable(error.to_string()));
        }
        self.slots[at].life = Life::Asking;
        self.out.clear();
        self.put_connect(at)?;
        self.write(at)
    }

    fn put_connect(&mut self, at: usize) -> Result<(), Error> {
        let plan = &self.plan;
        let member = plan.member(self.slots[at].number);
        let client_id = plan.client_id(&member);
        let persistent = member.group.persistent && !self.dialing.clean;
        let connect = Connect {
            version: plan.version,
            clean_start: !persistent,
            keep_alive: plan.keep_alive_s,
            client_id: &client_id,
            session_expiry: if persistent { u32::MAX } else { 0 },
            receive_maximum: plan.receive_maximum.unwrap_or(NonZeroU16::MAX),
            user_name: self.broker.user.as_deref(),
            password: self.broker.password.as_deref().map(str::as_bytes),
            ..Connect::default()
        };
        let packet = Packet::Connect(Box::new(connect));
        self.slots[at].client.connect(packet, &mut self.out).map_err(Error::Input)
    }

    /// What a client was told beside messages.
    pub(super) fn on_happened(&mut self, at: usize, happened: Happened) -> Result<(), Error> {
        match happened {
            Happened::Answered { reason, .. } if reason.is_error() => {
                self.on_failed(at, Failed::Refused(reason))
            }
            Happened::Answered { session_present, receive_maximum, packet_max, .. } => {
                if let Some(sender) = &mut self.slots[at].sender {
                    sender.limit(receive_maximum);
                    let longest = self.plan.load.payload.max();
                    if let Some(most) = packet_max.filter(|most| *most < longest) {
                        let name = &self.broker.name;
                        return Err(Error::Input(format!(
                            "{name} takes packets of {most} bytes at most: a payload of {longest} is too long"
                        )));
                    }
                }
                self.on_accepted(at, session_present)
            }
            Happened::Subscribed(reasons) => self.on_subscribed(at, &reasons),
            Happened::Dismissed(reason) => {
                let why = format!("the broker said: {}", in_words(reason));
                self.on_lost(at, &why)
            }
        }
    }

    fn on_accepted(&mut self, at: usize, session_present: bool) -> Result<(), Error> {
        let now_ns = self.now_ns();
        let counts = &mut self.book.counts;
        counts.opened += 1;
        counts.open += 1;
        if counts.first_loss_ns != 0 {
            counts.last_return_ns = now_ns;
            if counts.first_return_ns == 0 {
                counts.first_return_ns = now_ns;
            }
        }
        self.dialing.under_way = self.dialing.under_way.saturating_sub(1);
        let slot = &mut self.slots[at];
        self.book.connect.record(now_ns - slot.opened_ns);
        slot.life = Life::Ready;
        if self.dialing.storm.is_some() {
            self.leave(at);
            self.dialing.queue.push_back(at as u32);
            self.settle();
            return Ok(());
        }
        self.resend(at)?;
        let slot = &mut self.slots[at];
        if !session_present {
            slot.subscribed = 0;
        }
        if self.dialing.subscribe && self.subscribe_more(at)? {
            return Ok(());
        }
        self.on_ready(at);
        Ok(())
    }

    /// Appends a SUBSCRIBE for the filters that come next, if there are any.
    fn subscribe_more(&mut self, at: usize) -> Result<bool, Error> {
        let slot = &mut self.slots[at];
        let member = self.plan.member(slot.number);
        let next: Vec<(String, &Subscribing)> = member
            .filters_from(slot.subscribed)
            .take(FILTERS_MAX)
            .map(|(filter, subscribing)| (subscribing.on_the_wire(filter), subscribing))
            .collect();
        if next.is_empty() {
            return Ok(false);
        }
        slot.asked = next.len() as u16;
        slot.life = Life::Subscribing;
        let options = |qos: QoS| SubscribeOptions { qos, ..SubscribeOptions::default() };
        let packet = Packet::Subscribe(Subscribe {
            rest: &[],
            packet_id: SUBSCRIBE_ID,
            subscription_id: None,
            user_properties: Properties::EMPTY,
            filters: next
                .iter()
                .map(|(filter, subscribing)| (filter.as_str(), options(subscribing.qos)))
                .collect(),
        });
        slot.client.put(&packet, &mut self.out).map_err(Error::Input)?;
        Ok(true)
    }

    fn on_subscribed(&mut self, at: usize, reasons: &[Reason]) -> Result<(), Error> {
        let slot = &mut self.slots[at];
        if let Some((place, reason)) =
            reasons.iter().enumerate().find(|(_, reason)| reason.is_error())
        {
            let member = self.plan.member(slot.number);
            let filter = member.filters().nth(slot.subscribed as usize + place);
            return Err(Error::NotSubscribed {
                address: self.broker.name.clone(),
                client: self.plan.client_id(&member),
                filter: filter.map_or_else(String::new, |(filter, of)| of.on_the_wire(filter)),
                reason: *reason,
            });
        }
        slot.subscribed += u32::from(std::mem::take(&mut slot.asked));
        if !self.subscribe_more(at)? {
            self.on_ready(at);
        }
        Ok(())
    }

    fn on_ready(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        slot.life = Life::Ready;
        slot.stalled = self.plan.groups[usize::from(slot.group)].stalls;
        self.settle();
        self.may_publish(at);
    }

    /// A client is done with the present command.
    fn settle(&mut self) {
        self.book.counts.settled += 1;
        if self.book.counts.settled >= self.dialing.wanted {
            self.shared.nudge();
        }
    }

    /// Sends again what was in flight when the connection was lost.
    fn resend(&mut self, at: usize) -> Result<(), Error> {
        let slot = &mut self.slots[at];
        let Some(window) = slot.client.window().filter(|window| !window.is_empty()) else {
            return Ok(());
        };
        self.shared.resent.store(true, Ordering::Relaxed);
        for (id, sent, state) in window.unfinished() {
            if state == State::Released {
                let [high, low] = id.get().to_be_bytes();
                self.out.extend_from_slice(&[PUBREL, 2, high, low]);
                continue;
            }
            let stream = &self.shared.routes.streams[sent.stream as usize];
            let len = self.plan.load.payload.draw(self.plan.seed, sent.stream, sent.sequence);
            let stamp = Stamp {
                run: self.plan.run,
                stream: sent.stream,
                sequence: sent.sequence,
                due_ns: sent.due_ns,
            };
            stamp.write(len as usize, &mut self.payload);
            let packet = Packet::Publish(Publish {
                dup: true,
                qos: stream.qos,
                retain: stream.retain,
                topic: &stream.topic,
                packet_id: Some(id),
                payload: &self.payload,
                ..Publish::default()
            });
            slot.client.put(&packet, &mut self.out).map_err(Error::Input)?;
        }
        Ok(())
    }

    /// Ends a connection in peace.
    pub(super) fn leave(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        if matches!(slot.life, Life::Dialing | Life::Asking) {
            self.dialing.under_way = self.dialing.under_way.saturating_sub(1);
        }
        if slot.client.phase() == Phase::Open {
            self.book.counts.open -= 1;
            let mut goodbye = Vec::new();
            slot.client.disconnect(&mut goodbye);
            if let Some(socket) = slot.socket.as_mut().filter(|_| slot.backlog.is_empty()) {
                // If it does not go out, the end of the connection says the same.
                let _ = socket.write(&goodbye);
            }
        }
        slot.client.lost(true);
        slot.life = Life::Apart;
        self.forget(at);
    }

    /// A connection is gone that should not be.
    pub(super) fn on_lost(&mut self, at: usize, why: &str) -> Result<(), Error> {
        let slot = &mut self.slots[at];
        match slot.life {
            Life::Apart => return Ok(()),
            Life::Dialing | Life::Asking => {
                return self.on_failed(at, Failed::Unreachable(why.to_string()));
            }
            Life::Subscribing | Life::Ready => {}
        }
        let group = &self.plan.groups[usize::from(slot.group)];
        let (number, subscribing) = (slot.number, slot.life == Life::Subscribing);
        slot.life = Life::Apart;
        slot.client.lost(group.persistent);
        if !group.persistent {
            slot.subscribed = 0;
        }
        let reconnects = group.reconnects;
        self.forget(at);
        let now_ns = self.now_ns();
        let counts = &mut self.book.counts;
        counts.open -= 1;
        counts.lost += 1;
        self.book.note_loss(number, why);
        let counts = &mut self.book.counts;
        if counts.first_loss_ns == 0 {
            counts.first_loss_ns = now_ns;
        }
        if reconnects {
            self.dialing.retries.push_back((now_ns + RETRY_NS, at as u32));
        } else if subscribing && !self.plan.tolerant {
            let address = self.broker.name.clone();
            return Err(Error::Unreachable { address, why: format!("while subscribing: {why}") });
        } else {
            self.abandon(at);
        }
        self.shared.nudge();
        Ok(())
    }

    /// A connection could not be opened.
    fn on_failed(&mut self, at: usize, failed: Failed) -> Result<(), Error> {
        let slot = &mut self.slots[at];
        if slot.life != Life::Apart {
            self.dialing.under_way = self.dialing.under_way.saturating_sub(1);
        }
        slot.life = Life::Apart;
        slot.client.lost(true);
        let group = &self.plan.groups[usize::from(slot.group)];
        let reconnects = group.reconnects && self.book.counts.first_loss_ns != 0;
        self.forget(at);
        if reconnects {
            self.dialing.retries.push_back((self.now_ns() + RETRY_NS, at as u32));
            return Ok(());
        }
        // If not even one comes in, that is no result but a wrong address or password.
        if self.plan.tolerant && self.book.counts.opened > 0 {
            let number = self.slots[at].number;
            self.book.note_loss(number, &failed.in_words());
            self.book.counts.failed += 1;
            self.settle();
            return Ok(());
        }
        let address = self.broker.name.clone();
        Err(match failed {
            Failed::Unreachable(why) => Error::Unreachable { address, why },
            Failed::Refused(reason) => {
                let client = self.plan.client_id(&self.plan.member(self.slots[at].number));
                Error::Refused { address, client, reason }
            }
        })
    }
}

/// Why a connection could not be opened.
enum Failed {
    Unreachable(String),
    Refused(Reason),
}

impl Failed {
    fn in_words(&self) -> String {
        match self {
            Failed::Unreachable(why) => why.clone(),
            Failed::Refused(reason) => format!("refused: {}", in_words(*reason)),
        }
    }
}

/// Connections begun and not yet accepted, at most: below the backlog that listeners usually have.
const UNDER_WAY_MAX: usize = 100;
/// Topic Filters in one SUBSCRIBE: few enough for every broker.
const FILTERS_MAX: usize = 16;
/// Only one SUBSCRIBE of a client is under way at a time, and publishers do not subscribe.
const SUBSCRIBE_ID: PacketId = PacketId::MAX;
/// After a connection was lost or refused, it is tried again so much later.
const RETRY_NS: u64 = 100_000_000;
