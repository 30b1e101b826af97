//! HTTP through TLS, its certificates at a reload, and what is said of its files before a start.

mod asking;
mod process;
#[path = "wire/tls.rs"]
mod secure;
mod wire;

use std::fs;
use std::io::{BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use asking::{HTTP, HttpClient, VIEWER, read_answer};
use process::{Process, Sluice, again, new_folder, sluice};
use secure::{TLS_VERSIONS, certificates, config, handshake};

const TLS: &str = "[http.tls]\ncertificate = 'server.pem'\nkey = 'server.key'\n";

#[test]
fn it_is_served_through_tls_and_a_reload_reads_its_certificates_again() {
    let folder = new_folder();
    let other = new_folder();
    certificates(folder.path(), "client");
    certificates(other.path(), "client");
    let place = folder.path().to_owned();
    let broker = Sluice::start_in(folder, &format!("{HTTP}{TLS}"));
    let http = HttpClient::of(&broker);
    let status = |trusted: &Path| {
        let client = Arc::new(config(trusted, None, TLS_VERSIONS[1]));
        let (mut stream, _) = handshake(http.address, &client)?;
        let request = format!(
            "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {VIEWER}\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        read_answer(&mut BufReader::new(stream)).map(|answer| answer.status)
    };
    assert_eq!(status(&place).expect("an answer"), 200);
    assert!(status(other.path()).is_err(), "of another CA");
    for name in ["server.pem", "server.key"] {
        fs::copy(other.path().join(name), place.join(name)).expect("a file");
    }
    broker.signal("HUP");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !broker.log().contains("certificates reloaded") {
        assert!(std::time::Instant::now() < end, "{}", broker.log());
    }
    assert_eq!(status(other.path()).expect("an answer"), 200);
    // HTTP without TLS gets no answer, and the log says why.
    assert!(http.say("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").is_err());
}

/// What `sluice check --files` says.
fn check(folder: &Path) -> (Option<i32>, String) {
    let mut command = again(folder);
    command.args(["check", "--files"]);
    let (code, lines) = Process::start(&mut command).end();
    (code, lines.join("\n"))
}

#[test]
fn its_files_and_its_port_are_looked_at_before_a_start() {
    let folder = new_folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let file = |name: &str| folder.path().join(name);
    drop(sluice(folder.path(), HTTP));
    let (code, said) = check(folder.path());
    assert_eq!(code, Some(0), "{said}");
    assert!(!file("token").exists(), "nothing is made");
    fs::write(file("token"), "a-token-that-is-long-enough\n").expect("a file");
    fs::set_permissions(file("token"), fs::Permissions::from_mode(0o644)).expect("a file of ours");
    let (code, said) = check(folder.path());
    assert!(code != Some(0) && said.contains("token of HTTP"), "{said}");
    fs::write(file("token"), "short\n").expect("a file");
    let (_, said) = check(folder.path());
    assert!(said.contains("holds no token"), "{said}");
    fs::remove_file(file("token")).expect("a file");
    for (text, wanted) in [
        (HTTP.replace("'token'", "'no/folder/token'"), "cannot be made"),
        (format!("{HTTP}{TLS}"), "cannot read certificate"),
        (
            HTTP.replace(
                "[http]\naddress = '127.0.0.1:0'",
                &format!("[http]\naddress = '{address}'"),
            ),
            "is in use",
        ),
    ] {
        drop(sluice(folder.path(), &text));
        let (code, said) = check(folder.path());
        assert!(code != Some(0) && said.contains(wanted), "{wanted}: {said}");
    }
}
