//! Brokers that share a log, on virtual time: the log is a list in memory, and each node applies it when it is told
//! to.
#![allow(dead_code)] // Each test file uses its part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicemq::broker::cluster_log::{
    ArrivedSession, ClusterLog, HandedIn, LogEntry, LogMark, Logged, MovedCopy, MovedSession,
    SessionRecord,
};
use sluicemq::broker::turn::Scratch;
use sluicemq::codec::{Connect, PacketId, QoS, Reason};
use sluicemq::message::{ClientId, Delivery, Identity, Message, Meter};
use sluicemq::session::{Op, WillMessage};
use sluicemq::time::Time;

use crate::rows::Disk;
use crate::virtual_time::{BEGIN, Got, Town, connect};

pub const ONCE: QoS = QoS::ExactlyOnce;

const CONFIG: &str = "cluster = { servers = ['nats://engine'], node = 'n' }";

/// Something that the log has.
#[derive(Clone, Debug)]
pub enum Item {
    Message(LogEntry),
    Session(SessionRecord),
    /// This node does not come back.
    Gone(u64),
}

/// What the nodes share.
#[derive(Debug, Default)]
pub struct Shared {
    /// What the log has, each with the node that it came in at.
    pub entries: Vec<(usize, Item)>,
    /// Of messages that are in the log and not applied by their own node.
    pub handed_in: BTreeMap<usize, HandedIn>,
    /// What was handed in, and is not in the log yet: by node.
    pub on_the_way: Vec<(usize, Item, Option<HandedIn>)>,
    pub told: Vec<(usize, LogEntry)>,
    /// It takes no more.
    pub is_full: bool,
    pub claims: Vec<(usize, ClientId, bool)>,
}

#[derive(Debug)]
struct NodeLog {
    node: usize,
    shared: Arc<Mutex<Shared>>,
}

impl ClusterLog for NodeLog {
    fn has_room(&self, _: usize) -> bool {
        !self.shared.lock().unwrap().is_full
    }

    fn append(&self, entry: LogEntry, handed_in: HandedIn) {
        let entry = Item::Message(entry);
        self.shared.lock().unwrap().on_the_way.push((self.node, entry, Some(handed_in)));
    }

    fn tell(&self, entry: LogEntry) {
        self.shared.lock().unwrap().told.push((self.node, entry));
    }

    fn node(&self) -> u64 {
        self.node as u64
    }

    fn note(&self, record: SessionRecord) -> bool {
        self.shared.lock().unwrap().on_the_way.push((self.node, Item::Session(record), None));
        true
    }

    fn stir(&self) {}

    fn claim(&self, client_id: &ClientId, clean_start: bool, _: Time) {
        let claim = (self.node, client_id.clone(), clean_start);
        self.shared.lock().unwrap().claims.push(claim);
    }
}

pub struct Node {
    pub disk: Disk,
    pub town: Town,
    /// Entries of the log that it has applied.
    pub applied: usize,
}

pub struct Cluster {
    pub shared: Arc<Mutex<Shared>>,
    pub nodes: Vec<Node>,
}

impl Cluster {
    pub fn new(nodes: usize) -> Cluster {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let nodes: Vec<_> =
            (0..nodes).map(|node| Node::start(Disk::default(), node, &shared)).collect();
        for Node { town, .. } in &nodes {
            town.broker.caught_up(town.now, &mut Scratch::default());
        }
        Cluster { shared, nodes }
    }

    /// A node ends as a crash ends it: what it has handed in and the log does not have is lost with it.
    pub fn restart(&mut self, node: usize) {
        let disk = std::mem::take(&mut self.nodes[node].disk);
        disk.crash();
        {
            let shared = &mut *self.shared.lock().unwrap();
            shared.on_the_way.retain(|(from, ..)| *from != node);
            let entries = &shared.entries;
            shared.handed_in.retain(|place, _| entries[*place].0 != node);
        }
        self.nodes[node] = Node::start(disk, node, &self.shared);
        self.apply(node, usize::MAX, true);
        let town = &mut self.nodes[node].town;
        town.broker.caught_up(town.now, &mut Scratch::default());
    }

    /// The log takes what was handed in.
    pub fn order(&mut self) {
        let shared = &mut *self.shared.lock().unwrap();
        for (node, item, handed_in) in std::mem::take(&mut shared.on_the_way) {
            if let Some(handed_in) = handed_in {
                shared.handed_in.insert(shared.entries.len(), handed_in);
            }
            shared.entries.push((node, item));
        }
    }

    /// A node applies at most so much of the log; `written`: and its store writes it.
    pub fn apply(&mut self, node: usize, most: usize, written: bool) {
        let Cluster { shared, nodes } = self;
        let Node { town, applied, disk } = &mut nodes[node];
        let logged: Vec<_> = {
            let shared = &mut *shared.lock().unwrap();
            let places = (*applied..shared.entries.len()).take(most);
            places.map(|place| logged(shared, node, place)).collect()
        };
        *applied += logged.len();
        let mark = LogMark { sequence: *applied as u64, runs: vec![(7, 9)] };
        if !logged.is_empty() {
            town.broker.apply_logged(logged, Some(mark), town.now, &mut Scratch::default());
        }
        for _ in 0..3 {
            town.pass(Duration::ZERO);
            if written {
                disk.write_all(|| town.pass(Duration::ZERO));
                town.pass(Duration::ZERO);
            }
            town.broker.tick_moves(town.now, &mut Scratch::default());
        }
    }

    /// All that is handed in is in the log, and applied and written everywhere.
    pub fn settle(&mut self) {
        for _ in 0..8 {
            self.order();
            for node in 0..self.nodes.len() {
                self.apply(node, usize::MAX, true);
            }
        }
    }

    /// The log says that a node does not come back.
    pub fn forget(&mut self, node: usize, by: usize) {
        self.shared.lock().unwrap().entries.push((by, Item::Gone(node as u64)));
    }

    /// All of them but one apply and write what is handed in.
    pub fn settle_without(&mut self, away: usize) {
        for _ in 0..8 {
            self.order();
            for node in (0..self.nodes.len()).filter(|node| *node != away) {
                self.apply(node, usize::MAX, true);
            }
        }
    }

    pub fn town(&mut self, node: usize) -> &mut Town {
        &mut self.nodes[node].town
    }

    pub fn got(&mut self, node: usize, client: usize) -> Vec<String> {
        let got: Vec<Got> = std::mem::take(&mut self.town(node).of(client).got);
        got.into_iter().map(|got| got.payload).collect()
    }

    pub fn answers(&mut self, node: usize, client: usize) -> Vec<PacketId> {
        let answers = std::mem::take(&mut self.town(node).of(client).answers);
        assert!(answers.iter().all(|(_, reason)| *reason == Reason::Success), "{answers:?}");
        answers.into_iter().map(|(packet_id, _)| packet_id).collect()
    }
}

/// What a node is given of a place of the log.
fn logged(shared: &mut Shared, node: usize, place: usize) -> Logged {
    let (from, item) = shared.entries[place].clone();
    match item {
        Item::Message(entry) if from == node => {
            Logged::Message { entry, handed_in: shared.handed_in.remove(&place) }
        }
        Item::Message(entry) => {
            Logged::Message { entry: LogEntry { with: None, ..entry }, handed_in: None }
        }
        Item::Session(SessionRecord::Moved(moved)) if moved.to == node as u64 => {
            let arrived = arrived(&shared.entries[moved.after as usize..place], from, &moved);
            Logged::Arrived { node: from as u64, arrived: Box::new(arrived) }
        }
        Item::Gone(node) => Logged::Gone { node },
        Item::Session(record) => Logged::Session { node: from as u64, record },
    }
}

/// A Session that moves, with what a part of the log has for it. Each node reads its own messages from the log.
fn arrived(span: &[(usize, Item)], node: usize, moved: &MovedSession) -> ArrivedSession {
    let (mut copies, mut later) = (Vec::new(), Vec::new());
    for (from, item) in span {
        match item {
            Item::Message(entry) => {
                let message = again(&entry.message);
                later.push(LogEntry { message, with: None, ..entry.clone() });
            }
            Item::Session(SessionRecord::Copies { number, copies: more, .. })
                if *from == node && *number == moved.number =>
            {
                let more = more.iter().cloned();
                copies.extend(more.map(|copy| MovedCopy { message: again(&copy.message), ..copy }));
            }
            Item::Session(_) | Item::Gone(_) => {}
        }
    }
    let facts = moved.facts.iter().map(fact_again).collect();
    ArrivedSession { moved: MovedSession { facts, ..moved.clone() }, copies, later }
}

fn again(message: &Message) -> Message {
    Message::new(&message.parts(), Meter::forever())
}

fn client_again(identity: &Identity) -> Arc<Identity> {
    let Identity { client_id, user_name, .. } = identity;
    let again = Identity::new(client_id.clone(), user_name.clone(), Meter::forever());
    Arc::new(again.at(identity.network()))
}

fn fact_again(fact: &Op) -> Op {
    match fact {
        Op::Session { identity, expiry } => {
            Op::Session { identity: client_again(identity), expiry: *expiry }
        }
        Op::Sent { packet_id, delivery } => {
            let message = again(&delivery.message);
            let delivery = Delivery { message, stored: false, ..delivery.clone() };
            Op::Sent { packet_id: *packet_id, delivery }
        }
        Op::Will(will, identity) => {
            let will = WillMessage::restore(&will.draft(), will.delay);
            Op::Will(Arc::new(will), client_again(identity))
        }
        other => other.clone(),
    }
}

impl Node {
    fn start(disk: Disk, node: usize, shared: &Arc<Mutex<Shared>>) -> Node {
        let mut town = Town::with_store(CONFIG, Arc::new(disk.open()));
        town.now = BEGIN.after(Duration::from_secs(1));
        town.broker.restore(town.now, &mut Scratch::default()).expect("rows that mean something");
        town.broker.join(Arc::new(NodeLog { node, shared: shared.clone() }));
        let mark = town.broker.restored_mark();
        if mark.sequence > 0 {
            assert_eq!(mark.runs, [(7, 9)]);
        }
        Node { disk, town, applied: mark.sequence as usize }
    }
}

/// A client with a Session that lasts.
pub fn lasting(client_id: &str) -> Connect<'_> {
    connect(client_id, false, 1000)
}

pub fn subscriber(cluster: &mut Cluster, node: usize, client_id: &str, filter: &str) -> usize {
    let client = cluster.town(node).arrive(&lasting(client_id), "test");
    cluster.town(node).subscribe(client, filter, ONCE);
    cluster.settle();
    client
}
