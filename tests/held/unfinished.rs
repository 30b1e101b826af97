//! What connections hold that is in no queue: packets that do not come whole, bytes that no client takes.

use std::num::NonZeroU16;
use std::time::Duration;

use sluicemq::broker::metrics::Counter;
use sluicemq::codec::{Connect, Packet, Publish, QoS, Reason, Version};

use crate::task::{Client, run, settle};
use crate::wire::{VERSIONS, connect, connect_with_will, decoded, encoded, message, subscribe};

const SECOND: Duration = Duration::from_secs(1);
/// A packet is to come within ten seconds, or at 4 KiB in ten seconds.
const TIMEOUT: &str = "limits = { packet_timeout = '10s' }";
/// Little room for all.
const NARROW: &str = "limits = { packet_bytes_max = '64KiB', packet_timeout = '1h' }
     totals = { connection_bytes_max = '256KiB' }";

fn large(version: Version, len: usize) -> Vec<u8> {
    let payload = vec![b'x'; len];
    let publish = Publish { qos: QoS::AtMostOnce, packet_id: None, ..message("u", &payload) };
    encoded(&Packet::Publish(publish), version)
}

/// The Reason Code of its DISCONNECT, if there is one.
async fn told(client: &mut Client, version: Version) -> Option<Reason> {
    let packet = client.read().await.pop()?;
    match decoded(&packet, version) {
        Packet::Disconnect(disconnect) => Some(disconnect.reason),
        other => panic!("{other:?}"),
    }
}

fn by_version(version: Version, reason: Reason) -> Option<Reason> {
    (version == Version::V5).then_some(reason)
}

#[test]
fn a_packet_that_stops_half_way_ends_its_connection_and_the_will_comes() {
    run(TIMEOUT, async |house| {
        for version in VERSIONS {
            for len in [1, 3, 1_000, 40_000] {
                let mut ear = house.ear().await;
                let connect =
                    Connect { keep_alive: 0, ..connect_with_will(version, "p", "t/will") };
                let mut client = house.client(&connect).await;
                client.write(&large(version, 50_000)[..len]).await;
                tokio::time::sleep(SECOND * 9).await;
                assert!(!client.task.is_finished());
                assert!(ear.payloads().await.is_empty());
                tokio::time::sleep(SECOND * 2).await;
                assert_eq!(ear.payloads().await, ["gone"], "{version:?} {len}");
                let wanted = by_version(version, Reason::KeepAliveTimeout);
                assert_eq!(told(&mut client, version).await, wanted);
                tokio::time::sleep(SECOND * 2).await;
                assert!(client.task.is_finished());
            }
        }
        assert_eq!(house.broker().metrics().sum(Counter::PacketsLate), 8);
        assert_eq!(house.broker().buffers().bytes(), 0);
    });
}

// proves MQTT5-3.1.2-22
#[test]
fn a_packet_that_keeps_coming_is_waited_for_whatever_the_keep_alive() {
    run(TIMEOUT, async |house| {
        for version in VERSIONS {
            let connect = Connect { keep_alive: 2, ..connect(version, "p") };
            let mut client = house.client(&connect).await;
            let packet = large(version, 60_000);
            let before = house.broker().metrics().sum(Counter::Received);
            // 4 KiB in less than three seconds, and the whole in more than thirty.
            for piece in packet.chunks(1_500) {
                client.write(piece).await;
                tokio::time::sleep(SECOND).await;
                assert!(!client.task.is_finished());
            }
            assert_eq!(house.broker().metrics().sum(Counter::Received), before + 1);
            // From then on it is silent.
            tokio::time::sleep(SECOND * 5).await;
            assert!(client.task.is_finished());
        }
        assert_eq!(house.broker().metrics().sum(Counter::PacketsLate), 0);
    });
}

#[test]
fn a_packet_that_comes_too_slowly_is_not_waited_for() {
    run(TIMEOUT, async |house| {
        let mut client = house.client(&connect(Version::V311, "p")).await;
        let packet = large(Version::V311, 50_000);
        client.write(&packet[..40_000]).await;
        for piece in packet[40_000..].chunks(100) {
            if client.task.is_finished() {
                return;
            }
            client.write(piece).await;
            tokio::time::sleep(SECOND).await;
        }
        panic!("a quarter of the pace is enough");
    });
}

#[test]
fn where_all_hold_too_much_those_that_stand_still_are_closed_and_the_others_are_served() {
    run(NARROW, async |house| {
        let mut ear = house.client(&connect(Version::V5, "ear")).await;
        ear.write(&encoded(&subscribe(&["u"], QoS::AtMostOnce), Version::V5)).await;
        settle().await;
        ear.read().await;
        let mut still = Vec::new();
        for (number, name) in NAMES.iter().enumerate() {
            let connect = Connect { keep_alive: 0, ..connect(Version::V5, name) };
            let mut client = house.client(&connect).await;
            client.write(&large(Version::V5, 60_000)[..50_000]).await;
            still.push(client);
            tokio::time::sleep(SECOND).await;
            assert!(house.broker().buffers().bytes() <= 512 * 1024, "{number}");
        }
        // A client that comes now with a large packet waits for a moment at most.
        for version in VERSIONS {
            let mut client = house.client(&connect(version, "healthy")).await;
            for _ in 0..5 {
                for piece in large(version, 60_000).chunks(9_000) {
                    client.write(piece).await;
                    tokio::time::sleep(SECOND / 10).await;
                }
                tokio::time::sleep(SECOND * 3).await;
                assert_eq!(ear.payloads().await.len(), 1);
            }
        }
        tokio::time::sleep(SECOND * 5).await;
        let closed = still.iter().take_while(|client| client.task.is_finished()).count();
        let count = still.iter().filter(|client| client.task.is_finished()).count();
        // The longest still went first.
        assert_eq!(closed, count);
        assert!((10..20).contains(&count), "{count}");
        for client in &mut still[..closed] {
            assert_eq!(told(client, Version::V5).await, Some(Reason::QuotaExceeded));
        }
        assert_eq!(house.broker().metrics().sum(Counter::RoomMade), count as u64);
        drop(still);
        settle().await;
        assert_eq!(house.broker().buffers().bytes(), 0);
    });
}

#[test]
fn a_packet_that_is_served_in_parts_is_held_until_it_is_answered() {
    run("", async |house| {
        for version in VERSIONS {
            let filters: Vec<String> = (10_000..70_000).map(|n| n.to_string()).collect();
            let texts: Vec<&str> = filters.iter().map(String::as_str).collect();
            let packet = encoded(&subscribe(&texts, QoS::AtMostOnce), version);
            let received = || house.broker().metrics().sum(Counter::PacketsReceived);
            let before = received();
            let mut client = house.client(&connect(version, "s")).await;
            client.write(&packet).await;
            let mut most = 0;
            for _ in 0..1_000 {
                if received() == before + 2 {
                    most = most.max(house.broker().buffers().bytes());
                }
                tokio::task::yield_now().await;
            }
            assert!(most >= packet.len() as u64 / 2, "{version:?} {most}");
            client.read().await;
            settle().await;
            assert_eq!(house.broker().buffers().bytes(), 0);
        }
    });
}

/// Sixteen aliases of 1,000 bytes each, as the client at `name` sets them.
fn aliases(name: &str) -> Vec<u8> {
    let set = |alias| {
        let topic = format!("{name}/{alias}/{}", "x".repeat(1_000));
        let topic_alias = NonZeroU16::new(alias);
        let publish = Publish { qos: QoS::AtMostOnce, packet_id: None, ..message(&topic, b"") };
        encoded(&Packet::Publish(Publish { topic_alias, ..publish }), Version::V5)
    };
    (1..=16).flat_map(set).collect()
}

#[test]
fn aliases_are_held_and_their_clients_are_closed_when_all_hold_too_much() {
    run(NARROW, async |house| {
        let mut clients = Vec::new();
        for name in &NAMES {
            let mut client = house.client(&connect(Version::V5, name)).await;
            client.write(&aliases(name)).await;
            settle().await;
            clients.push(client);
            // An eighth more than they may, and what one client brings.
            assert!(house.broker().buffers().bytes() <= (288 + 20) * 1024);
        }
        let closed = house.broker().metrics().sum(Counter::RoomMade);
        assert!((1..10).contains(&closed), "{closed}");
        drop(clients);
        settle().await;
        assert_eq!(house.broker().buffers().bytes(), 0);
    });
}

/// Half of a CONNECT of 60 kB on each connection: no more of them than there is room for.
#[test]
fn unfinished_connects_are_closed_at_once_when_all_hold_too_much() {
    run(NARROW, async |house| {
        let password = vec![b'x'; 60_000];
        let bytes = Connect { password: Some(&password), ..connect(Version::V5, "c") };
        let bytes = encoded(&Packet::Connect(Box::new(bytes)), Version::V5);
        let mut clients = Vec::new();
        for _ in &NAMES {
            let mut client = house.dial(Version::V5);
            client.write(&bytes[..40_000]).await;
            settle().await;
            clients.push(client);
            assert!(house.broker().buffers().bytes() <= (288 + 44) * 1024);
        }
        let closed = house.broker().metrics().sum(Counter::RoomMade);
        assert!((10..20).contains(&closed), "{closed}");
        drop(clients);
        // One that waits for room looks again in a while.
        tokio::time::sleep(SECOND).await;
        assert_eq!(house.broker().buffers().bytes(), 0);
    });
}

/// What the pipe of a client holds is not the broker's.
#[test]
fn readers_that_take_little_are_closed_when_all_hold_too_much() {
    run(NARROW, async |house| {
        let mut readers = Vec::new();
        for name in &NAMES {
            let mut reader =
                house.client(&Connect { keep_alive: 0, ..connect(Version::V5, name) }).await;
            reader.write(&encoded(&subscribe(&["u"], QoS::AtMostOnce), Version::V5)).await;
            readers.push(reader);
        }
        let mut sender = house.client(&connect(Version::V5, "sender")).await;
        for second in 0..60 {
            sender.write(&large(Version::V5, 60_000)).await;
            tokio::time::sleep(SECOND / 2).await;
            assert!(!sender.task.is_finished());
            assert!(house.broker().buffers().bytes() <= 20 * 128 * 1024, "{second}");
        }
        assert!(house.broker().buffers().bytes() <= 256 * 1024);
        let closed = house.broker().metrics().sum(Counter::RoomMade);
        assert!((10..20).contains(&closed), "{closed}");
    });
}

const NAMES: [&str; 20] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s",
    "t",
];
