//! Real processes: `sluice` on free ports with its files in a folder of its own, and its clients.
#![allow(dead_code)] // Each test file uses its part.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take before a test fails. Nothing waits so long when all is well.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A configuration with small segments and frequent checkpoints, so that whatever happens to the store
/// meets all there is to meet, and with room for all that is published.
pub const BUSY_STORE: &str = "
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'

[queue]
messages_max = 1_000_000
bytes_max = '512MiB'

[store]
segment_bytes = '1MiB'
journal_bytes_max = '256MiB'
checkpoint_interval = '50ms'
";

/// A process and the lines it prints. Killed when dropped.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    /// Starts `command`; what it prints and what it complains of come as one stream of lines.
    pub fn start(command: &mut Command) -> Process {
        let (sender, lines) = mpsc::channel();
        let mut child =
            command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a program");
        forward(child.stderr.take().expect("piped"), sender.clone());
        forward(child.stdout.take().expect("piped"), sender);
        Process { child, lines, seen: Vec::new() }
    }

    /// Waits for a line that is `wanted`.
    #[track_caller]
    pub fn until(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + DEADLINE;
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            self.seen.push(line.clone());
            if wanted(&line) {
                return line;
            }
        }
        panic!("not among its {} lines, which end:\n{}", self.seen.len(), self.tail());
    }

    /// Waits until it has ended by itself; returns its exit code and every line it printed.
    #[track_caller]
    pub fn end(mut self) -> (Option<i32>, Vec<String>) {
        (self.exit_code(), std::mem::take(&mut self.seen))
    }

    /// Waits until it has ended by itself; returns its exit code.
    #[track_caller]
    pub fn exit_code(&mut self) -> Option<i32> {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    panic!("it does not end; its {} lines end:\n{}", self.seen.len(), self.tail())
                }
            }
        }
        self.child.wait().expect("a child of ours").code()
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it the signal called `name`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let done = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(done.expect("the command kill").success());
    }

    fn tail(&self) -> String {
        self.seen[self.seen.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running broker. After a panic the end of its log is shown.
pub struct Sluice {
    process: Process,
    listeners: Vec<(String, SocketAddr)>,
    folder: TempDir,
}

impl Sluice {
    /// Starts a broker with `config` in a new folder and waits until it serves.
    pub fn start(config: &str) -> Sluice {
        Sluice::start_in(new_folder(), config)
    }

    /// The same in `folder`, where paths in `config` begin.
    pub fn start_in(folder: TempDir, config: &str) -> Sluice {
        let mut command = sluice(folder.path(), config);
        Sluice::start_as(&mut command, folder)
    }

    /// A broker started by `command`, which knows `folder`.
    pub fn start_as(command: &mut Command, folder: TempDir) -> Sluice {
        let process = launch(command, folder.path());
        let mut broker = Sluice { process, listeners: Vec::new(), folder };
        broker.until_ready();
        broker
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        self.process.child.kill().expect("a process of ours");
        self.process.child.wait().expect("a child of ours");
    }

    /// Starts it again with the files it has, and waits until it serves.
    pub fn start_again(&mut self) {
        self.process = launch(&mut again(self.folder.path()), self.folder.path());
        self.until_ready();
    }

    /// Kills it, and starts it again.
    pub fn kill_and_start_again(&mut self) {
        self.kill();
        self.start_again();
    }

    fn until_ready(&mut self) {
        let ready = self.process.until(|line| line.starts_with(r#"{"sluice":"ready""#));
        self.listeners = listeners(&ready);
    }

    /// Where the listener called `name` listens.
    pub fn address(&self, name: &str) -> SocketAddr {
        let listener = self.listeners.iter().find(|(listener, _)| listener == name);
        listener.unwrap_or_else(|| panic!("no listener {name}")).1
    }

    /// What it has printed before it was ready.
    pub fn printed(&self) -> &[String] {
        &self.process.seen
    }

    /// A file in the broker's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Waits until it has logged `part`: a thread of its own writes the log, a little later.
    #[track_caller]
    pub fn logged(&self, part: &str) {
        let end = Instant::now() + DEADLINE;
        while !self.log().contains(part) {
            assert!(Instant::now() < end, "no {part:?} in:\n{}", self.log());
            thread::yield_now();
        }
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).expect("a log")
    }

    /// The most memory it has had so far, in bytes.
    pub fn memory_peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// The memory it has now, in bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn status(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id()));
        let status = status.expect("a process that runs");
        let peak = status.lines().find_map(|status| status.strip_prefix(line)).expect("its memory");
        peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Sends the signal called `name`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits for the exit code.
    #[track_caller]
    pub fn exit_code(&mut self) -> Option<i32> {
        self.process.exit_code()
    }

    /// Sends SIGTERM and waits for the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.process.signal("TERM");
        self.process.exit_code()
    }
}

impl Drop for Sluice {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = std::fs::read_to_string(self.file("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(30)..];
            eprintln!("the broker's log ends:\n{}", tail.join("\n"));
        }
    }
}

/// A port for a program that is told where to listen. It is below those that the system gives to connections: one that is
/// tried again and again until the program listens would end up connected to itself.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id() * 64 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + (number % 18_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The command that runs a broker with `config` in `folder`.
pub fn sluice(folder: &Path, config: &str) -> Command {
    let file = folder.join("sluice.toml");
    // A test that is not about what outlasts the process needs no disk.
    let store = if config.contains("[store]") { "" } else { "\n[store]\nkind = 'memory'\n" };
    std::fs::write(&file, [config, store].concat()).expect("a configuration file");
    again(folder)
}

/// The command that runs a broker with the configuration that is in `folder`.
pub fn again(folder: &Path) -> Command {
    let mut command = program();
    command.arg("--config").arg(folder.join("sluice.toml")).current_dir(folder);
    command.stdin(Stdio::null()).env("PATH", path_without_sync(folder));
    command
}

/// sled's start has the whole machine write its caches, twice, with the program `sync`: it has one
/// here that does nothing, so that a test waits for no other's files.
pub fn path_without_sync(folder: &Path) -> OsString {
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin).expect("a folder");
    let sync = bin.join("sync");
    if !sync.exists() {
        std::os::unix::fs::symlink("/bin/true", &sync).expect("a program that does nothing");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path))).expect("a PATH")
}

/// Starts a broker; its log goes to a file in `folder`.
fn launch(command: &mut Command, folder: &Path) -> Process {
    let log = File::options().create(true).append(true).open(folder.join("log"));
    let (sender, lines) = mpsc::channel();
    command.stdout(Stdio::piped()).stderr(log.expect("a log file"));
    let mut child = command.spawn().expect("the broker's program");
    forward(child.stdout.take().expect("piped"), sender);
    Process { child, lines, seen: Vec::new() }
}

/// The broker's program.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sluice"))
}

/// A folder that goes away with the test.
pub fn new_folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Sends lines on as they come, from a thread of its own.
fn forward(stream: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
}

/// Names and addresses in the ready line; a unix socket has none.
pub fn listeners(ready: &str) -> Vec<(String, SocketAddr)> {
    let text = |part: &str| part.split('"').next().expect("a text").to_owned();
    ready
        .split(r#"{"name":""#)
        .skip(1)
        .filter_map(|listener| {
            let (_, address) = listener.split_once(r#""address":""#).expect("an address");
            Some((text(listener), text(address).parse().ok()?))
        })
        .collect()
}
