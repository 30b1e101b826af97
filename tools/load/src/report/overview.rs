//! Several runs side by side: phases of a plan, or brokers compared.

use std::collections::BTreeSet;

use super::charts;
use super::markup::Markup;
use super::unit::{Unit, ratio};
use super::verdict::{Grade, Verdict};
use crate::outcome::Outcome;

/// A table with a row for each run, with ratios to the first of the same scenario, and their
/// latencies in one plot.
pub fn of_runs(outcomes: &[Outcome]) -> Markup {
    let names = names(outcomes);
    let columns: Vec<_> = COLUMNS.iter().filter(|column| column.matters(outcomes)).collect();
    let mut to = Markup::new();
    to.raw("<section class=\"overview\"><h2>Side by side</h2>\n<div class=\"card scroll\">");
    to.raw("<table class=\"wide compared\"><thead><tr><td></td>");
    for column in &columns {
        to.raw("<th scope=\"col\">").raw(column.title).raw("</th>");
    }
    to.raw("</tr></thead><tbody>\n");
    for (index, outcome) in outcomes.iter().enumerate() {
        to.raw("<tr><th scope=\"row\"><i class=\"mark ").raw(class(Verdict::new(outcome).grade));
        to.raw("\"></i><a href=\"#run-").text(index + 1).raw("\">").text(&names[index]);
        to.raw("</a></th>");
        let base = outcomes.iter().position(|other| other.scenario == outcome.scenario);
        let base = base.filter(|base| *base != index).map(|base| &outcomes[base]);
        for column in &columns {
            column.cell(&mut to, outcome, base);
        }
        to.raw("</tr>\n");
    }
    to.raw("</tbody></table></div>\n");
    let scenario = |run: &Outcome| run.scenario.clone();
    if outcomes.iter().map(scenario).collect::<BTreeSet<_>>().len() < outcomes.len() {
        to.raw("<p class=\"note\">× is the ratio to the first run of the same scenario.</p>\n");
    }
    let latencies = names.iter().map(String::as_str).zip(outcomes.iter().map(|run| &run.latency));
    let latencies: Vec<_> = latencies.collect();
    if let Some(plot) = charts::distribution("Latency of all runs", "time, logarithmic", &latencies)
    {
        to.raw("<div class=\"plots alone\">").append(&plot).raw("</div>\n");
    }
    to.raw("</section>\n");
    to
}

/// What tells each run from the others: its broker, its scenario, or both, and a number if that
/// is not enough.
pub fn names(outcomes: &[Outcome]) -> Vec<String> {
    let same = |of: fn(&Outcome) -> &str| outcomes.windows(2).all(|two| of(&two[0]) == of(&two[1]));
    let same_scenario = same(|outcome| &outcome.scenario);
    let same_target = same(|outcome| &outcome.target);
    let mut names: Vec<_> = outcomes
        .iter()
        .map(|Outcome { scenario, target, .. }| match (same_scenario, same_target) {
            (true, false) => target.clone(),
            (_, true) => scenario.clone(),
            (false, false) => format!("{scenario}, {target}"),
        })
        .collect();
    for index in 1..names.len() {
        let twins = names[..index].iter().filter(|name| **name == names[index]).count();
        if twins > 0 {
            names[index] = format!("{} ({})", names[index], twins + 1);
        }
    }
    names
}

/// The class of the style sheet.
pub fn class(grade: Grade) -> &'static str {
    match grade {
        Grade::Good => "good",
        Grade::Remarkable => "remarkable",
        Grade::Bad => "bad",
    }
}

/// A figure that runs are compared by.
struct Column {
    title: &'static str,
    unit: Unit,
    /// Nothing where it was not measured.
    of: fn(&Outcome) -> Option<f64>,
}

impl Column {
    fn matters(&self, outcomes: &[Outcome]) -> bool {
        outcomes.iter().any(|outcome| (self.of)(outcome).is_some())
    }

    fn cell(&self, to: &mut Markup, outcome: &Outcome, base: Option<&Outcome>) {
        let Some(value) = (self.of)(outcome) else {
            to.element("td", "–");
            return;
        };
        to.raw("<td>").text(self.unit.text(value));
        let base = base.and_then(|base| (self.of)(base));
        if let Some(ratio) = base.and_then(|base| ratio(value, base)) {
            to.raw("<span class=\"ratio\">").text(ratio).raw("</span>");
        }
        to.raw("</td>");
    }
}

fn delivering(outcome: &Outcome, value: f64) -> Option<f64> {
    (outcome.traffic.delivered > 0).then_some(value)
}

fn timed(outcome: &Outcome, value: f64) -> Option<f64> {
    (outcome.latency.count > 0).then_some(value)
}

const COLUMNS: &[Column] = &[
    Column {
        title: "Published /s",
        unit: Unit::Rate,
        of: |run| (run.traffic.published > 0).then_some(run.traffic.publish_rate),
    },
    Column {
        title: "Delivered /s",
        unit: Unit::Rate,
        of: |run| delivering(run, run.traffic.delivery_rate),
    },
    Column { title: "p50", unit: Unit::Micros, of: |run| timed(run, run.latency.p50_us) },
    Column { title: "p99", unit: Unit::Micros, of: |run| timed(run, run.latency.p99_us) },
    Column { title: "max", unit: Unit::Micros, of: |run| timed(run, run.latency.max_us) },
    Column {
        title: "Lost",
        unit: Unit::Count,
        of: |run| (run.traffic.expected > 0).then_some(run.verification.lost as f64),
    },
    Column {
        title: "Connect p99",
        unit: Unit::Micros,
        of: |run| {
            let connect = &run.connections.connect;
            (connect.count > 0).then_some(connect.p99_us)
        },
    },
    Column {
        title: "Broker CPU each",
        unit: Unit::Micros,
        of: |run| Some(run.broker.as_ref()?.cpu_us_per_message),
    },
    Column {
        title: "Broker memory",
        unit: Unit::Bytes,
        of: |run| Some(run.broker.as_ref()?.resident_max as f64),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn run(scenario: &str, target: &str, rate: f64) -> Outcome {
        let mut outcome = Outcome {
            scenario: scenario.to_owned(),
            target: target.to_owned(),
            ..Outcome::default()
        };
        outcome.traffic.delivered = 10;
        outcome.traffic.delivery_rate = rate;
        outcome
    }

    #[test]
    fn runs_are_called_by_what_tells_them_apart() {
        let check = |runs: &[(&str, &str)], wanted: &[&str]| {
            let runs: Vec<_> = runs.iter().map(|(a, b)| run(a, b, 1.0)).collect();
            assert_eq!(names(&runs), wanted);
        };
        check(&[], &[]);
        check(&[("pair", "a:1")], &["pair"]);
        check(&[("pair", "a:1"), ("pair", "b:1")], &["a:1", "b:1"]);
        check(&[("pair", "a:1"), ("idle", "a:1")], &["pair", "idle"]);
        check(&[("pair", "a:1"), ("idle", "b:1")], &["pair, a:1", "idle, b:1"]);
        check(&[("pair", "a:1"), ("pair", "a:1")], &["pair", "pair (2)"]);
    }

    #[test]
    fn ratios_are_to_the_first_of_the_same_scenario() {
        let runs = [run("pair", "a", 100.0), run("fanin", "a", 7.0), run("pair", "b", 150.0)];
        let html = of_runs(&runs).into_string();
        assert_eq!(html.matches("class=\"ratio\"").count(), 1, "{html}");
        assert!(html.contains("<td>150<span class=\"ratio\">×1.5</span></td>"), "{html}");
    }

    #[test]
    fn a_figure_that_nobody_measured_has_no_column() {
        let html = of_runs(&[run("pair", "a", 1.0), run("pair", "b", 1.0)]).into_string();
        assert!(html.contains("Delivered /s") && !html.contains("Broker CPU"), "{html}");
    }
}
