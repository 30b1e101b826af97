//! Writes a report on invented runs, to look at how reports look:
//! `cargo run -p sluice-load --example report -- FOLDER`.

#[path = "../../../src/random.rs"]
mod random;

use std::path::PathBuf;

use random::Random;
use sluice_load::outcome::{
    BrokerUse, Connections, Latency, Outcome, Sample, Smoothness, Traffic, Verification,
};
use sluice_load::report::html::page;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".to_owned()));
    let pair = invented("pair", "127.0.0.1:1883", 1.0, 30.0);
    let slower = invented("pair", "mosquitto.example:1883", 2.6, 30.0);
    let faulty = faulty();
    let fanout = fanout();
    let idle = idle();
    let write = |name: &str, runs: &[Outcome]| std::fs::write(folder.join(name), page(runs));
    write("report.html", std::slice::from_ref(&pair))?;
    write("report-faulty.html", std::slice::from_ref(&faulty))?;
    write("report-idle.html", std::slice::from_ref(&idle))?;
    let rounds = [pair.clone(), slower.clone(), pair.clone(), slower.clone(), pair.clone(), slower];
    write("report-compared.html", &rounds)?;
    write("report-plan.html", &[pair, fanout, idle, faulty])
}

/// A run of `seconds` on a broker that is `slow` times as slow.
fn invented(scenario: &str, target: &str, slow: f64, seconds: f64) -> Outcome {
    let mut random = Random::new(7);
    let mut timeline = Vec::new();
    let rate = 480_000.0 / slow;
    let windows = (seconds * 10.0) as u32;
    for window in 1..=windows {
        let at_s = f64::from(window) / 10.0;
        let eager = (at_s / 1.5).min(1.0);
        let wobble = 1.0 + 0.04 * (at_s * 1.3).sin() + 0.05 * (random.unit() - 0.5);
        // Something on the machine disturbs it once.
        let disturbed = (at_s > 17.0 && at_s < 17.6) as u32 as f64;
        let messages = (rate / 10.0 * eager * wobble * (1.0 - 0.55 * disturbed)) as u64;
        let running = window <= windows - 5;
        let messages = if running { messages } else { 0 };
        let p50 = 85.0 * slow * (0.9 + 0.2 * random.unit()) * (1.0 + 4.0 * disturbed);
        let p99 = p50 * (4.0 + 2.0 * random.unit()) * (1.0 + 3.0 * disturbed);
        let arrived = f64::from(u8::from(messages > 0));
        timeline.push(Sample {
            at_s,
            measured: at_s > 3.0 && running,
            published: messages,
            delivered: messages - messages / 90 * u64::from(window % 7 == 0),
            connections: (at_s * 100.0).min(100.0) as u64,
            p50_us: p50 * arrived,
            p99_us: p99 * arrived,
            max_us: p99 * (2.0 + 6.0 * random.unit()) * arrived,
            broker_cores: 0.98 * eager * wobble * arrived,
            broker_resident: 11_500_000 + (6_000_000.0 * (1.0 - (-at_s / 8.0).exp())) as u64,
            ..Sample::default()
        });
    }
    let measured = timeline.iter().filter(|sample| sample.measured);
    let published: u64 = measured.map(|sample| sample.published).sum();
    let latency = invented_latency(85.0 * slow, published);
    Outcome {
        scenario: scenario.to_owned(),
        target: target.to_owned(),
        settings: [
            ("Protocol", "5"),
            ("QoS", "0"),
            ("Payload", "64 B"),
            ("Publishers", "50"),
            ("Subscribers", "50"),
            ("Pace", "closed loop, window 100"),
            ("Warm-up", "3 s"),
            ("Topics", "load/{pub}"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec(),
        started_unix_ms: 1_793_802_725_000,
        seconds: seconds - 3.5,
        drain_seconds: 0.112,
        traffic: Traffic {
            published,
            expected: published,
            delivered: published,
            payload_bytes: (published * 64, published * 64),
            publish_rate: published as f64 / (seconds - 3.5),
            delivery_rate: published as f64 / (seconds - 3.4),
            ..Traffic::default()
        },
        latency,
        connections: Connections {
            wanted: 100,
            opened: 100,
            connect: invented_latency(240.0, 100),
            open_rate: 8400.0,
            ..Connections::default()
        },
        own_cpu_seconds: 9.4,
        broker: Some(BrokerUse {
            pid: 4711,
            cpu_seconds: 25.8,
            cpu_us_per_message: 0.52 * slow,
            resident_before: 9_100_000,
            resident_max: 17_400_000,
            resident_after: 15_200_000,
            bytes_per_connection: 1120.0 * slow,
            switches_per_message: 0.0123,
        }),
        timeline,
        ..Outcome::default()
    }
}

fn faulty() -> Outcome {
    let mut outcome = invented("shape", "broker.local:8883", 1.4, 12.0);
    outcome.settings[1].1 = "1".to_owned();
    outcome.verification = Verification {
        lost: 3,
        duplicates: 14,
        duplicates_allowed: 13,
        reordered: 1,
        corrupt: 1,
        examples: [
            "lost: publisher 7, numbers 10,442 to 10,444, topic load/7",
            "arrived again: publisher 12, number 881, topic load/12, subscriber 3",
            "out of order: publisher 3, number 5,120 behind 5,121, topic load/3",
            "corrupt: checksum of a message of 64 bytes on topic load/9",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..Verification::default()
    };
    outcome.connections.lost = 13;
    outcome.connections.may_be_lost = true;
    outcome.traffic.refused = 72;
    outcome.traffic.acknowledged = outcome.traffic.published - 72;
    outcome.acknowledgement = invented_latency(310.0, outcome.traffic.published);
    outcome.smoothness = Some(Smoothness {
        window_ms: 100,
        windows: 118,
        messages: (912, 1000.4, 1131),
        variation: 0.034,
        bytes_max: 72_384,
    });
    for sample in &mut outcome.timeline[50..56] {
        sample.drops = 12;
        sample.connections = 87;
        sample.disconnects = u64::from(sample.at_s < 5.15) * 13;
    }
    outcome
}

fn fanout() -> Outcome {
    let mut outcome = invented("fanout", "127.0.0.1:1883", 1.2, 40.0);
    for sample in &mut outcome.timeline {
        sample.published /= 1000;
    }
    outcome.traffic.published /= 1000;
    outcome.traffic.publish_rate /= 1000.0;
    outcome
}

fn idle() -> Outcome {
    let connections = |at_s: f64| (at_s * 3300.0).min(18_000.0) as u64;
    let sample = |window: u32| {
        let at_s = f64::from(window) / 10.0;
        Sample {
            at_s,
            measured: at_s > 6.0,
            connections: connections(at_s),
            broker_cores: if at_s < 5.5 { 0.31 } else { 0.002 },
            broker_resident: 9_100_000 + connections(at_s) * 1120,
            ..Sample::default()
        }
    };
    Outcome {
        scenario: "idle".to_owned(),
        target: "127.0.0.1:1883".to_owned(),
        settings: vec![("Connections".to_owned(), "18,000".to_owned())],
        started_unix_ms: 1_793_802_790_000,
        seconds: 20.0,
        connections: Connections {
            wanted: 18_000,
            opened: 18_000,
            connect: invented_latency(410.0, 18_000),
            open_rate: 3300.0,
            ..Connections::default()
        },
        broker: Some(BrokerUse {
            pid: 4711,
            cpu_seconds: 1.75,
            cpu_us_per_message: 97.2,
            resident_before: 9_100_000,
            resident_max: 29_260_000,
            resident_after: 29_260_000,
            bytes_per_connection: 1120.0,
            switches_per_message: 1.02,
        }),
        timeline: (1..=260).map(sample).collect(),
        ..Outcome::default()
    }
}

fn invented_latency(median_us: f64, count: u64) -> Latency {
    // A long tail: each nine doubles the time, and more.
    let at = |share: f64| {
        let nines = -(1.0 - share).max(1.0 / count as f64).log10();
        median_us * (0.55 + 0.4 * nines + 0.35 * nines.powf(2.2) + 0.02 * (nines * 3.0).exp2())
    };
    let last = (count as f64).log10();
    let shares = (0..=100).map(|step| 1.0 - 10f64.powf(-last * f64::from(step) / 100.0));
    let mut distribution: Vec<_> = shares.map(|share| (share, at(share))).collect();
    distribution.push((1.0, at(1.0)));
    Latency {
        count,
        min_us: at(0.0),
        mean_us: at(0.6),
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: at(1.0),
        distribution,
    }
}
