//! Clients without sockets, on a clock that is told: time jumps from deadline to deadline.
#![allow(dead_code)] // Each test file uses its part.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use sluicemq::auth::{Rights, RuleSet};
use sluicemq::broker::mailbox::Account;
use sluicemq::broker::ports::{Accepted, AuthRequest, AuthStep, Authenticator, Store, Verdict};
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{Broker, Link, PeerInfo, Ports};
use sluicemq::codec::property::put_user_property;
use sluicemq::codec::{
    self, Ack, Connect, DecodeLimits, Decoded, Disconnect, Packet, PacketId, Properties, Publish,
    QoS, Reason, Sender, Subscribe, SubscribeOptions, Unsubscribe, Version,
};
use sluicemq::config::Config;
use sluicemq::store::MemoryStore;
use sluicemq::time::Time;

/// A broker and its clients.
pub struct Town {
    pub broker: Broker,
    pub rights: Arc<Rights>,
    pub now: Time,
    /// Where the next client comes from.
    pub address: String,
    /// Clients that come from now on acknowledge what they get.
    pub acknowledge: bool,
    turn: Scratch,
    clients: Vec<Client>,
}

/// One client: what it was sent and when.
pub struct Client {
    link: Link,
    bell: Arc<Bell>,
    version: Version,
    /// Bytes that the link has not consumed.
    unsent: Vec<u8>,
    /// The link wants to be polled again without a wake.
    busy: bool,
    last_id: u16,
    /// PUBLISHes it got.
    pub got: Vec<Got>,
    /// Answers to its own PUBLISHes: PUBACK and PUBREC.
    pub answers: Vec<(PacketId, Reason)>,
    /// Other packets, by name.
    pub others: Vec<String>,
    /// Acknowledges what it gets.
    pub acknowledges: bool,
    /// Not acknowledged yet.
    pub unacknowledged: VecDeque<(PacketId, QoS)>,
    /// Its DISCONNECT's reason, if it got one.
    pub told: Option<Reason>,
}

/// A PUBLISH as a client got it.
#[derive(Clone, Debug)]
pub struct Got {
    pub at: Time,
    pub topic: String,
    pub payload: String,
    pub qos: QoS,
    pub dup: bool,
    pub len: usize,
    /// Message Expiry Interval, seconds.
    pub expiry: Option<u32>,
    pub user_properties: Vec<(String, String)>,
}

/// Takes every client for the user that it says it is, as if it had checked.
struct Believing;

impl Authenticator for Believing {
    fn begin(&self, request: &AuthRequest<'_>) -> AuthStep {
        AuthStep::Verdict(Verdict::Accept(Accepted::as_user(request.user_name)))
    }
}

#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The rules of a configuration.
pub fn rule_set(config: &Config) -> RuleSet<'_> {
    RuleSet { access: &config.access, rules: &config.rule, auth: &config.auth, read: None }
}

/// When every test begins.
pub const BEGIN: Time = Time::from_secs(1_800_000_000);

impl Town {
    /// A broker under a configuration in TOML, with a store that forgets.
    pub fn new(config: &str) -> Town {
        Town::with_store(config, Arc::new(MemoryStore))
    }

    /// The same with another store.
    pub fn with_store(config: &str, store: Arc<dyn Store>) -> Town {
        let config: Config = toml::from_str(config).expect("a configuration");
        let rights = Arc::new(Rights::new(&rule_set(&config)));
        let ports = Ports { store, authenticator: Arc::new(Believing), access: rights.clone() };
        let broker = Broker::new(&config, ports, 1, BEGIN);
        let address = "127.0.0.1:1".to_owned();
        let (turn, clients) = (Scratch::default(), Vec::new());
        Town { broker, rights, now: BEGIN, address, acknowledge: true, turn, clients }
    }

    /// Puts another configuration in force, as SIGHUP does.
    pub fn reload(&mut self, config: &str) {
        let config: Config = toml::from_str(config).expect("a configuration");
        self.rights.set(&rule_set(&config));
        self.broker.reload(&config, self.now);
        self.pass(Duration::ZERO);
    }

    /// A client that connects, with the listener `listener`; returns its number.
    pub fn arrive(&mut self, connect: &Connect<'_>, listener: &str) -> usize {
        let number = self.clients.len();
        let peer = PeerInfo {
            address: self.address.clone(),
            listener: Some(self.broker.open_listener(listener, listener)),
            anonymous: true,
            nonce: number as u128,
            ..PeerInfo::default()
        };
        self.clients.push(Client {
            link: Link::new(&self.broker, peer, self.now),
            bell: Arc::default(),
            version: connect.version,
            unsent: Vec::new(),
            busy: true,
            last_id: 0,
            got: Vec::new(),
            answers: Vec::new(),
            others: Vec::new(),
            acknowledges: self.acknowledge,
            unacknowledged: VecDeque::new(),
            told: None,
        });
        self.send(number, &Packet::Connect(Box::new(connect.clone())));
        number
    }

    /// A client of version 5 without a lasting Session.
    pub fn client(&mut self, client_id: &str) -> usize {
        self.arrive(&connect(client_id, true, 0), "test")
    }

    pub fn of(&mut self, number: usize) -> &mut Client {
        &mut self.clients[number]
    }

    pub fn subscribe(&mut self, number: usize, filter: &str, qos: QoS) {
        let packet_id = self.clients[number].next_id();
        let options = SubscribeOptions { qos, ..SubscribeOptions::default() };
        let filters = vec![(filter, options)];
        let subscribe = Subscribe {
            rest: &[],
            packet_id,
            subscription_id: None,
            user_properties: Properties::EMPTY,
            filters,
        };
        self.send(number, &Packet::Subscribe(subscribe));
    }

    pub fn unsubscribe(&mut self, number: usize, filter: &str) {
        let packet_id = self.clients[number].next_id();
        let (user_properties, filters) = (Properties::EMPTY, vec![filter]);
        let unsubscribe = Unsubscribe { packet_id, user_properties, filters, rest: &[] };
        self.send(number, &Packet::Unsubscribe(unsubscribe));
    }

    /// Hands in a PUBLISH; returns its identifier.
    pub fn publish(
        &mut self,
        number: usize,
        topic: &str,
        payload: &str,
        qos: QoS,
    ) -> Option<PacketId> {
        self.publish_as(number, topic, payload, qos, false)
    }

    /// The same, retained or not.
    pub fn publish_as(
        &mut self,
        number: usize,
        topic: &str,
        payload: &str,
        qos: QoS,
        retain: bool,
    ) -> Option<PacketId> {
        self.publish_with(number, topic, payload, qos, retain, &[])
    }

    /// The same with User Properties.
    pub fn publish_with(
        &mut self,
        number: usize,
        topic: &str,
        payload: &str,
        qos: QoS,
        retain: bool,
        user_properties: &[(&str, &str)],
    ) -> Option<PacketId> {
        let mut block = Vec::new();
        for (name, value) in user_properties {
            put_user_property(&mut block, name, value);
        }
        let packet_id = (qos > QoS::AtMostOnce).then(|| self.clients[number].next_id());
        let publish = Publish {
            dup: false,
            qos,
            retain,
            topic,
            packet_id,
            topic_alias: None,
            expiry: None,
            subscription_ids: &[],
            properties: Properties::trusted(&block),
            payload: payload.as_bytes(),
        };
        self.send(number, &Packet::Publish(publish));
        packet_id
    }

    /// Hands in that many numbers in one go.
    pub fn publish_many(&mut self, number: usize, topic: &str, count: usize, qos: QoS) {
        for payload in 0..count {
            let packet_id = (qos > QoS::AtMostOnce).then(|| self.clients[number].next_id());
            let payload = payload.to_string();
            let publish = Publish {
                qos,
                topic,
                packet_id,
                payload: payload.as_bytes(),
                ..Publish::default()
            };
            self.clients[number].encode(&Packet::Publish(publish));
        }
        self.settle();
    }

    /// The account of a Session, or of the group of that number.
    pub fn account(&self, client_id: &str) -> Account {
        let view = self.broker.view();
        let found = view.sessions.into_iter().find(|s| s.client_id.as_str() == client_id);
        found.expect("it has a Session").account
    }

    /// Sends a packet, and lets everybody do what they can at this moment.
    pub fn send(&mut self, number: usize, packet: &Packet<'_>) {
        let client = &mut self.clients[number];
        codec::encode(packet, client.version, usize::MAX, &mut client.unsent).expect("it encodes");
        self.settle();
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, number: usize, bytes: &[u8]) {
        self.clients[number].unsent.extend_from_slice(bytes);
        self.settle();
    }

    /// A client says DISCONNECT.
    pub fn say_goodbye(&mut self, number: usize) {
        self.send(number, &Packet::Disconnect(Disconnect::default()));
    }

    /// The connection breaks.
    pub fn cut(&mut self, number: usize) {
        self.clients[number].link.hang_up(self.now, &mut self.turn);
        self.turn.out.clear();
        self.settle();
    }

    /// Lets time pass, from deadline to deadline.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now.after(span);
        self.settle();
        loop {
            let open = self.clients.iter().filter(|client| !client.link.is_closed());
            let next = open.filter_map(|client| client.link.deadline()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            assert!(next > self.now, "a deadline is past, and nothing comes of it");
            self.now = next;
            for client in &mut self.clients {
                client.busy |= client.link.deadline().is_some_and(|deadline| deadline <= next);
            }
            self.settle();
        }
        self.now = end;
    }

    /// Every client and every link that has something to do does it.
    fn settle(&mut self) {
        for _ in 0..1_000_000 {
            let mut idle = true;
            for number in 0..self.clients.len() {
                idle &= !self.turn(number);
            }
            if idle {
                self.broker.tick(self.now, &mut self.turn);
                return;
            }
        }
        panic!("somebody is never done");
    }

    /// One turn of one client; `false` if it had nothing to do.
    fn turn(&mut self, number: usize) -> bool {
        let Town { turn, now, .. } = self;
        let client = &mut self.clients[number];
        let woken = client.bell.0.swap(false, Ordering::Relaxed);
        if client.link.is_closed() || !(woken || client.busy || !client.unsent.is_empty()) {
            return false;
        }
        let mut moved = woken || std::mem::take(&mut client.busy);
        if !client.unsent.is_empty() {
            let used = client.link.receive(&client.unsent, *now, turn);
            client.unsent.drain(..used);
            moved |= used > 0;
        }
        let waker = Waker::from(client.bell.clone());
        let flow = client.link.poll(&waker, *now, 0, turn);
        client.busy = flow.more || flow.unread;
        if !flow.read {
            client.link.look_ahead(&client.unsent, turn);
        }
        let out = std::mem::take(&mut turn.out);
        moved |= !out.is_empty();
        client.take_in(&out, *now);
        moved || client.busy
    }
}

impl Client {
    /// Whether its connection is over.
    pub fn is_closed(&self) -> bool {
        self.link.is_closed()
    }

    /// Bytes that are held back: the broker does not read them.
    pub fn held_back(&self) -> usize {
        self.unsent.len()
    }

    fn next_id(&mut self) -> PacketId {
        self.last_id = self.last_id.wrapping_add(1).max(1);
        PacketId::new(self.last_id).expect("not zero")
    }

    fn take_in(&mut self, mut bytes: &[u8], at: Time) {
        let limits = DecodeLimits {
            packet_max: usize::MAX,
            properties_max: usize::MAX,
            user_properties_max: usize::MAX,
            filters_at_once: usize::MAX,
        };
        while !bytes.is_empty() {
            let decoded = codec::decode(bytes, Some(self.version), Sender::Server, &limits);
            let Ok(Decoded::Packet { packet, len }) = decoded else {
                panic!("not a packet: {decoded:?}")
            };
            self.on_packet(&packet, len, at);
            bytes = &bytes[len..];
        }
    }

    fn on_packet(&mut self, packet: &Packet<'_>, len: usize, at: Time) {
        match packet {
            Packet::Publish(publish) => {
                let user = publish.properties.user_properties();
                self.got.push(Got {
                    at,
                    topic: publish.topic.to_owned(),
                    payload: String::from_utf8_lossy(publish.payload).into_owned(),
                    qos: publish.qos,
                    dup: publish.dup,
                    len,
                    expiry: publish.expiry,
                    user_properties: user
                        .into_iter()
                        .map(|(k, v)| (k.to_owned(), v.to_owned()))
                        .collect(),
                });
                if let Some(packet_id) = publish.packet_id {
                    self.unacknowledged.push_back((packet_id, publish.qos));
                    if self.acknowledges {
                        self.acknowledge(1);
                    }
                }
            }
            Packet::PubAck(ack) | Packet::PubRec(ack) => {
                self.answers.push((ack.packet_id, ack.reason));
                if matches!(packet, Packet::PubRec(_)) && !ack.reason.is_error() {
                    self.encode(&Packet::PubRel(Ack::new(ack.packet_id, Reason::Success)));
                }
            }
            Packet::PubRel(ack) => {
                self.encode(&Packet::PubComp(Ack::new(ack.packet_id, Reason::Success)));
            }
            Packet::Disconnect(disconnect) => self.told = Some(disconnect.reason),
            other => self.others.push(format!("{other:?}")),
        }
    }

    /// Acknowledges the oldest so many.
    pub fn acknowledge(&mut self, count: usize) {
        self.answer(count, Reason::Success);
    }

    /// Answers the oldest so many.
    pub fn answer(&mut self, count: usize, reason: Reason) {
        for _ in 0..count {
            let Some((packet_id, qos)) = self.unacknowledged.pop_front() else { return };
            let ack = Ack::new(packet_id, reason);
            let twice = qos == QoS::ExactlyOnce;
            self.encode(&if twice { Packet::PubRec(ack) } else { Packet::PubAck(ack) });
        }
    }

    fn encode(&mut self, packet: &Packet<'_>) {
        codec::encode(packet, self.version, usize::MAX, &mut self.unsent).expect("it encodes");
    }
}

/// CONNECT of version 5; `expiry` in seconds.
pub fn connect(client_id: &str, clean_start: bool, expiry: u32) -> Connect<'_> {
    Connect { clean_start, client_id, session_expiry: expiry, ..Connect::default() }
}
