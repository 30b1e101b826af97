//! The life of the real process: its ready line, its signals, and how others see that it is well.

mod process;
mod wire;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use process::{Process, Sluice, new_folder, program, sluice};
use sluicemq::codec::{Connect, Packet, QoS, Reason, Version};
use socket2::{Domain, Socket, Type};
use wire::{Client, VERSIONS, connect, connect_with_will};

const PLAIN: &str = "
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'
";

/// For what becomes true when the broker has read its files again.
const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn the_ready_line_is_one_line_of_json_with_every_listener() {
    let folder = new_folder();
    let config = format!("{PLAIN}[[listener]]\nname = 'a \"name\"'\naddress = '[::1]:0'\n");
    let mut broker = Process::start(&mut sluice(folder.path(), &config));
    let ready = broker.until(|line| line.starts_with('{'));
    let port = |after: &str| {
        let digits = ready.split(after).nth(1).and_then(|rest| rest.split('"').next());
        let port: u16 = digits.expect("a port").parse().expect("a number");
        assert_ne!(port, 0);
        port
    };
    let (first, second) = (port("127.0.0.1:"), port("[::1]:"));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        ready,
        format!(
            r#"{{"sluice":"ready","version":"{version}","listeners":[{{"name":"tcp","address":"127.0.0.1:{first}","tls":false,"transport":"tcp"}},{{"name":"a \"name\"","address":"[::1]:{second}","tls":false,"transport":"tcp"}}]}}"#
        )
    );
    // It is true.
    for address in [format!("127.0.0.1:{first}"), format!("[::1]:{second}")] {
        let at: SocketAddr = address.parse().expect("an address");
        Client::connect(at, Version::V5, "a").goodbye();
    }
}

#[test]
fn at_sigterm_and_sigint_every_client_is_told_and_the_exit_code_is_0() {
    for signal in ["TERM", "INT"] {
        let mut broker = Sluice::start(&format!("{PLAIN}[broker]\nstop_timeout = '1s'"));
        let at = broker.address("tcp");
        let will = connect_with_will(Version::V5, "new", "will");
        let mut new = Client::connect_with(at, &will);
        let mut old = Client::connect(at, Version::V311, "old");
        let mut stranger = Client::open(at, Version::V5);
        let mut stuck = Client::over(wire::dial_narrow(at), Version::V5);
        stuck.greet(&connect(Version::V5, "stuck"));
        stuck.subscribe(&["flood"], QoS::AtMostOnce);
        while new.publish("flood", &[b'x'; 64 * 1024]) != Reason::QuotaExceeded {}

        broker.signal(signal);
        new.closed_by(Reason::ServerShuttingDown);
        old.closed();
        stranger.closed();
        assert_eq!(broker.exit_code(), Some(0));
    }
}

/// What the log says of a password file that cannot be used.
const FAILED: &str = "nothing reloaded";

#[test]
fn at_sighup_the_password_file_is_read_again() {
    let folder = new_folder();
    let file = folder.path().join("passwords");
    set_password(&file, "anna", "old");
    let broker =
        Sluice::start_in(folder, &format!("{PLAIN}\n[auth]\npassword_file = 'passwords'\n"));
    let at = broker.address("tcp");
    // Waited for in the log: a client that tries until it works is banned before a slow reload is done.
    let reload = || {
        let before = log(&broker).matches("passwords reloaded").count();
        broker.signal("HUP");
        until(|| log(&broker).matches("passwords reloaded").count() > before);
    };
    for version in VERSIONS {
        set_password(&file, "anna", "old");
        reload();
        assert_eq!(enters(at, version, "anna", "old"), Reason::Success);
        set_password(&file, "lena", "hers");
        reload();
        assert_eq!(enters(at, version, "lena", "hers"), Reason::Success);
        let mut connected = Client::connect_with(at, &with(version, "connected", "lena", "hers"));
        let mut changed = Client::connect_with(at, &with(version, "changed", "anna", "old"));

        set_password(&file, "anna", "new");
        set_password(&file, "otto", "his");
        assert_eq!(enters(at, version, "anna", "old"), Reason::Success, "no signal yet");
        reload();
        assert_eq!(enters(at, version, "otto", "his"), Reason::Success);
        assert_eq!(enters(at, version, "anna", "new"), Reason::Success);
        assert_eq!(enters(at, version, "anna", "old"), Reason::BadUserNameOrPassword);
        // With another password the login of before does not hold any more; that of others does.
        match version {
            Version::V5 => changed.closed_by(Reason::NotAuthorized),
            _ => changed.closed(),
        }
        connected.ping();

        // A user that is removed is disconnected; others stay.
        let mut removed = Client::connect_with(at, &with(version, "removed", "otto", "his"));
        remove_user(&file, "otto");
        broker.signal("HUP");
        match version {
            Version::V5 => removed.closed_by(Reason::NotAuthorized),
            _ => removed.closed(),
        }
        connected.ping();

        // What cannot be read leaves in force what was.
        std::fs::write(&file, "anna:plain text\n").expect("a file");
        let failures = log(&broker).matches(FAILED).count();
        broker.signal("HUP");
        until(|| log(&broker).matches(FAILED).count() > failures);
        assert_eq!(enters(at, version, "anna", "new"), Reason::Success);
        std::fs::remove_file(&file).expect("a file");
        connected.ping();
    }
}

/// A mistake anywhere in the file, and nothing changes; a key that needs a restart is named, beside those that
/// do not.
#[test]
fn at_sighup_the_configuration_changes_as_a_whole_and_what_it_cannot_change_is_named() {
    let folder = new_folder();
    let passwords = folder.path().join("passwords");
    set_password(&passwords, "operator", "right");
    let start = format!("{PLAIN}[auth]\npassword_file = 'passwords'\n");
    let reader = "dead_letter_users = 'operator'\n";
    let broker = Sluice::start_in(folder, &start);
    let at = broker.address("tcp");
    let write = |text: &str| {
        let text = format!("{text}[store]\nkind = 'memory'\n");
        std::fs::write(broker.file("sluice.toml"), text).expect("a configuration file");
        broker.signal("HUP");
    };
    let may_read = || {
        let mut client = Client::connect_with(at, &with(Version::V5, "", "operator", "right"));
        client.subscribe(&["$dead/#"], QoS::AtLeastOnce) == [Reason::GrantedQoS1]
    };
    let said = |what: &str| log(&broker).matches(what).count();
    assert!(!may_read());

    // The password file is wrong too, but it is not read while the configuration is wrong.
    std::fs::write(&passwords, "operator:plain text\n").expect("a file");
    for (mistake, place) in [
        (
            "[queue]\nmessages_max = 'x'\n",
            "sluice.toml:9:16: queue.messages_max: expected an integer",
        ),
        ("[queue]\npolicy = 'random'\n", "sluice.toml:9:10: queue.policy: expected one of "),
        ("[quee]\n", "sluice.toml:8:2: unknown section 'quee'; did you mean 'queue'?"),
        (
            "[overload]\nlevel_max = 4\n",
            "sluice.toml:9:13: overload.level_max: 4 is out of range: 0 to 3",
        ),
    ] {
        write(&format!("{start}{reader}{mistake}"));
        until(|| said(place) == 1);
        assert!(log(&broker).contains("nothing reloaded: what was in force stays"));
    }
    // Good by itself, but not beside what needs a restart.
    let smaller = "[limits]\npacket_bytes_max = '64KiB'\n[queue]\nbytes_max = '128KiB'\n";
    write(&format!("{start}{reader}{smaller}"));
    until(|| said("as long as a restart is due for limits.packet_bytes_max") == 1);
    assert_eq!((said("passwords:1"), said("and overload reloaded")), (0, 0));
    assert!(!may_read());

    set_password(&passwords, "operator", "right");
    let more = "[session]\nqos_max = 1\n[broker]\nworkers = 7\n[queue]\nmessages_max = 5\n";
    let other = start.replace("name = 'tcp'", "name = 'tcp'\nconnections_max = 7");
    write(&format!("{other}{reader}{more}[[listener]]\nname = 'other'\naddress = '127.0.0.1:0'\n"));
    until(|| said("passwords reloaded") == 1);
    assert!(may_read());
    let line = "changed, and in force only after a restart keys=\"[[listener]] \\\"other\\\" (is new), \
                broker.workers, listener.0.connections_max, session.qos_max\"";
    assert_eq!(said(line), 1, "{}", log(&broker));
    // As long as they differ they are named; and what was taken out again is as it was.
    write(&start);
    until(|| said("passwords reloaded") == 2);
    assert!(!may_read());
    assert_eq!(said("in force only after a restart"), 1, "{}", log(&broker));
}

fn log(broker: &Sluice) -> String {
    std::fs::read_to_string(broker.file("log")).expect("the broker's log")
}

fn remove_user(file: &Path, user: &str) {
    let mut command = program();
    command.arg("passwd").arg(file).args([user, "--delete"]);
    assert_eq!(Process::start(&mut command).end().0, Some(0));
}

fn set_password(file: &Path, user: &str, password: &str) {
    let mut command = program();
    command.arg("passwd").arg(file).args([user, "--password-stdin"]);
    let mut input = tempfile::tempfile().expect("a temporary file");
    writeln!(input, "{password}").expect("a file to write to");
    std::io::Seek::rewind(&mut input).expect("a file to read again");
    let (code, lines) = Process::start(command.stdin(input)).end();
    assert_eq!(code, Some(0), "{lines:?}");
}

fn with<'a>(version: Version, client_id: &'a str, user: &'a str, password: &'a str) -> Connect<'a> {
    let (user_name, password) = (Some(user), Some(password.as_bytes()));
    Connect { user_name, password, ..connect(version, client_id) }
}

fn enters(at: SocketAddr, version: Version, user: &str, password: &str) -> Reason {
    let mut client = Client::open(at, version);
    client.send(&Packet::Connect(Box::new(with(version, "", user, password))));
    client.connack()
}

#[test]
fn check_live_says_whether_a_broker_serves() {
    let folder = new_folder();
    set_password(&folder.path().join("passwords"), "anna", "right");
    let locked = "[auth]\npassword_file = 'passwords'\n";
    let mut broker = Sluice::start_in(folder, &format!("{PLAIN}{locked}"));
    let at = broker.address("tcp");
    let check_at = |at: SocketAddr, user: &[&str], password: &str| {
        let mut command = program();
        command.args(["check", "--live", "--address", &at.to_string()]).args(user);
        command.env("SLUICE_CHECK_PASSWORD", password).stdin(Stdio::null());
        Process::start(&mut command).end()
    };
    let check = |user: &[&str], password: &str| check_at(at, user, password);
    assert_eq!(check(&["--user", "anna"], "right"), (Some(0), vec!["the broker is well".into()]));
    for refused in [check(&["--user", "anna"], "wrong"), check(&[], "")] {
        assert_eq!((refused.0, refused.1.len()), (Some(1), 1), "{refused:?}");
    }
    // No listener has this port, and no other process can take it.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    let silent = socket.local_addr().ok().and_then(|address| address.as_socket());
    let (code, lines) = check_at(silent.expect("its address"), &[], "");
    assert_eq!((code, lines.len()), (Some(1), 1), "{lines:?}");
    assert!(lines[0].contains("nothing listens there") && !lines[0].contains("TLS"), "{lines:?}");
    // TLS is asked for, and the port is plain.
    let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls/ca.pem");
    let (code, lines) = check_at(at, &["--ca", authority], "");
    assert_eq!((code, lines.len()), (Some(1), 1), "{lines:?}");
    assert!(lines[0].contains("leave out --ca"), "{lines:?}");
    // Something listens and is no broker.
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let there = nobody.local_addr().expect("its address");
    let hangs_up = std::thread::spawn(move || drop(nobody.accept()));
    assert_eq!(check_at(there, &[], "").0, Some(1));
    hangs_up.join().expect("a connection");
    assert_eq!(broker.stop(), Some(0));
}

/// Tries until it is so.
fn until(mut so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !so() {
        assert!(Instant::now() < end, "it does not become so");
    }
}
