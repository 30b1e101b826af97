//! One cell: a fresh broker, `sluice-load` against it, and what that found.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::broker::{Broker, Running};
use crate::figures::{Figure, Figures};
use crate::rows::{Row, Section};
use crate::watch::{Watch, Watched};

/// How load is made.
pub struct Load {
    /// `sluice-load`.
    pub program: PathBuf,
    /// What is measured of each run, behind its warm-up.
    pub seconds: u32,
    /// With fewer connections.
    pub quick: bool,
}

impl Load {
    /// Runs `row` on a fresh `broker`.
    pub fn cell(&self, row: &Row, broker: &Broker) -> Result<Figures, String> {
        let mut running = broker.start()?;
        let found = if row.section == Section::Calls {
            self.counting_calls(row, &running)
        } else {
            self.found(row, &running)
        };
        match running.died() {
            Some(died) => Err(died),
            None => found,
        }
    }

    fn found(&self, row: &Row, running: &Running) -> Result<Figures, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let [found, said] = ["found", "said"].map(|name| folder.path().join(name));
        let create = |path: &Path| File::create(path).map_err(|error| error.to_string());
        let mut command = self.command(row, running);
        command.stdout(create(&found)?).stderr(create(&said)?);
        let watch = Watch::start(running.pid());
        let ended = self.ended(&mut command)?;
        let watched = watch.stop();
        let said = fs::read_to_string(said).unwrap_or_default();
        let said = said.lines().last().unwrap_or_default();
        // With exit code 1 something was lost or late: the figures are there, and say so.
        if !matches!(ended.code(), Some(0 | 1)) {
            return Err(if said.is_empty() { ended.to_string() } else { said.into() });
        }
        let found = fs::read(found).map_err(|error| error.to_string())?;
        let outcome = serde_json::from_slice(&found)
            .map_err(|error| format!("what sluice-load found cannot be read: {error}"))?;
        let figures = figures(row.section, &outcome, &watched);
        if row.section == Section::Saturated && figures.get(Figure::Rate) == Some(0.0) {
            return Err("nothing was delivered".into());
        }
        Ok(figures)
    }

    /// Runs it to its end, or kills it if that does not come.
    fn ended(&self, command: &mut Command) -> Result<ExitStatus, String> {
        let started = command.spawn();
        let mut process =
            started.map_err(|error| format!("{}: {error}", self.program.display()))?;
        let until = Instant::now() + PATIENCE + Duration::from_secs(self.seconds.into());
        while Instant::now() < until {
            if let Some(status) = process.try_wait().map_err(|error| error.to_string())? {
                return Ok(status);
            }
            sleep(Duration::from_millis(10));
        }
        // It may have ended just now.
        let _ = process.kill();
        let _ = process.wait();
        Err("sluice-load did not end".into())
    }

    /// Meanwhile counts the broker's system calls, for as long as everything is at its rate.
    fn counting_calls(&self, row: &Row, running: &Running) -> Result<Figures, String> {
        let span = Duration::from_secs(u64::from(self.seconds));
        let pid = running.pid();
        let counter = std::thread::spawn(move || calls_a_second(pid, WARM_UP * 3 / 2, span / 2));
        let mut figures = self.found(row, running)?;
        let calls = counter.join().expect("the counting thread does not panic")?;
        let rate = figures.get(Figure::Rate).ok_or("no rate")?;
        figures.set(Figure::Calls, Some(calls / rate));
        Ok(figures)
    }

    fn command(&self, row: &Row, running: &Running) -> Command {
        let mut command = Command::new(&self.program);
        let words = if self.quick { row.quick } else { row.words };
        command.args(words.split(' '));
        if !words.contains("--protocol") {
            command.args(["--protocol", "3.1.1"]);
        }
        if !words.contains("--count") && row.section != Section::Idle {
            let seconds = format!("{}s", self.seconds);
            command.args(["--duration", &seconds]);
            if row.section != Section::Storm {
                command.args(["--warm-up", &format!("{}s", WARM_UP.as_secs())]);
            }
        }
        let address = running.address(row.version5());
        command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.args(["--broker-pid", &running.pid().to_string(), "--json", "-", "--quiet"]);
        command.stdin(Stdio::null());
        command
    }
}

/// What the table shows of an outcome.
fn figures(section: Section, outcome: &Value, watched: &Watched) -> Figures {
    let read = |pointer: &str| outcome.pointer(pointer).and_then(Value::as_f64);
    let mut figures = Figures::default();
    match section {
        Section::Saturated | Section::Paced | Section::Calls => {
            figures.set(Figure::Cpu, read("/broker/cpu_us_per_message"));
            figures.set(Figure::Rate, read("/traffic/delivery_rate"));
            figures.set(Figure::P50, read("/latency/p50_us"));
            figures.set(Figure::P99, read("/latency/p99_us"));
            figures.set(Figure::Switches, read("/broker/switches_per_message"));
        }
        Section::Idle => {
            figures.set(Figure::Bytes, read("/broker/bytes_per_connection"));
            figures.set(Figure::Cpu, connecting(outcome, watched));
            let (spent, span) = (read("/broker/cpu_seconds"), read("/seconds"));
            figures.set(Figure::Rest, spent.zip(span).map(|(spent, span)| spent / span * 100.0));
        }
        Section::Storm => {
            figures.set(Figure::Cpu, read("/broker/cpu_us_per_message"));
            figures.set(Figure::Rate, read("/connections/open_rate"));
        }
        Section::Subscriptions => {
            let grown = read("/broker/resident_after").zip(read("/broker/resident_before"));
            let each = grown.map(|(after, before)| (after - before) / SUBSCRIPTIONS);
            figures.set(Figure::Bytes, each);
        }
    }
    let wrong = ["lost", "duplicates", "reordered", "corrupt", "misrouted"];
    let wrong = wrong.iter().filter_map(|what| read(&format!("/verification/{what}")));
    figures.set(Figure::Wrong, Some(wrong.sum()).filter(|count| *count > 0.0));
    figures
}

/// CPU of the broker for each connection, in microseconds: what it had used when all were open and
/// only held.
fn connecting(outcome: &Value, watched: &Watched) -> Option<f64> {
    let read = |pointer: &str| outcome.pointer(pointer).and_then(Value::as_f64);
    let opened = read("/connections/opened").filter(|count| *count > 0.0)?;
    let rate = read("/connections/open_rate").filter(|rate| *rate > 0.0)?;
    let held = read("/seconds")?;
    // In the middle of the time in which nothing happens.
    let middle = Duration::from_secs_f64(opened / rate + held / 2.0);
    Some(watched.until(middle)?.as_secs_f64() * 1e6 / opened)
}

/// System calls of a process a second, counted by `perf` for `span` from `start` on.
fn calls_a_second(pid: u32, start: Duration, span: Duration) -> Result<f64, String> {
    sleep(start);
    let began = Instant::now();
    let output = Command::new("perf")
        .args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", &pid.to_string()])
        .args(["--", "sleep", &span.as_secs_f64().to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("system calls are counted with perf: {error}"))?;
    let seconds = began.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    counted(&said)
        .map(|calls| calls / seconds)
        .ok_or_else(|| format!("perf: {}", said.lines().next().unwrap_or("it said nothing")))
}

/// The number in what `perf stat -x ,` says.
fn counted(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.contains("raw_syscalls:sys_enter"))?;
    line.split(',').next()?.parse().ok()
}

/// Beyond what is measured.
const PATIENCE: Duration = Duration::from_secs(90);
const WARM_UP: Duration = Duration::from_secs(1);
/// Of `wild`.
const SUBSCRIPTIONS: f64 = 100_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_table_shows_is_read_from_an_outcome() {
        let outcome: Value = serde_json::from_str(
            r#"{"seconds": 2.0, "traffic": {"delivery_rate": 1000.0},
                "latency": {"p50_us": 5.0, "p99_us": 9.0},
                "verification": {"lost": 2, "reordered": 1},
                "connections": {"opened": 100, "open_rate": 200.0},
                "broker": {"cpu_us_per_message": 1.5, "cpu_seconds": 0.5,
                    "bytes_per_connection": 900.0, "switches_per_message": 0.25,
                    "resident_before": 1000000, "resident_after": 21000000}}"#,
        )
        .unwrap();
        // Half a second to open them, and two in which they are held.
        let seconds = |at: f64| Duration::from_secs_f64(at);
        let watched = [(0.0, 0.0), (0.4, 0.1), (1.0, 0.2), (1.6, 0.25), (2.6, 0.5)];
        let watched = Watched::from(watched.map(|(at, used)| (seconds(at), seconds(used))));
        let shown = |section, figure| figures(section, &outcome, &watched).get(figure);
        assert_eq!(shown(Section::Saturated, Figure::Cpu), Some(1.5));
        assert_eq!(shown(Section::Paced, Figure::P99), Some(9.0));
        assert_eq!(shown(Section::Saturated, Figure::Wrong), Some(3.0));
        assert_eq!(shown(Section::Idle, Figure::Cpu), Some(2500.0));
        assert_eq!(shown(Section::Idle, Figure::Rest), Some(25.0));
        assert_eq!(shown(Section::Idle, Figure::Bytes), Some(900.0));
        assert_eq!(shown(Section::Storm, Figure::Rate), Some(200.0));
        assert_eq!(shown(Section::Subscriptions, Figure::Bytes), Some(200.0));
        assert_eq!(shown(Section::Subscriptions, Figure::Cpu), None);
    }

    #[test]
    fn the_count_of_perf_is_read() {
        let said = "60012,,raw_syscalls:sys_enter,1999941873,100.00,,\n";
        assert_eq!(counted(said), Some(60012.0));
        assert_eq!(counted("<not counted>,,raw_syscalls:sys_enter,0,100.00,,\n"), None);
        assert_eq!(counted("event syntax error\n"), None);
    }
}
