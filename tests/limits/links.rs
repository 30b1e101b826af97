//! Limits of time and of what is owed, on links: no socket, and a clock that is told.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use sluicemq::auth::{Gate, PermitAll};
use sluicemq::broker::ports::{Batch, Durability, Permit, Receipt, Refused, Store};
use sluicemq::broker::turn::Turn;
use sluicemq::broker::{Broker, Link, PeerInfo, Ports};
use sluicemq::codec::{Packet, PacketId, Publish, Version};
use sluicemq::config::Config;
use sluicemq::time::Time;

use crate::wire::{VERSIONS, connect, encoded, message};

const START: Time = Time::from_secs(1_000_000);

/// A store whose promises are never kept.
struct Never;

impl Store for Never {
    fn remembers(&self) -> bool {
        true
    }

    fn admit(&self, bytes: usize) -> Result<Permit, Refused> {
        Ok(Permit::new(bytes))
    }

    fn submit(&self, _permit: Permit, _batch: Batch) -> Receipt {
        Receipt(1)
    }

    fn state(&self, _receipt: Receipt, _waker: &Waker) -> Durability {
        Durability::Pending
    }
}

fn link() -> Link {
    let ports = Ports {
        store: Arc::new(Never),
        authenticator: Arc::new(Gate::new(None)),
        access: Arc::new(PermitAll),
    };
    let peer = PeerInfo {
        address: "127.0.0.1:1".to_owned(),
        listener: Arc::from("test"),
        anonymous: true,
        certificate: None,
        nonce: 1,
        refuse: None,
    };
    Link::new(&Broker::new(&Config::default(), ports, 7, START), peer, START)
}

#[test]
fn a_connect_is_whole_within_ten_seconds_however_it_dribbles() {
    for version in VERSIONS {
        let bytes = encoded(&Packet::Connect(Box::new(connect(version, "a"))), version);
        let (mut link, mut turn) = (link(), Turn::default());
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
fn at_64_owed_answers_an_old_client_waits_and_a_new_one_is_closed() {
    for version in VERSIONS {
        let (mut link, mut turn) = (link(), Turn::default());
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
            assert!(flow.close);
            assert_eq!(turn.out, [0xE0, 2, 0x93, 0]); // Receive Maximum exceeded.
        } else {
            assert_eq!(used, bytes.len() - packets[64].len());
            assert!(!flow.close && !flow.read && turn.out.is_empty());
        }
    }
}
