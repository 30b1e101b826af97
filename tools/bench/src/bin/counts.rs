//! One operation many times, for `tools/bench/check`, which counts the instructions.
//!
//! `counts` lists the operations. `counts NAME ROUNDS` carries one out and says how often it was
//! done. Run under a counter with two numbers of rounds; the difference knows no set-up.

use std::hint::black_box;
use std::num::NonZeroU16;
use std::process::ExitCode;

use sluice_bench::access::Publisher;
use sluice_bench::links::{BATCH, Links, TOPIC, publishes};
use sluice_bench::names;
use sluicemq::codec::property::put_user_property;
use sluicemq::codec::{
    DecodeLimits, Decoded, Packet, Properties, Publish, QoS, Sender, Version, decode, encode,
};
use sluicemq::config::{Binding, NamedQueue};
use sluicemq::topic::TopicName;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => {
            for (name, _) in OPERATIONS {
                println!("{name}");
            }
            return ExitCode::SUCCESS;
        }
        [wanted, rounds] => {
            let operation = OPERATIONS.iter().find(|(name, _)| *name == wanted);
            if let (Some((_, prepare)), Ok(rounds)) = (operation, rounds.parse()) {
                let mut round = prepare();
                println!("{}", (0..rounds).map(|_: u32| round()).sum::<usize>());
                // What the end takes depends on what the rounds have left to the allocator.
                std::mem::forget(round);
                return ExitCode::SUCCESS;
            }
        }
        _ => {}
    }
    eprintln!("counts: no such operation; usage: counts [NAME ROUNDS]");
    ExitCode::from(2)
}

/// Does it some times, and says how many.
type Round = Box<dyn FnMut() -> usize>;

/// A name, and what makes it ready to be done.
type Operation = (&'static str, fn() -> Round);

const OPERATIONS: &[Operation] = &[
    ("decode-publish-3.1.1-qos0", || decoding(Version::V311, &publish(QoS::AtMostOnce, &[]))),
    ("decode-publish-5-qos0", || decoding(Version::V5, &publish(QoS::AtMostOnce, &[]))),
    ("decode-publish-5-qos1-properties", || {
        decoding(Version::V5, &publish(QoS::AtLeastOnce, &three_properties()))
    }),
    ("encode-publish-3.1.1-qos0", || encoding(Version::V311, publish(QoS::AtMostOnce, &[]))),
    ("encode-publish-5-qos0", || encoding(Version::V5, publish(QoS::AtMostOnce, &[]))),
    ("encode-publish-5-qos1-properties", || {
        let block = Box::leak(three_properties().into_boxed_slice());
        encoding(Version::V5, publish(QoS::AtLeastOnce, block))
    }),
    ("match-100k-exact", || matching(names::exact(), 1)),
    ("match-100k-plus", || matching(names::plus(), 1)),
    ("match-100k-rest", || matching(names::rest(), 1)),
    ("match-100k-nobody", || matching(names::nobody(), 0)),
    ("subscribe-unsubscribe-100k", subscribing),
    ("link-3.1.1-qos0", || one_to_one(Version::V311, QoS::AtMostOnce, BATCH)),
    ("link-3.1.1-qos1", || one_to_one(Version::V311, QoS::AtLeastOnce, BATCH)),
    ("link-5-qos0", || one_to_one(Version::V5, QoS::AtMostOnce, BATCH)),
    ("link-5-qos1", || one_to_one(Version::V5, QoS::AtLeastOnce, BATCH)),
    ("link-3.1.1-qos0-one-a-read", || one_to_one(Version::V311, QoS::AtMostOnce, 1)),
    ("link-3.1.1-qos1-one-a-read", || one_to_one(Version::V311, QoS::AtLeastOnce, 1)),
    ("fan-out-100-qos0", || fan_out(QoS::AtMostOnce)),
    ("fan-out-100-qos1", || fan_out(QoS::AtLeastOnce)),
    ("group-4-qos1", || sharing("$share/jobs/fleet/17/device/4711/temp", 0)),
    ("queue-4-qos1", || sharing("$queue/jobs0", 1)),
    ("queue-4-qos1-of-100-queues", || sharing("$queue/jobs0", 100)),
    ("group-4-qos1-beside-100-queues", || sharing("$share/jobs/fleet/17/device/4711/temp", 100)),
    ("access-100-rules", || asking(Publisher::of_new_topics())),
    ("access-known-topic", || asking(Publisher::of_one_topic())),
    ("access-no-rules", || asking(Publisher::without_rules())),
    ("connect-subscribe-hang-up-3.1.1", || connecting(Version::V311)),
    ("connect-subscribe-hang-up-5", || connecting(Version::V5)),
];

fn publish(qos: QoS, block: &[u8]) -> Packet<'_> {
    Packet::Publish(Publish {
        qos,
        topic: "factory/line7/sensor/temp",
        packet_id: NonZeroU16::new(7).filter(|_| qos > QoS::AtMostOnce),
        properties: Properties::trusted(block),
        payload: &[b'x'; 64],
        ..Publish::default()
    })
}

fn three_properties() -> Vec<u8> {
    let mut block = vec![0x01, 1, 0x03, 0, 4];
    block.extend(b"json");
    put_user_property(&mut block, "unit", "celsius");
    block
}

fn decoding(version: Version, packet: &Packet<'_>) -> Round {
    let mut wire = Vec::new();
    for _ in 0..BATCH {
        encode(packet, version, usize::MAX, &mut wire).expect("it is well-formed");
    }
    Box::new(move || {
        let mut rest = black_box(&wire[..]);
        let mut count = 0;
        while !rest.is_empty() {
            let decoded = decode(rest, Some(version), Sender::Client, &DecodeLimits::NONE);
            let Ok(Decoded::Packet { len, .. }) = black_box(&decoded) else {
                panic!("{decoded:?}");
            };
            rest = &rest[*len..];
            count += 1;
        }
        count
    })
}

fn encoding(version: Version, packet: Packet<'static>) -> Round {
    let mut out = Vec::new();
    Box::new(move || {
        out.clear();
        for _ in 0..BATCH {
            encode(black_box(&packet), version, usize::MAX, &mut out).expect("it is well-formed");
        }
        black_box(&out);
        BATCH
    })
}

fn matching(names: Vec<String>, each: usize) -> Round {
    let tree = names::hundred_thousand();
    let mut at = 0;
    Box::new(move || {
        let mut found = 0;
        for _ in 0..BATCH {
            at = (at + 7919) % names.len();
            tree.visit(TopicName::trusted(black_box(&names[at])), &mut |key, _| {
                black_box(key);
                found += 1;
            });
        }
        assert_eq!(found, each * BATCH);
        BATCH
    })
}

fn subscribing() -> Round {
    let mut tree = names::hundred_thousand();
    let filters: Vec<_> = names::nobody().into_iter().step_by(97).collect();
    let mut at = 0;
    Box::new(move || {
        for _ in 0..BATCH {
            at = (at + 1) % filters.len();
            tree.insert(black_box(&filters[at]), 1, 0);
            tree.remove(black_box(&filters[at]), 1);
        }
        BATCH
    })
}

fn one_to_one(version: Version, qos: QoS, batch: usize) -> Round {
    let mut links = Links::new();
    let mut publisher = links.connect("p", version);
    let mut subscriber = links.subscriber("s", qos, version);
    let bytes = publishes(batch, qos, version);
    Box::new(move || {
        links.publish(&mut publisher, black_box(&bytes));
        assert!(links.deliver(&mut subscriber) > batch * 64);
        if qos > QoS::AtMostOnce {
            links.acknowledge(&mut subscriber, batch);
        }
        batch
    })
}

/// Counted by copies delivered.
fn fan_out(qos: QoS) -> Round {
    const TAKEN: usize = 32;
    let mut links = Links::new();
    let mut publisher = links.connect("p", Version::V311);
    let mut subscribers: Vec<_> =
        (0..100).map(|n| links.subscriber(&format!("s{n}"), qos, Version::V311)).collect();
    let bytes = publishes(TAKEN, qos, Version::V311);
    Box::new(move || {
        links.publish(&mut publisher, black_box(&bytes));
        for subscriber in &mut subscribers {
            assert!(links.deliver(subscriber) > TAKEN * 64);
            if qos > QoS::AtMostOnce {
                links.acknowledge(subscriber, TAKEN);
            }
        }
        TAKEN * subscribers.len()
    })
}

/// Four consumers of a group or a named queue, beside `queues` named queues: the first collects what is
/// published if it is consumed.
fn sharing(filter: &str, queues: usize) -> Round {
    const SIZE: usize = 5 + TOPIC.len() + 2 + 64;
    let binding = |queue: usize| match queue {
        0 if filter.starts_with("$queue/") => TOPIC.to_owned(),
        queue => format!("fleet/17/+/x{queue}/#"),
    };
    let queues = (0..queues).map(|queue| NamedQueue {
        name: format!("jobs{queue}"),
        bindings: vec![Binding::All(binding(queue))],
        ..NamedQueue::default()
    });
    let (version, qos) = (Version::V5, QoS::AtLeastOnce);
    let mut links = Links::with_queues(queues.collect());
    let mut publisher = links.connect("p", version);
    let mut consumers: Vec<_> =
        (0..4).map(|n| links.subscriber_to(filter, &format!("c{n}"), qos, version)).collect();
    let bytes = publishes(BATCH, qos, version);
    Box::new(move || {
        links.publish(&mut publisher, black_box(&bytes));
        let mut left = BATCH;
        while left > 0 {
            let before = left;
            for consumer in &mut consumers {
                let mut count = links.deliver(consumer) / SIZE;
                while count > 0 {
                    left -= count;
                    count = links.acknowledge(consumer, count) / SIZE;
                }
            }
            assert!(left < before, "a consumer takes what waits");
        }
        BATCH
    })
}

fn asking(mut publisher: Publisher) -> Round {
    Box::new(move || (0..BATCH).filter(|_| black_box(publisher.ask())).count())
}

fn connecting(version: Version) -> Round {
    let mut links = Links::new();
    Box::new(move || {
        let mut subscriber = links.subscriber("s", QoS::AtLeastOnce, version);
        links.hang_up(&mut subscriber.link);
        1
    })
}
