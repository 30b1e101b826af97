//! A cluster of real processes: brokers and the servers of their engine.

mod asking;
#[allow(dead_code)] // Each test uses its part.
mod engine;
mod process;
mod wire;

use std::time::Instant;

use asking::HttpClient;
use engine::Engine;
use process::{DEADLINE, Sluice, new_folder};
use sluicemq::codec::{Connect, Packet, PacketId, Publish, QoS, Reason, Version};
use wire::{Client, connect, message};

/// A broker that is a node called `name`.
fn node(engine: &Engine, name: &str, more: &str) -> String {
    engine.node(&engine.addresses(), name, more)
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
