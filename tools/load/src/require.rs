//! What a run must reach: `p99<5ms,loss=0,rate>=100k`.

use std::fmt;
use std::str::FromStr;

use crate::outcome::Outcome;
use crate::quantity::{number, span};

/// What a run must reach: all of these.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requirements(Vec<Requirement>);

/// One thing that a run must reach.
#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    text: String,
    figure: &'static Figure,
    relation: Relation,
    /// Microseconds, if the figure is a time.
    bound: f64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Relation {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
}

/// A figure of a run.
#[derive(Debug)]
struct Figure {
    name: &'static str,
    kind: Kind,
    /// The figure, if the run has it.
    of: fn(&Outcome) -> Option<f64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Time,
    Number,
}

impl PartialEq for Figure {
    fn eq(&self, other: &Figure) -> bool {
        self.name == other.name
    }
}

impl Requirements {
    /// What `outcome` does not reach, a line each.
    pub fn unmet(&self, outcome: &Outcome) -> Vec<String> {
        self.0.iter().filter_map(|requirement| requirement.unmet(outcome)).collect()
    }
}

impl Requirement {
    fn unmet(&self, outcome: &Outcome) -> Option<String> {
        let Requirement { text, figure, relation, bound } = self;
        let Some(found) = (figure.of)(outcome) else {
            return Some(format!("{text}: this run has no {}", figure.name));
        };
        let holds = match relation {
            Relation::Below => found < *bound,
            Relation::AtMost => found <= *bound,
            Relation::Above => found > *bound,
            Relation::AtLeast => found >= *bound,
            Relation::Equal => found == *bound,
        };
        let shown = match figure.kind {
            Kind::Time => format!("{:.3}ms", found / 1e3),
            Kind::Number if found.fract() == 0.0 => format!("{found:.0}"),
            Kind::Number => format!("{found:.2}"),
        };
        (!holds).then(|| format!("{text}: it is {shown}"))
    }
}

impl FromStr for Requirements {
    type Err = String;

    fn from_str(text: &str) -> Result<Requirements, String> {
        text.split(',').map(requirement).collect::<Result<_, _>>().map(Requirements)
    }
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let text = text.trim();
    let (at, sign, relation) = SIGNS
        .iter()
        .filter_map(|(sign, relation)| text.find(sign).map(|at| (at, *sign, *relation)))
        .min_by_key(|(at, sign, _)| (*at, usize::MAX - sign.len()))
        .ok_or_else(|| format!("{text:?} is no requirement such as p99<5ms or loss=0"))?;
    let (name, bound) = (text[..at].trim(), text[at + sign.len()..].trim());
    let figure = FIGURES.iter().find(|figure| figure.name == name).ok_or_else(|| {
        let names: Vec<&str> = FIGURES.iter().map(|figure| figure.name).collect();
        format!("{text:?}: {name:?} is no figure of a run; there are {}", names.join(", "))
    })?;
    let bound = match figure.kind {
        Kind::Time => micros(bound),
        Kind::Number => number(bound),
    };
    let bound = bound.map_err(|error| format!("{text:?}: {error}"))?;
    Ok(Requirement { text: text.into(), figure, relation, bound })
}

/// A time, also one below a millisecond.
fn micros(text: &str) -> Result<f64, String> {
    let micros = text.strip_suffix("us").or_else(|| text.strip_suffix("µs"));
    match micros.map(number) {
        Some(Ok(micros)) => Ok(micros),
        _ => match text.strip_suffix("ms").map(number) {
            Some(Ok(millis)) => Ok(millis * 1e3),
            _ => span(text)
                .map(|span| span.as_secs_f64() * 1e6)
                .map_err(|_| format!("{text:?} is no time such as 250us, 5ms or 1s")),
        },
    }
}

impl fmt::Display for Requirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.0.iter().map(|requirement| requirement.text.as_str()).collect();
        f.write_str(&texts.join(","))
    }
}

/// The longer of two that begin alike first.
const SIGNS: &[(&str, Relation)] = &[
    ("<=", Relation::AtMost),
    (">=", Relation::AtLeast),
    ("<", Relation::Below),
    (">", Relation::Above),
    ("=", Relation::Equal),
];

macro_rules! figures {
    ($($name:literal $kind:ident $of:expr;)*) => {
        &[$(Figure { name: $name, kind: Kind::$kind, of: $of }),*]
    };
}

fn timed(latency: &crate::outcome::Latency, time: f64) -> Option<f64> {
    (latency.count > 0).then_some(time)
}

/// Every figure that can be required.
const FIGURES: &[Figure] = figures! {
    "p50" Time |run| timed(&run.latency, run.latency.p50_us);
    "p90" Time |run| timed(&run.latency, run.latency.p90_us);
    "p99" Time |run| timed(&run.latency, run.latency.p99_us);
    "p99.9" Time |run| timed(&run.latency, run.latency.p999_us);
    "max" Time |run| timed(&run.latency, run.latency.max_us);
    "mean" Time |run| timed(&run.latency, run.latency.mean_us);
    "ack-p99" Time |run| timed(&run.acknowledgement, run.acknowledgement.p99_us);
    "connect-p99" Time |run| timed(&run.connections.connect, run.connections.connect.p99_us);
    "rate" Number |run| Some(run.traffic.delivery_rate);
    "publish-rate" Number |run| Some(run.traffic.publish_rate);
    "connect-rate" Number |run| Some(run.connections.open_rate);
    "loss" Number |run| Some(run.verification.lost as f64);
    "duplicates" Number |run| Some(run.verification.duplicates as f64);
    "reordered" Number |run| Some(run.verification.reordered as f64);
    "corrupt" Number |run| Some(run.verification.corrupt as f64);
    "misrouted" Number |run| Some(run.verification.misrouted as f64);
    "refused" Number |run| Some(run.traffic.refused as f64);
    "disconnects" Number |run| Some(run.connections.lost as f64);
    "variation" Number |run| run.smoothness.as_ref().map(|smoothness| smoothness.variation);
    "cpu" Time |run| run.broker.as_ref().map(|broker| broker.cpu_us_per_message);
    "memory" Number |run| run.broker.as_ref().map(|broker| broker.bytes_per_connection);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Latency, Traffic, Verification};

    fn run() -> Outcome {
        Outcome {
            latency: Latency { count: 10, p99_us: 4_999.0, p999_us: 7_000.0, ..Latency::default() },
            traffic: Traffic { delivery_rate: 100_000.0, ..Traffic::default() },
            verification: Verification { lost: 3, ..Verification::default() },
            ..Outcome::default()
        }
    }

    #[test]
    fn what_holds_is_met_and_what_does_not_is_said() {
        for (text, unmet) in [
            ("p99<5ms", vec![]),
            ("p99 < 4999us", vec!["p99 < 4999us: it is 4.999ms"]),
            ("p99<=4999us,rate>=100k", vec![]),
            ("p99.9<1s,rate>100k", vec!["rate>100k: it is 100000"]),
            ("loss=0,p99>5ms", vec!["loss=0: it is 3", "p99>5ms: it is 4.999ms"]),
            ("memory<1500", vec!["memory<1500: this run has no memory"]),
            ("ack-p99<1s", vec!["ack-p99<1s: this run has no ack-p99"]),
        ] {
            let requirements: Requirements = text.parse().unwrap();
            assert_eq!(requirements.unmet(&run()), unmet, "{text}");
        }
    }

    #[test]
    fn what_is_no_requirement_is_refused_in_one_line() {
        for (text, word) in [
            ("", "no requirement"),
            ("p99", "no requirement"),
            ("p99<", "no time"),
            ("p99<5", "no time"),
            ("p98<5ms", "there are p50, p90"),
            ("loss=few", "no number"),
            ("loss=0,,", "no requirement"),
        ] {
            let error = text.parse::<Requirements>().unwrap_err();
            assert!(error.contains(word) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
