//! `sluice check`: a running broker behind TLS, and what a configuration names before one runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use super::process::{Process, Sluice, again, new_folder, program, sluice};
use super::secure::certificates;
use super::{MUTUAL, TLS, broker, certs, until};

/// `sluice check` with these arguments beside the configuration of `folder`: its exit code and what it says.
fn check(folder: &Path, args: &str) -> (Option<i32>, String) {
    let mut command = program();
    command.arg("check").args(args.split_whitespace()).current_dir(folder);
    command.args(["--config", "sluice.toml"]).stdin(Stdio::null());
    let (code, lines) = Process::start(&mut command).end();
    (code, lines.join("\n"))
}

#[track_caller]
fn well(broker: &Sluice, args: &str) {
    let found = check(broker.file("").as_path(), &format!("--live {args}"));
    assert_eq!(found, (Some(0), "the broker is well".to_owned()), "{args}");
}

#[track_caller]
fn unwell(broker: &Sluice, args: &str, wanted: &str) {
    let (code, said) = check(broker.file("").as_path(), &format!("--live {args}"));
    assert!(code == Some(1) && said.contains(wanted), "{args}: {code:?} {said}");
}

/// Fixes the ports that the broker took, so that the configuration says where it is.
fn fix_port(broker: &Sluice) {
    let file = broker.file("sluice.toml");
    let text = fs::read_to_string(&file).expect("a configuration file");
    let text = text.replace("127.0.0.1:0", &broker.address("tls").to_string());
    fs::write(&file, text).expect("a configuration file");
}

#[test]
fn a_broker_with_tls_only_has_a_health_check() {
    let broker = broker("");
    let port = broker.address("tls").port();
    fix_port(&broker);
    well(&broker, "");
    well(&broker, "--listener tls");
    well(&broker, "--ca certs/ca.pem --server-name localhost");
    well(&broker, &format!("--ca certs/ca.pem --address localhost:{port}"));
    let address = format!("--address 127.0.0.1:{port} --ca certs/ca.pem");
    well(&broker, &format!("{address} --server-name localhost"));
    unwell(&broker, &address, "its certificate is for another name: give --server-name");
    unwell(&broker, "--listener other", "there is no listener \"other\"");
    unwell(&broker, &format!("--address 127.0.0.1:{port}"), "does it speak TLS there? give --ca");
    certificates(&broker.file("other"), "client");
    let other = "--ca other/ca.pem --server-name localhost";
    unwell(&broker, other, "its certificate is not of the CA in --ca");

    // A renewal that the broker was not told of.
    for name in ["ca.pem", "server.pem", "server.key"] {
        fs::copy(broker.file("other").join(name), certs(&broker).join(name)).expect("a copy");
    }
    unwell(
        &broker,
        "",
        "another certificate than that of its configuration: after a renewal, SIGHUP",
    );
    broker.signal("HUP");
    until(|| check(broker.file("").as_path(), "--live").0 == Some(0));
}

#[test]
fn a_health_check_shows_a_client_certificate_where_one_is_wanted() {
    let broker = broker(MUTUAL);
    fix_port(&broker);
    well(&broker, "--cert certs/client.pem --key certs/client.key");
    unwell(&broker, "", "it wants a client certificate: give --cert and --key");
    certificates(&broker.file("other"), "client");
    unwell(&broker, "--cert other/client.pem --key other/client.key", "refuses the handshake");
}

#[test]
fn what_a_configuration_names_is_looked_at_before_a_start() {
    let folder = new_folder();
    let path = folder.path();
    certificates(&path.join("certs"), "client");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").to_string();
    let config = |more: &str| {
        sluice(path, &format!("{TLS}{more}"));
        check(path, "--files")
    };
    let good = (Some(0), "the configuration is good, and so are the files it names".to_owned());
    let in_memory = "[store]\nkind = 'memory'\n";
    assert_eq!(config(in_memory), good);
    assert_eq!(config("[store]\npath = 'data/of/this'\n"), good);
    assert!(!path.join("data").exists(), "a check makes nothing");

    let bad = |more: &str, wanted: &str| {
        let (code, said) = config(more);
        assert!(code == Some(2) && said.contains(wanted), "{more}: {code:?} {said}");
    };
    bad(
        &format!("[[listener]]\naddress = '{port}'\n"),
        "is in use: another broker, or another program",
    );
    bad("[[listener]]\naddress = '192.0.2.1:1'\nallow_anonymous = true\n", "is no address of this");
    bad("[store]\npath = 'sluice.toml/data'\n", "is no folder");
    let log = |file: &str| format!("{in_memory}[log]\noutput = 'file'\nfile = '{file}'\n");
    assert_eq!(config(&log("new.log")), good);
    assert!(!path.join("new.log").exists(), "a check makes nothing");
    bad(&log("none/log"), "none/log: cannot be written: its folder: No such file or directory");
    bad(&log("certs"), "certs: cannot be written: it is a folder");
    fs::write(path.join("passwords"), "").expect("a file");
    bad(
        "[auth]\npassword_file = 'passwords'\n",
        "passwords can be read by all users of this machine",
    );
    fs::set_permissions(path.join("certs/server.key"), fs::Permissions::from_mode(0o644))
        .expect("a file of ours");
    bad("", "server.key can be read by all users of this machine: `chmod o-rwx ");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
    fs::copy(fixtures.join("rsa1024.key"), path.join("certs/server.key")).expect("a copy");
    bad("", "is an RSA key of 1024 bits");
}

#[test]
fn a_check_of_files_beside_a_running_broker_does_not_mind_its_ports() {
    let folder = new_folder();
    certificates(&folder.path().join("certs"), "client");
    let broker = Sluice::start_in(folder, &format!("{TLS}[store]\npath = 'data'\n"));
    fix_port(&broker);
    let (code, said) = check(broker.file("").as_path(), "--files");
    assert!(code == Some(0) && said.contains("a broker runs on the store "), "{said}");
    // The second one is told, and so is a configuration for another store.
    let (code, lines) = Process::start(&mut again(broker.file("").as_path())).end();
    assert!(code == Some(2), "{lines:?}");
    let (code, said) = check(broker.file("").as_path(), "--files --set store.path=other");
    assert!(code == Some(2) && said.contains("is in use"), "{said}");
}
