//! Servers of the engine behind a cluster, `nats-server`: on the loopback address, with their files in a folder.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::free_port;

/// How long a server may take to serve.
const DEADLINE: Duration = Duration::from_secs(60);

/// The program, where `tools/test` has installed it; `None`: it is not there, and the test is skipped.
///
/// # Panics
///
/// If it is not there and nothing may be skipped.
pub fn program() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let found = root.join("target/nats/nats-server");
    let is_there = found.is_file();
    assert!(
        is_there || std::env::var_os("SLUICE_TEST_ALL").is_none(),
        "nats-server is not installed: tools/test installs it"
    );
    if !is_there {
        eprintln!("skipped: nats-server is not installed: tools/test installs it");
    }
    is_there.then_some(found)
}

/// Servers that are one engine.
pub struct Engine {
    program: PathBuf,
    folder: TempDir,
    servers: Vec<Server>,
}

struct Server {
    /// For clients, and for the other servers.
    ports: [u16; 2],
    child: Option<Child>,
}

impl Engine {
    /// So many servers: one, or three that keep what they have together.
    pub fn start(program: PathBuf, servers: usize) -> Engine {
        Engine::start_with(program, servers, "")
    }

    /// The same, with this configuration of each server.
    pub fn start_with(program: PathBuf, servers: usize, config: &str) -> Engine {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config"), config).expect("a file");
        let servers =
            (0..servers).map(|_| Server { ports: [free_port(), free_port()], child: None });
        let mut engine = Engine { program, folder, servers: servers.collect() };
        (0..engine.servers.len()).for_each(|server| engine.launch(server));
        (0..engine.servers.len()).for_each(|server| engine.until_serves(server));
        engine
    }

    /// Where brokers reach it: a list, as the configuration has it.
    pub fn addresses(&self) -> String {
        let all = self.servers.iter().map(|own| format!("'nats://127.0.0.1:{}'", own.ports[0]));
        format!("[{}]", all.collect::<Vec<_>>().join(", "))
    }

    /// The configuration of a broker that is a node called `name`, and reaches the engine at `servers`.
    pub fn node(&self, servers: &str, name: &str, more: &str) -> String {
        let replicas = self.len();
        format!(
            "[[listener]]\nname = 'tcp'\naddress = '127.0.0.1:0'\n\
             [queue]\nmessages_max = 1_000_000\nbytes_max = '512MiB'\n\
             [store]\npath = 'store'\n\
             [cluster]\nservers = {servers}\nnode = '{name}'\nreplicas = {replicas}\nlog_bytes_max = '256MiB'\n{more}"
        )
    }

    /// Where a server is for clients.
    pub fn address(&self, server: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.servers[server].ports[0]))
    }

    /// Ends a server as `kill -9` does.
    pub fn kill(&mut self, server: usize) {
        if let Some(mut child) = self.servers[server].child.take() {
            child.kill().expect("a process of ours");
            child.wait().expect("a child of ours");
        }
    }

    /// Starts a server that was killed, with the files that it has.
    pub fn start_again(&mut self, server: usize) {
        self.launch(server);
        self.until_serves(server);
    }

    /// Sends a server the signal called `name`.
    pub fn signal(&self, server: usize, name: &str) {
        let child = self.servers[server].child.as_ref().expect("it runs");
        let done = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
        assert!(done.expect("the command kill").success());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    fn launch(&mut self, server: usize) {
        let [port, between] = self.servers[server].ports;
        let mut command = Command::new(&self.program);
        command.args(["-a", "127.0.0.1", "-js", "-p", &port.to_string()]);
        command.arg("-c").arg(self.folder.path().join("config"));
        command.arg("-sd").arg(self.folder.path().join(server.to_string()));
        command.args(["-n", &format!("engine{server}")]);
        if self.servers.len() > 1 {
            let routes =
                self.servers.iter().map(|own| format!("nats://127.0.0.1:{}", own.ports[1]));
            let routes: Vec<_> = routes.collect();
            command.args(["--cluster_name", "engine", "--routes", &routes.join(",")]);
            command.args(["--cluster", &format!("nats://127.0.0.1:{between}")]);
        }
        let log = self.folder.path().join(format!("log{server}"));
        command.arg("-l").arg(log).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.servers[server].child = Some(command.spawn().expect("nats-server"));
    }

    fn until_serves(&self, server: usize) {
        let at = self.address(server);
        let end = Instant::now() + DEADLINE;
        loop {
            let stream = TcpStream::connect(at).ok();
            let mut line = String::new();
            if let Some(stream) = stream
                && BufReader::new(stream).read_line(&mut line).is_ok()
                && line.starts_with("INFO ")
            {
                return;
            }
            assert!(Instant::now() < end, "nats-server does not serve");
            std::thread::yield_now();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        (0..self.servers.len()).for_each(|server| self.kill(server));
    }
}
