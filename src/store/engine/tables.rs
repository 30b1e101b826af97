//! What every kind of table must do, with a real folder: for the tests of each of them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::task::{Wake, Waker};

use super::simulation::{Told, seed};
use super::*;
use crate::random::Random;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// All that follows, on one kind of table.
pub fn check(kind: &TableKind) {
    rows_are_kept(kind);
    an_engine_agrees_with_its_twin(kind);
    an_engine_is_exclusive_and_knows_its_table(kind);
    what_is_exported_is_imported(kind);
    what_cannot_be_read_is_listed_and_the_rest_salvaged(kind);
}

fn rows_are_kept(kind: &TableKind) {
    let _told = Told(seed(4));
    let random = &mut Random::new(seed(4));
    let root = tempfile::tempdir().unwrap();
    let mut twin = Rows::new();
    for _ in 0..3 {
        let table = (kind.open)(root.path()).unwrap();
        assert!(all(&*table) == twin);
        for _ in 0..5 {
            let mut batch = BTreeMap::new();
            for _ in 0..random.below(400) {
                let key = key(random);
                let value =
                    random.percent(60).then(|| vec![random.next() as u8; random.below(900)]);
                batch.insert(key, value);
            }
            if random.percent(10) {
                batch.insert(vec![5], Some(vec![1; 3 << 20]));
            }
            let changes = batch.iter().map(|(key, value)| {
                (Blob::from(&key[..]), value.as_ref().map(|value| Blob::from(&value[..])))
            });
            table.apply(changes.collect()).unwrap();
            for (key, value) in batch {
                match value {
                    Some(value) => drop(twin.insert(key, value)),
                    None => drop(twin.remove(&key)),
                }
            }
            if random.percent(70) {
                table.flush().unwrap();
            }
            for _ in 0..50 {
                let key = key(random);
                assert!(table.get(&key).unwrap().as_deref() == twin.get(&key).map(Vec::as_slice));
            }
            assert!(all(&*table) == twin);
            let mut first = Vec::new();
            let from = key(random);
            let scanned = table.scan(&from, &mut |key, _| {
                first.push(key.to_vec());
                if first.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            scanned.unwrap();
            assert!(first.iter().eq(twin.range(from..).map(|(key, _)| key).take(3)));
        }
        table.flush().unwrap();
        table.close().unwrap();
    }
}

fn all(table: &dyn Table) -> Rows {
    let mut rows = Rows::new();
    let scanned = table.scan(&[], &mut |key, value| {
        assert!(rows.last_key_value().is_none_or(|(last, _)| **last < *key));
        rows.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    });
    scanned.unwrap();
    rows
}

fn key(random: &mut Random) -> Vec<u8> {
    match random.below(3) {
        0 => [&[4][..], &(random.next() % 5000).to_be_bytes()].concat(),
        1 => vec![1, random.below(200) as u8],
        _ => [&[3][..], &vec![b'x'; random.below(300)]].concat(),
    }
}

/// Options that make everything happen often.
fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        segment_bytes_min: 16 << 10,
        reserve_bytes: 16 << 10,
        ballast_bytes: 16 << 10,
        checkpoint_interval: std::time::Duration::from_millis(3),
        checkpoint_pending_bytes: 100 << 10,
        checkpoint_journal_bytes: 200 << 10,
        growing: vec![4],
        ..Options::default()
    }
}

fn open(path: &Path, kind: &TableKind) -> (Engine, Rows) {
    let mut rows = Rows::new();
    let (engine, report) = Engine::open(path, options(), kind, &mut |key, value| {
        rows.insert(key.to_vec(), value.to_vec());
    })
    .unwrap();
    assert_eq!(report.rows, rows.len() as u64);
    (engine, rows)
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits like a task: parked until woken, and asked again only then.
fn until_durable(engine: &Engine, lsn: u64) {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match engine.state(lsn, &waker) {
            Progress::Durable => return,
            Progress::Pending => std::thread::park(),
            Progress::Failed => panic!("{:?}", engine.stats()),
        }
    }
}

fn an_engine_agrees_with_its_twin(kind: &TableKind) {
    let _told = Told(seed(6));
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("data");
    let mut twins: Vec<Rows> = vec![Rows::new(); 3];
    for life in 0..4 {
        let (engine, rows) = open(&path, kind);
        assert!(rows == union(&twins), "life {life}");
        std::thread::scope(|scope| {
            for (at, twin) in twins.iter_mut().enumerate() {
                let engine = &engine;
                scope.spawn(move || work(engine, life, at, twin));
            }
        });
        let all = union(&twins);
        for _ in 0..2 {
            let mut scanned = Rows::new();
            let visit = &mut |key: &[u8], value: &[u8]| {
                scanned.insert(key.to_vec(), value.to_vec());
                ControlFlow::Continue(())
            };
            engine.scan(&[], visit).unwrap();
            assert!(scanned == all);
            engine.checkpoint_now().unwrap();
            assert_eq!(engine.stats().table_rows, all.len() as u64);
        }
        // Sometimes closed, sometimes only let go.
        if life % 2 == 0 {
            engine.close().unwrap();
        }
    }
}

fn union(twins: &[Rows]) -> Rows {
    twins.iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// One caller with keys of its own.
fn work(engine: &Engine, life: usize, at: usize, twin: &mut Rows) {
    let random = &mut Random::new(seed(6) + (life * 10 + at) as u64);
    let mut batch = RowBatch::new();
    for _ in 0..300 {
        for _ in 0..1 + random.below(4) {
            let mut key = key(random);
            key.push(at as u8);
            if random.percent(60) {
                let value = vec![random.next() as u8; random.below(500)];
                batch.put(&key, &value);
                twin.insert(key, value);
            } else {
                batch.delete(&key);
                twin.remove(&key);
            }
        }
        while engine.admit(batch.bytes()).is_err() {
            std::thread::yield_now();
        }
        let lsn = engine.submit(&mut batch);
        if random.percent(40) {
            until_durable(engine, lsn);
        }
        let mut key = key(random);
        key.push(at as u8);
        assert!(engine.get(&key).unwrap().as_deref() == twin.get(&key).map(Vec::as_slice));
    }
}

fn an_engine_is_exclusive_and_knows_its_table(kind: &TableKind) {
    let root = tempfile::tempdir().unwrap();
    let (engine, _) = open(root.path(), kind);
    let again = Engine::open(root.path(), options(), kind, &mut |_, _| ());
    assert!(matches!(again, Err(StoreError::InUse { .. })));
    drop(engine);
    let other =
        TableKind { name: "another", open: Box::new(|_| Err(TableError::new(String::new()))) };
    let refused = Engine::open(root.path(), options(), &other, &mut |_, _| ());
    let said = refused.map(|_| ()).unwrap_err().to_string();
    assert!(said.contains("not another"), "{said}");
    for (schema, wanted) in [(0, "version 1, this program knows 0: use a newer one"), (2, "older")]
    {
        let other = Options { schema, ..options() };
        let refused = Engine::open(root.path(), other, kind, &mut |_, _| ());
        let said = refused.map(|_| ()).unwrap_err().to_string();
        assert!(said.contains(wanted), "{said}");
    }
    let (engine, _) = open(root.path(), kind);
    engine.close().unwrap();
}

fn what_is_exported_is_imported(kind: &TableKind) {
    let root = tempfile::tempdir().unwrap();
    let (old, new) = (root.path().join("old"), root.path().join("new"));
    let rows = fill(&old, kind);
    let (engine, _) = open(&old, kind);
    let mut file = Vec::new();
    let exported = engine.export(&mut file).unwrap();
    assert_eq!(exported.rows, rows.len() as u64);
    // It goes on as before.
    let mut batch = RowBatch::new();
    batch.put(b"\x01after", b"");
    until_durable(&engine, engine.submit(&mut batch));
    engine.close().unwrap();
    for len in (0..file.len()).step_by(file.len() / 37) {
        assert!(import(&new, &options(), kind, &mut &file[..len]).is_err(), "{len} bytes");
        let mut flipped = file.clone();
        flipped[len] ^= 1;
        assert!(import(&new, &options(), kind, &mut &flipped[..]).is_err(), "byte {len}");
    }
    for schema in [0, 2] {
        let refused = import(&new, &Options { schema, ..options() }, kind, &mut &file[..]);
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("its rows are of version 1"), "{said}");
    }
    let imported = import(&new, &options(), kind, &mut &file[..]).unwrap();
    assert_eq!(imported, exported);
    assert!(import(&new, &options(), kind, &mut &file[..]).is_err());
    let (engine, found) = open(&new, kind);
    assert!(found == rows);
    let mut again = Vec::new();
    engine.export(&mut again).unwrap();
    // Only the number of the checkpoint is another one.
    assert!(again[24..] == file[24..]);
    engine.close().unwrap();
}

fn what_cannot_be_read_is_listed_and_the_rest_salvaged(kind: &TableKind) {
    let root = tempfile::tempdir().unwrap();
    let (path, new) = (root.path().join("data"), root.path().join("new"));
    let rows = fill(&path, kind);
    let mut file = Vec::new();
    let salvaged = salvage(&path, kind, &mut file).unwrap();
    assert_eq!((salvaged.exported.rows, salvaged.lost), (rows.len() as u64, vec![]));
    let well = inspect::check(&path, &options(), kind).unwrap();
    assert!(well.problems.is_empty(), "{:?}", well.problems);
    assert_eq!(well.rows, rows.len() as u64);
    // The journal still has what the last checkpoint did not: now part of it is gone.
    let newest = newest_segment(&path.join("journal"));
    let mut bytes = std::fs::read(&newest).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[4096 + (end - 4096) / 10 * 9] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let ill = inspect::check(&path, &options(), kind).unwrap();
    assert_eq!(ill.problems.len(), 1, "{:?}", ill.problems);
    assert!(Engine::open(&path, options(), kind, &mut |_, _| ()).is_err());
    let mut file = Vec::new();
    let salvaged = salvage(&path, kind, &mut file).unwrap();
    assert!(!salvaged.lost.is_empty());
    import(&new, &options(), kind, &mut &file[..]).unwrap();
    let (_, found) = open(&new, kind);
    assert!(found.len() > rows.len() / 2);
}

/// A store with rows in the table and in the journal, as a killed process leaves it.
fn fill(path: &Path, kind: &TableKind) -> Rows {
    let random = &mut Random::new(seed(8));
    let slow = Options { checkpoint_interval: std::time::Duration::from_secs(3600), ..options() };
    let slow = Options { segment_bytes: 1 << 20, segment_bytes_min: 1 << 20, ..slow };
    let slow = Options { checkpoint_journal_bytes: 1 << 30, ..slow };
    let slow = Options { checkpoint_pending_bytes: 1 << 30, ..slow };
    let mut rows = Rows::new();
    let (engine, _) = Engine::open(path, slow, kind, &mut |_, _| ()).unwrap();
    let mut batch = RowBatch::new();
    let mut last = 0;
    for number in 0..3000_u64 {
        let key = [&[4][..], &number.to_be_bytes()].concat();
        let value: Vec<u8> = (0..random.below(300)).map(|_| random.next() as u8).collect();
        batch.put(&key, &value);
        rows.insert(key, value);
        if number % 7 == 0 {
            last = engine.submit(&mut batch);
        }
        if number == 2000 {
            last = engine.submit(&mut batch);
            engine.checkpoint_now().unwrap();
        }
    }
    last = last.max(engine.submit(&mut batch));
    until_durable(&engine, last);
    copy_aside(path, |copy| {
        drop(engine);
        std::fs::remove_dir_all(path).unwrap();
        std::fs::rename(copy, path).unwrap();
    });
    rows
}

/// Gives `then` a copy of a folder.
fn copy_aside(path: &Path, then: impl FnOnce(&Path)) {
    let copy = path.with_extension("copy");
    copy_all(path, &copy);
    then(&copy);
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn newest_segment(journal: &Path) -> std::path::PathBuf {
    let entries = std::fs::read_dir(journal).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|ending| ending == "journal"))
        .filter(|path| std::fs::read(path).unwrap()[4096..].iter().any(|&byte| byte != 0))
        .collect();
    segments.sort();
    segments.pop().unwrap()
}

/// Damages the table's files: a start must refuse, or show every row as it was. `ROUNDS=n` so
/// many.
pub fn check_damage(kind: &TableKind) {
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(30);
    let first = seed(10);
    let _told = Told(first);
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("data");
    let rows = fill(&path, kind);
    let mut files = Vec::new();
    list(&path.join("table"), &mut files);
    files.sort();
    let (mut refused, mut served) = (0, 0);
    for round in 0..rounds {
        let random = &mut Random::new(first + round);
        let file = files[random.below(files.len())].strip_prefix(&path).unwrap();
        copy_aside(&path, |copy| {
            let file = copy.join(file);
            let what = damage(&file, random);
            let mut found = Rows::new();
            let opened = Engine::open(copy, options(), kind, &mut |key, value| {
                found.insert(key.to_vec(), value.to_vec());
            });
            match opened {
                Ok((engine, _)) => {
                    drop(engine);
                    assert!(found == rows, "silent loss: {what} of {}", file.display());
                    eprintln!("{what} of {}: served whole", file.display());
                    served += 1;
                }
                Err(error) => {
                    eprintln!("{what} of {}: {error}", file.display());
                    refused += 1;
                }
            }
            std::fs::remove_dir_all(copy).unwrap();
        });
    }
    eprintln!("{refused} refused, {served} served whole");
    assert!(refused > 0);
}

/// Changes a byte, clears a sector or cuts the end off.
fn damage(file: &Path, random: &mut Random) -> String {
    let mut bytes = std::fs::read(file).unwrap();
    let at = random.below(bytes.len());
    let what = match random.below(4) {
        0 => {
            bytes.truncate(at);
            format!("all from byte {at}")
        }
        1 => {
            let end = (at + 512).min(bytes.len());
            bytes[at..end].fill(0);
            format!("512 bytes from {at}")
        }
        _ => {
            bytes[at] ^= (random.next() as u8).max(1);
            format!("byte {at}")
        }
    };
    std::fs::write(file, bytes).unwrap();
    what
}

/// The files in a folder that are not empty.
fn list(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let found = entry.metadata().unwrap();
        if found.is_dir() {
            list(&entry.path(), files);
        } else if found.len() > 0 {
            files.push(entry.path());
        }
    }
}
