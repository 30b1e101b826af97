//! Rates on the real process: what comes faster than it may waits, is refused or is the end.

use std::time::{Duration, Instant};

use sluicemq::codec::{Packet, PacketId, Publish, QoS, Reason, Version};

use crate::told;
use crate::wire::{Client, VERSIONS, connect, encoded, message};

/// The client `fast` is limited; other clients are not.
fn broker(ingress: &str) -> crate::process::Sluice {
    crate::broker(&format!(
        "[[class]]\nname = 'fast'\nclient_id = 'fast'\ningress = {{ {ingress} }}"
    ))
}

/// Numbered PUBLISHes, in one piece.
fn burst(version: Version, count: u16, qos: QoS) -> Vec<u8> {
    let number = |number: u16| {
        let payload = number.to_string();
        let packet_id = PacketId::new(number).filter(|_| qos > QoS::AtMostOnce);
        let publish = Publish { qos, packet_id, ..message("t", payload.as_bytes()) };
        encoded(&Packet::Publish(publish), version)
    };
    (1..=count).flat_map(number).collect()
}

/// What the broker says of what its limits did.
fn figure(at: std::net::SocketAddr, name: &str) -> u64 {
    let mut watcher = Client::connect(at, Version::V5, "watcher");
    watcher.subscribe(&[&format!("$SYS/broker/ingress/{name}")], QoS::AtMostOnce);
    String::from_utf8(watcher.message().1).unwrap().parse().unwrap()
}

#[test]
fn who_may_wait_waits_and_nothing_is_lost() {
    let broker = broker("publishes_rate = 50, publishes_burst = 10");
    let at = broker.address("tcp");
    for version in VERSIONS {
        let mut ear = Client::connect(at, version, "ear");
        ear.subscribe(&["t"], QoS::AtLeastOnce);
        let begun = Instant::now();
        let mut fast = Client::connect(at, version, "fast");
        fast.send_bytes(&burst(version, 60, QoS::AtLeastOnce));
        for number in 1..=60 {
            assert_eq!(ear.message().1, number.to_string().into_bytes());
            assert_eq!(fast.puback(), Reason::Success);
        }
        // Fifty beyond the burst take a second, whatever the machine does.
        assert!(begun.elapsed() >= Duration::from_millis(980), "{:?}", begun.elapsed());
        fast.ping();
        fast.goodbye();
    }
    assert!(figure(at, "pauses") > 0);
}

#[test]
fn who_can_be_told_is_refused() {
    let broker = broker("publishes_rate = 1, publishes_burst = 5, action = 'reject'");
    let at = broker.address("tcp");
    let mut fast = Client::connect(at, Version::V5, "fast");
    let mut ear = Client::connect(at, Version::V5, "ear");
    ear.subscribe(&["t"], QoS::AtLeastOnce);
    let mut accepted = 0;
    while fast.publish("t", b"x") != Reason::QuotaExceeded {
        accepted += 1;
    }
    assert!(accepted >= 5);
    for _ in 0..accepted {
        ear.message();
    }
    fast.ping();
    assert!(figure(at, "refused") > 0);
    // QoS 0 goes without a word, and is counted.
    fast.send_bytes(&burst(Version::V5, 200, QoS::AtMostOnce));
    fast.ping();
    assert!(figure(at, "dropped") > 0);
}

#[test]
fn an_older_client_waits_where_a_newer_one_is_refused() {
    let broker = broker("publishes_rate = 50, publishes_burst = 5, action = 'reject'");
    let mut fast = Client::connect(broker.address("tcp"), Version::V311, "fast");
    fast.send_bytes(&burst(Version::V311, 40, QoS::AtLeastOnce));
    for _ in 0..40 {
        assert_eq!(fast.puback(), Reason::Success);
    }
    assert!(figure(broker.address("tcp"), "pauses") > 0);
}

#[test]
fn who_is_too_fast_is_disconnected_and_told_so() {
    let broker = broker("publishes_rate = 1, publishes_burst = 5, action = 'disconnect'");
    let at = broker.address("tcp");
    for version in VERSIONS {
        let mut other = Client::connect(at, version, "other");
        let mut fast = Client::connect(at, version, "fast");
        fast.send_bytes(&burst(version, 200, QoS::AtMostOnce));
        fast.closed_by(Reason::MessageRateTooHigh);
        other.ping();
    }
    assert_eq!(figure(at, "disconnects"), 2);
}

#[test]
fn a_client_identifier_comes_so_often_and_no_more() {
    let broker = crate::broker("[limits]\nconnects_rate = 1");
    let at = broker.address("tcp");
    for version in VERSIONS {
        let refused = loop {
            let mut client = Client::open(at, version);
            client.send(&Packet::Connect(Box::new(connect(version, "often"))));
            match client.connack() {
                Reason::Success => {}
                refused => break refused,
            }
        };
        let wanted = told(version, Reason::ConnectionRateExceeded, Reason::ServerUnavailable);
        assert_eq!(refused, wanted);
        Client::connect(at, version, &format!("seldom-{version:?}")).ping();
    }
}

#[test]
fn everybody_shares_the_way_out() {
    let broker = crate::broker(
        "[queue]\nmessages_max = 20_000\n[broker]\negress = { messages_rate = 100, messages_burst = 1 }",
    );
    let at = broker.address("tcp");
    for version in VERSIONS {
        let mut ears: Vec<_> = (0..4)
            .map(|n| {
                let mut ear = Client::connect(at, version, &format!("ear-{n}"));
                ear.subscribe(&["t"], QoS::AtLeastOnce);
                ear
            })
            .collect();
        let begun = Instant::now();
        let mut publisher = Client::connect(at, version, "publisher");
        publisher.send_bytes(&burst(version, 30, QoS::AtLeastOnce));
        for number in 1..=30 {
            for ear in &mut ears {
                assert_eq!(ear.message().1, number.to_string().into_bytes());
            }
        }
        // A hundred and twenty leave, one at once; of the rest a few may make up for late timers.
        assert!(begun.elapsed() >= Duration::from_millis(1_150), "{:?}", begun.elapsed());
        ears.into_iter().for_each(Client::goodbye);
    }
}
