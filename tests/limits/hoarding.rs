//! One stranger that makes Sessions as fast as it can, on the real process: the others are let in.

use std::time::{Duration, Instant};

use sluicemq::auth::{HashMethod, edit};
use sluicemq::codec::{Connect, Packet, PacketId, Publish, QoS, Reason, Version};

use super::{broker, told};
use crate::process::{Sluice, new_folder};
use crate::wire::{Client, VERSIONS, connect, decoded, dial_from, encoded, message};

/// All that there may be.
const SESSIONS: usize = 5_000;
/// Connections that are made, used and left together.
const TOGETHER: usize = 100;
const WEEK: u32 = 7 * 86_400;
/// So long an event is waited for.
const DEADLINE: Duration = Duration::from_secs(120);

/// Leaves Sessions behind that last a week, until they are all that there may be.
fn hoard(broker: &Sluice) -> usize {
    let mut kept = 0;
    for first in (0..SESSIONS).step_by(TOGETHER) {
        let ids: Vec<_> = (first..first + TOGETHER).map(|n| format!("hoarder-{n}")).collect();
        let clients = ids.iter().map(|client_id| {
            let mut client = Client::open(broker.address("tcp"), Version::V5);
            let connect = Connect {
                clean_start: false,
                session_expiry: WEEK,
                ..connect(Version::V5, client_id)
            };
            client.send(&Packet::Connect(Box::new(connect)));
            client
        });
        for mut client in clients.collect::<Vec<_>>() {
            if client.connack() == Reason::Success {
                client.goodbye();
                kept += 1;
            }
        }
    }
    kept
}

fn from_elsewhere(broker: &Sluice, connect: &Connect<'_>) -> (Client, Reason) {
    let stream = dial_from("127.0.0.2", broker.address("tcp"));
    let mut client = Client::over(stream, connect.version);
    client.send_bytes(&encoded(&Packet::Connect(Box::new(connect.clone())), connect.version));
    let reason = client.connack();
    (client, reason)
}

#[test]
fn a_hoarder_of_all_sessions_locks_nobody_else_out_not_even_after_a_restart() {
    let mut broker = broker("[totals]\nsessions_max = 5_000");
    for _ in 0..2 {
        // The second time it has most of them from before the restart.
        assert_eq!(hoard(&broker), SESSIONS);
        let mut others = Vec::new();
        for version in VERSIONS {
            let (mut other, reason) = from_elsewhere(&broker, &connect(version, ""));
            assert_eq!(reason, Reason::Success);
            other.ping();
            others.push(other);
            // No Session makes room for the hoarder.
            let mut more = Client::open(broker.address("tcp"), version);
            more.send(&Packet::Connect(Box::new(connect(version, "more"))));
            let full = told(version, Reason::QuotaExceeded, Reason::ServerUnavailable);
            assert_eq!(more.connack(), full);
        }
        others.iter_mut().for_each(Client::ping);
        assert_eq!(broker.stop(), Some(0));
        broker.start_again();
    }
    let log = broker.log();
    let told = ["ends to make room", "key=totals.sessions_max"];
    let lines = log.lines().filter(|line| told.iter().all(|part| line.contains(part))).count();
    assert!((1..=4).contains(&lines), "{lines} lines");
}

#[test]
fn beside_strangers_there_is_room_for_users() {
    let broker = with_alice("[totals]\nunverified_share = 25\nsessions_max = 5_000");
    assert_eq!(hoard(&broker), SESSIONS / 4);
    for version in VERSIONS {
        Client::connect_with(broker.address("tcp"), &alice(version, "device")).goodbye();
    }
}

/// A broker that knows `alice`, and lets strangers in.
fn with_alice(config: &str) -> Sluice {
    let folder = new_folder();
    let (users, method) =
        ([("alice".to_owned(), b"secret".to_vec())], HashMethod::Pbkdf2 { iterations: 1 });
    edit::set_passwords(&folder.path().join("passwords"), &users, method).expect("a password file");
    let listener = "auth.password_file = 'passwords'\n[[listener]]\nname = 'tcp'\n\
                    address = '127.0.0.1:0'\nallow_anonymous = true\n";
    Sluice::start_in(folder, &format!("{listener}{config}"))
}

fn alice<'a>(version: Version, client_id: &'a str) -> Connect<'a> {
    Connect { user_name: Some("alice"), password: Some(b"secret"), ..connect(version, client_id) }
}

fn lasting(connect: Connect<'_>) -> Connect<'_> {
    Connect { clean_start: false, session_expiry: WEEK, ..connect }
}

/// One message of 64 KiB, and how many of them.
const PAYLOAD: usize = 64 * 1024;
const MESSAGES: usize = 100;

#[test]
fn what_waits_for_strangers_is_bounded_on_disk_and_what_waits_for_a_user_is_all_there() {
    let mut broker = with_alice(
        "[totals]\nunverified_share = 25\nwaiting_bytes_max = '16MiB'\n\
         [store]\nkind = 'sled'\nsegment_bytes = '1MiB'\njournal_bytes_max = '64MiB'",
    );
    let at = broker.address("tcp");
    for n in 0..20 {
        let client_id = format!("hoarder-{n}");
        let mut client = Client::connect_with(at, &lasting(connect(Version::V5, &client_id)));
        client.subscribe(&["data", &client_id], QoS::AtLeastOnce);
        client.goodbye();
    }
    let mut device = Client::connect_with(at, &lasting(alice(Version::V5, "device")));
    device.subscribe(&["data"], QoS::AtLeastOnce);
    device.goodbye();
    let mut publisher = Client::connect_with(at, &alice(Version::V5, "publisher"));
    for _ in 0..MESSAGES {
        assert!(!publisher.publish("data", &[b'x'; PAYLOAD]).is_error());
    }
    let limited = |log: &str| {
        log.lines().any(|line| {
            line.contains("waiting_bytes_max") && line.contains("key=totals.address_share")
        })
    };
    assert!(limited(&broker.log()), "{}", broker.log());
    // A quarter of the total is theirs, and three quarters of that one address's: 3 MiB in twenty queues, but
    // for the copies of the message that reaches the limit.
    let mut got = 0;
    for n in 0..20 {
        let client_id = format!("hoarder-{n}");
        let mut client = Client::connect_with(at, &lasting(connect(Version::V5, &client_id)));
        // It is behind all that waits.
        assert!(!publisher.publish(&client_id, b"").is_error());
        while client.message().0 != client_id {
            got += 1;
        }
        client.goodbye();
    }
    assert!((1..=3 * 1024 * 1024 / PAYLOAD + 20).contains(&got), "{got}");
    assert_eq!(broker.stop(), Some(0));
    broker.start_again();
    let at = broker.address("tcp");
    let mut device = Client::connect_with(at, &lasting(alice(Version::V5, "device")));
    (0..MESSAGES).for_each(|_| assert_eq!(device.message().1.len(), PAYLOAD));
    device.ping();
}

#[test]
fn clients_that_never_acknowledge_do_not_keep_everybody_out() {
    let broker = with_alice(
        "[totals]\nqueued_bytes_max = '8MiB'\n[queue]\nbytes_max = '512KiB'\npause_max = '0s'\n\
         [limits]\npacket_bytes_max = '128KiB'",
    );
    let at = broker.address("tcp");
    let mut slow: Vec<_> = (0..36)
        .map(|n| {
            let client_id = format!("slow-{n}");
            let mut client = Client::connect(at, Version::V5, &client_id);
            client.subscribe(&[&format!("data/{n}")], QoS::AtLeastOnce);
            client
        })
        .collect();
    let mut publishers: Vec<_> = (0..36)
        .map(|n| {
            let (client_id, topic) = (format!("publisher-{n}"), format!("data/{n}"));
            let mut client = Client::connect_with(at, &alice(Version::V5, &client_id));
            for packet_id in 1..=4 {
                let packet_id = PacketId::new(packet_id);
                let publish = Publish { packet_id, ..message(&topic, &[b'x'; PAYLOAD]) };
                client.send(&Packet::Publish(publish));
            }
            client
        })
        .collect();
    let answer = || {
        let mut client = Client::open(at, Version::V5);
        client.send(&Packet::Connect(Box::new(connect(Version::V5, "new"))));
        client.connack()
    };
    let wait_for = |wanted: Reason| {
        let deadline = Instant::now() + DEADLINE;
        while answer() != wanted {
            assert!(Instant::now() < deadline, "no {wanted:?}\n{}", broker.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    wait_for(Reason::ServerBusy);
    wait_for(Reason::Success);
    for publisher in &mut publishers {
        (0..4).for_each(|_| assert_ne!(publisher.puback(), Reason::NotAuthorized));
        publisher.ping();
    }
    let told = slow.iter_mut().filter_map(|client| {
        loop {
            match decoded(&client.next()?, Version::V5) {
                Packet::Disconnect(disconnect) => return Some(disconnect.reason),
                Packet::Publish(_) => {}
                _ => panic!("what else?"),
            }
        }
    });
    assert_eq!(told.take(1).last(), Some(Reason::QuotaExceeded));
    broker.logged("overload lasts");
}
