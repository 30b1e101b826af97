//! Clients that others wrote, against the real process: mosquitto's and rumqttc.
//!
//! What is new here is their reading of the standard; ours is in `tests/conformance`. Nothing
//! sleeps: every step waits for a line that says the step before is done.

#[path = "interop/exclusive.rs"]
mod exclusive;
#[path = "interop/flow.rs"]
mod flow;
mod installed;
mod process;
#[path = "interop/repeats.rs"]
mod repeats;
#[path = "interop/retry.rs"]
mod retry;
#[path = "interop/rumq.rs"]
mod rumq;
#[path = "interop/shares.rs"]
mod shares;

use std::cell::Cell;
use std::io::{Seek, Write};
use std::net::{SocketAddr, TcpListener};
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::process::{Command, Stdio};

use process::{Process, Sluice, new_folder, program, sluice};

/// The programs that most tests here run.
const CLIENTS: &[&str] = &["mosquitto_pub", "mosquitto_sub", "stdbuf"];

/// Protocol versions as mosquitto's clients spell them.
const VERSIONS: [&str; 2] = ["311", "5"];

/// How subscribers print a message: topic, QoS, RETAIN, payload.
const FORMAT: &str = "%t|%q|%r|%p";

const PLAIN: &str = "
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'

[broker]
sys_interval = '1s'
";

/// On a busy machine a live client may be off the processor for longer than the default allows.
const PATIENT: &str = "
[queue]
pause_max = '2s'
";

const TLS: &str = "
[[listener]]
name = 'tls'
address = '127.0.0.1:0'

[listener.tls]
certificate = 'certs/server.pem'
key = 'certs/server.key'
";

#[test]
fn the_lines_printed_for_a_newcomer_work_as_they_stand() {
    if !installed::all(CLIENTS) {
        return;
    }
    let folder = new_folder();
    let mut command = program();
    command.current_dir(folder.path()).stdin(Stdio::null());
    for listener in 0..2 {
        command.args(["--set", &format!("listener.{listener}.address=127.0.0.1:0")]);
    }
    let broker = Sluice::start_as(&mut command, folder);
    let lines = |tool: &str| {
        let lines = broker.printed().iter().map(|line| line.trim());
        lines.filter(|line| line.starts_with(tool)).collect::<Vec<_>>()
    };
    let (subscribers, publishers) = (lines("mosquitto_sub"), lines("mosquitto_pub"));
    assert_eq!((subscribers.len(), publishers.len()), (2, 2));
    let shell = |line: String| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec {line}")]).current_dir(broker.file(""));
        Process::start(shell.stdin(Stdio::null()))
    };
    for version in ["", " -V 311", " -V 5"] {
        for (subscriber, publisher) in subscribers.iter().zip(&publishers) {
            let mut subscriber = shell(format!("stdbuf -oL {subscriber} -d{version}"));
            subscriber.until(|line| line.starts_with("Subscribed "));
            assert_eq!(shell(format!("{publisher}{version}")).end(), (Some(0), Vec::new()));
            subscriber.until(|line| line == "hello/world it works");
        }
    }
}

#[test]
fn messages_come_at_the_lower_of_both_qualities_of_service() {
    if !installed::all(CLIENTS) {
        return;
    }
    let broker = Sluice::start(PLAIN);
    let at = broker.address("tcp");
    for version in VERSIONS {
        for granted in 0..=2_u8 {
            let mut subscriber = subscribe(at, version, &format!("-t a/+ -q {granted}"));
            for sent in 0..=2_u8 {
                publish(at, version, &format!("-t a/b -q {sent} -m {sent}to{granted}"));
                let expected = format!("a/b|{}|0|{sent}to{granted}", sent.min(granted));
                subscriber.until(|line| line == expected);
            }
        }
    }
}

#[test]
fn versions_speak_with_each_other() {
    if !installed::all(CLIENTS) {
        return;
    }
    let broker = Sluice::start(PLAIN);
    let at = broker.address("tcp");
    for (one, other) in [("311", "5"), ("5", "311")] {
        let mut subscriber = subscribe(at, one, "-t # -q 2");
        publish(at, other, "-t to/old/or/new -q 2 -m hello");
        subscriber.until(|line| line == "to/old/or/new|2|0|hello");
    }
}

#[test]
fn a_retained_message_comes_to_later_subscribers_until_it_is_cleared() {
    if !installed::all(CLIENTS) {
        return;
    }
    let broker = Sluice::start(PLAIN);
    let at = broker.address("tcp");
    for version in VERSIONS {
        for topic in ["r/a", "r/m", "r/z"] {
            publish(at, version, &format!("-t {topic} -q 1 -r -m kept"));
        }
        let mut early = subscribe(at, version, "-t r/# -q 1");
        for topic in ["r/a", "r/m", "r/z"] {
            early.until(|line| line == format!("{topic}|1|1|kept"));
        }
        publish(at, version, "-t r/m -q 1 -r -n");
        early.until(|line| line == "r/m|1|0|");

        let mut late = listen(at, version, "-t r/# -q 1 -C 3");
        late.until(|line| line == "r/z|1|1|kept");
        publish(at, version, "-t r/m -q 1 -m live");
        assert_eq!(late.end().1, ["r/a|1|1|kept", "r/z|1|1|kept", "r/m|1|0|live"]);
    }
}

#[test]
fn a_will_is_published_when_its_client_is_killed_and_not_when_it_says_goodbye() {
    if !installed::all(CLIENTS) {
        return;
    }
    let broker = Sluice::start(PLAIN);
    let at = broker.address("tcp");
    for version in VERSIONS {
        let mut witness = subscribe(at, version, "-t will/# -q 1");
        let will = "-t other --will-topic will/of --will-qos 1 --will-payload";

        let polite = subscribe(at, version, &format!("{will} unsaid -C 1"));
        publish(at, version, "-t other -n");
        assert_eq!(polite.end().0, Some(0));

        let killed = subscribe(at, version, &format!("{will} gone"));
        killed.signal("KILL");
        let first = witness.until(|line| line.starts_with("will/of|"));
        assert_eq!(first, "will/of|1|0|gone");
    }
}

#[test]
fn messages_for_an_absent_session_come_exactly_once_and_in_order() {
    if !installed::all(CLIENTS) {
        return;
    }
    let broker = Sluice::start(PLAIN);
    let at = broker.address("tcp");
    for version in VERSIONS {
        let session = format!("-i absent{version} -c -q 2 -t off/#");
        assert_eq!(listen(at, version, &format!("{session} -E")).end().0, Some(0));
        publish_lines(at, version, "-t off/line -q 2", 100);

        let mut back = listen(at, version, &session);
        back.until(|line| line == "off/line|2|0|99");
        publish(at, version, "-t off/end -q 2 -n");
        back.until(|line| line == "off/end|2|0|");
        back.signal("TERM");
        let mut expected: Vec<String> = (0..100).map(|n| format!("off/line|2|0|{n}")).collect();
        expected.push("off/end|2|0|".to_owned());
        assert_eq!(back.end().1, expected);
    }
}

#[test]
fn fifty_thousand_messages_arrive() {
    if !installed::all(CLIENTS) {
        return;
    }
    let broker = Sluice::start(&[PLAIN, PATIENT].concat());
    let at = broker.address("tcp");
    for version in VERSIONS {
        fifty_thousand_from_publisher_to_subscriber(at, version);
    }
}

#[test]
fn a_stopped_subscriber_delays_nobody_and_the_ledger_tells_what_it_missed() {
    if !installed::all(CLIENTS) {
        return;
    }
    let broker = Sluice::start(&[PLAIN, PATIENT].concat());
    let at = broker.address("tcp");
    let mut dropped = subscribe(at, "5", "-t $SYS/broker/publish/messages/dropped");
    let mut ended = subscribe(at, "5", "-t $SYS/broker/ledger/session_ended");
    let (mut before, mut all) = (0, 0);
    for version in VERSIONS {
        let stopped = subscribe(at, version, "-t bulk/line -q 1");
        stopped.signal("STOP");
        fifty_thousand_from_publisher_to_subscriber(at, version);

        let missed = |ledger: &mut Process, range: RangeInclusive<u32>| {
            let count = |line: &str| line.rsplit('|').next().and_then(|n| n.parse().ok());
            let found = Cell::new(0);
            ledger.until(|line| {
                found.set(count(line).unwrap_or(0));
                range.contains(&found.get())
            });
            found.get()
        };
        // All but its queue of 1,000 and its window of at most 32, by now …
        before = missed(&mut dropped, before + 50_000 - 1032..=before + 50_000 - 1000);
        // … and those when its session ends.
        drop(stopped);
        all += 50_000;
        missed(&mut ended, all - before..=all - before);
    }
    let peak = broker.memory_peak();
    assert!(peak < 200 << 20, "{peak} bytes of memory at the peak");
}

#[test]
fn a_shared_subscription_gives_each_message_to_one_member() {
    if !installed::all(CLIENTS) {
        return;
    }
    let broker = Sluice::start(PLAIN);
    let at = broker.address("tcp");
    for version in VERSIONS {
        let mut one = listen(at, version, "-i one -t $share/group/s/# -t ready/one -q 1");
        let mut two = listen(at, version, "-i two -t $share/group/s/# -t ready/two -q 1");
        for (member, topic) in [(&mut one, "ready/one"), (&mut two, "ready/two")] {
            publish(at, version, &format!("-t {topic} -q 1 -r -n"));
            publish(at, version, &format!("-t {topic} -q 1 -r -m now"));
            member.until(|line| line.ends_with("|now"));
        }
        publish_lines(at, version, "-t s/line -q 1", 1000);
        let mut lines = Vec::new();
        for member in [one, two] {
            let before = lines.len();
            member.signal("TERM");
            lines.extend(member.end().1.into_iter().filter(|line| line.starts_with("s/line|")));
            assert!(lines.len() > before, "one member got all of {} messages", lines.len());
        }
        lines.sort();
        let mut expected: Vec<String> = (0..1000).map(|n| format!("s/line|1|0|{n}")).collect();
        expected.sort();
        assert_eq!(lines, expected);
    }
}

#[test]
fn tls_carries_both_versions_of_both_protocols() {
    if !installed::all(CLIENTS) {
        return;
    }
    let broker = with_certificates(TLS);
    let at = broker.address("tls");
    let trust = format!("--cafile {}", broker.file("certs/ca.pem").display());
    for version in VERSIONS {
        for tls in ["tlsv1.2", "tlsv1.3"] {
            let trust = format!("{trust} --tls-version {tls}");
            let mut subscriber = subscribe(at, version, &format!("{trust} -t t/# -q 2"));
            publish(at, version, &format!("{trust} -t t/{tls} -q 2 -m secret"));
            subscriber.until(|line| line == format!("t/{tls}|2|0|secret"));
        }
        let stranger = new_folder();
        certificates(stranger.path());
        let distrust = stranger.path().join("certs/ca.pem");
        let wrong = format!("--cafile {} -t t/x -m secret", distrust.display());
        assert_ne!(command("mosquitto_pub", at, version, &wrong).end().0, Some(0));
    }
}

#[test]
fn where_certificates_are_required_a_client_without_one_stays_outside() {
    if !installed::all(CLIENTS) {
        return;
    }
    let config = format!("{TLS}client_ca = 'certs/ca.pem'\nclient_certificate = 'required'\n");
    let broker = with_certificates(&config);
    let at = broker.address("tls");
    let file = |name: &str| broker.file("certs").join(name).display().to_string();
    let trust = format!("--cafile {}", file("ca.pem"));
    let known = format!("{trust} --cert {} --key {}", file("client.pem"), file("client.key"));
    for version in VERSIONS {
        let mut subscriber = subscribe(at, version, &format!("{known} -t m/# -q 1"));
        let unknown = format!("{trust} -t m/t -q 1 -m stranger");
        assert_ne!(command("mosquitto_pub", at, version, &unknown).end().0, Some(0));
        publish(at, version, &format!("{known} -t m/t -q 1 -m friend"));
        let first = subscriber.until(|line| line.starts_with("m/t|"));
        assert_eq!(first, "m/t|1|0|friend");
    }
}

#[test]
fn passwords_of_mosquitto_passwd_open_the_door() {
    if !installed::all(&["mosquitto_passwd", "mosquitto_pub", "stdbuf"]) {
        return;
    }
    let folder = new_folder();
    write_passwords(folder.path(), "anna");
    let broker =
        Sluice::start_in(folder, &format!("{PLAIN}\n[auth]\npassword_file = 'passwords'\n"));
    let at = broker.address("tcp");
    for (version, refusals) in [
        ("311", ["bad user name or password", "not authorised"]),
        ("5", ["bad username or password", "bad user name or password"]),
    ] {
        publish(at, version, "-u anna -P right -t a -q 1 -m hello");
        for wrong in ["-u anna -P wrong", "-u otto -P right", "-u anna"] {
            let (code, lines) =
                command("mosquitto_pub", at, version, &format!("{wrong} -t a -m hello")).end();
            assert_ne!(code, Some(0), "{wrong}");
            let said = lines.join("\n").to_lowercase();
            assert!(refusals.iter().any(|text| said.contains(text)), "{said}");
        }
    }
}

#[test]
fn a_mosquitto_client_that_waits_longer_than_its_keep_alive_keeps_its_connection() {
    if !installed::all(CLIENTS) {
        return;
    }
    // The second line waits for more than twice five seconds, the shortest Keep Alive that
    // mosquitto_pub takes: it pings, and would come again if it were not answered.
    let keys = "publish_bytes_rate = '2B', publish_bytes_burst = '1B'";
    let broker = Sluice::start(&format!("{PLAIN}\n[limits]\nclient = {{ {keys} }}\n"));
    let at = broker.address("tcp");
    std::thread::scope(|scope| {
        for version in VERSIONS {
            scope.spawn(move || {
                let args = format!("-t patient/{version}/#");
                let mut subscriber = subscribe(at, version, &args);
                let args = format!(
                    "-t patient/{version}/every/line -q 1 -k 5 -i patient-{version} \
                     --will-topic patient/{version}/will --will-payload gone"
                );
                publish_lines(at, version, &args, 2);
                let first = subscriber.until(|line| line.starts_with("patient/"));
                let second = subscriber.until(|line| line.starts_with("patient/"));
                let line = |number| format!("patient/{version}/every/line|0|0|{number}");
                assert_eq!([first, second], [0, 1].map(line), "and no Will");
            });
        }
    });
}

#[test]
fn at_sigterm_clients_are_told_and_the_broker_ends_well() {
    if !installed::all(CLIENTS) {
        return;
    }
    let mut broker = Sluice::start(PLAIN);
    let at = broker.address("tcp");
    let mut new = subscribe(at, "5", "-t a");
    let _old = subscribe(at, "311", "-t a");
    assert_eq!(broker.stop(), Some(0));
    // Server shutting down, 0x8B.
    new.until(|line| line.contains("eceived DISCONNECT (139)"));
}

#[test]
fn a_port_in_use_is_one_clear_line_and_exit_code_2() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address").to_string();
    let folder = new_folder();
    let config = PLAIN.replace("127.0.0.1:0", &address);
    let (code, lines) = Process::start(&mut sluice(folder.path(), &config)).end();
    assert_eq!(code, Some(2));
    assert!(lines.len() == 1 && lines[0].contains(&address), "{lines:?}");
}

#[test]
fn a_wrong_configuration_is_told_with_its_place_and_exit_code_2() {
    let folder = new_folder();
    let config = format!("{PLAIN}\n[limits]\ntopic_byte_max = 7\n");
    let (code, lines) = Process::start(&mut sluice(folder.path(), &config)).end();
    assert_eq!(code, Some(2));
    let said = lines.join("\n");
    for part in ["sluice.toml", "10", "topic_byte_max", "topic_bytes_max"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

/// Publishes 50,000 lines while a subscriber listens; each arrives once, in order.
fn fifty_thousand_from_publisher_to_subscriber(at: SocketAddr, version: &str) {
    publish(at, version, "-t bulk/ready -r -m now");
    let mut live = listen(at, version, "-t bulk/# -q 1 -C 50001");
    live.until(|line| line == "bulk/ready|0|1|now");
    publish_lines(at, version, "-t bulk/line -q 1", 50_000);
    let (code, lines) = live.end();
    assert_eq!(code, Some(0));
    for (number, line) in lines[1..].iter().enumerate() {
        assert_eq!(*line, format!("bulk/line|1|0|{number}"));
    }
    assert_eq!(lines.len(), 50_001);
}

/// A subscriber; its Subscription was acknowledged.
fn subscribe(at: SocketAddr, version: &str, args: &str) -> Process {
    let mut subscriber = listen(at, version, &format!("{args} -d"));
    subscriber.until(|line| line.starts_with("Subscribed "));
    subscriber
}

/// A subscriber that prints messages and nothing else.
fn listen(at: SocketAddr, version: &str, args: &str) -> Process {
    command("mosquitto_sub", at, version, &format!("{args} -F {FORMAT}"))
}

/// Publishes one message; the broker accepts it.
fn publish(at: SocketAddr, version: &str, args: &str) {
    let (code, lines) = command("mosquitto_pub", at, version, args).end();
    assert_eq!((code, lines), (Some(0), Vec::new()), "mosquitto_pub -V {version} {args}");
}

/// Publishes the lines `0`, `1`, … over one connection; the broker accepts them all.
fn publish_lines(at: SocketAddr, version: &str, args: &str, count: u32) {
    let lines = send_lines(at, version, args, 0..count);
    assert!(lines.is_empty(), "mosquitto_pub -V {version} {args} -l: {lines:?}");
}

/// Publishes these numbers, a line each, whatever the broker says; what the client prints.
fn send_lines(at: SocketAddr, version: &str, args: &str, numbers: Range<u32>) -> Vec<String> {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let lines: String = numbers.map(|number| format!("{number}\n")).collect();
    file.write_all(lines.as_bytes()).and_then(|()| file.rewind()).expect("a file to write to");
    let mut command = mosquitto("mosquitto_pub", at, version, &format!("{args} -l"));
    let (code, lines) = Process::start(command.stdin(file)).end();
    assert_eq!(code, Some(0), "mosquitto_pub -V {version} {args} -l: {lines:?}");
    lines
}

fn command(tool: &str, at: SocketAddr, version: &str, args: &str) -> Process {
    Process::start(&mut mosquitto(tool, at, version, args))
}

fn mosquitto(tool: &str, at: SocketAddr, version: &str, args: &str) -> Command {
    // With its output in lines, not in blocks.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", tool, "-h", "localhost", "-p", &at.port().to_string(), "-V", version]);
    command.args(args.split_whitespace()).stdin(Stdio::null());
    command
}

/// A broker with certificates that it made itself in `certs`.
fn with_certificates(config: &str) -> Sluice {
    let folder = new_folder();
    certificates(folder.path());
    Sluice::start_in(folder, config)
}

/// A password file by Debian's tool with one user; the password is `right`.
fn write_passwords(folder: &Path, user: &str) {
    let mut command = Command::new("mosquitto_passwd");
    command.args(["-c", "-b"]).arg(folder.join("passwords")).args([user, "right"]);
    let (code, lines) = Process::start(&mut command).end();
    assert_eq!(code, Some(0), "{lines:?}");
}

fn certificates(folder: &Path) {
    let mut command = program();
    command.args(["certs", "--name", "localhost", "--out"]).arg(folder.join("certs"));
    let (code, lines) = Process::start(command.stdin(Stdio::null())).end();
    assert_eq!(code, Some(0), "{lines:?}");
}
