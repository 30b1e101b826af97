//! Work on the real process: dear PUBLISHes of one client do not keep others waiting.

use std::thread;
use std::time::Instant;

use sluicemq::codec::{Packet, QoS, Version};

use crate::wire::{Client, encoded, message};

/// Levels that are `a` or `+`.
const DEPTH: usize = 12;

#[test]
fn a_healthy_client_is_served_between_the_dear_publishes_of_another() {
    // One worker: no other one serves the healthy client.
    let broker = crate::broker("[broker]\nworkers = 1");
    let at = broker.address("tcp");
    let mut ear = Client::connect(at, Version::V311, "ear");
    let filter = |number: usize| {
        let level = |bit| if number >> bit & 1 == 0 { "a/" } else { "+/" };
        (0..DEPTH).map(level).collect::<String>() + "+"
    };
    let filters: Vec<String> = (0..1 << DEPTH).map(filter).collect();
    for some in filters.chunks(100) {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        ear.subscribe(&some, QoS::AtMostOnce);
    }
    let mut healthy = Client::connect(at, Version::V311, "healthy");
    let mut greedy = Client::connect(at, Version::V311, "greedy");
    let dear = |number: usize| {
        let topic = "a/".repeat(DEPTH) + &number.to_string();
        encoded(&Packet::Publish(message(&topic, b"x")), Version::V311)
    };
    let bytes: Vec<u8> = (0..2000).flat_map(dear).collect();
    let handled = thread::spawn(move || {
        greedy.send_bytes(&bytes);
        greedy.ping();
        Instant::now()
    });
    // They are being handled.
    ear.message();
    healthy.ping();
    let served = Instant::now();
    assert!(served < handled.join().unwrap(), "it waited for all of them");
}
