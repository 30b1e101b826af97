//! A cluster of real processes: brokers and the servers of their engine, killed, frozen and started again under load.
//! `CLUSTER` says how many faults there are.

mod asking;
#[allow(dead_code)] // Each test uses its part.
mod engine;
mod process;
#[path = "../src/random.rs"]
mod random;
mod wire;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use asking::HttpClient;
use engine::Engine;
use process::{DEADLINE, Sluice, new_folder};
use random::Random;
use sluicemq::codec::{Connect, Packet, PacketId, Publish, QoS, Reason, Version};
use wire::{Client, connect, message};

/// A broker that is a node called `name`.
fn node(engine: &Engine, name: &str, more: &str) -> String {
    let replicas = engine.len();
    format!(
        "[[listener]]\nname = 'tcp'\naddress = '127.0.0.1:0'\n\
         [queue]\nmessages_max = 1_000_000\nbytes_max = '512MiB'\n\
         [store]\npath = 'store'\n\
         [cluster]\nservers = {}\nnode = '{name}'\nreplicas = {replicas}\nlog_bytes_max = '256MiB'\n{more}",
        engine.addresses()
    )
}

fn brokers(engine: &Engine) -> Vec<Sluice> {
    ["a", "b", "c"].iter().map(|name| Sluice::start(&node(engine, name, ""))).collect()
}

fn lasting(client_id: &str) -> Connect<'_> {
    Connect { clean_start: false, session_expiry: 3600, ..connect(Version::V5, client_id) }
}

fn publish(client: &mut Client, topic: &str, payload: &[u8], retain: bool) -> Reason {
    let packet_id = Some(PacketId::MIN);
    let qos = QoS::AtLeastOnce;
    client.send(&Packet::Publish(Publish {
        qos,
        topic,
        payload,
        packet_id,
        retain,
        ..Publish::default()
    }));
    client.puback()
}

#[test]
fn what_is_published_to_one_node_comes_to_all() {
    let Some(program) = engine::program() else { return };
    let engine = Engine::start(program, 1);
    let nodes = brokers(&engine);
    // One Client Identifier is connected to one node: each reader has its own.
    let mut readers: Vec<Client> = nodes.iter().map(reader).collect();
    let mut publisher = Client::connect(nodes[0].address("tcp"), Version::V5, "publisher");
    for number in 0..50 {
        assert_eq!(
            publish(&mut publisher, "t", number.to_string().as_bytes(), number == 49),
            Reason::Success
        );
    }
    for reader in &mut readers {
        for number in 0..50 {
            assert_eq!(reader.message(), ("t".to_owned(), number.to_string().into_bytes()));
        }
    }
    // What is retained is on every node.
    let mut late = Client::connect(nodes[2].address("tcp"), Version::V5, "late");
    late.subscribe(&["t"], QoS::AtLeastOnce);
    assert_eq!(late.message(), ("t".to_owned(), b"49".to_vec()));
    // QoS 0 goes beside the log.
    publisher.send(&Packet::Publish(Publish { topic: "t", payload: b"low", ..Publish::default() }));
    for reader in &mut readers {
        assert_eq!(reader.message(), ("t".to_owned(), b"low".to_vec()));
    }
    // A node has no Shared Subscriptions yet, and says so.
    assert_eq!(late.message().1, b"low");
    assert_eq!(
        late.subscribe(&["$share/g/t"], QoS::AtLeastOnce),
        [Reason::SharedSubscriptionsNotSupported]
    );
    // The same Client Identifier at another node: the first connection ends.
    let mut again = Client::connect(nodes[1].address("tcp"), Version::V5, "publisher");
    publisher.closed_by(Reason::SessionTakenOver);
    again.ping();
}

/// A reader with a Client Identifier of its own.
fn reader(node: &Sluice) -> Client {
    let at = node.address("tcp");
    let mut reader = Client::connect(at, Version::V5, &format!("reader{}", at.port()));
    reader.subscribe(&["t"], QoS::AtLeastOnce);
    reader
}

/// What CONNACK says of the largest packet.
fn largest(node: &Sluice) -> u32 {
    let mut client = Client::open(node.address("tcp"), Version::V5);
    client.send(&Packet::Connect(Box::new(connect(Version::V5, "asker"))));
    let largest = |packet: &Packet<'_>| match packet {
        Packet::ConnAck(connack) => connack.maximum_packet_size,
        _ => None,
    };
    client.expect(largest).get()
}

/// The largest packet is the smaller of what is configured and what the servers of the engine take.
#[test]
fn what_the_engine_takes_is_the_largest_packet() {
    let Some(program) = engine::program() else { return };
    let engine = Engine::start(program.clone(), 1);
    let small = Sluice::start(&node(&engine, "a", ""));
    let most = largest(&small) as usize;
    assert!((900_000..1024 * 1024).contains(&most), "{most}");
    let mut reader = reader(&small);
    let mut publisher = Client::connect(small.address("tcp"), Version::V5, "publisher");
    // Beside the payload: five bytes of a header, the topic, the Packet Identifier, no properties.
    let payload = vec![7; most - 5 - 3 - 2 - 1];
    assert_eq!(publish(&mut publisher, "t", &payload, false), Reason::Success);
    assert_eq!(reader.message().1, payload);
    let above = vec![7; most];
    publisher.send(&Packet::Publish(Publish { payload: &above, ..message("t", b"") }));
    publisher.closed_by(Reason::PacketTooLarge);
    drop(small);

    let engine = Engine::start_with(program, 1, "max_payload: 8MB");
    let nodes = brokers(&engine);
    assert_eq!(largest(&nodes[0]), 4 * 1024 * 1024, "as it is configured");
    let mut reader = self::reader(&nodes[1]);
    let mut publisher = Client::connect(nodes[0].address("tcp"), Version::V5, "publisher");
    let payload = vec![7; 2_000_000];
    assert_eq!(publish(&mut publisher, "t", &payload, false), Reason::Success);
    assert_eq!(reader.message().1, payload);
}

/// While the engine is away nothing is acknowledged, and nothing is lost.
#[test]
fn an_answer_waits_for_the_engine() {
    let Some(program) = engine::program() else { return };
    let mut engine = Engine::start(program, 1);
    let http = "[http]\naddress = '127.0.0.1:0'\n";
    let nodes = ["a", "b"].map(|name| Sluice::start(&node(&engine, name, http)));
    let at = nodes[0].address("tcp");
    let ready = HttpClient::of(&nodes[0]);
    assert_eq!(ready.get("/readyz", "").body, "ready\n");
    let mut reader = Client::connect(nodes[1].address("tcp"), Version::V5, "reader");
    reader.subscribe(&["t"], QoS::AtLeastOnce);
    let mut local = Client::connect(at, Version::V5, "local");
    local.subscribe(&["low"], QoS::AtMostOnce);
    engine.kill(0);
    let mut publisher = Client::connect(at, Version::V5, "publisher");
    let packet_id = Some(PacketId::MIN);
    let waits = Publish {
        qos: QoS::AtLeastOnce,
        topic: "t",
        payload: b"x",
        packet_id,
        ..Publish::default()
    };
    publisher.send(&Packet::Publish(waits));
    // QoS 0 goes on at its own node.
    let mut low = Client::connect(at, Version::V5, "low");
    low.send(&Packet::Publish(Publish { topic: "low", payload: b"0", ..Publish::default() }));
    assert_eq!(local.message().1, b"0");
    nodes[0].logged("the cluster's log is away");
    let away = ready.get("/readyz", "");
    assert_eq!(away.status, 503);
    assert!(away.body.contains("the cluster's log has not answered for "), "{}", away.body);
    engine.start_again(0);
    assert_eq!(publisher.puback(), Reason::Success);
    assert_eq!(reader.message().1, b"x");
    nodes[0].logged("the cluster's log is back");
    assert_eq!(ready.get("/readyz", "").status, 200);
}

/// A node that the log does not answer sends its clients away, and lets them in again when it does.
#[test]
fn a_node_that_is_cut_off_ends_its_clients() {
    let Some(program) = engine::program() else { return };
    let mut engine = Engine::start(program, 1);
    for reference in [None, Some("elsewhere.example")] {
        let mut more = "ack_timeout = '3s'\n".to_owned();
        more.extend(reference.map(|reference| format!("server_reference = '{reference}'\n")));
        let node = Sluice::start(&node(&engine, "a", &more));
        let at = node.address("tcp");
        let mut clients = [Version::V5, Version::V311]
            .map(|version| Client::connect(at, version, &format!("{version:?}")));
        engine.kill(0);
        let told = clients[0].expect(|packet| match packet {
            Packet::Disconnect(told) => {
                Some((told.reason, told.server_reference.map(str::to_owned)))
            }
            _ => None,
        });
        let (reason, refusal) = match reference {
            None => (Reason::ServerShuttingDown, Reason::ServerUnavailable),
            Some(_) => (Reason::UseAnotherServer, Reason::UseAnotherServer),
        };
        assert_eq!(told, (reason, reference.map(str::to_owned)));
        clients.iter_mut().for_each(Client::closed);
        for (version, expected) in
            [(Version::V5, refusal), (Version::V311, Reason::ServerUnavailable)]
        {
            let mut client = Client::open(at, version);
            client.send(&Packet::Connect(Box::new(connect(version, "newcomer"))));
            assert_eq!(client.connack(), expected);
        }
        node.logged("log_away");
        engine.start_again(0);
        node.logged("clients are let in again");
        Client::connect(at, Version::V5, "again").ping();
    }
}

/// Two nodes of one name: the one that came first ends, and says why.
#[test]
fn a_name_is_of_one_node() {
    let Some(program) = engine::program() else { return };
    let engine = Engine::start(program, 1);
    let mut first = Sluice::start(&node(&engine, "a", ""));
    let second = Sluice::start(&node(&engine, "a", ""));
    assert_ne!(first.exit_code(), Some(0));
    first.logged("another process has joined the cluster");
    Client::connect(second.address("tcp"), Version::V5, "c").ping();
}

/// A publisher that knows what was acknowledged: `QoS` 1, one message at a time, each again until it is.
struct Publisher {
    stop: Arc<AtomicBool>,
    /// How many numbers were acknowledged: all below.
    acknowledged: Arc<AtomicU32>,
    thread: JoinHandle<()>,
}

impl Publisher {
    /// It publishes numbers to the topic of its name, at the node with the first of these addresses.
    fn start(name: &str, at: &Arc<Mutex<SocketAddr>>) -> Publisher {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU32::new(0));
        let (own, number) = (stop.clone(), acknowledged.clone());
        let (name, at) = (name.to_owned(), at.clone());
        let thread = thread::spawn(move || {
            while !own.load(Ordering::Relaxed) {
                let at = *at.lock().unwrap();
                if publish_while_it_goes(at, &name, &number, &own).is_none() {
                    thread::yield_now();
                }
            }
        });
        Publisher { stop, acknowledged, thread }
    }

    /// Waits until it has more answers.
    fn goes_on(&self, fault: &str) {
        let (before, end) = (self.acknowledged.load(Ordering::Relaxed), Instant::now() + DEADLINE);
        while self.acknowledged.load(Ordering::Relaxed) < before + 100 {
            assert!(Instant::now() < end, "nothing is acknowledged: {fault}");
            thread::yield_now();
        }
    }

    /// How many numbers were acknowledged.
    fn end(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it ends");
        self.acknowledged.load(Ordering::Relaxed)
    }
}

/// `None`: the connection is over.
fn publish_while_it_goes(
    at: SocketAddr,
    name: &str,
    number: &AtomicU32,
    stop: &AtomicBool,
) -> Option<()> {
    let mut stream = TcpStream::connect(at).ok()?;
    // A node that is frozen does not answer: another connection is tried.
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    exchange(&mut stream, &Packet::Connect(Box::new(connect(Version::V311, name))))?;
    while !stop.load(Ordering::Relaxed) {
        let (topic, payload) = (format!("load/{name}"), number.load(Ordering::Relaxed).to_string());
        let publish = Publish {
            qos: QoS::AtLeastOnce,
            topic: &topic,
            payload: payload.as_bytes(),
            packet_id: Some(PacketId::MIN),
            ..Publish::default()
        };
        exchange(&mut stream, &Packet::Publish(publish))?;
        number.fetch_add(1, Ordering::Relaxed);
    }
    Some(())
}

/// Sends a packet and takes its answer: CONNACK and PUBACK of 3.1.1 have four bytes.
fn exchange(stream: &mut TcpStream, packet: &Packet<'_>) -> Option<()> {
    stream.write_all(&wire::encoded(packet, Version::V311)).ok()?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).ok()?;
    (answer[0] != 0x20 || answer[3] == 0).then_some(())
}

/// The last message of each publisher.
const END: &[u8] = b"end";

/// What fails.
const FAULTS: [&str; 6] = [
    "kill broker",
    "freeze broker",
    "stop broker",
    "kill engine",
    "freeze engine",
    "kill all engines",
];

/// Brokers and servers of the engine fail under load, one after the other: whatever was acknowledged comes to a Session
/// on every node, in the order in which it was published.
#[test]
fn nothing_acknowledged_is_lost_whatever_fails() {
    let Some(program) = engine::program() else { return };
    let rounds = std::env::var("CLUSTER").map_or(6, |rounds| rounds.parse().expect("a number"));
    let seed = std::env::var("SEED").map_or(16, |seed| seed.parse().expect("a number"));
    let mut random = Random::new(seed);
    let mut engine = Engine::start(program, 3);
    let mut nodes = brokers(&engine);
    for (number, node) in nodes.iter().enumerate() {
        let mut reader =
            Client::connect_with(node.address("tcp"), &lasting(&format!("reader{number}")));
        reader.subscribe(&["load/#"], QoS::AtLeastOnce);
        reader.goodbye();
    }
    let addresses: Vec<_> =
        nodes.iter().map(|node| Arc::new(Mutex::new(node.address("tcp")))).collect();
    let publishers: Vec<_> = addresses
        .iter()
        .enumerate()
        .map(|(number, at)| Publisher::start(&format!("p{number}"), at))
        .collect();
    for round in 0..rounds {
        let fault = FAULTS[if rounds < 12 { round % FAULTS.len() } else { random.below(6) }];
        let (node, server) = (random.below(nodes.len()), random.below(engine.len()));
        let begun = Instant::now();
        fail(fault, (&mut nodes, node), (&mut engine, server), (&addresses, &publishers));
        println!("{round} {fault} {node} {server}: {} ms", begun.elapsed().as_millis());
    }
    let acknowledged: Vec<u32> = publishers.into_iter().map(Publisher::end).collect();
    println!("acknowledged: {acknowledged:?}");
    assert!(acknowledged.iter().all(|count| *count > 0), "{acknowledged:?}");
    for (number, node) in nodes.iter().enumerate() {
        let mut last = Client::connect(node.address("tcp"), Version::V5, "last");
        assert_eq!(publish(&mut last, &format!("load/p{number}"), END, false), Reason::Success);
    }
    for (number, node) in nodes.iter().enumerate() {
        let (lost, broken) = read_all(node, &format!("reader{number}"), &acknowledged);
        assert_eq!((lost, broken), (0, 0), "node {number} seed {seed}");
    }
}

/// Something fails, and is well again.
fn fail(
    fault: &str,
    (nodes, node): (&mut [Sluice], usize),
    (engine, server): (&mut Engine, usize),
    (addresses, publishers): (&[Arc<Mutex<SocketAddr>>], &[Publisher]),
) {
    let other = &publishers[(node + 1) % publishers.len()];
    match fault {
        "kill broker" => nodes[node].kill_and_start_again(),
        "stop broker" => {
            nodes[node].stop();
            nodes[node].start_again();
        }
        "freeze broker" => {
            nodes[node].signal("STOP");
            other.goes_on(fault);
            nodes[node].signal("CONT");
        }
        "kill engine" => {
            engine.kill(server);
            engine.start_again(server);
        }
        "freeze engine" => {
            engine.signal(server, "STOP");
            other.goes_on(fault);
            engine.signal(server, "CONT");
        }
        _ => {
            (0..engine.len()).for_each(|server| engine.kill(server));
            (0..engine.len()).for_each(|server| engine.start_again(server));
        }
    }
    *addresses[node].lock().unwrap() = nodes[node].address("tcp");
    publishers.iter().for_each(|publisher| publisher.goes_on(fault));
}

/// Reads what waits for a Session. Returns how many acknowledged numbers are not there, and how often one came before
/// one below it.
fn read_all(node: &Sluice, client_id: &str, acknowledged: &[u32]) -> (u32, u32) {
    let mut reader = Client::connect_with(node.address("tcp"), &lasting(client_id));
    let mut next: BTreeMap<String, u32> = BTreeMap::new();
    let (mut broken, mut ended) = (0, 0);
    while ended < acknowledged.len() {
        let (topic, payload) = reader.message();
        if payload == END {
            ended += 1;
            continue;
        }
        let number: u32 = String::from_utf8_lossy(&payload).parse().expect("a number");
        let next = next.entry(topic).or_default();
        // What was sent again because its answer was lost comes again.
        broken += u32::from(number > *next);
        *next = (*next).max(number + 1);
    }
    let lost = acknowledged.iter().enumerate().map(|(number, count)| {
        count.saturating_sub(next.get(&format!("load/p{number}")).copied().unwrap_or_default())
    });
    (lost.sum(), broken)
}

/// Users and their rights as `deploy/cluster` gives them to the servers of the engine; a password is the user's name.
fn deployed_rights() -> String {
    let deployed = include_str!("../deploy/cluster/nats-server.conf");
    let (_, rights) = deployed.split_once("\naccounts {").expect("accounts");
    let (rights, _) = rights.split_once("\nsystem_account: SYS").expect("their end");
    let mut rights = ["accounts {", rights, "\nsystem_account: SYS\n"].concat();
    for user in ["node", "operator", "admin", "sys"] {
        rights = rights.replace(&format!("${}_PASSWORD", user.to_uppercase()), user);
    }
    rights
}

/// A node is down, and the log keeps what it has not applied until it has no room: then nothing more is acknowledged.
/// Once that node is forgotten there is room again, and one with an empty disk learns what the log has no more.
#[test]
fn a_log_keeps_what_a_node_lacks_until_that_is_forgotten() {
    let Some(program) = engine::program() else { return };
    let engine = Engine::start_with(program, 1, &deployed_rights());
    let secrets = new_folder();
    let login = |user: &str| {
        let secret = secrets.path().join(user);
        std::fs::write(&secret, user).expect("a file");
        format!("user = '{user}'\npassword_file = '{}'", secret.display())
    };
    let small = |name| {
        let config = node(&engine, name, &login(if name == "asker" { "operator" } else { "node" }));
        config.replace("log_bytes_max = '256MiB'", "log_bytes_max = '2MiB'")
    };
    let [one, mut two] = ["a", "b"].map(|name| Sluice::start(&small(name)));
    let mut publisher = Client::connect(one.address("tcp"), Version::V5, "publisher");
    assert_eq!(publish(&mut publisher, "kept", b"from the beginning", true), Reason::Success);
    let mut lasting_one = Client::connect_with(two.address("tcp"), &lasting("lost"));
    lasting_one.subscribe(&["t"], QoS::AtLeastOnce);
    two.kill();
    let payload = vec![7; 100 * 1024];
    let send = |client: &mut Client, number: u16| {
        let packet_id = PacketId::new(number);
        client.send(&Packet::Publish(Publish {
            packet_id,
            payload: &payload,
            ..message("t", b"")
        }));
    };
    for number in 1..=30 {
        send(&mut publisher, number);
    }
    one.logged("the cluster's log has no room");
    let mut other = Client::connect(one.address("tcp"), Version::V5, "other");
    send(&mut other, 1);
    assert_eq!(other.puback(), Reason::QuotaExceeded);
    let forget = |name: &str| {
        let place = new_folder();
        let config = place.path().join("sluice.toml");
        std::fs::write(&config, small("asker")).expect("a file");
        let mut command = process::program();
        command.args(["cluster", "forget", name, "--config"]).arg(config);
        let output = command.output().expect("the program");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    for (name, words) in [("a", "a is up: drain it"), ("c", "no node called \"c\"")] {
        let (code, said) = forget(name);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(words), "{said}");
    }
    let end = Instant::now() + DEADLINE;
    // It is thought to be up until it has been silent for a while.
    loop {
        let (code, said) = forget("b");
        if code == Some(0) {
            assert!(said.contains("b is forgotten; 1 sessions"), "{said}");
            break;
        }
        assert!(said.contains("was up within") && Instant::now() < end, "{said}");
    }
    // What was let in before it was full is in the log now, and more is let in.
    let reasons: Vec<_> = (0..30).map(|_| publisher.puback()).collect();
    assert!(
        reasons.iter().filter(|reason| **reason == Reason::Success).count() > 10,
        "{reasons:?}"
    );
    one.logged("the cluster's log has room again");
    send(&mut other, 2);
    assert_eq!(other.puback(), Reason::Success);
    let mut again = Client::connect_with(one.address("tcp"), &lasting("lost"));
    again.subscribe(&["t"], QoS::AtLeastOnce);
    drop(two);

    let mut empty = Sluice::start(&small("b"));
    let mut late = Client::connect(empty.address("tcp"), Version::V5, "late");
    late.subscribe(&["kept"], QoS::AtLeastOnce);
    assert_eq!(late.message().1, b"from the beginning");
    empty.stop();
    empty.start_again();
}
