//! The rounds of a class: the broker and the sink in turns, each attacked once a round.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::classes::Class;
use crate::healthy::Healthy;
use crate::report::Row;
use crate::victim::{Victim, common};
use crate::{Options, Outcome};

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long memory may take to come back.
const BACK: Duration = Duration::from_secs(60);
/// Memory above what was before that counts as back.
pub const BACK_BYTES: u64 = 16 << 20;

/// What one attack did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Steps of the attacker in a second, and those of them that were refused.
    pub load: f64,
    pub refused: f64,
    /// Bytes it wrote in a second.
    pub bytes: f64,
    /// CPU of what was attacked, in processors.
    pub cpu: f64,
    /// Memory before, the most meanwhile, and after, in bytes.
    pub before: u64,
    pub most: u64,
    pub after: u64,
    /// How long the memory took to come back, if it did.
    pub back: Option<Duration>,
    /// What the healthy client saw.
    pub p50: Duration,
    pub p99: Duration,
    pub longest: Duration,
    pub missed: usize,
}

/// What all rounds share.
pub struct Rounds<'a> {
    options: &'a Options,
    common: TempDir,
    /// The attacker's.
    processor: usize,
}

impl<'a> Rounds<'a> {
    pub fn new(options: &'a Options, processor: usize) -> Outcome<Rounds<'a>> {
        Ok(Rounds { options, common: common(&options.sluice)?, processor })
    }

    /// All rounds of a class. How memory comes back is awaited in the last one.
    pub fn of(&self, class: &'static Class) -> Outcome<Row> {
        let (mut attacked, mut control) = (Vec::new(), Vec::new());
        for left in (0..self.options.rounds).rev() {
            let broker = self.broker(class)?;
            attacked.push(self.round(&broker, class, left == 0 && !self.options.small)?);
            drop(broker);
            let sink = Victim::sink(self.common.path())?;
            control.push(self.round(&sink, class, false)?);
        }
        Ok(Row { class, attacked, control })
    }

    pub fn broker(&self, class: &Class) -> Outcome<Victim> {
        self.broker_over(tempfile::tempdir()?, class)
    }

    /// The same over the store that another one has left.
    pub fn broker_over(&self, folder: TempDir, class: &Class) -> Outcome<Victim> {
        Victim::broker(folder, &self.options.sluice, self.common.path(), class)
    }

    fn round(&self, victim: &Victim, class: &Class, is_last: bool) -> Outcome<Figures> {
        if class.prepare.is_some() {
            self.prepare(victim, class)?;
        }
        let healthy = Healthy::start(victim.plain)?;
        let before = victim.memory()?;
        let (cpu, begun) = (victim.cpu()?, Instant::now());
        let mut attacker = self.attacker("attack", victim, class).stdout(Stdio::piped()).spawn()?;
        let mut most = before;
        while attacker.try_wait()?.is_none() {
            most = most.max(victim.memory()?);
            thread::sleep(LOOK);
        }
        let (cpu, span) = (victim.cpu()? - cpu, begun.elapsed());
        let pings = healthy.stop()?;
        let mut said = String::new();
        attacker.stdout.take().ok_or("no standard output")?.read_to_string(&mut said)?;
        let said: Value = serde_json::from_str(&said).map_err(|_| "the attacker failed")?;
        let rate = |name: &str| said[name].as_f64().unwrap_or(0.0) / self.options.seconds;
        let back = if is_last { comes_back(victim, before)? } else { None };
        Ok(Figures {
            load: rate("done"),
            refused: rate("refused"),
            bytes: rate("bytes"),
            cpu: cpu.as_secs_f64() / span.as_secs_f64(),
            before,
            most,
            after: victim.memory()?,
            back,
            p50: pings.part(50),
            p99: pings.part(99),
            longest: pings.part(100),
            missed: pings.missed,
        })
    }

    /// Does what has to be there before the attack.
    pub fn prepare(&self, victim: &Victim, class: &Class) -> Outcome<()> {
        let status = self.attacker("prepare", victim, class).status()?;
        if status.success() { Ok(()) } else { Err("the preparation failed".into()) }
    }

    fn attacker(&self, part: &str, victim: &Victim, class: &Class) -> Command {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("attack"));
        let mut command = Command::new(program);
        command.args(["--part", part, "--folder"]).arg(self.common.path());
        command.args(["--seconds", &self.options.seconds.to_string()]);
        command.args(["--on", &self.processor.to_string()]);
        let at = [victim.plain, victim.tls, victim.http].map(|at| at.to_string());
        command.arg("--at").args(at);
        if self.options.small {
            command.arg("--small");
        }
        command.args(["--", class.name]);
        command
    }
}

/// How long the memory takes to come back, if it does.
fn comes_back(victim: &Victim, before: u64) -> Outcome<Option<Duration>> {
    let begun = Instant::now();
    while begun.elapsed() < BACK {
        if victim.memory()? <= before + BACK_BYTES {
            return Ok(Some(begun.elapsed()));
        }
        thread::sleep(LOOK);
    }
    Ok(None)
}
