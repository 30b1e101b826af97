//! The row engine: keys and values as bytes, a journal that promises, a table behind it.
//!
//! ```text
//! callers ─ submit ─▶ chunk ─▶ commit thread: one write, one flush ─▶ wakes who waits
//!                       └▶ rows that wait ─▶ checkpoint thread ─▶ table, then old segments go
//! ```
//!
//! What always holds:
//!
//! * A batch is there whole or not at all, after whatever crash, and batches are there in the order
//!   of their numbers: if one is, so are all before it.
//! * [`Progress::Durable`] means, at [`Promise::Sync`], that neither a killed process nor a power
//!   cut loses the batch. It is never taken back.
//! * Reads see what was handed in, durable or not.
//! * What is damaged is refused by name at the next start, and never read as "not there".
//! * The order of locks is: quiet table, schedule, tail; waiters, room and figures come last and
//!   alone. No lock is held while somebody is woken.

mod checkpoint;
mod claims;
mod commit;
mod disk;
mod error;
mod export;
mod frame;
mod inspect;
#[cfg(all(test, feature = "shuttle"))]
mod interleavings;
mod journal;
mod known;
mod meta;
mod options;
mod pending;
mod place;
mod room;
mod rows;
mod schedule;
mod shared;
#[cfg(test)]
mod simulation;
mod spares;
mod start;
mod stats;
mod table;
#[cfg(test)]
pub mod tables;
#[cfg(test)]
mod tests;
mod waiters;

use std::path::Path;
use std::sync::Arc;
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::debug;

use disk::Folder;
use place::{Marker, Place};
use shared::Shared;
use spares::Keeper;
use start::{Parts, Site};

use crate::time::{Clock, SystemClock, Time};

pub use error::StoreError;
pub use export::{Exported, import, rows_in};
pub use inspect::{Findings, Salvaged, check, salvage};
pub use options::{Options, Promise};
pub use place::is_store;
pub use room::NoRoom;
pub use rows::{Blob, RowBatch};
pub use shared::Progress;
pub use start::{Report, Visitor};
pub use stats::{Quantiles, Stats};
pub use table::{Change, Table, TableError, Visit};

/// A store of rows that keeps what it promises. See the module for what always holds.
pub struct Engine {
    shared: Arc<Shared>,
    keeper: Arc<Keeper>,
    threads: Option<Threads>,
    place: Place,
}

/// Makes or opens a table in a folder.
pub struct TableKind {
    /// Its name: a store made with one kind is not opened with another.
    pub name: &'static str,
    /// Opens the table in a folder, which is there; makes an empty one if there is none.
    pub open: Box<OpenTable>,
}

/// Opens a table in a folder.
pub type OpenTable = dyn Fn(&Path) -> Result<Box<dyn Table>, TableError> + Send + Sync;

struct Threads {
    commit: JoinHandle<()>,
    checkpoint: JoinHandle<()>,
    spares: JoinHandle<()>,
}

/// Where a key's value is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// Here, in memory.
    Value(Blob),
    /// Nowhere: it was deleted.
    Deleted,
    /// In the table, if anywhere: to read it may need the disk.
    InTable,
}

impl Engine {
    /// Opens the store in the folder `path`, or makes one if there is none. Every row is shown to
    /// `visit`, in the order of keys; if an error is returned, what was shown is to be forgotten.
    pub fn open(
        path: &Path,
        options: Options,
        kind: &TableKind,
        visit: &mut Visitor<'_>,
    ) -> Result<(Engine, Report), StoreError> {
        let clock = SystemClock::start(Time::START);
        let begun = clock.now();
        let place = Place::take(path)?;
        debug!("store opening");
        let marker = place.marker()?;
        let new = marker.is_none();
        let marker = match marker {
            Some(marker) => marker,
            None => {
                place.begin()?;
                Marker { store: identity(), table: kind.name.to_owned() }
            }
        };
        if marker.table != kind.name {
            let what = format!("this store has a {} table, not {}", marker.table, kind.name);
            return Err(StoreError::Unfit { path: path.to_owned(), what });
        }
        let table_path = place.table();
        let before = clock.now();
        let table = (kind.open)(&table_path)
            .map_err(|source| StoreError::Table { path: table_path.clone(), source })?;
        let table_time = clock.now().since(before);
        let disk = Arc::new(Folder::at(&place.journal()));
        let store = marker.store;
        let site = Site { disk, table, table_path, store, begun, clock };
        if new {
            start::lay_out(&site, &options)?;
            place.finish(&marker)?;
        }
        let mut parts = start::start(site, options, visit)?;
        parts.report.table_time = table_time;
        Engine::run(parts, place)
    }

    /// Whether there is room for so many more bytes of rows: to be asked before anything that
    /// depends on it is changed. What makes room, or is needed to, may be handed in unasked.
    pub fn admit(&self, bytes: usize) -> Result<(), NoRoom> {
        self.shared.room.check(bytes, &self.shared.options)
    }

    /// The same; if there is no room now, `waker` is woken once when there is some again.
    pub fn admit_or_wake(&self, bytes: usize, waker: &Waker) -> Result<(), NoRoom> {
        self.admit(bytes).or_else(|_| self.room(waker))
    }

    /// Whether there is room again, well below the limits; if not, `waker` is woken once when there
    /// is, or when there is another reason why not.
    pub fn room(&self, waker: &Waker) -> Result<(), NoRoom> {
        self.shared.room.is_back(&self.shared.options, waker)
    }

    /// Hands in a batch and gives its number. Never waits, never refuses. The batch is empty
    /// afterwards, and its memory can be used again. An empty batch is nothing and has number 0.
    pub fn submit(&self, batch: &mut RowBatch) -> u64 {
        if batch.is_empty() { 0 } else { self.shared.submit(batch) }
    }

    /// How far the batch with this number has come. While it is pending, `waker` is woken once
    /// when that changes.
    pub fn state(&self, lsn: u64, waker: &Waker) -> Progress {
        self.shared.state(lsn, waker)
    }

    /// Where a key's value is, as far as memory knows. Does not wait.
    pub fn find(&self, key: &[u8]) -> Found {
        find(&self.shared, key)
    }

    /// The value of a key. May read from the disk.
    pub fn get(&self, key: &[u8]) -> Result<Option<Blob>, StoreError> {
        match self.find(key) {
            Found::Value(value) => Ok(Some(value)),
            Found::Deleted => Ok(None),
            Found::InTable => self.shared.on_table(self.shared.table()?.get(key)),
        }
    }

    /// The values of keys, in their order. May read from the disk, once for all of them.
    pub fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Blob>>, StoreError> {
        let found: Vec<Found> = keys.iter().map(|key| self.find(key)).collect();
        let there = keys.iter().zip(&found).filter(|(_, found)| **found == Found::InTable);
        let wanted: Vec<Blob> = there.map(|(key, _)| (*key).into()).collect();
        let mut read = match wanted.is_empty() {
            true => Vec::new(),
            false => self.shared.on_table(self.shared.table()?.get_many(wanted))?,
        }
        .into_iter();
        let value = |found| match found {
            Found::Value(value) => Some(value),
            Found::Deleted => None,
            Found::InTable => read.next().expect("a value for each key"),
        };
        Ok(found.into_iter().map(value).collect())
    }

    /// Visits the rows whose keys begin with `prefix`, in the order of keys, as they are now. No
    /// checkpoint is written meanwhile, so this should not take long. Reads from the disk.
    pub fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        start::scan(&self.shared, prefix, visit)
    }

    /// Writes everything handed in so far to the table, and waits for it.
    pub fn checkpoint_now(&self) -> Result<(), StoreError> {
        self.shared.schedule.ask().map_err(StoreError::Failed)
    }

    /// The longest time from handing in to durable of what became durable since this was last asked,
    /// or of what is still under way; and the bytes handed in and not yet written.
    pub fn strain(&self) -> (Duration, usize) {
        self.shared.strain()
    }

    /// What the store has to say of itself.
    pub fn stats(&self) -> Stats {
        Stats {
            table_bytes: place::bytes_on_disk(&self.place.table()),
            resident_bytes: place::resident_bytes(),
            ..self.shared.stats()
        }
    }

    /// Makes everything durable, writes a last checkpoint, and gives the folder back.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.end();
        self.shared.check()?;
        self.shared.table().map(|_| ())
    }

    fn run(parts: Parts, place: Place) -> Result<(Engine, Report), StoreError> {
        let Parts { shared, committer, checkpointer, keeper, report } = parts;
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            let shared = shared.clone();
            let body = move || {
                let _fails = FailsIfItPanics(shared);
                body();
            };
            let spawned = std::thread::Builder::new().name(format!("store {name}")).spawn(body);
            spawned.map_err(|error| StoreError::Failed(format!("no thread: {error}")))
        };
        let (spares, told) = (keeper.clone(), shared.clone());
        keeper.expect_thread();
        let threads = Threads {
            spares: spawn("spares", Box::new(move || spares.run(&told.room, &told.options)))?,
            commit: spawn("commit", Box::new(move || committer.run()))?,
            checkpoint: spawn("table", Box::new(move || checkpointer.run()))?,
        };
        Ok((Engine { shared, keeper, threads: Some(threads), place }, report))
    }

    fn end(&mut self) {
        let Some(threads) = self.threads.take() else { return };
        // One after the other, because each hands its last work to the next.
        self.shared.schedule.close();
        let checkpoint = threads.checkpoint.join();
        self.shared.close_committer();
        let commit = threads.commit.join();
        self.keeper.stop();
        let spares = threads.spares.join();
        if checkpoint.and(commit).and(spares).is_err() {
            self.shared.fail("a thread of the store panicked");
        }
        if let Ok(table) = self.shared.table() {
            let _ = self.shared.on_table(table.close());
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

fn find(shared: &Shared, key: &[u8]) -> Found {
    let hash = shared.hash(key);
    let tail = shared.tail();
    let frozen = || tail.frozen.as_ref().and_then(|frozen| frozen.get(key, hash));
    match tail.active.get(key, hash).or_else(frozen) {
        Some(entry) => entry.value.clone().map_or(Found::Deleted, Found::Value),
        None if tail.known.may_have(key, hash) => Found::InTable,
        None => Found::Deleted,
    }
}

/// A thread that dies must not leave others waiting.
struct FailsIfItPanics(Arc<Shared>);

impl Drop for FailsIfItPanics {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("a thread of the store panicked");
            self.0.schedule.closed();
        }
    }
}

/// A new store's identity.
fn identity() -> [u8; 16] {
    let mut store = [0; 16];
    getrandom::fill(&mut store).expect("the system has random bytes");
    store
}
