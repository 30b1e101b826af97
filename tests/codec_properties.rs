//! What holds for every packet, tried on many from a seed. Set `SEED` to repeat a run.

mod arbitrary;

use arbitrary::{Random, VERSIONS, frame_len, spoken};
use sluicemq::codec::{
    DecodeLimits, Decoded, EncodeError, Glance, Packet, Properties, Publish, Reason, Sender,
    Version, decode, encode, glance,
};

const SENDERS: [Sender; 2] = [Sender::Client, Sender::Server];

/// A generator that says its seed if the test fails.
fn random() -> (Random, impl Drop) {
    struct Say(u64);
    impl Drop for Say {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("SEED={}", self.0);
            }
        }
    }
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2026);
    (Random::new(seed), Say(seed))
}

/// `count` random packets of every version and sender, with their bytes.
fn each(
    count: usize,
    mut check: impl FnMut(&mut Random, Packet<'static>, Version, Sender, Vec<u8>),
) {
    let (mut random, _say) = random();
    for version in VERSIONS {
        for from in SENDERS {
            for _ in 0..count {
                let packet = random.packet(version, from);
                let mut bytes = Vec::new();
                let written = encode(&packet, version, usize::MAX, &mut bytes);
                assert_eq!(written, Ok(bytes.len()), "{packet:?}");
                check(&mut random, packet, version, from, bytes);
            }
        }
    }
}

/// Subscription Identifiers are written from the field and read from the block.
fn comparable(packet: Packet<'_>) -> (Packet<'_>, Vec<u32>, Vec<u8>) {
    let Packet::Publish(publish) = packet else {
        return (packet, Vec::new(), Vec::new());
    };
    let mut ids = publish.subscription_ids.to_vec();
    ids.extend(publish.properties.subscription_ids());
    let mut forwarded = Vec::new();
    publish.properties.forwarded(&mut forwarded);
    assert_eq!(forwarded.len(), publish.properties.forwarded_len());
    let bare = Publish { subscription_ids: &[], properties: Properties::EMPTY, ..publish };
    (Packet::Publish(bare), ids, forwarded)
}

#[test]
fn what_is_written_is_read_back() {
    each(8_000, |_, packet, version, from, bytes| {
        let decoded = decode(&bytes, spoken(&packet, version), from, &DecodeLimits::NONE);
        let Ok(Decoded::Packet { packet: read, len }) = decoded else {
            panic!("{packet:?} as {bytes:02x?} gives {decoded:?}");
        };
        assert_eq!(len, bytes.len());
        assert_eq!(comparable(read), comparable(packet), "{bytes:02x?}");
    });
}

#[test]
fn every_prefix_needs_more() {
    each(300, |_, packet, version, from, bytes| {
        for end in 0..bytes.len() {
            let decoded =
                decode(&bytes[..end], spoken(&packet, version), from, &DecodeLimits::NONE);
            let Ok(Decoded::Need(need)) = decoded else {
                panic!("{packet:?}: {end} of {bytes:02x?} give {decoded:?}");
            };
            assert!(need > end && need <= bytes.len(), "{need} for {end} of {bytes:02x?}");
        }
    });
}

#[test]
fn a_complete_frame_is_a_packet_or_an_error_and_never_a_panic() {
    let tight = DecodeLimits {
        packet_max: 200,
        properties_max: 40,
        user_properties_max: 1,
        filters_at_once: 2,
    };
    each(30_000, |random, packet, version, from, mut bytes| {
        random.mutate(&mut bytes);
        for version in [spoken(&packet, version), Some(version), None] {
            for limits in [DecodeLimits::NONE, tight] {
                let decoded = decode(&bytes, version, from, &limits);
                let need = matches!(decoded, Ok(Decoded::Need(_)));
                let whole = frame_len(&bytes).is_some();
                assert!(!(need && whole), "{bytes:02x?} gives {decoded:?}");
            }
        }
    });
}

#[test]
fn noise_never_panics() {
    let (mut random, _say) = random();
    for _ in 0..200_000 {
        let bytes: Vec<u8> = (0..random.below(40)).map(|_| random.next() as u8).collect();
        let version = random.pick(&[None, Some(Version::V311), Some(Version::V5)]);
        let from = random.pick(&SENDERS);
        let decoded = decode(&bytes, version, from, &DecodeLimits::NONE);
        let need = matches!(decoded, Ok(Decoded::Need(_)));
        assert!(!(need && frame_len(&bytes).is_some()), "{bytes:02x?} gives {decoded:?}");
    }
}

#[test]
fn the_receivers_maximum_holds_and_an_error_leaves_the_buffer_alone() {
    each(3_000, |random, packet, version, from, bytes| {
        let max = random.below(bytes.len() + 2);
        let mut out = vec![0xEE; 3];
        match encode(&packet, version, max, &mut out) {
            Ok(len) => {
                assert!(len <= max && out.len() == 3 + len);
                let spoken = spoken(&packet, version);
                let decoded = decode(&out[3..], spoken, from, &DecodeLimits::NONE);
                assert!(matches!(decoded, Ok(Decoded::Packet { .. })), "{decoded:?}");
            }
            Err(EncodeError::TooLarge { len, max: said }) => {
                assert!(len > max && said == max && out == [0xEE; 3]);
            }
            Err(error) => panic!("{error}"),
        }
    });
}

#[test]
fn a_packet_above_the_limit_is_refused_before_its_body_is_there() {
    each(300, |_, packet, version, from, bytes| {
        let limits = DecodeLimits { packet_max: bytes.len() - 1, ..DecodeLimits::NONE };
        let header = bytes.len() - frame_body(&bytes);
        let decoded = decode(&bytes[..header], spoken(&packet, version), from, &limits);
        assert_eq!(decoded.map_err(|error| error.reason()), Err(Reason::PacketTooLarge));
    });
}

fn frame_body(bytes: &[u8]) -> usize {
    let end = bytes[1..].iter().position(|byte| *byte < 0x80).expect("a length");
    bytes.len() - (end + 2)
}

/// At a glance a packet is what a decoder finds, and as long; what it does not find is not there.
#[test]
fn a_glance_sees_what_the_decoder_finds() {
    let (mut random, _say) = random();
    for version in VERSIONS {
        for _ in 0..20_000 {
            let packet = random.packet(version, Sender::Client);
            let mut bytes = Vec::new();
            encode(&packet, version, usize::MAX, &mut bytes).expect("it encodes");
            match random.below(4) {
                0 => bytes.truncate(random.below(bytes.len() + 1)),
                1 => {
                    let at = random.below(bytes.len().min(6));
                    bytes[at] = random.next() as u8;
                }
                2 => bytes.extend([0xC0, 0x80, 0, 0xE0]),
                _ => {}
            }
            let packet_max = random.pick(&[10, 500, usize::MAX]);
            let limits = DecodeLimits { packet_max, ..DecodeLimits::NONE };
            let seen = glance(&bytes, Some(version), packet_max);
            match (decode(&bytes, Some(version), Sender::Client, &limits), seen) {
                (Ok(Decoded::Packet { packet, len }), Some((glance, seen))) => {
                    let wanted = match packet {
                        Packet::PingReq => Glance::PingReq,
                        Packet::Disconnect(_) => Glance::Disconnect,
                        _ => Glance::Other,
                    };
                    assert_eq!((glance, seen), (wanted, len), "{bytes:02x?}");
                }
                (Ok(Decoded::Packet { .. }), None) => panic!("not seen: {bytes:02x?}"),
                (Ok(Decoded::Need(_)), seen) => assert_eq!(seen, None, "{bytes:02x?}"),
                // A body is judged in its turn, a PINGREQ has none.
                (Err(_), seen) => {
                    assert!(
                        seen.is_none_or(|(glance, _)| glance != Glance::PingReq),
                        "{bytes:02x?}"
                    );
                }
            }
        }
    }
}
