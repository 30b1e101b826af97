//! `sluice cluster dev` and `sluice cluster status`, as processes: a cluster starts, is looked at, is killed, goes on with
//! its data and ends.

#[allow(dead_code)] // Each test uses its part.
mod engine;
mod process;
mod wire;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use process::{DEADLINE, Process, free_port, new_folder, path_without_sync, program};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use sluicemq::codec::{Connect, Packet, Publish, QoS, Reason, Version};
use wire::{Client, connect, message};

/// A port for the test number `test` of this file, from which on there is room for a cluster.
fn first_port(test: u16) -> u16 {
    free_port() + 100 * test
}

/// A cluster that is ready, and where its nodes are.
fn start(nats_server: &Path, place: &Path, port: u16) -> (Process, Vec<SocketAddr>) {
    let mut command = program();
    command.args(["cluster", "dev", "--port", &port.to_string(), "--dir"]);
    command.arg(place.join("a cluster")).arg("--nats-server").arg(nats_server);
    let mut dev = Process::start(command.env("PATH", path_without_sync(place)));
    let nodes = (1..=3).map(|number| {
        let line = dev.until(|line| line.starts_with(&format!("node{number} ")));
        let address = line.split_whitespace().nth(2).expect("an address");
        address.parse().expect("an address")
    });
    let nodes = nodes.collect();
    dev.until(|line| line.starts_with("the cluster is ready"));
    (dev, nodes)
}

/// `sluice cluster status` of the first node of such a cluster.
fn status(place: &Path, more: &[&str]) -> Output {
    let config = place.join("a cluster/node1/sluice.toml");
    let mut command = program();
    command.args(["cluster", "status", "--config"]).arg(config).args(more);
    command.output().expect("the program")
}

/// Asks for the state until it is `wanted`.
fn until(place: &Path, wanted: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + DEADLINE;
    loop {
        let output = status(place, &["--json"]);
        let text = String::from_utf8_lossy(&output.stdout);
        let state = serde_json::from_str(&text).unwrap_or_default();
        if output.status.success() && wanted(&state) {
            return state;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(Instant::now() < end, "{text}\n{said}");
    }
}

/// The number of the process with this in its command line that `parent` has started.
fn child(parent: u32, part: &str) -> u32 {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let found = processes.filter_map(|process| {
        let id = process.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        // Behind the name, which may hold anything: the state, and the number of the parent.
        let of = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()?;
        let line = fs::read_to_string(process.path().join("cmdline")).ok()?;
        (of == parent && line.contains(part)).then_some(id)
    });
    found.last().expect("such a process")
}

/// Whether all processes of the cluster have ended: each of them has the lock of the folder.
fn have_ended(place: &Path) -> bool {
    let lock = File::open(place.join("a cluster/lock")).expect("a lock");
    flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
}

#[test]
fn a_cluster_to_try_outlasts_a_kill_and_ends_as_a_whole() {
    let Some(nats_server) = engine::program() else { return };
    let (place, port) = (new_folder(), first_port(0));
    let (dev, nodes) = start(&nats_server, place.path(), port);
    let mut publisher = Client::connect(nodes[0], Version::V5, "publisher");
    publisher.send(&Packet::Publish(Publish { retain: true, ..message("t", b"kept") }));
    assert!(!publisher.puback().is_error());
    // As `kill -9` does: what it has started ends with it, and the next start waits for that.
    drop(dev);
    let (mut dev, nodes) = start(&nats_server, place.path(), port);
    let mut reader = Client::connect(nodes[2], Version::V5, "reader");
    reader.subscribe(&["t"], QoS::AtLeastOnce);
    assert_eq!(reader.message(), ("t".to_owned(), b"kept".to_vec()));
    let mut publisher = Client::connect(nodes[0], Version::V5, "publisher");
    assert!(!publisher.publish("t", b"new").is_error());
    assert_eq!(reader.message(), ("t".to_owned(), b"new".to_vec()));

    let serves = |node: &Value| node["state"] == "serves" && node["lag_frames"] == 0;
    let state = until(place.path(), |state| {
        let nodes = state["nodes"].as_array();
        nodes.is_some_and(|nodes| nodes.len() == 3 && nodes.iter().all(serves))
    });
    for (number, node) in state["nodes"].as_array().into_iter().flatten().enumerate() {
        assert_eq!(node["node"], format!("node{}", number + 1));
        assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(node["applied_frame"], state["log"]["last_frame"]);
        assert_eq!(node["listeners"][0]["address"], nodes[number].to_string());
        assert_eq!(node["clients_connected"], if number == 1 { 0 } else { 1 });
    }
    assert_eq!(state["servers"].as_array().map(Vec::len), Some(3), "{state}");
    assert_eq!(state["log"]["replicas"].as_array().map(Vec::len), Some(3), "{state}");

    // What ends by itself is said at once, and no longer answers.
    let ended = child(dev.id(), "node2").to_string();
    let done = Command::new("kill").args(["-s", "KILL", &ended]).status();
    assert!(done.expect("the command kill").success());
    dev.until(|line| line.starts_with("sluice: node2 was ended by signal 9"));
    let output = status(place.path(), &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    let row = text.lines().find(|line| line.starts_with("node2"));
    assert!(row.is_some_and(|row| row.ends_with("does not answer")), "{text}");

    assert!(!have_ended(place.path()));
    dev.signal("TERM");
    let (code, lines) = dev.end();
    assert_eq!(code, Some(0), "{lines:?}");
    assert!(lines.last().is_some_and(|line| line.starts_with("stopped")), "{lines:?}");
    assert!(have_ended(place.path()));
}

/// A node is emptied and ends; its Sessions are at the others, with what waits.
#[test]
fn a_node_that_is_drained_ends_and_leaves_nothing_behind() {
    let Some(nats_server) = engine::program() else { return };
    let (place, port) = (new_folder(), first_port(1));
    let (mut dev, nodes) = start(&nats_server, place.path(), port);
    let lasting = |client_id| Connect {
        clean_start: false,
        session_expiry: 3600,
        ..connect(Version::V5, client_id)
    };
    let names: Vec<_> = (0..20).map(|number| format!("reader{number}")).collect();
    let mut readers: Vec<_> = names
        .iter()
        .map(|name| {
            let mut reader = Client::connect_with(nodes[0], &lasting(name));
            reader.subscribe(&["t"], QoS::AtLeastOnce);
            reader
        })
        .collect();
    readers.drain(10..).for_each(Client::goodbye);
    let mut publisher = Client::connect(nodes[1], Version::V5, "publisher");
    assert!(!publisher.publish("t", b"before").is_error());
    for reader in &mut readers {
        assert_eq!(reader.message(), ("t".to_owned(), b"before".to_vec()));
    }

    let config = place.path().join("a cluster/node1/sluice.toml");
    let drain = |more: &[&str]| {
        let mut command = program();
        command.args(["cluster", "drain", "--config"]).arg(&config).args(more);
        let output = command.output().expect("the program");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let (code, said) = drain(&["--node", "node9"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no node called \"node9\" answers"), "{said}");
    let (code, said) = drain(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("node1 has ended"), "{said}");
    dev.until(|line| line.starts_with("sluice: node1 has ended with exit code 0"));
    for reader in &mut readers {
        reader.closed_by(Reason::ServerShuttingDown);
    }
    assert!(!publisher.publish("t", b"after").is_error());
    for (number, name) in names.iter().enumerate() {
        let mut reader = Client::connect_with(nodes[1 + number % 2], &lasting(name));
        if number >= 10 {
            assert_eq!(reader.message(), ("t".to_owned(), b"before".to_vec()), "{name}");
        }
        assert_eq!(reader.message(), ("t".to_owned(), b"after".to_vec()), "{name}");
    }
}

#[test]
fn without_the_engine_it_says_how_to_get_it_and_leaves_nothing() {
    let place = new_folder();
    let mut command = program();
    command.args(["cluster", "dev"]).current_dir(place.path()).env("PATH", place.path());
    let output = command.output().expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("nats-server is not in PATH") && said.contains("https://"), "{said}");
    assert_eq!(fs::read_dir(place.path()).expect("a folder").count(), 0);
}

/// A child of `sluice cluster dev` that does not begin to serve ends all, with the end of its log.
#[test]
fn an_engine_that_ends_at_once_is_said() {
    let place = new_folder();
    let mut command = program();
    command.args(["cluster", "dev", "--nats-server", "/bin/false"]).current_dir(place.path());
    let output = command.output().expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("has ended with exit code 1"), "{said}");
}

#[test]
fn what_is_wrong_with_a_question_is_said() {
    let place = new_folder();
    let empty = place.path().join("empty.toml");
    fs::write(&empty, "").expect("a file");
    let empty = empty.to_string_lossy();
    let nowhere = format!("nats://127.0.0.1:{}", free_port());
    for (arguments, code, words) in [
        (["--config", "/no/such.toml"], 2, "cannot read the configuration /no/such.toml"),
        (["--config", &empty], 2, "no section [cluster]"),
        (["--server", &nowhere], 3, "no server of the cluster can be reached"),
    ] {
        let output = program().args(["cluster", "status"]).args(arguments).output();
        let output = output.expect("the program");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.starts_with("sluice: ") && said.contains(words), "{said}");
    }
}
