//! What the rounds of a class come to: medians, limits, tables.

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Options;
use crate::classes::{Class, Logins};
use crate::round::{BACK_BYTES, Figures};

/// Memory that an attack may take, in bytes above what was before.
const MOST_BYTES: u64 = 64 << 20;
/// Processors that it may take. What is counted in ticks may be a little more than there was.
const MOST_CPU: f64 = 1.02;
/// How much longer than in the control run a ping of the healthy client may take.
const MOST_TIMES: f64 = 2.0;

/// A class with its rounds against the broker and against the sink.
pub struct Row {
    pub class: &'static Class,
    pub attacked: Vec<Figures>,
    pub control: Vec<Figures>,
}

impl Row {
    /// Of the table for people.
    pub fn heading() -> String {
        format!(
            "{:<20} {:>11} {:>11} {:<12} {:>5} {:>5} {:>6} {:>6} {:>6} {:>5} {:>9} {:>9} {:>6}",
            "class",
            "load/s",
            "sink's",
            "",
            "CPU",
            "sink",
            "MiB",
            "most",
            "after",
            "s",
            "p99 µs",
            "sink's",
            "missed"
        )
    }

    /// The limits that are broken, in words.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut limit = |is_kept: bool, what: String| {
            if !is_kept {
                broken.push(what);
            }
        };
        let most = self.above(|round| round.most);
        limit(most <= MOST_BYTES, format!("{} MiB above before", mib(most)));
        let after = self.above_after();
        limit(after <= BACK_BYTES, format!("{} MiB above before a minute after", mib(after)));
        let cpu = self.median(|round| round.cpu);
        limit(cpu <= MOST_CPU, format!("{cpu:.2} processors"));
        let times = self.times();
        limit(times <= MOST_TIMES, format!("p99 {times:.1} times that of the control"));
        let missed: usize = self.attacked.iter().map(|round| round.missed).sum();
        limit(missed == 0, format!("{missed} pings missed"));
        broken
    }

    fn median(&self, of: impl Fn(&Figures) -> f64) -> f64 {
        median(&self.attacked, of)
    }

    fn above(&self, of: impl Fn(&Figures) -> u64) -> u64 {
        median(&self.attacked, |round| of(round).saturating_sub(round.before) as f64) as u64
    }

    /// Only the last round waits until memory has come back.
    fn above_after(&self) -> u64 {
        self.attacked.last().map_or(0, |round| round.after.saturating_sub(round.before))
    }

    fn times(&self) -> f64 {
        self.median(p99) / median(&self.control, p99).max(1.0)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let control = |of: fn(&Figures) -> f64| median(&self.control, of);
        let last = self.attacked.last().copied().unwrap_or_default();
        write!(
            f,
            "{:<20} {:>11.0} {:>11.0} {:<12} {:>4.0}% {:>4.0}% {:>6.0} {:>6.0} {:>6} {:>5} {:>9.0} \
             {:>9.0} {:>6}",
            self.class.name,
            self.median(load),
            control(load),
            self.class.unit,
            100.0 * self.median(|round| round.cpu),
            100.0 * control(|round| round.cpu),
            self.median(|round| mib(round.before) as f64),
            self.median(|round| mib(round.most) as f64),
            mib(last.after),
            last.back.map_or("-".to_owned(), |back| format!("{:.1}", back.as_secs_f64())),
            self.median(p99),
            control(p99),
            self.attacked.iter().map(|round| round.missed).sum::<usize>(),
        )?;
        for broken in self.broken() {
            write!(f, "\n    {broken}")?;
        }
        Ok(())
    }
}

/// The table of the documents.
pub fn markdown(options: &Options, rows: &[Row]) -> String {
    let mut text = format!(
        "{} rounds of {} s, the broker and the sink in turns; medians. Memory after: of the last round.\n\n\
         | class | what the attacker does | load a second, at the sink | refused a second | CPU, of the sink | \
         MiB before, most, after | back in | p99, of the sink | longest | missed |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        options.rounds, options.seconds
    );
    for row in rows {
        let control = |of: fn(&Figures) -> f64| median(&row.control, of);
        let last = row.attacked.last().copied().unwrap_or_default();
        let _ = writeln!(
            text,
            "| {} | {}{} | {:.0} {}, {:.0} | {:.0} | {:.0} %, {:.0} % | {:.0}, {:.0}, {} | {} | {}, {} | {} | \
             {} |",
            row.class.name,
            row.class.what,
            match row.class.logins {
                Logins::Open => "",
                Logins::Strangers => " ¹",
                Logins::Passwords => " ²",
            },
            row.median(load),
            row.class.unit,
            control(load),
            row.median(|round| round.refused),
            100.0 * row.median(|round| round.cpu),
            100.0 * control(|round| round.cpu),
            row.median(|round| mib(round.before) as f64),
            row.median(|round| mib(round.most) as f64),
            mib(last.after),
            last.back.map_or("not".to_owned(), |back| format!("{:.1} s", back.as_secs_f64())),
            time(row.median(p99)),
            time(control(p99)),
            time(row.median(|round| micros(round.longest))),
            row.attacked.iter().map(|round| round.missed).sum::<usize>(),
        );
    }
    text += "\n¹ With a password file, and `allow_anonymous = true`: the attacker is a stranger beside verified \
             users. ² With a password file. All others: without any names, on a loopback address.\n";
    for row in rows {
        for broken in row.broken() {
            let _ = writeln!(text, "\nBroken: {}: {broken}.", row.class.name);
        }
    }
    text
}

/// Every figure of every round.
pub fn json(options: &Options, rows: &[Row]) -> String {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let rounds = |rounds: &[Figures]| rounds.iter().map(figures).collect::<Vec<_>>();
            json!({
                "class": row.class.name,
                "what": row.class.what,
                "unit": row.class.unit,
                "attacked": rounds(&row.attacked),
                "control": rounds(&row.control),
                "broken": row.broken(),
            })
        })
        .collect();
    let all = json!({ "rounds": options.rounds, "seconds": options.seconds, "classes": rows });
    format!("{all:#}\n")
}

fn figures(round: &Figures) -> Value {
    json!({
        "load_per_s": round.load,
        "refused_per_s": round.refused,
        "bytes_per_s": round.bytes,
        "cpu": round.cpu,
        "memory_before": round.before,
        "memory_most": round.most,
        "memory_after": round.after,
        "back_s": round.back.map(|back| back.as_secs_f64()),
        "p50_us": micros(round.p50),
        "p99_us": micros(round.p99),
        "longest_us": micros(round.longest),
        "missed": round.missed,
    })
}

/// The one in the middle.
fn median(rounds: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    let mut all: Vec<f64> = rounds.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn load(round: &Figures) -> f64 {
    round.load
}

fn p99(round: &Figures) -> f64 {
    micros(round.p99)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn time(micros: f64) -> String {
    if micros < 1000.0 { format!("{micros:.0} µs") } else { format!("{:.1} ms", micros / 1000.0) }
}

fn mib(bytes: u64) -> u64 {
    (bytes + (1 << 19)) >> 20
}
