//! The row engine in a process of its own that dies: killed, or with the power cut by a shim that
//! loses, tears and reorders what was not flushed. What it said was durable must be there, and
//! what is there must be exactly what was handed in up to some batch.
//!
//! `SEED=n` begins elsewhere, `ROUNDS=n` goes on longer.

#[path = "../src/random.rs"]
mod random;
#[path = "power/shim.rs"]
mod shim;

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use random::Random;
use shim::{CUT, Shim};
use sluicemq::broker::ports::{Progress, Refused};
use sluicemq::store::engine::{Engine, Options, RowBatch};
use sluicemq::store::sled_kind;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// One test of this program.
type Trial = fn(&Workshop);

fn main() -> ExitCode {
    match std::env::var("POWER_ROLE").as_deref() {
        Ok("writer") => return writer(),
        Ok("checker") => return checker(),
        _ => {}
    }
    let tests: &[(&str, Trial)] = &[
        ("a_flush_that_was_left_out_is_caught", a_flush_that_was_left_out_is_caught),
        ("a_power_cut_loses_nothing_promised", a_power_cut_loses_nothing_promised),
        ("a_killed_process_loses_nothing_promised", a_killed_process_loses_nothing_promised),
        ("a_full_disk_is_survived", a_full_disk_is_survived),
        #[cfg(feature = "store-redb")]
        ("a_power_cut_of_redb_loses_nothing_promised", |workshop| power_cuts(workshop, "redb")),
    ];
    let filter = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let workshop = Workshop::new();
    let (mut passed, mut failed) = (0, 0);
    for &(name, test) in tests {
        if filter.as_ref().is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&workshop)));
        println!("test {name} ... {}", if ended.is_ok() { "ok" } else { "FAILED" });
        if ended.is_ok() { passed += 1 } else { failed += 1 }
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {passed} passed; {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn a_power_cut_loses_nothing_promised(workshop: &Workshop) {
    power_cuts(workshop, "sled");
}

fn power_cuts(workshop: &Workshop, kind: &'static str) {
    let (mut cuts, mut at_start) = (0, 0);
    for round in 0..rounds(12) {
        let seed = seed() + round;
        let random = &mut Random::new(seed);
        let mut store = workshop.store(seed);
        store.kind = kind;
        for life in 0..4 {
            // Sometimes soon, so that making a store and starting one are cut as well.
            let most = if random.percent(40) { 120 } else { 900 };
            let cut = 1 + random.below(most);
            let keep = random.pick(&[0, 20, 50, 90, 100]);
            let what = format!("SEED={seed}, life {life}, cut at {cut}, keep {keep}");
            let ended = store.write_until_cut(cut, keep, random.next(), None);
            if ended != Some(CUT) {
                assert_eq!(ended, Some(0), "{what}: {}", store.said());
                break;
            }
            cuts += 1;
            at_start += usize::from(store.told_in_this_life == 0);
            store.check().unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }
    println!("{cuts} power cuts, {at_start} of them before anything was promised in that life");
}

fn a_flush_that_was_left_out_is_caught(workshop: &Workshop) {
    for lie in ["unfinished", "journal", "STORE.tmp"] {
        let caught = (0..20).any(|round| {
            let seed = seed() + round;
            let random = &mut Random::new(seed);
            let mut store = workshop.store(seed);
            // When the store is made: that alone takes some two hundred.
            let cut = 300 + random.below(300);
            let ended = store.write_until_cut(cut, 50, random.next(), Some(lie));
            ended == Some(CUT) && store.check().is_err()
        });
        assert!(caught, "nobody noticed that {lie} was not flushed");
    }
}

fn a_killed_process_loses_nothing_promised(workshop: &Workshop) {
    for round in 0..rounds(5) {
        let seed = seed() + round;
        let random = &mut Random::new(seed);
        let mut store = workshop.store(seed);
        for life in 0..4 {
            let early = random.percent(30);
            let enough = if early { 0 } else { random.below(400) as u64 };
            let mut child = store.writer().spawn().expect("the writer starts");
            let told = store.read_until(&mut child, |told| told >= enough);
            if early {
                // Chance, not an event: somewhere in its start.
                std::thread::sleep(Duration::from_micros(random.next() % 30_000));
            }
            child.kill().expect("it can be killed");
            store.hear(told, &mut child);
            store.check().unwrap_or_else(|error| panic!("SEED={seed}, life {life}: {error}"));
        }
    }
}

fn a_full_disk_is_survived(workshop: &Workshop) {
    let mut store = workshop.store(seed());
    let room = store.folder.join("room");
    let give = |bytes: u64| std::fs::write(&room, bytes.to_string()).expect("a file");
    give(3_000_000);
    let mut command = store.writer();
    workshop.load_shim(&mut command, &store);
    command.env("SHIM_ROOM", &room).env("POWER_COUNT", "6000").env("POWER_FULL", "1");
    let mut child = command.spawn().expect("the writer starts");
    let mut full = 0;
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for line in lines {
        let line = line.expect("text");
        match line.split_once(' ') {
            Some(("told", number)) => store.told = number.parse().expect("a number"),
            Some(("full", _)) => {
                full += 1;
                give(3_000_000 + full * 1_500_000);
            }
            _ => assert_eq!(line, "done"),
        }
    }
    let ended = child.wait().expect("it ends");
    assert!(ended.success(), "{ended}");
    assert!(full > 0, "the disk was never full");
    assert_eq!(store.told, 6000);
    store.check().unwrap_or_else(|error| panic!("{error}"));
}

/// Where the shim is, and a folder for everything.
struct Workshop {
    folder: tempfile::TempDir,
    shim: Shim,
    path: std::ffi::OsString,
}

/// A store, and processes that write to it and die.
struct Store<'a> {
    workshop: &'a Workshop,
    seed: u64,
    folder: PathBuf,
    kind: &'static str,
    lives: u32,
    /// Number of the last batch that was said to be durable.
    told: u64,
    told_in_this_life: u64,
}

impl Workshop {
    fn new() -> Workshop {
        let (folder, shim) = (tempfile::tempdir().expect("a folder"), Shim::compile());
        // sled runs the program of this name when it opens; it would flush the whole machine.
        let nothing = folder.path().join("bin");
        std::fs::create_dir(&nothing).expect("a folder");
        std::os::unix::fs::symlink("/bin/true", nothing.join("sync")).expect("a link");
        let old = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(nothing).chain(std::env::split_paths(&old));
        let path = std::env::join_paths(all).expect("a list of folders");
        Workshop { folder, shim, path }
    }

    fn store(&self, seed: u64) -> Store<'_> {
        let folder = self.folder.path().join(format!("store{seed}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("life0")).expect("a folder");
        let kind = "sled";
        Store { workshop: self, seed, folder, kind, lives: 0, told: 0, told_in_this_life: 0 }
    }

    fn role(&self, role: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.env("POWER_ROLE", role).env("PATH", &self.path).stdout(Stdio::piped());
        command
    }

    fn load_shim(&self, command: &mut Command, store: &Store<'_>) {
        let exe = std::env::current_exe().expect("this program");
        let name = exe.file_name().and_then(|name| name.to_str()).expect("a name");
        let after = store.folder.join(format!("life{}", store.lives + 1));
        self.shim.load(command, name, &store.root(), &after);
    }
}

impl Store<'_> {
    fn root(&self) -> PathBuf {
        self.folder.join(format!("life{}", self.lives))
    }

    fn writer(&self) -> Command {
        let mut command = self.workshop.role("writer");
        command.env("POWER_KIND", self.kind);
        command.env("POWER_STORE", self.root().join("data"));
        command.env("POWER_SEED", self.seed.to_string()).env("POWER_COUNT", "2000");
        let said = std::fs::File::create(self.folder.join("said")).expect("a file");
        command.stderr(said);
        command
    }

    /// Lets a writer run until the power goes; its exit code.
    fn write_until_cut(
        &mut self,
        cut: usize,
        keep: usize,
        seed: u64,
        lie: Option<&str>,
    ) -> Option<i32> {
        let mut command = self.writer();
        self.workshop.load_shim(&mut command, self);
        command.env("SHIM_CUT_AT", cut.to_string()).env("SHIM_KEEP", keep.to_string());
        command.env("SHIM_SEED", (seed % 1_000_000).to_string());
        if let Some(lie) = lie {
            command.env("SHIM_LIE", lie);
        }
        let mut child = command.spawn().expect("the writer starts");
        let told = self.read_until(&mut child, |_| false);
        let code = self.hear(told, &mut child);
        if code == Some(CUT) {
            let _ = std::fs::remove_dir_all(self.root());
            self.lives += 1;
        }
        code
    }

    /// Reads what the writer says until it is enough, or to the end: the last number told.
    fn read_until(&self, child: &mut Child, enough: impl Fn(u64) -> bool) -> u64 {
        let mut told = 0;
        let mut lines = BufReader::new(child.stdout.as_mut().expect("a pipe"));
        let mut line = String::new();
        while !enough(told) && lines.read_line(&mut line).expect("text") > 0 {
            told = last_told(&line).unwrap_or(told);
            line.clear();
        }
        // What was read ahead was said too.
        last_told(&String::from_utf8_lossy(lines.buffer())).unwrap_or(told)
    }

    /// Takes up the rest of what a dead writer said; its exit code.
    fn hear(&mut self, told: u64, child: &mut Child) -> Option<i32> {
        let mut rest = String::new();
        child.stdout.take().expect("a pipe").read_to_string(&mut rest).expect("text");
        self.told_in_this_life = last_told(&rest).unwrap_or(told);
        self.told = self.told.max(self.told_in_this_life);
        child.wait().expect("it ends").code()
    }

    /// What the writer said before it ended in another way than it was to.
    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.join("said")).unwrap_or_default()
    }

    /// Lets another process look at a copy of the store.
    fn check(&mut self) -> Result<(), String> {
        let copy = self.folder.join("copy");
        let _ = std::fs::remove_dir_all(&copy);
        copy_all(&self.root(), &copy);
        let mut command = self.workshop.role("checker");
        command.env("POWER_STORE", copy.join("data")).env("POWER_SEED", self.seed.to_string());
        command.env("POWER_KIND", self.kind);
        command.env("POWER_TOLD", self.told.to_string()).stderr(Stdio::piped());
        let seen = command.output().expect("the checker runs");
        if !seen.status.success() {
            return Err(String::from_utf8_lossy(&seen.stderr).into_owned());
        }
        // What it found is what goes on from here.
        let found = String::from_utf8_lossy(&seen.stdout);
        self.told = found.trim().parse().expect("a number");
        Ok(())
    }
}

/// The last whole line that tells a number.
fn last_told(text: &str) -> Option<u64> {
    let whole = &text[..=text.rfind('\n')?];
    whole.lines().rev().find_map(|line| line.strip_prefix("told ")?.parse().ok())
}

/// The process that dies: hands in batches and says which are durable.
fn writer() -> ExitCode {
    let count: u64 = number("POWER_COUNT");
    let (engine, rows) = open();
    let mut next = last(&rows) + 1;
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut waiting = VecDeque::new();
    let mut batch = RowBatch::new();
    while next <= count || !waiting.is_empty() {
        if next <= count && waiting.len() < 8 {
            fill(&mut batch, number("POWER_SEED"), next);
            while let Err(none) = engine.admit_or_wake(batch.bytes(), &waker) {
                assert_ne!(none, Refused::Failed, "{:?}", engine.stats());
                if none == Refused::Full && std::env::var_os("POWER_FULL").is_some() {
                    say(&format!("full {next}"));
                }
                std::thread::park_timeout(Duration::from_millis(100));
            }
            waiting.push_back((next, engine.submit(&mut batch)));
            next += 1;
            continue;
        }
        let (number, lsn) = waiting[0];
        match engine.state(lsn, &waker) {
            Progress::Durable => {
                say(&format!("told {number}"));
                waiting.pop_front();
            }
            Progress::Pending => std::thread::park(),
            Progress::Failed => panic!("{:?}", engine.stats()),
        }
    }
    engine.close().expect("it closes");
    say("done");
    ExitCode::SUCCESS
}

/// The process that looks: what is there must be what was handed in up to some batch, and that
/// one not before what was told.
fn checker() -> ExitCode {
    let (engine, rows) = open();
    let (found, told): (u64, u64) = (last(&rows), number("POWER_TOLD"));
    assert!(found >= told, "{told} was promised, {found} is there");
    let mut wanted = Rows::new();
    for at in 1..=found {
        for (key, value) in changes(number("POWER_SEED"), at) {
            match value {
                Some(value) => drop(wanted.insert(key, value)),
                None => drop(wanted.remove(&key)),
            }
        }
    }
    assert!(rows == wanted, "other rows than were handed in up to batch {found}");
    engine.close().expect("it closes");
    say(&found.to_string());
    ExitCode::SUCCESS
}

fn open() -> (Engine, Rows) {
    let options = Options {
        segment_bytes: 64 << 10,
        reserve_bytes: 16 << 10,
        ballast_bytes: 64 << 10,
        checkpoint_interval: Duration::from_millis(5),
        checkpoint_pending_bytes: 100 << 10,
        checkpoint_rows_max: 50,
        growing: vec![4],
        ..Options::default()
    };
    let path = std::env::var_os("POWER_STORE").expect("a folder is given");
    let mut rows = Rows::new();
    let kind = match std::env::var("POWER_KIND").as_deref() {
        #[cfg(feature = "store-redb")]
        Ok("redb") => sluicemq::store::redb_kind(4 << 20),
        // With every other seed so small a cache that the table is opened anew again and again.
        _ => {
            sled_kind(if number::<u64>("POWER_SEED").is_multiple_of(2) { 4 << 20 } else { 8 << 10 })
        }
    };
    let opened = Engine::open(Path::new(&path), options, &kind, &mut |key, value| {
        rows.insert(key.to_vec(), value.to_vec());
    });
    match opened {
        Ok((engine, _)) => (engine, rows),
        Err(error) => panic!("{error}"),
    }
}

fn fill(batch: &mut RowBatch, seed: u64, at: u64) {
    for (key, value) in changes(seed, at) {
        match value {
            Some(value) => batch.put(&key, &value),
            None => batch.delete(&key),
        }
    }
}

/// What batch `at` changes. Its number is a row of its own.
fn changes(seed: u64, at: u64) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let random = &mut Random::new(seed ^ at.wrapping_mul(0x9E37_79B9));
    let mut changes = vec![(NUMBER.to_vec(), Some(at.to_be_bytes().to_vec()))];
    let growing = |at: u64| [&[4][..], &at.to_be_bytes()].concat();
    let mut bytes = |len: usize| -> Vec<u8> { (0..len).map(|_| random.next() as u8).collect() };
    changes.push((growing(at), Some(bytes(300))));
    let random = &mut Random::new(seed ^ at.wrapping_mul(0x9E37_79B9) ^ 1);
    changes.push((growing(at.saturating_sub(random.next() % 100)), None));
    // None stays for long, so that whole leaves of a table go.
    changes.push((growing(at.saturating_sub(150)), None));
    let key = vec![6, random.below(40) as u8];
    let len = if random.percent(2) { 80_000 } else { random.below(200) };
    changes.push((key, random.percent(60).then(|| vec![random.next() as u8; len])));
    changes
}

fn last(rows: &Rows) -> u64 {
    rows.get(NUMBER).map_or(0, |bytes| u64::from_be_bytes(bytes[..].try_into().expect("a number")))
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn say(line: &str) {
    // At once, because the next instant this process may be gone.
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody listens");
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

fn number<T: std::str::FromStr>(name: &str) -> T {
    let value = std::env::var(name).ok().and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("{name} is a number"))
}

fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2026)
}

fn rounds(usual: u64) -> u64 {
    std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(usual)
}

/// The key of the row that holds the number of the last batch.
const NUMBER: &[u8] = &[2];
