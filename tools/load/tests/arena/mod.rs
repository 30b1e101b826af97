//! Where `sluice-load` is tried: a broker in this process, a proxy that spoils what it is told to,
//! and the real program.
#![allow(dead_code)] // Each test file uses its part.

pub mod proxy;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use sluicemq::auth::edit::set_password;
use sluicemq::config::{Binding, Config, Listener, NamedQueue, StoreKind, Tls, Transport};
use sluicemq::run::{HttpListening, Listening};
use sluicemq::settings::Settings;
use tempfile::TempDir;

/// A broker in this process; all tests of a file share one.
pub struct Arena {
    /// Lets everybody in.
    pub plain: SocketAddr,
    /// Speaks TLS, with [`Arena::ca`].
    pub tls: SocketAddr,
    /// Speaks WebSocket, WebSocket within TLS, and QUIC.
    pub others: [SocketAddr; 3],
    /// Lets in `ann` with the password `secret`.
    pub locked: SocketAddr,
    folder: TempDir,
}

impl Arena {
    /// The broker, started when it is first asked for.
    pub fn get() -> &'static Arena {
        static ARENA: OnceLock<Arena> = OnceLock::new();
        ARENA.get_or_init(Arena::start)
    }

    /// A file in the arena's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The certificate that TLS clients must trust.
    pub fn ca(&self) -> PathBuf {
        self.file("ca.pem")
    }

    fn start() -> Arena {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = Settings::from(config(folder.path()));
        let (sender, ready) = mpsc::channel();
        // It serves until this process ends.
        thread::spawn(move || {
            let ready = |listening: &[Listening], _: Option<&HttpListening>| {
                sender
                    .send(listening.iter().filter_map(Listening::address).collect::<Vec<_>>())
                    .unwrap();
            };
            let signals = sluicemq::run::signals::Signals::catch().expect("signals");
            sluicemq::run::run(&settings, signals, ready, &|| Ok(settings.clone()))
                .expect("a broker");
        });
        let addresses = ready.recv_timeout(DEADLINE).expect("a broker that serves");
        let [plain, tls, ws, wss, quic, locked] = addresses[..] else { panic!("six addresses") };
        Arena { plain, tls, others: [ws, wss, quic], locked, folder }
    }

    /// The options that name each transport, and its listener.
    pub fn ways(&self) -> Vec<String> {
        let [ws, wss, quic] = self.others;
        let at = |at: SocketAddr| format!("--host {} --port {}", at.ip(), at.port());
        let ca = self.ca();
        let ca = ca.display();
        vec![
            format!("--transport tcp {}", at(self.plain)),
            format!("--transport tls --tls-ca {ca} {}", at(self.tls)),
            format!("--transport ws {}", at(ws)),
            format!("--url wss://{wss} --tls-ca {ca}"),
            format!("--transport quic --tls-ca {ca} {}", at(quic)),
            format!("--url unix://{}", self.file("mqtt.sock").display()),
        ]
    }
}

fn config(folder: &Path) -> Config {
    sluicemq::certs::ensure_development(folder).expect("certificates");
    let passwords = folder.join("passwords");
    set_password(&passwords, "ann", b"secret").expect("a password file");
    let listener = |anonymous| Listener {
        address: "127.0.0.1:0".to_owned(),
        allow_anonymous: Some(anonymous),
        ..Listener::default()
    };
    let tls = Tls {
        certificate: folder.join("server.pem"),
        key: folder.join("server.key"),
        ..Tls::default()
    };
    let over =
        |transport, tls: Option<&Tls>| Listener { transport, tls: tls.cloned(), ..listener(true) };
    let path = folder.join("mqtt.sock").display().to_string();
    let mut config = Config {
        listener: vec![
            listener(true),
            over(Transport::Tcp, Some(&tls)),
            over(Transport::WebSocket, None),
            over(Transport::WebSocket, Some(&tls)),
            over(Transport::Quic, Some(&tls)),
            Listener { address: path, ..over(Transport::Unix, None) },
            listener(false),
        ],
        ..Config::default()
    };
    config.auth.password_file = Some(passwords);
    // What the load generator finds does not depend on it.
    config.store.kind = StoreKind::Memory;
    config.named_queue = vec![NamedQueue {
        name: "jobs".to_owned(),
        bindings: vec![Binding::All("jobs/#".to_owned())],
        ..NamedQueue::default()
    }];
    config
}

/// A run of `sluice-load` that has ended.
pub struct Finished {
    /// Exit code.
    pub code: Option<i32>,
    /// What it printed.
    pub printed: String,
    /// What it said on standard error.
    pub said: String,
}

impl Finished {
    /// The JSON that it printed.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.printed)
            .unwrap_or_else(|error| panic!("{error}: {:?}\n{}", self.printed, self.said))
    }
}

/// `sluice-load` against the broker at `address`, with the arguments in `line`, until it ends.
pub fn load(address: SocketAddr, line: &str) -> Finished {
    Running::start(address, line).end()
}

/// The same where `line` says where the broker is.
pub fn load_there(line: &str) -> Finished {
    Running::start_with(&[], line).end()
}

/// `sluice-load` while it runs; killed when dropped.
pub struct Running {
    child: Child,
    printed: Receiver<String>,
    said: Receiver<String>,
    heard: Vec<String>,
}

impl Running {
    /// Starts it.
    pub fn start(address: SocketAddr, line: &str) -> Running {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        Running::start_with(&["--host", &host, "--port", &port], line)
    }

    fn start_with(place: &[&str], line: &str) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sluice-load"))
            .args(place)
            .args(line.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        let printed = lines(child.stdout.take().expect("piped"));
        let said = lines(child.stderr.take().expect("piped"));
        Running { child, printed, said, heard: Vec::new() }
    }

    /// Waits until it says a line with `words` on standard error.
    #[track_caller]
    pub fn until_said(&mut self, words: &str) {
        let end = Instant::now() + DEADLINE;
        while let Some(line) = next(&self.said, end) {
            let found = line.contains(words);
            self.heard.push(line);
            if found {
                return;
            }
        }
        panic!("it ended without {words:?}: {}", self.heard.concat());
    }

    /// Sends it a signal, by its name.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill");
        assert!(sent.success());
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn end(mut self) -> Finished {
        let end = Instant::now() + DEADLINE;
        let printed: String = std::iter::from_fn(|| next(&self.printed, end)).collect();
        self.heard.extend(std::iter::from_fn(|| next(&self.said, end)));
        let code = self.child.wait().expect("a child of ours").code();
        Finished { code, printed, said: self.heard.concat() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next line, if there is one more.
#[track_caller]
fn next(lines: &Receiver<String>, end: Instant) -> Option<String> {
    match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
        Ok(line) => Some(line),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("sluice-load does not end"),
    }
}

/// The lines of a stream as they come.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            line.clear();
        }
    });
    receiver
}

/// How long anything may take before a test fails. Nothing waits so long when all is well.
pub const DEADLINE: Duration = Duration::from_secs(120);
