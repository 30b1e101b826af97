//! The codec: decode and encode of a PUBLISH with a topic of 25 bytes and a payload of 64.

use std::hint::black_box;
use std::num::NonZeroU16;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sluicemq::codec::property::put_user_property;
use sluicemq::codec::{
    DecodeLimits, Decoded, Packet, Properties, Publish, QoS, Sender, Version, decode, encode,
};

const TOPIC: &str = "factory/line7/sensor/temp";
const PAYLOAD: &[u8] = &[b'x'; 64];
/// Packets in one read buffer.
const BATCH: usize = 64;

fn benches(criterion: &mut Criterion) {
    assert_eq!(TOPIC.len(), 25);
    let mut block = vec![0x01, 1, 0x03, 0, 4];
    block.extend(b"json");
    put_user_property(&mut block, "unit", "celsius");
    let plain = Publish { topic: TOPIC, payload: PAYLOAD, ..Publish::default() };
    let id = NonZeroU16::new(7);
    let acked = Publish { qos: QoS::AtLeastOnce, packet_id: id, ..plain.clone() };
    let rich = Publish { properties: Properties::trusted(&block), ..acked.clone() };
    for (name, version, publish) in [
        ("v4 qos0", Version::V311, plain.clone()),
        ("v4 qos1", Version::V311, acked.clone()),
        ("v5 qos0", Version::V5, plain),
        ("v5 qos1", Version::V5, acked),
        ("v5 qos1 3 properties", Version::V5, rich),
    ] {
        measure(criterion, name, version, &Packet::Publish(publish));
    }
}

/// The yardstick: the same 3.1.1 PUBLISH through mqttbytes.
fn mqttbytes(criterion: &mut Criterion) {
    let publish = mqttbytes::v4::Publish::new(TOPIC, mqttbytes::QoS::AtMostOnce, PAYLOAD);
    let mut wire = BytesMut::new();
    for _ in 0..BATCH {
        publish.write(&mut wire).expect("it fits");
    }
    let mut group = criterion.benchmark_group("mqttbytes v4 qos0");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("decode", |bencher| {
        bencher.iter_batched_ref(
            || wire.clone(),
            |stream| {
                for _ in 0..BATCH {
                    black_box(mqttbytes::v4::read(stream, usize::MAX)).expect("a packet");
                }
            },
            BatchSize::SmallInput,
        );
    });
    let mut out = BytesMut::with_capacity(wire.len());
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            for _ in 0..BATCH {
                black_box(&publish).write(&mut out).expect("it fits");
            }
            black_box(&out);
        });
    });
    group.finish();
}

fn measure(criterion: &mut Criterion, name: &str, version: Version, packet: &Packet<'_>) {
    let mut wire = Vec::new();
    for _ in 0..BATCH {
        encode(packet, version, usize::MAX, &mut wire).expect("it fits");
    }
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let mut rest = black_box(&wire[..]);
            while !rest.is_empty() {
                let decoded = decode(rest, Some(version), Sender::Client, &DecodeLimits::NONE);
                let Ok(Decoded::Packet { len, .. }) = black_box(&decoded) else {
                    panic!("{decoded:?}");
                };
                rest = &rest[*len..];
            }
        });
    });
    let mut out = Vec::with_capacity(wire.len());
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            for _ in 0..BATCH {
                let written = encode(black_box(packet), version, usize::MAX, &mut out);
                assert!(written.is_ok());
            }
            black_box(&out);
        });
    });
    group.finish();
}

criterion_group!(codec, benches, mqttbytes);
criterion_main!(codec);
