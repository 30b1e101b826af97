//! The log of the real process: whatever becomes of it, the broker serves and ends in order; what commands
//! print may be read by a program that goes away.

mod process;
mod wire;

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use process::{Process, Sluice, listeners, new_folder, program, sluice};
use sluicemq::codec::{QoS, Reason, Version};
use wire::{Client, connect_with_will};

const PLAIN: &str =
    "[[listener]]\nname = 'tcp'\naddress = '127.0.0.1:0'\n[broker]\nsys_interval = '1s'\n";
const DEADLINE: Duration = Duration::from_secs(60);

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !so() {
        assert!(Instant::now() < end, "not so: {what}");
    }
}

/// Starts a broker with `log` as its standard error; returns it with its listener's address.
fn start(folder: &Path, config: &str, log: Stdio) -> (Child, SocketAddr) {
    let mut command = sluice(folder, config);
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("the broker");
    let mut ready = Vec::new();
    let out = child.stdout.as_mut().expect("piped");
    while ready.last() != Some(&b'\n') {
        let mut byte = [0];
        assert_eq!(out.read(&mut byte).expect("a pipe"), 1, "it has ended");
        ready.extend(byte);
    }
    let ready = String::from_utf8(ready).expect("a ready line");
    (child, listeners(&ready)[0].1)
}

/// Clients come and go, a Will comes, and SIGTERM ends it with 0.
fn serves_and_ends(mut child: Child, at: SocketAddr) {
    let mut watcher = Client::connect(at, Version::V5, "watcher");
    watcher.subscribe(&["will"], QoS::AtLeastOnce);
    for number in 0..400 {
        let id = format!("{number:0>200}");
        Client::connect(at, Version::V5, &id).goodbye();
    }
    drop(Client::connect_with(at, &connect_with_will(Version::V5, "dies", "will")));
    assert_eq!(watcher.message().0, "will");
    assert_eq!(watcher.publish("t", b"x"), Reason::NoMatchingSubscribers);
    let killed = Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.expect("the command kill").success());
    watcher.closed_by(Reason::ServerShuttingDown);
    let end = Instant::now() + DEADLINE;
    let code = loop {
        match child.try_wait().expect("a child of ours") {
            Some(status) => break status.code(),
            None if Instant::now() < end => std::thread::yield_now(),
            None => {
                child.kill().expect("a child of ours");
                panic!("it does not end");
            }
        }
    };
    assert_eq!(code, Some(0));
}

#[test]
fn a_log_on_a_full_disk_stops_nothing_and_its_lines_are_counted() {
    let folder = new_folder();
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let (child, at) = start(folder.path(), PLAIN, full.into());
    let mut reader = Client::connect(at, Version::V5, "reader");
    reader.subscribe(&["$SYS/broker/log/#"], QoS::AtMostOnce);
    until("lines are lost", || {
        let (topic, lost) = reader.message();
        assert_eq!(topic, "$SYS/broker/log/lines lost");
        lost != b"0"
    });
    serves_and_ends(child, at);
}

#[test]
fn a_log_whose_reader_is_gone_stops_nothing() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let folder = new_folder();
    let (child, at) = start(folder.path(), PLAIN, OwnedFd::from(writer).into());
    drop(reader);
    serves_and_ends(child, at);
}

/// The pipe is full before the broker starts, and nothing is ever read from it.
#[test]
fn a_log_whose_reader_stalls_stops_nothing() {
    use std::io::Write;
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(&[b'x'; 64 * 1024]).expect("the room of a pipe");
    let folder = new_folder();
    let (child, at) = start(folder.path(), PLAIN, OwnedFd::from(writer).into());
    serves_and_ends(child, at);
    drop(reader);
}

/// Standard output takes nothing, not even the ready line.
#[test]
fn a_reader_of_the_ready_line_that_stalls_stops_nothing() {
    use std::io::Write;
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(&[b'x'; 64 * 1024]).expect("the room of a pipe");
    let folder = new_folder();
    let config = format!("{PLAIN}[log]\noutput = 'file'\nfile = 'log-file'\n");
    let child = sluice(folder.path(), &config).stdout(writer).spawn().expect("the broker");
    let mut at = None;
    until("it listens", || {
        let text = std::fs::read_to_string(folder.path().join("log-file")).unwrap_or_default();
        let line = text.lines().find(|line| line.contains(" listening "));
        let address = line.and_then(|line| line.split_once("address=")?.1.split(' ').next());
        at = address.and_then(|address| address.parse().ok());
        at.is_some()
    });
    serves_and_ends(child, at.expect("an address"));
    drop(reader);
}

/// What the broker for a first try prints finds no room: its end is in order all the same.
#[test]
fn a_full_disk_under_standard_output_is_no_failure_of_the_broker() {
    let folder = new_folder();
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let log = folder.path().join("log-file");
    let mut command = program();
    command.current_dir(folder.path()).stdin(Stdio::null()).stdout(full);
    for number in ["0", "1"] {
        command.args(["--set", &format!("listener.{number}.address=127.0.0.1:0")]);
    }
    let mut child =
        command.stderr(File::create(&log).expect("a file")).spawn().expect("the broker");
    let text = || std::fs::read_to_string(&log).unwrap_or_default();
    until("it listens", || text().matches(" listening ").count() == 2);
    let killed = Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.expect("the command kill").success());
    assert_eq!(child.wait().expect("a child of ours").code(), Some(0), "{}", text());
}

#[test]
fn without_standard_error_the_broker_serves() {
    let folder = new_folder();
    let command = sluice(folder.path(), PLAIN);
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" 2>&-", "sh"]).arg(command.get_program());
    shell.args(command.get_args()).current_dir(folder.path()).stdin(Stdio::null());
    let mut child = shell.stdout(Stdio::piped()).spawn().expect("a shell");
    let mut ready = [0; 4096];
    let n = child.stdout.as_mut().expect("piped").read(&mut ready).expect("a pipe");
    let at = listeners(&String::from_utf8_lossy(&ready[..n]))[0].1;
    serves_and_ends(child, at);
}

#[test]
fn after_a_full_disk_the_log_says_how_much_is_missing() {
    let folder = new_folder();
    let config = format!("{PLAIN}[log]\noutput = 'file'\nfile = 'deep/log'\n");
    std::fs::create_dir(folder.path().join("deep")).expect("a folder");
    let broker = Sluice::start_in(folder, &config);
    let at = broker.address("tcp");
    let (deep, log) = (broker.file("deep"), broker.file("deep/log"));
    let text = || std::fs::read_to_string(&log).unwrap_or_default();
    until("it is logged to the file", || text().contains(" listening "));

    // Nothing can be opened where no folder is.
    std::fs::remove_dir_all(&deep).expect("the folder");
    broker.signal("HUP");
    let lost = |at| {
        let mut reader = Client::connect(at, Version::V5, "");
        reader.subscribe(&["$SYS/broker/log/#"], QoS::AtMostOnce);
        String::from_utf8(reader.message().1).expect("a number") != "0"
    };
    until("lines are lost", || lost(at));
    std::fs::create_dir(&deep).expect("a folder");
    until("the log says what it lacks", || {
        Client::connect(at, Version::V5, "again").goodbye();
        text().contains("the log is written again; lines were lost lines=")
    });
}

#[test]
fn at_sighup_the_level_changes_and_a_moved_file_is_opened_again() {
    let config = |level: &str| {
        format!(
            "{PLAIN}[log]\noutput = 'file'\nfile = 'log-file'\nlevel = '{level}'\n[store]\nkind = 'memory'\n"
        )
    };
    let broker = Sluice::start(&config("warn"));
    let at = broker.address("tcp");
    let (log, moved) = (broker.file("log-file"), broker.file("moved"));
    let text = || std::fs::read_to_string(&log).unwrap_or_default();
    Client::connect(at, Version::V5, "unseen").goodbye();
    std::fs::rename(&log, &moved).expect("a log file");
    std::fs::write(broker.file("sluice.toml"), config("off,sluicemq::broker=info"))
        .expect("a file");
    broker.signal("HUP");
    until("the level is info", || {
        Client::connect(at, Version::V5, "seen").goodbye();
        text().contains(" connected client=seen ")
    });
    assert!(!text().contains("unseen"));
    assert!(!text().contains("reloaded"), "another module");
    let before = std::fs::read_to_string(&moved).expect("the moved file");
    assert!(!before.contains(" connected "), "{before}");
}

#[test]
fn a_large_file_is_rotated() {
    let config = format!(
        "{PLAIN}[log]\noutput = 'file'\nfile = 'log-file'\nfile_bytes_max = '64KiB'\nold_files_max = 2\nlevel = 'debug'\n"
    );
    let broker = Sluice::start(&config);
    let at = broker.address("tcp");
    until("two old files", || {
        for _ in 0..50 {
            Client::connect(at, Version::V5, &"x".repeat(200)).goodbye();
        }
        broker.file("log-file.2").exists()
    });
    let length = |name: &str| std::fs::metadata(broker.file(name)).expect("a file").len();
    assert!(length("log-file.1") <= 64 * 1024 && length("log-file.2") <= 64 * 1024);
}

#[test]
fn why_it_does_not_start_is_said_in_the_form_of_the_log() {
    let folder = new_folder();
    for (mistake, code) in
        [("[queue]\nmessages_max = 'x'\n", 2), ("[auth]\npassword_file = 'none'\n", 2)]
    {
        let mut command =
            sluice(folder.path(), &format!("{PLAIN}[log]\nformat = 'json'\n{mistake}"));
        let (found, lines) = Process::start(&mut command).end();
        assert_eq!(found, Some(code));
        for line in &lines {
            assert!(line.starts_with("{\"timestamp\":\"") && line.ends_with('}'), "{line}");
        }
        assert!(lines.iter().any(|line| line.contains("\"level\":\"ERROR\"")), "{lines:?}");
    }
}

/// Standard output leads to a program that has gone: no panic, and the work is done.
#[test]
fn a_reader_of_a_command_may_go_away() {
    let folder = new_folder();
    let certificates = folder.path().join("certificates");
    let certs = ["certs", "--out", certificates.to_str().expect("UTF-8"), "--name", "localhost"];
    for (arguments, full) in [(&["config"][..], Some(2)), (&certs, None), (&["check"], Some(2))] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = program();
        command.args(arguments).current_dir(folder.path()).stdin(Stdio::null());
        let out = command.stdout(writer).stderr(Stdio::piped()).output().expect("the program");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!((out.status.code(), said.as_str()), (Some(0), ""), "{arguments:?}");
        // A disk that is full is another matter.
        if let Some(code) = full {
            let disk = File::options().write(true).open("/dev/full").expect("/dev/full");
            let out = command.stdout(disk).stderr(Stdio::piped()).output().expect("the program");
            assert_eq!(out.status.code(), Some(code), "{arguments:?}");
            assert!(
                String::from_utf8_lossy(&out.stderr).contains("cannot write to standard output")
            );
        }
    }
    assert!(certificates.join("server.pem").exists());
}
