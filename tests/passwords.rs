//! Password files are the same to us and to `mosquitto_passwd`, and to mosquitto itself.

mod installed;
mod terminal;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use sluicemq::auth::PasswordFile;
use terminal::Terminal;

fn mosquitto_passwd(arguments: &[&str], file: &Path, rest: &[&str]) {
    let output = Command::new("mosquitto_passwd")
        .args(arguments)
        .arg(file)
        .args(rest)
        .output()
        .expect("mosquitto_passwd is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn sluice(arguments: &[&str], file: &Path, rest: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .arg("passwd")
        .args(arguments)
        .arg(file)
        .args(rest)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A child that refuses its arguments does not wait for a password.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn we_read_what_mosquitto_writes() {
    if !installed::all(&["mosquitto_passwd"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    for (kind, create) in [("sha512-pbkdf2", "-c"), ("sha512", "-b")] {
        let user = format!("user-{kind}");
        mosquitto_passwd(&["-H", kind, create, "-b"], &file, &[&user, "pässword 1"]);
    }
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(":$7$") && text.contains(":$6$"), "{text}");
    let users = PasswordFile::load(&file).unwrap();
    for user in ["user-sha512-pbkdf2", "user-sha512"] {
        assert!(users.check(user, "pässword 1".as_bytes()), "{user}");
        assert!(!users.check(user, b"password 1"), "{user}");
    }
}

#[test]
fn mosquitto_keeps_what_we_write() {
    if !installed::all(&["mosquitto_passwd"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    let output = sluice(&[], &file, &["ann"], "first\n");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    mosquitto_passwd(&["-b"], &file, &["bob", "second"]);
    let users = PasswordFile::load(&file).unwrap();
    assert!(users.check("ann", b"first") && users.check("bob", b"second"));
    mosquitto_passwd(&["-D"], &file, &["ann"]);
    assert_eq!(users.reload().unwrap(), 1);
}

/// Each kind of hash that we write is read, and `--verify` says what is right.
#[test]
fn every_kind_of_hash_is_written_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    for (option, begins) in [
        ("--iterations=7", "$7$7$"),
        ("--argon2id", "$argon2id$v=19$m=47104,t=1,p=1$"),
        ("--scram", "SCRAM-SHA-256$4096:"),
        ("--scram=512", "SCRAM-SHA-512$4096:"),
    ] {
        let output = sluice(&[option], &file, &["ann"], "secret\n");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with(&format!("ann:{begins}")), "{text}");
        for (user, password, code) in
            [("ann", "secret", 0), ("ann", "wrong", 2), ("eve", "secret", 2)]
        {
            let output = sluice(&["--verify"], &file, &[user], password);
            assert_eq!(output.status.code(), Some(code), "{option} {user} {password}");
        }
    }
    for (options, password, wanted) in [
        (&["--scram"][..], "p\u{e4}ss", "a password for SCRAM is of printable ASCII characters"),
        (&["--scram=1"], "secret", "expected 256 or 512"),
        (&["--scram", "--argon2id"], "secret", "cannot be used with"),
        (&["--verify", "--argon2id"], "secret", "cannot be used with"),
    ] {
        let output = sluice(options, &file, &["ann"], password);
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(wanted), "{options:?}: {said}");
    }
}

/// mosquitto itself judges the hashes: it admits the users that we wrote to the file, and no others.
#[test]
fn mosquitto_lets_in_whom_we_wrote_down() {
    if !installed::all(&["mosquitto", "mosquitto_pub"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let passwords = dir.path().join("passwords");
    assert!(sluice(&["--password-stdin"], &passwords, &["ann"], "our secret").status.success());
    // If it is run as root, mosquitto becomes another user, which must be able to read the file.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&passwords, fs::Permissions::from_mode(0o644)).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let config = dir.path().join("mosquitto.conf");
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\n",
        passwords.display()
    );
    fs::write(&config, text).unwrap();
    let mosquitto = ["mosquitto", "/usr/sbin/mosquitto"]
        .into_iter()
        .find_map(|name| {
            let mut command = Command::new(name);
            command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
        })
        .expect("mosquitto is installed");
    let mut broker = Stop(mosquitto);
    let publish = |password: &str| {
        Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-u", "ann", "-P", password])
            .args(["-t", "a", "-m", "b", "-q", "1"])
            .output()
            .expect("mosquitto_pub is installed")
            .status
            .success()
    };
    let connects = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    while !connects() {
        assert!(broker.0.try_wait().unwrap().is_none(), "mosquitto stopped");
        std::thread::yield_now();
    }
    assert!(publish("our secret"));
    assert!(!publish("another secret"));
}

/// Stops the process however the test ends.
struct Stop(std::process::Child);

impl Drop for Stop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_command_reads_one_line_and_deletes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    assert!(sluice(&[], &file, &["ann"], "one\r\ntwo\n").status.success());
    assert!(PasswordFile::load(&file).unwrap().check("ann", b"one"));
    for (arguments, rest, input, wanted) in [
        (&[][..], &["ann"][..], "", "sluice: a password is 1 to 65535 bytes\n"),
        (
            &[],
            &["a:b"],
            "x",
            "sluice: a user name is 1 to 65535 bytes without ':' and control characters\n",
        ),
        (&["-D"], &["eve"], "", "sluice: there is no user \"eve\" in "),
    ] {
        let output = sluice(arguments, &file, rest, input);
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.starts_with(wanted), "{error}");
    }
    assert!(sluice(&["-D"], &file, &["ann"], "").status.success());
    assert_eq!(PasswordFile::load(&file).unwrap().reload().unwrap(), 0);
}

#[test]
fn programs_that_change_the_file_at_once_wait_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let file = &file;
            scope.spawn(move || {
                for user in 0..6 {
                    let output = sluice(&["-i", "1"], file, &[&format!("{writer}-{user}")], "x");
                    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                }
            });
        }
    });
    assert_eq!(PasswordFile::load(&file).unwrap().len(), 48);
}

#[test]
fn a_list_of_users_is_set_at_once_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    assert!(sluice(&[], &file, &["user-7"], "old").status.success());
    let list: String = (0..1000).map(|user| format!("user-{user}:pw-{user}\r\n")).collect();
    let output = sluice(&["--batch", "--iterations", "3"], &file, &[], &list);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "999 users added, 1 changed\n");
    let users = PasswordFile::load(&file).unwrap();
    assert!(users.check("user-7", b"pw-7") && users.check("user-999", b"pw-999"));
    assert_eq!((users.len(), users.iterations("user-999")), (1000, 3));
    let output = sluice(&["--list"], &file, &[], "");
    let listed = String::from_utf8(output.stdout).unwrap();
    assert_eq!((listed.lines().count(), listed.lines().nth(1)), (1000, Some("user-0")));

    let before = fs::read(&file).unwrap();
    let output = sluice(&["--batch"], &file, &[], "ann:x\nbob\n\n:y\n");
    assert_eq!(output.status.code(), Some(2));
    let wanted = "sluice: line 2: expected user:password, found no ':'\n\
                  sluice: line 4: a user name is 1 to 65535 bytes without ':' and control characters\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), wanted);
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_signal_at_the_prompt_ends_the_command_and_gives_the_terminal_its_echo_back() {
    let dir = tempfile::tempdir().unwrap();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let terminal = Terminal::open(80, 24);
        assert!(terminal.is_as_usual());
        let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .arg("passwd")
            .arg(dir.path().join("passwords"))
            .arg("ann")
            .stdin(terminal.theirs())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut prompt = [0; 10];
        child.stderr.take().unwrap().read_exact(&mut prompt).unwrap();
        assert_eq!(&prompt, b"password: ");
        assert!(!terminal.is_as_usual());
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(signal.as_raw()));
        assert!(terminal.is_as_usual(), "{signal:?}");
    }
    assert!(!dir.path().join("passwords").exists());
}
