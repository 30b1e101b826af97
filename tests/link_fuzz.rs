//! Random bytes and random packets into a link: never a panic, bounded memory, and an end at what
//! is malformed. `SEED=n` runs one seed.

#[path = "arbitrary/mod.rs"]
mod arbitrary;

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use arbitrary::{Random, VERSIONS};
use sluicemq::auth::{PasswordAuth, PermitAll};
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{Broker, Link, PeerInfo, Ports};
use sluicemq::codec::{Connect, Packet, Sender, Version, encode};
use sluicemq::config::{Config, Size};
use sluicemq::store::MemoryStore;
use sluicemq::time::Time;

const ROUNDS: u64 = 60_000;
/// Unread bytes of one link's output; it takes nothing more beyond 64 KiB, but what
/// one turn answers comes on top.
const OUT_MAX: usize = 512 * 1024;

/// More than the broker has topics of its own.
const SYS: usize = 256;

struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {0}; again: SEED={0} cargo test --test link_fuzz", self.0);
        }
    }
}

fn seeds() -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (0..ROUNDS).collect(),
    }
}

fn broker() -> Broker {
    let mut config = Config::default();
    config.queue.messages_max = 20;
    config.queue.bytes_max = Size::kib(64);
    config.totals.queued_bytes_max = Size::kib(256);
    config.totals.retained_max = 10;
    let ports = Ports {
        store: Arc::new(MemoryStore),
        authenticator: Arc::new(PasswordAuth::new(None)),
        access: Arc::new(PermitAll),
    };
    Broker::new(&config, ports, 7, Time::from_secs(1_000))
}

fn link(broker: &Broker, now: Time) -> Link {
    let peer =
        PeerInfo { address: String::new(), anonymous: true, nonce: 3, ..PeerInfo::default() };
    Link::new(broker, peer, now)
}

fn connect(version: Version, bytes: &mut Vec<u8>) {
    let connect =
        Connect { version, client_id: "fuzz", topic_alias_maximum: 3, ..Connect::default() };
    encode(&Packet::Connect(Box::new(connect)), version, usize::MAX, bytes).expect("it fits");
}

/// Feeds `bytes` in random pieces; returns what was not consumed.
fn feed(
    link: &mut Link,
    bytes: &[u8],
    random: &mut Random,
    turn: &mut Scratch,
    now: Time,
) -> usize {
    let (mut from, mut to) = (0, 0);
    let mut idle = 0;
    while !link.is_closed() && idle < 4 {
        if to < bytes.len() {
            to += 1 + random.below((bytes.len() - to).min(400));
        } else {
            idle += 1;
        }
        from += link.receive(&bytes[from..to], now, turn);
        // Pauses are over after their maximum.
        let later = now.after(Duration::from_millis(60));
        link.poll(Waker::noop(), later, 0, turn);
        assert!(turn.out.len() <= OUT_MAX, "{} bytes at once", turn.out.len());
        turn.out.clear();
    }
    bytes.len() - from
}

/// Everything is gone with the link.
fn over(broker: &Broker, mut link: Link, turn: &mut Scratch, now: Time) {
    link.hang_up(now, turn);
    broker.tick(now.after(Duration::from_secs(1_000_000)), turn);
    let view = broker.view();
    assert!(view.message_bytes <= 256 * 1024, "{view:?}");
    assert!(view.retained.0 <= 10 + SYS, "{view:?}");
    turn.out.clear();
}

#[test]
fn random_packets_never_break_a_link() {
    let broker = broker();
    let mut turn = Scratch::default();
    for seed in seeds() {
        let _seed = Seed(seed);
        let mut random = Random::new(seed);
        let now = Time::from_secs(1_000 + seed);
        let version = random.pick(&VERSIONS);
        let mut bytes = Vec::new();
        if random.below(8) > 0 {
            connect(version, &mut bytes);
        }
        for _ in 0..random.below(20) {
            let packet = random.packet(version, Sender::Client);
            let is_end = matches!(packet, Packet::Connect(_) | Packet::Disconnect(_));
            if is_end && random.below(10) > 0 {
                continue;
            }
            let _ = encode(&packet, version, usize::MAX, &mut bytes);
        }
        if random.chance() {
            random.mutate(&mut bytes);
        }
        let mut link = link(&broker, now);
        feed(&mut link, &bytes, &mut random, &mut turn, now);
        over(&broker, link, &mut turn, now);
    }
}

#[test]
fn random_bytes_never_break_a_link() {
    let broker = broker();
    let mut turn = Scratch::default();
    let mut closed = 0;
    for seed in seeds() {
        let _seed = Seed(seed);
        let mut random = Random::new(seed ^ 0xB17E5);
        let now = Time::from_secs(1_000 + seed);
        let mut bytes = Vec::new();
        if random.chance() {
            connect(random.pick(&VERSIONS), &mut bytes);
        }
        let noise = 1 + random.below(300);
        bytes.extend((0..noise).map(|_| random.next() as u8));
        let mut link = link(&broker, now);
        feed(&mut link, &bytes, &mut random, &mut turn, now);
        closed += u64::from(link.is_closed());
        over(&broker, link, &mut turn, now);
    }
    // A link that is still open waits for the rest of a packet.
    assert!(closed * 2 > seeds().len() as u64, "{closed} closed");
}

#[test]
fn what_is_malformed_ends_the_connection() {
    let broker = broker();
    let mut turn = Scratch::default();
    let now = Time::from_secs(1_000);
    let malformed: [&[u8]; 5] = [
        &[0x00, 0x00],                         // packet type 0
        &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], // a length of five bytes
        &[0x82, 0x02, 0x00, 0x00],             // packet identifier zero
        &[0x36, 0x03, 0x00, 0x01, b'a'],       // QoS 3
        &[0x62, 0x00],                         // PUBREL of nothing
    ];
    for version in VERSIONS {
        for bytes in malformed {
            let mut input = Vec::new();
            connect(version, &mut input);
            let mut link = link(&broker, now);
            feed(&mut link, &input, &mut Random::new(1), &mut turn, now);
            assert!(!link.is_closed());
            feed(&mut link, bytes, &mut Random::new(1), &mut turn, now);
            assert!(link.is_closed(), "{version:?} {bytes:?}");
        }
    }
}
