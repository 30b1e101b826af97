//! Several brokers side by side: medians over the rounds, and ratios to the first.

use std::fmt::Write;

use crate::outcome::Outcome;
use crate::table::passes;

/// A table of medians: `rounds` holds the outcomes of each broker, in the order of `names`.
pub fn comparison(names: &[String], rounds: &[Vec<Outcome>]) -> String {
    let mut lines = vec![vec![String::new()]];
    lines[0].extend(names.iter().cloned());
    for figure in FIGURES {
        let medians: Vec<Option<f64>> = rounds
            .iter()
            .map(|outcomes| median(outcomes.iter().filter_map(figure.of).collect()))
            .collect();
        if medians.iter().all(|median| median.is_none_or(|median| median == 0.0)) {
            continue;
        }
        let mut line = vec![figure.name.to_string()];
        for median in &medians {
            line.push(match (median, medians[0]) {
                (None, _) => "–".into(),
                (Some(median), Some(first)) if first > 0.0 => {
                    format!("{} ({:.2}×)", shown(*median), median / first)
                }
                (Some(median), _) => shown(*median),
            });
        }
        lines.push(line);
    }
    let mut verdicts = vec!["verification".to_string()];
    verdicts.extend(rounds.iter().map(|outcomes| {
        let failed = outcomes.iter().filter(|outcome| !passes(outcome)).count();
        if outcomes.is_empty() {
            "not run".into()
        } else if failed == 0 {
            "passed".into()
        } else {
            format!("failed {failed} of {}", outcomes.len())
        }
    }));
    lines.push(verdicts);
    aligned(&lines)
}

/// A figure that brokers are compared by.
struct Figure {
    name: &'static str,
    of: fn(&Outcome) -> Option<f64>,
}

const FIGURES: &[Figure] = &[
    Figure { name: "delivered msg/s", of: |run| above_zero(run.traffic.delivery_rate) },
    Figure { name: "published msg/s", of: |run| above_zero(run.traffic.publish_rate) },
    Figure { name: "latency p50 µs", of: |run| above_zero(run.latency.p50_us) },
    Figure { name: "latency p99 µs", of: |run| above_zero(run.latency.p99_us) },
    Figure { name: "latency max µs", of: |run| above_zero(run.latency.max_us) },
    Figure { name: "ack p50 µs", of: |run| above_zero(run.acknowledgement.p50_us) },
    Figure { name: "ack p99 µs", of: |run| above_zero(run.acknowledgement.p99_us) },
    Figure { name: "connects/s", of: |run| above_zero(run.connections.open_rate) },
    Figure { name: "connect p99 µs", of: |run| above_zero(run.connections.connect.p99_us) },
    Figure {
        name: "all back after s",
        of: |run| run.connections.recovery.as_ref().map(|recovery| recovery.all_back_seconds),
    },
    Figure {
        name: "variation",
        of: |run| run.smoothness.as_ref().map(|smoothness| smoothness.variation),
    },
    Figure {
        name: "broker CPU µs each",
        of: |run| run.broker.as_ref().map(|broker| broker.cpu_us_per_message),
    },
    Figure {
        name: "broker switches each",
        of: |run| run.broker.as_ref().map(|broker| broker.switches_per_message),
    },
    Figure {
        name: "bytes a connection",
        of: |run| {
            let idle = run.traffic.published == 0 && run.traffic.delivered == 0;
            run.broker.as_ref().filter(|_| idle).map(|broker| broker.bytes_per_connection)
        },
    },
    Figure { name: "lost", of: |run| Some(run.verification.lost as f64) },
    Figure { name: "out of order", of: |run| Some(run.verification.reordered as f64) },
    Figure { name: "duplicates", of: |run| Some(run.verification.duplicates as f64) },
];

fn above_zero(figure: f64) -> Option<f64> {
    (figure > 0.0).then_some(figure)
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => None,
        len if len.is_multiple_of(2) => Some((figures[middle - 1] + figures[middle]) / 2.0),
        _ => Some(figures[middle]),
    }
}

fn shown(figure: f64) -> String {
    match figure {
        figure if figure >= 100_000.0 => format!("{:.0}k", figure / 1e3),
        figure if figure >= 100.0 => format!("{figure:.0}"),
        figure if figure >= 10.0 => format!("{figure:.1}"),
        figure => format!("{figure:.2}"),
    }
}

/// Columns under one another; the first to the left, the others to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let _ = write!(text, "{:<width$}", line[0], width = widths[0]);
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Traffic, Verification};

    fn run(delivery_rate: f64, lost: u64) -> Outcome {
        Outcome {
            traffic: Traffic { delivery_rate, ..Traffic::default() },
            verification: Verification { lost, ..Verification::default() },
            ..Outcome::default()
        }
    }

    #[test]
    fn medians_and_ratios_stand_side_by_side() {
        let rounds =
            [vec![run(100.0, 0), run(300.0, 0), run(200.0, 0)], vec![run(50.0, 0), run(150.0, 4)]];
        let text = comparison(&["a".into(), "long name".into()], &rounds);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1..],
            [
                "delivered msg/s  200 (1.00×)    100 (0.50×)",
                "lost                    0.00           2.00",
                "verification          passed  failed 1 of 2",
            ]
        );
        assert!(lines[0].ends_with("long name"));
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
