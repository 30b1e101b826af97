//! One round: a broker, its clients and the wires between them, everything from one seed.

mod behaviour;
mod ending;
mod laws;
mod watch;
mod wire;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use sluicemq::auth::PasswordAuth;
use sluicemq::broker::overload::Sample;
use sluicemq::broker::ports::{Refused, Store};
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{Broker, Ports};
use sluicemq::codec::Packet;
use sluicemq::message::ClientId;
use sluicemq::store::MemoryStore;
use sluicemq::time::Time;

use super::access::Rights;
use super::check::{Once, Verdict};
use super::client::{Client, Conn};
use super::letters::Letters;
use super::oracle::Oracle;
use super::plan::{Kind, Plan, READER};
use super::random::Random;
use super::reached::Reached;
use super::rows::Disk;
use super::store::SimStore;
use wire::is_ready;
use work::Work;

pub const TOPICS: &[&str] = &[
    "t/a", "t/b", "t/a/x", "t/b/y", "g/a/x", "g/b/y", "q/a", "q/b", "t/late", "t/once", "k/a",
    "k/b",
];
/// Those of them that there are in all rounds.
const ALWAYS: usize = 6;
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
pub const WILL: &str = "t/will";

pub struct World {
    pub plan: Plan,
    random: Random,
    now: Time,
    pub broker: Broker,
    store: Option<Arc<SimStore>>,
    /// What outlives the broker, where it dies.
    disk: Option<Disk>,
    hash_seed: u64,
    turn: Scratch,
    conns: BTreeMap<usize, Conn>,
    next_conn: usize,
    /// The clients that publish and subscribe; behind them the reader of dead letters, if there is one.
    clients: Vec<Client>,
    messages: u64,
    numbers: u64,
    oracle: Oracle,
    letters: Letters,
    work: Work,
    /// Messages of groups handed out at `QoS` 2.
    shared_once: Once,
    /// Messages above `QoS` 0 that were acknowledged, and their topics.
    accepted: BTreeMap<u64, usize>,
    /// A client has ended its Session, and with it what it had of the group's.
    ended: bool,
    /// Numbers of the messages that a client published without the right to.
    denied: BTreeSet<u64>,
    /// Messages that came to a store that had failed.
    too_late: BTreeSet<u64>,
    /// The end: no faults, no limits, everybody answers.
    quiet: bool,
    pub trace: String,
    pub reached: Reached,
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
        let broker = Broker::new(&plan.config, ports(port, plan.rights), hash_seed, now);
        broker.restore(now, &mut Scratch::default()).expect("an empty store");
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
            turn: Scratch::default(),
            conns: BTreeMap::new(),
            next_conn: 0,
            oracle: Oracle::new(clients.len(), plan.rights),
            letters: Letters::default(),
            work: Work::new(&plan.extras),
            clients,
            messages: 0,
            numbers: 0,
            shared_once: Once::default(),
            accepted: BTreeMap::new(),
            ended: false,
            denied: BTreeSet::new(),
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
            // Not where it is foretold, or demanded after a crash, what each client gets.
            (80, _) if !self.plan.exact && self.disk.is_none() => self.purge(client),
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
        // Which clients are told that it is full the oracle cannot foretell.
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

    /// An operator empties a queue.
    fn purge(&mut self, client: usize) {
        let name = self.clients[client].name.clone();
        let purged = self.broker.purge(&ClientId::new(&name), self.now, &mut self.turn);
        self.note(&format!("{name} is purged: {purged:?}"));
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
        self.work.jobs.crashed(self.now);
        self.work.keys.crashed();
        self.work.history.crashed();
        self.conns.clear();
        self.clients.iter_mut().for_each(|client| client.conn = None);
        let port = Arc::new(disk.open());
        self.broker =
            Broker::new(&self.plan.config, ports(port, self.plan.rights), self.hash_seed, self.now);
        self.turn = Scratch::default();
        let restored = self.broker.restore(self.now, &mut self.turn);
        let restored = restored.unwrap_or_else(|what| self.fail(&what));
        self.note(&format!("the broker dies, and the next takes over {restored:?}"));
        self.reached.crashes += 1;
        self.reached.taken_over_messages += restored.messages() as u64;
        self.nothing_is_late();
    }

    fn usable(&self, client: usize) -> Option<usize> {
        let conn = self.clients[client].conn?;
        self.conns.get(&conn).filter(|conn| conn.usable()).map(|_| conn)
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
        self.nothing_is_late();
        self.note(&format!("+ {span:?}"));
    }

    /// Until no link and no client has anything to do, and no pause lasts.
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

fn ports(store: Arc<dyn Store>, rights: Rights) -> Ports {
    Ports { store, authenticator: Arc::new(PasswordAuth::new(None)), access: Arc::new(rights) }
}
