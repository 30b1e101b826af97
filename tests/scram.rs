//! SCRAM on the real process: the AUTH packets are ours, what is in them is of another library, scramp.

mod process;
#[path = "wire/tls.rs"]
mod secure;
mod wire;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use process::{Sluice, new_folder};
use rustls::SupportedProtocolVersion;
use secure::{certificates, config, handshake};
use sluicemq::auth::{HashMethod, ScramHash, edit};
use sluicemq::codec::{Auth, Connect, Packet, Properties, Reason, Version};
use wire::{Client, connect, dial};

const LISTENER: &str = "
auth.password_file = 'passwords'
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'
";

/// A further one.
const SECURE: &str = "
[[listener]]
name = 'tls'
address = '127.0.0.1:0'
[listener.tls]
certificate = 'certs/server.pem'
key = 'certs/server.key'
";

/// Where `tools/test` has put it.
fn python() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("SLUICE_TEST_ALL").is_none(), "tools/test makes target/venv");
    writeln!(std::io::stderr(), "skipped: tools/test installs scramp").expect("standard error");
    None
}

/// The library's client.
struct Scramp {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Scramp {
    fn start(python: &Path, arguments: &[&str]) -> Scramp {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scram/client.py");
        let mut command = Command::new(python);
        command.arg(script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().expect("python");
        let to = child.stdin.take().expect("piped");
        let from = BufReader::new(child.stdout.take().expect("piped"));
        Scramp { child, to, from }
    }

    fn says(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    fn told(&mut self, line: &[u8]) {
        self.to.write_all(&[line, b"\n"].concat()).expect("a reader");
    }
}

impl Drop for Scramp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A broker with a user of each hash function, and one with a hashed password.
fn broker() -> Sluice {
    broker_in(new_folder(), LISTENER)
}

fn broker_in(folder: tempfile::TempDir, config: &str) -> Sluice {
    let path = folder.path().join("passwords");
    for (user, method) in [
        ("ann", HashMethod::Scram { hash: ScramHash::Sha256, iterations: 4096 }),
        ("bob", HashMethod::Scram { hash: ScramHash::Sha512, iterations: 5000 }),
        ("eve", HashMethod::Pbkdf2 { iterations: 10 }),
    ] {
        let entry = (user.to_owned(), b"pencil".to_vec());
        edit::set_passwords(&path, &[entry], method).expect("a password file");
    }
    Sluice::start_in(folder, config)
}

fn auth<'a>(reason: Reason, method: &'a str, data: &'a [u8]) -> Packet<'a> {
    Packet::Auth(Auth {
        reason,
        method: Some(method),
        data: Some(data),
        reason_string: None,
        user_properties: Properties::EMPTY,
    })
}

/// The data of the AUTH with this reason that comes next.
fn data(client: &mut Client, reason: Reason) -> Vec<u8> {
    client.expect(|packet| match packet {
        Packet::Auth(auth) if auth.reason == reason => auth.data.map(<[u8]>::to_vec),
        _ => None,
    })
}

/// Sends CONNECT with the client's first message.
fn begin(at: SocketAddr, method: &str, first: &str) -> Client {
    begin_over(Client::over(dial(at), Version::V5), method, first)
}

fn begin_over(mut client: Client, method: &str, first: &str) -> Client {
    let connect = Connect {
        authentication_method: Some(method),
        authentication_data: Some(first.as_bytes()),
        ..connect(Version::V5, "c")
    };
    client.send(&Packet::Connect(Box::new(connect)));
    client
}

/// The reason of CONNACK, and its data.
fn connack(client: &mut Client) -> (Reason, Vec<u8>) {
    client.expect(|packet| match packet {
        Packet::ConnAck(connack) => {
            Some((connack.reason, connack.authentication_data.unwrap_or_default().to_vec()))
        }
        _ => None,
    })
}

#[test]
fn a_client_of_another_library_logs_in_and_does_so_again() {
    let Some(python) = python() else { return };
    let broker = broker();
    for (method, user) in [("SCRAM-SHA-256", "ann"), ("SCRAM-SHA-512", "bob")] {
        let mut scramp = Scramp::start(&python, &[method, user, "pencil"]);
        let mut client = begin(broker.address("tcp"), method, &scramp.says());
        scramp.told(&data(&mut client, Reason::ContinueAuthentication));
        client.send(&auth(Reason::ContinueAuthentication, method, scramp.says().as_bytes()));
        let (reason, signature) = connack(&mut client);
        assert_eq!(reason, Reason::Success);
        scramp.told(&signature);
        assert_eq!(scramp.says(), "the server knows the password");

        let mut scramp = Scramp::start(&python, &[method, user, "pencil"]);
        client.send(&auth(Reason::Reauthenticate, method, scramp.says().as_bytes()));
        scramp.told(&data(&mut client, Reason::ContinueAuthentication));
        client.ping();
        client.send(&auth(Reason::ContinueAuthentication, method, scramp.says().as_bytes()));
        scramp.told(&data(&mut client, Reason::Success));
        assert_eq!(scramp.says(), "the server knows the password");
        client.ping();
    }
}

/// A wrong password, a user that is not there, and one that has no keys for it: none is told from the others.
#[test]
fn whoever_does_not_know_the_password_is_refused_at_the_end() {
    let Some(python) = python() else { return };
    let broker = broker();
    for (user, password) in [("ann", "pen"), ("nobody", "pencil"), ("eve", "pencil")] {
        let method = "SCRAM-SHA-256";
        let mut scramp = Scramp::start(&python, &[method, user, password]);
        let mut client = begin(broker.address("tcp"), method, &scramp.says());
        let challenge = data(&mut client, Reason::ContinueAuthentication);
        assert!(String::from_utf8_lossy(&challenge).ends_with(",i=4096"));
        scramp.told(&challenge);
        client.send(&auth(Reason::ContinueAuthentication, method, scramp.says().as_bytes()));
        assert_eq!(connack(&mut client).0, Reason::BadUserNameOrPassword, "{user}");
        client.closed();
    }
    // And a re-authentication as another user.
    let mut scramp = Scramp::start(&python, &["SCRAM-SHA-256", "ann", "pencil"]);
    let mut client = begin(broker.address("tcp"), "SCRAM-SHA-256", &scramp.says());
    scramp.told(&data(&mut client, Reason::ContinueAuthentication));
    client.send(&auth(Reason::ContinueAuthentication, "SCRAM-SHA-256", scramp.says().as_bytes()));
    assert_eq!(connack(&mut client).0, Reason::Success);
    let mut scramp = Scramp::start(&python, &["SCRAM-SHA-256", "ann", "pen"]);
    client.send(&auth(Reason::Reauthenticate, "SCRAM-SHA-256", scramp.says().as_bytes()));
    scramp.told(&data(&mut client, Reason::ContinueAuthentication));
    client.send(&auth(Reason::ContinueAuthentication, "SCRAM-SHA-256", scramp.says().as_bytes()));
    client.closed_by(Reason::NotAuthorized);
}

#[test]
fn what_is_no_exchange_is_refused_at_once() {
    let broker = broker();
    let at = broker.address("tcp");
    for (method, first, reason) in [
        ("SCRAM-SHA-1", "n,,n=ann,r=x", Reason::BadAuthenticationMethod),
        ("SCRAM-SHA-256", "n,,n=ann", Reason::ProtocolError),
        ("SCRAM-SHA-256", "", Reason::ProtocolError),
        // The channel cannot be bound without TLS.
        ("SCRAM-SHA-256-PLUS", "p=tls-exporter,,n=ann,r=x", Reason::NotAuthorized),
    ] {
        let mut client = begin(at, method, first);
        assert_eq!(connack(&mut client).0, reason, "{method} {first}");
    }
    // A proof of nothing, and one for another nonce.
    for last in ["", "c=biws,r=other,p=AAAA"] {
        let mut client = begin(at, "SCRAM-SHA-256", "n,,n=ann,r=x");
        data(&mut client, Reason::ContinueAuthentication);
        client.send(&auth(Reason::ContinueAuthentication, "SCRAM-SHA-256", last.as_bytes()));
        assert_eq!(connack(&mut client).0, Reason::ProtocolError, "{last}");
    }
}

/// A client over TLS, and what binds its channel (RFC 9266), in hexadecimal digits.
fn dial_tls(broker: &Sluice, version: &'static SupportedProtocolVersion) -> (Client, String) {
    let tls = Arc::new(config(&broker.file("certs"), None, version));
    let (stream, _) = handshake(broker.address("tls"), &tls).expect("a handshake");
    let label = b"EXPORTER-Channel-Binding";
    let binding = stream.conn.export_keying_material([0; 32], label, Some(b"")).expect("a binding");
    let digits = binding.iter().map(|byte| format!("{byte:02x}")).collect();
    (Client::over(stream, Version::V5), digits)
}

/// Logs in by `method`, with the library called with these arguments: CONNACK's reason.
fn bound(
    python: &Path,
    (mut client, arguments): (Client, [&str; 4]),
    method: &str,
) -> (Client, Reason) {
    let mut scramp = Scramp::start(python, &arguments);
    client = begin_over(client, method, &scramp.says());
    // A refusal at once, or a challenge.
    let challenge = client.expect(|packet| match packet {
        Packet::Auth(auth) => Some(Ok(auth.data.unwrap_or_default().to_vec())),
        Packet::ConnAck(connack) => Some(Err(connack.reason)),
        _ => None,
    });
    match challenge {
        Err(reason) => (client, reason),
        Ok(challenge) => {
            scramp.told(&challenge);
            let last = scramp.says();
            client.send(&auth(Reason::ContinueAuthentication, method, last.as_bytes()));
            let (reason, signature) = connack(&mut client);
            if reason == Reason::Success {
                scramp.told(&signature);
                assert_eq!(scramp.says(), "the server knows the password");
            }
            (client, reason)
        }
    }
}

#[test]
fn the_channel_is_bound_under_tls_and_whoever_stands_between_is_noticed() {
    let Some(python) = python() else { return };
    let folder = new_folder();
    certificates(&folder.path().join("certs"), "client");
    let broker = broker_in(folder, &format!("{LISTENER}{SECURE}"));
    let (tls_12, tls_13) = (&rustls::version::TLS12, &rustls::version::TLS13);
    for (plain, plus, user) in [
        ("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "ann"),
        ("SCRAM-SHA-512", "SCRAM-SHA-512-PLUS", "bob"),
    ] {
        let (client, binding) = dial_tls(&broker, tls_13);
        let right = [plus, user, "pencil", &binding];
        let (mut client, reason) = bound(&python, (client, right), plus);
        assert_eq!(reason, Reason::Success, "{plus}");
        // The same channel binds a re-authentication.
        let mut scramp = Scramp::start(&python, &right);
        client.send(&auth(Reason::Reauthenticate, plus, scramp.says().as_bytes()));
        scramp.told(&data(&mut client, Reason::ContinueAuthentication));
        client.send(&auth(Reason::ContinueAuthentication, plus, scramp.says().as_bytes()));
        scramp.told(&data(&mut client, Reason::Success));
        assert_eq!(scramp.says(), "the server knows the password");
        client.ping();

        let other = binding;
        for (tls, password, library, method, is_own, wanted) in [
            // What binds another connection: there are two, with something between them.
            (tls_13, "pencil", plus, plus, false, Reason::NotAuthorized),
            (tls_13, "pen", plus, plus, true, Reason::BadUserNameOrPassword),
            // It can bind, and was told that we cannot.
            (tls_13, "pencil", plain, plain, true, Reason::NotAuthorized),
            // What it says of binding and the method's name differ.
            (tls_13, "pencil", plus, plain, true, Reason::NotAuthorized),
            (tls_13, "pencil", plain, plus, true, Reason::NotAuthorized),
            // Nothing binds a channel of TLS 1.2: that is what we say, too.
            (tls_12, "pencil", plus, plus, true, Reason::NotAuthorized),
            (tls_12, "pencil", plain, plain, true, Reason::Success),
        ] {
            let (client, own) = dial_tls(&broker, tls);
            let binding = if is_own { &own } else { &other };
            let arguments = [library, user, password, binding];
            let (_, reason) = bound(&python, (client, arguments), method);
            assert_eq!(reason, wanted, "{arguments:?} {method}");
        }
    }
    // A client that cannot bind logs in all the same.
    let mut scramp = Scramp::start(&python, &["SCRAM-SHA-256", "ann", "pencil"]);
    let (client, _) = dial_tls(&broker, tls_13);
    let mut client = begin_over(client, "SCRAM-SHA-256", &scramp.says());
    scramp.told(&data(&mut client, Reason::ContinueAuthentication));
    client.send(&auth(Reason::ContinueAuthentication, "SCRAM-SHA-256", scramp.says().as_bytes()));
    assert_eq!(connack(&mut client).0, Reason::Success);
}
