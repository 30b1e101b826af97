//! `sluice cluster dev`: servers of the engine and brokers, started, watched and ended together.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use sluicemq::logging::console;
use sluicemq::run::signals::Signals;
use sluicemq::time::{Clock, SystemClock, Time};

use super::child::{self, DevChild, DevOutput, LOOK};
use super::files::{DevFolder, NodePlan};
use super::ports::{HeldPort, hold};

/// What is asked for.
pub struct DevOptions<'a> {
    /// The folder for everything.
    pub dir: &'a Path,
    /// How many brokers.
    pub nodes: u8,
    /// The first port; none: the usual ones.
    pub port: Option<u16>,
    /// The program of the engine; none: the one in PATH.
    pub nats_server: Option<&'a Path>,
}

/// Why there is no cluster, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DevError(String);

/// A cluster on this machine.
struct Dev<'a> {
    options: &'a DevOptions<'a>,
    signals: &'a Signals,
    folder: DevFolder,
    clock: SystemClock,
    program: PathBuf,
    engine: Vec<DevChild>,
    nodes: Vec<DevChild>,
}

/// Servers of the engine: one of them may fail.
const SERVERS: usize = 3;
/// The first ports that are tried: for MQTT, HTTP, clients of the engine, and its servers among each other.
const USUAL_PORTS: [u16; 4] = [1883, 18_090, 4222, 6222];
/// How far from the first port they are where one is given.
const APART: [u16; 4] = [0, 10, 20, 30];
/// How long processes of an earlier start may take to end.
const LOCK_MAX: Duration = Duration::from_secs(30);
/// How long the engine, and then the brokers, may take until they serve.
const START_MAX: Duration = Duration::from_secs(120);
/// How long brokers may take to end: longer than `broker.stop_timeout`, and a last checkpoint.
const NODES_STOP_MAX: Duration = Duration::from_secs(20);
/// How long servers of the engine may take.
const ENGINE_STOP_MAX: Duration = Duration::from_secs(10);
/// How long a server may take to greet.
const GREETING_MAX: Duration = Duration::from_millis(500);

/// Whether it goes on; it does not when a signal has asked for the end.
type GoesOn = Result<bool, DevError>;

/// Runs a cluster until a signal asks for its end.
///
/// # Errors
///
/// It cannot be started, or all of its brokers or servers have ended.
pub fn run(options: &DevOptions<'_>, signals: &Signals) -> Result<(), DevError> {
    let program = engine_program(options.nats_server)?;
    signals.hold();
    let folder = DevFolder::open(options.dir);
    let folder = folder.map_err(|error| failed(options.dir.display(), &error))?;
    let clock = SystemClock::start(Time::START);
    let (engine, nodes) = (Vec::new(), Vec::new());
    let mut dev = Dev { options, signals, folder, clock, program, engine, nodes };
    let lived = dev.live();
    dev.stop();
    lived
}

impl DevOptions<'_> {
    /// From where on ports are tried, as in [`USUAL_PORTS`].
    fn first_ports(&self) -> [u16; 4] {
        self.port.map_or(USUAL_PORTS, |port| APART.map(|apart| port.saturating_add(apart)))
    }
}

impl Dev<'_> {
    fn live(&mut self) -> Result<(), DevError> {
        if !self.take_folder()? {
            return Ok(());
        }
        let servers = self.start_engine()?;
        if !self.until_engine_serves(&servers)? {
            return Ok(());
        }
        let nodes = self.start_nodes(&servers)?;
        let is_ready = || nodes.iter().all(|folder| ready_line(folder).is_some());
        if !self.until("not all brokers are ready", is_ready)? {
            return Ok(());
        }
        self.say_ready(&servers, &nodes);
        self.watch()
    }

    /// Waits until the processes of an earlier start that was killed have ended.
    fn take_folder(&self) -> GoesOn {
        let end = self.clock.now().after(LOCK_MAX);
        let mut is_said = false;
        loop {
            let path = self.folder.path().display();
            if self.folder.take().map_err(|error| failed(&path, &error))? {
                return Ok(true);
            }
            if self.is_over() {
                return Ok(false);
            }
            if self.clock.now() >= end {
                return Err(DevError(format!("{path} is in use by another sluice cluster dev")));
            }
            if !std::mem::replace(&mut is_said, true) {
                console::say(format_args!("{path} is in use: waiting until it is free"));
            }
            sleep(LOOK);
        }
    }

    /// Starts the servers of the engine; returns where they will be.
    fn start_engine(&mut self) -> Result<Vec<String>, DevError> {
        let [_, _, port, route] = self.options.first_ports();
        let (ports, routes) = (held(port, SERVERS)?, held(route, SERVERS)?);
        let url = |port: &HeldPort| format!("nats://127.0.0.1:{}", port.number());
        let servers: Vec<String> = ports.iter().map(url).collect();
        let all: Vec<String> = routes.iter().map(url).collect();
        let all = all.join(",");
        let config = self.folder.write_engine_config();
        let config = config.map_err(|error| failed("the engine", &error))?;
        for (index, (port, route)) in ports.into_iter().zip(routes).enumerate() {
            let name = format!("engine{}", index + 1);
            let data = self.folder.of(&name).map_err(|error| failed(&name, &error))?;
            let (own, between) = (port.number().to_string(), url(&route));
            let words = ["-a", "127.0.0.1", "-p", &own, "-n", &name, "-js"];
            let words = words.into_iter().chain(["--cluster_name", "sluice-dev"]);
            let words = words.chain(["--cluster", &between, "--routes", &all, "-sd"]);
            let mut arguments: Vec<_> = words.map(Into::into).collect();
            arguments.extend([data.into(), "-c".into(), config.clone().into()]);
            drop((port, route));
            let output = DevOutput { log: self.folder.log(&name), printed: None };
            let child = DevChild::start(&name, &self.program, &arguments, output);
            self.engine.push(child.map_err(|error| failed(&name, &error))?);
        }
        Ok(servers)
    }

    fn until_engine_serves(&mut self, servers: &[String]) -> GoesOn {
        let addresses = servers.iter().filter_map(|url| url.rsplit(':').next()?.parse().ok());
        let mut waiting: Vec<u16> = addresses.collect();
        let serves = || {
            waiting.retain(|port| !greets(*port));
            waiting.is_empty()
        };
        self.until("not all servers of the engine serve", serves)
    }

    /// Starts the brokers; returns their folders.
    fn start_nodes(&mut self, servers: &[String]) -> Result<Vec<PathBuf>, DevError> {
        let count = usize::from(self.options.nodes);
        let program = std::env::current_exe().map_err(|error| failed("this program", &error))?;
        let [mqtt, http, ..] = self.options.first_ports();
        let (ports, https) = (held(mqtt, count)?, held(http, count)?);
        let mut folders = Vec::new();
        for (index, (port, http)) in ports.into_iter().zip(https).enumerate() {
            let name = format!("node{}", index + 1);
            let plan = NodePlan { name: &name, ports: [port.number(), http.number()], servers };
            let config = self.folder.write_config(&plan).map_err(|error| failed(&name, &error))?;
            let folder = config.parent().map(Path::to_owned).unwrap_or_default();
            let printed = Some(folder.join(READY));
            drop((port, http));
            let arguments = ["--config".into(), config.into()];
            let output = DevOutput { log: self.folder.log(&name), printed };
            let child = DevChild::start(&name, &program, &arguments, output);
            self.nodes.push(child.map_err(|error| failed(&name, &error))?);
            folders.push(folder);
        }
        Ok(folders)
    }

    /// Waits until it is `done`. A process that ends before is an error.
    fn until(&mut self, problem: &str, mut done: impl FnMut() -> bool) -> GoesOn {
        let end = self.clock.now().after(START_MAX);
        loop {
            if self.is_over() {
                return Ok(false);
            }
            let mut children = self.engine.iter_mut().chain(&mut self.nodes);
            if let Some(child) = children.find_map(|child| child.has_ended().then_some(child)) {
                let (end, log) = (child.end_in_words(), child.last_lines());
                return Err(DevError(format!("{end}, and ends:\n{log}")));
            }
            if done() {
                return Ok(true);
            }
            if self.clock.now() >= end {
                let (seconds, folder) = (START_MAX.as_secs(), self.folder.path().display());
                let text = format!("{problem} after {seconds} s; their logs are in {folder}");
                return Err(DevError(text));
            }
            sleep(LOOK);
        }
    }

    /// Whether a signal has asked for the end.
    fn is_over(&self) -> bool {
        self.signals.ending().is_some() || self.signals.has_hung_up()
    }

    fn say_ready(&self, servers: &[String], nodes: &[PathBuf]) {
        let mut lines = vec![format!("engine  {}", servers.join(" "))];
        let ready: Vec<Value> = nodes.iter().filter_map(|folder| ready_line(folder)).collect();
        for ((child, folder), ready) in self.nodes.iter().zip(nodes).zip(&ready) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let token = fs::read_to_string(folder.join("http-token")).unwrap_or_default();
            let (mqtt, http) =
                (text(&ready["listeners"][0]["address"]), text(&ready["http"]["address"]));
            let token = token.trim();
            lines.push(format!("{}   MQTT {mqtt}  http://{http}/#token={token}", child.name()));
        }
        lines.push("try it, in two terminals:".to_owned());
        let at = |ready: Option<&Value>| {
            let address = ready.and_then(|ready| ready["listeners"][0]["address"].as_str());
            let address: Option<SocketAddr> = address.and_then(|address| address.parse().ok());
            address.map_or(0, |address| address.port())
        };
        let (first, last) = (at(ready.first()), at(ready.last()));
        lines.push(format!("  mosquitto_sub -h 127.0.0.1 -p {last} -t 'greetings/#' -q 1"));
        lines.push(format!(
            "  mosquitto_pub -h 127.0.0.1 -p {first} -t greetings/hello -m 'from another node' -q 1"
        ));
        let config = nodes.first().map(|folder| folder.join("sluice.toml")).unwrap_or_default();
        let config = quoted(&config.to_string_lossy());
        lines.push(format!("look at it: sluice cluster status --config {config}"));
        let folder = self.folder.path().display();
        lines.push(format!(
            "the cluster is ready; its data and logs are in {folder}; Ctrl-C ends it"
        ));
        console::say(lines.join("\n"));
    }

    /// Watches the processes until a signal asks for the end, and says which of them ends before.
    fn watch(&mut self) -> Result<(), DevError> {
        let mut said = Vec::new();
        while !self.is_over() {
            let mut left = [0, 0];
            for (kind, children) in [&mut self.engine, &mut self.nodes].into_iter().enumerate() {
                for child in children {
                    if !child.has_ended() {
                        left[kind] += 1;
                    } else if !said.iter().any(|name| name == child.name()) {
                        said.push(child.name().to_owned());
                        console::complain(format_args!("sluice: {}", child.end_in_words()));
                    }
                }
            }
            if left.contains(&0) {
                let what = if left[0] == 0 { "servers of the engine" } else { "brokers" };
                return Err(DevError(format!("all {what} have ended")));
            }
            sleep(LOOK);
        }
        Ok(())
    }

    /// Ends the brokers, and then the engine.
    fn stop(&mut self) {
        if self.engine.is_empty() {
            return;
        }
        console::say("stopping");
        let (nodes, engine) = (std::mem::take(&mut self.nodes), std::mem::take(&mut self.engine));
        let mut killed = child::stop(nodes, NODES_STOP_MAX, &self.clock);
        killed.extend(child::stop(engine, ENGINE_STOP_MAX, &self.clock));
        for name in killed {
            console::complain(format_args!("sluice: {name} did not end in time, and was killed"));
        }
        console::say(format_args!("stopped; the data is in {}", self.folder.path().display()));
    }
}

/// The file in the folder of a node with what it prints.
const READY: &str = "ready";

/// What a broker prints when it is ready; none: it is not yet.
fn ready_line(folder: &Path) -> Option<Value> {
    let text = fs::read_to_string(folder.join(READY)).ok()?;
    serde_json::from_str(text.lines().next()?).ok()
}

/// Whether a server of the engine answers at this port.
fn greets(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(stream) = TcpStream::connect_timeout(&address, GREETING_MAX) else { return false };
    let mut line = String::new();
    stream.set_read_timeout(Some(GREETING_MAX)).is_ok()
        && BufReader::new(stream).read_line(&mut line).is_ok()
        && line.starts_with("INFO ")
}

/// The program that was named, or the one in PATH.
fn engine_program(named: Option<&Path>) -> Result<PathBuf, DevError> {
    if let Some(named) = named {
        let found = named.canonicalize().ok().filter(|path| path.is_file());
        let missing = || DevError(format!("--nats-server {}: no such program", named.display()));
        return found.ok_or_else(missing);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("nats-server"));
    found.find(|path| path.is_file()).ok_or_else(|| DevError(NO_ENGINE.to_owned()))
}

const NO_ENGINE: &str = "\
nats-server is not in PATH: it is the engine of a cluster, one file
get version 2.12 or later from https://github.com/nats-io/nats-server/releases
then put it into a folder of PATH, or name it: sluice cluster dev --nats-server PATH";

/// A text as a shell takes it.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-".contains(c);
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn held(first: u16, count: usize) -> Result<Vec<HeldPort>, DevError> {
    hold(first, count).map_err(|error| DevError(error.to_string()))
}

fn failed(what: impl std::fmt::Display, error: &io::Error) -> DevError {
    DevError(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_where_a_shell_would_split_it() {
        assert_eq!(quoted("/tmp/a-b_c.d/e"), "/tmp/a-b_c.d/e");
        assert_eq!(quoted("/tmp/it's here"), "'/tmp/it'\\''s here'");
    }

    #[test]
    fn ports_are_the_usual_ones_or_beside_the_one_that_is_given() {
        let first = |port| {
            DevOptions { dir: Path::new("d"), nodes: 3, port, nats_server: None }.first_ports()
        };
        assert_eq!(first(None), USUAL_PORTS);
        assert_eq!(first(Some(20_000)), [20_000, 20_010, 20_020, 20_030]);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = engine_program(Some(Path::new("/no/such/nats-server"))).unwrap_err();
        assert!(error.to_string().contains("/no/such/nats-server"), "{error}");
    }
}
