//! Secrets come from files and from the environment, and nothing that the program says holds one.

mod process;
mod wire;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use process::{Process, Sluice, again, new_folder, program, sluice};
use sluicemq::auth::edit;
use sluicemq::codec::{Connect, Packet, QoS, Version};
use wire::{Client, connect, dial};

/// In every secret there is.
const MARKER: &str = "MARKER-of-secrets";

const CONFIG: &str = "
[log]
level = 'trace'
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'
[[auth.step]]
kind = 'password'
file = 'passwords'
";
#[cfg(feature = "jwt")]
const TOKENS: &str =
    "[[auth.step]]\nkind = 'jwt'\nkeys_env = 'TOKEN_SECRET'\nalgorithms = ['HS256']\n";
#[cfg(not(feature = "jwt"))]
const TOKENS: &str = "";
/// Nothing listens there.
#[cfg(feature = "auth-http")]
const SERVER: &str = "[[auth.step]]\nkind = 'http'\n[auth.step.http]\nurl = 'http://127.0.0.1:1/'\n\
                      token_env = 'LOGIN_TOKEN'\n";
#[cfg(not(feature = "auth-http"))]
const SERVER: &str = "";

/// What the command prints, on both streams.
fn said(command: &mut Command) -> String {
    Process::start(command.stdin(Stdio::null())).end().1.join("\n")
}

/// With the secrets of the environment.
fn armed(command: &mut Command) -> &mut Command {
    command.env("LOGIN_TOKEN", MARKER);
    command.env("TOKEN_SECRET", format!("{MARKER}: a secret of more than thirty-two bytes"))
}

fn command(folder: &Path, arguments: &[&str]) -> String {
    let mut command = program();
    command.args(arguments).arg("--config").arg(folder.join("sluice.toml"));
    said(armed(&mut command))
}

#[track_caller]
fn holds_none(what: &str, text: &str) {
    assert!(!text.contains(MARKER), "{what}: {text}");
}

/// Logs in with a secret, and goes.
fn enters(broker: &Sluice, password: &str, is_method: bool) -> Client {
    let mut client = Client::over(dial(broker.address("tcp")), Version::V5);
    let secret = Some(password.as_bytes());
    client.send(&Packet::Connect(Box::new(if is_method {
        Connect {
            authentication_method: Some("JWT"),
            authentication_data: secret,
            ..connect(Version::V5, "c")
        }
    } else {
        Connect { user_name: Some("ann"), password: secret, ..connect(Version::V5, "c") }
    })));
    client.packet();
    client
}

/// All that is under `$SYS`, with the client's own.
fn sys(client: &mut Client) -> String {
    client.subscribe(&["$SYS/#", "$SYS/broker/clients/#"], QoS::AtMostOnce);
    let mut text = String::new();
    // What is retained comes in several turns, and an answer to PINGREQ may come between them.
    while !text.contains("$SYS/broker/version") {
        text.push_str(&String::from_utf8_lossy(&client.packet()));
    }
    client.send(&Packet::PingReq);
    loop {
        let packet = client.packet();
        if packet == [0xD0, 0] {
            return text;
        }
        text.push_str(&String::from_utf8_lossy(&packet));
    }
}

#[test]
fn no_secret_is_in_any_output() {
    let folder = new_folder();
    let path = folder.path().to_owned();
    let password = format!("{MARKER} password");
    edit::set_password(&path.join("passwords"), "ann", password.as_bytes()).expect("a file");
    let broker =
        Sluice::start_as(armed(&mut sluice(&path, &format!("{CONFIG}{TOKENS}{SERVER}"))), folder);
    holds_none("the ready line", &broker.printed().join("\n"));
    let mut client = enters(&broker, &password, false);
    let sys = sys(&mut client);
    holds_none("$SYS", &sys);
    for (secret, is_method) in [
        (format!("{password} that is wrong"), false),
        (format!("{MARKER}.{MARKER}.{MARKER}"), false),
        (format!("{MARKER}.{MARKER}.{MARKER}"), true),
        (MARKER.to_owned(), true),
    ] {
        holds_none(
            "an answer",
            &String::from_utf8_lossy(&enters(&broker, &secret, is_method).drain()),
        );
    }
    for arguments in [&["config"][..], &["check"], &["check", "--files"]] {
        let text = command(&path, arguments);
        holds_none(&arguments.join(" "), &text);
        assert!(arguments != ["config"] || text.contains("passwords"), "{text}");
    }
    // Mistakes in a file with secrets are told without them.
    let good = fs::read(path.join("passwords")).expect("a file");
    for wrong in [
        format!("ann:{MARKER}\n{MARKER}\n"),
        format!("ann:$7${MARKER}$AAAA$AAAA\n"),
        format!("ann:$7$1000${MARKER}\n"),
    ] {
        fs::write(path.join("passwords"), &wrong).expect("a file");
        let before = refusals(&broker);
        broker.signal("HUP");
        until(|| refusals(&broker) > before);
        holds_none("check", &command(&path, &["check", "--files"]));
        holds_none("a start", &said(armed(&mut again(&path))));
    }
    fs::write(path.join("passwords"), good).expect("a file");
    broker.signal("HUP");
    until(|| broker.log().contains("passwords reloaded"));
    holds_none("the log", &broker.log());
}

fn refusals(broker: &Sluice) -> usize {
    broker.log().matches("nothing reloaded").count()
}

/// A secret that is too short, a set of keys that is none, and a variable that is not there.
#[cfg(feature = "jwt")]
#[test]
fn what_is_wrong_with_a_secret_of_the_environment_is_told_without_it() {
    let folder = new_folder();
    drop(sluice(folder.path(), &format!("{CONFIG}{TOKENS}")));
    edit::set_password(&folder.path().join("passwords"), "ann", b"x").expect("a file");
    for (secret, wanted) in [
        (Some(MARKER), "the secret is shorter than 32 bytes"),
        (Some("{\"keys\": \"MARKER-of-secrets\"}"), "no set of keys (JWKS)"),
        (Some("-----BEGIN MARKER-of-secrets-----"), "a secret was expected, not PEM"),
        (None, "it is not set"),
    ] {
        let mut command = again(folder.path());
        match secret {
            Some(secret) => command.env("TOKEN_SECRET", secret),
            None => command.env_remove("TOKEN_SECRET"),
        };
        let text = said(&mut command);
        let place = "environment TOKEN_SECRET: the keys of tokens cannot be used: ";
        assert!(text.contains(&format!("{place}{wanted}")), "{text}");
        holds_none("a start", &text);
    }
}

/// A start warns of files with secrets that all may read.
#[test]
fn a_start_warns_of_open_secrets_and_goes_on() {
    let folder = new_folder();
    let path = folder.path().to_owned();
    let open = |name: &str| {
        let mode = fs::Permissions::from_mode(0o644);
        fs::set_permissions(path.join(name), mode).expect("a file of ours");
    };
    edit::set_password(&path.join("passwords"), "ann", b"secret").expect("a file");
    fs::write(path.join("secret"), [b'x'; 32]).expect("a file");
    open("passwords");
    open("secret");
    let tokens = TOKENS.replace("keys_env = 'TOKEN_SECRET'", "keys = 'secret'");
    let broker = Sluice::start_in(folder, &format!("{CONFIG}{tokens}"));
    let warns = |what: &str| {
        let is_of = |line: &str| line.contains("WARN") && line.contains(what);
        let log = broker.log();
        log.lines().any(|line| is_of(line) && line.contains("can be read by all users"))
    };
    // The log is written beside the broker.
    until(|| warns("password file "));
    until(|| warns("secret of tokens ") || !cfg!(feature = "jwt"));
}

#[track_caller]
fn until(mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < end, "it does not become so");
    }
}
