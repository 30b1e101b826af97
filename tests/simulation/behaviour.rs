//! What the clients of the simulation do: connect, publish, subscribe, answer, and leave.

use std::collections::{BTreeMap, VecDeque};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use sluicemq::broker::{Link, PeerInfo};
use sluicemq::codec::property::put_user_property;
use sluicemq::codec::{
    Ack, Connect, Disconnect, Packet, Properties, Publish, QoS, Reason, RetainHandling, Subscribe,
    SubscribeOptions, Unsubscribe, Version, Will,
};

use super::{ALWAYS, FILTERS, TOPICS, WILL, World};
use crate::check::{Turns, Window};
use crate::client::{Conn, Outgoing, Pings, Reply, Watch};
use crate::extras::{KEPT, LATE, ONCE, QUEUE, READ, SPANS};
use crate::plan::{EXPIRY_MAX, LISTENER, READER, RECEIVE_MAXIMUM, URGENT};

impl World {
    pub(super) fn connect(&mut self, client: usize) {
        if let Some(old) = self.clients[client].conn.take()
            && let Some(old) = self.conns.get_mut(&old)
        {
            old.abandoned = true;
        }
        let random = &mut self.random;
        let quiet = self.quiet;
        let version = random.pick(&[Version::V311, Version::V5, Version::V5]);
        let mut clean_start = !quiet && random.percent(15);
        let mut session_expiry = match random.below(5) {
            _ if quiet => u32::MAX,
            0 => 0,
            1 => 5,
            2 => 60,
            _ => u32::MAX,
        };
        if version != Version::V5 {
            clean_start = session_expiry == 0;
            session_expiry = if clean_start { 0 } else { u32::MAX };
        }
        if self.disk.is_some() {
            (clean_start, session_expiry) = (false, u32::MAX);
        }
        let v5 = version == Version::V5 && !quiet;
        let large = v5 && self.disk.is_none();
        let receive_maximum = if v5 { random.pick(&[1, 2, 65_535, 65_535]) } else { 65_535 };
        let packet_max = if large { random.pick(&[0, 0, 0, 100, 1_000]) } else { 0 };
        let keep_alive = if quiet { 0 } else { random.pick(&[0, 0, 60, 10]) };
        let will = (!self.plan.exact && !quiet && random.percent(30)).then(|| Will {
            qos: random.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]),
            retain: random.percent(20),
            delay: if version == Version::V5 { random.pick(&[0, 3, 100]) } else { 0 },
            topic: WILL,
            payload: b"W",
            ..Will::default()
        });
        let name = self.clients[client].name.clone();
        let connect = Connect {
            version,
            clean_start,
            keep_alive,
            client_id: &name,
            session_expiry,
            receive_maximum: NonZeroU16::new(receive_maximum).unwrap(),
            maximum_packet_size: NonZeroU32::new(packet_max),
            topic_alias_maximum: if v5 { random.pick(&[0, 2]) } else { 0 },
            will,
            ..Connect::default()
        };
        let id = self.dial(client, connect);
        self.note(&format!(
            "{id} c{client} connects {version:?} clean {clean_start} expiry {session_expiry} \
             receive {receive_maximum} packet {packet_max}"
        ));
        if self.disk.is_some() {
            if self.clients[client].since.is_none() {
                self.subscribe_to_everything(id);
            }
        } else if !self.quiet && self.random.percent(20) {
            // Not everybody waits for CONNACK.
            self.subscribe(id);
        }
    }

    /// Opens a connection, and sends CONNECT.
    fn dial(&mut self, client: usize, connect: Connect<'_>) -> usize {
        let peer = PeerInfo {
            address: String::new(),
            listener: Some(self.broker.open_listener(LISTENER, LISTENER)),
            anonymous: true,
            nonce: 0,
            ..PeerInfo::default()
        };
        let window = connect.receive_maximum.get().min(self.plan.config.session.inflight_max);
        let mut conn = Conn {
            client,
            link: Link::new(&self.broker, peer, self.now),
            version: connect.version,
            flag: Arc::default(),
            transit: Vec::new(),
            arrived: Vec::new(),
            wire: Vec::new(),
            partial: Vec::new(),
            read: true,
            unread: false,
            busy: false,
            over: false,
            left: false,
            abandoned: false,
            gone: false,
            stalled: false,
            mute: false,
            ready: false,
            replies: VecDeque::new(),
            aliases: BTreeMap::new(),
            watch: Watch {
                expiry: connect.session_expiry.min(EXPIRY_MAX),
                packet_max: connect
                    .maximum_packet_size
                    .map_or(usize::MAX, |max| max.get() as usize),
                window: Window::new(window.into()),
                turns: Turns::default(),
                greeted: false,
                session: None,
                subscribes: BTreeMap::new(),
                unsubscribes: BTreeMap::new(),
                goodbye: false,
                said_goodbye: false,
                parted: false,
                reads: false,
                aliases: BTreeMap::new(),
                pings: Pings::default(),
            },
        };
        conn.send(&Packet::Connect(Box::new(connect)));
        let id = self.next_conn;
        self.next_conn += 1;
        self.conns.insert(id, conn);
        self.clients[client].conn = Some(id);
        id
    }

    /// One more client comes and stays, and reads what was dropped for the others.
    pub(super) fn begin_to_read_letters(&mut self) {
        let reader = self.plan.clients;
        let id = self.dial(reader, Connect { client_id: READER, ..Connect::default() });
        self.settle();
        let options = SubscribeOptions { qos: QoS::ExactlyOnce, ..SubscribeOptions::default() };
        self.conns.get_mut(&id).unwrap().send(&Packet::Subscribe(Subscribe {
            rest: &[],
            packet_id: NonZeroU16::MIN,
            subscription_id: None,
            user_properties: Properties::EMPTY,
            filters: vec![("$dead/#", options)],
        }));
        self.settle();
    }

    /// The connection of the reader of dead letters, if there is one.
    pub(super) fn reader(&self) -> Option<usize> {
        let reader = self.clients.get(self.plan.clients)?;
        let conn = reader.conn.filter(|conn| self.conns[conn].usable());
        Some(conn.unwrap_or_else(|| self.fail("nobody reads the dead letters")))
    }

    pub(super) fn publish(&mut self, id: usize) {
        let random = &mut self.random;
        let qos = random.pick(&[
            QoS::AtMostOnce,
            QoS::AtLeastOnce,
            QoS::AtLeastOnce,
            QoS::ExactlyOnce,
            QoS::ExactlyOnce,
        ]);
        let extra = self.plan.extras.topics();
        let topic = random.below(ALWAYS + extra.len());
        let topic = topic.checked_sub(ALWAYS).map_or(topic, |at| extra[at]);
        let qos = if topic == ONCE { qos.max(QoS::AtLeastOnce) } else { qos };
        let retain = !self.plan.exact && random.percent(15) && topic < ALWAYS;
        let delay = (topic == LATE).then(|| random.pick(&SPANS).0);
        let size = match random.below(100) {
            0..=79 => random.below(40),
            80..=95 => 100 + random.below(900),
            _ => 8_000 + random.below(6_000),
        };
        let client = &mut self.clients[self.conns[&id].client];
        if qos > QoS::AtMostOnce && client.out.len() >= usize::from(RECEIVE_MAXIMUM) {
            self.reached.full_window += 1;
            return;
        }
        self.messages += 1;
        self.numbers += 1;
        let packet_id = if qos > QoS::AtMostOnce { client.free_id() } else { 0 };
        let out = Outgoing {
            packet_id,
            message: self.messages,
            number: self.numbers,
            topic,
            qos,
            retain,
            released: false,
            size,
            delay,
        };
        let again = topic == ONCE && random.percent(50) && !client.repeated.is_empty();
        let out = match again {
            true => Outgoing {
                packet_id,
                ..client.repeated[random.below(client.repeated.len())].clone()
            },
            false => out,
        };
        if topic == ONCE && !again {
            client.repeated.push(out.clone());
        }
        if qos > QoS::AtMostOnce {
            client.out.push(out.clone());
        }
        let expires = self.disk.is_none() && topic != LATE && topic < KEPT[0];
        let expiry =
            if expires && random.percent(10) { Some(1 + random.below(5) as u32) } else { None };
        self.send_publish(id, &out, false, expiry);
    }

    fn send_publish(&mut self, id: usize, out: &Outgoing, dup: bool, expiry: Option<u32>) {
        self.sent_for_letters(out);
        let conn = self.conns.get_mut(&id).unwrap();
        send_to(conn, out, dup, expiry);
    }

    /// What is retained, or sent again as it was, may be dropped for one receiver again and again.
    pub(super) fn sent_for_letters(&mut self, out: &Outgoing) {
        let again = out.retain || out.topic == ONCE;
        self.letters.sent(out.number, TOPICS[out.topic], again);
    }

    pub(super) fn subscribe(&mut self, id: usize) {
        let random = &mut self.random;
        let v5 = self.conns[&id].version == Version::V5;
        let extra = self.plan.extras.filters();
        let mut filters = Vec::new();
        for _ in 0..=random.below(2) {
            let filter = match random.below(FILTERS.len() + 2 * extra.len()) {
                at if at < FILTERS.len() => FILTERS[at],
                at => extra[at % extra.len()],
            };
            let options = SubscribeOptions {
                qos: random.pick(&[
                    QoS::AtMostOnce,
                    QoS::AtLeastOnce,
                    QoS::ExactlyOnce,
                    QoS::ExactlyOnce,
                ]),
                no_local: v5 && !filter.starts_with('$') && random.percent(10),
                retain_as_published: v5 && random.percent(20),
                // With another one a reader of the log would go on.
                retain_handling: if v5 && filter != READ {
                    random.pick(&[
                        RetainHandling::Always,
                        RetainHandling::IfNew,
                        RetainHandling::Never,
                    ])
                } else {
                    RetainHandling::Always
                },
            };
            filters.push((filter, options));
        }
        let subscription_id = if v5 { NonZeroU32::new(random.below(4) as u32) } else { None };
        let client = &mut self.clients[self.conns[&id].client];
        client.reads += u32::from(filters.iter().any(|(filter, _)| *filter == READ));
        let packet_id = client.free_id();
        self.conns.get_mut(&id).unwrap().send(&Packet::Subscribe(Subscribe {
            rest: &[],
            packet_id: NonZeroU16::new(packet_id).unwrap(),
            subscription_id,
            user_properties: Properties::EMPTY,
            filters,
        }));
    }

    /// Its own, those of one group, the queue and the log.
    fn subscribe_to_everything(&mut self, id: usize) {
        let options = SubscribeOptions { qos: QoS::ExactlyOnce, ..SubscribeOptions::default() };
        let filters = ["t/#", "$share/one/g/a/+"].into_iter().chain(self.plan.extras.filters());
        let client = &mut self.clients[self.conns[&id].client];
        client.reads += u32::from(self.plan.extras.history);
        let packet_id = client.free_id();
        self.conns.get_mut(&id).unwrap().send(&Packet::Subscribe(Subscribe {
            rest: &[],
            packet_id: NonZeroU16::new(packet_id).unwrap(),
            subscription_id: None,
            user_properties: Properties::EMPTY,
            filters: filters.map(|filter| (filter, options)).collect(),
        }));
    }

    /// At the end: a consumer of the queue, if there is one, so that nothing waits for it.
    pub(super) fn consume(&mut self, id: usize) {
        let options = SubscribeOptions { qos: QoS::ExactlyOnce, ..SubscribeOptions::default() };
        let packet_id = self.clients[self.conns[&id].client].free_id();
        self.conns.get_mut(&id).unwrap().send(&Packet::Subscribe(Subscribe {
            rest: &[],
            packet_id: NonZeroU16::new(packet_id).unwrap(),
            subscription_id: None,
            user_properties: Properties::EMPTY,
            filters: vec![(QUEUE, options)],
        }));
    }

    pub(super) fn unsubscribe(&mut self, id: usize) {
        let extra = self.plan.extras.filters();
        let filter = self.random.below(FILTERS.len() + extra.len());
        let filter =
            filter.checked_sub(FILTERS.len()).map_or_else(|| FILTERS[filter], |at| extra[at]);
        let packet_id = self.clients[self.conns[&id].client].free_id();
        self.conns.get_mut(&id).unwrap().send(&Packet::Unsubscribe(Unsubscribe {
            rest: &[],
            packet_id: NonZeroU16::new(packet_id).unwrap(),
            user_properties: Properties::EMPTY,
            filters: vec![filter],
        }));
    }

    /// The connection is cut: what was on its way may arrive in part.
    pub(super) fn leave(&mut self, id: usize) {
        let conn = self.conns.get_mut(&id).unwrap();
        let keep = self.random.below(conn.transit.len() + 1);
        conn.transit.truncate(keep);
        conn.left = true;
        self.clients[conn.client].conn = None;
        self.note(&format!("{id} is cut after {keep}"));
    }

    pub(super) fn disconnect(&mut self, id: usize) {
        let conn = self.conns.get_mut(&id).unwrap();
        let v5 = conn.version == Version::V5;
        let zero = v5 && (self.quiet || self.random.percent(30));
        let with_will = v5 && !self.quiet && self.random.percent(20);
        let reason = if with_will { Reason::DisconnectWithWill } else { Reason::Success };
        let session_expiry = zero.then_some(0);
        self.ended |= zero;
        conn.send(&Packet::Disconnect(Disconnect {
            reason,
            session_expiry,
            ..Disconnect::default()
        }));
        conn.left = true;
        self.clients[conn.client].conn = None;
        self.note(&format!("{id} disconnects {session_expiry:?}"));
    }

    /// What no well-behaved client does, as its last word.
    pub(super) fn be_rude(&mut self, id: usize) {
        let kind = self.random.below(4);
        self.note(&format!("{id} is rude {kind}"));
        let conn = self.conns.get_mut(&id).unwrap();
        let publish = |packet_id, alias| {
            Packet::Publish(Publish {
                qos: QoS::AtLeastOnce,
                topic: "t/a",
                packet_id: NonZeroU16::new(packet_id),
                topic_alias: NonZeroU16::new(alias),
                payload: b"rude",
                ..Publish::default()
            })
        };
        match kind {
            0 => conn.transit.extend_from_slice(&[0xF0, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
            1 => conn.send(&Packet::PubComp(Ack::new(NonZeroU16::MAX, Reason::Success))),
            2 => {
                for packet_id in 0..=RECEIVE_MAXIMUM {
                    conn.send(&publish(1_000 + packet_id, 0));
                }
            }
            _ if conn.version == Version::V5 => conn.send(&publish(1_000, 999)),
            _ => {}
        }
        conn.mute = true;
    }

    /// The client answers some of what it owes.
    pub(super) fn reply(&mut self, id: usize) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if !conn.usable() {
            return;
        }
        let most = if self.quiet { usize::MAX } else { self.random.below(4) };
        for _ in 0..most.min(conn.replies.len()) {
            let at = if !self.quiet && self.random.percent(20) {
                self.random.below(conn.replies.len())
            } else {
                0
            };
            let Some(reply) = conn.replies.remove(at) else { break };
            let ack = |id, reason| Ack::new(NonZeroU16::new(id).unwrap(), reason);
            let packet = match reply {
                Reply::Ack(id, reason) => Packet::PubAck(ack(id, reason)),
                Reply::Rec(id, reason) => Packet::PubRec(ack(id, reason)),
                Reply::Rel(id) => Packet::PubRel(ack(id, Reason::Success)),
                Reply::Comp(id) => Packet::PubComp(ack(id, Reason::Success)),
            };
            conn.send(&packet);
        }
    }
}

/// Sends a message of its client on a connection.
pub(super) fn send_to(conn: &mut Conn, out: &Outgoing, dup: bool, expiry: Option<u32>) {
    let mut payload = format!("{}:{}:{}:", conn.client, out.message, out.number);
    payload.extend(std::iter::repeat_n('x', out.size));
    let properties = urgency(out.number, conn.version);
    let delayed = out.delay.map(|span| format!("$delayed/{span}/{}", TOPICS[out.topic]));
    conn.send(&Packet::Publish(Publish {
        dup,
        qos: out.qos,
        retain: out.retain,
        topic: delayed.as_deref().unwrap_or(TOPICS[out.topic]),
        packet_id: NonZeroU16::new(out.packet_id),
        expiry: expiry.filter(|_| conn.version == Version::V5),
        payload: payload.as_bytes(),
        properties: Properties::trusted(&properties),
        ..Publish::default()
    }));
}

/// What is said with a message: some overtake others of their topic.
fn urgency(number: u64, version: Version) -> Vec<u8> {
    let mut properties = Vec::new();
    if number.is_multiple_of(3) && version == Version::V5 {
        let (name, value) = URGENT.split_once('=').unwrap();
        put_user_property(&mut properties, name, value);
    }
    properties
}
