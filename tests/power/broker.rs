//! The real broker on a disk that the shim has in hand.
#![allow(dead_code)] // Each test file uses its part.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::process;
use crate::shim::{CUT, Shim};

/// A broker on a disk that forgets what was not flushed when its power is cut. Each life has a folder
/// of its own, in which the disk is what the life before left.
pub struct Broker {
    shim: Option<Shim>,
    folder: TempDir,
    life: u32,
    running: Option<Running>,
    /// More for the shim: names and values of variables.
    pub shim_says: Vec<(&'static str, String)>,
}

struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Broker {
    /// A broker that does not run yet.
    pub fn new(config: &str) -> Broker {
        Broker::on(Some(Shim::compile()), config)
    }

    /// The same on a disk that is as it is.
    pub fn on_a_plain_disk(config: &str) -> Broker {
        Broker::on(None, config)
    }

    fn on(shim: Option<Shim>, config: &str) -> Broker {
        let folder = process::new_folder();
        drop(process::sluice(folder.path(), config));
        fs::create_dir(folder.path().join("life0")).expect("a folder");
        Broker { shim, folder, life: 0, running: None, shim_says: Vec::new() }
    }

    /// Starts it and waits until it serves or has ended.
    pub fn start(&mut self) -> Started {
        let mut command = self.command();
        if let Some(shim) = &self.shim {
            shim.load(&mut command, "/sluice", &self.disk(), &self.disk_of(self.life + 1));
        }
        command.envs(self.shim_says.iter().map(|(name, value)| (name, value)));
        let log = File::options().create(true).append(true).open(self.log_file());
        command.stdout(Stdio::piped()).stderr(log.expect("a log file"));
        let running = self.running.insert(Running::spawn(&mut command));
        // Before the ready line there may be words of sled's.
        let first = loop {
            match running.lines.recv_timeout(DEADLINE) {
                Ok(line) if !line.starts_with(r#"{"sluice":"ready""#) => {}
                other => break other,
            }
        };
        match first {
            Ok(ready) => Started::Serves(address(&ready)),
            Err(RecvTimeoutError::Disconnected) => match self.until_ended() {
                Some(CUT) => {
                    self.go_on();
                    Started::Cut
                }
                _ => Started::Refused(self.last_words()),
            },
            Err(RecvTimeoutError::Timeout) => panic!("not ready within {DEADLINE:?}"),
        }
    }

    /// Cuts its power so many events from now.
    pub fn cut_after(&self, events: usize) {
        let file = self.cut_file();
        let unfinished = file.with_extension("tmp");
        fs::write(&unfinished, events.to_string()).expect("a file");
        fs::rename(unfinished, file).expect("a file");
    }

    /// Waits until its power is cut; its next life has what is left.
    #[track_caller]
    pub fn until_cut(&mut self) {
        let code = self.until_ended();
        assert_eq!(code, Some(CUT), "{}", self.log_end());
        self.go_on();
    }

    fn go_on(&mut self) {
        fs::remove_dir_all(self.disk()).expect("a folder of ours");
        self.life += 1;
    }

    /// Kills it as `kill -9` does: its disk keeps what it wrote.
    pub fn kill(&mut self) {
        let running = self.running.as_mut().expect("it runs");
        running.child.kill().expect("a process of ours");
        self.until_ended();
    }

    /// Waits until it has ended: its exit code.
    pub fn until_ended(&mut self) -> Option<i32> {
        self.until_said();
        let mut running = self.running.take().expect("it runs");
        running.child.wait().expect("a child of ours").code()
    }

    /// Waits until it says nothing any more: what it said.
    fn until_said(&mut self) -> Vec<String> {
        let running = self.running.as_ref().expect("it runs");
        let mut said = Vec::new();
        loop {
            match running.lines.recv_timeout(DEADLINE) {
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Disconnected) => return said,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end within {DEADLINE:?}"),
            }
        }
    }

    /// Ends it with SIGTERM.
    #[track_caller]
    pub fn stop(&mut self) {
        let pid = self.running.as_ref().expect("it runs").child.id().to_string();
        let done = Command::new("kill").arg(pid).status();
        assert!(done.expect("the command kill").success());
        assert_eq!(self.until_ended(), Some(0), "{}", self.log_end());
    }

    /// Runs `sluice store check` on its disk: whether all is well, and what it said.
    pub fn check(&mut self) -> (bool, String) {
        let said = File::create(self.file("checked")).expect("a file");
        let mut command = self.command();
        command.args(["store", "check"]).stdout(Stdio::piped()).stderr(said);
        self.running = Some(Running::spawn(&mut command));
        let lines = self.until_said();
        let errors = fs::read_to_string(self.file("checked")).unwrap_or_default();
        (self.until_ended() == Some(0), lines.join("\n") + &errors)
    }

    /// What the shim said at the last cut.
    pub fn last_cut(&self) -> String {
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        let cut = log.lines().rev().find_map(|line| line.strip_prefix("power cut "));
        cut.unwrap_or_default().to_owned()
    }

    /// The last line of its log.
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        log.lines().last().unwrap_or_default().to_owned()
    }

    /// A file beside its disk.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The end of its log.
    pub fn log_end(&self) -> String {
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("its log ends:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"))
    }

    fn command(&self) -> Command {
        let mut command = process::again(self.folder.path());
        let path = self.disk().join("data");
        command.arg("--set").arg(format!("store.path={}", path.display()));
        command.env("SHIM_CUT", self.cut_file());
        command
    }

    fn log_file(&self) -> PathBuf {
        self.file("log")
    }

    fn cut_file(&self) -> PathBuf {
        self.file(&format!("cut{}", self.life))
    }

    /// The folder of its disk; its store is `data` in it.
    pub fn disk(&self) -> PathBuf {
        self.disk_of(self.life)
    }

    fn disk_of(&self, life: u32) -> PathBuf {
        self.file(&format!("life{life}"))
    }
}

impl Running {
    fn spawn(command: &mut Command) -> Running {
        let mut child = command.spawn().expect("the broker's program");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Running { child, lines }
    }
}

/// What became of a start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Started {
    /// It listens there.
    Serves(SocketAddr),
    /// The power was cut before.
    Cut,
    /// It does not start, and says why.
    Refused(String),
}

impl Started {
    /// Where it serves.
    #[track_caller]
    pub fn serves(self) -> SocketAddr {
        match self {
            Started::Serves(at) => at,
            other => panic!("it does not serve: {other:?}"),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
        if thread::panicking() {
            eprintln!("{}", self.log_end());
        }
    }
}

/// Where the only listener listens, by the ready line.
fn address(ready: &str) -> SocketAddr {
    let (_, rest) = ready.split_once(r#""address":""#).expect("a listener");
    let (address, _) = rest.split_once('"').expect("its address");
    address.parse().expect("an address")
}

/// How long anything may take before a test fails. Nothing waits so long when all is well.
const DEADLINE: Duration = Duration::from_secs(120);
