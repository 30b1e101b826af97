//! The broker that is killed. What it says of itself is read as it says it, so that a kill can be
//! placed inside a checkpoint or a start, and is known to have been there.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::watch::{Life, Watch};
use crate::process::{again, listeners, new_folder, sluice};

/// A broker with its files in a folder of its own.
pub struct Broker {
    folder: TempDir,
    watch: Arc<Watch>,
    process: Process,
}

struct Process {
    child: Child,
    begun: Instant,
}

impl Broker {
    /// Starts one with `config`, which makes the store tell of checkpoints; `watch` is told what it
    /// says.
    pub fn start(config: &str, watch: Arc<Watch>) -> Broker {
        let folder = new_folder();
        let process = Process::start(sluice(folder.path(), config), watch.clone());
        let broker = Broker { folder, watch, process };
        broker.until_ready();
        broker
    }

    /// Starts it again so that clients can ask for panics, with a log on a full disk or not; it serves when
    /// this returns.
    pub fn start_to_fail(&mut self, full_log: bool) {
        let mut command = again(self.folder.path());
        command.env("SLUICE_FAULTS", "1");
        self.process = Process::start_with(command, self.watch.clone(), full_log);
        self.until_ready();
    }

    /// Stops it by SIGTERM, and waits until it has ended in order.
    pub fn stop(&mut self) {
        let pid = self.process.child.id().to_string();
        let told = Command::new("kill").args(["-s", "TERM", &pid]).status();
        assert!(told.expect("the command kill").success());
        let code = self.process.child.wait().expect("a child of ours").code();
        self.watch.until(|state| state.life.ended.then_some(()));
        assert_eq!(code, Some(0));
    }

    /// Starts it again with the files it has; it may be anywhere in its start when this returns.
    pub fn start_again(&mut self) {
        self.process = Process::start(again(self.folder.path()), self.watch.clone());
        self.heard(|life| life.opening.then_some(()));
    }

    /// Waits until it begins to take over what its store remembers.
    pub fn until_taking_over(&self) {
        self.heard(|life| life.taking_over.then_some(()));
    }

    /// Waits until it serves; returns how long it took since it was started.
    pub fn until_ready(&self) -> Duration {
        self.heard(|life| life.ready.clone().map(drop));
        self.process.begun.elapsed()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        let ready = self.heard(|life| life.ready.clone());
        listeners(&ready).first().expect("a listener").1
    }

    /// Kills it as `kill -9` does; all that it has said.
    pub fn kill(&mut self) -> Life {
        let ended = self.process.child.try_wait().expect("a child of ours");
        self.process.child.kill().expect("a process of ours");
        self.process.child.wait().expect("a child of ours");
        let life = self.watch.until(|state| state.life.ended.then(|| state.life.clone()));
        let life = life.expect("the end of what a dead process says");
        assert!(ended.is_none(), "it ended by itself, {ended:?}: {}", show(&life));
        life
    }

    /// Waits until it has said what is wanted.
    fn heard<T>(&self, wanted: impl Fn(&Life) -> Option<T>) -> T {
        let seen = self.watch.until(|state| match wanted(&state.life) {
            Some(seen) => Some(Ok(seen)),
            None => state.life.ended.then(|| Err(show(&state.life))),
        });
        match seen {
            Some(Ok(seen)) => seen,
            Some(Err(said)) => panic!("the broker ended by itself:\n{said}"),
            None => panic!("the broker does not start"),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.child.kill();
        let _ = self.process.child.wait();
        if thread::panicking() {
            let said = self.watch.until(|state| Some(show(&state.life)));
            eprintln!("what the broker said ends:\n{}", said.unwrap_or_default());
        }
    }
}

impl Process {
    fn start(command: Command, watch: Arc<Watch>) -> Process {
        Process::start_with(command, watch, false)
    }

    fn start_with(mut command: Command, watch: Arc<Watch>, full_log: bool) -> Process {
        watch.note(|state| state.life = Life::default());
        let (said, say) = std::io::pipe().expect("a pipe");
        command.stdout(say.try_clone().expect("a pipe"));
        if full_log {
            let full = File::options().write(true).open("/dev/full").expect("/dev/full");
            command.stderr(full);
            drop(say);
        } else {
            command.stderr(say);
        }
        let begun = Instant::now();
        let child = command.spawn().expect("the broker's program");
        // With the command goes our end of the pipe that it writes to.
        drop(command);
        thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                watch.note(|state| state.life.hear(line));
            }
            watch.note(|state| state.life.ended = true);
        });
        Process { child, begun }
    }
}

fn show(life: &Life) -> String {
    life.tail.iter().map(|line| format!("{line}\n")).collect()
}
