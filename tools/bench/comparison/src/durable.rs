//! What it costs to keep messages safe: the rows of `tools/bench/durable`, and what is found in them.
//!
//! * *Acknowledged*: one publisher writes to one Session while its client is offline.
//! * *Online*: pairs of connected clients with Sessions that outlive their connections.
//! * *Backlog*: many messages wait in many Sessions; the broker is killed and comes back.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::broker::{Broker, Keeps, Running};

/// A broker that keeps Sessions in one way.
#[derive(Clone, Debug)]
pub struct Subject {
    /// For the table.
    pub title: &'static str,
    /// Its program.
    pub broker: Broker,
    /// Sluice's `store.durability`; none keeps in memory.
    pub durability: Option<&'static str>,
}

/// How load is made.
#[derive(Debug)]
pub struct Bench {
    /// `sluice-load`.
    pub load: PathBuf,
    /// Measured each time.
    pub seconds: u32,
    /// Where the brokers' folders are: on the disk that is to be measured.
    pub folder: PathBuf,
}

/// One publisher, one Session without a client.
#[derive(Clone, Copy, Debug, Default)]
pub struct Acknowledged {
    /// Messages acknowledged a second.
    pub rate: f64,
    /// Time to the acknowledgement that half of them are within, in microseconds.
    pub p50: f64,
    /// The same of 99 %.
    pub p99: f64,
    /// The broker's CPU for each message, in microseconds.
    pub cpu: f64,
}

/// Connected pairs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Online {
    /// The broker's CPU for each delivered message, in microseconds.
    pub cpu: f64,
    /// Messages delivered a second.
    pub rate: f64,
    /// Lost, doubled, reordered or corrupt.
    pub wrong: f64,
}

/// What waits in Sessions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backlog {
    /// Messages acknowledged before the kill.
    pub acknowledged: u64,
    /// The broker's CPU for each of them, in microseconds.
    pub cpu: f64,
    /// Resident bytes of the broker at most, while they came.
    pub resident_max: u64,
    /// Resident bytes when they were all there and the store had come to rest.
    pub resident: u64,
    /// Bytes in the store's folder.
    pub stored: u64,
    /// From the start of the program to its listening.
    pub start: Duration,
    /// CPU that took, all threads.
    pub start_cpu: Duration,
    /// Resident bytes then.
    pub resident_after: u64,
    /// Messages that came out.
    pub delivered: u64,
    /// Lost, doubled, reordered or corrupt.
    pub wrong: u64,
}

impl Bench {
    /// One publisher with so many messages in flight.
    pub fn acknowledged(&self, subject: &Subject, in_flight: u32) -> Result<Acknowledged, String> {
        let home = self.home()?;
        let running = subject.start(home.path())?;
        let state = home.path().join("state").display().to_string();
        let (window, seconds) = (in_flight.to_string(), format!("{}s", self.seconds));
        let outcome = self.outcome(
            &running,
            &["durable", "--state", &state, "--publishers", "1", "--window", &window],
            &["--duration", &seconds],
        )?;
        Ok(Acknowledged {
            rate: number(&outcome, "/traffic/acknowledged") / number(&outcome, "/seconds"),
            p50: number(&outcome, "/acknowledgement/p50_us"),
            p99: number(&outcome, "/acknowledgement/p99_us"),
            cpu: number(&outcome, "/broker/cpu_us_per_message"),
        })
    }

    /// Fifty pairs of connected clients, as fast as they may or at a rate.
    pub fn online(
        &self,
        subject: &Subject,
        qos: &str,
        rate: Option<&str>,
    ) -> Result<Online, String> {
        let home = self.home()?;
        let running = subject.start(home.path())?;
        let seconds = format!("{}s", self.seconds);
        let mut more = vec!["--duration", &seconds, "--warm-up", "1s"];
        more.extend(rate.iter().flat_map(|rate| ["--rate", rate]));
        let outcome = self.outcome(
            &running,
            &["pair", "--persistent", "--publishers", "50", "--window", "16", "--qos", qos],
            &more,
        )?;
        Ok(Online {
            cpu: number(&outcome, "/broker/cpu_us_per_message"),
            rate: number(&outcome, "/traffic/delivery_rate"),
            wrong: wrong(&outcome),
        })
    }

    /// So many messages in so many Sessions; the broker is killed and started again.
    pub fn backlog(
        &self,
        subject: &Subject,
        messages: u64,
        sessions: u64,
        every: &mut dyn FnMut(&str),
    ) -> Result<Backlog, String> {
        let home = self.home()?;
        let mut running = subject.start(home.path())?;
        let runs = sessions.div_ceil(SESSIONS_AT_ONCE);
        let state = |run: u64| home.path().join(format!("state{run}")).display().to_string();
        let mut backlog = Backlog::default();
        let mut cpu = 0.0;
        for run in 0..runs {
            let (pairs, count) = ((sessions / runs).to_string(), (messages / runs).to_string());
            let (state, topic) = (state(run), format!("backlog/{run}/{{pub}}"));
            let outcome = self.outcome(
                &running,
                &["durable", "--state", &state, "--publishers", &pairs, "--count", &count],
                &["--window", "2", "--topic", &topic],
            )?;
            backlog.acknowledged += number(&outcome, "/traffic/acknowledged") as u64;
            cpu += number(&outcome, "/broker/cpu_seconds");
            let most = number(&outcome, "/broker/resident_max") as u64;
            backlog.resident_max = backlog.resident_max.max(most);
            every(&format!("{} messages written", backlog.acknowledged));
        }
        backlog.cpu = cpu * 1e6 / backlog.acknowledged as f64;
        at_rest(&running)?;
        backlog.resident = resident(running.pid())?;
        backlog.stored = bytes_in(&home.path().join(STORE));
        drop(running);
        let begun = Instant::now();
        running = subject.start(home.path())?;
        backlog.start = begun.elapsed();
        backlog.start_cpu = Duration::from_millis(ticks(running.pid())? * 10);
        backlog.resident_after = resident(running.pid())?;
        every(&format!("back in {:.2} s", backlog.start.as_secs_f64()));
        for run in 0..runs {
            let state = state(run);
            let outcome =
                self.outcome(&running, &["durable", "--state", &state, "--verify"], &[])?;
            backlog.delivered += number(&outcome, "/traffic/delivered") as u64;
            backlog.wrong += wrong(&outcome) as u64;
            every(&format!("{} messages read", backlog.delivered));
        }
        Ok(backlog)
    }

    fn home(&self) -> Result<tempfile::TempDir, String> {
        tempfile::tempdir_in(&self.folder)
            .map_err(|error| format!("{}: {error}", self.folder.display()))
    }

    /// What `sluice-load` found.
    fn outcome(&self, running: &Running, words: &[&str], more: &[&str]) -> Result<Value, String> {
        let address = running.address(true);
        let mut command = Command::new(&self.load);
        command.args(words).args(more);
        command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.args(["--broker-pid", &running.pid().to_string(), "--json", "-", "--quiet"]);
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("{}: {error}", self.load.display()))?;
        // With exit code 1 something was lost or late: the figures are there, and say so.
        if !matches!(output.status.code(), Some(0 | 1)) {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(said.lines().last().unwrap_or("sluice-load ended").to_owned());
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("what sluice-load found cannot be read: {error}"))
    }
}

impl Subject {
    fn start(&self, home: &Path) -> Result<Running, String> {
        let path = home.join(STORE);
        self.broker.start_keeping(&match self.durability {
            Some(durability) => Keeps::InFolder { path: &path, durability },
            None => Keeps::InMemory,
        })
    }
}

fn number(outcome: &Value, pointer: &str) -> f64 {
    outcome.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0)
}

fn wrong(outcome: &Value) -> f64 {
    let all = ["lost", "duplicates", "reordered", "corrupt", "misrouted"];
    all.iter().map(|what| number(outcome, &format!("/verification/{what}"))).sum()
}

/// Waits until a broker does nothing: what it was given is where it stays.
fn at_rest(running: &Running) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    let mut before = ticks(running.pid())?;
    while Instant::now() < until {
        sleep(Duration::from_secs(3));
        let now = ticks(running.pid())?;
        if now - before <= RESTING {
            return Ok(());
        }
        before = now;
    }
    Err("it does not come to rest".into())
}

/// CPU that a process has used, in hundredths of a second.
fn ticks(pid: u32) -> Result<u64, String> {
    let text = read(&format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    field(11).zip(field(12)).map(|(user, system)| user + system).ok_or("no CPU times".into())
}

fn resident(pid: u32) -> Result<u64, String> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or("no VmRSS".into())
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

/// Bytes on disk of all files in a folder.
fn bytes_in(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_in(&entry.path()),
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    });
    bytes.sum()
}

/// Writes 4 KiB and flushes it, again and again: how long the disk takes, median and 99 %, in
/// microseconds.
pub fn flush_time(folder: &Path) -> Result<(f64, f64), String> {
    let measure = || -> std::io::Result<Vec<f64>> {
        use std::os::unix::fs::FileExt;
        let file = tempfile::tempfile_in(folder)?;
        let block = [7; 4096];
        let mut times = Vec::new();
        // It is laid out first: a journal writes into room that is there.
        (0..FLUSHES).try_for_each(|at| file.write_all_at(&block, at * 4096))?;
        File::sync_all(&file)?;
        for at in 0..FLUSHES {
            let begun = Instant::now();
            file.write_all_at(&block, at * 4096)?;
            file.sync_data()?;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        Ok(times)
    };
    let times = measure().map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok((times[times.len() / 2], times[times.len() * 99 / 100]))
}

/// The store's folder in a broker's home.
const STORE: &str = "data";
/// So many connect at once: publishers and subscribers are twice as many.
const SESSIONS_AT_ONCE: u64 = 5_000;
const PATIENCE: Duration = Duration::from_secs(120);
/// So much CPU in three seconds is rest, in hundredths of a second.
const RESTING: u64 = 10;
const FLUSHES: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_and_a_folder_are_measured() {
        let pid = std::process::id();
        assert!(resident(pid).unwrap() > 100_000);
        ticks(pid).unwrap();
        assert!(ticks(u32::MAX).is_err() && resident(u32::MAX).is_err());
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("within")).unwrap();
        fs::write(folder.path().join("within/file"), [1; 10_000]).unwrap();
        assert!(bytes_in(folder.path()) >= 10_000);
        let (half, most) = flush_time(folder.path()).unwrap();
        assert!(half > 0.0 && most >= half);
    }

    #[test]
    fn what_is_wrong_is_added_up() {
        let outcome: Value =
            serde_json::from_str(r#"{"verification": {"lost": 2, "duplicates": 3}}"#).unwrap();
        assert_eq!((wrong(&outcome), number(&outcome, "/seconds")), (5.0, 0.0));
    }
}
