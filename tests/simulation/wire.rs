//! Both ends of a wire: a turn of the broker's link, and a client that reads what it wrote.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::task::Waker;

use sluicemq::broker::NOBODY_READS;
use sluicemq::codec::{
    self, Ack, DecodeLimits, Decoded, Packet, Publish, QoS, Reason, Sender, Version,
};
use sluicemq::time::Time;

use super::behaviour::send_to;
use super::work::count;
use super::{TOPICS, World};
use crate::client::{Conn, Reply};
use crate::extras::{LATE, ONCE};

impl World {
    /// One connection that has something to do has its turn.
    pub(super) fn turn_of_one(&mut self) -> bool {
        let now = self.now;
        let ready: Vec<_> =
            self.conns.iter().filter(|(_, conn)| is_ready(conn, now)).map(|(id, _)| *id).collect();
        if ready.is_empty() {
            return false;
        }
        let id = self.random.pick(&ready);
        self.turn(id);
        self.audit();
        true
    }

    /// A turn as `net/serve` does it: reads, the link's poll, writes.
    fn turn(&mut self, id: usize) {
        let Some(mut conn) = self.conns.remove(&id) else { return };
        conn.flag.lower();
        conn.busy = false;
        let mut reads = 0;
        while reads < 4 && !conn.over {
            if conn.unread {
                conn.unread = false;
            } else if conn.read && !conn.transit.is_empty() {
                let all = self.quiet || self.random.percent(60);
                let most = conn.transit.len();
                let n = if all { most } else { 1 + self.random.below(most) };
                conn.arrived.extend(conn.transit.drain(..n));
            } else if conn.read && conn.left {
                self.note(&format!("{id} hangs up"));
                conn.link.hang_up(self.now, &mut self.turn);
                self.note_parted(&mut conn);
                self.turn.out.clear();
                return;
            } else {
                break;
            }
            let used = conn.link.receive(&conn.arrived, self.now, &mut self.turn);
            let consumed: Vec<u8> = conn.arrived.drain(..used).collect();
            self.consumed(&mut conn, &consumed);
            self.look(id, &mut conn, used);
            reads += 1;
            if conn.link.holds_back() {
                break;
            }
        }
        if !conn.over {
            let waker = Waker::from(conn.flag.clone());
            let unwritten = if conn.gone { NOBODY_READS } else { conn.wire.len() };
            let flow = conn.link.poll(&waker, self.now, unwritten, &mut self.turn);
            let resumed = flow.read && !conn.read;
            self.reached.paused += u64::from(!flow.read && !flow.close);
            conn.read = flow.read;
            conn.unread = flow.unread;
            if !flow.read && !conn.gone && self.look_ahead(id, &mut conn) {
                return;
            }
            self.look(id, &mut conn, 0);
            // A real socket takes some at once; here nothing is ever written at once.
            let blocked = !conn.wire.is_empty() || conn.gone;
            conn.busy = reads == 4 || flow.unread || resumed || (flow.more && !blocked);
            assert_eq!(flow.close, conn.link.is_closed());
        }
        self.conns.insert(id, conn);
    }

    /// Reads on while the link is held up. Returns whether its client has gone, and nothing waits.
    fn look_ahead(&mut self, id: usize, conn: &mut Conn) -> bool {
        let Some(room) = conn.link.room_ahead(&conn.arrived) else { return false };
        let most = room.min(conn.transit.len());
        let all = self.quiet || self.random.percent(60);
        let n = if all { most } else { self.random.below(most + 1) };
        conn.arrived.extend(conn.transit.drain(..n));
        if conn.transit.is_empty() && conn.left && room > n {
            if !conn.link.outlives(&conn.arrived, false) {
                self.look(id, conn, 0);
                self.note(&format!("{id} hangs up while it waits"));
                conn.link.hang_up(self.now, &mut self.turn);
                self.note_parted(conn);
                self.turn.out.clear();
                return true;
            }
            self.note(&format!("{id} has gone"));
            self.reached.gone_while_held += 1;
            conn.gone = true;
        }
        let before = self.turn.out.len();
        assert!(conn.link.look_ahead(&conn.arrived, &mut self.turn));
        self.reached.answered_ahead += u64::from(self.turn.out.len() > before);
        false
    }

    /// The client reads some of what has come.
    pub(super) fn read_wire(&mut self, id: usize) {
        let Some(mut conn) = self.conns.remove(&id) else { return };
        let looks = !conn.abandoned && !conn.left;
        if looks && (!conn.stalled || self.quiet) && !conn.wire.is_empty() {
            let all = self.quiet || self.random.percent(70);
            let n = if all { conn.wire.len() } else { 1 + self.random.below(conn.wire.len()) };
            conn.partial.extend(conn.wire.drain(..n));
            // The socket takes more now.
            conn.flag.raise();
            let bytes = std::mem::take(&mut conn.partial);
            let mut used = 0;
            while let Ok(Decoded::Packet { packet, len }) = codec::decode(
                &bytes[used..],
                Some(conn.version),
                Sender::Server,
                &DecodeLimits::NONE,
            ) {
                used += len;
                self.came(&mut conn, &packet);
            }
            conn.partial = bytes[used..].to_vec();
        }
        let seen_the_end = conn.over && (!looks || conn.wire.is_empty());
        if seen_the_end {
            if self.clients[conn.client].conn == Some(id) {
                self.clients[conn.client].conn = None;
            }
            return;
        }
        self.conns.insert(id, conn);
    }

    fn came(&mut self, conn: &mut Conn, packet: &Packet<'_>) {
        match packet {
            // Overtaken before it had a Session: the DISCONNECT is right behind.
            Packet::ConnAck(_) if conn.watch.session.is_none() => {}
            Packet::ConnAck(connack) if connack.reason == Reason::Success => {
                self.greeted(conn, connack.session_present);
            }
            Packet::Publish(publish) => self.receive(conn, publish),
            Packet::PubRel(ack) => {
                let packet_id = ack.packet_id.get();
                self.clients[conn.client].unreleased.remove(&packet_id);
                conn.replies.push_back(Reply::Comp(packet_id));
            }
            Packet::PubAck(ack) | Packet::PubComp(ack) => {
                let packet_id = ack.packet_id.get();
                self.accept(conn, packet_id, ack.reason);
                self.clients[conn.client].out.retain(|out| out.packet_id != packet_id);
            }
            Packet::SubAck(_) if self.disk.is_some() => {
                self.clients[conn.client].since = Some(self.messages);
            }
            Packet::PubRec(ack) => {
                let packet_id = ack.packet_id.get();
                self.accept(conn, packet_id, ack.reason);
                let out = &mut self.clients[conn.client].out;
                if ack.reason.is_error() {
                    out.retain(|out| out.packet_id != packet_id);
                } else if let Some(out) = out.iter_mut().find(|out| out.packet_id == packet_id) {
                    out.released = true;
                    conn.replies.push_back(Reply::Rel(packet_id));
                }
            }
            _ => {}
        }
    }

    /// What is acknowledged is promised; a 3.1.1 client is told Success for what it had no right to.
    fn accept(&mut self, conn: &Conn, packet_id: u16, reason: Reason) {
        let client = conn.client;
        let out = self.clients[client].out.iter().find(|out| out.packet_id == packet_id);
        let out = out.filter(|out| {
            self.plan.rights.publishes(&self.clients[client].name, TOPICS[out.topic])
        });
        if let (Some(out), Reason::Success) = (out, reason) {
            let (message, topic) = (out.message, out.topic);
            self.accepted.insert(message, topic);
            // A 3.1.1 client is told so too if it is refused, which it is not where the broker dies.
            let sure = conn.version == Version::V5 || self.disk.is_some();
            self.note_accepted(message, topic, sure);
            self.note(&format!("c{client} has {message} acknowledged"));
        }
    }

    /// CONNACK: what was not completed is sent again, in order.
    fn greeted(&mut self, conn: &mut Conn, present: bool) {
        conn.ready = true;
        let client = &mut self.clients[conn.client];
        if client.session != conn.watch.session {
            client.forget();
            client.session = conn.watch.session;
        }
        self.reached.resumed += u64::from(present);
        let name = conn.client;
        for at in 0..self.clients[name].out.len() {
            let out = self.clients[name].out[at].clone();
            if out.released {
                let id = NonZeroU16::new(out.packet_id).unwrap();
                conn.send(&Packet::PubRel(Ack::new(id, Reason::Success)));
                continue;
            }
            // To the broker each sending may be a new message: it gets a number of its own, if that is no key.
            if out.topic != ONCE {
                self.numbers += 1;
                self.clients[name].out[at].number = self.numbers;
            }
            let out = self.clients[name].out[at].clone();
            self.sent_for_letters(&out);
            send_to(conn, &out, true, None);
        }
    }

    /// A message for the client.
    fn receive(&mut self, conn: &mut Conn, publish: &Publish<'_>) {
        let topic = topic_of(&mut conn.aliases, publish);
        if !self.plan.rights.receives(&self.clients[conn.client].name, &topic) {
            self.fail(&format!("c{} may not receive {topic}", conn.client));
        }
        let is_new = self.answer(conn, &topic, publish);
        if conn.client == self.plan.clients {
            // It is connected all the time: nothing comes to it again.
            assert!(is_new == Some(true) && !publish.retain);
            let number = parts(publish.payload).map(|(publisher, _, number)| (publisher, number));
            let wanted = |receiver: &str| self.plan.wants_letters(receiver);
            let verdict = self.letters.came(&topic, publish, number, wanted);
            return self.demand(verdict, "a dead letter");
        }
        let Some((publisher, message, number)) = parts(publish.payload) else { return };
        let Some(taken) = is_new else { return };
        let client = &mut self.clients[conn.client];
        if taken && publish.qos > QoS::AtMostOnce {
            client.seen.insert(number);
            client.got.insert(message);
        }
        // Retained messages are pulled beside what comes live: they may come again, and earlier.
        if publish.retain {
            return;
        }
        let shared = topic.starts_with("g/") || topic.starts_with("q/");
        let (by_key, by_reading) = (topic == TOPICS[ONCE], topic.starts_with("k/"));
        let verdict = match publish.qos {
            _ if !taken => Ok(()),
            QoS::ExactlyOnce if shared => self.shared_once.came(message),
            QoS::ExactlyOnce if by_key => {
                self.work.keys.allows(number, count(&mut client.times, number))
            }
            QoS::ExactlyOnce if by_reading => {
                let times = count(&mut client.times, number);
                let fine = times <= client.reads;
                if fine { Ok(()) } else { Err(format!("{number} was read {times} times")) }
            }
            QoS::ExactlyOnce => client.once.came(message),
            _ => Ok(()),
        };
        let rank = if topic == TOPICS[LATE] { self.work.delays.rank(number) } else { number };
        let order = if shared || by_key || by_reading {
            Ok(())
        } else {
            client.order.came(publisher, &topic, publish.qos, rank)
        };
        let who = conn.client;
        self.demand(verdict, &format!("c{who} {topic}"));
        self.demand(order, &format!("c{who}"));
    }

    /// The client answers a PUBLISH: none if it has this message, else whether it takes it.
    fn answer(&mut self, conn: &mut Conn, topic: &str, publish: &Publish<'_>) -> Option<bool> {
        let reads_letters = conn.client == self.plan.clients;
        let client = &mut self.clients[conn.client];
        let percent = match (topic.starts_with("q/"), &self.disk) {
            (true, _) => 20,
            (false, None) => 2,
            (false, Some(_)) => 0,
        };
        let refuses = !self.quiet
            && !reads_letters
            && conn.version == Version::V5
            && self.random.percent(percent);
        let reason = if refuses { Reason::ImplementationSpecificError } else { Reason::Success };
        match (publish.qos, publish.packet_id) {
            (QoS::ExactlyOnce, Some(packet_id)) => {
                let packet_id = packet_id.get();
                let known = client.unreleased.contains(&packet_id);
                let reason = if known { Reason::Success } else { reason };
                conn.replies.push_back(Reply::Rec(packet_id, reason));
                if reason == Reason::Success {
                    client.unreleased.insert(packet_id);
                } else {
                    client.refused += 1;
                }
                // What was refused and comes again is no news in the order of things.
                if known { None } else { Some(reason == Reason::Success) }
            }
            (QoS::AtLeastOnce, Some(packet_id)) => {
                conn.replies.push_back(Reply::Ack(packet_id.get(), reason));
                client.refused += u64::from(refuses);
                Some(true)
            }
            _ => Some(true),
        }
    }
}

/// The topic of a PUBLISH, from its alias if it has none; an alias that it sets is remembered.
pub(super) fn topic_of(aliases: &mut BTreeMap<u16, String>, publish: &Publish<'_>) -> String {
    match publish.topic_alias {
        Some(alias) if publish.topic.is_empty() => {
            aliases.get(&alias.get()).expect("an alias that was set").clone()
        }
        Some(alias) => {
            aliases.insert(alias.get(), publish.topic.to_owned());
            publish.topic.to_owned()
        }
        None => publish.topic.to_owned(),
    }
}

pub(super) fn is_ready(conn: &Conn, now: Time) -> bool {
    if conn.over {
        return false;
    }
    let ahead = || !conn.gone && conn.link.room_ahead(&conn.arrived).is_some_and(|room| room > 0);
    let input = (!conn.transit.is_empty() || conn.left) && (conn.read || ahead());
    let due = conn.link.deadline().is_some_and(|deadline| deadline <= now);
    conn.flag.up() || conn.busy || conn.unread || input || due
}

/// Publisher, message and number in a payload of the simulation.
pub(super) fn parts(payload: &[u8]) -> Option<(usize, u64, u64)> {
    let mut parts = payload.split(|byte| *byte == b':');
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<u64>().ok();
    Some((number()? as usize, number()?, number()?))
}
