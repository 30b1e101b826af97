//! Random conversations into links: what the fuzzer does with `tools/fuzz`, a little of it in every
//! run, from a seed. The environment's `SEED` begins elsewhere.

#[path = "fuzz/links.rs"]
mod links;

use sluicemq::codec::{DecodeLimits, Decoded, Sender, Version, decode};

/// Conversations in one run.
const ROUNDS: u64 = 2_000;

#[test]
fn random_conversations_break_nothing() {
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse::<u64>().expect("a number"));
    for round in 0..ROUNDS {
        let mut random = Random(seed.wrapping_add(round).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let len = 2 + random.next() as usize % 400;
        let data: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
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

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    }
}
