//! A PUBLISH from one link to others, no sockets: what the broker itself costs.

use std::hint::black_box;
use std::sync::Arc;
use std::task::Waker;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sluicemq::auth::{Gate, PermitAll};
use sluicemq::broker::turn::Turn;
use sluicemq::broker::{Broker, Link, PeerInfo, Ports};
use sluicemq::codec::{
    self, Connect, Packet, PacketId, Properties, Publish, QoS, Subscribe, SubscribeOptions, Version,
};
use sluicemq::config::Config;
use sluicemq::store::MemoryStore;
use sluicemq::time::Time;

const BATCH: usize = 64;
const TOPIC: &str = "fleet/17/device/4711/temp";

struct Bench {
    broker: Broker,
    turn: Turn,
    now: Time,
}

impl Bench {
    fn new() -> Bench {
        let ports = Ports {
            store: Arc::new(MemoryStore),
            authenticator: Arc::new(Gate::new(None)),
            access: Arc::new(PermitAll),
        };
        let now = Time::from_secs(1_700_000_000);
        let mut config = Config::default();
        config.queue.messages_max = 100_000;
        config.session.inflight_max = 1_000;
        let broker = Broker::new(&config, ports, 7, now);
        Bench { broker, turn: Turn::default(), now }
    }

    fn connect(&mut self, name: &str, version: Version) -> Link {
        let peer = PeerInfo {
            address: "bench".to_owned(),
            listener: Arc::from("bench"),
            anonymous: true,
            certificate: None,
            nonce: 1,
            refuse: None,
        };
        let mut link = Link::new(&self.broker, peer, self.now);
        let connect = Connect {
            version,
            clean_start: true,
            keep_alive: 0,
            client_id: name,
            session_expiry: 0,
            receive_maximum: std::num::NonZeroU16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user_properties: Properties::EMPTY,
            authentication_method: None,
            authentication_data: None,
            will: None,
            user_name: None,
            password: None,
        };
        self.offer(&mut link, &[Packet::Connect(Box::new(connect))], version);
        link
    }

    fn subscribe(&mut self, link: &mut Link, qos: QoS, version: Version) {
        let subscribe = Subscribe {
            packet_id: PacketId::MIN,
            subscription_id: None,
            user_properties: Properties::EMPTY,
            filters: vec![(TOPIC, SubscribeOptions { qos, ..SubscribeOptions::default() })],
        };
        self.offer(link, &[Packet::Subscribe(subscribe)], version);
    }

    fn offer(&mut self, link: &mut Link, packets: &[Packet<'_>], version: Version) {
        self.turn.out.clear();
        assert!(link.receive(&wire(packets, version), self.now, &mut self.turn) > 0);
        link.poll(Waker::noop(), self.now, 0, &mut self.turn);
        assert!(!self.turn.out.is_empty(), "the broker answered");
        self.turn.out.clear();
    }

    /// One read of 64 PUBLISHes, taken and encoded by every subscriber.
    fn round(&mut self, publisher: &mut Link, subscribers: &mut [Link], bytes: &[u8]) -> usize {
        self.turn.out.clear();
        publisher.receive(bytes, self.now, &mut self.turn);
        publisher.poll(Waker::noop(), self.now, 0, &mut self.turn);
        let mut written = 0;
        for link in subscribers {
            self.turn.out.clear();
            link.poll(Waker::noop(), self.now, 0, &mut self.turn);
            written += self.turn.out.len();
        }
        written
    }
}

fn wire(packets: &[Packet<'_>], version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    for packet in packets {
        codec::encode(packet, version, usize::MAX, &mut bytes).expect("it encodes");
    }
    bytes
}

fn publishes(qos: QoS, version: Version) -> Vec<u8> {
    let payload = [b'x'; 64];
    let packets: Vec<_> = (1..=BATCH as u16)
        .map(|id| {
            Packet::Publish(Publish {
                qos,
                topic: TOPIC,
                packet_id: PacketId::new(id).filter(|_| qos > QoS::AtMostOnce),
                payload: &payload,
                ..Publish::default()
            })
        })
        .collect();
    wire(&packets, version)
}

fn one_to_one(c: &mut Criterion) {
    let mut group = c.benchmark_group("link");
    for version in [Version::V311, Version::V5] {
        let mut bench = Bench::new();
        let mut publisher = bench.connect("p", version);
        let mut subscriber = bench.connect("s", version);
        bench.subscribe(&mut subscriber, QoS::AtMostOnce, version);
        let bytes = publishes(QoS::AtMostOnce, version);
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(format!("1 to 1, QoS 0, {version:?}, 64 a read"), |b| {
            b.iter(|| {
                let subscribers = std::slice::from_mut(&mut subscriber);
                let written = bench.round(&mut publisher, subscribers, black_box(&bytes));
                assert!(written > BATCH * 64);
            });
        });
    }
    let version = Version::V311;
    let mut bench = Bench::new();
    let mut publisher = bench.connect("p", version);
    let mut subscriber = bench.connect("s", version);
    bench.subscribe(&mut subscriber, QoS::AtLeastOnce, version);
    let bytes = publishes(QoS::AtLeastOnce, version);
    let mut next = 0u16;
    group.bench_function("1 to 1, QoS 1, V311, 64 a read, acknowledged", |b| {
        b.iter_batched(
            || (),
            |()| {
                let subscribers = std::slice::from_mut(&mut subscriber);
                let written = bench.round(&mut publisher, subscribers, black_box(&bytes));
                assert!(written > BATCH * 64);
                let mut acks = [0u8; BATCH * 4];
                for ack in acks.chunks_exact_mut(4) {
                    next = next.checked_add(1).unwrap_or(1);
                    ack.copy_from_slice(&[0x40, 2, (next >> 8) as u8, next as u8]);
                }
                bench.turn.out.clear();
                subscriber.receive(&acks, bench.now, &mut bench.turn);
                subscriber.poll(Waker::noop(), bench.now, 0, &mut bench.turn);
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("link");
    let version = Version::V311;
    let mut bench = Bench::new();
    let mut publisher = bench.connect("p", version);
    let mut subscribers: Vec<_> = (0..100)
        .map(|n| {
            let mut link = bench.connect(&format!("s{n}"), version);
            bench.subscribe(&mut link, QoS::AtMostOnce, version);
            link
        })
        .collect();
    let bytes = publishes(QoS::AtMostOnce, version);
    // A turn ends after 4,096 copies: so many PUBLISHes are taken in.
    let taken = sluicemq::broker::turn::COPIES_MAX.div_ceil(100).min(BATCH);
    group.throughput(Throughput::Elements(taken as u64 * 100));
    group.bench_function("1 to 100, QoS 0, V311", |b| {
        b.iter(|| bench.round(&mut publisher, &mut subscribers, black_box(&bytes)));
    });
    group.finish();
}

criterion_group!(benches, one_to_one, fan_out);
criterion_main!(benches);
