//! An outcome as a table for a terminal.

use std::fmt::Write;

use crate::outcome::{Latency, Outcome};
use crate::quantity::with_commas;
use crate::verify::holds;

/// Everything a person wants to know of a run, one figure a line.
pub fn table(outcome: &Outcome) -> String {
    let mut text = String::new();
    let asked: Vec<String> =
        outcome.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let Outcome { scenario, target, traffic, verification, connections, .. } = outcome;
    let _ = writeln!(text, "{scenario} against {target}: {}", asked.join(", "));
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<16} {value}");
    };
    let span = format!("{:.2} s measured, {:.2} s drained", outcome.seconds, outcome.drain_seconds);
    row("time", span);
    if traffic.published > 0 {
        row(
            "published",
            counted(
                traffic.published,
                traffic.publish_rate,
                traffic.payload_bytes.0,
                outcome.seconds,
            ),
        );
    }
    if traffic.expected > 0 || traffic.delivered > 0 {
        row(
            "delivered",
            counted(
                traffic.delivered,
                traffic.delivery_rate,
                traffic.payload_bytes.1,
                outcome.seconds,
            ),
        );
    }
    if traffic.refused > 0 {
        row("refused", refusals(traffic.refused, traffic.acknowledged));
    }
    for (name, latency) in [
        ("latency", &outcome.latency),
        ("acknowledgement", &outcome.acknowledgement),
        ("connect", &connections.connect),
    ] {
        if latency.count > 0 {
            row(name, percentiles(latency));
        }
    }
    row("connections", in_words(outcome));
    if let Some(recovery) = &connections.recovery {
        let (down, back) = (recovery.down_seconds, recovery.all_back_seconds);
        row(
            "recovery",
            format!("{down:.3} s until the first was back, {back:.3} s more until all were"),
        );
    }
    if let Some(smooth) = &outcome.smoothness {
        let (min, mean, max) = smooth.messages;
        row(
            "smoothness",
            format!(
                "{min} / {mean:.1} / {max} messages (least / mean / most) in {} windows of {} ms, variation {:.3}",
                with_commas(smooth.windows),
                smooth.window_ms,
                smooth.variation,
            ),
        );
    }
    if traffic.expected > 0 || traffic.delivered > 0 {
        row(
            "lost",
            match (verification.lost, verification.lost_qos0) {
                (0, _) => "0".into(),
                (lost, 0) => with_commas(lost),
                (lost, qos0) => format!("{} ({} at QoS 0)", with_commas(lost), with_commas(qos0)),
            },
        );
        row(
            "duplicates",
            match (verification.duplicates, verification.duplicates_allowed) {
                (all, 0) => with_commas(all),
                (all, allowed) => {
                    format!("{} ({} allowed)", with_commas(all), with_commas(allowed))
                }
            },
        );
        row("out of order", with_commas(verification.reordered));
        row("corrupt", with_commas(verification.corrupt));
        row("misrouted", with_commas(verification.misrouted));
    }
    let per = if traffic.delivered > 0 { traffic.delivered } else { traffic.published };
    let own = outcome.own_cpu_seconds;
    let each = if per > 0 {
        format!(", {:.2} µs a message", own * 1e6 / per as f64)
    } else {
        String::new()
    };
    row("own CPU", format!("{own:.2} s{each}"));
    if let Some(broker) = &outcome.broker {
        row(
            "broker CPU",
            format!(
                "{:.2} s, {:.2} µs a {}, {:.3} context switches",
                broker.cpu_seconds,
                broker.cpu_us_per_message,
                if per > 0 { "message" } else { "connection" },
                broker.switches_per_message,
            ),
        );
        row(
            "broker memory",
            format!(
                "{} before, {} at most, {} after, {:.0} bytes a connection",
                mebibytes(broker.resident_before),
                mebibytes(broker.resident_max),
                mebibytes(broker.resident_after),
                broker.bytes_per_connection,
            ),
        );
    }
    for example in &verification.examples {
        let _ = writeln!(text, "  - {example}");
    }
    let _ = writeln!(text, "  {}", verdict(outcome));
    text
}

/// In one sentence, whether what came back is right.
pub fn verdict(outcome: &Outcome) -> String {
    if outcome.is_interrupted {
        "INTERRUPTED: this is of the part that ran, and no verdict".to_owned()
    } else if !came_back_right(outcome) {
        "FAILED: what came back is not what was sent".to_owned()
    } else if let Some(why) = outcome.nothing_happened() {
        format!("FAILED: {why}")
    } else if !outcome.unmet.is_empty() {
        format!("FAILED: required is {}", outcome.unmet.join(", "))
    } else {
        let mut with = Vec::new();
        if outcome.verification.lost_qos0 > 0 {
            with.push("losses that QoS 0 allows");
        }
        if outcome.traffic.refused > 0 {
            with.push(
                "PUBLISHes that the broker refused: what it did accept came back as it should",
            );
        }
        let with = with.join(", and ");
        if with.is_empty() { "passed".to_owned() } else { format!("passed, with {with}") }
    }
}

/// Whether the run was carried out, proves something, and reached what was required.
pub fn passes(outcome: &Outcome) -> bool {
    came_back_right(outcome)
        && !outcome.is_interrupted
        && outcome.unmet.is_empty()
        && outcome.nothing_happened().is_none()
}

/// Whether the verification holds and no connection failed.
fn came_back_right(outcome: &Outcome) -> bool {
    let Outcome { verification, connections, .. } = outcome;
    let lost = connections.lost > 0 && !connections.may_be_lost;
    holds(verification) && connections.failed == 0 && !lost
}

fn refusals(refused: u64, answered: u64) -> String {
    let share = refused as f64 * 100.0 / answered.max(1) as f64;
    format!(
        "{} ({share:.1} % of the answers): the broker said no, so no copy of these is expected; --require refused=0 \
         fails such a run",
        with_commas(refused)
    )
}

fn in_words(outcome: &Outcome) -> String {
    let connections = &outcome.connections;
    let mut words = format!("{} opened", with_commas(connections.opened));
    if connections.open_rate > 0.0 {
        let _ = write!(words, " at {}/s", with_commas(connections.open_rate as u64));
    }
    if connections.failed > 0 {
        let _ = write!(words, ", {} failed", with_commas(connections.failed));
    }
    if connections.lost > 0 {
        let _ = write!(words, ", {} lost", with_commas(connections.lost));
    }
    words
}

fn counted(count: u64, rate: f64, bytes: u64, seconds: f64) -> String {
    let mebibytes = bytes as f64 / seconds.max(1e-9) / 1024.0 / 1024.0;
    format!("{} messages, {}/s, {mebibytes:.1} MiB/s", with_commas(count), with_commas(rate as u64))
}

fn percentiles(latency: &Latency) -> String {
    format!(
        "p50 {} · p90 {} · p99 {} · p99.9 {} · max {}",
        time(latency.p50_us),
        time(latency.p90_us),
        time(latency.p99_us),
        time(latency.p999_us),
        time(latency.max_us),
    )
}

fn time(micros: f64) -> String {
    match micros {
        micros if micros < 1e3 => format!("{micros:.0} µs"),
        micros if micros < 1e6 => format!("{:.2} ms", micros / 1e3),
        micros => format!("{:.2} s", micros / 1e6),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0)
}
