//! What is said of configurations with mistakes: the whole of it, for many that people write.

use std::fs;
use std::process::Command;

use sluicemq::config::Config;
use sluicemq::settings;

/// The whole message for a file `t.toml` with this content; the folder left out.
fn said(content: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.toml");
    fs::write(&path, content).unwrap();
    let error = match settings::load(&[path], [], &[]) {
        Ok(_) => return "good".to_owned(),
        Err(error) => error.to_string(),
    };
    error.replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn each_mistake_is_told_in_the_first_round_with_place_key_and_what_was_expected() {
    let table = include_str!("mistakes/table.txt");
    let mut wrong = String::new();
    let mut cases = 0;
    for case in table.split("\n=== ").skip(1) {
        let (title, rest) = case.split_once('\n').unwrap();
        let (content, wanted) = rest.split_once("\n---\n").unwrap();
        let (found, wanted) = (said(content.as_bytes()), wanted.trim_end());
        cases += 1;
        if found != wanted {
            wrong += &format!("\n=== {title}\n{content}\n---\n{found}\n");
        }
    }
    assert!(cases >= 30, "only {cases}");
    assert!(wrong.is_empty(), "{wrong}");
}

/// With the words in another order, or in another section; in a file, in the environment and on the command line.
#[test]
fn a_key_that_is_almost_one_is_named() {
    for (content, wanted) in [
        ("qos_mx = 1", "t.toml:1:1: unknown key 'qos_mx'; did you mean 'session.qos_max'?"),
        (
            "[limits]\nmax_packet_bytes = \"1MiB\"",
            "t.toml:2:1: unknown key 'max_packet_bytes' in [limits]; did you mean 'packet_bytes_max'?",
        ),
    ] {
        assert_eq!(said(content.as_bytes()), wanted);
    }
    for (key, wanted) in [
        ("limits.max_packet_bytes", "limits.packet_bytes_max"),
        ("log.qos_max", "session.qos_max"),
        ("max_qos", "session.qos_max"),
    ] {
        let wanted = format!("unknown key '{key}'; did you mean '{wanted}'?");
        let error = settings::load(&[], [], &[format!("{key}=1")]).unwrap_err().to_string();
        assert_eq!(error, format!("--set {key}: {wanted}"));
        let name = format!("SLUICE_{}", key.replace('.', "__").to_uppercase());
        if key.contains('.') {
            let error = settings::load(&[], [(name.clone(), "1".to_owned())], &[]).unwrap_err();
            assert_eq!(error.to_string(), format!("environment {name}: {wanted}"));
        }
    }
}

#[test]
fn files_of_other_editors_are_read_or_named() {
    let good = "\u{feff}[session]\r\nqos_max = 1\r\n";
    assert_eq!(said(good.as_bytes()), "good");
    assert_eq!(
        said("\u{feff}[session]\r\nqos_mx = 1\r\n".as_bytes()),
        "t.toml:2:1: unknown key 'qos_mx' in [session]; did you mean 'qos_max'?"
    );
    let utf_16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(said(&utf_16), "t.toml:1:1: the file is UTF-16; save it as UTF-8");
    assert_eq!(
        said(b"[log]\n# M\xfcller\n"),
        "t.toml:2:4: byte 0xFC is not UTF-8; save the file as UTF-8"
    );
}

#[test]
fn a_file_without_a_listener_has_the_default_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.toml");
    fs::write(&path, "[session]\nqos_max = 1\n").unwrap();
    let settings = settings::load(std::slice::from_ref(&path), [], &[]).unwrap();
    assert_eq!(settings.config().listener, Config::beneath_files().listener);
    assert_eq!(settings.config().listener[0].address, "127.0.0.1:1883");
    let sets = ["listener.0.address=127.0.0.1:1884".to_owned()];
    let settings = settings::load(&[path], [], &sets).unwrap();
    assert_eq!(settings.config().listener[0].address, "127.0.0.1:1884");
}

#[test]
fn a_file_in_place_of_a_command_is_told_how_to_be_given() {
    for word in ["sluice.toml", "/etc/mosquitto/mosquitto.conf"] {
        let output = Command::new(env!("CARGO_BIN_EXE_sluice")).arg(word).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("sluice --config {word}")), "{said}");
    }
}
