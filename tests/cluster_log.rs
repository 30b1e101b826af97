//! Brokers that share a log, on virtual time: the log is a list in memory, and each node applies it when it is told
//! to. What is published waits for its own node, has one order for all, and outlasts a crash of that node.

#[path = "../src/random.rs"]
mod random;
#[allow(dead_code)] // Each test uses its part.
#[path = "simulation/rows.rs"]
mod rows;
mod virtual_time;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use random::Random;
use rows::Disk;
use sluicemq::broker::cluster_log::{ClusterLog, HandedIn, LogEntry, LogMark, Logged};
use sluicemq::broker::turn::Scratch;
use sluicemq::codec::{Connect, Packet, PacketId, Publish, QoS, Reason, Will};
use sluicemq::message::ClientId;
use sluicemq::time::Time;
use virtual_time::{BEGIN, Got, Town, connect};

const ONCE: QoS = QoS::ExactlyOnce;

const CONFIG: &str = "cluster = { servers = ['nats://engine'], node = 'n' }";

/// What the nodes share.
#[derive(Debug, Default)]
struct Shared {
    /// Each message, and the node that it came in at.
    entries: Vec<(usize, LogEntry)>,
    /// Of messages that are in the log and not applied by their own node.
    handed_in: BTreeMap<usize, HandedIn>,
    /// Messages that were handed in, and are not in the log yet: by node.
    on_the_way: Vec<(usize, LogEntry, HandedIn)>,
    told: Vec<(usize, LogEntry)>,
    /// It takes no more.
    is_full: bool,
    claims: Vec<(usize, ClientId, bool)>,
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
        self.shared.lock().unwrap().on_the_way.push((self.node, entry, handed_in));
    }

    fn tell(&self, entry: LogEntry) {
        self.shared.lock().unwrap().told.push((self.node, entry));
    }

    fn claim(&self, client_id: &ClientId, clean_start: bool, _: Time) {
        let claim = (self.node, client_id.clone(), clean_start);
        self.shared.lock().unwrap().claims.push(claim);
    }
}

struct Node {
    disk: Disk,
    town: Town,
    /// Entries of the log that it has applied.
    applied: usize,
}

struct Cluster {
    shared: Arc<Mutex<Shared>>,
    nodes: Vec<Node>,
}

impl Cluster {
    fn new(nodes: usize) -> Cluster {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let nodes: Vec<_> =
            (0..nodes).map(|node| Node::start(Disk::default(), node, &shared)).collect();
        for Node { town, .. } in &nodes {
            town.broker.caught_up(town.now, &mut Scratch::default());
        }
        Cluster { shared, nodes }
    }

    /// A node ends as a crash ends it: what it has handed in and the log does not have is lost with it.
    fn restart(&mut self, node: usize) {
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
    fn order(&mut self) {
        let shared = &mut *self.shared.lock().unwrap();
        for (node, entry, handed_in) in std::mem::take(&mut shared.on_the_way) {
            shared.handed_in.insert(shared.entries.len(), handed_in);
            shared.entries.push((node, entry));
        }
    }

    /// A node applies at most so much of the log; `written`: and its store writes it.
    fn apply(&mut self, node: usize, most: usize, written: bool) {
        let Cluster { shared, nodes } = self;
        let Node { town, applied, disk } = &mut nodes[node];
        let logged: Vec<_> = {
            let shared = &mut *shared.lock().unwrap();
            let places = (*applied..shared.entries.len()).take(most);
            let logged = places.map(|place| {
                let (from, entry) = shared.entries[place].clone();
                if from == node {
                    return Logged { entry, handed_in: shared.handed_in.remove(&place) };
                }
                Logged { entry: LogEntry { with: None, ..entry }, handed_in: None }
            });
            logged.collect()
        };
        *applied += logged.len();
        let mark = LogMark { sequence: *applied as u64, runs: vec![(7, 9)] };
        if !logged.is_empty() {
            town.broker.apply_logged(logged, Some(mark), town.now, &mut Scratch::default());
        }
        town.pass(Duration::ZERO);
        if written {
            disk.write_all(|| town.pass(Duration::ZERO));
            town.pass(Duration::ZERO);
        }
    }

    /// All that is handed in is in the log, and applied and written everywhere.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.order();
            for node in 0..self.nodes.len() {
                self.apply(node, usize::MAX, true);
            }
        }
    }

    fn town(&mut self, node: usize) -> &mut Town {
        &mut self.nodes[node].town
    }

    fn got(&mut self, node: usize, client: usize) -> Vec<String> {
        let got: Vec<Got> = std::mem::take(&mut self.town(node).of(client).got);
        got.into_iter().map(|got| got.payload).collect()
    }

    fn answers(&mut self, node: usize, client: usize) -> Vec<PacketId> {
        let answers = std::mem::take(&mut self.town(node).of(client).answers);
        assert!(answers.iter().all(|(_, reason)| *reason == Reason::Success), "{answers:?}");
        answers.into_iter().map(|(packet_id, _)| packet_id).collect()
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
fn lasting(client_id: &str) -> Connect<'_> {
    connect(client_id, false, 1000)
}

fn subscriber(cluster: &mut Cluster, node: usize, client_id: &str, filter: &str) -> usize {
    let client = cluster.town(node).arrive(&lasting(client_id), "test");
    cluster.town(node).subscribe(client, filter, ONCE);
    cluster.settle();
    client
}

/// The answer leaves when the own node has applied the message and its store has that; other nodes apply it in their
/// own time.
#[test]
fn an_answer_waits_for_the_log_and_for_its_own_node() {
    for qos in [QoS::AtLeastOnce, ONCE] {
        let mut cluster = Cluster::new(2);
        let here = subscriber(&mut cluster, 0, "here", "t");
        let there = subscriber(&mut cluster, 1, "there", "t");
        let publisher = cluster.town(0).client("p");
        let packet_id = cluster.town(0).publish(publisher, "t", "x", qos).expect("a number");
        cluster.apply(0, usize::MAX, true);
        assert_eq!(cluster.answers(0, publisher), [], "it is not in the log");
        cluster.order();
        cluster.apply(1, usize::MAX, true);
        assert_eq!(cluster.got(1, there), ["x"]);
        assert_eq!(cluster.answers(0, publisher), [], "its node has not applied it");
        cluster.apply(0, usize::MAX, false);
        assert_eq!(cluster.answers(0, publisher), [], "the store does not have it");
        cluster.apply(0, usize::MAX, true);
        assert_eq!(cluster.answers(0, publisher), [packet_id]);
        assert_eq!(cluster.got(0, here), ["x"]);
        cluster.settle();
        assert_eq!((cluster.got(0, here), cluster.got(1, there)), (vec![], vec![]));
    }
}

/// A log without room refuses what is for it, and nothing else.
#[test]
fn a_log_without_room_takes_nothing() {
    let mut cluster = Cluster::new(1);
    let reader = subscriber(&mut cluster, 0, "reader", "t");
    let publisher = cluster.town(0).client("p");
    cluster.settle();
    cluster.shared.lock().unwrap().is_full = true;
    cluster.town(0).publish(publisher, "t", "1", ONCE);
    cluster.town(0).publish(publisher, "t", "0", QoS::AtMostOnce);
    cluster.settle();
    let answers = std::mem::take(&mut cluster.town(0).of(publisher).answers);
    assert_eq!(
        answers.iter().map(|(_, reason)| *reason).collect::<Vec<_>>(),
        [Reason::QuotaExceeded]
    );
    assert_eq!(cluster.got(0, reader), ["0"]);
    cluster.shared.lock().unwrap().is_full = false;
    cluster.town(0).publish(publisher, "t", "2", ONCE);
    cluster.settle();
    assert_eq!(cluster.got(0, reader), ["2"]);
}

/// What is not durable is told to the others, and may come before or after what is in the log.
#[test]
fn qos_0_is_delivered_at_once_and_told_to_the_others() {
    let mut cluster = Cluster::new(2);
    let here = cluster.town(0).client("here");
    cluster.town(0).subscribe(here, "t", ONCE);
    let publisher = cluster.town(0).client("p");
    cluster.settle();
    cluster.town(0).publish(publisher, "t", "x", QoS::AtMostOnce);
    assert_eq!(cluster.got(0, here), ["x"]);
    let told = std::mem::take(&mut cluster.shared.lock().unwrap().told);
    assert_eq!(told.len(), 1);
    let there = cluster.town(1).client("there");
    cluster.town(1).subscribe(there, "t", ONCE);
    cluster.settle();
    for (_, entry) in told {
        let town = cluster.town(1);
        let logged = vec![Logged { entry, handed_in: None }];
        town.broker.apply_logged(logged, None, town.now, &mut Scratch::default());
    }
    cluster.settle();
    assert_eq!(cluster.got(1, there), ["x"]);
}

/// Retained messages, of `QoS` 0 too, stand in the order of the log on every node.
#[test]
fn what_is_retained_is_the_same_on_every_node() {
    let mut cluster = Cluster::new(3);
    let publishers: Vec<_> = (0..3).map(|node| cluster.town(node).client("p")).collect();
    for (round, qos) in [QoS::AtMostOnce, QoS::AtLeastOnce, ONCE].into_iter().enumerate() {
        for (node, publisher) in publishers.iter().enumerate() {
            let payload = format!("{round} {node}");
            cluster.town(node).publish_as(*publisher, "t", &payload, qos, true);
        }
    }
    cluster.settle();
    let mut seen = Vec::new();
    for node in 0..3 {
        let reader = subscriber(&mut cluster, node, "reader", "t");
        seen.push(cluster.got(node, reader));
    }
    assert!(seen[0].len() == 1 && seen.iter().all(|payloads| *payloads == seen[0]), "{seen:?}");
}

/// A publisher at the first node sends its message again.
fn send_again(cluster: &mut Cluster, publisher: usize, packet_id: Option<PacketId>) {
    let (topic, payload) = ("t", b"x");
    let again = Publish { dup: true, qos: ONCE, topic, packet_id, payload, ..Publish::default() };
    cluster.town(0).send(publisher, &Packet::Publish(again));
}

/// A client that comes back before its message is in the log, and sends it again, is answered when the first has come
/// to its end: once.
#[test]
fn what_comes_again_waits_for_the_first_of_it() {
    let mut cluster = Cluster::new(2);
    let there = subscriber(&mut cluster, 1, "there", "t");
    let publisher = cluster.town(0).arrive(&lasting("p"), "test");
    cluster.settle();
    let packet_id = cluster.town(0).publish(publisher, "t", "x", ONCE);
    cluster.town(0).cut(publisher);
    let publisher = cluster.town(0).arrive(&lasting("p"), "test");
    cluster.apply(0, usize::MAX, true);
    send_again(&mut cluster, publisher, packet_id);
    cluster.apply(0, usize::MAX, true);
    assert_eq!(cluster.answers(0, publisher), []);
    cluster.settle();
    assert_eq!(cluster.answers(0, publisher), [packet_id.expect("a number")]);
    assert_eq!(cluster.got(1, there), ["x"]);
}

/// A node that crashes has what the log has: nothing that it has answered is lost, nothing of `QoS` 2 comes twice, and
/// a Packet Identifier that is in the log is known after it.
#[test]
fn a_node_that_comes_back_goes_on_in_the_log() {
    for (applied, written) in [(false, false), (true, false), (true, true)] {
        let mut cluster = Cluster::new(2);
        let here = subscriber(&mut cluster, 0, "here", "t");
        let there = subscriber(&mut cluster, 1, "there", "t");
        let publisher = cluster.town(0).arrive(&lasting("p"), "test");
        cluster.settle();
        cluster.town(0).cut(here);
        cluster.settle();
        let packet_id = cluster.town(0).publish(publisher, "t", "x", ONCE);
        cluster.order();
        if applied {
            cluster.apply(0, usize::MAX, written);
        }
        cluster.restart(0);
        // It has come to the end of the log before its clients come.
        cluster.settle();
        let publisher = cluster.town(0).arrive(&lasting("p"), "test");
        cluster.settle();
        if !written {
            // It was not answered, so it comes again.
            send_again(&mut cluster, publisher, packet_id);
            cluster.settle();
            assert_eq!(cluster.answers(0, publisher), [packet_id.expect("a number")]);
        }
        let here = cluster.town(0).arrive(&lasting("here"), "test");
        cluster.settle();
        assert_eq!(cluster.got(0, here), ["x"], "{applied} {written}");
        assert_eq!(cluster.got(1, there), ["x"], "{applied} {written}");
    }
}

/// The Will of a client is published once, also if its node crashes when that is in the log.
#[test]
fn a_will_is_published_once() {
    for (ordered, crashes) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut cluster = Cluster::new(2);
        let there = subscriber(&mut cluster, 1, "there", "will");
        let will = Will { qos: ONCE, topic: "will", payload: b"w", ..Will::default() };
        let own = Connect { will: Some(will), ..lasting("p") };
        let publisher = cluster.town(0).arrive(&own, "test");
        cluster.settle();
        cluster.town(0).cut(publisher);
        if ordered {
            // The store has noted that it is on its way.
            cluster.apply(0, 0, true);
            cluster.order();
        }
        if crashes {
            cluster.restart(0);
        }
        cluster.settle();
        cluster.town(0).pass(Duration::from_secs(1));
        cluster.settle();
        assert_eq!(cluster.got(1, there), ["w"], "{ordered} {crashes}");
        cluster.restart(0);
        cluster.settle();
        assert_eq!(cluster.got(1, there).len(), 0, "{ordered} {crashes}");
    }
}

/// A Client Identifier is connected to one node.
#[test]
fn the_other_nodes_are_told_of_a_connection() {
    let mut cluster = Cluster::new(2);
    let first = cluster.town(0).client("c");
    cluster.settle();
    cluster.town(1).client("c");
    let claims = std::mem::take(&mut cluster.shared.lock().unwrap().claims);
    let claims: Vec<_> =
        claims.iter().map(|(node, id, clean)| (*node, id.as_str(), *clean)).collect();
    assert_eq!(claims, [(0, "c", true), (1, "c", true)]);
    let town = cluster.town(0);
    let (id, now) = (ClientId::new("c"), town.now);
    town.broker.taken_elsewhere(&id, true, now, &mut Scratch::default());
    town.pass(Duration::ZERO);
    assert_eq!(town.of(first).told, Some(Reason::SessionTakenOver));
    assert_eq!(town.broker.view().sessions.len(), 0);
}

/// Publishers and receivers on three nodes, which apply the log at their own pace and crash: each receiver has all
/// messages of each publisher in their order, those of `QoS` 2 once, and all nodes have one order.
#[test]
fn three_nodes_have_one_order() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let mut cluster = Cluster::new(3);
        let mut receivers: Vec<_> =
            (0..3).map(|node| subscriber(&mut cluster, node, "receiver", "t")).collect();
        let mut came: [Vec<String>; 3] = Default::default();
        let mut number = [0; 3];
        let mut publishers: Vec<_> =
            (0..3).map(|node| cluster.town(node).arrive(&connect("p", true, 0), "test")).collect();
        for _ in 0..60 {
            let node = random.below(3);
            match random.below(12) {
                0..6 => {
                    let payload = format!("{node} {}", number[node]);
                    number[node] += 1;
                    let publisher = publishers[node];
                    cluster.town(node).publish(publisher, "t", &payload, ONCE);
                }
                6 | 7 => cluster.order(),
                8..11 => {
                    let (most, written) = (random.below(4), random.below(2) == 0);
                    cluster.apply(node, most, written);
                }
                _ => {
                    // What is not in the log is lost with its node: no answer has left for it.
                    cluster.order();
                    came[node].extend(cluster.got(node, receivers[node]));
                    cluster.restart(node);
                    receivers[node] = cluster.town(node).arrive(&lasting("receiver"), "test");
                    publishers[node] = cluster.town(node).arrive(&connect("p", true, 0), "test");
                }
            }
        }
        cluster.settle();
        for node in 0..3 {
            came[node].extend(cluster.got(node, receivers[node]));
            // What was in flight at a crash of the broker comes again, and its receiver knows it.
            let mut seen = BTreeSet::new();
            came[node].retain(|payload| seen.insert(payload.clone()));
        }
        let total: usize = number.iter().sum();
        assert_eq!(came[0].len(), total, "seed {seed}: {:?}", came[0]);
        assert!(came.iter().all(|of| *of == came[0]), "seed {seed}: {came:?}");
        for (node, published) in number.into_iter().enumerate() {
            let own = came[0].iter().filter_map(|text| text.split_once(' '));
            let own = own.filter(|(from, _)| *from == node.to_string());
            assert!(own.map(|(_, n)| n.parse::<usize>().unwrap()).eq(0..published), "{seed}");
        }
    }
}
