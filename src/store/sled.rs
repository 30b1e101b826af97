//! The table in sled: the only file that names it.
//!
//! The version is pinned, a pre-release, and handled with care:
//!
//! * A power cut soon after it was made could leave it without its settings file, which it never
//!   flushes: that file and the folders are flushed here.
//! * After any error its next flush may never return, and a read of a damaged leaf may not either. So
//!   nothing is called again after an error, everything runs on threads that can be left behind, and
//!   a table that failed is never dropped, for that flushes too.
//! * Dropping an iterator flushes as well: so those live on that one thread.
//! * If a process dies while it opens, the next one may find a snapshot of its metadata and no log
//!   after it: then it removes the snapshot it has just written, and the start after that finds
//!   only what changed since. So it never opens without such a log: an empty one will do.
//! * A batch leaves behind each leaf that it empties: a queue through which messages pass would leave
//!   one for every few dozens, for good, and each start would read them all. A removal by itself
//!   merges an empty leaf away, which may deadlock with another writer; here all is written by that
//!   one thread. So what is deleted is removed row by row, before the rest: a checkpoint need not be
//!   there whole, its last batch only must not be there before the others.
//! * Its own flusher thread, which ends the process when a flush fails, is off.
//! * A leaf that was once written to stays in memory, whatever the size of the cache. So when more
//!   was written than is worth it, or some and then nothing for a while, the table is closed and opened
//!   anew, between two checkpoints.

use std::fs::{self, File};
use std::io;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sled::{Batch, Config, Db, InlineArray};

use super::engine::{Blob, RowChange, Table, TableError, TableKind, Visit};
use super::watched::{Handover, Watched};

use crate::memory::give_back;
use crate::sync::whole;

/// A table in sled.
pub struct SledTable {
    /// For the thread that can be left behind, and for no other. None: closed.
    writer: Handle,
    /// The other thread's own handle. A reader holds the outer lock while it waits for a limited time.
    reader: Mutex<Handle>,
    thread: Watched,
    reads: Watched,
    failed: AtomicU8,
    folder: PathBuf,
    cache_bytes: usize,
    /// Bytes of rows written or scanned since it was opened: about what they take in memory.
    written: AtomicUsize,
}

/// Tables in sled, each with so much memory for a cache.
pub fn sled_kind(cache_bytes: usize) -> TableKind {
    TableKind {
        name: "sled",
        open: Box::new(move |path| Ok(Box::new(SledTable::open(path, cache_bytes)?))),
    }
}

impl SledTable {
    /// Opens the table in a folder, or makes an empty one there.
    pub fn open(path: &Path, cache_bytes: usize) -> Result<SledTable, TableError> {
        SledTable::open_within(path, cache_bytes, LIMIT)
    }

    fn open_within(
        path: &Path,
        cache_bytes: usize,
        limit: Duration,
    ) -> Result<SledTable, TableError> {
        let thread = Watched::start("store sled", limit).map_err(said)?;
        let folder = path.to_owned();
        let opened = thread.call(move || open(&folder, cache_bytes));
        let db = opened
            .and_then(|opened| opened.map_err(|error| in_words(&error)))
            .map_err(|error| TableError::new(format!("it cannot be opened: {error}")))?;
        let reader = Mutex::new(Arc::new(Mutex::new(Some(db.clone()))));
        let reads = Watched::start("store reads", limit).map_err(said)?;
        let writer = Arc::new(Mutex::new(Some(db)));
        Ok(SledTable {
            writer,
            reader,
            thread,
            reads,
            failed: AtomicU8::new(WELL),
            folder: path.to_owned(),
            cache_bytes,
            written: AtomicUsize::new(0),
        })
    }

    /// Closes it and opens it anew: what was written is no longer in memory. Readers wait meanwhile.
    fn reopen(&self) -> Result<(), TableError> {
        let reader = whole(self.reader.lock());
        self.check()?;
        let (mine, writer) = (hold(&reader).take(), self.writer.clone());
        let (folder, cache_bytes) = (self.folder.clone(), self.cache_bytes);
        let reopened = self.thread.call(move || -> io::Result<Db<FANOUT>> {
            let mut writer = writer.lock().expect(PANIC_FREE);
            // Dropping the last of them flushes, and there is nothing to flush.
            drop((mine, writer.take()));
            let db = open(&folder, cache_bytes)?;
            *writer = Some(db.clone());
            Ok(db)
        });
        let reopened = reopened.and_then(|reopened| reopened.map_err(|error| in_words(&error)));
        *hold(&reader) = Some(self.note(CANNOT_WRITE, reopened)?);
        self.written.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn check(&self) -> Result<(), TableError> {
        if self.failed.load(Ordering::Acquire) != WELL {
            return Err(TableError::new("it has failed, and is not called again".to_owned()));
        }
        Ok(())
    }

    /// Notes a failure.
    fn note<T>(&self, how: u8, result: Result<T, String>) -> Result<T, TableError> {
        result.map_err(|error| {
            self.failed.fetch_max(how, Ordering::AcqRel);
            TableError::new(error)
        })
    }

    /// Runs something on the thread that can be left behind.
    fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Db<FANOUT>) -> io::Result<T> + Send + 'static,
    ) -> Result<T, TableError> {
        self.check()?;
        let writer = self.writer.clone();
        let returned = self.thread.call(move || with(&writer, job));
        self.note(CANNOT_WRITE, returned.and_then(|returned| returned))
    }
}

impl Table for SledTable {
    fn get(&self, key: &[u8]) -> Result<Option<Blob>, TableError> {
        let mut values = self.get_many(vec![key.into()])?;
        Ok(values.pop().flatten())
    }

    fn get_many(&self, keys: Vec<Blob>) -> Result<Vec<Option<Blob>>, TableError> {
        let reader = whole(self.reader.lock());
        self.check()?;
        let db = reader.clone();
        let got = self.reads.call(move || {
            let value =
                |db: &Db<FANOUT>, key: &[u8]| Ok(db.get(key)?.map(|value| value[..].into()));
            with(&db, |db| keys.iter().map(|key| value(db, key)).collect())
        });
        self.note(CANNOT_READ, got.and_then(|got| got))
    }

    fn apply(&self, changes: Vec<RowChange>) -> Result<(), TableError> {
        let len =
            |(key, value): &RowChange| key.len() + value.as_ref().map_or(0, |value| value.len());
        self.written.fetch_add(changes.iter().map(len).sum(), Ordering::Relaxed);
        self.call(move |db| {
            let mut batch = Batch::default();
            for (key, value) in &changes {
                match value {
                    Some(value) => batch.insert(&**key, &**value),
                    None => drop(db.remove(&**key)?),
                }
            }
            db.apply_batch(batch)
        })
    }

    fn flush(&self) -> Result<(), TableError> {
        self.call(|db| db.flush().map(drop))?;
        if self.written.load(Ordering::Relaxed) > self.cache_bytes.saturating_mul(WRITTEN_MAX) {
            self.reopen()?;
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], visit: &mut Visit<'_>) -> Result<(), TableError> {
        self.check()?;
        let (writer, from) = (self.writer.clone(), from.to_vec());
        let scanned = self.thread.stream(
            move |pages| with(&writer, |db| read_pages(db, &from, pages)),
            |page: Page| {
                // The leaves that are read for it stay in memory too.
                let len: usize = page.iter().map(|(key, value)| key.len() + value.len()).sum();
                self.written.fetch_add(len, Ordering::Relaxed);
                page.iter().all(|(key, value)| visit(key, value).is_continue())
            },
        );
        self.note(CANNOT_READ, scanned)
    }

    fn rest(&self) -> Result<(), TableError> {
        if self.written.load(Ordering::Relaxed) > REST_BYTES {
            self.reopen()?;
            give_back();
        }
        Ok(())
    }

    fn close(&self) -> Result<(), TableError> {
        let reader = whole(self.reader.lock());
        let stuck = self.thread.is_stuck() || self.reads.is_stuck();
        if stuck || self.failed.load(Ordering::Acquire) == CANNOT_WRITE {
            let left = (reader.clone(), self.writer.clone());
            let _left = ManuallyDrop::new(left);
            return Ok(());
        }
        let reader = hold(&reader).take();
        // Dropping it flushes.
        let writer = self.writer.clone();
        let dropped = self.thread.call(move || {
            drop(reader);
            drop(writer.lock().expect(PANIC_FREE).take());
        });
        self.note(CANNOT_WRITE, dropped)
    }
}

impl Drop for SledTable {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// A handle of one thread; none when it is closed.
type Handle = Arc<Mutex<Option<Db<FANOUT>>>>;

/// A handle that no thread is at. One that panicked there has told so.
fn hold(handle: &Handle) -> MutexGuard<'_, Option<Db<FANOUT>>> {
    handle.lock().unwrap_or_else(PoisonError::into_inner)
}

type Page = Vec<(InlineArray, InlineArray)>;

/// Does something with the database, if it is not closed; an error in words.
fn with<T>(
    writer: &Mutex<Option<Db<FANOUT>>>,
    act: impl FnOnce(&Db<FANOUT>) -> io::Result<T>,
) -> Result<T, String> {
    let writer = writer.lock().map_err(|_| "it panicked before".to_owned())?;
    let db = writer.as_ref().ok_or_else(|| closed().to_string())?;
    act(db).map_err(|error| in_words(&error))
}

/// Opens the table in a folder, or makes an empty one there, and sees to it that it is certain to be
/// there.
fn open(folder: &Path, cache_bytes: usize) -> io::Result<Db<FANOUT>> {
    let config = Config::new()
        .path(folder)
        .flush_every_ms(None)
        .zstd_compression_level(1)
        .cache_capacity_bytes(cache_bytes);
    add_log(&folder.join("metadata"))?;
    let mut tries = 0;
    let db = loop {
        match config.open::<FANOUT>() {
            // A process that is just being started may still have the lock's file.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < TRIES => {
                tries += 1;
                std::thread::sleep(AGAIN);
            }
            opened => break opened?,
        }
    };
    match make_certain(folder) {
        Ok(()) => Ok(db),
        Err(error) => {
            // Not dropped: that would flush a table that may not be one.
            let _left = ManuallyDrop::new(db);
            Err(error)
        }
    }
}

fn read_pages(db: &Db<FANOUT>, from: &[u8], pages: &Handover<Page>) -> io::Result<()> {
    let mut page = Page::new();
    let mut bytes = 0;
    let mut last = None;
    for row in db.range(from..) {
        let (key, value) = row.map_err(|error| {
            let place = last.as_ref().map_or("the first row".to_owned(), |last: &InlineArray| {
                format!("what follows row {}", hexadecimal(last))
            });
            io::Error::other(format!("{place} cannot be read: {}", in_words(&error)))
        })?;
        last = Some(key.clone());
        bytes += key.len() + value.len();
        page.push((key, value));
        if page.len() == PAGE_ROWS || bytes > PAGE_BYTES {
            bytes = 0;
            if pages.put(std::mem::take(&mut page)).is_err() {
                return Ok(());
            }
        }
    }
    let _ = pages.put(page);
    Ok(())
}

/// Adds the log that a snapshot of the metadata needs after it, if there is none.
fn add_log(metadata: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(metadata) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let (mut snapshot, mut log) = (None, None);
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let number = |begin: &str| u64::from_str_radix(name.strip_prefix(begin)?, 16).ok();
        snapshot = snapshot.max(number("snapshot_"));
        log = log.max(number("log_"));
    }
    if let Some(snapshot) = snapshot
        && log <= Some(snapshot)
    {
        File::create(metadata.join(format!("log_{:016x}", snapshot + 1)))?.sync_all()?;
        File::open(metadata)?.sync_all()?;
    }
    Ok(())
}

/// Flushes what sled makes and does not flush.
fn make_certain(path: &Path) -> io::Result<()> {
    File::open(path.join("durability_cookie"))?.sync_all()?;
    for folder in [path.join("slabs"), path.join("metadata"), path.to_owned()] {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                File::open(entry.path())?.sync_all()?;
            }
        }
        File::open(&folder)?.sync_all()?;
    }
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn closed() -> TableError {
    TableError::new("it is closed".to_owned())
}

/// What it said, without the places in its source that it puts before.
fn in_words(error: &io::Error) -> String {
    let said = error.to_string();
    let said = said.rsplit(" -> ").next().unwrap_or_default().trim_end_matches('.');
    said.to_owned()
}

/// The beginning of a key, which says which row it is.
fn hexadecimal(key: &[u8]) -> String {
    key.iter().take(24).map(|byte| format!("{byte:02x}")).collect()
}

fn said(error: io::Error) -> TableError {
    TableError::new(in_words(&error))
}

/// Rows of one leaf. Fixed when a table is made: it cannot be changed for one that is there.
const FANOUT: usize = 64;

// How it has failed: after a read that failed it can still be dropped.
const WELL: u8 = 0;
const CANNOT_READ: u8 = 1;
const CANNOT_WRITE: u8 = 2;

/// How long a call may take: longer, and it is believed never to return.
const LIMIT: Duration = Duration::from_secs(60);

/// So many times the size of the cache are written before what was written is put out of memory.
const WRITTEN_MAX: usize = 2;
/// What was written and may stay in memory while nothing is written.
const REST_BYTES: usize = 4 << 20;

/// How often its lock is asked for, and how long after each time.
const TRIES: usize = 10;
const AGAIN: Duration = Duration::from_millis(50);

const PAGE_ROWS: usize = 512;
const PAGE_BYTES: usize = 1 << 20;
const PANIC_FREE: &str = "no code panics while it holds the table";

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::store::engine::tables;

    fn kind() -> TableKind {
        sled_kind(8 << 20)
    }

    #[test]
    fn it_is_a_table() {
        tables::check(&kind());
    }

    #[test]
    fn damage_is_refused_by_name_or_changes_nothing() {
        let kind = TableKind {
            name: "sled",
            open: Box::new(|path| {
                let soon = Duration::from_secs(5);
                Ok(Box::new(SledTable::open_within(path, 8 << 20, soon)?))
            }),
        };
        tables::check_damage(&kind);
    }

    #[test]
    fn a_start_that_died_before_its_log_loses_nothing_at_the_next_one() {
        let root = tempfile::tempdir().unwrap();
        let row: RowChange = (b"\x01key"[..].into(), Some(b"value"[..].into()));
        let table = SledTable::open(root.path(), 1 << 20).unwrap();
        table.apply(vec![row]).unwrap();
        table.flush().unwrap();
        table.close().unwrap();
        for start in 0..4 {
            let table = SledTable::open(root.path(), 1 << 20).unwrap();
            let found = table.get(b"\x01key").unwrap();
            assert_eq!(found.as_deref(), Some(&b"value"[..]), "start {start}");
            table.close().unwrap();
            // As if it had died before it made a new log: the snapshot holds all by then.
            for entry in fs::read_dir(root.path().join("metadata")).unwrap() {
                let path = entry.unwrap().path();
                if path.to_string_lossy().contains("/log_") {
                    assert_eq!(fs::metadata(&path).unwrap().len(), 0, "{}", path.display());
                    fs::remove_file(path).unwrap();
                }
            }
        }
    }

    #[test]
    fn what_was_written_leaves_memory_and_is_still_there() {
        let root = tempfile::tempdir().unwrap();
        let table = SledTable::open(root.path(), 64 << 10).unwrap();
        let key = |number: u64| Blob::from(&[&[4][..], &number.to_be_bytes()].concat()[..]);
        let value = |number: u64| Blob::from(&vec![number as u8; 500][..]);
        let mut reopened = 0;
        for batch in 0..20 {
            let rows = batch * 100..(batch + 1) * 100;
            let mut changes: Vec<RowChange> = rows.map(|n| (key(n), Some(value(n)))).collect();
            if batch > 0 {
                changes.insert(0, (key(batch), None));
            }
            table.apply(changes).unwrap();
            let before = table.written.load(Ordering::Relaxed);
            table.flush().unwrap();
            reopened += u32::from(before > 0 && table.written.load(Ordering::Relaxed) == 0);
            assert_eq!(table.get(&key(batch * 100 + 50)).unwrap(), Some(value(batch * 100 + 50)));
        }
        assert_eq!(reopened, 6);
        table.rest().unwrap();
        assert_ne!(table.written.load(Ordering::Relaxed), 0, "so little may stay");
        table.written.store(REST_BYTES + 1, Ordering::Relaxed);
        table.rest().unwrap();
        assert_eq!(table.written.load(Ordering::Relaxed), 0);
        let mut seen = 0;
        let scanned = table.scan(&[], &mut |row, _| {
            assert_eq!(*row, *key(if seen == 0 { 0 } else { seen + 19 }));
            seen += 1;
            std::ops::ControlFlow::Continue(())
        });
        scanned.unwrap();
        assert_eq!(seen, 2000 - 19);
        table.close().unwrap();
    }

    #[test]
    fn a_queue_through_which_messages_pass_stays_as_small_as_what_is_in_it() {
        let root = tempfile::tempdir().unwrap();
        let table = SledTable::open(root.path(), 1 << 20).unwrap();
        let key = |number: u64| -> Blob { number.to_be_bytes()[..].into() };
        let (block, inside) = (1_000, 1_500);
        for end in (1..30).map(|number| number * block) {
            let put = (end - block..end).map(|number| (key(number), Some(key(number))));
            let gone = (end.saturating_sub(inside + block)..end.saturating_sub(inside))
                .map(|number| (key(number), None));
            table.apply(gone.chain(put).collect()).unwrap();
            table.flush().unwrap();
        }
        let mut rows = 0;
        let count = |_: &[u8], _: &[u8]| {
            rows += 1;
            ControlFlow::Continue(())
        };
        table.scan(&[], &mut { count }).unwrap();
        assert_eq!(rows, inside);
        let leaves = table.call(|db| Ok(db.stats().cache.heap.allocator)).unwrap();
        let leaves = leaves.objects_allocated - leaves.objects_freed;
        assert!(leaves < inside / 8, "{leaves} leaves for {rows} rows");
        table.close().unwrap();
    }

    #[test]
    fn a_read_that_never_returns_is_left_behind_and_fails_the_table_in_words() {
        let root = tempfile::tempdir().unwrap();
        let soon = Duration::from_millis(50);
        let mut table = SledTable::open_within(root.path(), 1 << 20, LIMIT).unwrap();
        table.reads = Watched::start("reads", soon).unwrap();
        assert_eq!(table.get(b"\x01key").unwrap(), None);
        // As if sled went round and round in there.
        let handle = table.reader.lock().unwrap().clone();
        let spinning = handle.lock().unwrap();
        let said = table.get(b"\x01key").unwrap_err().to_string();
        assert!(said.contains("has not answered"), "{said}");
        for said in [table.get(b"\x01key").map(drop), table.apply(Vec::new()), table.flush()] {
            assert!(said.unwrap_err().to_string().contains("not called again"));
        }
        table.close().unwrap();
        drop(spinning);
    }

    #[test]
    fn a_second_process_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let held = SledTable::open(root.path(), 1 << 20).unwrap();
        assert!(SledTable::open(root.path(), 1 << 20).is_err());
        held.close().unwrap();
        SledTable::open(root.path(), 1 << 20).unwrap();
    }
}
