//! A cluster of real processes under load; its parts fail one after the other: three brokers, the three servers of
//! their engine, publishers and readers of each kind that remember what they were told. `CLUSTER` says how many faults
//! there are, `SEED` which, and `FAULT` the kind if there is to be only one.

#[allow(dead_code)] // Each test uses its part.
mod engine;
#[path = "cluster_faults/gate.rs"]
mod gate;
#[path = "cluster_faults/line.rs"]
mod line;
mod process;
#[path = "cluster_faults/publishers.rs"]
mod publishers;
#[path = "../src/random.rs"]
mod random;
#[path = "cluster_faults/readers.rs"]
mod readers;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use engine::Engine;
use gate::Gate;
use line::Line;
use process::{DEADLINE, Sluice};
use publishers::{Places, Publisher, RETAINED_EVERY, Reached, any};
use random::Random;
use readers::{END, Reader, Roamer};
use sluicemq::codec::{Connect, QoS, Reason, Version, Will};
use wire::{Client, connect};

/// What fails.
const FAULTS: [&str; 10] = [
    "kill broker",
    "drain broker",
    "cut broker off",
    "freeze engine",
    // From here on only if there are more than by default.
    "kill all",
    "storm of take-overs",
    "stop broker",
    "freeze broker",
    "kill engine",
    "kill all engines",
];

/// The whole of it.
struct House {
    engine: Engine,
    nodes: Vec<Sluice>,
    /// Between each node and the engine.
    gates: Vec<Gate>,
    places: Places,
    publishers: Vec<Publisher>,
}

impl House {
    fn open(program: PathBuf) -> House {
        let engine = Engine::start(program, 3);
        let gates: Vec<_> = (0..3).map(|_| Gate::default()).collect();
        let nodes: Vec<_> = gates
            .iter()
            .zip(["a", "b", "c"])
            .map(|(gate, name)| {
                let at = (0..engine.len()).map(|server| gate.to(engine.address(server)));
                let at: Vec<_> = at.map(|at| format!("'nats://{at}'")).collect();
                Sluice::start(&engine.node(&format!("[{}]", at.join(", ")), name, ""))
            })
            .collect();
        let places: Vec<_> = nodes.iter().map(|node| node.address("tcp")).collect();
        let places: Places = Arc::new(Mutex::new(places));
        House { engine, nodes, gates, places, publishers: Vec::new() }
    }

    /// Publishers begin: once all readers have subscribed.
    fn publish(&mut self, seed: u64) {
        let places = &self.places;
        let one = (0..3).map(|node| Publisher::at_least_once(&format!("p{node}"), node, places));
        let two = (0..3)
            .map(|number| Publisher::exactly_once(&format!("q{number}"), seed + number, places));
        self.publishers = one.chain(two).collect();
    }

    /// A node is at a new place.
    fn moved(&mut self, node: usize) {
        self.places.lock().unwrap()[node] = self.nodes[node].address("tcp");
    }

    fn start_again(&mut self, node: usize) {
        self.nodes[node].start_again();
        self.moved(node);
    }

    /// A publisher that is at another node has answers while this one fails.
    fn another_goes_on(&self, node: usize, fault: &str) {
        self.publishers[(node + 1) % 3].goes_on(fault);
    }

    /// Something fails, and is well again.
    fn fail(&mut self, fault: &str, node: usize, server: usize, random: &mut Random) {
        match fault {
            "kill broker" => {
                self.nodes[node].kill();
                self.another_goes_on(node, fault);
                self.start_again(node);
            }
            "freeze broker" => {
                self.nodes[node].signal("STOP");
                self.another_goes_on(node, fault);
                self.nodes[node].signal("CONT");
            }
            "stop broker" => {
                assert_eq!(self.nodes[node].stop(), Some(0));
                self.another_goes_on(node, fault);
                self.start_again(node);
            }
            "drain broker" => {
                self.drain(node);
                self.another_goes_on(node, fault);
                self.start_again(node);
            }
            "cut broker off" => {
                let cut_off = "the cluster's log has not answered for cluster.ack_timeout";
                let before = self.nodes[node].log().matches(cut_off).count();
                self.gates[node].set_shut(true);
                let end = Instant::now() + DEADLINE;
                while self.nodes[node].log().matches(cut_off).count() == before {
                    assert!(Instant::now() < end, "the node goes on without the engine");
                    thread::yield_now();
                }
                self.another_goes_on(node, fault);
                self.gates[node].set_shut(false);
            }
            "kill engine" => {
                self.engine.kill(server);
                self.another_goes_on(node, fault);
                self.engine.start_again(server);
            }
            "freeze engine" => {
                self.engine.signal(server, "STOP");
                self.another_goes_on(node, fault);
                self.engine.signal(server, "CONT");
            }
            "kill all engines" => {
                (0..3).for_each(|server| self.engine.kill(server));
                (0..3).for_each(|server| self.engine.start_again(server));
            }
            "kill all" => {
                (0..3).for_each(|node| self.nodes[node].kill());
                (0..3).for_each(|server| self.engine.kill(server));
                (0..3).for_each(|server| self.engine.start_again(server));
                (0..3).for_each(|node| self.start_again(node));
            }
            _ => self.storm(random),
        }
        self.publishers.iter().for_each(|publisher| publisher.goes_on(fault));
    }

    fn drain(&mut self, node: usize) {
        let mut command = process::program();
        command.args(["cluster", "drain", "--config"]).arg(self.nodes[node].file("sluice.toml"));
        let output = command.output().expect("the program");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
        assert_eq!(self.nodes[node].exit_code(), Some(0));
    }

    /// Connections of one Client Identifier at all nodes, each in place of another.
    fn storm(&self, random: &mut Random) {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (places, mut random) = (self.places.clone(), Random::new(random.next()));
                thread::spawn(move || {
                    for _ in 0..10 {
                        let _ = Line::open(any(&places, &mut random), &lasting("storm"));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
        let end = Instant::now() + DEADLINE;
        loop {
            match Line::open(any(&self.places, random), &lasting("storm")) {
                Some((_, is_there)) => return assert!(is_there, "a session is lost in a storm"),
                None => assert!(Instant::now() < end, "nobody gets in after a storm"),
            }
        }
    }

    /// A client with a Will: its connection is to end without DISCONNECT.
    fn leave_a_will(&self, round: usize, node: usize) -> Option<Line> {
        let (client_id, topic) = (format!("w{round}"), format!("will/{round}"));
        let will =
            Will { qos: QoS::ExactlyOnce, topic: &topic, payload: b"gone", ..Will::default() };
        let base = if round.is_multiple_of(2) {
            lasting(&client_id)
        } else {
            connect(Version::V5, &client_id)
        };
        let at = self.places.lock().unwrap()[node];
        Line::open(at, &Connect { will: Some(will), ..base }).map(|(line, _)| line)
    }
}

fn lasting(client_id: &str) -> Connect<'_> {
    Connect { clean_start: false, session_expiry: 3600, ..connect(Version::V5, client_id) }
}

/// Brokers and servers of the engine fail under load, one after the other. Whatever was acknowledged comes to each
/// Session, at `QoS` 2 once, in the order in which it was published; each Will comes once; what is retained is the same at
/// all nodes.
#[test]
fn nothing_acknowledged_is_lost_whatever_fails() {
    let Some(program) = engine::program() else { return };
    let rounds = std::env::var("CLUSTER").map_or(4, |rounds| rounds.parse().expect("a number"));
    let seed = std::env::var("SEED").map_or(16, |seed| seed.parse().expect("a number"));
    let only = std::env::var("FAULT").ok();
    let mut faults = FAULTS.to_vec();
    faults.retain(|fault| only.as_ref().is_none_or(|only| only == fault));
    assert!(!faults.is_empty(), "FAULT is one of {FAULTS:?}");
    let mut random = Random::new(seed);
    let mut house = House::open(program);
    let at = |house: &House, node: usize| house.nodes[node].address("tcp");
    let parked =
        (0..3).map(|node| Reader::begin(&format!("parked{node}"), Version::V5, at(&house, node)));
    let mut readers: Vec<Reader> = parked.collect();
    let roamers = [Version::V311, Version::V5].into_iter().enumerate();
    let roamers = roamers.map(|(number, version)| {
        Reader::begin(&format!("roamer{number}"), version, at(&house, number))
    });
    let roamers: Vec<Reader> = roamers.collect();
    house.publish(seed);
    let roamers = roamers.into_iter().zip(seed..);
    let roamers: Vec<Roamer> =
        roamers.map(|(reader, seed)| Roamer::start(reader, seed, &house.places)).collect();
    let (mut pauses, mut wills) = (BTreeMap::<&str, (u32, u64)>::new(), Vec::new());
    for round in 0..rounds {
        let each = faults.get(round).filter(|_| rounds <= faults.len());
        let fault = each.copied().unwrap_or_else(|| random.pick(&faults));
        let (node, server) = (random.below(3), random.below(3));
        let will = house.leave_a_will(round, node);
        wills.extend(will.is_some().then(|| format!("will/{round}")));
        house.publishers.iter().for_each(Publisher::begin_pause);
        let begun = Instant::now();
        house.fail(fault, node, server, &mut random);
        drop(will);
        let pause = house.publishers.iter().map(Publisher::longest_pause).max().unwrap_or_default();
        let (count, longest) = pauses.entry(fault).or_default();
        (*count, *longest) = (*count + 1, pause.max(*longest));
        println!(
            "{round} {fault} {node} {server}: {} ms, pause {pause} ms",
            begun.elapsed().as_millis()
        );
    }
    let House { publishers, places, nodes, engine: _engine, gates: _gates } = house;
    let reached: Vec<(String, bool, Reached)> = publishers
        .into_iter()
        .map(|publisher| {
            let (name, exactly_once) = (publisher.name.clone(), publisher.exactly_once);
            (name, exactly_once, publisher.end())
        })
        .collect();
    let mut last = Client::connect(nodes[0].address("tcp"), Version::V5, "last");
    for (name, ..) in &reached {
        assert_eq!(last.publish(&format!("load/{name}"), END), Reason::Success);
    }
    readers.extend(roamers.into_iter().map(Roamer::end));
    readers.iter_mut().for_each(|reader| reader.read_all(&places, (reached.len(), wills.len())));
    for (fault, (count, longest)) in pauses {
        println!("{fault}: {count}, longest pause {longest} ms");
    }
    let all: u32 = reached.iter().map(|(.., reached)| reached.acknowledged).sum();
    println!("seed {seed}: {all} acknowledged, {} wills", wills.len());
    for reader in &readers {
        check(reader, &reached, &wills, seed);
    }
    for (name, _, reached) in reached.iter().filter(|(_, exactly_once, _)| !exactly_once) {
        let values: Vec<u32> =
            nodes.iter().map(|node| retained(node, &format!("state/{name}"))).collect();
        let newest = (reached.acknowledged - 1) / RETAINED_EVERY * RETAINED_EVERY;
        assert!(
            values[0] >= newest && values.iter().all(|value| *value == values[0]),
            "{name} {values:?} {newest}"
        );
    }
}

fn check(reader: &Reader, reached: &[(String, bool, Reached)], wills: &[String], seed: u64) {
    let (of, seen) = (&reader.client_id, &reader.seen);
    let mut lost = 0;
    for (name, _, reached) in reached {
        assert!(reached.acknowledged > 0, "{name} seed {seed}");
        assert_eq!(reached.forgotten, 0, "{name} seed {seed}: its session is gone");
        let came = seen.next.get(&format!("load/{name}")).copied().unwrap_or_default();
        lost += reached.acknowledged.saturating_sub(came);
    }
    let is_well = lost + seen.forgotten == 0 && seen.broken.is_empty() && seen.doubled.is_empty();
    assert!(
        is_well,
        "{of} seed {seed}: lost {lost}, forgotten {}, broken {:?}, doubled {:?}",
        seen.forgotten, seen.broken, seen.doubled
    );
    for will in wills {
        assert_eq!(seen.wills.get(will), Some(&1), "{will} {of} seed {seed}");
    }
}

/// The number that is retained on a topic.
fn retained(node: &Sluice, topic: &str) -> u32 {
    let at = node.address("tcp");
    let mut client = Client::connect(at, Version::V5, &format!("looks at {topic} of {at}"));
    client.subscribe(&[topic], QoS::AtLeastOnce);
    let (_, payload) = client.message();
    String::from_utf8_lossy(&payload).parse().expect("a number")
}
