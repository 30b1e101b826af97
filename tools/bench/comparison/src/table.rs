//! The tables, in Markdown.

use std::fmt::Write as _;
use std::fs;

use crate::broker::{Broker, Kind};
use crate::figures::{Figure, Results};
use crate::rows::{Row, Section};

/// What was measured on, what, and how often.
pub fn machine(brokers: &[Broker], rounds: u32, seconds: u32) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let names = processors.lines().filter_map(|line| line.strip_prefix("model name"));
    let names: Vec<_> = names.map(|name| name.trim_start_matches(['\t', ' ', ':'])).collect();
    let kernel = read("/proc/sys/kernel/osrelease");
    let versions: Vec<_> = brokers.iter().map(Broker::version).collect();
    let plural = if rounds == 1 { "" } else { "s" };
    format!(
        "{} × {}, Linux {}. {}. {rounds} interleaved round{plural} of {seconds} s; medians.\n",
        names.len(),
        names.first().unwrap_or(&"an unknown processor"),
        kernel.trim(),
        versions.join(", "),
    )
}

/// A table for each section of which there are rows.
pub fn tables(rows: &[&Row], brokers: &[Kind], results: &Results) -> String {
    let mut text = String::new();
    for (section, title) in SECTIONS {
        let rows: Vec<_> = rows.iter().filter(|row| row.section == *section).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = write!(text, "### {title}\n\n| case |");
        for broker in brokers {
            let _ = write!(text, " {} |", broker);
        }
        let _ = writeln!(text, "\n|---|{}", "---|".repeat(brokers.len()));
        for row in rows {
            for line in lines(row) {
                let _ = write!(text, "| {} |", line.title);
                for broker in brokers {
                    let _ = write!(text, " {} |", cell(row, &line, *broker, results));
                }
                text.push('\n');
            }
        }
        text.push('\n');
    }
    if text.contains('†') {
        text +=
            "† Some messages were lost, doubled or reordered; at QoS 0 a broker may lose them.\n\n";
    }
    text
}

/// A line of a table.
struct Line {
    title: String,
    /// Shown first, with its ratio to the relay.
    main: Shown,
    /// Shown behind it in brackets.
    beside: &'static [Shown],
}

/// A figure and how it is written.
type Shown = (Figure, fn(f64) -> String);

fn lines(row: &Row) -> Vec<Line> {
    let line = |title: &str, main, beside| Line { title: title.into(), main, beside };
    let title = row.title;
    match row.section {
        Section::Saturated => {
            vec![line(title, (Figure::Cpu, fine), &[(Figure::Rate, rate)])]
        }
        Section::Paced => vec![
            line(title, (Figure::Cpu, coarse), &[]),
            line("… latency p50 (p99), µs", (Figure::P50, coarse), &[(Figure::P99, coarse)]),
        ],
        Section::Idle => vec![
            line(&format!("{title}: resident bytes each"), (Figure::Bytes, whole), &[]),
            line("… CPU µs for each to connect and subscribe", (Figure::Cpu, coarse), &[]),
            line("… CPU at rest, % of a core", (Figure::Rest, fine), &[]),
        ],
        Section::Storm => {
            vec![line(
                &format!("{title}: CPU µs each (connections/s)"),
                (Figure::Cpu, coarse),
                &[(Figure::Rate, rate)],
            )]
        }
        Section::Subscriptions => {
            vec![line(&format!("{title}: resident bytes each"), (Figure::Bytes, whole), &[])]
        }
        Section::Calls => vec![
            line(&format!("{title}: system calls"), (Figure::Calls, fine), &[]),
            line(&format!("{title}: context switches"), (Figure::Switches, fine), &[]),
        ],
    }
}

fn cell(row: &Row, line: &Line, broker: Kind, results: &Results) -> String {
    let (figure, show) = line.main;
    let Some(value) = results.median(row.name, broker, figure) else { return "–".into() };
    let mut text = show(value);
    let ratio = results.ratio(row.name, broker, Kind::Relay, figure);
    if let Some(ratio) = ratio.filter(|_| broker != Kind::Relay) {
        let _ = write!(text, " · {ratio:.1}×");
    }
    let beside = line
        .beside
        .iter()
        .filter_map(|(figure, show)| results.median(row.name, broker, *figure).map(show));
    let beside: Vec<_> = beside.collect();
    if !beside.is_empty() {
        let _ = write!(text, " ({})", beside.join(", "));
    }
    let verified = row.section != Section::Subscriptions;
    if verified && results.median(row.name, broker, Figure::Wrong).is_some() {
        text.push('†');
    }
    text
}

fn fine(value: f64) -> String {
    format!("{value:.2}")
}

fn coarse(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

/// In thousands.
fn rate(value: f64) -> String {
    format!("{}k", coarse(value / 1e3))
}

const SECTIONS: &[(Section, &str)] = &[
    (
        Section::Saturated,
        "Saturated: broker CPU µs per delivered message · ratio to the relay (delivered messages/s)",
    ),
    (
        Section::Paced,
        "Fixed rate: broker CPU µs per delivered message · ratio to the relay; latency",
    ),
    (Section::Idle, "Idle connections"),
    (Section::Storm, "Connections that come and go"),
    (Section::Subscriptions, "Memory of subscriptions"),
    (Section::Calls, "System calls and context switches per delivered message"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Cell, Figures};
    use crate::rows::ROWS;

    #[test]
    fn a_table_has_a_line_for_each_row_and_a_ratio_to_the_relay() {
        let mut results = Results::default();
        for (broker, cpu, wrong) in [(Kind::Relay, 0.25, None), (Kind::Sluice, 0.5, Some(3.0))] {
            let mut figures = Figures::default();
            figures.set(Figure::Cpu, Some(cpu));
            figures.set(Figure::Rate, Some(1_234_567.0));
            figures.set(Figure::Wrong, wrong);
            results.add(Cell { round: 0, row: "pair-qos0", broker }, figures);
        }
        let rows: Vec<_> = ROWS.iter().filter(|row| row.name == "pair-qos0").collect();
        let text = tables(&rows, &[Kind::Relay, Kind::Sluice, Kind::Rumqttd], &results);
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| case | bare relay | Sluice | rumqttd |",
                "|---|---|---|---|",
                "| 50→50, QoS 0, 64 B | 0.25 (1235k) | 0.50 · 2.0× (1235k)† | – |",
                "",
                "† Some messages were lost, doubled or reordered; at QoS 0 a broker may lose them.",
                "",
            ]
        );
    }

    #[test]
    fn every_section_has_a_title_and_every_row_a_name_of_its_own() {
        for (place, row) in ROWS.iter().enumerate() {
            assert!(SECTIONS.iter().any(|(section, _)| *section == row.section));
            assert!(ROWS[..place].iter().all(|other| other.name != row.name), "{}", row.name);
            assert!(!lines(row).is_empty());
        }
    }
}
