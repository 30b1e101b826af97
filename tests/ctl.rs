//! `sluice ctl` against a real broker: each command as a table and as JSON, and each way in which it fails.

mod asking;
mod process;
#[path = "ctl/queues.rs"]
mod queues;
mod terminal;
mod wire;

use std::fs;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use asking::{HTTP, HttpClient, VIEWER};
use process::{Process, Sluice, new_folder, program};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sluicemq::codec::{Connect, Packet, Publish, QoS, Reason, Version};
use terminal::Terminal;
use wire::{Client, connect, message};

/// What a command has said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn done(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }

    #[track_caller]
    fn json(self) -> Value {
        let out = self.done();
        assert_eq!(out.matches('\n').count(), 1, "one document in one line: {out}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

/// Runs the command until it ends.
fn said(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().expect("a program");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let said =
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
    assert!(
        !said.out.contains('\u{1b}') && !said.err.contains('\u{1b}'),
        "{}{}",
        said.out,
        said.err
    );
    said
}

/// `sluice ctl`, not yet started, in `folder`, where nothing but its arguments says where a broker is.
fn ctl_in(folder: &Path) -> Command {
    let mut command = program();
    command.current_dir(folder).env_remove("SLUICE_CONFIG").env_remove("SLUICE_TOKEN").arg("ctl");
    command
}

/// The same for `broker`, as its operator.
fn ctl(broker: &Sluice, arguments: &[&str]) -> Command {
    let url = format!("http://{}", HttpClient::of(broker).address);
    ctl_at(&broker.file(""), &url, arguments)
}

/// The same for the broker at `url` with its files in `folder`.
fn ctl_at(folder: &Path, url: &str, arguments: &[&str]) -> Command {
    let mut command = ctl_in(folder);
    command.args(["--token-file", "token", "--url", url]).args(arguments);
    command
}

#[track_caller]
fn done(broker: &Sluice, arguments: &[&str]) -> String {
    said(&mut ctl(broker, arguments)).done()
}

#[track_caller]
fn json(broker: &Sluice, arguments: &[&str]) -> Value {
    said(ctl(broker, arguments).arg("--json")).json()
}

#[track_caller]
fn refused(command: &mut Command, code: i32, wanted: &[&str]) {
    let said = said(command);
    assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{}", said.err);
    for wanted in wanted {
        assert!(said.err.contains(wanted), "{wanted:?} is not in {}", said.err);
    }
    assert!(said.err.lines().all(|line| line.starts_with("sluice: ")), "{}", said.err);
}

#[test]
fn the_status_is_a_sheet_or_a_document() {
    let broker = Sluice::start(HTTP);
    let _lamp = Client::connect(broker.address("tcp"), Version::V5, "lamp");
    let text = done(&broker, &["status"]);
    assert!(text.starts_with("version "), "{text}");
    for wanted in [vec!["ready", "yes"], vec!["clients", "connected", "1"]] {
        let is_it = |line: &str| line.split_whitespace().eq(wanted.iter().copied());
        assert!(text.lines().any(is_it), "{wanted:?} is not in\n{text}");
    }
    let value = json(&broker, &["status"]);
    assert_eq!((&value["ready"], &value["clients_connected"]), (&true.into(), &1.into()));
    let text = done(&broker, &["openapi"]);
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert!(document["paths"]["/api/v1/status"].is_object(), "{text}");
}

#[test]
fn what_the_process_is_made_of_is_listed() {
    let broker = Sluice::start(HTTP);
    for (arguments, wanted, at, value) in [
        (vec!["listeners"], vec!["NAME ", "tcp ", "127.0.0.1:"], "/items/0/name", json!("tcp")),
        (vec!["overload"], vec!["level ", "causes:\nCAUSE"], "/level", json!(0)),
        (vec!["store"], vec!["durable  no\n"], "/durable", json!(false)),
        (
            vec!["config", "http.hosts"],
            vec!["KEY ", "http.hosts", "sluice.toml:"],
            "/items/0/key",
            json!("http.hosts"),
        ),
        (vec!["config", "nothing"], vec!["there is no such key"], "/items", json!([])),
        (vec!["log"], vec!["level  info\n"], "/level", json!("info")),
    ] {
        let text = done(&broker, &arguments);
        for wanted in wanted {
            assert!(text.contains(wanted), "{arguments:?}: {wanted:?} is not in\n{text}");
        }
        let document = json(&broker, &arguments);
        assert_eq!(document.pointer(at), Some(&value), "{arguments:?}: {document}");
    }
    assert!(json(&broker, &["config"])["items"].as_array().expect("a list").len() > 50);
}

#[test]
fn the_log_and_the_configuration_are_changed() {
    let broker = Sluice::start(HTTP);
    let text = done(&broker, &["log", "debug"]);
    assert!(text.starts_with("level  ") && text.ends_with("debug\n"), "{text}");
    let level = json(&broker, &["log"])["level"].as_str().expect("a text").to_owned();
    assert!(level.contains("debug") && text.contains(&level), "{level}");
    refused(&mut ctl(&broker, &["log", "loud"]), 1, &["loud"]);
    assert_eq!(done(&broker, &["reload"]), "the configuration was reloaded\n");
    assert_eq!(json(&broker, &["reload"])["reloaded"], true);
    fs::write(broker.file("sluice.toml"), "[nothing]").expect("a file");
    refused(&mut ctl(&broker, &["reload"]), 1, &["was not reloaded", "nothing"]);
}

/// A port that nothing listens on.
fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("an address").port()
}

/// A configuration with HTTP at `port`.
fn at_port(port: u16) -> String {
    HTTP.replace(
        "[http]\naddress = '127.0.0.1:0'",
        &format!("[http]\naddress = '127.0.0.1:{port}'"),
    )
}

#[test]
fn the_broker_is_found_through_its_configuration() {
    let port = free_port();
    let broker = Sluice::start(&at_port(port));
    let folder = broker.file("");
    let config = broker.file("sluice.toml");
    let config = config.to_str().expect("UTF-8");
    said(ctl_in(&folder).args(["--config", config, "status"])).done();
    said(ctl_in(&folder).env("SLUICE_CONFIG", config).arg("status")).done();
    let here = |token: &str| {
        let mut command = ctl_in(&folder);
        command.args(["--config", config, "status"]).env("SLUICE_TOKEN", token);
        command
    };
    said(&mut here(VIEWER)).done();
    refused(&mut here("wrong"), 1, &["does not take the token of SLUICE_TOKEN: "]);
    // A token in a file is taken before that in the environment.
    said(here("wrong").args(["--token-file", "token"])).done();
    // The other configuration: no broker runs with it.
    fs::write(broker.file("other.toml"), at_port(free_port())).expect("a file");
    let mut other = ctl_in(&folder);
    other.args(["--config", "other.toml", "status"]).env("SLUICE_CONFIG", config);
    refused(&mut other, 3, &["no broker runs here; to start it: sluice --config other.toml"]);
}

#[test]
fn what_keeps_it_from_the_broker_is_said() {
    let folder = new_folder();
    let at = |config: &str| {
        fs::write(folder.path().join("sluice.toml"), config).expect("a file");
        let mut command = ctl_in(folder.path());
        command.args(["--config", "sluice.toml", "status"]);
        command
    };
    let without = "[[listener]]\naddress = '127.0.0.1:0'\n";
    refused(&mut at(without), 3, &["HTTP is off in sluice.toml", "[http] with address = "]);
    refused(&mut at("[http]\naddres = 'x'"), 2, &["sluice.toml:2"]);
    refused(&mut at(HTTP), 3, &["takes a free port", "--url"]);
    refused(&mut at(&at_port(free_port())), 3, &["there is no token at token", "--token-file"]);
    let token = folder.path().join("token");
    fs::write(&token, "two words").expect("a file");
    refused(&mut at(&at_port(free_port())), 2, &["token holds no token"]);
    fs::write(&token, "a-token-of-one-word").expect("a file");
    let nothing = format!("127.0.0.1:{}", free_port());
    let url = |url: &str| {
        let mut command = ctl_in(folder.path());
        command.args(["--url", url, "--token-file", "token", "status"]);
        command
    };
    refused(&mut url(&format!("http://{nothing}")), 3, &["nothing listens there"]);
    for wrong in ["broker", "http://", "ftp://broker", "http://broker/api", "http://a@b"] {
        refused(&mut url(wrong), 2, &["expected a scheme and a host"]);
    }
    refused(
        ctl_in(folder.path()).args(["--url", "http://localhost", "status"]),
        2,
        &["--token-file"],
    );
    refused(url("https://localhost:1").args(["--ca", "token"]), 2, &["holds no certificate"]);
    refused(url("https://localhost:1").args(["--ca", "none.pem"]), 2, &["none.pem"]);
}

#[test]
fn a_token_of_another_user_is_named_with_that_user() {
    let folder = new_folder();
    let token = folder.path().join("token");
    fs::write(&token, "a-token-of-one-word").expect("a file");
    fs::write(folder.path().join("sluice.toml"), at_port(free_port())).expect("a file");
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    mode(folder.path(), 0o755).expect("a folder of ours");
    let mut command = ctl_in(folder.path());
    command.args(["--config", "sluice.toml", "status"]);
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        // As any other user; root may read everything.
        mode(&token, 0o640).expect("a file of ours");
        command.uid(65_534).gid(65_534);
    } else {
        mode(&token, 0o040).expect("a file of ours");
    }
    let wanted =
        ["this user may not read the token at token", "or a member of its group", "sudo -u "];
    refused(&mut command, 3, &wanted);
}

#[test]
fn a_refusal_of_the_broker_is_told_in_its_words() {
    let broker = Sluice::start(HTTP);
    let address = HttpClient::of(&broker).address;
    let as_viewer = |url: &str, arguments: &[&str]| {
        let mut command = ctl_in(&broker.file(""));
        command.args(["--url", url]).env("SLUICE_TOKEN", VIEWER).args(arguments);
        command
    };
    let here = format!("http://{address}");
    refused(&mut as_viewer(&here, &["reload"]), 1, &["\"looks\" is a viewer's"]);
    refused(
        &mut as_viewer("http://broker.invalid:1", &["status"]),
        3,
        &["http://broker.invalid:1: "],
    );
    refused(&mut as_viewer(&here, &["client", "nothing"]), 1, &["nothing"]);
    let said = said(&mut as_viewer(&here, &["no-such-command"]));
    assert_eq!(said.code, Some(2), "{}", said.err);
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let Ok(found) = (name.as_str(), address.port()).to_socket_addrs() else { return };
    // A name of this machine that is in no configuration.
    if name != "localhost" && found.into_iter().any(|found| found == address) {
        let mut named = as_viewer(&format!("http://{name}:{}", address.port()), &["status"]);
        refused(&mut named, 1, &["is not in http.hosts: add it there"]);
    }
}

#[test]
fn what_answers_and_is_no_broker_is_said_to_be_none() {
    let folder = new_folder();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let other = format!("http://{}", socket.local_addr().expect("an address"));
    let serving = thread::spawn(move || {
        use std::io::{Read, Write};
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "220 mail.example ESMTP\r\n",
        ] {
            let (mut stream, _) = socket.accept().expect("a connection");
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).expect("a request");
            stream.write_all(answer.as_bytes()).expect("it is read");
        }
    });
    for wanted in ["is no broker of Sluice", "is no broker of Sluice", "is it https there?"] {
        let mut command = ctl_in(folder.path());
        refused(command.args(["--url", &other, "status"]).env("SLUICE_TOKEN", "t"), 3, &[wanted]);
    }
    serving.join().expect("all were asked");
}

#[test]
fn through_tls_the_certificate_must_be_trusted() {
    let folder = new_folder();
    let mut certs = program();
    certs.current_dir(folder.path()).args(["certs", "--out", "certs", "--name", "localhost"]);
    assert!(certs.output().expect("a program").status.success());
    let tls =
        "[http.tls]\ncertificate = 'certs/server.pem'\nkey = 'certs/server.key'\n[[http.token]]";
    let broker = Sluice::start_in(folder, &HTTP.replace("[[http.token]]", tls));
    let port = HttpClient::of(&broker).address.port();
    let at = |url: String| {
        let mut command = ctl_in(&broker.file(""));
        command.args(["--token-file", "token", "status", "--url", &url]);
        command
    };
    let named = || format!("https://localhost:{port}");
    said(at(named()).args(["--ca", "certs/ca.pem"])).done();
    refused(&mut at(named()), 3, &["--ca FILE names the CA"]);
    let address = format!("https://127.0.0.1:{port}");
    refused(at(address).args(["--ca", "certs/ca.pem"]), 3, &["the name in the certificate"]);
    refused(&mut at(format!("http://localhost:{port}")), 3, &["is it https there?"]);
}

/// A broker with a client that is connected, one that is away with two messages in its queue, a group, and retained
/// messages.
fn house() -> (Sluice, Client) {
    let broker = Sluice::start(HTTP);
    let at = broker.address("tcp");
    let connect =
        Connect { clean_start: false, session_expiry: 3600, ..connect(Version::V5, "away") };
    let mut away = Client::connect_with(at, &connect);
    away.subscribe(&["jobs/#", "$share/workers/parts"], QoS::AtLeastOnce);
    away.goodbye();
    let mut lamp = Client::connect(at, Version::V5, "lamp");
    lamp.subscribe(&["state/+"], QoS::AtLeastOnce);
    for topic in ["jobs/1", "jobs/2"] {
        assert_eq!(lamp.publish(topic, b"saw"), Reason::Success);
    }
    for (topic, payload) in [("kept/a", "on"), ("kept/b", "off\u{1b}[2J")] {
        lamp.send(&Packet::Publish(Publish { retain: true, ..message(topic, payload.as_bytes()) }));
    }
    lamp.ping();
    (broker, lamp)
}

#[test]
fn what_there_is_is_listed_and_shown_in_full() {
    let (broker, _lamp) = house();
    for (arguments, wanted, at, value) in [
        (vec!["clients"], vec!["CLIENT ID", "away ", "lamp "], "/items/1/client_id", json!("lamp")),
        (vec!["clients", "am"], vec!["lamp"], "/total", json!(1)),
        (vec!["clients", "--connected=false"], vec!["away"], "/items/0/connected", json!(false)),
        (
            vec!["clients", "--sort", "queue_messages", "--descending", "-n", "1"],
            vec!["away", "(1 of 2; more with --limit NUMBER)"],
            "/items/0/queue_messages",
            json!(2),
        ),
        (vec!["clients", "nothing"], vec!["there is no such client"], "/items", json!([])),
        (
            vec!["client", "away"],
            vec!["\nconnected ", "subscriptions:\n", "jobs/#"],
            "/client_id",
            json!("away"),
        ),
        (
            vec!["queue", "show", "away"],
            vec!["TOPIC", "jobs/1", "jobs/2"],
            "/items/1/topic",
            json!("jobs/2"),
        ),
        (
            vec!["queue", "show", "away", "--payload"],
            vec!["saw"],
            "/items/0/payload_base64",
            json!("c2F3"),
        ),
        (
            vec!["subscriptions", "--client", "lamp"],
            vec!["state/+"],
            "/items/0/client_id",
            json!("lamp"),
        ),
        (vec!["groups"], vec!["workers", "parts", "away"], "/items/0/members/0", json!("away")),
        (
            vec!["receivers", "state/x"],
            vec!["lamp", "state/+", "yes"],
            "/items/0/client_id",
            json!("lamp"),
        ),
        (vec!["receivers", "nowhere"], vec!["nothing would get it"], "/items", json!([])),
        (vec!["retained", "list"], vec!["kept/a", "2 B"], "/items/0/topic", json!("kept/a")),
        (
            vec!["retained", "list", "kept/+", "--payload"],
            vec!["off\\u{1b}[2J"],
            "/items/0/payload_base64",
            json!("b24="),
        ),
        (vec!["ledger"], vec!["nothing was lost"], "/reasons/0/count", json!(0)),
        (vec!["ledger", "--recent"], vec!["nothing was lost lately"], "/items", json!([])),
    ] {
        let text = done(&broker, &arguments);
        for wanted in wanted {
            assert!(text.contains(wanted), "{arguments:?}: {wanted:?} is not in\n{text}");
        }
        let document = json(&broker, &arguments);
        if !at.is_empty() {
            assert_eq!(document.pointer(at), Some(&value), "{arguments:?}: {document}");
        }
    }
    for nothing in
        [vec!["client", "nothing"], vec!["queue", "show", "nothing"], vec!["kick", "away"]]
    {
        refused(&mut ctl(&broker, &nothing), 1, &[nothing[nothing.len() - 1]]);
    }
}

#[test]
fn what_can_be_changed_is_changed() {
    let (broker, mut lamp) = house();
    let text = done(&broker, &["queue", "purge", "away"]);
    assert_eq!(text, "2 messages deleted from the queue\n");
    assert!(done(&broker, &["queue", "show", "away"]).contains("nothing waits"));
    let ledger = done(&broker, &["ledger"]);
    assert!(ledger.starts_with("lost:\n         2  "), "{ledger}");
    assert_eq!(json(&broker, &["ledger", "--client", "away"])["items"][0]["topic"], "jobs/2");

    // As it is, for this is no terminal.
    let raw = ctl(&broker, &["retained", "get", "kept/b"]).output().expect("a program");
    assert_eq!(raw.stdout, b"off\x1b[2J");
    assert_eq!(json(&broker, &["retained", "get", "kept/a"])["payload_base64"], "b24=");
    refused(
        &mut ctl(&broker, &["retained", "get", "kept/c"]),
        1,
        &["no retained message at kept/c"],
    );
    refused(&mut ctl(&broker, &["retained", "get", "kept/+"]), 2, &["is a filter"]);
    assert_eq!(done(&broker, &["retained", "delete", "kept/b"]), "1 message deleted\n");
    assert_eq!(json(&broker, &["retained", "delete", "kept/#"])["deleted_messages"], 1);

    let text = done(&broker, &["pub", "state/x", "hello", "--property", "a=b"]);
    assert_eq!(text, "published: Success; receivers: 1\n");
    assert_eq!(lamp.message(), ("state/x".to_owned(), b"hello".to_vec()));
    fs::write(broker.file("payload"), [0, 255]).expect("a file");
    assert_eq!(json(&broker, &["pub", "state/y", "-f", "payload"])["receivers"], 1);
    assert_eq!(lamp.message(), ("state/y".to_owned(), vec![0, 255]));
    refused(&mut ctl(&broker, &["pub", "state/#", "x"]), 1, &[]);

    assert_eq!(done(&broker, &["kick", "lamp"]), "lamp is disconnected\n");
    lamp.closed_by(Reason::AdministrativeAction);
    assert_eq!(done(&broker, &["end", "away"]), "the Session of away has ended\n");
    refused(&mut ctl(&broker, &["end", "away"]), 1, &["away"]);
}

#[test]
fn why_says_what_would_become_of_a_message() {
    let (broker, _lamp) = house();
    for (client, topic, wanted, verdict) in [
        ("lamp", "state/x", "it would arrive", "would_arrive"),
        ("away", "jobs/1", "it would wait", "would_wait"),
        ("lamp", "else", "it would not arrive: ", "would_not_arrive"),
        ("nothing", "else", "it would not arrive: ", "would_not_arrive"),
    ] {
        let text = done(&broker, &["why", client, topic]);
        assert!(text.starts_with(wanted) && text.contains("step by step:\n"), "{text}");
        assert!(text.contains("\n   no  ") || verdict == "would_arrive", "{text}");
        assert_eq!(json(&broker, &["why", client, topic])["verdict"], verdict);
    }
}

/// A command that goes on.
fn going_on(broker: &Sluice, arguments: &[&str]) -> Process {
    Process::start(ctl(broker, arguments).stdin(Stdio::null()))
}

#[test]
fn what_goes_on_is_printed_line_by_line_until_it_is_interrupted() {
    let (broker, mut lamp) = house();
    let mut losses = going_on(&broker, &["ledger", "--follow"]);
    let mut trace = going_on(&broker, &["trace", "--client", "lamp", "--json"]);
    let mut figures = going_on(&broker, &["top", "--json"]);
    let sub = going_on(&broker, &["sub", "state/+", "-C", "2"]);
    let (folder, url) = (broker.file(""), format!("http://{}", HttpClient::of(&broker).address));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Again and again, for none of them says when it has begun.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                lamp.publish("state/a", "1\u{202e}".as_bytes());
                lamp.message();
                lamp.publish("jobs/3", b"saw");
                said(&mut ctl_at(&folder, &url, &["queue", "purge", "away"])).done();
            }
        });
        let line = losses.until(|_| true);
        assert!(line.contains("  away  jobs/"), "{line}");
        let line = trace.until(|line| line.contains(r#""packet":"PUBLISH""#));
        let packet: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&packet["event"], &packet["client_id"]), (&json!("packet"), &json!("lamp")));
        let figure: Value = serde_json::from_str(&figures.until(|_| true)).expect("JSON");
        assert!(figure["received_per_second"].is_number(), "{figure}");
        assert_eq!(sub.end(), (Some(0), vec!["state/a 1\\u{202e}".to_owned(); 2]));
        is_over.store(true, Ordering::Relaxed);
    });
    for mut process in [losses, trace, figures] {
        process.signal("INT");
        assert_eq!(process.exit_code(), Some(0));
    }
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let (broker, _lamp) = house();
    for arguments in [&["clients"][..], &["top", "--json"]] {
        let mut child = ctl(&broker, arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a program");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("a child of ours");
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()), "{arguments:?}");
    }
}

#[test]
fn top_draws_on_the_terminal_and_gives_it_back() {
    let (broker, _lamp) = house();
    refused(&mut ctl(&broker, &["top"]), 2, &["there is none", "--json"]);
    for signal in [None, Some(Signal::TERM), Some(Signal::INT)] {
        let mut terminal = Terminal::open(160, 30);
        let mut child = ctl(&broker, &["top"])
            .stdin(terminal.theirs())
            .stdout(terminal.theirs())
            .stderr(Stdio::null())
            .spawn()
            .expect("a program");
        for wanted in ["\u{1b}[?1049h", "received", "away", "lamp", "queue messages"] {
            terminal.until(wanted);
        }
        assert!(!terminal.is_as_usual());
        terminal.press("s");
        terminal.until("bytes)");
        match signal {
            None => terminal.press("q"),
            Some(signal) => kill_process(Pid::from_child(&child), signal).expect("a child of ours"),
        }
        let status = child.wait().expect("a child of ours");
        assert_eq!(status.code(), signal.is_none().then_some(0), "{signal:?}");
        assert_eq!(status.signal(), signal.map(Signal::as_raw));
        assert!(terminal.is_as_usual(), "{signal:?}");
        terminal.until("\u{1b}[?1049l");
    }
}
