//! What the system gives: descriptors, memory, and the word of TCP that a peer has vanished.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use sluicemq::codec::{Packet, Publish, QoS, Reason, Version};

use crate::process::{Sluice, new_folder, sluice};
use crate::wills::figure;
use crate::wire::{Client, connect, dial, encoded, message};

const MIB: u64 = 1024 * 1024;

/// Waits for something that a broker does by itself.
#[track_caller]
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "it does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A broker that may open `files` files.
fn with_open_files(files: u32, config: &str) -> Sluice {
    let folder = new_folder();
    let plain = sluice(folder.path(), config);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -n {files}; exec \"$@\"")).arg("sh");
    command.arg(plain.get_program()).args(plain.get_args()).current_dir(folder.path());
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    Sluice::start_as(&mut command, folder)
}

#[test]
fn idle_connections_leave_the_store_its_descriptors() {
    for files in [128, 300] {
        let config = "[[listener]]\nname = 'tcp'\naddress = '127.0.0.1:0'\n\
             [store]\nsegment_bytes = '1MiB'\ncheckpoint_interval = '50ms'\n";
        let mut broker = with_open_files(files, config);
        let at = broker.address("tcp");
        // A thread of its own writes the log.
        until(|| broker.log().contains("fewer connections than connections_max"));
        let mut healthy = Client::connect(at, Version::V5, "healthy");
        let silent: Vec<TcpStream> = (0..files).map(|_| dial(at)).collect();
        // The broker has seen them all: it has closed some.
        until(|| silent.iter().any(is_closed));
        // Some megabytes: segments come and go, and the table is written.
        for _ in 0..40 {
            let payload = vec![b'x'; 100_000];
            healthy.send(&Packet::Publish(Publish { retain: true, ..message("t", &payload) }));
            assert!(!healthy.puback().is_error());
        }
        until(|| broker.log().contains("connections are refused: the open files"));
        assert!(!broker.log().contains("Too many open files"));
        drop(silent);
        // There is room again.
        until(|| try_connect(at));
        assert_eq!(broker.stop(), Some(0));
    }
}

/// Whether a new client is let in.
fn try_connect(at: SocketAddr) -> bool {
    let mut stream = dial(at);
    let mut connack = [0; 4];
    stream.write_all(&connect_bytes("again")).is_ok()
        && stream.read_exact(&mut connack).is_ok()
        && connack[3] == 0
}

fn connect_bytes(client_id: &str) -> Vec<u8> {
    let connect = Box::new(connect(Version::V311, client_id));
    encoded(&Packet::Connect(connect), Version::V311)
}

/// Whether the broker has closed it.
fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("an option");
    let mut byte = [0];
    !matches!((&*stream).read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[cfg(target_os = "linux")]
#[test]
fn tcp_asks_after_a_silent_peer_unless_that_is_off() {
    for (keys, wanted) in [("", true), ("tcp_keepalive = '0s'", false)] {
        let broker = crate::broker(keys);
        let at = broker.address("tcp");
        let client = Client::connect(at, Version::V311, "a");
        // The broker's end: its own port first. The timer: 02 is that of keepalive, 00 none.
        let (ours, theirs) = (at.port(), client.local().port());
        let timer = || {
            let table = std::fs::read_to_string("/proc/net/tcp").expect("a table of sockets");
            let ends = (format!(":{ours:04X}"), format!(":{theirs:04X}"));
            let found = table.lines().find_map(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let is_it = fields.get(1)?.ends_with(&ends.0) && fields.get(2)?.ends_with(&ends.1);
                is_it.then(|| fields[5].to_owned())
            });
            found.expect("the socket")
        };
        // CONNACK is acknowledged first.
        until(|| !timer().starts_with("01"));
        assert_eq!(timer().starts_with("02"), wanted, "{}", timer());
        if wanted {
            // In hundredths of a second: about ten minutes are left.
            let left = u64::from_str_radix(&timer()[3..], 16).expect("a number");
            assert!((50_000..=60_000).contains(&left), "{left}");
        }
    }
}

/// Megabytes of packets that do not end, and of answers that are not taken: bounded, and given back.
#[test]
fn bytes_outside_of_queues_are_bounded_and_memory_goes_back() {
    let broker = crate::broker("[totals]\nconnection_bytes_max = '32MiB'");
    let at = broker.address("tcp");
    Client::connect(at, Version::V5, "first").goodbye();
    let before = broker.memory();
    let mut half = vec![0x30, 0xF0, 0xFF, 0x3F, 0, 1, b't'];
    half.resize(900_000, b'x');
    let mut open = Vec::new();
    for number in 0..100 {
        let mut stream = dial(at);
        stream.write_all(&connect_bytes(&format!("half-{number}"))).expect("a connection");
        stream.read_exact(&mut [0; 4]).expect("CONNACK");
        stream.set_nonblocking(true).expect("an option");
        // As much as the system takes.
        let _ = stream.write_all(&half);
        open.push(stream);
    }
    // Ninety megabytes were offered.
    until(|| figure(at, "connects/closed/for room") >= 40);
    until(|| broker.log().contains("totals.connection_bytes_max"));
    let mut healthy = Client::connect(at, Version::V5, "healthy");
    healthy.subscribe(&["h"], QoS::AtMostOnce);
    for _ in 0..5 {
        assert_eq!(healthy.publish("h", &vec![b'x'; 1_000_000]), Reason::Success);
        assert_eq!(healthy.message().1.len(), 1_000_000);
    }
    let peak = broker.memory_peak();
    assert!(peak < before + 64 * MIB, "{} MiB, then {} MiB", before / MIB, peak / MIB);
    drop(open);
    until(|| broker.memory() < before + 12 * MIB);
    println!("MiB: {} before, {} peak, {} after", before / MIB, peak / MIB, broker.memory() / MIB);
}
