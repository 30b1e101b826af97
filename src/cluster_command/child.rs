//! The processes of `sluice cluster dev`: started, watched, ended.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sluicemq::time::{Clock, SystemClock};

/// A process of the cluster. Dropped, it has ended.
pub struct DevChild {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

/// Where the output of a process goes.
pub struct DevOutput {
    /// What it says on standard error is added to this file.
    pub log: PathBuf,
    /// What it prints is all of this file; none: nowhere.
    pub printed: Option<PathBuf>,
}

/// The first argument of this program as one that becomes another; no user types it.
pub const MARK: &str = "--child-of-a-cluster";
/// How often it is looked whether a process has ended.
pub const LOOK: Duration = Duration::from_millis(20);
/// Lines of a log that are shown of a process that has ended too early.
const LAST_LINES: usize = 5;

impl DevChild {
    /// Starts `program` in a process group of its own, so that Ctrl-C in a terminal does not reach it; it ends with
    /// this process.
    ///
    /// # Errors
    ///
    /// It cannot be started, or a file not be made.
    pub fn start(
        name: &str,
        program: &Path,
        arguments: &[OsString],
        output: DevOutput,
    ) -> io::Result<DevChild> {
        let log = File::options().create(true).append(true).open(&output.log)?;
        let printed = match &output.printed {
            Some(path) => File::create(path)?.into(),
            None => Stdio::null(),
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.args([MARK, &std::process::id().to_string()]).arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(printed).stderr(log).process_group(0);
        // A node has what its file says, and is no service of a manager.
        for (key, _) in std::env::vars_os() {
            let text = key.to_string_lossy();
            if (text.starts_with("SLUICE_") && text.contains("__")) || text == "NOTIFY_SOCKET" {
                command.env_remove(&key);
            }
        }
        let child = command.spawn()?;
        Ok(DevChild { name: name.to_owned(), child, log: output.log, ended: None })
    }

    /// How it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended.is_some()
    }

    /// Its end in words.
    pub fn end_in_words(&self) -> String {
        let how = match self.ended {
            None => "runs".to_owned(),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("has ended with exit code {code}"),
                (None, Some(signal)) => format!("was ended by signal {signal}"),
                (None, None) => "has ended".to_owned(),
            },
        };
        format!("{} {how}; its log is {}", self.name, self.log.display())
    }

    /// The last lines of its log, one below the other.
    pub fn last_lines(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    fn ask_to_end(&mut self) {
        if !self.has_ended() {
            // It may end meanwhile: until it is waited for, its number is that of no other process.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
    }
}

impl Drop for DevChild {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Asks processes to end, and waits until they have. Returns the names of those that had to be killed after `deadline`.
pub fn stop(mut children: Vec<DevChild>, deadline: Duration, clock: &SystemClock) -> Vec<String> {
    for child in &mut children {
        child.ask_to_end();
    }
    let end = clock.now().after(deadline);
    loop {
        children.retain_mut(|child| !child.has_ended());
        if children.is_empty() || clock.now() >= end {
            // What is left is killed with its value.
            return children.iter().map(|child| child.name.clone()).collect();
        }
        std::thread::sleep(LOOK);
    }
}

/// Makes this process one of the program in `arguments` that is asked to end when the process that started it does; its
/// number comes first. Returns only what is in the way of that.
pub fn become_program(mut arguments: impl Iterator<Item = OsString>) -> io::Error {
    if let Err(error) = ends_with_parent() {
        return error;
    }
    // It may have ended before.
    if arguments.next() != Some(parent_id().to_string().into()) {
        return io::Error::other("the process that started this one has ended");
    }
    let Some(program) = arguments.next() else {
        return io::Error::other("no program is named");
    };
    let error = Command::new(&program).args(arguments).exec();
    io::Error::new(error.kind(), format!("{}: {error}", Path::new(&program).display()))
}

#[cfg(target_os = "linux")]
fn ends_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?)
}

/// Other systems have nothing of the kind.
#[cfg(not(target_os = "linux"))]
fn ends_with_parent() -> io::Result<()> {
    Ok(())
}
