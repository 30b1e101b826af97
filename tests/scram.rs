//! SCRAM on the real process: the AUTH packets are ours, what is in them is of another library, scramp.

mod process;
mod wire;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use process::{Sluice, new_folder};
use sluicemq::auth::{HashMethod, ScramHash, edit};
use sluicemq::codec::{Auth, Connect, Packet, Properties, Reason, Version};
use wire::{Client, connect, dial};

const LISTENER: &str = "
auth.password_file = 'passwords'
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'
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
    let folder = new_folder();
    let path = folder.path().join("passwords");
    for (user, method) in [
        ("ann", HashMethod::Scram { hash: ScramHash::Sha256, iterations: 4096 }),
        ("bob", HashMethod::Scram { hash: ScramHash::Sha512, iterations: 5000 }),
        ("eve", HashMethod::Pbkdf2 { iterations: 10 }),
    ] {
        let entry = (user.to_owned(), b"pencil".to_vec());
        edit::set_passwords(&path, &[entry], method).expect("a password file");
    }
    Sluice::start_in(folder, LISTENER)
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
    let mut client = Client::over(dial(at), Version::V5);
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
