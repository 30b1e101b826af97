//! Clients that are held up: their pings are answered, their order is kept, their end is noticed. On
//! links with virtual time here, through the connection task in `held/task.rs`.

#[path = "../src/random.rs"]
mod random;
#[path = "held/task.rs"]
mod task;
#[path = "held/unfinished.rs"]
mod unfinished;
mod virtual_time;
mod wire;

use std::time::Duration;

use random::Random;
use sluicemq::codec::{Connect, Packet, PacketId, Publish, QoS, Reason, Version};
use virtual_time::{Town, connect};
use wire::{VERSIONS, connect_with_will, encoded, message, subscribe};

const SECOND: Duration = Duration::from_secs(1);

/// Everybody may publish once a second.
const SLOW: &str = "limits = { client = { publishes_rate = 1, publishes_burst = 1 } }";

fn of_version(version: Version, client_id: &str) -> Connect<'_> {
    Connect { version, ..connect(client_id, true, 0) }
}

fn pongs(town: &mut Town, client: usize) -> usize {
    town.of(client).others.iter().filter(|name| *name == "PingResp").count()
}

fn payloads(town: &mut Town, client: usize) -> Vec<String> {
    town.of(client).got.iter().map(|got| got.payload.clone()).collect()
}

/// A subscriber, and a publisher: one of its PUBLISHes is handled and one waits.
fn held_up(version: Version, qos: QoS) -> (Town, usize, usize) {
    let mut town = Town::new(SLOW);
    let ear = town.client("ear");
    town.subscribe(ear, "t/#", QoS::AtMostOnce);
    let publisher = town.arrive(&Connect { keep_alive: 1, ..of_version(version, "p") }, "test");
    for number in 0..2 {
        town.publish(publisher, "t", &number.to_string(), qos);
    }
    assert_eq!(payloads(&mut town, ear), ["0"]);
    (town, ear, publisher)
}

// proves MQTT5-3.12.4-1 MQTT5-4.6.0-2
#[test]
fn a_ping_behind_a_packet_that_waits_is_answered_once_and_at_once() {
    for version in VERSIONS {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let (mut town, ear, publisher) = held_up(version, qos);
            for number in 1..=3 {
                town.send(publisher, &Packet::PingReq);
                assert_eq!(pongs(&mut town, publisher), number, "{version:?} {qos:?}");
            }
            // The last of two more is not whole yet.
            town.send_bytes(publisher, &[0xC0, 0, 0xC0]);
            assert_eq!(pongs(&mut town, publisher), 4);
            town.send_bytes(publisher, &[0]);
            assert_eq!(pongs(&mut town, publisher), 5);
            town.publish(publisher, "t", "2", qos);
            town.pass(SECOND * 3);
            assert_eq!(payloads(&mut town, ear), ["0", "1", "2"]);
            // Its turn has come, and it is not answered again.
            assert_eq!((town.of(publisher).held_back(), pongs(&mut town, publisher)), (0, 5));
            town.send(publisher, &Packet::PingReq);
            assert_eq!(pongs(&mut town, publisher), 6);
            let answers: Vec<_> =
                town.of(publisher).answers.iter().map(|(id, _)| id.get()).collect();
            let wanted: &[u16] = if qos == QoS::AtMostOnce { &[] } else { &[1, 2, 3] };
            assert_eq!(answers, wanted);
            assert!(!town.of(publisher).is_closed());
            // A ping in its turn is a sign of life, answered before or not.
            town.pass(SECOND);
            assert!(!town.of(publisher).is_closed());
            town.pass(SECOND);
            assert!(town.of(publisher).is_closed(), "Keep Alive counts again");
        }
    }
}

#[test]
fn what_is_behind_a_packet_that_waits_is_judged_in_its_turn() {
    // Packet type 0; PINGREQ with a body; the packet of a server; QoS 3; no end of a length; a topic
    // that is no UTF-8; a second CONNECT.
    let wrong: [&[u8]; 7] = [
        &[0, 0],
        &[0xC0, 1, 0],
        &[0xD0, 0],
        &[0x36, 2, 0, 0],
        &[0x30, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0x30, 4, 0, 2, 0xFF, 0xFF],
        &[0x10, 2, 0, 0],
    ];
    for version in VERSIONS {
        for bytes in wrong {
            let (mut town, ear, publisher) = held_up(version, QoS::AtLeastOnce);
            town.send(publisher, &Packet::PingReq);
            town.send_bytes(publisher, bytes);
            town.send(publisher, &Packet::PingReq);
            town.pass(SECOND / 2);
            assert!(!town.of(publisher).is_closed(), "{version:?} {bytes:?}");
            assert!(pongs(&mut town, publisher) >= 1);
            town.pass(SECOND);
            assert!(town.of(publisher).is_closed(), "{version:?} {bytes:?}");
            assert_eq!(payloads(&mut town, ear), ["0", "1"]);
            assert_eq!(town.of(publisher).answers.len(), 2);
            let told = town.of(publisher).told;
            let known = [Some(Reason::MalformedPacket), Some(Reason::ProtocolError)];
            assert!(
                version == Version::V311 && told.is_none() || known.contains(&told),
                "{told:?}"
            );
        }
    }
}

#[test]
fn disconnect_keeps_its_order_and_nothing_behind_it_is_answered() {
    for version in VERSIONS {
        let mut town = Town::new(SLOW);
        let ear = town.client("ear");
        town.subscribe(ear, "t/#", QoS::AtMostOnce);
        let connect = connect_with_will(version, "p", "t/will");
        let publisher = town.arrive(&connect, "test");
        for number in 0..3 {
            town.publish(publisher, "t", &number.to_string(), QoS::AtMostOnce);
        }
        town.send(publisher, &Packet::PingReq);
        town.send_bytes(publisher, &[0xE0, 0, 0xC0, 0]);
        assert_eq!(pongs(&mut town, publisher), 1);
        assert!(!town.of(publisher).is_closed());
        town.pass(SECOND * 3);
        assert!(town.of(publisher).is_closed());
        assert_eq!(payloads(&mut town, ear), ["0", "1", "2"], "and no Will");
        assert_eq!(pongs(&mut town, publisher), 1);
    }
}

#[test]
fn a_publisher_that_waits_for_a_receiver_has_its_pings_answered() {
    let mut town = Town::new(
        "queue = { messages_max = 10, pause_max = '10s' }
         session = { inflight_max = 1 }",
    );
    let ear = town.client("ear");
    town.subscribe(ear, "t", QoS::AtLeastOnce);
    town.of(ear).acknowledges = false;
    let publisher = town.client("p");
    for number in 0..9 {
        town.publish(publisher, "t", &number.to_string(), QoS::AtLeastOnce);
    }
    assert!(town.of(publisher).answers.len() < 9, "the receiver is above half full");
    town.send(publisher, &Packet::PingReq);
    assert_eq!(pongs(&mut town, publisher), 1);
    town.of(ear).acknowledges = true;
    town.of(ear).acknowledge(1);
    town.pass(SECOND);
    assert_eq!((town.of(ear).got.len(), town.of(publisher).answers.len()), (9, 9));
    assert_eq!(pongs(&mut town, publisher), 1);
}

#[test]
fn another_connection_takes_over_from_one_that_is_held_up() {
    for version in VERSIONS {
        let (mut town, ear, publisher) = held_up(version, QoS::AtMostOnce);
        town.send(publisher, &Packet::PingReq);
        let again = town.arrive(&of_version(version, "p"), "test");
        assert!(town.of(publisher).is_closed());
        let told = (version == Version::V5).then_some(Reason::SessionTakenOver);
        assert_eq!(town.of(publisher).told, told);
        town.send(again, &Packet::PingReq);
        assert_eq!(pongs(&mut town, again), 1);
        assert_eq!(payloads(&mut town, ear), ["0"]);
    }
}

/// Whatever is sent, in whatever pieces and pauses: every ping has its answer as soon as it is whole,
/// and one only; everything else is as if no ping had been there.
#[test]
fn pings_among_anything_are_answered_at_once_and_change_nothing() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let version = random.pick(&VERSIONS);
        let rate = 1 + random.below(20);
        let mut town = Town::new(&format!(
            "session = {{ receive_maximum = 1000, inflight_max = 1000 }}
             [limits]
             owed_max = 1000
             client = {{ publishes_rate = {rate}, publishes_burst = 2, subscribes_rate = 3, subscribes_burst = 1 }}"
        ));
        let ear = town.arrive(&of_version(Version::V5, "ear"), "test");
        town.subscribe(ear, "t", QoS::ExactlyOnce);
        let publisher = town.arrive(&of_version(version, "p"), "test");
        let (stream, pings, sent) = stream(&mut random, version);
        let mut at = 0;
        while at < stream.len() {
            let most = (stream.len() - at).min(900);
            let piece = 1 + random.below(most);
            town.send_bytes(publisher, &stream[at..at + piece]);
            at += piece;
            let whole = pings.iter().filter(|end| **end <= at).count();
            assert_eq!(pongs(&mut town, publisher), whole, "seed {seed}, {at} bytes");
            if random.percent(30) {
                town.pass(Duration::from_millis(1 + random.below(2_000) as u64));
            }
        }
        town.pass(SECOND * 100);
        assert_eq!(town.of(publisher).held_back(), 0, "seed {seed}");
        assert_eq!(pongs(&mut town, publisher), pings.len(), "seed {seed}");
        let payloads = payloads(&mut town, ear);
        assert!(payloads.iter().eq(sent.iter().map(|(payload, _)| payload)), "seed {seed}");
        let above = sent.iter().filter(|(_, qos)| *qos > QoS::AtMostOnce).count();
        assert_eq!(town.of(publisher).answers.len(), above, "seed {seed}");
    }
}

/// Packets of a client; where each PINGREQ among them ends; what is published.
fn stream(random: &mut Random, version: Version) -> (Vec<u8>, Vec<usize>, Vec<(String, QoS)>) {
    let (mut stream, mut pings, mut sent) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=1 + random.below(60) {
        match random.below(10) {
            0..4 => {
                stream.extend([0xC0, 0]);
                pings.push(stream.len());
            }
            4..9 => {
                // At QoS 2 the client would answer in the middle of a packet that it has begun.
                let qos = random.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce]);
                let payload = format!("{number:>0$}", 1 + random.below(300));
                let packet_id = PacketId::new(number as u16).filter(|_| qos > QoS::AtMostOnce);
                let publish = Publish { qos, packet_id, ..message("t", payload.as_bytes()) };
                stream.extend(encoded(&Packet::Publish(publish), version));
                sent.push((payload, qos));
            }
            _ => {
                let filter = format!("other/{number}");
                stream.extend(encoded(&subscribe(&[&filter], QoS::AtMostOnce), version));
            }
        }
    }
    (stream, pings, sent)
}
