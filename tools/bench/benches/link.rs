//! A PUBLISH from one link to others, no sockets: what the broker itself costs.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sluice_bench::links::{BATCH, Links, publishes};
use sluicemq::codec::{QoS, Version};

fn one_to_one(c: &mut Criterion) {
    let mut group = c.benchmark_group("link");
    group.throughput(Throughput::Elements(BATCH as u64));
    for version in [Version::V311, Version::V5] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let mut links = Links::new();
            let mut publisher = links.connect("p", version);
            let mut subscriber = links.subscriber("s", qos, version);
            let bytes = publishes(BATCH, qos, version);
            group.bench_function(format!("1 to 1, {qos:?}, {version:?}, 64 a read"), |b| {
                b.iter(|| {
                    links.publish(&mut publisher, black_box(&bytes));
                    assert!(links.deliver(&mut subscriber) > BATCH * 64);
                    if qos > QoS::AtMostOnce {
                        links.acknowledge(&mut subscriber, BATCH);
                    }
                });
            });
        }
    }
    group.finish();
}

fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("link");
    let version = Version::V311;
    let mut links = Links::new();
    let mut publisher = links.connect("p", version);
    let mut subscribers: Vec<_> =
        (0..100).map(|n| links.subscriber(&format!("s{n}"), QoS::AtMostOnce, version)).collect();
    // A turn ends after 4,096 copies: so many PUBLISHes are taken in.
    let taken = sluicemq::broker::turn::COPIES_MAX.div_ceil(100).min(BATCH);
    let bytes = publishes(taken, QoS::AtMostOnce, version);
    group.throughput(Throughput::Elements(taken as u64 * 100));
    group.bench_function("1 to 100, QoS 0, V311", |b| {
        b.iter(|| {
            links.publish(&mut publisher, black_box(&bytes));
            for subscriber in &mut subscribers {
                assert!(links.deliver(subscriber) > taken * 64);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, one_to_one, fan_out);
criterion_main!(benches);
