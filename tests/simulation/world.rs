//! One round: a broker, its clients and the wires between them, everything from one seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use sluicemq::auth::{Gate, PermitAll};
use sluicemq::broker::metrics::Counter;
use sluicemq::broker::overload::{Pressure, Sample};
use sluicemq::broker::ports::{Refused, Store};
use sluicemq::broker::turn::Turn;
use sluicemq::broker::{Broker, Link, NOBODY_READS, PeerInfo, Ports, View};
use sluicemq::codec::property::put_user_property;
use sluicemq::codec::{
    self, Ack, Connect, Decoded, Disconnect, From, Limits, Packet, Properties, Publish, QoS,
    Reason, RetainHandling, Subscribe, SubscribeOptions, Unsubscribe, Version, Will,
};
use sluicemq::message::Loss;
use sluicemq::store::MemoryStore;
use sluicemq::time::Time;

use super::check::{self, Answers, Copies, Once, Turns, Verdict, Window};
use super::client::{Client, Conn, Outgoing, Pings, Reply, Watch};
use super::letters::{Letters, Of, Told};
use super::oracle::Oracle;
use super::plan::{EXPIRY_MAX, Kind, LISTENER, Plan, READER, RECEIVE_MAXIMUM, URGENT};
use super::random::Random;
use super::rows::Disk;
use super::store::{Fact, Key, SimStore, number_of};

pub const TOPICS: &[&str] = &["t/a", "t/b", "t/a/x", "t/b/y", "g/a/x", "g/b/y"];
/// Only Shared Subscriptions reach `g/…`, and each of its topics only one group.
const FILTERS: &[&str] = &[
    "t/a",
    "t/b",
    "t/+",
    "t/#",
    "t/+/#",
    "t/+/x",
    "t/a/x",
    "$share/one/g/a/+",
    "$share/one/g/a/+",
    "$share/two/g/b/#",
];
const WILL: &str = "t/will";

pub struct World {
    pub plan: Plan,
    random: Random,
    now: Time,
    pub broker: Broker,
    store: Option<Arc<SimStore>>,
    /// What outlives the broker, where it dies.
    disk: Option<Disk>,
    hash_seed: u64,
    turn: Turn,
    conns: BTreeMap<usize, Conn>,
    next_conn: usize,
    /// Who publishes and subscribes; behind them, if there is one, the reader of dead letters.
    clients: Vec<Client>,
    messages: u64,
    numbers: u64,
    oracle: Oracle,
    letters: Letters,
    /// Messages of groups handed out at `QoS` 2.
    shared_once: Once,
    /// Messages above `QoS` 0 that were acknowledged, and their topics.
    accepted: BTreeMap<u64, usize>,
    /// A client has ended its Session, and with it what it had of the group's.
    ended: bool,
    /// Messages that came to a store that had failed.
    too_late: BTreeSet<u64>,
    /// The end: no faults, no limits, everybody answers.
    quiet: bool,
    pub trace: String,
    pub reached: Reached,
}

/// What a round has come by: a simulation that never comes by a limit tests nothing there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached {
    pub accepted: u64,
    pub refused: u64,
    pub repeats: u64,
    pub lost_with_connection: u64,
    pub ledger: [u64; Loss::ALL.len()],
    pub full_store: u64,
    pub slow_for_a_while: u64,
    pub full_for_a_while: u64,
    pub failed_store: u64,
    pub full_window: u64,
    pub taken_over: u64,
    pub resumed: u64,
    pub paused: u64,
    pub crashes: u64,
    pub rate_pauses: u64,
    pub rate_refused: u64,
    pub rate_dropped: u64,
    pub rate_disconnects: u64,
    pub taken_over_messages: u64,
    pub shed: u64,
    pub held_up: u64,
    pub answered_ahead: u64,
    pub gone_while_held: u64,
    /// Copies that were lost while only the store knew their topics, and found their classes.
    pub read_late: u64,
    /// Entries of each class of topics.
    pub classes: [u64; 3],
    pub reloads: u64,
    pub letters: u64,
    pub letters_lost: u64,
    pub letters_given_up: u64,
}

impl Reached {
    pub fn add(&mut self, other: &Reached) {
        for (sum, n) in self.numbers().into_iter().zip({ *other }.numbers()) {
            *sum += *n;
        }
    }

    /// Everything was come by: except what no round can.
    pub fn check(&mut self) {
        // Rights are all granted; the memory limit refuses before anything is a copy; this store
        // leaves every message in memory.
        let impossible = [Loss::NotAuthorized, Loss::MemoryFull, Loss::Unreadable];
        let impossible = impossible.map(|loss| loss as usize);
        let ledger = self.ledger;
        for at in (0..ledger.len()).filter(|at| !impossible.contains(at)) {
            assert!(ledger[at] > 0, "no copy was ever lost as {:?}", Loss::ALL[at]);
        }
        for (at, number) in self.numbers().into_iter().enumerate().skip(ledger.len()) {
            assert!(*number > 0, "never reached: number {at} of Reached");
        }
    }

    fn numbers(&mut self) -> Vec<&mut u64> {
        let mut all: Vec<_> = self.ledger.iter_mut().collect();
        all.extend([
            &mut self.accepted,
            &mut self.refused,
            &mut self.repeats,
            &mut self.lost_with_connection,
            &mut self.full_store,
            &mut self.slow_for_a_while,
            &mut self.full_for_a_while,
            &mut self.failed_store,
            &mut self.full_window,
            &mut self.taken_over,
            &mut self.resumed,
            &mut self.paused,
            &mut self.crashes,
            &mut self.rate_pauses,
            &mut self.rate_refused,
            &mut self.rate_dropped,
            &mut self.rate_disconnects,
            &mut self.taken_over_messages,
            &mut self.shed,
            &mut self.held_up,
            &mut self.answered_ahead,
            &mut self.gone_while_held,
            &mut self.read_late,
            &mut self.reloads,
            &mut self.letters,
            &mut self.letters_lost,
            &mut self.letters_given_up,
        ]);
        all.extend(&mut self.classes);
        all
    }
}

impl World {
    pub fn new(plan: Plan, hash_seed: u64) -> World {
        let store = match plan.store {
            Kind::Memory | Kind::Crashing => None,
            Kind::Slow => Some(Arc::new(SimStore::new(plan.seed, 0))),
            Kind::Faulty => Some(Arc::new(SimStore::new(plan.seed, 5))),
        };
        let disk = (plan.store == Kind::Crashing).then(Disk::default);
        let port: Arc<dyn Store> = match (&store, &disk) {
            (Some(store), _) => store.clone(),
            (None, Some(disk)) => Arc::new(disk.open()),
            (None, None) => Arc::new(MemoryStore),
        };
        let now = Time::from_secs(1_000_000);
        let broker = Broker::new(&plan.config, ports(port), hash_seed, now);
        let client = |name| Client { name, ..Client::default() };
        let names = (0..plan.clients).map(|n| format!("c{n}"));
        let names = names.chain(plan.letters.then(|| READER.to_owned()));
        let clients: Vec<_> = names.map(client).collect();
        World {
            random: Random::new(plan.seed),
            now,
            broker,
            store,
            disk,
            hash_seed,
            turn: Turn::default(),
            conns: BTreeMap::new(),
            next_conn: 0,
            oracle: Oracle::new(clients.len()),
            letters: Letters::default(),
            clients,
            messages: 0,
            numbers: 0,
            shared_once: Once::default(),
            accepted: BTreeMap::new(),
            ended: false,
            too_late: BTreeSet::new(),
            quiet: false,
            trace: String::new(),
            reached: Reached::default(),
            plan,
        }
    }

    /// The whole round.
    pub fn run(&mut self) {
        if self.plan.letters {
            self.begin_to_read_letters();
        }
        for step in 0..self.plan.steps {
            self.step();
            if self.plan.store == Kind::Faulty && step == self.plan.steps * 3 / 4 {
                self.note("the store fails");
                self.store.as_ref().unwrap().fail();
            }
            self.audit();
        }
        self.count();
        if self.plan.store != Kind::Faulty {
            self.end_quietly();
        }
    }

    fn step(&mut self) {
        let client = self.random.below(self.plan.clients);
        let usable = self.usable(client);
        match (self.random.below(100), usable) {
            (0..=9, None) => self.connect(client),
            (0..=1, Some(conn)) => {
                self.conns.get_mut(&conn).unwrap().abandoned = true;
                self.connect(client);
            }
            (2..=30, Some(conn)) => {
                for _ in 0..=self.random.below(4) {
                    self.publish(conn);
                }
            }
            (31..=40, Some(conn)) if self.disk.is_none() => self.subscribe(conn),
            (41..=42, Some(conn)) if self.disk.is_none() => self.unsubscribe(conn),
            (31..=32, _) if self.disk.is_some() => self.crash(),
            (43..=44, Some(conn)) => self.leave(conn),
            (45, Some(conn)) => self.disconnect(conn),
            (46, Some(conn)) if !self.plan.exact => self.be_rude(conn),
            (47..=49, Some(conn)) => {
                let conn = self.conns.get_mut(&conn).unwrap();
                conn.stalled = !conn.stalled;
            }
            (50..=51, Some(conn)) => self.conns.get_mut(&conn).unwrap().send(&Packet::PingReq),
            (52..=59, _) => self.pass_time(),
            (70..=73, _) => self.change_room(),
            (74..=77, _) => self.press(),
            (78..=79, _) => self.reload(),
            (60..=69, _) => {
                let batches = self.random.below(5);
                if let Some(store) = &self.store {
                    store.write(batches);
                }
                if let Some(disk) = &self.disk {
                    disk.write(batches);
                }
            }
            _ => {}
        }
        if let Some(reader) = self.reader() {
            self.reply(reader);
            self.read_wire(reader);
        }
        for _ in 0..self.random.below(3) {
            let ids: Vec<_> = self.conns.keys().copied().collect();
            if ids.is_empty() {
                return;
            }
            let id = self.random.pick(&ids);
            self.reply(id);
            self.read_wire(id);
        }
        for _ in 0..self.random.below(5) {
            self.turn_of_one();
        }
    }

    /// The store is slow or full for a while, or has room again.
    fn change_room(&mut self) {
        let Some(store) = &self.store else { return };
        // Who is told that it is full the oracle cannot foretell.
        let choices = [None, None, Some(Refused::Slow), Some(Refused::Full)];
        let choices = if self.plan.exact { &choices[..3] } else { &choices };
        let why = self.random.pick(choices);
        store.shut(why);
        self.note(&format!("the store refuses: {why:?}"));
    }

    /// The broker is told how hard it is pressed.
    fn press(&mut self) {
        let lag = Duration::from_millis(self.random.pick(&[0, 0, 60, 80, 95]));
        let sample = Sample { lag, ..Sample::default() };
        for _ in 0..9 {
            self.broker.observe(&sample, self.now);
        }
        self.note(&format!("pressed: {:?}", self.broker.pressure()));
    }

    /// Another configuration is read.
    fn reload(&mut self) {
        self.plan.change(&mut self.random);
        self.broker.reload(&self.plan.config, self.now);
        let (queue, priority) = (&self.plan.config.queue, &self.plan.config.priority);
        let said = format!("reloaded: {queue:?} {priority:?} {:?}", self.plan.config.class);
        self.note(&said);
        self.reached.reloads += 1;
    }

    /// It is told that nothing but what waits presses it, until it believes it.
    fn relieve(&mut self) {
        for _ in 0..30 {
            self.broker.observe(&Sample::default(), self.now);
            self.advance(Duration::from_millis(100));
        }
    }

    /// The broker dies, and another one takes over what was written. Of what was on its way to the
    /// clients nothing comes any more.
    fn crash(&mut self) {
        let Some(disk) = &self.disk else { return };
        disk.crash();
        self.conns.clear();
        self.clients.iter_mut().for_each(|client| client.conn = None);
        let port = Arc::new(disk.open());
        self.broker = Broker::new(&self.plan.config, ports(port), self.hash_seed, self.now);
        self.turn = Turn::default();
        let restored = self.broker.restore(self.now, &mut self.turn);
        let restored = restored.unwrap_or_else(|what| self.fail(&what));
        self.note(&format!("the broker dies, and the next takes over {restored:?}"));
        self.reached.crashes += 1;
        self.reached.taken_over_messages += restored.messages as u64;
    }

    fn usable(&self, client: usize) -> Option<usize> {
        let conn = self.clients[client].conn?;
        self.conns.get(&conn).filter(|conn| conn.usable()).map(|_| conn)
    }

    // --- what clients do ---

    fn connect(&mut self, client: usize) {
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
            expiry: None,
            topic: WILL,
            payload: b"W",
            properties: Properties::EMPTY,
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
            listener: Arc::from(LISTENER),
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
    fn begin_to_read_letters(&mut self) {
        let reader = self.plan.clients;
        let id = self.dial(reader, Connect { client_id: READER, ..Connect::default() });
        self.settle();
        let options = SubscribeOptions { qos: QoS::ExactlyOnce, ..SubscribeOptions::default() };
        self.conns.get_mut(&id).unwrap().send(&Packet::Subscribe(Subscribe {
            packet_id: NonZeroU16::MIN,
            subscription_id: None,
            user_properties: Properties::EMPTY,
            filters: vec![("$dead/#", options)],
        }));
        self.settle();
    }

    /// The connection of the reader of dead letters, if there is one.
    fn reader(&self) -> Option<usize> {
        let reader = self.clients.get(self.plan.clients)?;
        let conn = reader.conn.filter(|conn| self.conns[conn].usable());
        Some(conn.unwrap_or_else(|| self.fail("nobody reads the dead letters")))
    }

    fn publish(&mut self, id: usize) {
        let random = &mut self.random;
        let qos = random.pick(&[
            QoS::AtMostOnce,
            QoS::AtLeastOnce,
            QoS::AtLeastOnce,
            QoS::ExactlyOnce,
            QoS::ExactlyOnce,
        ]);
        let topic = random.below(TOPICS.len());
        let retain = !self.plan.exact && random.percent(15);
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
        };
        if qos > QoS::AtMostOnce {
            client.out.push(out.clone());
        }
        let expires = self.disk.is_none();
        let expiry =
            if expires && random.percent(10) { Some(1 + random.below(5) as u32) } else { None };
        self.send_publish(id, &out, false, expiry);
    }

    fn send_publish(&mut self, id: usize, out: &Outgoing, dup: bool, expiry: Option<u32>) {
        self.letters.sent(out.number, TOPICS[out.topic], out.retain);
        let conn = self.conns.get_mut(&id).unwrap();
        let mut payload = format!("{}:{}:{}:", conn.client, out.message, out.number);
        payload.extend(std::iter::repeat_n('x', out.size));
        let properties = urgency(out.number, conn.version);
        conn.send(&Packet::Publish(Publish {
            dup,
            qos: out.qos,
            retain: out.retain,
            topic: TOPICS[out.topic],
            packet_id: NonZeroU16::new(out.packet_id),
            expiry: expiry.filter(|_| conn.version == Version::V5),
            payload: payload.as_bytes(),
            properties: Properties::trusted(&properties),
            ..Publish::default()
        }));
    }

    fn subscribe(&mut self, id: usize) {
        let random = &mut self.random;
        let v5 = self.conns[&id].version == Version::V5;
        let mut filters = Vec::new();
        for _ in 0..=random.below(2) {
            let filter = random.pick(FILTERS);
            let options = SubscribeOptions {
                qos: random.pick(&[
                    QoS::AtMostOnce,
                    QoS::AtLeastOnce,
                    QoS::ExactlyOnce,
                    QoS::ExactlyOnce,
                ]),
                no_local: v5 && !filter.starts_with('$') && random.percent(10),
                retain_as_published: v5 && random.percent(20),
                retain_handling: if v5 {
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
        let packet_id = self.clients[self.conns[&id].client].free_id();
        self.conns.get_mut(&id).unwrap().send(&Packet::Subscribe(Subscribe {
            packet_id: NonZeroU16::new(packet_id).unwrap(),
            subscription_id,
            user_properties: Properties::EMPTY,
            filters,
        }));
    }

    /// Its own, and those of one group.
    fn subscribe_to_everything(&mut self, id: usize) {
        let options = SubscribeOptions { qos: QoS::ExactlyOnce, ..SubscribeOptions::default() };
        let packet_id = self.clients[self.conns[&id].client].free_id();
        self.conns.get_mut(&id).unwrap().send(&Packet::Subscribe(Subscribe {
            packet_id: NonZeroU16::new(packet_id).unwrap(),
            subscription_id: None,
            user_properties: Properties::EMPTY,
            filters: vec![("t/#", options), ("$share/one/g/a/+", options)],
        }));
    }

    fn unsubscribe(&mut self, id: usize) {
        let filter = self.random.pick(FILTERS);
        let packet_id = self.clients[self.conns[&id].client].free_id();
        self.conns.get_mut(&id).unwrap().send(&Packet::Unsubscribe(Unsubscribe {
            packet_id: NonZeroU16::new(packet_id).unwrap(),
            user_properties: Properties::EMPTY,
            filters: vec![filter],
        }));
    }

    /// The connection is cut: what was on its way may arrive in part.
    fn leave(&mut self, id: usize) {
        let conn = self.conns.get_mut(&id).unwrap();
        let keep = self.random.below(conn.transit.len() + 1);
        conn.transit.truncate(keep);
        conn.left = true;
        self.clients[conn.client].conn = None;
        self.note(&format!("{id} is cut after {keep}"));
    }

    fn disconnect(&mut self, id: usize) {
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
    fn be_rude(&mut self, id: usize) {
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

    fn pass_time(&mut self) {
        let span = match self.random.below(20) {
            0..=11 => Duration::from_millis(self.random.below(80) as u64),
            12..=18 => Duration::from_millis(self.random.below(3_000) as u64),
            _ => Duration::from_secs(self.random.below(30) as u64),
        };
        self.advance(span);
    }

    fn advance(&mut self, span: Duration) {
        self.now = self.now.after(span);
        for _ in 0..100 {
            let next = self.broker.tick(self.now, &mut self.turn);
            if next.is_none_or(|next| next > self.now) {
                break;
            }
        }
        self.note(&format!("+ {span:?}"));
    }

    /// The client answers some of what it owes.
    fn reply(&mut self, id: usize) {
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

    /// The client reads some of what has come.
    fn read_wire(&mut self, id: usize) {
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
            while let Ok(Decoded::Packet { packet, len }) =
                codec::decode(&bytes[used..], Some(conn.version), From::Server, &Limits::NONE)
            {
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
                self.accept(conn.client, packet_id, ack.reason);
                self.clients[conn.client].out.retain(|out| out.packet_id != packet_id);
            }
            Packet::SubAck(_) if self.disk.is_some() => {
                self.clients[conn.client].since = Some(self.messages);
            }
            Packet::PubRec(ack) => {
                let packet_id = ack.packet_id.get();
                self.accept(conn.client, packet_id, ack.reason);
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

    /// What is acknowledged is promised.
    fn accept(&mut self, client: usize, packet_id: u16, reason: Reason) {
        let out = self.clients[client].out.iter().find(|out| out.packet_id == packet_id);
        if let (Some(out), Reason::Success) = (out, reason) {
            let (message, topic) = (out.message, out.topic);
            self.accepted.insert(message, topic);
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
            // To the broker each sending may be a new message: it gets a number of its own.
            self.numbers += 1;
            self.clients[name].out[at].number = self.numbers;
            let out = self.clients[name].out[at].clone();
            self.letters.sent(out.number, TOPICS[out.topic], out.retain);
            let mut payload = format!("{name}:{}:{}:", out.message, out.number);
            payload.extend(std::iter::repeat_n('x', out.size));
            let properties = urgency(out.number, conn.version);
            conn.send(&Packet::Publish(Publish {
                dup: true,
                qos: out.qos,
                retain: out.retain,
                topic: TOPICS[out.topic],
                packet_id: NonZeroU16::new(out.packet_id),
                payload: payload.as_bytes(),
                properties: Properties::trusted(&properties),
                ..Publish::default()
            }));
        }
    }

    /// A message for the client.
    fn receive(&mut self, conn: &mut Conn, publish: &Publish<'_>) {
        let topic = match publish.topic_alias {
            Some(alias) if publish.topic.is_empty() => {
                conn.aliases.get(&alias.get()).expect("an alias that was set").clone()
            }
            Some(alias) => {
                conn.aliases.insert(alias.get(), publish.topic.to_owned());
                publish.topic.to_owned()
            }
            None => publish.topic.to_owned(),
        };
        let reads_letters = conn.client == self.plan.clients;
        let client = &mut self.clients[conn.client];
        let refuses = !self.quiet
            && !reads_letters
            && self.disk.is_none()
            && conn.version == Version::V5
            && self.random.percent(2);
        let reason = if refuses { Reason::ImplementationSpecificError } else { Reason::Success };
        let is_new = match (publish.qos, publish.packet_id) {
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
        };
        if reads_letters {
            // It is connected all the time: nothing comes to it again.
            assert!(is_new == Some(true) && !publish.retain);
            let number = parts(publish.payload).map(|(publisher, _, number)| (publisher, number));
            let wanted = |receiver: &str| self.plan.wants_letters(receiver);
            let verdict = self.letters.came(&topic, publish, number, wanted);
            return self.demand(verdict, "a dead letter");
        }
        let Some((publisher, message, number)) = parts(publish.payload) else { return };
        let Some(taken) = is_new else { return };
        if taken && publish.qos > QoS::AtMostOnce {
            client.seen.insert(number);
            client.got.insert(message);
        }
        // Retained messages are pulled beside what comes live: they may come again, and earlier.
        if publish.retain {
            return;
        }
        let shared = topic.starts_with("g/");
        let verdict = match (publish.qos, shared) {
            _ if !taken => Ok(()),
            (QoS::ExactlyOnce, true) => self.shared_once.came(message),
            (QoS::ExactlyOnce, false) => client.once.came(message),
            _ => Ok(()),
        };
        let order =
            if shared { Ok(()) } else { client.order.came(publisher, &topic, publish.qos, number) };
        let who = conn.client;
        self.demand(verdict, &format!("c{who} {topic}"));
        self.demand(order, &format!("c{who}"));
    }

    // --- what the broker does ---

    /// One connection that has something to do has its turn.
    fn turn_of_one(&mut self) -> bool {
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
                self.note(&format!("{id} hangs up while it waits"));
                conn.link.hang_up(self.now, &mut self.turn);
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

    /// What the link has put out in this call.
    fn look(&mut self, id: usize, conn: &mut Conn, used: usize) {
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
            match codec::decode(&out[at..], Some(conn.version), From::Server, &Limits::NONE) {
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
        let pings = conn.watch.pings;
        let owed = if conn.over { 0 } else { pings.consumed };
        if pings.answered > pings.sent || pings.answered < owed {
            self.fail(&format!("{id}: {pings:?}"));
        }
    }

    /// What leaves the link, looked at as it leaves.
    fn watch(&mut self, id: usize, conn: &mut Conn, packet: &Packet<'_>, len: usize, over: bool) {
        let place = format!("{id} {}", brief(packet));
        let watch = &mut conn.watch;
        if watch.goodbye {
            self.fail(&format!("{place}: after DISCONNECT"));
        }
        if let Packet::ConnAck(connack) = packet {
            if watch.greeted {
                self.fail(&format!("{place}: a second CONNACK"));
            }
            watch.greeted = connack.reason == Reason::Success;
            if watch.greeted && !over {
                watch.session = self.session_of(conn.client);
                // Whether a PUBLISH was refused whose answer was lost only the broker knows.
                self.oracle.resume(conn.client, &conn.link.unreleased());
                let lasting = watch.expiry > 0;
                let fact = Fact::Expiry(watch.expiry);
                let session = watch.session;
                self.must_be_written(lasting, session, Key::Session, Some(&fact), &place);
            }
            return;
        }
        if !watch.greeted {
            self.fail(&format!("{place}: before CONNACK"));
        }
        if len > watch.packet_max {
            self.fail(&format!("{place}: {len} bytes, the client takes {}", watch.packet_max));
        }
        let lasting = watch.expiry > 0;
        let session = watch.session;
        match packet {
            Packet::Publish(publish) if publish.packet_id.is_some() => {
                let packet_id = publish.packet_id.unwrap().get();
                let verdict = watch.window.sent(packet_id);
                self.demand(verdict, &place);
                if publish.qos == QoS::ExactlyOnce {
                    let fact = Fact::Sent(number_of(publish.payload));
                    let key = Key::Outgoing(packet_id);
                    self.must_be_written(lasting, session, key, Some(&fact), &place);
                }
            }
            Packet::PubRel(ack) if !ack.reason.is_error() => {
                let key = Key::Outgoing(ack.packet_id.get());
                self.must_be_written(lasting, session, key, Some(&Fact::Released), &place);
            }
            Packet::PubAck(ack) => {
                let turn = watch.turns.answered(ack.packet_id.get(), QoS::AtLeastOnce);
                self.answered(turn, ack.reason, &place);
            }
            Packet::PubRec(ack) => {
                let packet_id = ack.packet_id.get();
                let turn = watch.turns.answered(packet_id, QoS::ExactlyOnce);
                self.answered(turn, ack.reason, &place);
                let error = ack.reason.is_error();
                if error {
                    self.oracle.free(conn.client, packet_id);
                }
                let fact = (!error).then_some(Fact::Received);
                let key = Key::Incoming(packet_id);
                // What was refused while 3.1.1 could not be told is not remembered as received.
                let silent = !self.plan.exact && !error && !self.is_submitted(session, &key);
                self.must_be_written(lasting && !silent, session, key, fact.as_ref(), &place);
            }
            Packet::PubComp(ack) => {
                let key = Key::Incoming(ack.packet_id.get());
                self.must_be_written(lasting, session, key, None, &place);
            }
            Packet::SubAck(suback) => {
                let asked = watch.subscribes.remove(&suback.packet_id.get());
                let Some(asked) = asked else { self.fail(&format!("{place}: not asked for")) };
                // A later change of the same packet wins: only the last one is looked at.
                let mut last = BTreeMap::new();
                for ((filter, qos), reason) in asked.into_iter().zip(&suback.reasons) {
                    last.insert(filter, (qos, *reason));
                }
                let alone = watch.subscribes.is_empty() && watch.unsubscribes.is_empty();
                for (filter, (qos, reason)) in last {
                    if reason.is_error() {
                        continue;
                    }
                    let key = Key::Subscription(filter);
                    let fact = Fact::Granted(qos);
                    self.must_be_written(lasting && alone, session, key, Some(&fact), &place);
                }
            }
            Packet::UnsubAck(unsuback) => {
                let asked = watch.unsubscribes.remove(&unsuback.packet_id.get());
                let Some(asked) = asked else { self.fail(&format!("{place}: not asked for")) };
                let alone = watch.subscribes.is_empty() && watch.unsubscribes.is_empty();
                for filter in asked {
                    let key = Key::Subscription(filter);
                    self.must_be_written(lasting && alone, session, key, None, &place);
                }
            }
            Packet::PingResp => watch.pings.answered += 1,
            Packet::Disconnect(disconnect) => {
                watch.goodbye = true;
                let taken = disconnect.reason == Reason::SessionTakenOver;
                self.reached.taken_over += u64::from(taken);
            }
            _ => {}
        }
    }

    /// Nothing that promises leaves before what it promises is durable.
    fn must_be_written(
        &self,
        lasting: bool,
        session: Option<u64>,
        key: Key,
        fact: Option<&Fact>,
        place: &str,
    ) {
        let Some(store) = self.store.as_ref().filter(|_| lasting) else { return };
        let Some(session) = session else { self.fail(&format!("{place}: of no Session")) };
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

    fn is_submitted(&self, session: Option<u64>, key: &Key) -> bool {
        let (Some(store), Some(session)) = (&self.store, session) else { return false };
        store.submitted(|table| table.facts.contains_key(&(session, key.clone())))
    }

    /// A PUBLISH was answered: if the store was given its message, it must have it.
    fn answered(&mut self, turn: Result<u64, String>, reason: Reason, place: &str) {
        let number = match turn {
            Ok(number) => number,
            Err(what) => self.fail(&format!("{place}: {what}")),
        };
        let Some(store) = &self.store else { return };
        let submitted = store.submitted(|table| table.messages.contains(&number));
        let written = store.written(|table| table.messages.contains(&number));
        if submitted && !written {
            self.fail(&format!("{place}: answered, and message {number} is not durable"));
        }
        if !reason.is_error() && self.too_late.contains(&number) {
            self.fail(&format!("{place}: accepted {number} with a store that has failed"));
        }
    }

    /// What the link has consumed, for those who watch.
    fn consumed(&mut self, conn: &mut Conn, bytes: &[u8]) {
        let mut at = 0;
        while let Ok(Decoded::Packet { packet, len }) =
            codec::decode(&bytes[at..], Some(conn.version), From::Client, &Limits::NONE)
        {
            at += len;
            let client = conn.client;
            match &packet {
                Packet::Publish(publish) => {
                    let number = number_of(publish.payload).unwrap_or_default();
                    let failed = self.store.as_ref().is_some_and(|store| store.failed());
                    // One sent again at QoS 2 may have been accepted before.
                    let again = publish.dup && publish.qos == QoS::ExactlyOnce;
                    if failed && number > 0 && !again {
                        self.too_late.insert(number);
                    }
                    if let Some(packet_id) = publish.packet_id {
                        conn.watch.turns.asked(packet_id.get(), publish.qos, number);
                    }
                    self.oracle.publish(client, publish, number);
                }
                Packet::PubAck(ack) | Packet::PubComp(ack) => {
                    conn.watch.window.answered(ack.packet_id.get());
                }
                Packet::PubRec(ack) if ack.reason.is_error() => {
                    conn.watch.window.answered(ack.packet_id.get());
                }
                Packet::PingReq => conn.watch.pings.consumed += 1,
                Packet::PubRel(ack) => self.oracle.free(client, ack.packet_id.get()),
                Packet::Subscribe(subscribe) => {
                    let filters = subscribe.filters.iter();
                    let filters = filters.map(|(f, o)| ((*f).to_owned(), o.qos as u8)).collect();
                    conn.watch.subscribes.insert(subscribe.packet_id.get(), filters);
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

    // --- the laws ---

    fn session_of(&self, client: usize) -> Option<u64> {
        let name = &self.clients[client].name;
        let sessions = self.broker.view().sessions;
        sessions.iter().find(|session| session.client_id.as_str() == name).map(|s| s.id)
    }

    /// Both laws, and what the oracle foretells.
    fn audit(&mut self) {
        let view = self.broker.view();
        let mut own = BTreeMap::<String, u64>::new();
        let mut of_group = BTreeMap::<u64, u64>::new();
        let mut flights = Vec::new();
        let mut owed = 0;
        for conn in self.conns.values() {
            owed += conn.link.owed() as u64;
            flights.push((self.clients[conn.client].name.clone(), conn.link.in_flight()));
        }
        for (client, parked) in self.broker.parked_in_flight() {
            flights.push((client.as_str().to_owned(), parked));
        }
        let mut in_flight = 0;
        for (client, groups) in flights {
            for group in groups {
                in_flight += 1;
                match group {
                    None => *own.entry(client.clone()).or_default() += 1,
                    Some(group) => *of_group.entry(group).or_default() += 1,
                }
            }
        }
        let mut queued = 0;
        for session in &view.sessions {
            let name = session.client_id.as_str();
            let flying = own.get(name).copied().unwrap_or_default();
            self.demand(check::first_law(&session.account, flying), name);
            if self.plan.letters && name != READER {
                self.letters.account(Of::Session(session.id), name, &session.account);
            }
            queued += session.account.queued.iter().sum::<u64>();
        }
        for (group, account) in &view.groups {
            let flying = of_group.get(group).copied().unwrap_or_default();
            self.demand(check::first_law(account, flying), &format!("group {group}"));
            if self.plan.letters {
                self.letters.account(Of::Group(*group), "$share", account);
            }
            queued += account.queued.iter().sum::<u64>();
        }
        let metrics = self.broker.metrics();
        let copies = Copies {
            routed: metrics.sum(Counter::Routed),
            completed: metrics.sum(Counter::Completed),
            in_flight,
            queued,
            ledger: Loss::ALL.into_iter().map(|loss| metrics.lost(loss)).sum(),
        };
        self.demand(copies.check(), "all receivers");
        if !self.plan.config.topic_class.is_empty() {
            let verdict = check::classes_add_up(&view.topics, metrics);
            self.demand(verdict, "all classes of topics");
            let unread = view.topics.last().map_or(0, |class| class.ledger.iter().sum());
            self.reached.read_late = self.reached.read_late.max(unread);
        }
        let answers = Answers {
            received: metrics.sum(Counter::ReceivedAboveQos0),
            accepted: metrics.sum(Counter::Accepted),
            refused: metrics.sum(Counter::Refused),
            repeats: metrics.sum(Counter::Repeats),
            owed,
            lost: metrics.sum(Counter::LostWithConnection),
        };
        self.demand(answers.check(), "all publishers");
        self.foretold(&view);
    }

    fn foretold(&mut self, view: &View) {
        for client in 0..self.clients.len() {
            let name = &self.clients[client].name;
            let session = view.sessions.iter().find(|s| s.client_id.as_str() == name);
            self.oracle.session(client, session.map(|session| session.id));
            if let Some(session) = session.filter(|_| self.plan.exact && name != READER) {
                let routed = self.oracle.routed(client);
                if routed != session.account.routed {
                    self.fail(&format!(
                        "c{client}: {routed:?} foretold, {:?} routed",
                        session.account.routed
                    ));
                }
            }
        }
    }

    // --- the end ---

    /// Everybody comes back, takes and answers everything: nothing may be left.
    fn end_quietly(&mut self) {
        self.note("the quiet end");
        self.quiet = true;
        self.relieve();
        // Nobody waits for a bucket any more.
        self.broker.reload(&self.plan.without_rates(), self.now);
        let reader = self.reader();
        let left: Vec<_> = self.conns.keys().copied().filter(|id| Some(*id) != reader).collect();
        for id in left {
            let conn = self.conns.get_mut(&id).unwrap();
            conn.left = true;
            self.clients[conn.client].conn = None;
        }
        self.settle();
        // Those whose Sessions are full may come first, and make room for the others.
        for _ in 0..2 {
            for client in 0..self.clients.len() {
                if self.usable(client).is_none() {
                    self.connect(client);
                }
            }
            self.settle();
            self.relieve();
            self.settle();
        }
        let view = self.broker.view();
        for session in &view.sessions {
            let client = self.clients.iter().position(|c| c.name == session.client_id.as_str());
            let client = client.unwrap();
            if session.account.queued != [0, 0] {
                self.fail(&format!("c{client} still has {:?} waiting", session.account.queued));
            }
            if !session.connected {
                self.fail(&format!("c{client} did not come back"));
            }
            let it = &self.clients[client];
            if !it.out.is_empty() || !it.unreleased.is_empty() {
                self.fail(&format!("c{client} has {:?} and {:?} open", it.out, it.unreleased));
            }
            if self.plan.exact && client < self.plan.clients {
                let ledger: u64 = session.account.ledger[1].iter().map(|n| u64::from(*n)).sum();
                let too_large = session.account.ledger[1][Loss::TooLarge as usize];
                let routed = self.oracle.above(client);
                let seen_lost = it.refused + u64::from(too_large);
                let seen: BTreeSet<u64> = it.seen.intersection(routed).copied().collect();
                let verdict = check::nothing_missing(routed, &seen, ledger, seen_lost);
                let lost = &session.account.ledger[1];
                let missing: Vec<_> = routed.difference(&it.seen).collect();
                self.demand(verdict, &format!("c{client} without {missing:?}, ledger {lost:?}, {} of {:?} distinct, completed {:?}", routed.len(), session.account.routed, session.account.completed));
                if let Some(stray) =
                    it.seen.difference(routed).find(|number| !self.oracle.shared(**number))
                {
                    self.fail(&format!("c{client} got {stray}, which is not for it"));
                }
            }
        }
        for (group, account) in &view.groups {
            if account.queued != [0, 0] {
                self.fail(&format!("group {group} still has {:?} waiting", account.queued));
            }
        }
        for conn in self.conns.values() {
            if !conn.link.in_flight().is_empty() {
                self.fail("still in flight");
            }
        }
        self.nothing_promised_is_missing();
        self.all_letters_came();
        self.forget_everything();
        let [.., unread] = &self.broker.view().topics[..] else { return };
        if unread.reasons().any(|(_, count)| count > 0) {
            self.fail(&format!("never read: {unread:?}"));
        }
    }

    /// Where the broker died: what was acknowledged came, to everybody or to one of the group.
    fn nothing_promised_is_missing(&mut self) {
        if self.disk.is_none() {
            return;
        }
        for (message, topic) in &self.accepted {
            let wants = |client: &&Client| client.since.is_some_and(|since| since < *message);
            let mut who = self.clients.iter().filter(wants).peekable();
            let got = |client: &Client| client.got.contains(message);
            let came = match TOPICS[*topic] {
                name if name.starts_with("t/") => who.all(got),
                name if name.starts_with("g/a/") => {
                    self.ended || who.peek().is_none() || self.clients.iter().any(got)
                }
                _ => true,
            };
            if !came {
                let (name, seen) =
                    (TOPICS[*topic], self.clients.iter().map(|c| c.got.contains(message)));
                let seen: Vec<bool> = seen.collect();
                let lost = Loss::ALL.map(|loss| (loss, self.broker.metrics().lost(loss)));
                let lost: Vec<_> = lost.into_iter().filter(|(_, count)| *count > 0).collect();
                self.fail(&format!(
                    "message {message} on {name} was acknowledged; came: {seen:?}; {lost:?}"
                ));
            }
        }
    }

    /// What was dropped and what was read of it are the same.
    fn all_letters_came(&mut self) {
        let metrics = self.broker.metrics();
        let (published, lost) = (metrics.sum(Counter::Letters), metrics.sum(Counter::LettersLost));
        if !self.plan.letters {
            assert_eq!((published, lost), (0, 0), "letters that nobody wants");
            return;
        }
        let view = self.broker.view();
        let reader = view.sessions.iter().find(|session| session.client_id.as_str() == READER);
        let reader = &reader.unwrap_or_else(|| self.fail("the reader has no Session")).account;
        let given_up = |loss: Loss| {
            reader.ledger.iter().map(|class| u64::from(class[loss as usize])).sum::<u64>()
        };
        let receivers = self.clients[..self.plan.clients].iter().map(|client| &*client.name);
        let told = Told {
            published,
            lost,
            ledger: Loss::ALL.map(|loss| metrics.lost(loss) - given_up(loss)),
            refused: given_up(Loss::QueueFull),
            given_up: Loss::ALL.into_iter().map(given_up).sum::<u64>() - given_up(Loss::QueueFull),
            everybody: receivers.chain(["$share"]).all(|who| self.plan.wants_letters(who)),
        };
        self.demand(self.letters.check(&told, |who| self.plan.wants_letters(who)), "dead letters");
        self.reached.letters = self.letters.count();
        (self.reached.letters_lost, self.reached.letters_given_up) = (lost, told.given_up);
    }

    /// Retained messages are cleared, Sessions end: the broker is empty again.
    fn forget_everything(&mut self) {
        let Some(id) = (0..self.clients.len()).find_map(|client| self.usable(client)) else {
            self.fail("nobody could connect");
        };
        for topic in TOPICS.iter().chain(&[WILL]) {
            self.conns.get_mut(&id).unwrap().send(&Packet::Publish(Publish {
                qos: QoS::AtMostOnce,
                retain: true,
                topic,
                ..Publish::default()
            }));
        }
        self.settle();
        // With room for one message in a queue each of them may have to wait for its receivers.
        for _ in TOPICS {
            if self.broker.view().retained != (0, 0) {
                self.settle();
            }
        }
        let view = self.broker.view();
        if view.retained != (0, 0) {
            self.fail(&format!("retained {:?}", view.retained));
        }
        if view.message_bytes != 0 {
            self.fail(&format!("{} bytes of messages nobody waits for", view.message_bytes));
        }
        self.relieve();
        if self.broker.pressure() != Pressure::default() {
            self.fail("pressed by nothing");
        }
        for client in 0..self.clients.len() {
            if let Some(conn) = self.usable(client) {
                self.disconnect(conn);
            }
        }
        self.settle();
        self.advance(Duration::from_secs(u64::from(EXPIRY_MAX) + 1));
        self.settle();
        let view = self.broker.view();
        if !view.sessions.is_empty() || !view.groups.is_empty() || view.subscriptions != 0 {
            self.fail(&format!("left over: {view:?}"));
        }
        let retained_will = view.retained;
        if view.message_bytes != retained_will.1 {
            self.fail(&format!("{} bytes of messages at the end", view.message_bytes));
        }
        let unreleased = self.broker.metrics().connected.load(std::sync::atomic::Ordering::Relaxed);
        if unreleased != 0 {
            self.fail(&format!("{unreleased} clients counted as connected"));
        }
        if let Some(disk) = &self.disk
            && retained_will.0 == 0
            && !disk.rows().is_empty()
        {
            self.fail(&format!("rows left over, by their first bytes: {:?}", disk.rows()));
        }
    }

    /// Until nobody has anything to do any more, and no pause lasts.
    fn settle(&mut self) {
        if let Some(store) = &self.store {
            store.shut(None);
        }
        for _ in 0..6 {
            let mut turns = 0;
            loop {
                let stored = self.store.as_ref().is_some_and(|store| store.write(usize::MAX));
                let wrote = stored || self.disk.as_ref().is_some_and(|disk| disk.write(usize::MAX));
                let acted = self.turn_of_one();
                let ids: Vec<_> = self.conns.keys().copied().collect();
                for id in ids {
                    self.read_wire(id);
                    self.reply(id);
                }
                let sent = self.conns.values().any(|conn| is_ready(conn, self.now));
                if !wrote && !acted && !sent {
                    break;
                }
                turns += 1;
                if turns > 20_000 {
                    self.fail("it never comes to rest");
                }
            }
            self.advance(Duration::from_millis(60));
        }
    }

    fn count(&mut self) {
        let metrics = self.broker.metrics();
        self.reached.accepted = metrics.sum(Counter::Accepted);
        self.reached.refused = metrics.sum(Counter::Refused);
        self.reached.repeats = metrics.sum(Counter::Repeats);
        self.reached.rate_pauses = metrics.sum(Counter::RatePauses);
        self.reached.rate_refused = metrics.sum(Counter::RateRefused);
        self.reached.rate_dropped = metrics.sum(Counter::RateDropped);
        self.reached.rate_disconnects = metrics.sum(Counter::RateDisconnects);
        self.reached.shed = metrics.sum(Counter::Shed);
        self.reached.held_up = metrics.sum(Counter::HeldUp);
        self.reached.lost_with_connection = metrics.sum(Counter::LostWithConnection);
        for loss in Loss::ALL {
            self.reached.ledger[loss as usize] = metrics.lost(loss);
        }
        for (entries, class) in self.reached.classes.iter_mut().zip(metrics.topics().losses()) {
            *entries = class.reasons().map(|(_, count)| count).sum();
        }
        if let Some(store) = &self.store {
            self.reached.full_store = store.refusals();
            [self.reached.slow_for_a_while, self.reached.full_for_a_while] = store.waits();
            self.reached.failed_store = u64::from(store.failed());
        }
    }

    fn note(&mut self, what: &str) {
        writeln!(self.trace, "{} {what}", self.now.as_nanos() / 1_000_000).unwrap();
    }

    fn demand(&self, verdict: Verdict, place: &str) {
        if let Err(what) = verdict {
            self.fail(&format!("{place}: {what}"));
        }
    }

    fn fail(&self, what: &str) -> ! {
        let lines: Vec<_> = self.trace.lines().collect();
        let shown = if std::env::var("SEED").is_ok() { lines.len() } else { 60 };
        let tail = lines[lines.len().saturating_sub(shown)..].join("\n");
        panic!("{tail}\n{what}\n{:?} exact {}", self.plan.store, self.plan.exact);
    }
}

fn ports(store: Arc<dyn Store>) -> Ports {
    Ports { store, authenticator: Arc::new(Gate::new(None)), access: Arc::new(PermitAll) }
}

fn is_ready(conn: &Conn, now: Time) -> bool {
    if conn.over {
        return false;
    }
    let ahead = || !conn.gone && conn.link.room_ahead(&conn.arrived).is_some_and(|room| room > 0);
    let input = (!conn.transit.is_empty() || conn.left) && (conn.read || ahead());
    let due = conn.link.deadline().is_some_and(|deadline| deadline <= now);
    conn.flag.up() || conn.busy || conn.unread || input || due
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

/// Publisher, message and number in a payload of the simulation.
fn parts(payload: &[u8]) -> Option<(usize, u64, u64)> {
    let mut parts = payload.split(|byte| *byte == b':');
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<u64>().ok();
    Some((number()? as usize, number()?, number()?))
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
