//! What a link consumes and puts out, looked at as it does: nothing that promises leaves before what
//! it promises is durable, and every packet answers one that was sent.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use sluicemq::codec::{
    self, Ack, DecodeLimits, Decoded, Packet, QoS, Reason, Sender, SubAck, Version,
};
use sluicemq::message::SessionId;

use super::wire::topic_of;
use super::{TOPICS, World};
use crate::client::{Conn, Watch};
use crate::extras::ONCE;
use crate::store::{Fact, Key, number_of};

impl World {
    /// What the link has put out in this call.
    pub(super) fn look(&mut self, id: usize, conn: &mut Conn, used: usize) {
        let out = std::mem::take(&mut self.turn.out);
        if let Some(store) = &self.store {
            // Which Session a connection serves is asked of the view; this only empties the list.
            store.new_sessions();
        }
        if used > 0 || !out.is_empty() {
            let hash = out.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
            });
            self.note(&format!("{id} used {used} put {} {hash:016x}", out.len()));
        }
        let mut at = 0;
        let mut packets = Vec::new();
        while at < out.len() {
            match codec::decode(&out[at..], Some(conn.version), Sender::Server, &DecodeLimits::NONE)
            {
                Ok(Decoded::Packet { packet, len }) => {
                    packets.push((packet, len));
                    at += len;
                }
                other => self.fail(&format!("{id} was sent no packet: {other:?}")),
            }
        }
        for at in 0..packets.len() {
            let overtaken = packets.get(at + 1).is_some_and(|(next, _)| {
                matches!(next, Packet::Disconnect(d) if d.reason == Reason::SessionTakenOver)
            });
            let (packet, len) = &packets[at];
            self.note(&format!("{id} < {}", brief(packet)));
            self.watch(id, conn, packet, *len, overtaken);
        }
        conn.wire.extend_from_slice(&out);
        conn.over = conn.link.is_closed();
        if conn.over {
            self.note_parted(conn);
        }
        let pings = conn.watch.pings;
        let owed = if conn.over { 0 } else { pings.consumed };
        if pings.answered > pings.sent || pings.answered < owed {
            self.fail(&format!("{id}: {pings:?}"));
        }
    }

    /// What leaves the link, looked at as it leaves.
    fn watch(&mut self, id: usize, conn: &mut Conn, packet: &Packet<'_>, len: usize, over: bool) {
        let place = format!("{id} {}", brief(packet));
        if conn.watch.goodbye {
            self.fail(&format!("{place}: after DISCONNECT"));
        }
        if let Packet::ConnAck(connack) = packet {
            return self.watch_connack(conn, connack.reason, over, &place);
        }
        let watch = &mut conn.watch;
        if !watch.greeted {
            self.fail(&format!("{place}: before CONNACK"));
        }
        if len > watch.packet_max {
            self.fail(&format!("{place}: {len} bytes, the client takes {}", watch.packet_max));
        }
        if let Packet::Publish(publish) = packet {
            let topic = topic_of(&mut watch.aliases, publish);
            self.note_sent(conn, &topic, publish, &place);
        }
        let watch = &mut conn.watch;
        match packet {
            Packet::Publish(publish) if publish.packet_id.is_some() => {
                let packet_id = publish.packet_id.unwrap().get();
                let verdict = watch.window.sent(packet_id);
                self.demand(verdict, &place);
                if publish.qos == QoS::ExactlyOnce {
                    let fact = Fact::Sent(number_of(publish.payload));
                    self.must_be_written(watch, Key::Outgoing(packet_id), Some(&fact), &place);
                }
            }
            Packet::PubRel(ack) if !ack.reason.is_error() => {
                let key = Key::Outgoing(ack.packet_id.get());
                self.must_be_written(watch, key, Some(&Fact::Released), &place);
            }
            Packet::PubAck(ack) => self.watch_puback(conn, ack, &place),
            Packet::PubRec(ack) => self.watch_pubrec(conn, ack, &place),
            Packet::PubComp(ack) => {
                self.must_be_written(watch, Key::Incoming(ack.packet_id.get()), None, &place);
            }
            Packet::SubAck(suback) => self.watch_suback(conn, suback, &place),
            Packet::UnsubAck(unsuback) => self.watch_unsuback(conn, unsuback, &place),
            Packet::PingResp => watch.pings.answered += 1,
            Packet::Disconnect(disconnect) => {
                watch.goodbye = true;
                let taken = disconnect.reason == Reason::SessionTakenOver;
                self.reached.taken_over += u64::from(taken);
            }
            _ => {}
        }
    }

    fn watch_connack(&mut self, conn: &mut Conn, reason: Reason, over: bool, place: &str) {
        if conn.watch.greeted {
            self.fail(&format!("{place}: a second CONNACK"));
        }
        conn.watch.greeted = reason == Reason::Success;
        if conn.watch.greeted && !over {
            conn.watch.session = self.session_of(conn.client);
            self.note_reading(conn);
            // If the answer to a PUBLISH was lost, only the broker knows whether it was refused.
            self.oracle.resume(conn.client, &conn.link.unreleased());
            let fact = Fact::Expiry(conn.watch.expiry);
            self.must_be_written(&conn.watch, Key::Session, Some(&fact), place);
        }
    }

    fn watch_puback(&mut self, conn: &mut Conn, ack: &Ack<'_>, place: &str) {
        let turn = conn.watch.turns.answered(ack.packet_id.get(), QoS::AtLeastOnce);
        let number = self.answered(turn, ack.reason, place);
        let denied = self.denied.contains(&number);
        if conn.version == Version::V5 && denied != (ack.reason == Reason::NotAuthorized) {
            self.fail(&format!("{place}: denied is {denied}"));
        }
    }

    fn watch_pubrec(&mut self, conn: &mut Conn, ack: &Ack<'_>, place: &str) {
        let packet_id = ack.packet_id.get();
        let turn = conn.watch.turns.answered(packet_id, QoS::ExactlyOnce);
        let number = self.answered(turn, ack.reason, place);
        let denied = self.denied.contains(&number);
        // What is sent again may be a repeat of what was allowed, or refused in silence.
        if ack.reason == Reason::NotAuthorized && !denied {
            self.fail(&format!("{place}: it is allowed"));
        }
        let error = ack.reason.is_error();
        if error {
            self.oracle.free(conn.client, packet_id);
        }
        let fact = (!error).then_some(Fact::Received);
        let key = Key::Incoming(packet_id);
        // What was refused while 3.1.1 could not be told is not remembered as received.
        let refused = denied || !self.plan.exact;
        let silent = refused && !error && !self.is_submitted(conn.watch.session, &key);
        if !silent {
            self.must_be_written(&conn.watch, key, fact.as_ref(), place);
        }
    }

    fn watch_suback(&mut self, conn: &mut Conn, suback: &SubAck<'_>, place: &str) {
        let asked = conn.watch.subscribes.remove(&suback.packet_id.get());
        let Some(asked) = asked else { self.fail(&format!("{place}: not asked for")) };
        // A later change of the same packet wins: only the last one is looked at.
        let mut last = BTreeMap::new();
        for ((filter, qos), reason) in asked.into_iter().zip(&suback.reasons) {
            last.insert(filter, (qos, *reason));
        }
        for (filter, (qos, reason)) in last {
            let denied = !self.plan.rights.subscribes(&self.clients[conn.client].name, &filter);
            // An older client is told no reason.
            let told = if conn.version == Version::V5 {
                reason == Reason::NotAuthorized
            } else {
                denied && reason.is_error()
            };
            if denied != told {
                self.fail(&format!("{place}: {filter}, denied is {denied}"));
            }
            self.reached.denied += u64::from(denied);
            self.note_granted(conn, &filter, !reason.is_error());
            if !reason.is_error() && conn.watch.asks_nothing_more() {
                let fact = Fact::Granted(qos);
                self.must_be_written(&conn.watch, Key::Subscription(filter), Some(&fact), place);
            }
        }
    }

    fn watch_unsuback(&mut self, conn: &mut Conn, unsuback: &SubAck<'_>, place: &str) {
        let asked = conn.watch.unsubscribes.remove(&unsuback.packet_id.get());
        let Some(asked) = asked else { self.fail(&format!("{place}: not asked for")) };
        asked.iter().for_each(|filter| self.note_granted(conn, filter, false));
        for filter in asked.into_iter().filter(|_| conn.watch.asks_nothing_more()) {
            self.must_be_written(&conn.watch, Key::Subscription(filter), None, place);
        }
    }

    /// Nothing that promises leaves before what it promises is durable, if the Session lasts.
    fn must_be_written(&self, watch: &Watch, key: Key, fact: Option<&Fact>, place: &str) {
        let lasting = watch.expiry > 0;
        let Some(store) = self.store.as_ref().filter(|_| lasting) else { return };
        let Some(session) = watch.session else { self.fail(&format!("{place}: of no Session")) };
        let key = (session, key);
        let written = store.written(|table| table.facts.get(&key).cloned());
        if written.as_ref() != fact {
            let submitted = store.submitted(|table| table.facts.get(&key).cloned());
            self.fail(&format!(
                "{place}: promised {key:?} = {fact:?} but {written:?} is written, {submitted:?} \
                 submitted"
            ));
        }
    }

    fn is_submitted(&self, session: Option<SessionId>, key: &Key) -> bool {
        let (Some(store), Some(session)) = (&self.store, session) else { return false };
        store.submitted(|table| table.facts.contains_key(&(session, key.clone())))
    }

    /// A PUBLISH was answered: if the store was given its message, it must have it. Returns the
    /// message's number.
    fn answered(&mut self, turn: Result<u64, String>, reason: Reason, place: &str) -> u64 {
        let number = match turn {
            Ok(number) => number,
            Err(what) => self.fail(&format!("{place}: {what}")),
        };
        let Some(store) = &self.store else { return number };
        let submitted = store.submitted(|table| table.messages.contains(&number));
        let written = store.written(|table| table.messages.contains(&number));
        // What is refused is not the first one of that number.
        let of_first = reason.is_error() && self.work.keys.knows(number);
        if submitted && !written && !of_first {
            self.fail(&format!("{place}: answered, and message {number} is not durable"));
        }
        if !reason.is_error() && self.too_late.contains(&number) {
            self.fail(&format!("{place}: accepted {number} with a store that has failed"));
        }
        number
    }

    /// What the link has consumed: the packets that it must answer.
    pub(super) fn consumed(&mut self, conn: &mut Conn, bytes: &[u8]) {
        let mut at = 0;
        // Its link has closed by itself: it may have done so before it came to an answer.
        let torn = conn.link.is_closed();
        while let Ok(Decoded::Packet { packet, len }) =
            codec::decode(&bytes[at..], Some(conn.version), Sender::Client, &DecodeLimits::NONE)
        {
            at += len;
            let client = conn.client;
            match &packet {
                Packet::Publish(publish) => {
                    let number = number_of(publish.payload).unwrap_or_default();
                    let failed = self.store.as_ref().is_some_and(|store| store.failed());
                    // One sent again at QoS 2 may have been accepted before.
                    let again = publish.dup && publish.qos == QoS::ExactlyOnce;
                    if !self.plan.rights.publishes(&self.clients[client].name, publish.topic) {
                        self.denied.insert(number);
                        self.reached.denied += 1;
                    } else if failed && number > 0 && !again && publish.topic != TOPICS[ONCE] {
                        self.too_late.insert(number);
                    }
                    if let Some(packet_id) = publish.packet_id {
                        conn.watch.turns.asked(packet_id.get(), publish.qos, number);
                    }
                    self.note_asked(publish);
                    self.oracle.publish(client, publish, number);
                }
                Packet::PubComp(ack) => conn.watch.window.answered(ack.packet_id.get()),
                Packet::PubAck(ack) | Packet::PubRec(ack) => {
                    let fails = ack.reason.is_error();
                    if fails || matches!(packet, Packet::PubAck(_)) {
                        conn.watch.window.answered(ack.packet_id.get());
                    }
                    let success = (!torn).then_some(!fails);
                    self.note_answered(conn, ack.packet_id.get(), success);
                }
                Packet::Disconnect(_) => conn.watch.said_goodbye = true,
                Packet::PingReq => conn.watch.pings.consumed += 1,
                Packet::PubRel(ack) => self.oracle.free(client, ack.packet_id.get()),
                Packet::Subscribe(subscribe) => {
                    let filters = subscribe.filters.iter();
                    let filters = filters.map(|(f, o)| ((*f).to_owned(), o.qos as u8)).collect();
                    conn.watch.subscribes.insert(subscribe.packet_id.get(), filters);
                    self.note_subscribe(conn, subscribe);
                    self.oracle.subscribe(client, subscribe);
                }
                Packet::Unsubscribe(unsubscribe) => {
                    let filters = unsubscribe.filters.iter().map(|f| (*f).to_owned()).collect();
                    conn.watch.unsubscribes.insert(unsubscribe.packet_id.get(), filters);
                    self.oracle.unsubscribe(client, unsubscribe);
                }
                _ => {}
            }
        }
    }
}

fn brief(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Publish(publish) => {
            let head: Vec<u8> = publish.payload.iter().copied().take(14).collect();
            format!(
                "PUBLISH {:?} {} qos {} dup {} retain {} {:?}",
                publish.packet_id.map(NonZeroU16::get),
                publish.topic,
                publish.qos as u8,
                publish.dup,
                publish.retain,
                String::from_utf8_lossy(&head)
            )
        }
        Packet::ConnAck(connack) => {
            format!("CONNACK {:?} present {}", connack.reason, connack.session_present)
        }
        Packet::PubAck(ack) => format!("PUBACK {} {:?}", ack.packet_id, ack.reason),
        Packet::PubRec(ack) => format!("PUBREC {} {:?}", ack.packet_id, ack.reason),
        Packet::PubRel(ack) => format!("PUBREL {} {:?}", ack.packet_id, ack.reason),
        Packet::PubComp(ack) => format!("PUBCOMP {} {:?}", ack.packet_id, ack.reason),
        Packet::SubAck(ack) => format!("SUBACK {} {:?}", ack.packet_id, ack.reasons),
        Packet::UnsubAck(ack) => format!("UNSUBACK {} {:?}", ack.packet_id, ack.reasons),
        Packet::Disconnect(disconnect) => format!("DISCONNECT {:?}", disconnect.reason),
        other => format!("{other:?}"),
    }
}
