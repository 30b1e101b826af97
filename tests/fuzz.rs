//! Random conversations into links: what the fuzzer does with `tools/fuzz`, a little of it in every
//! run, from a seed. The environment's `SEED` begins elsewhere.

#[path = "fuzz/links.rs"]
mod links;
#[path = "../src/random.rs"]
mod random;

use random::Random;
use sluicemq::codec::{DecodeLimits, Decoded, Sender, Version, decode};

/// Conversations in one run.
const ROUNDS: u64 = 2_000;

#[test]
fn random_conversations_break_nothing() {
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse::<u64>().expect("a number"));
    for round in 0..ROUNDS {
        let mut random = Random::new(seed.wrapping_add(round));
        let len = 2 + random.below(400);
        let data: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
        let played = std::panic::catch_unwind(|| links::play(&data));
        if let Err(panic) = played {
            eprintln!("SEED={} in round 0: {data:02x?}", seed.wrapping_add(round));
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn every_packet_played_is_one_that_a_client_may_send() {
    for packet in links::PACKETS {
        let whole = [Version::V311, Version::V5].into_iter().any(|version| {
            let decoded = decode(packet, Some(version), Sender::Client, &DecodeLimits::NONE);
            matches!(decoded, Ok(Decoded::Packet { len, .. }) if len == packet.len())
        });
        let connect = packet[0] == 0x10 && usize::from(packet[1]) + 2 == packet.len();
        assert!(whole || connect || packet == b"\xf0\0", "{packet:02x?}");
    }
}
