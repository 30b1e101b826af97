//! The brokers: how each is started so that they can be compared.
//!
//! Limits are raised and logs are off for all of them, nothing is kept on disk where nothing else is
//! said, and small packets are not held back (`TCP_NODELAY`). They listen on 127.0.0.1, on a port that
//! was free.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tempfile::TempDir;

/// A broker and its program.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Which.
    pub kind: Kind,
    /// Absolute path of its program.
    pub program: PathBuf,
}

/// Every broker that can be started, in the order of the table's columns.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
pub enum Kind {
    /// Forwards frames and nothing else; ours.
    Relay,
    /// Ours.
    Sluice,
    /// Debian's package.
    Mosquitto,
    /// From crates.io.
    Rumqttd,
}

/// How a broker keeps Sessions and what waits for them.
#[derive(Clone, Copy, Debug)]
pub enum Keeps<'a> {
    /// As if there were none: its table is about connections.
    Nothing,
    /// In memory, as many as come.
    InMemory,
    /// On disk. Mosquitto writes a snapshot there every half hour, which is its default.
    InFolder {
        /// The folder.
        path: &'a Path,
        /// Sluice's `store.durability`.
        durability: &'a str,
    },
}

/// A broker that runs; killed when dropped.
#[derive(Debug)]
pub struct Running {
    process: Child,
    /// Kept, so that the broker may go on writing to it.
    _said: Option<ChildStdout>,
    folder: TempDir,
    address: SocketAddr,
    address5: SocketAddr,
}

impl Kind {
    /// The broker with this name.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::from_str(name, false).ok()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Relay => "bare relay",
            Kind::Sluice => "Sluice",
            Kind::Mosquitto => "mosquitto",
            Kind::Rumqttd => "rumqttd",
        })
    }
}

impl Broker {
    /// Starts it and waits until it is ready.
    pub fn start(&self) -> Result<Running, String> {
        self.start_keeping(&Keeps::Nothing)
    }

    /// The same, with Sessions that it keeps so.
    pub fn start_keeping(&self, keeps: &Keeps<'_>) -> Result<Running, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        match self.kind {
            Kind::Relay => self.announced(folder, &["--port", "0"], "/address"),
            Kind::Sluice => {
                let config = root().join("config/examples/bench.toml");
                let config = config.display().to_string();
                let port = "listener.0.address=127.0.0.1:0";
                let mut words: Vec<String> =
                    ["--config", &config, "--set", port].map(str::to_owned).into();
                words.extend(keeps.sluice().iter().flat_map(|key| ["--set".into(), key.clone()]));
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                self.announced(folder, &words, "/listeners/0/address")
            }
            Kind::Mosquitto => {
                let address = free()?;
                let config = configure(&folder, "mosquitto.conf", mosquitto(address, keeps)?)?;
                self.awaited(folder, &["-c", &config], address, address)
            }
            Kind::Rumqttd => {
                let (address, address5) = (free()?, free()?);
                let config = configure(&folder, "rumqttd.toml", rumqttd(address, address5))?;
                self.awaited(folder, &["--quiet", "--config", &config], address, address5)
            }
        }
    }

    /// What it calls itself, with its version.
    pub fn version(&self) -> String {
        let flag = match self.kind {
            Kind::Relay => return "bare relay".into(),
            Kind::Sluice | Kind::Rumqttd => "--version",
            Kind::Mosquitto => "-h",
        };
        let output = Command::new(&self.program).arg(flag).stdin(Stdio::null()).output();
        let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        said.ok().and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default()
    }

    /// One that says where it listens, as JSON in its first line that is JSON.
    fn announced(&self, folder: TempDir, words: &[&str], at: &str) -> Result<Running, String> {
        let mut process = self.spawn(&folder, words, Stdio::piped())?;
        let mut said = process.stdout.take().map(BufReader::new).ok_or("no standard output")?;
        let address = loop {
            let mut line = String::new();
            match said.read_line(&mut line) {
                Ok(0) | Err(_) => {
                    let _ = process.wait();
                    return Err(format!("it ended: {}", last_words(&folder)));
                }
                Ok(_) => {}
            }
            let json: Option<Value> = serde_json::from_str(&line).ok();
            let address = json.as_ref().and_then(|json| json.pointer(at)).and_then(Value::as_str);
            if let Some(address) = address {
                break address.parse().map_err(|_| format!("{address:?} is no address"))?;
            }
        };
        let said = Some(said.into_inner());
        Ok(Running { process, _said: said, folder, address, address5: address })
    }

    /// One that is asked until it answers.
    fn awaited(
        &self,
        folder: TempDir,
        words: &[&str],
        address: SocketAddr,
        address5: SocketAddr,
    ) -> Result<Running, String> {
        let process = self.spawn(&folder, words, Stdio::null())?;
        let mut running = Running { process, _said: None, folder, address, address5 };
        let until = Instant::now() + PATIENCE;
        while [address, address5].iter().any(|at| TcpStream::connect(at).is_err()) {
            if running.process.try_wait().map_err(|error| error.to_string())?.is_some() {
                return Err(format!("it ended: {}", last_words(&running.folder)));
            }
            if Instant::now() > until {
                return Err(format!("it does not answer on {address}"));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(running)
    }

    fn spawn(&self, folder: &TempDir, words: &[&str], stdout: Stdio) -> Result<Child, String> {
        let errors = fs::File::create(folder.path().join(ERRORS)).map_err(|e| e.to_string())?;
        let mut command = Command::new(&self.program);
        command.args(words).current_dir(folder.path());
        for (name, _) in std::env::vars_os() {
            // What is set for a Sluice of the user's is not meant for this one.
            if name.to_string_lossy().starts_with("SLUICE_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(stdout).stderr(errors);
        command.spawn().map_err(|error| format!("{}: {error}", self.program.display()))
    }
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where clients of this version connect.
    pub fn address(&self, version5: bool) -> SocketAddr {
        if version5 { self.address5 } else { self.address }
    }

    /// What it wrote to standard error last, if it is dead; it should not be.
    pub fn died(&mut self) -> Option<String> {
        let ended = self.process.try_wait().ok().flatten()?;
        Some(format!("it died ({ended}): {}", last_words(&self.folder)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Keeps<'_> {
    /// What differs from the configuration of Sluice.
    fn sluice(&self) -> Vec<String> {
        match self {
            Keeps::Nothing => Vec::new(),
            Keeps::InMemory => QUEUES.map(str::to_owned).into(),
            Keeps::InFolder { path, durability } => {
                let mut keys: Vec<String> = QUEUES.map(str::to_owned).into();
                keys.push("store.kind=sled".into());
                keys.push(format!("store.durability={durability}"));
                keys.push(format!("store.path={}", path.display()));
                keys
            }
        }
    }

    fn mosquitto(&self) -> Result<String, String> {
        let Keeps::InFolder { path, .. } = self else { return Ok("persistence false".into()) };
        let open = fs::Permissions::from_mode(0o777);
        fs::create_dir_all(path)
            .and_then(|()| fs::set_permissions(path, open))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(format!("persistence true\npersistence_location {}/", path.display()))
    }
}

/// So much may wait for a Session that is away.
const QUEUES: [&str; 2] = ["queue.messages_max=10000000", "queue.bytes_max=4GiB"];

/// For this process; what it starts inherits it.
pub fn raise_open_files() -> Result<(), String> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .map_err(|error| format!("the limit of open files: {error}"))
}

fn mosquitto(address: SocketAddr, keeps: &Keeps<'_>) -> Result<String, String> {
    let port = address.port();
    let keeps = keeps.mosquitto()?;
    Ok(format!(
        "listener {port} 127.0.0.1
allow_anonymous true
{keeps}
log_dest none
log_type none
set_tcp_nodelay true
max_connections -1
max_inflight_messages 0
max_inflight_bytes 0
max_queued_messages 0
max_queued_bytes 0
sys_interval 0
"
    ))
}

fn rumqttd(address: SocketAddr, address5: SocketAddr) -> String {
    let server = |version: u8, address: SocketAddr| {
        format!(
            "[v{version}.1]
name = \"v{version}\"
listen = \"{address}\"
next_connection_delay_ms = 0
[v{version}.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 1000
dynamic_filters = true
"
        )
    };
    let router = "id = 0
[router]
id = 0
max_connections = 100000
max_outgoing_packet_count = 1000
max_segment_size = 104857600
max_segment_count = 10
";
    format!("{router}{}{}", server(4, address), server(5, address5))
}

fn configure(folder: &TempDir, name: &str, text: String) -> Result<String, String> {
    let path = folder.path().join(name);
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    // A broker that gives up root still has to get there.
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), open).map_err(|error| error.to_string())?;
    Ok(path.display().to_string())
}

/// An address without a listener.
fn free() -> Result<SocketAddr, String> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("no free port: {error}"))
}

fn last_words(folder: &TempDir) -> String {
    let mut text = String::new();
    let read = fs::File::open(folder.path().join(ERRORS));
    if let Ok(mut file) = read {
        let _ = file.read_to_string(&mut text);
    }
    text.lines().last().unwrap_or("it said nothing").trim().to_owned()
}

/// The top of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

const ERRORS: &str = "errors";
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(kind: Kind, program: &str) -> Broker {
        Broker { kind, program: program.into() }
    }

    #[test]
    fn a_broker_that_ends_at_once_is_said_to() {
        let error = broker(Kind::Relay, "/bin/false").start().unwrap_err();
        assert!(error.starts_with("it ended"), "{error}");
        let error = broker(Kind::Mosquitto, "/bin/false").start().unwrap_err();
        assert!(error.starts_with("it ended"), "{error}");
        let error = broker(Kind::Rumqttd, "/nowhere/rumqttd").start().unwrap_err();
        assert!(error.contains("/nowhere/rumqttd"), "{error}");
    }

    #[test]
    fn a_broker_says_why_it_ended() {
        // A shell takes `-c` for a command, and may not run a configuration.
        let error = broker(Kind::Mosquitto, "/bin/sh").start().unwrap_err();
        assert!(error.starts_with("it ended: ") && error.contains("denied"), "{error}");
    }
}
