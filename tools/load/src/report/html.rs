//! The page as a whole: what it begins with, and a section for each run.

use std::collections::BTreeSet;

use super::charts;
use super::markup::Markup;
use super::overview::{self, Series, class};
use super::tables;
use super::unit::{Unit, moment, percent};
use super::verdict::{Grade, Verdict};
use crate::outcome::Outcome;

/// The report on `outcomes` as one self-contained HTML document.
pub fn page(outcomes: &[Outcome]) -> String {
    let verdict = Verdict::of_all(outcomes);
    let all = Series::of_runs(outcomes);
    let mut to = Markup::new();
    to.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    to.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    // The page proves by itself that it fetches nothing.
    to.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; ");
    to.raw("style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n");
    to.raw("<link rel=\"icon\" href=\"data:,\">\n");
    to.raw("<title>").text(title(outcomes)).raw(" – sluice-load</title>\n");
    to.raw("<style>\n").raw(include_str!("page.css")).raw("</style>\n</head>\n<body>\n");
    head(&mut to, outcomes, &verdict);
    to.raw("<main>\n");
    if outcomes.len() > 1 {
        to.append(&overview::of_series(&all));
    }
    for series in &all {
        for (round, (place, outcome)) in series.rounds.iter().enumerate() {
            let name = match series.rounds.len() {
                1 => series.name.clone(),
                _ => format!("{}, round {}", series.name, round + 1),
            };
            run(&mut to, outcome, &name, *place, outcomes.len() == 1, round == 0);
        }
    }
    to.raw("</main>\n<footer>Made by sluice-load ").raw(env!("CARGO_PKG_VERSION"));
    to.raw(
        ". Every message carried its publisher, its number, its time and a checksum.</footer>\n",
    );
    to.raw("<script>\n").raw(include_str!("page.js")).raw("</script>\n</body>\n</html>\n");
    to.into_string()
}

/// A section; one of several can be closed, and is if it is a further round.
fn run(to: &mut Markup, outcome: &Outcome, name: &str, place: usize, alone: bool, open: bool) {
    to.raw(if alone { "<section class=\"run\"" } else { "<details class=\"run\"" });
    to.raw(" id=\"run-").text(place + 1).raw("\"");
    to.raw(if open && !alone { " open" } else { "" }).raw(">\n");
    if !alone {
        section_head(to, outcome, name);
    }
    figures(to, &key_figures(outcome));
    to.raw("<div class=\"plots\">\n");
    for plot in charts::of_run(outcome) {
        to.append(&plot);
    }
    to.raw("</div>\n");
    if let Some(smoothness) = charts::smoothness(outcome) {
        to.raw("<div class=\"plots alone\">").append(&smoothness).raw("</div>\n");
    }
    to.append(&tables::of_run(outcome));
    to.raw(if alone { "</section>\n" } else { "</details>\n" });
}

fn title(outcomes: &[Outcome]) -> String {
    match outcomes {
        [] => "Nothing was run".to_owned(),
        [one] => format!("{} on {}", one.scenario, one.target),
        [first, ..] => {
            let same = |of: fn(&Outcome) -> &str| outcomes.iter().all(|run| of(run) == of(first));
            if same(|run| &run.target) {
                format!("{} runs on {}", outcomes.len(), first.target)
            } else if same(|run| &run.scenario) {
                let targets: BTreeSet<_> = outcomes.iter().map(|run| &run.target).collect();
                format!("{} on {} brokers", first.scenario, targets.len())
            } else {
                format!("{} runs", outcomes.len())
            }
        }
    }
}

fn head(to: &mut Markup, outcomes: &[Outcome], verdict: &Verdict) {
    to.raw("<header class=\"").raw(class(verdict.grade)).raw("\">\n<p class=\"made-by\">");
    to.raw(WAVES).raw("sluice-load</p>\n").element("h1", title(outcomes));
    if let Some(first) = outcomes.first() {
        let seconds: f64 = outcomes.iter().map(|outcome| outcome.seconds).sum();
        to.raw("<p class=\"when\">").text(moment(first.started_unix_ms)).raw(" · ");
        to.text(Unit::Seconds.text(seconds)).raw(" measured</p>\n");
    }
    banner(to, verdict);
    to.raw("</header>\n");
}

fn section_head(to: &mut Markup, outcome: &Outcome, name: &str) {
    to.raw("<summary>")
        .element("h2", name)
        .raw("</summary>\n<p class=\"when\">")
        .text(&outcome.scenario)
        .raw(" on ");
    to.text(&outcome.target).raw(" · ").text(moment(outcome.started_unix_ms)).raw(" · ");
    to.text(Unit::Seconds.text(outcome.seconds)).raw(" measured</p>\n");
    banner(to, &Verdict::new(outcome));
}

fn banner(to: &mut Markup, verdict: &Verdict) {
    to.raw("<p class=\"verdict ").raw(class(verdict.grade)).raw("\">");
    to.raw(match verdict.grade {
        Grade::Good => TICK,
        Grade::Remarkable => EXCLAMATION,
        Grade::Bad => CROSS,
    });
    to.raw("<span>").text(&verdict.sentence).raw(".");
    if !verdict.remarks.is_empty() {
        to.raw("<small>Allowed, but worth knowing: ").text(&verdict.remarks).raw(".</small>");
    }
    to.raw("</span></p>\n");
}

/// One of the numbers that are looked at first.
struct Figure {
    name: &'static str,
    value: String,
    detail: String,
    grade: Grade,
}

impl Figure {
    fn new(name: &'static str, value: String, detail: String) -> Figure {
        Figure { name, value, detail, grade: Grade::Good }
    }
}

fn figures(to: &mut Markup, figures: &[Figure]) {
    // In one row, or in two of equal length.
    let columns = if figures.len() > 6 { figures.len().div_ceil(2) } else { figures.len() };
    to.raw("<div class=\"figures\" style=\"--columns:").text(columns.max(1)).raw("\">\n");
    for figure in figures {
        to.raw("<div class=\"figure ").raw(class(figure.grade)).raw("\"><span class=\"name\">");
        to.raw(figure.name).raw("</span><span class=\"value\">");
        // The unit is smaller than the number.
        let (number, unit) = figure.value.split_once('\u{a0}').unwrap_or((&figure.value, ""));
        to.text(number);
        if !unit.is_empty() {
            to.raw("<small>\u{a0}").text(unit).raw("</small>");
        }
        to.raw("</span><span class=\"detail\">").text(&figure.detail).raw("</span></div>\n");
    }
    to.raw("</div>\n");
}

fn key_figures(outcome: &Outcome) -> Vec<Figure> {
    let mut figures = Vec::new();
    let traffic = &outcome.traffic;
    let count = |count: u64| Unit::Count.text(count as f64);
    if traffic.published > 0 {
        let detail = format!("messages/s, {} in all", count(traffic.published));
        figures.push(Figure::new("Published", Unit::Rate.text(traffic.publish_rate), detail));
    }
    if traffic.delivered > 0 {
        let detail = format!("messages/s, {} in all", count(traffic.delivered));
        figures.push(Figure::new("Delivered", Unit::Rate.text(traffic.delivery_rate), detail));
    }
    if traffic.expected > 0 {
        figures.push(lost(outcome));
    }
    if outcome.latency.count > 0 {
        let latency = &outcome.latency;
        let half = "half of all were faster".to_owned();
        figures.push(Figure::new("Median latency", Unit::Micros.text(latency.p50_us), half));
        let detail = format!("longest: {}", Unit::Micros.text(latency.max_us));
        figures.push(Figure::new("99 % within", Unit::Micros.text(latency.p99_us), detail));
    }
    connection_figures(outcome, &mut figures);
    if let Some(broker) = &outcome.broker {
        let value = Unit::Micros.text(broker.cpu_us_per_message);
        let detail = format!("for each {}", tables::each(outcome));
        figures.push(Figure::new("Broker CPU", value, detail));
        let each = Unit::Bytes.text(broker.bytes_per_connection);
        let detail = format!("at most; {each} for each connection");
        let value = Unit::Bytes.text(broker.resident_max as f64);
        figures.push(Figure::new("Broker memory", value, detail));
    }
    if let Some(smoothness) = &outcome.smoothness {
        let detail = format!("deviation in windows of {} ms", smoothness.window_ms);
        figures.push(Figure::new("Smoothness", percent(smoothness.variation), detail));
    }
    figures
}

fn lost(outcome: &Outcome) -> Figure {
    let lost = outcome.verification.lost;
    let value = Unit::Count.text(lost as f64);
    let expected = Unit::Count.text(outcome.traffic.expected as f64);
    let grade = match (lost, lost.saturating_sub(outcome.verification.lost_qos0)) {
        (0, _) => Grade::Good,
        (_, 0) => Grade::Remarkable,
        _ => Grade::Bad,
    };
    Figure { grade, ..Figure::new("Lost", value, format!("of {expected} copies")) }
}

fn connection_figures(outcome: &Outcome, figures: &mut Vec<Figure>) {
    let connections = &outcome.connections;
    let value = Unit::Count.text(connections.opened as f64);
    let missing = connections.failed + connections.lost;
    let detail = match missing {
        0 => "all opened, none lost".to_owned(),
        _ => format!("{} failed, {} lost", connections.failed, connections.lost),
    };
    let bad = connections.failed > 0 || connections.lost > 0 && !connections.may_be_lost;
    let grade = match (missing, bad) {
        (0, _) => Grade::Good,
        (_, false) => Grade::Remarkable,
        (_, true) => Grade::Bad,
    };
    if connections.opened + missing > 0 {
        figures.push(Figure { grade, ..Figure::new("Connections", value, detail) });
    }
    if let Some(recovery) = &connections.recovery {
        let value = Unit::Micros.text(recovery.all_back_seconds * 1e6);
        let down = Unit::Micros.text(recovery.down_seconds * 1e6);
        let detail = format!("after the first was; {down} without any");
        figures.push(Figure::new("All back", value, detail));
    }
    // Where messages are measured, the speed of connections comes later.
    if outcome.latency.count == 0 && connections.connect.count > 0 {
        let rate = Unit::Rate.text(connections.open_rate);
        figures.push(Figure::new("Opened", rate, "connections/s".to_owned()));
        let half = Unit::Micros.text(connections.connect.p50_us);
        let value = Unit::Micros.text(connections.connect.p99_us);
        figures.push(Figure::new("99 % connect within", value, format!("half within {half}")));
    }
}

const WAVES: &str = "<svg viewBox=\"0 0 24 24\" aria-hidden=\"true\"><path d=\"M4 3v18M20 3v18M4 \
    8h16M4 13c2.7-2 5.3 2 8 0s5.3 2 8 0M4 18c2.7-2 5.3 2 8 0s5.3 2 8 0\"/></svg>";

const TICK: &str =
    "<svg viewBox=\"0 0 24 24\" aria-hidden=\"true\"><path d=\"M5 13l4.5 4.5L19 7\"/></svg>";

const EXCLAMATION: &str =
    "<svg viewBox=\"0 0 24 24\" aria-hidden=\"true\"><path d=\"M12 5v9M12 18.5v.5\"/></svg>";

const CROSS: &str =
    "<svg viewBox=\"0 0 24 24\" aria-hidden=\"true\"><path d=\"M6 6l12 12M18 6L6 18\"/></svg>";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{BrokerUse, Sample, Smoothness};

    fn full() -> Outcome {
        let mut outcome = Outcome {
            scenario: "pair".to_owned(),
            target: "localhost:1883".to_owned(),
            smoothness: Some(Smoothness::default()),
            broker: Some(BrokerUse::default()),
            ..Outcome::default()
        };
        outcome.traffic.published = 100;
        outcome.traffic.delivered = 100;
        outcome.traffic.expected = 100;
        outcome.latency.count = 100;
        outcome.latency.p50_us = 10.0;
        outcome.latency.max_us = 30.0;
        outcome.connections.connect.count = 2;
        outcome.connections.opened = 2;
        let sample = |tenth: u32| Sample {
            at_s: f64::from(tenth) / 10.0,
            measured: tenth > 2,
            published: 10,
            delivered: 10,
            p50_us: 10.0,
            p99_us: 20.0,
            max_us: 30.0,
            ..Sample::default()
        };
        outcome.timeline = (1..11).map(sample).collect();
        outcome
    }

    #[test]
    fn runs_of_nothing_are_a_page_too() {
        for outcomes in [vec![], vec![Outcome::default()], vec![Outcome::default(), full()]] {
            let html = page(&outcomes);
            assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
            assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
        }
    }

    #[test]
    fn numbers_that_are_none_do_not_reach_the_page() {
        let mut outcome = full();
        outcome.seconds = f64::NAN;
        outcome.traffic.delivery_rate = f64::INFINITY;
        outcome.latency.p50_us = f64::NAN;
        outcome.latency.distribution = vec![(f64::NAN, 1.0), (0.5, f64::NAN), (1.0, 5.0)];
        outcome.timeline[3].p99_us = f64::NAN;
        outcome.timeline[4].at_s = f64::NAN;
        outcome.timeline[5].broker_cores = f64::INFINITY;
        let html = page(&[outcome.clone(), outcome]);
        assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
    }

    #[test]
    fn whatever_a_user_writes_stays_text() {
        let evil = "</style><script>alert(1)</script>\" onload=\"x";
        let mut outcome = full();
        outcome.scenario = evil.to_owned();
        outcome.target = evil.to_owned();
        outcome.settings = vec![(evil.to_owned(), evil.to_owned())];
        outcome.verification.lost = 1;
        outcome.verification.examples = vec![evil.to_owned()];
        let mut other = outcome.clone();
        other.target.push('2');
        let html = page(&[outcome, other]);
        assert_eq!(html.matches("<script").count(), 1, "only the page's own");
        assert_eq!(html.matches("</style>").count(), 1);
        assert!(!html.contains("onload=\"x"));
        assert!(html.contains("&lt;script&gt;alert(1)"));
    }

    #[test]
    fn the_page_fetches_nothing() {
        let html = page(&[full()]);
        for outside in ["http:", "https:", "url(", "@import", "src=", "fetch("] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn every_plot_has_a_title_units_and_both_axes() {
        let html = page(&[full()]);
        let plots: Vec<_> = html.split("<figure class=\"plot\"").skip(1).collect();
        assert_eq!(plots.len(), 7, "throughput to broker memory");
        for plot in plots {
            let plot = plot.split("</figure>").next().expect("an end");
            assert!(plot.contains("class=\"title\">") && plot.contains("class=\"unit\">"));
            assert!(plot.matches("class=\"y\"").count() >= 2, "{plot}");
            assert!(plot.matches("class=\"x\"").count() >= 2, "{plot}");
            assert!(!plot.contains("class=\"x-title\"></div>"), "{plot}");
        }
    }
}
