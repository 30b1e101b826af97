//! MQTT over a unix socket on the real process: the file, its rights, and what was there before.

mod process;
mod wire;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use process::{Process, Sluice, new_folder, sluice};
use sluicemq::codec::{QoS, Reason, Version};
use wire::{Client, VERSIONS, connect};

/// A listener on the socket `path`.
fn config(path: &Path, more: &str) -> String {
    format!(
        "[[listener]]\nname = 'local'\ntransport = 'unix'\naddress = '{}'\n{more}",
        path.display()
    )
}

fn dial(path: &Path) -> UnixStream {
    UnixStream::connect(path).expect("a broker that listens")
}

/// What a broker that does not start says.
fn refused(folder: &Path, config: &str) -> String {
    let (code, lines) = Process::start(sluice(folder, config).stdin(Stdio::null())).end();
    assert_eq!(code, Some(2), "{lines:?}");
    lines.join("\n")
}

#[test]
fn clients_meet_on_a_socket_that_has_the_rights_it_should() {
    let folder = new_folder();
    let path = folder.path().join("mqtt.sock");
    let group = fs::metadata(folder.path()).expect("a folder").gid();
    let config = config(&path, "[listener.unix]\nmode = '0600'\n");
    let mut broker = Sluice::start_in(folder, &config);
    let file = fs::metadata(&path).expect("a socket");
    assert_eq!((file.permissions().mode() & 0o777, file.gid()), (0o600, group));
    for version in VERSIONS {
        let mut client = Client::over(dial(&path), version);
        client.greet(&connect(version, "a"));
        assert_eq!(client.subscribe(&["t"], QoS::AtLeastOnce).len(), 1);
        let mut other = Client::over(dial(&path), version);
        other.greet(&connect(version, "b"));
        assert_eq!(other.publish("t", b"hello"), Reason::Success);
        assert_eq!(client.message(), ("t".to_owned(), b"hello".to_vec()));
        client.goodbye();
        other.goodbye();
    }
    broker.logged("address=\"unix:uid=");
    assert_eq!(broker.stop(), Some(0));
    assert!(!path.exists(), "the file goes with the broker");
}

#[test]
fn the_system_says_the_user_if_it_is_asked() {
    let folder = new_folder();
    let path = folder.path().join("mqtt.sock");
    let id = std::process::Command::new("id").arg("-un").output().expect("the command id");
    let user = String::from_utf8(id.stdout).expect("a name").trim().to_owned();
    let steps = "[listener.unix]\nidentity = 'peer'\n[[auth.step]]\nkind = 'unix'\n";
    let rules = format!("[[rule]]\nallow = ['all']\nuser = '{user}'\ntopics = ['of/%u/#']\n");
    let broker = Sluice::start_in(folder, &config(&path, &format!("{steps}{rules}")));
    for version in VERSIONS {
        let mut client = Client::over(dial(&path), version);
        // What it calls itself counts for nothing.
        let claimed = sluicemq::codec::Connect {
            user_name: Some("admin"),
            password: Some(b"secret"),
            ..connect(version, "a")
        };
        client.greet(&claimed);
        let own = format!("of/{user}/1");
        assert_eq!(client.subscribe(&[&own, "of/admin/#"], QoS::AtMostOnce)[0], Reason::Success);
        let other = client.publish(&format!("of/{user}/2"), b"x");
        assert_ne!(other, Reason::NotAuthorized);
    }
    broker.logged(&format!("user={user}"));
    assert!(!broker.log().contains("user=admin"), "{}", broker.log());
}

#[test]
fn a_socket_that_a_kill_left_is_replaced_and_nothing_else_is() {
    let folder = new_folder();
    let path = folder.path().join("mqtt.sock");
    let mut broker = Sluice::start_in(folder, &config(&path, ""));
    broker.kill();
    assert!(path.exists(), "a kill leaves it");
    broker.start_again();
    Client::over(dial(&path), Version::V5).greet(&connect(Version::V5, "a"));

    let other = new_folder();
    let said = refused(other.path(), &config(&path, ""));
    assert!(said.contains("another program listens on that socket"), "{said}");
    Client::over(dial(&path), Version::V5).greet(&connect(Version::V5, "a"));

    let file = other.path().join("precious");
    fs::write(&file, "text").expect("a file");
    let said = refused(other.path(), &config(&file, ""));
    assert!(said.contains("a file that is no socket is there"), "{said}");
    assert_eq!(fs::read_to_string(&file).expect("still there"), "text");
    // A listener of somebody else that does not answer is not a stale one.
    let foreign = other.path().join("foreign");
    let _listener = UnixListener::bind(&foreign).expect("a socket");
    let said = refused(other.path(), &config(&foreign, ""));
    assert!(said.contains("another program listens on that socket"), "{said}");
}

#[test]
fn mistakes_are_named_with_their_key() {
    let folder = new_folder();
    let long: PathBuf = ["/tmp", &"x".repeat(120)].iter().collect();
    for (config, said) in [
        (config(Path::new("mqtt.sock"), ""), "expected the path of a unix socket, from the root"),
        (config(&long, ""), "a unix socket has at most 107 bytes of path"),
        (
            config(Path::new("/tmp/a.sock"), "[listener.unix]\nmode = '0999'\n"),
            "expected rights in octal",
        ),
        (config(Path::new("/tmp/a.sock"), "proxy_protocol = true\n"), "is not for a unix socket"),
        (
            config(&folder.path().join("a"), "[listener.unix]\nowner = 'nobody-of-that-name'\n"),
            "there is no user \"nobody-of-that-name\"",
        ),
        (config(&folder.path().join("none/a"), ""), "No such file or directory"),
        (
            "[[listener]]\naddress = '127.0.0.1:0'\n[listener.unix]\nmode = '0600'\n".to_owned(),
            "say transport = \"unix\"",
        ),
    ] {
        let lines = refused(folder.path(), &config);
        assert!(lines.contains(said), "{said}: {lines}");
    }
}
