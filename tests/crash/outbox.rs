//! A publisher that sends all of its messages again after each kill, and `[[dedup]]`, which takes each once.

use std::collections::BTreeMap;
use std::ops::Range;

use sluicemq::codec::{Connect, Packet, PacketId, QoS, Version};

use super::process::{BUSY_STORE, Sluice};
use super::random::Random;
use super::say;
use super::wire::{self, Client};

/// A publisher with an outbox: after each kill it sends all of it again, as a new client would, and what it
/// has acknowledged too.
#[test]
fn no_key_of_a_message_is_forgotten_and_no_message_lost_by_a_kill() {
    let rounds: u64 = std::env::var("CRASH").map_or(5, |rounds| rounds.parse().expect("a number"));
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut random = Random::new(seed);
    let rule = "[[dedup]]\nfilter = 'once/#'\nkey = 'payload'\nscope = 'topic'\nwindow = '1h'\n\
        [session]\nreceive_maximum = 65535\n";
    let mut broker = Sluice::start(&format!("{BUSY_STORE}{rule}"));
    let mut lasting = wire::connect(Version::V5, "reader");
    lasting.session_expiry = 3600;
    Client::connect_with(broker.address("tcp"), &lasting).subscribe(&["once/#"], QoS::AtLeastOnce);
    let (mut sent, mut before) = (0, 0);
    for round in 0..rounds {
        let mut publisher =
            Client::connect(broker.address("tcp"), Version::V5, &format!("p{round}"));
        sent += BURST;
        // The last that were answered, those that were not, and new ones.
        send_numbers(&mut publisher, before..sent);
        for _ in 0..random.below_u64(BURST) {
            assert!(!publisher.puback().is_error());
        }
        broker.kill_and_start_again();
        before = sent - BURST;
    }
    let mut publisher = Client::connect(broker.address("tcp"), Version::V5, "last");
    for first in (0..sent).step_by(BURST as usize) {
        send_numbers(&mut publisher, first..first + BURST);
        (0..BURST).for_each(|_| assert!(!publisher.puback().is_error()));
    }
    assert!(!publisher.publish("once/end", b"end").is_error());
    let lasting = Connect { clean_start: false, ..lasting };
    let came = numbers_up_to_end(Client::connect_with(broker.address("tcp"), &lasting));
    assert_eq!(came, (0..sent).map(|number| (number, 1)).collect(), "each once");
    say(&format!("crash: {rounds} rounds, SEED={seed}: {sent} messages with keys, each came once"));
}

/// Messages that are sent at once.
const BURST: u64 = 200;

/// Publishes these numbers.
fn send_numbers(publisher: &mut Client, numbers: Range<u64>) {
    for (packet_id, number) in (1..).zip(numbers) {
        let payload = number.to_string();
        let mut message = wire::message("once/t", payload.as_bytes());
        message.packet_id = PacketId::new(packet_id);
        publisher.send(&Packet::Publish(message));
    }
}

/// How often each number comes, up to the message that says that all have come.
fn numbers_up_to_end(mut reader: Client) -> BTreeMap<u64, u64> {
    let mut came = BTreeMap::new();
    loop {
        let (_, payload) = reader.message();
        if payload == b"end" {
            return came;
        }
        let number = std::str::from_utf8(&payload).ok().and_then(|text| text.parse().ok());
        *came.entry(number.expect("a number")).or_default() += 1;
    }
}
