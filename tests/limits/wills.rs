//! Wills: how large, how many together, and where they are while their clients are away.

use std::net::SocketAddr;

use sluicemq::codec::{Connect, Packet, Properties, QoS, Reason, Version, Will};

use crate::process::Sluice;
use crate::system::until;
use crate::told;
use crate::wire::{Client, VERSIONS, connect};

const MIB: u64 = 1024 * 1024;
const DURABLE: &str = "[[listener]]\nname = 'tcp'\naddress = '127.0.0.1:0'\n\
    [limits]\nwill_bytes_max = '60KiB'\n[store]\nsegment_bytes = '4MiB'\n\
    checkpoint_interval = '50ms'\ncache_bytes = '1MiB'\n";

fn will<'a>(topic: &'a str, payload: &'a [u8], delay: u32) -> Will<'a> {
    let (qos, properties) = (QoS::AtLeastOnce, Properties::EMPTY);
    Will { qos, retain: false, delay, expiry: None, topic, payload, properties }
}

fn with_will<'a>(version: Version, client_id: &'a str, payload: &'a [u8]) -> Connect<'a> {
    let will = will("will", payload, 3600);
    let session_expiry = 7200;
    Connect { will: Some(will), clean_start: false, session_expiry, ..connect(version, client_id) }
}

/// What CONNACK says.
fn answer(at: SocketAddr, connect: &Connect<'_>) -> (Client, Reason) {
    let mut client = Client::open(at, connect.version);
    client.send(&Packet::Connect(Box::new(connect.clone())));
    let reason = client.connack();
    (client, reason)
}

/// A figure of `$SYS`.
pub(crate) fn figure(at: SocketAddr, topic: &str) -> u64 {
    let mut client = Client::connect(at, Version::V5, "figures");
    client.subscribe(&[&format!("$SYS/broker/{topic}")], QoS::AtMostOnce);
    let (_, payload) = client.message();
    String::from_utf8(payload).expect("text").parse().expect("a number")
}

#[test]
fn a_will_as_large_as_the_limit_is_taken_and_no_larger_one() {
    let broker = crate::broker("[limits]\nwill_bytes_max = '1KiB'");
    let at = broker.address("tcp");
    for version in VERSIONS {
        let fits = with_will(version, "a", &[b'x'; 1020]);
        assert_eq!(answer(at, &fits).1, Reason::Success);
        let (mut client, reason) = answer(at, &with_will(version, "b", &[b'x'; 1021]));
        assert_eq!(reason, told(version, Reason::QuotaExceeded, Reason::ServerUnavailable));
        client.closed();
    }
    until(|| broker.log().contains("limits.will_bytes_max"));
}

#[test]
fn wills_left_behind_are_counted_and_large_ones_keep_no_small_one_out() {
    let broker = crate::broker("[totals]\nwill_bytes_max = '1MiB'");
    let at = broker.address("tcp");
    let (large, small) = (vec![b'x'; 50_000], [b'x'; 900]);
    let mut taken = 0;
    // Each client goes away, and its Will stays.
    while answer(at, &with_will(Version::V5, &format!("l{taken}"), &large)).1 == Reason::Success {
        taken += 1;
    }
    assert_eq!(taken, 10, "half a megabyte");
    assert_eq!(figure(at, "wills/count"), 10);
    assert!((500_000..510_000).contains(&figure(at, "wills/bytes")));
    for number in 0..100 {
        let name = format!("s{number}");
        let connect = with_will(Version::V311, &name, &small);
        assert_eq!(answer(at, &connect).1, Reason::Success);
    }
    // What is its own already it may leave again.
    for version in VERSIONS {
        let (client, reason) = answer(at, &with_will(version, "l3", &large));
        assert_eq!(reason, Reason::Success);
        client.goodbye();
        if version == VERSIONS[0] {
            continue;
        }
        // As soon as it has left, and the small ones too.
        until(|| figure(at, "wills/count") == 9);
    }
    until(|| broker.log().contains("totals.will_bytes_max"));
}

#[test]
fn wills_left_behind_take_disk_and_not_memory_and_are_published_whole() {
    let mut broker = Sluice::start(DURABLE);
    let at = broker.address("tcp");
    let payload = |number: usize| {
        let mut payload = vec![b'x'; 60_000];
        payload[..8].copy_from_slice(format!("{number:08}").as_bytes());
        payload
    };
    Client::connect(at, Version::V5, "first").goodbye();
    let before = broker.memory();
    for number in 0..1500 {
        let payload = payload(number);
        let (client, reason) = answer(at, &with_will(Version::V5, &format!("c{number}"), &payload));
        assert_eq!(reason, Reason::Success);
        drop(client);
    }
    let mut ear = Client::connect(at, Version::V5, "ear");
    ear.subscribe(&["will", "due"], QoS::AtMostOnce);
    let count = figure(at, "wills/count");
    assert_eq!(count, 1500);
    // As soon as all are parked.
    until(|| broker.memory() < before + 60 * MIB);
    let after = broker.memory();
    // A Clean Start ends the Session, and its Will comes.
    for number in [7, 1499] {
        Client::connect(at, Version::V5, &format!("c{number}")).goodbye();
        assert_eq!(ear.message().1, payload(number));
    }
    // One that comes back has another Will, and the old one is forgotten.
    let (client, _) = answer(at, &with_will(Version::V5, "c8", b"other"));
    client.goodbye();
    broker.kill_and_start_again();
    let at = broker.address("tcp");
    // That `c8` went in order may not have been durable yet.
    let left = figure(at, "wills/count");
    assert!((1497..=1498).contains(&left), "{left}");
    assert!(figure(at, "wills/bytes") > 1497 * 60_000);
    let mut ear = Client::connect(at, Version::V5, "ear");
    ear.subscribe(&["will", "due"], QoS::AtMostOnce);
    for number in [9, 250] {
        Client::connect(at, Version::V5, &format!("c{number}")).goodbye();
        assert_eq!(ear.message().1, payload(number));
    }
    // One that falls due.
    let long = payload(1_000);
    let due = Connect { will: Some(will("due", &long, 1)), ..with_will(Version::V5, "due", b"") };
    drop(answer(at, &due));
    assert_eq!(ear.message(), ("due".to_owned(), long));
    let memory = broker.memory();
    println!(
        "MiB: {} before, {} with 90 MB of Wills, {} after kill -9",
        before / MIB,
        after / MIB,
        memory / MIB
    );
    assert_eq!(figure(at, "wills/count"), left - 2);
}
