//! Several runs side by side: phases of a plan, or brokers compared in rounds.

use std::collections::BTreeSet;

use super::charts;
use super::markup::Markup;
use super::unit::{Unit, ratio};
use super::verdict::{Grade, Verdict};
use crate::outcome::Outcome;

/// The same asked of the same broker, once or in several rounds.
#[derive(Clone, Debug)]
pub struct Series<'a> {
    /// What tells it from the others: its broker, its scenario, what is set differently.
    pub name: String,
    /// The rounds, each with its place among all runs.
    pub rounds: Vec<(usize, &'a Outcome)>,
}

impl<'a> Series<'a> {
    /// All runs, those of which the same was asked together, in the order of their first.
    pub fn of_runs(outcomes: &'a [Outcome]) -> Vec<Series<'a>> {
        let mut all: Vec<Series<'a>> = Vec::new();
        for (place, outcome) in outcomes.iter().enumerate() {
            match all.iter_mut().find(|series| series.is_asked_like(outcome)) {
                Some(series) => series.rounds.push((place, outcome)),
                None => all.push(Series { name: String::new(), rounds: vec![(place, outcome)] }),
            }
        }
        let firsts: Vec<&Outcome> = all.iter().map(Series::first).collect();
        for (series, name) in all.iter_mut().zip(names(&firsts)) {
            series.name = name;
        }
        all
    }

    /// The first round.
    pub fn first(&self) -> &'a Outcome {
        self.rounds[0].1
    }

    fn is_asked_like(&self, other: &Outcome) -> bool {
        let first = self.first();
        first.scenario == other.scenario
            && first.target == other.target
            && first.settings == other.settings
    }

    /// The median of a figure over the rounds that have it.
    fn median(&self, of: fn(&Outcome) -> Option<f64>) -> Option<f64> {
        let mut figures: Vec<f64> = self.rounds.iter().filter_map(|(_, run)| of(run)).collect();
        figures.retain(|figure| figure.is_finite());
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        match figures.len() {
            0 => None,
            len if len.is_multiple_of(2) => {
                Some(f64::midpoint(figures[middle - 1], figures[middle]))
            }
            _ => Some(figures[middle]),
        }
    }

    /// The round that is in the middle by its 99th percentile.
    fn middle_round(&self) -> &'a Outcome {
        let mut runs: Vec<&Outcome> = self.rounds.iter().map(|(_, run)| *run).collect();
        runs.sort_by(|a, b| a.latency.p99_us.total_cmp(&b.latency.p99_us));
        runs[runs.len() / 2]
    }

    fn grade(&self) -> Grade {
        let grades = self.rounds.iter().map(|(_, run)| Verdict::new(run).grade);
        grades.max().unwrap_or(Grade::Good)
    }
}

/// A table with a row for each series, with ratios to the first of the same scenario, and their
/// latencies in one plot.
pub fn of_series(all: &[Series<'_>]) -> Markup {
    let columns: Vec<_> = COLUMNS.iter().filter(|column| column.matters(all)).collect();
    let mut to = Markup::new();
    to.raw("<section class=\"overview\"><h2>Side by side</h2>\n<div class=\"card scroll\">");
    to.raw("<table class=\"wide compared\"><thead><tr><td></td>");
    for column in &columns {
        to.raw("<th scope=\"col\">").raw(column.title).raw("</th>");
    }
    to.raw("</tr></thead><tbody>\n");
    for (index, series) in all.iter().enumerate() {
        to.raw("<tr><th scope=\"row\"><i class=\"mark ").raw(class(series.grade()));
        to.raw("\"></i><a href=\"#run-").text(series.rounds[0].0 + 1).raw("\">");
        to.text(&series.name).raw("</a></th>");
        let like = |other: &&Series<'_>| other.first().scenario == series.first().scenario;
        let base = all[..index].iter().find(like);
        for column in &columns {
            column.cell(&mut to, series, base);
        }
        to.raw("</tr>\n");
    }
    to.raw("</tbody></table></div>\n");
    note(&mut to, all);
    let latencies = all.iter().map(|series| (&*series.name, &series.middle_round().latency));
    let latencies: Vec<_> = latencies.collect();
    let title = "Latency of all";
    if let Some(plot) = charts::distribution(title, "time, logarithmic", &latencies) {
        to.raw("<div class=\"plots alone\">").append(&plot).raw("</div>\n");
    }
    to.raw("</section>\n");
    to
}

fn note(to: &mut Markup, all: &[Series<'_>]) {
    let rounds = all.iter().map(|series| series.rounds.len()).max().unwrap_or(0);
    let scenarios: BTreeSet<_> = all.iter().map(|series| &series.first().scenario).collect();
    let compared = scenarios.len() < all.len();
    if rounds < 2 && !compared {
        return;
    }
    to.raw("<p class=\"note\">");
    if rounds > 1 {
        to.text(format!(
            "Medians of {rounds} rounds; the curve is that of the round in the middle. "
        ));
    }
    if compared {
        to.raw("× is the ratio to the first of the same scenario.");
    }
    to.raw("</p>\n");
}

/// What tells each run from the others: its scenario, its broker, what is set differently, and a
/// number if that is not enough.
fn names(runs: &[&Outcome]) -> Vec<String> {
    let same = |of: fn(&Outcome) -> &str| runs.windows(2).all(|two| of(two[0]) == of(two[1]));
    let same_scenario = same(|run| &run.scenario);
    let same_target = same(|run| &run.target);
    let mut names: Vec<String> = Vec::new();
    for run in runs {
        let alike: Vec<&Outcome> = runs
            .iter()
            .filter(|other| other.scenario == run.scenario && other.target == run.target)
            .copied()
            .collect();
        let different = different_settings(run, &alike);
        let mut parts = Vec::new();
        if !same_scenario || same_target && different.is_empty() {
            parts.push(run.scenario.clone());
        }
        if !same_target {
            parts.push(run.target.clone());
        }
        parts.extend(different);
        names.push(parts.join(", "));
    }
    let numbered = names.iter().enumerate().map(|(place, name)| {
        match names[..place].iter().filter(|other| *other == name).count() {
            0 => name.clone(),
            twins => format!("{name} ({})", twins + 1),
        }
    });
    numbered.collect()
}

/// `QoS 1`, for what another of `alike` has set otherwise; the first few.
fn different_settings(run: &Outcome, alike: &[&Outcome]) -> Vec<String> {
    let differs =
        |setting: &&(String, String)| alike.iter().any(|other| !other.settings.contains(setting));
    let different = run.settings.iter().filter(differs);
    different.map(|(name, value)| format!("{name} {value}")).take(DIFFERENT_MAX).collect()
}

/// More in a name make it no clearer.
const DIFFERENT_MAX: usize = 3;

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
    fn matters(&self, all: &[Series<'_>]) -> bool {
        all.iter().any(|series| series.median(self.of).is_some())
    }

    fn cell(&self, to: &mut Markup, series: &Series<'_>, base: Option<&Series<'_>>) {
        let Some(value) = series.median(self.of) else {
            to.element("td", "–");
            return;
        };
        to.raw("<td>").text(self.unit.text(value));
        let base = base.and_then(|base| base.median(self.of));
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

    fn with(mut outcome: Outcome, name: &str, value: &str) -> Outcome {
        outcome.settings.push((name.to_owned(), value.to_owned()));
        outcome
    }

    #[track_caller]
    fn check(runs: &[Outcome], wanted: &[&str]) {
        let names: Vec<_> = Series::of_runs(runs).into_iter().map(|series| series.name).collect();
        assert_eq!(names, wanted);
    }

    #[test]
    fn runs_are_called_by_what_tells_them_apart() {
        let on = |scenario, target| run(scenario, target, 1.0);
        check(&[], &[]);
        check(&[on("pair", "a:1")], &["pair"]);
        check(&[on("pair", "a:1"), on("pair", "b:1")], &["a:1", "b:1"]);
        check(&[on("pair", "a:1"), on("idle", "a:1")], &["pair", "idle"]);
        check(&[on("pair", "a:1"), on("idle", "b:1")], &["pair, a:1", "idle, b:1"]);
        let (zero, one) = (with(on("pair", "a"), "QoS", "0"), with(on("pair", "a"), "QoS", "1"));
        check(&[zero.clone(), one.clone()], &["QoS 0", "QoS 1"]);
        check(&[zero, one, on("idle", "a")], &["pair, QoS 0", "pair, QoS 1", "idle"]);
        // One has a setting that the other lacks.
        check(&[on("pair", "a"), with(on("pair", "a"), "rate", "5/s")], &["pair", "rate 5/s"]);
    }

    #[test]
    fn rounds_are_one_series_with_the_median_of_each_figure() {
        let rounds = [("a", 100.0), ("b", 10.0), ("a", 300.0), ("b", 20.0), ("a", 140.0)];
        let runs = rounds.map(|(target, rate)| run("pair", target, rate));
        let all = Series::of_runs(&runs);
        assert_eq!(all.iter().map(|series| series.rounds.len()).collect::<Vec<_>>(), [3, 2]);
        let html = of_series(&all).into_string();
        assert!(html.contains("<td>140</td>"), "{html}");
        assert!(html.contains("<td>15<span class=\"ratio\">×0.107</span></td>"), "{html}");
        assert!(html.contains("Medians of 3 rounds"), "{html}");
    }

    #[test]
    fn ratios_are_to_the_first_of_the_same_scenario() {
        let runs = [run("pair", "a", 100.0), run("fanin", "a", 7.0), run("pair", "b", 150.0)];
        let html = of_series(&Series::of_runs(&runs)).into_string();
        assert_eq!(html.matches("class=\"ratio\"").count(), 1, "{html}");
        assert!(html.contains("<td>150<span class=\"ratio\">×1.5</span></td>"), "{html}");
    }

    #[test]
    fn a_figure_that_nobody_measured_has_no_column() {
        let runs = [run("pair", "a", 1.0), run("pair", "b", 1.0)];
        let html = of_series(&Series::of_runs(&runs)).into_string();
        assert!(html.contains("Delivered /s") && !html.contains("Broker CPU"), "{html}");
    }
}
