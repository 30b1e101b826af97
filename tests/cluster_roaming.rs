//! Sessions that follow their clients from node to node, over real processes: while nodes are killed and frozen, nothing
//! is lost, doubled or out of order. `CLUSTER` says how many faults there are.

#[allow(dead_code)] // Each test uses its part.
mod engine;
mod process;
#[path = "../src/random.rs"]
mod random;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use engine::Engine;
use process::{DEADLINE, Sluice};
use random::Random;
use sluicemq::codec::{
    self, Ack, Connect, DecodeLimits, Decoded, Packet, PacketId, Publish, QoS, Reason, Sender,
    Version,
};
use wire::{Client, connect};

/// A broker that is a node called `name`.
fn node(engine: &Engine, name: &str) -> String {
    format!(
        "[[listener]]\nname = 'tcp'\naddress = '127.0.0.1:0'\n\
         [queue]\nmessages_max = 1_000_000\nbytes_max = '512MiB'\n\
         [limits]\ntakeovers_max = 0\nconnects_rate = 0\n\
         [store]\npath = 'store'\n\
         [cluster]\nservers = {}\nnode = '{name}'\nreplicas = {}\nlog_bytes_max = '256MiB'\n",
        engine.addresses(),
        engine.len()
    )
}

fn brokers(engine: &Engine) -> Vec<Sluice> {
    ["a", "b", "c"].iter().map(|name| Sluice::start(&node(engine, name))).collect()
}

fn lasting(client_id: &str) -> Connect<'_> {
    Connect { clean_start: false, session_expiry: 3600, ..connect(Version::V5, client_id) }
}

/// Publishes at `QoS` 2, to the end.
fn publish_once(client: &mut Client, topic: &str, payload: &[u8]) {
    let packet_id = Some(PacketId::MIN);
    let qos = QoS::ExactlyOnce;
    let publish = Publish { qos, topic, payload, packet_id, ..Publish::default() };
    client.send(&Packet::Publish(publish));
    let mut answer = || {
        client.expect(|packet| match packet {
            Packet::PubRec(ack) | Packet::PubComp(ack) => Some(ack.reason),
            _ => None,
        })
    };
    assert_eq!(answer(), Reason::Success);
    client.send(&Packet::PubRel(Ack::new(PacketId::MIN, Reason::Success)));
    client.expect(|packet| matches!(packet, Packet::PubComp(_)).then_some(()));
}

/// A thousand messages wait at one node; the client comes to another.
#[test]
fn what_waits_at_one_node_is_delivered_by_another() {
    let Some(program) = engine::program() else { return };
    let engine = Engine::start(program, 1);
    let nodes = brokers(&engine);
    let at = |node: usize| nodes[node].address("tcp");
    let mut reader = Client::connect_with(at(0), &lasting("reader"));
    reader.subscribe(&["t"], QoS::AtLeastOnce);
    reader.goodbye();
    let mut publisher = Client::connect(at(2), Version::V5, "publisher");
    let mut number = 0;
    for (round, node) in [1, 1, 2, 0, 0, 1, 0].into_iter().enumerate() {
        let first = number;
        for _ in 0..1000 {
            assert_eq!(publisher.publish("t", number.to_string().as_bytes()), Reason::Success);
            number += 1;
        }
        let begun = Instant::now();
        let mut reader = Client::connect_with(at(node), &lasting("reader"));
        let connected = begun.elapsed();
        for expected in first..number {
            assert_eq!(reader.message(), ("t".to_owned(), expected.to_string().into_bytes()));
        }
        println!("{round}: to node {node}: CONNACK {connected:?}, all {:?}", begun.elapsed());
        reader.goodbye();
    }
}

/// A reader that goes from node to node, and keeps the state of its Session as a client does: `QoS` 2.
struct Roamer {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u32>>,
}

/// The last number.
const END: u32 = u32::MAX;

impl Roamer {
    fn start(client_id: &str, nodes: &[Arc<Mutex<SocketAddr>>], seed: u64) -> Roamer {
        let ended = Arc::new(AtomicBool::new(false));
        let (own, nodes, client_id) = (ended.clone(), nodes.to_vec(), client_id.to_owned());
        let thread = thread::spawn(move || {
            let mut random = Random::new(seed);
            let (mut got, mut received) = (Vec::new(), BTreeSet::new());
            while got.last() != Some(&END) {
                let at = *nodes[random.below(nodes.len())].lock().unwrap();
                let most = 1 + random.below(200);
                let visit = Visit { at, client_id: &client_id, most };
                if visit.read(&mut got, &mut received).is_none() {
                    thread::yield_now();
                }
            }
            own.store(true, Ordering::Relaxed);
            got
        });
        Roamer { ended, thread }
    }
}

/// One connection of a reader.
struct Visit<'a> {
    at: SocketAddr,
    client_id: &'a str,
    /// So many packets, and it goes elsewhere.
    most: usize,
}

impl Visit<'_> {
    /// `None`: the connection is over.
    fn read(self, got: &mut Vec<u32>, received: &mut BTreeSet<PacketId>) -> Option<()> {
        let mut stream = TcpStream::connect(self.at).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut send = stream.try_clone().ok()?;
        let mut send =
            |packet: &Packet<'_>| send.write_all(&wire::encoded(packet, Version::V5)).ok();
        send(&Packet::Connect(Box::new(lasting(self.client_id))))?;
        let (mut unread, mut buffer) = (Vec::new(), [0; 16 * 1024]);
        for _ in 0..self.most {
            let len = loop {
                match decode(&unread) {
                    Some((packet, len)) => {
                        take(&packet, got, received, &mut send)?;
                        break len;
                    }
                    None => match stream.read(&mut buffer) {
                        Ok(0) | Err(_) => return None,
                        Ok(read) => unread.extend_from_slice(&buffer[..read]),
                    },
                }
            };
            unread.drain(..len);
            if got.last() == Some(&END) {
                break;
            }
        }
        Some(())
    }
}

fn decode(bytes: &[u8]) -> Option<(Packet<'_>, usize)> {
    let limits = DecodeLimits {
        packet_max: usize::MAX,
        properties_max: usize::MAX,
        user_properties_max: usize::MAX,
        filters_at_once: usize::MAX,
    };
    match codec::decode(bytes, Some(Version::V5), Sender::Server, &limits) {
        Ok(Decoded::Packet { packet, len }) => Some((packet, len)),
        Ok(_) => None,
        Err(error) => panic!("not a packet: {error:?}"),
    }
}

/// Does what a client does. `None`: it is not let in, or is disconnected.
fn take(
    packet: &Packet<'_>,
    got: &mut Vec<u32>,
    received: &mut BTreeSet<PacketId>,
    send: &mut impl FnMut(&Packet<'_>) -> Option<()>,
) -> Option<()> {
    match packet {
        Packet::ConnAck(connack) => {
            let is_in = connack.reason == Reason::Success;
            assert!(!is_in || connack.session_present, "its Session is lost");
            is_in.then_some(())
        }
        Packet::Publish(publish) => {
            let packet_id = publish.packet_id.expect("it is published at QoS 2");
            let number = String::from_utf8_lossy(publish.payload).parse().expect("a number");
            if received.insert(packet_id) {
                got.push(number);
            }
            send(&Packet::PubRec(Ack::new(packet_id, Reason::Success)))
        }
        Packet::PubRel(ack) => {
            received.remove(&ack.packet_id);
            send(&Packet::PubComp(Ack::new(ack.packet_id, Reason::Success)))
        }
        _ => None,
    }
}

/// What fails.
const FAULTS: [&str; 3] = ["kill broker", "freeze broker", "stop broker"];

/// Readers roam over two nodes, which fail one after the other, while a third one lets messages in: each reader has
/// each message once, in order.
#[test]
fn a_session_that_roams_loses_and_doubles_nothing_whatever_fails() {
    let Some(program) = engine::program() else { return };
    let rounds = std::env::var("CLUSTER").map_or(4, |rounds| rounds.parse().expect("a number"));
    let seed = std::env::var("SEED").map_or(16, |seed| seed.parse().expect("a number"));
    let mut random = Random::new(seed);
    let engine = Engine::start(program, 3);
    let mut nodes = brokers(&engine);
    let names = ["r0", "r1", "r2"];
    for name in names {
        let mut reader = Client::connect_with(nodes[0].address("tcp"), &lasting(name));
        reader.subscribe(&["t"], QoS::ExactlyOnce);
        reader.goodbye();
    }
    let addresses: Vec<_> =
        nodes.iter().take(2).map(|node| Arc::new(Mutex::new(node.address("tcp")))).collect();
    let roamers: Vec<_> = (0..)
        .zip(names)
        .map(|(number, name)| Roamer::start(name, &addresses, seed * 8 + number))
        .collect();
    let (stop, published) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let publisher = publish_until(nodes[2].address("tcp"), &stop, &published);
    for round in 0..rounds {
        let node = random.below(2);
        let fault = FAULTS[if rounds < 6 { round % FAULTS.len() } else { random.below(3) }];
        let begun = Instant::now();
        match fault {
            "kill broker" => nodes[node].kill_and_start_again(),
            "stop broker" => {
                nodes[node].stop();
                nodes[node].start_again();
            }
            _ => {
                nodes[node].signal("STOP");
                until_more(&published, 100);
                nodes[node].signal("CONT");
            }
        }
        *addresses[node].lock().unwrap() = nodes[node].address("tcp");
        until_more(&published, 300);
        println!("{round} {fault} {node}: {} ms", begun.elapsed().as_millis());
    }
    stop.store(true, Ordering::Relaxed);
    let count = publisher.join().expect("it ends");
    let end = Instant::now() + DEADLINE;
    for roamer in roamers {
        while !roamer.ended.load(Ordering::Relaxed) && !roamer.thread.is_finished() {
            assert!(Instant::now() < end, "a reader does not get the last message, seed {seed}");
            thread::yield_now();
        }
        let got = roamer.thread.join().expect("its Session was always there");
        let mut times = BTreeMap::new();
        got.iter().for_each(|number| *times.entry(*number).or_insert(0) += 1);
        let lost: Vec<_> = (0..count).filter(|number| !times.contains_key(number)).collect();
        let doubled: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
        let broken: Vec<_> = got.windows(2).filter(|two| two[0] >= two[1]).collect();
        assert!(
            lost.is_empty() && doubled.is_empty() && broken.is_empty(),
            "seed {seed}: lost {lost:?}, doubled {doubled:?}, out of order {broken:?}"
        );
    }
    println!("published {count}: 0 lost, 0 doubled, 0 out of order at {} readers", names.len());
}

fn publish_until(
    at: SocketAddr,
    stop: &Arc<AtomicBool>,
    published: &Arc<AtomicU32>,
) -> JoinHandle<u32> {
    let (stop, published) = (stop.clone(), published.clone());
    thread::spawn(move || {
        let mut client = Client::connect(at, Version::V5, "publisher");
        while !stop.load(Ordering::Relaxed) {
            let number = published.load(Ordering::Relaxed);
            publish_once(&mut client, "t", number.to_string().as_bytes());
            published.store(number + 1, Ordering::Relaxed);
        }
        publish_once(&mut client, "t", END.to_string().as_bytes());
        published.load(Ordering::Relaxed)
    })
}

/// Waits until so many more are published.
fn until_more(published: &AtomicU32, more: u32) {
    let (before, end) = (published.load(Ordering::Relaxed), Instant::now() + DEADLINE);
    while published.load(Ordering::Relaxed) < before + more {
        assert!(Instant::now() < end, "nothing is published");
        thread::yield_now();
    }
}
