//! The end of the real process: in every state a signal that ends it does so in order, with exit code 0
//! and the last checkpoint; no other signal ends it.

mod process;
mod wire;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use process::{BUSY_STORE, Process, Sluice, again, new_folder, sluice};
use sluicemq::codec::{Connect, QoS, Reason, Version};
use wire::{Client, Flood, connect};

const PLAIN: &str = "
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'
";

/// How long anything may take before a test fails. Nothing waits so long when all is well.
const DEADLINE: Duration = Duration::from_secs(60);

/// Signals that ask for the end, besides SIGTERM and SIGINT: from a terminal, of a limit of CPU time, of a
/// container that is to halt.
const ENDING: [&str; 3] = ["QUIT", "XCPU", "PWR"];

/// Signals that would kill a process that does not expect them, and mean nothing here.
const STRAY: [&str; 11] =
    ["USR1", "USR2", "XFSZ", "PIPE", "ALRM", "VTALRM", "PROF", "IO", "STKFLT", "34", "64"];

fn lasting(client_id: &str) -> Connect<'_> {
    Connect { session_expiry: 3600, ..connect(Version::V5, client_id) }
}

/// A Session that is parked with messages of this `QoS` waiting in it.
fn leave_waiting(broker: &Sluice, qos: QoS) {
    let at = broker.address("tcp");
    let mut absent = Client::connect_with(at, &lasting("absent"));
    absent.subscribe(&["jobs"], qos);
    absent.goodbye();
    let mut publisher = Client::connect(at, Version::V5, "publisher");
    for _ in 0..3 {
        assert_eq!(publisher.publish("jobs", b"now"), Reason::Success);
    }
}

#[test]
fn sigterm_is_orderly_with_messages_in_the_memory_store() {
    for (qos, queue) in
        [(QoS::AtLeastOnce, ""), (QoS::AtMostOnce, "[queue]\nqos0_offline = true\n")]
    {
        let mut broker = Sluice::start(&format!("{PLAIN}{queue}"));
        leave_waiting(&broker, qos);
        assert_eq!(broker.stop(), Some(0), "{qos:?}");
    }
}

#[test]
fn sigterm_is_orderly_under_load_and_writes_the_last_checkpoint() {
    let mut broker = Sluice::start(BUSY_STORE);
    leave_waiting(&broker, QoS::AtLeastOnce);
    let at = broker.address("tcp");
    let mut reader = Client::connect_with(at, &lasting("reader"));
    reader.subscribe(&["load/#"], QoS::AtMostOnce);
    let floods = ["load/1", "load/2"].map(|topic| Flood::start(at, Version::V5, topic));
    reader.message();
    broker.signal("TERM");
    assert_eq!(broker.exit_code(), Some(0));
    drop(floods);
    let log = std::fs::read_to_string(broker.file("log")).expect("the log");
    assert!(log.ends_with("store closed, with a last checkpoint\n"), "{log}");
}

#[test]
fn each_signal_that_asks_for_the_end_is_orderly() {
    for signal in ENDING {
        let mut broker = Sluice::start(PLAIN);
        broker.signal(signal);
        assert_eq!(broker.exit_code(), Some(0), "{signal}");
    }
}

#[test]
fn no_stray_signal_ends_it() {
    let mut broker = Sluice::start(PLAIN);
    for signal in STRAY {
        broker.signal(signal);
        Client::connect(broker.address("tcp"), Version::V5, "c").ping();
    }
    assert_eq!(broker.stop(), Some(0));
}

/// Opens a pipe for writing, which is possible as soon as a process reads it.
fn write_to(pipe: &Path) -> File {
    let end = Instant::now() + DEADLINE;
    loop {
        match File::options().write(true).custom_flags(NOT_BLOCKING).open(pipe) {
            Ok(pipe) => return pipe,
            Err(error) => assert!(Instant::now() < end, "no reader: {error}"),
        }
        std::thread::yield_now();
    }
}

/// `O_NONBLOCK`.
const NOT_BLOCKING: i32 = 0o4000;

/// A broker that reads its configuration from a pipe waits there for the writer: this is before anything
/// of it is open.
struct Starting {
    process: Process,
    pipe: File,
}

impl Starting {
    fn new(command: &mut Command, folder: &Path) -> Starting {
        let pipe = folder.join("pipe.toml");
        let made = Command::new("mkfifo").arg(&pipe).status().expect("the command mkfifo");
        assert!(made.success());
        let process = Process::start(command.arg("--config").arg(&pipe));
        Starting { process, pipe: write_to(&pipe) }
    }

    fn go_on(mut self) -> Process {
        writeln!(self.pipe, "[broker]\nworkers = 2").expect("a reader");
        self.process
    }
}

#[test]
fn a_signal_before_the_ready_line_is_acted_on() {
    for signal in ["TERM", "INT"] {
        for store in ["", "[store]\npath = 'store'\n"] {
            let folder = new_folder();
            let mut command = sluice(folder.path(), &format!("{PLAIN}{store}"));
            let starting = Starting::new(&mut command, folder.path());
            starting.process.signal(signal);
            let (code, lines) = starting.go_on().end();
            assert_eq!(code, Some(0), "{signal} {lines:?}");
            assert!(!lines.iter().any(|line| line.contains(r#""ready""#)), "{lines:?}");
        }
    }
}

#[test]
fn sighup_and_stray_signals_before_the_ready_line_do_no_harm() {
    let folder = new_folder();
    let starting = Starting::new(&mut sluice(folder.path(), PLAIN), folder.path());
    starting.process.signal("HUP");
    STRAY.iter().for_each(|signal| starting.process.signal(signal));
    let mut broker = starting.go_on();
    broker.until(|line| line.contains(r#""ready""#));
    // The pipe has no second configuration in it: that this is said shows that it was read again.
    drop(write_to(&folder.path().join("pipe.toml")));
    broker.until(|line| line.contains("reloaded"));
    broker.signal("TERM");
    assert_eq!(broker.end().0, Some(0));
}

/// A command that runs `command` as process 1 of a namespace of its own; `None` where that is forbidden.
fn as_process_1(command: &Command) -> Option<Command> {
    let unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"];
    let bwrap = [
        "bwrap",
        "--bind",
        "/",
        "/",
        "--unshare-pid",
        "--as-pid-1",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
    ];
    let wrapper = [&unshare[..], &bwrap[..]].into_iter().find(|wrapper| {
        let tried = Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").output();
        tried.is_ok_and(|tried| tried.status.success())
    });
    let Some(wrapper) = wrapper else {
        assert!(std::env::var_os("SLUICE_TEST_ALL").is_none(), "no way to be process 1");
        println!("skipped: neither unshare nor bwrap may make a namespace");
        return None;
    };
    let mut wrapped = Command::new(wrapper[0]);
    wrapped.args(&wrapper[1..]).arg(command.get_program()).args(command.get_args());
    wrapped.current_dir(command.get_current_dir()?);
    Some(wrapped)
}

/// Sends a signal to the only child of `process`.
fn signal_child(process: &Process, signal: &str) {
    let id = process.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
    let child = children.expect("a process that runs").trim().to_owned();
    let sent = Command::new("kill").args(["-s", signal, &child]).status();
    assert!(sent.expect("the command kill").success());
}

#[test]
fn sigterm_is_orderly_as_process_1() {
    let folder = new_folder();
    let Some(mut command) = as_process_1(&sluice(folder.path(), PLAIN)) else { return };
    let mut broker = Process::start(&mut command);
    broker.until(|line| line.contains(r#""ready""#));
    signal_child(&broker, "TERM");
    assert_eq!(broker.end().0, Some(0));
    // Before it is ready, too.
    let Some(mut command) = as_process_1(&again(folder.path())) else { return };
    let starting = Starting::new(&mut command, folder.path());
    signal_child(&starting.process, "TERM");
    let (code, lines) = starting.go_on().end();
    assert_eq!(code, Some(0), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains(r#""ready""#)), "{lines:?}");
}

/// A command that is not a broker ends as any program does.
#[test]
fn a_command_is_ended_by_a_signal() {
    let folder = new_folder();
    let mut command = process::program();
    command.arg("config").current_dir(folder.path());
    let starting = Starting::new(&mut command, folder.path());
    starting.process.signal("TERM");
    assert_eq!(starting.process.end().0, None, "a signal has ended it");
}
