//! Limits of time and of what is owed, on links: no socket, and a clock that is told.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use sluicemq::auth::{PasswordAuth, PermitAll};
use sluicemq::broker::ports::{Batch, Progress, Receipt, Refused, Store};
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{Broker, Link, PeerInfo, Ports};
use sluicemq::codec::{Connect, Packet, PacketId, Publish, Version};
use sluicemq::config::Config;
use sluicemq::time::Time;

use crate::wire::{VERSIONS, connect, encoded, message};

const START: Time = Time::from_secs(1_000_000);

/// A store in which nothing ever becomes durable.
struct Never;

impl Store for Never {
    fn remembers(&self) -> bool {
        true
    }

    fn admit(&self, _bytes: usize) -> Result<(), Refused> {
        Ok(())
    }

    fn submit(&self, _batch: Batch) -> Receipt {
        Receipt(1)
    }

    fn state(&self, _receipt: Receipt, _waker: &Waker) -> Progress {
        Progress::Pending
    }
}

fn link() -> Link {
    let ports = Ports {
        store: Arc::new(Never),
        authenticator: Arc::new(PasswordAuth::new(None)),
        access: Arc::new(PermitAll),
    };
    let peer = PeerInfo {
        address: "127.0.0.1:1".to_owned(),
        anonymous: true,
        nonce: 1,
        ..PeerInfo::default()
    };
    Link::new(&Broker::new(&Config::default(), ports, 7, START), peer, START)
}

#[test]
fn a_connect_is_whole_within_ten_seconds_however_it_dribbles() {
    for version in VERSIONS {
        let bytes = encoded(&Packet::Connect(Box::new(connect(version, "a"))), version);
        let (mut link, mut turn) = (link(), Scratch::default());
        let waker = Waker::noop();
        for second in 0..10 {
            let now = START.after(Duration::from_secs(second));
            // Nothing is consumed before the packet is whole.
            assert_eq!(link.receive(&bytes[..=second as usize], now, &mut turn), 0);
            let flow = link.poll(waker, now, 0, &mut turn);
            assert!(flow.read && !flow.close, "after {second} s");
        }
        let end = START.after(Duration::from_secs(10));
        assert_eq!(link.deadline(), Some(end));
        assert!(link.poll(waker, end, 0, &mut turn).close);
        assert!(turn.out.is_empty(), "no packet before CONNACK");
    }
}

#[test]
fn at_64_owed_answers_an_old_client_waits_and_a_new_one_has_its_receive_maximum() {
    for version in VERSIONS {
        let (mut link, mut turn) = (link(), Scratch::default());
        let greeting = encoded(&Packet::Connect(Box::new(connect(version, "a"))), version);
        link.receive(&greeting, START, &mut turn);
        assert!(!link.poll(Waker::noop(), START, 0, &mut turn).close);
        turn.out.clear();

        // Retained: its answer waits for the store.
        let publish = |id| {
            let packet_id = PacketId::new(id);
            let publish = Publish { retain: true, packet_id, ..message("t", b"x") };
            encoded(&Packet::Publish(publish), version)
        };
        let packets: Vec<Vec<u8>> = (1..=65).map(publish).collect();
        let bytes = packets.concat();
        let used = link.receive(&bytes, START, &mut turn);
        let flow = link.poll(Waker::noop(), START, 0, &mut turn);
        if version == Version::V5 {
            assert_eq!(used, bytes.len());
            assert!(!flow.close && flow.read && turn.out.is_empty());
        } else {
            assert_eq!(used, bytes.len() - packets[64].len());
            assert!(!flow.close && !flow.read && turn.out.is_empty());
        }
    }
}

#[test]
fn an_old_client_that_waits_for_its_answers_is_not_silent_and_has_its_pings_answered() {
    let (mut link, mut turn) = (link(), Scratch::default());
    let greeting = Connect { keep_alive: 10, ..connect(Version::V311, "a") };
    link.receive(&encoded(&Packet::Connect(Box::new(greeting)), Version::V311), START, &mut turn);
    assert!(link.poll(Waker::noop(), START, 0, &mut turn).read);
    let mut stream = Vec::new();
    for id in 1..=65 {
        let publish = Publish { retain: true, packet_id: PacketId::new(id), ..message("t", b"x") };
        stream.extend(encoded(&Packet::Publish(publish), Version::V311));
    }
    stream.extend([0xC0, 0]);
    let used = link.receive(&stream, START, &mut turn);
    assert!(!link.poll(Waker::noop(), START, 0, &mut turn).read);
    turn.out.clear();
    assert!(link.look_ahead(&stream[used..], &mut turn));
    assert_eq!(turn.out, [0xD0, 0]);
    for minute in 1..10 {
        let now = START.after(Duration::from_secs(60 * minute));
        assert!(!link.poll(Waker::noop(), now, 0, &mut turn).close);
        assert!(link.deadline().is_some_and(|deadline| deadline > now));
    }
}

#[test]
fn a_link_that_is_held_up_has_read_so_much_ahead_at_most() {
    let (mut link, mut turn) = (link(), Scratch::default());
    assert_eq!(link.room_ahead(&[]), None, "nothing goes before CONNACK");
    let greeting = encoded(&Packet::Connect(Box::new(connect(Version::V5, "a"))), Version::V5);
    link.receive(&greeting, START, &mut turn);
    assert_eq!(link.room_ahead(&[]), None);
    link.poll(Waker::noop(), START, 0, &mut turn);
    assert!(!turn.out.is_empty());
    let room = |waiting: &[u8]| link.room_ahead(waiting).expect("it is in");
    let waiting = |payload: usize, behind: usize| {
        let mut bytes = encoded(&Packet::Publish(message("t", &vec![b'x'; payload])), Version::V5);
        bytes.extend([0xC0, 0].repeat(behind / 2));
        bytes
    };
    assert_eq!(room(&[]), 16 * 1024);
    for payload in [0, 100, 100_000] {
        for (behind, wanted) in [
            (0, 16 * 1024),
            (1_000, 16 * 1024 - 1_000),
            (8 * 1024 - 2, 8 * 1024 + 2),
            (8 * 1024, 0),
            (20 * 1024, 0),
        ] {
            assert_eq!(room(&waiting(payload, behind)), wanted, "{behind} behind {payload}");
        }
    }
    // A packet that is not whole is behind nothing.
    let cut = waiting(100_000, 0);
    assert_eq!(room(&cut[..8 * 1024 - 1]), 8 * 1024 + 1);
    assert_eq!(room(&cut[..cut.len() - 1]), 0);
}
