//! `sluice store`: what a broker left behind, looked at, copied, damaged and salvaged.

mod process;
mod wire;

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use process::{Sluice, program};
use sluicemq::codec::{Connect, Packet, QoS, Version};
use wire::{Client, connect};

const CONFIG: &str = "
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'

[store]
segment_bytes = '1MiB'
journal_bytes_max = '64MiB'
";

const WAITING: usize = 50;

/// A broker that has stopped with messages for a client that is away.
fn stopped() -> Sluice {
    let mut broker = Sluice::start(CONFIG);
    let at = broker.address("tcp");
    let mut away = Client::connect_with(at, &away());
    away.subscribe(&["jobs"], QoS::AtLeastOnce);
    away.goodbye();
    let mut publisher = Client::connect(at, Version::V5, "p");
    for number in 0..WAITING {
        assert!(!publisher.publish("jobs", number.to_string().as_bytes()).is_error());
    }
    let retained = sluicemq::codec::Publish { retain: true, ..wire::message("state", b"on") };
    publisher.send(&Packet::Publish(retained));
    assert!(!publisher.puback().is_error());
    assert_eq!(broker.stop(), Some(0));
    broker
}

fn away() -> Connect<'static> {
    Connect { clean_start: false, session_expiry: 3600, ..connect(Version::V5, "away") }
}

/// `sluice store …` on the broker's store, or on another.
fn store(broker: &Sluice, path: Option<&Path>, arguments: &[&str]) -> Output {
    let mut command = program();
    command.arg("--config").arg(broker.file("sluice.toml")).arg("store").args(arguments);
    if let Some(path) = path {
        command.arg("--set").arg(format!("store.path={}", path.display()));
    }
    command.output().expect("the broker's program")
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ours")
}

/// What waits for the client is all there.
fn all_waits(broker: &Sluice) {
    let mut away = Client::connect_with(broker.address("tcp"), &away());
    for number in 0..WAITING {
        assert_eq!(away.message().1, number.to_string().as_bytes());
    }
}

#[test]
fn a_sound_store_is_said_to_be_and_counted() {
    let broker = stopped();
    let checked = store(&broker, None, &["check"]);
    assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
    assert!(said(&checked).contains("as it was written"), "{}", said(&checked));
    let stats = said(&store(&broker, None, &["stats"]));
    assert_eq!(count(&stats, "sessions"), 1, "{stats}");
    assert_eq!(count(&stats, "messages"), WAITING as u64, "{stats}");
    assert_eq!(count(&stats, "retained"), 1, "{stats}");
    assert!(count(&stats, "table bytes") > 0 && count(&stats, "journal bytes") >= 1 << 20);
}

/// A number that `stats` says.
fn count(stats: &str, name: &str) -> u64 {
    let line = stats.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    let number = line.split_whitespace().last().unwrap_or_default();
    number.parse().unwrap_or_else(|_| panic!("{name}: {stats}"))
}

#[test]
fn what_is_exported_and_imported_is_delivered() {
    let mut broker = stopped();
    let file = broker.file("backup");
    let exported = store(&broker, None, &["export", text(&file)]);
    assert_eq!(exported.status.code(), Some(0), "{}", said(&exported));
    let again = store(&broker, None, &["export", text(&file)]);
    assert_eq!(again.status.code(), Some(2), "it overwrites nothing: {}", said(&again));
    let there = store(&broker, None, &["import", text(&file)]);
    assert_eq!(there.status.code(), Some(2), "nor does this: {}", said(&there));
    std::fs::rename(broker.file("data"), broker.file("old")).expect("a folder");
    let imported = store(&broker, None, &["import", text(&file)]);
    assert_eq!(imported.status.code(), Some(0), "{}", said(&imported));
    broker.start_again();
    all_waits(&broker);
}

#[test]
fn no_broker_serves_the_folder_of_an_import_that_was_not_finished() {
    let mut broker = stopped();
    let file = broker.file("backup");
    assert_eq!(store(&broker, None, &["export", text(&file)]).status.code(), Some(0));
    let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o077, 0, "every message is in it");
    let whole = std::fs::read(&file).expect("a file");
    std::fs::rename(broker.file("data"), broker.file("old")).expect("a folder");
    for damaged in [whole[..whole.len() / 2].to_vec(), b"nonsense".to_vec(), Vec::new()] {
        std::fs::write(&file, damaged).expect("a file");
        let imported = store(&broker, None, &["import", text(&file)]);
        assert_eq!(imported.status.code(), Some(2), "{}", said(&imported));
        let begun = program().arg("--config").arg(broker.file("sluice.toml")).output();
        let begun = begun.expect("the broker's program");
        assert_ne!(begun.status.code(), Some(0));
        let (words, folder) = (said(&begun), broker.file("data"));
        assert!(words.contains("an import into this folder was not finished"), "{words}");
        assert!(words.contains(text(&folder)), "{words}");
    }
    std::fs::write(&file, whole).expect("a file");
    let imported = store(&broker, None, &["import", text(&file)]);
    assert_eq!(imported.status.code(), Some(0), "{}", said(&imported));
    broker.start_again();
    all_waits(&broker);
}

#[test]
fn a_running_broker_exports_its_store_while_messages_come() {
    let mut broker = stopped();
    broker.start_again();
    let at = broker.address("tcp");
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let publisher = std::thread::spawn({
        let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
        move || {
            let mut publisher = Client::connect(at, Version::V5, "q");
            while !stop.load(Ordering::Relaxed) {
                // More than the queue takes are refused: those are not counted.
                if !publisher.publish("jobs", b"while it is exported").is_error() {
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    for round in 0..3 {
        let file = broker.file(&format!("backup-{round}"));
        let before = acknowledged.load(Ordering::Relaxed);
        let exported = store(&broker, None, &["export", text(&file)]);
        let after = acknowledged.load(Ordering::Relaxed) + 1;
        assert_eq!(exported.status.code(), Some(0), "{}", said(&exported));
        let again = store(&broker, None, &["export", text(&file)]);
        assert_eq!(again.status.code(), Some(2), "it overwrites nothing: {}", said(&again));
        let copy = broker.file(&format!("copy-{round}"));
        let imported = store(&broker, Some(&copy), &["import", text(&file)]);
        assert_eq!(imported.status.code(), Some(0), "{}", said(&imported));
        assert_eq!(said(&exported).split(' ').next(), said(&imported).split(' ').next());
        let stats = said(&store(&broker, Some(&copy), &["stats"]));
        let messages = count(&stats, "messages") - WAITING as u64;
        assert!((before..=after).contains(&messages), "{before} {messages} {after}: {stats}");
        assert_eq!((count(&stats, "sessions"), count(&stats, "retained")), (1, 1), "{stats}");
        // What comes out of the copy is what went into it, but for the number of its checkpoint.
        let file_of_copy = broker.file(&format!("of-copy-{round}"));
        let exported = store(&broker, Some(&copy), &["export", text(&file_of_copy)]);
        assert_eq!(exported.status.code(), Some(0), "{}", said(&exported));
        let rows = |path: &Path| std::fs::read(path).expect("a file")[HEADER..].to_vec();
        assert!(rows(&file) == rows(&file_of_copy), "round {round}");
    }
    stop.store(true, Ordering::Relaxed);
    publisher.join().expect("a publisher");
    let left = std::fs::read_dir(broker.file("data")).expect("a folder");
    let left = left.map(|entry| entry.expect("an entry").file_name().into_string().expect("ours"));
    assert!(left.into_iter().all(|name| !name.to_lowercase().starts_with("export")));
    assert_eq!(broker.stop(), Some(0));
}

/// Bytes of a file of rows before the first one.
const HEADER: usize = 24;

#[test]
fn a_damaged_store_is_refused_by_name_and_what_is_left_is_salvaged() {
    let broker = stopped();
    let damaged = damage(&broker.file("data/table"));
    let checked = store(&broker, None, &["check"]);
    assert_eq!(checked.status.code(), Some(1), "{damaged:?}: {}", said(&checked));
    assert!(said(&checked).contains("table"), "{}", said(&checked));
    let out = broker.file("salvaged");
    let salvaged = store(&broker, None, &["salvage", "--out", text(&out)]);
    assert_eq!(salvaged.status.code(), Some(0), "{}", said(&salvaged));
    let checked = store(&broker, Some(&out.join("data")), &["check"]);
    assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
}

/// Turns a byte around in the middle of the largest file.
fn damage(table: &Path) -> PathBuf {
    let mut files = Vec::new();
    let mut folders = vec![table.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let data = entry.metadata().expect("what it is");
            if data.is_dir() {
                folders.push(entry.path());
            } else {
                files.push((data.len(), entry.path()));
            }
        }
    }
    let (len, path) = files.into_iter().max().expect("a file");
    let file = std::fs::File::options().read(true).write(true).open(&path).expect("a file");
    let mut byte = [0];
    // Files have room that nothing stands in yet: what is turned around is what is written.
    let at = (0..len).rev().find(|at| {
        file.read_exact_at(&mut byte, *at).expect("a byte");
        byte[0] != 0
    });
    let at = at.expect("something written") / 2;
    file.read_exact_at(&mut byte, at).expect("a byte");
    file.write_all_at(&[!byte[0]], at).expect("a byte");
    path
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    let broker = stopped();
    for (path, arguments, wanted) in [
        (Some("nowhere"), &["check"][..], "no store here"),
        (Some("nowhere"), &["export", "file"], "no store here"),
        (None, &["import", "no-such-file"], "no-such-file"),
    ] {
        let path = path.map(|path| broker.file(path));
        let output = store(&broker, path.as_deref(), arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(wanted) && said.lines().count() == 1, "{arguments:?}: {said}");
    }
}

#[test]
fn the_figures_of_the_store_are_in_sys() {
    let mut broker = stopped();
    broker.start_again();
    let at = broker.address("tcp");
    let mut publisher = Client::connect(at, Version::V5, "p");
    assert!(!publisher.publish("jobs", b"one more").is_error());
    let mut watcher = Client::connect(at, Version::V5, "w");
    watcher.subscribe(&["$SYS/broker/store/#"], QoS::AtMostOnce);
    let mut figures = BTreeMap::new();
    // In the order of names: this is the last of those that are looked at.
    while !figures.contains_key("waiters") {
        let (topic, value) = watcher.message();
        let value = String::from_utf8(value).unwrap().parse::<u64>().unwrap();
        figures.insert(topic.strip_prefix("$SYS/broker/store/").unwrap().to_owned(), value);
    }
    let figure = |name: &str| *figures.get(name).unwrap_or_else(|| panic!("{name}: {figures:?}"));
    assert!(figure("commits") >= 1 && figure("commit/batches") >= figure("commits"));
    assert!((1..=figure("commit/batches")).contains(&figure("commit/batches max")));
    for of in ["commit", "flush"] {
        let [p50, p99, max] = ["p50", "p99", "max"].map(|name| figure(&format!("{of}/{name}")));
        assert!(p50 <= p99 && p99 <= max && max > 0, "{of}: {p50} {p99} {max}");
    }
    assert!(figure("journal bytes") >= 1 << 20, "a segment at least");
    assert!(figure("table rows") > WAITING as u64 && figure("table bytes") > 0);
    assert!(figure("resident bytes") > 1 << 20 && figure("recovery time") > 0);
    for name in
        ["lag", "unwritten bytes", "pending/rows", "pending/bytes", "pending/cancelled rows"]
            .into_iter()
            .chain(["checkpoints", "checkpoint/rows", "checkpoint/time", "checkpoint/lag"])
    {
        figure(name);
    }
    for name in ["failed", "table failed", "disk full"] {
        assert_eq!(figure(name), 0, "{name}");
    }
}

#[test]
fn one_session_is_ended_with_what_waits_for_it() {
    let mut broker = stopped();
    broker.start_again();
    let at = broker.address("tcp");
    // One more Session, with a message in flight and one of a group.
    let other = Connect { client_id: "other", ..away() };
    let mut client = Client::connect_with(at, &other);
    client.subscribe(&["jobs", "$share/g/work"], QoS::AtLeastOnce);
    let mut publisher = Client::connect(at, Version::V5, "p");
    assert!(!publisher.publish("jobs", b"in flight").is_error());
    assert!(!publisher.publish("work", b"of the group").is_error());
    client.packet();
    client.packet();
    let in_use = store(&broker, None, &["end-session", "other"]);
    assert_ne!(in_use.status.code(), Some(0), "a broker has it open");
    assert_eq!(broker.stop(), Some(0));
    let ended = store(&broker, None, &["end-session", "other"]);
    assert_eq!(
        (ended.status.code(), &*said(&ended)),
        (
            Some(0),
            "the session of \"other\" is ended: 2 subscriptions, 1 messages that it had not received\n\
             \x20      1 \"jobs\"\n"
        )
    );
    let again = store(&broker, None, &["end-session", "other"]);
    assert_eq!(
        (again.status.code(), &*said(&again)),
        (Some(1), "there is no session of \"other\"\n")
    );
    assert_eq!(store(&broker, None, &["check"]).status.code(), Some(0));
    broker.start_again();
    let at = broker.address("tcp");
    let mut client = Client::open(at, Version::V5);
    client.send(&Packet::Connect(Box::new(other)));
    assert_eq!(client.connack(), sluicemq::codec::Reason::Success);
    client.ping();
    // What waits for others is as it was, and what came since.
    let mut away = Client::connect_with(at, &away());
    for number in 0..WAITING {
        assert_eq!(away.message().1, number.to_string().as_bytes());
    }
    assert_eq!(away.message().1, b"in flight");
}
