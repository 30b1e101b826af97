//! Takeover on the real process: the newest connection of a Client Identifier wins, whatever the
//! older ones do.

mod installed;
#[path = "takeover/links.rs"]
mod links;
mod process;
#[path = "takeover/waits.rs"]
mod waits;
mod wire;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use process::{Process, Sluice};
use sluicemq::codec::{Connect, Packet, QoS, Reason, Version};
use wire::{Client, VERSIONS, connect, connect_with_will};

const CONFIG: &str = "
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'

[queue]
pause_max = '0s'
";

/// So long a line of the log is waited for.
const DEADLINE: Duration = Duration::from_secs(60);

/// Rounds of three CONNECTs at once, for each version and kind of Session.
const ROUNDS: usize = 25;

#[test]
fn a_client_that_does_not_read_is_taken_over_at_once() {
    let broker = Sluice::start(CONFIG);
    let at = broker.address("tcp");
    for version in VERSIONS {
        for lasting in [false, true] {
            let mut witness = Client::connect(at, Version::V5, "witness");
            witness.subscribe(&["will"], QoS::AtMostOnce);
            let connect = wishes(connect_with_will(version, "one", "will"), lasting);
            let mut stuck = Client::over(wire::dial_narrow(at), version);
            stuck.greet(&connect);
            stuck.subscribe(&["flood"], QoS::AtMostOnce);
            fill(at, "flood");

            let start = Instant::now();
            let mut newcomer = Client::connect_with(at, &connect);
            println!("{version:?} lasting={lasting}: in after {:?}", start.elapsed());
            newcomer.ping();
            // The old connection has ended; its Will does not wait.
            assert_eq!(witness.message().0, "will");
            newcomer.goodbye();
            witness.goodbye();
        }
    }
}

#[test]
fn a_client_that_is_stopped_is_taken_over_at_once() {
    if !installed::all(&["mosquitto_sub", "stdbuf"]) {
        return;
    }
    let broker = Sluice::start(CONFIG);
    let at = broker.address("tcp");
    for (version, name) in [(Version::V311, "311"), (Version::V5, "5")] {
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "mosquitto_sub", "-h", "127.0.0.1", "-p", &at.port().to_string()]);
        command.args(["-V", name, "-i", "one", "-t", "flood", "-F", "%l", "-d"]);
        let mut stopped = Process::start(&mut command);
        stopped.until(|line| line.starts_with("Subscribed "));
        stopped.signal("STOP");
        fill(at, "flood");

        let start = Instant::now();
        let mut newcomer = Client::connect(at, version, "one");
        println!("{version:?}: in after {:?}", start.elapsed());
        newcomer.ping();
        newcomer.goodbye();
    }
}

/// Publishes until the only subscriber has no room left: then its socket is full, and what the
/// broker keeps for it.
fn fill(at: SocketAddr, topic: &str) {
    let mut publisher = Client::connect(at, Version::V5, "publisher");
    let payload = vec![b'x'; 64 * 1024];
    while publisher.publish(topic, &payload) != Reason::QuotaExceeded {}
    publisher.goodbye();
}

fn wishes(connect: Connect<'_>, lasting: bool) -> Connect<'_> {
    let new = connect.version == Version::V5;
    let session_expiry = match (lasting, new) {
        (false, _) => 0,
        (true, true) => 60,
        (true, false) => u32::MAX,
    };
    Connect { clean_start: !lasting, session_expiry, ..connect }
}

#[test]
fn of_three_connects_at_once_the_newest_lives_on() {
    // Each connection has its line at `debug`; and so many takeovers are not braked.
    let config = format!("{CONFIG}\n[log]\nlevel = 'debug'\n[limits]\ntakeovers_max = 0\n");
    let broker = Sluice::start(&config);
    let at = broker.address("tcp");
    for version in VERSIONS {
        for lasting in [false, true] {
            for _ in 0..ROUNDS {
                let survivor = one_of_three(at, &wishes(connect(version, "one"), lasting));
                let log =
                    log_until(&broker, &format!(" disconnected client=one address={survivor} "));
                let newest = log.lines().rev().find(|line| line.contains(" connected client=one "));
                let newest = newest.expect("a line for the connection that lives");
                assert!(newest.contains(&format!("address={survivor} ")), "{survivor}: {newest}");
            }
        }
    }
}

/// The log, once there is a line with `what` in it: lines are written after what they tell of.
fn log_until(broker: &Sluice, what: &str) -> String {
    let end = Instant::now() + DEADLINE;
    loop {
        let log = broker.log();
        if log.contains(what) {
            return log;
        }
        assert!(Instant::now() < end, "no line with {what:?}: {log}");
        thread::yield_now();
    }
}

/// Where the only one comes from that is served after all three have had their answer.
fn one_of_three(at: SocketAddr, connect: &Connect<'_>) -> SocketAddr {
    let together = Barrier::new(3);
    let answered = thread::scope(|scope| {
        let threads = [(); 3].map(|()| {
            scope.spawn(|| {
                let mut client = Client::open(at, connect.version);
                together.wait();
                client.send(&Packet::Connect(Box::new(connect.clone())));
                // An overtaken one of 3.1.1 may be closed without any.
                let accepted =
                    client.next().map(|bytes| bytes[..2] == [0x20, bytes.len() as u8 - 2]);
                (client, accepted)
            })
        });
        threads.map(|thread| thread.join().expect("an answer"))
    });
    let mut living = Vec::new();
    for (mut client, accepted) in answered {
        let Some(accepted) = accepted else {
            assert_eq!(connect.version, Version::V311);
            continue;
        };
        assert!(accepted, "CONNACK comes first");
        client.send(&Packet::PingReq);
        match client.next() {
            Some(packet) if packet == [0xD0, 0] => living.push(client),
            Some(packet) => {
                assert_eq!(packet, [0xE0, 2, 0x8E, 0], "Session taken over");
                client.closed();
            }
            None => assert_eq!(connect.version, Version::V311),
        }
    }
    let [survivor] = &living[..] else { panic!("{} live on", living.len()) };
    let address = survivor.local();
    living.remove(0).goodbye();
    address
}
