//! Limits over all clients, on the real process: Sessions, Subscriptions, groups, bytes.

use sluicemq::codec::{Connect, Packet, Publish, QoS, Reason, Version};

use super::{broker, told};
use crate::wire::{Client, VERSIONS, connect, message};

#[test]
fn the_broker_holds_so_many_sessions_and_existing_ones_go_on() {
    let broker = broker("[totals]\nsessions_max = 2");
    let at = broker.address("tcp");
    for version in VERSIONS {
        let mut live = Client::connect(at, version, "live");
        let lasting = Connect {
            clean_start: false,
            session_expiry: told(version, 60, u32::MAX),
            ..connect(version, "parked")
        };
        Client::connect_with(at, &lasting).goodbye();
        let mut third = Client::open(at, version);
        third.send(&Packet::Connect(Box::new(connect(version, "third"))));
        let refused = told(version, Reason::QuotaExceeded, Reason::ServerUnavailable);
        assert_eq!(third.connack(), refused);
        third.closed();
        live.ping();
        Client::connect_with(at, &lasting).goodbye();
        // Its Session ends, and makes room.
        Client::connect(at, version, "parked").goodbye();
        Client::connect(at, version, "third").goodbye();
        live.goodbye();
    }
}

#[test]
fn the_broker_holds_so_many_subscriptions_over_all() {
    let broker = broker("[limits]\nsubscriptions_max = 3\n[totals]\nsubscriptions_max = 3");
    let at = broker.address("tcp");
    for version in VERSIONS {
        let mut one = Client::connect(at, version, "one");
        let mut two = Client::connect(at, version, "two");
        assert_eq!(one.subscribe(&["a", "b"], QoS::AtMostOnce), [Reason::Success; 2]);
        let full = told(version, Reason::QuotaExceeded, Reason::UnspecifiedError);
        assert_eq!(two.subscribe(&["a", "b"], QoS::AtMostOnce), [Reason::Success, full]);
        assert_eq!(one.subscribe(&["a"], QoS::AtMostOnce), [Reason::Success]);
        assert_eq!(two.publish("b", b""), Reason::Success);
        assert_eq!(one.message().0, "b");
        one.goodbye();
        assert_eq!(two.subscribe(&["b"], QoS::AtMostOnce), [Reason::Success]);
        two.goodbye();
    }
}

#[test]
fn the_broker_holds_so_many_groups() {
    let broker = broker("[totals]\ngroups_max = 1");
    let at = broker.address("tcp");
    for version in VERSIONS {
        let mut client = Client::connect(at, version, "a");
        let full = told(version, Reason::QuotaExceeded, Reason::UnspecifiedError);
        let two = ["$share/g/t", "$share/h/t"];
        assert_eq!(client.subscribe(&two, QoS::AtMostOnce), [Reason::Success, full]);
        assert_eq!(client.subscribe(&["$share/h/t"], QoS::AtMostOnce), [full]);
        assert_eq!(client.subscribe(&["$share/g/t"], QoS::AtMostOnce), [Reason::Success]);
        // Another member is no other group.
        let mut other = Client::connect(at, version, "b");
        assert_eq!(other.subscribe(&["$share/g/t"], QoS::AtMostOnce), [Reason::Success]);
        other.goodbye();
        client.goodbye();
    }
}

#[test]
fn the_broker_retains_so_many_messages_and_bytes() {
    let small = "[limits]\npacket_bytes_max = '1KiB'\nconnect_bytes_max = '1KiB'\n\
                 properties_bytes_max = '1KiB'\n[totals]\naddress_share = 100\n";
    for (limit, payload) in [("retained_max = 2", 1), ("retained_bytes_max = '1KiB'", 300)] {
        for version in VERSIONS {
            let broker = broker(&format!("{small}{limit}"));
            let mut client = Client::connect(broker.address("tcp"), version, "a");
            let mut retain = |topic: &str, len: usize| {
                let payload = vec![b'x'; len];
                let publish = Publish { retain: true, ..message(topic, &payload) };
                client.send(&Packet::Publish(publish));
                client.puback()
            };
            let full = told(version, Reason::QuotaExceeded, Reason::Success);
            let done = told(version, Reason::NoMatchingSubscribers, Reason::Success);
            assert_eq!(retain("one", payload), done);
            assert_eq!(retain("two", payload), done);
            assert_eq!(retain("three", payload), full);
            // In the place of another it needs no more room.
            assert_eq!(retain("two", payload), done);
            assert_eq!(retain("one", 0), done);
            assert_eq!(retain("three", payload), done);
            client.subscribe(&["#"], QoS::AtMostOnce);
            let mut kept = [client.message().0, client.message().0];
            kept.sort();
            assert_eq!(kept, ["three", "two"]);
            client.ping();
        }
    }
}

#[test]
fn what_the_broker_says_of_itself_takes_no_room_from_what_clients_retain() {
    let broker = broker("[totals]\nretained_max = 2");
    let at = broker.address("tcp");
    let mut watcher = Client::connect(at, Version::V5, "watcher");
    watcher.subscribe(&["$SYS/#"], QoS::AtMostOnce);
    for _ in 0..10 {
        assert!(watcher.message().0.starts_with("$SYS/broker/"));
    }
    let mut client = Client::connect(at, Version::V5, "a");
    for (topic, code) in [
        ("one", Reason::NoMatchingSubscribers),
        ("two", Reason::NoMatchingSubscribers),
        ("three", Reason::QuotaExceeded),
    ] {
        let publish = Publish { retain: true, ..message(topic, b"x") };
        client.send(&Packet::Publish(publish));
        assert_eq!(client.puback(), code);
    }
}

#[test]
fn the_broker_queues_so_many_bytes_over_all() {
    let broker = broker(
        "[limits]\npacket_bytes_max = '1KiB'\nconnect_bytes_max = '1KiB'\n\
         properties_bytes_max = '1KiB'\n\
         [queue]\nbytes_max = '1KiB'\n[totals]\nqueued_bytes_max = '1KiB'",
    );
    let at = broker.address("tcp");
    for version in VERSIONS {
        for client_id in ["one", "two"] {
            let lasting = Connect {
                clean_start: false,
                session_expiry: told(version, 60, u32::MAX),
                ..connect(version, client_id)
            };
            let mut client = Client::connect_with(at, &lasting);
            client.subscribe(&[client_id], QoS::AtLeastOnce);
            client.goodbye();
        }
        let mut publisher = Client::connect(at, version, "p");
        assert_eq!(publisher.publish("one", &[b'x'; 500]), Reason::Success);
        // It would fit into the queue of "two", not into memory beside the other.
        let full = told(version, Reason::QuotaExceeded, Reason::Success);
        assert_eq!(publisher.publish("two", &[b'x'; 500]), full);
        for client_id in ["one", "two"] {
            Client::connect(at, version, client_id).goodbye();
        }
        let mut two = Client::connect(at, version, "two");
        two.subscribe(&["two"], QoS::AtLeastOnce);
        assert_eq!(publisher.publish("two", &[b'x'; 500]), Reason::Success);
        assert_eq!(two.message().1.len(), 500);
        two.ping();
        two.goodbye();
    }
}
