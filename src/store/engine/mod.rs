//! The row engine: keys and values as bytes, a journal that promises, a table behind it.
//!
//! ```text
//! callers ─ submit ─▶ chunk ─▶ commit thread: one write, one flush ─▶ wakes the callers
//!                       └▶ rows that wait ─▶ checkpoint thread ─▶ table, then old segments go
//! ```
//!
//! What always holds:
//!
//! * A batch is there whole or not at all, after whatever crash, and batches are there in the order
//!   of their numbers: if one is, so are all before it.
//! * [`Progress::Durable`] means, at [`Durability::Sync`](crate::config::Durability::Sync), that neither a killed process nor a power
//!   cut loses the batch. It is never taken back.
//! * Reads see what was handed in, durable or not.
//! * What is damaged is refused by name at the next start, and never read as "not there".
//! * The order of locks is: quiet table, schedule, tail; waiters, room and figures come last and
//!   alone. No lock is held while a waker is woken.

mod advice;
mod budget;
mod capacity;
mod checkpoint;
mod commit;
mod disk;
mod error;
mod export;
mod folder;
mod frame;
mod inspect;
#[cfg(all(test, feature = "shuttle"))]
mod interleavings;
mod journal;
mod known;
mod meta;
mod options;
mod pending;
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
mod tail;
#[cfg(test)]
mod tests;
mod waiters;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::task::Waker;
use std::thread::JoinHandle;

use tracing::debug;

use disk::Folder;
use folder::{StoreFolder, StoreMarker};
use shared::EngineShared;
use spares::Keeper;
use start::{EngineParts, Site};

use crate::broker::ports::{Progress, Refused, StoreTimes, Strain};
use crate::time::{Clock, SystemClock, Time};

pub use error::StoreError;
pub use export::{Exported, import, rows_in};
pub use folder::{is_in_use, is_store};
pub use inspect::{Salvaged, StoreFindings, check, salvage};
pub use options::Options;
pub use rows::{Blob, RowBatch};
pub use start::{Report, Visitor};
pub use stats::{Quantiles, Stats};
pub use table::{OpenTable, RowChange, Table, TableError, TableKind, Visit};
pub use tail::Lookup;

/// A store of rows that keeps what it promises. See the module for what always holds.
pub struct Engine {
    shared: Arc<EngineShared>,
    keeper: Arc<Keeper>,
    threads: Option<Threads>,
    place: StoreFolder,
}

struct Threads {
    commit: JoinHandle<()>,
    checkpoint: JoinHandle<()>,
    spares: JoinHandle<()>,
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
        let place = StoreFolder::take(path)?;
        debug!("store opening");
        let marker = place.marker()?;
        let new = marker.is_none();
        let marker = match marker {
            Some(marker) => marker,
            None => {
                place.begin()?;
                StoreMarker::new(kind.name)
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
    pub fn admit(&self, bytes: usize) -> Result<(), Refused> {
        self.shared.room.check(bytes, &self.shared.options)
    }

    /// The same; if there is no room now, `waker` is woken once when there is some again.
    pub fn admit_or_wake(&self, bytes: usize, waker: &Waker) -> Result<(), Refused> {
        self.admit(bytes).or_else(|_| self.room(waker))
    }

    /// Whether there is room again, well below the limits; if not, `waker` is woken once when there
    /// is, or when there is another reason why not.
    pub fn room(&self, waker: &Waker) -> Result<(), Refused> {
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
    pub fn find(&self, key: &[u8]) -> Lookup {
        self.shared.find(key)
    }

    /// The value of a key. May read from the disk.
    pub fn get(&self, key: &[u8]) -> Result<Option<Blob>, StoreError> {
        match self.find(key) {
            Lookup::Value(value) => Ok(Some(value)),
            Lookup::Deleted => Ok(None),
            Lookup::InTable => self.shared.on_table(self.shared.table()?.get(key)),
        }
    }

    /// The values of keys, in their order. May read from the disk, once for all of them.
    pub fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Blob>>, StoreError> {
        let found: Vec<Lookup> = keys.iter().map(|key| self.find(key)).collect();
        let there = keys.iter().zip(&found).filter(|(_, found)| **found == Lookup::InTable);
        let wanted: Vec<Blob> = there.map(|(key, _)| (*key).into()).collect();
        let mut read = match wanted.is_empty() {
            true => Vec::new(),
            false => self.shared.on_table(self.shared.table()?.get_many(wanted))?,
        }
        .into_iter();
        let value = |found| match found {
            Lookup::Value(value) => Some(value),
            Lookup::Deleted => None,
            Lookup::InTable => read.next().expect("a value for each key"),
        };
        Ok(found.into_iter().map(value).collect())
    }

    /// Visits the rows with keys that begin with `prefix`, in the order of keys, as they are now. No
    /// checkpoint is written meanwhile, so this should not take long. Reads from the disk.
    pub fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        start::scan(&self.shared, prefix, visit)
    }

    /// Writes everything handed in so far to the table, and waits for it.
    pub fn checkpoint_now(&self) -> Result<(), StoreError> {
        self.shared.schedule.ask().map_err(StoreError::Failed)
    }

    /// Writes every row to `out`, as of a checkpoint that is written first. The store goes on
    /// meanwhile, but writes no other checkpoint: what changes stays in memory and in the journal
    /// for so long.
    pub fn export(&self, out: &mut dyn Write) -> Result<Exported, StoreError> {
        self.checkpoint_now()?;
        export::export(&self.shared, out)
    }

    /// The longest time from handing in to durable of what became durable since this was last asked,
    /// or of what is still under way; and the bytes handed in and not yet written.
    pub fn strain(&self) -> Strain {
        self.shared.strain()
    }

    /// How long commits and flushes took.
    pub fn times(&self) -> StoreTimes {
        self.shared.times()
    }

    /// Figures of the store.
    pub fn stats(&self) -> Stats {
        Stats {
            table_bytes: folder::bytes_on_disk(&self.place.table()),
            resident_bytes: folder::resident_bytes(),
            ..self.shared.stats()
        }
    }

    /// The name of a thread of it that has panicked, if one has.
    pub fn dead_thread(&self) -> Option<String> {
        self.shared.dead().map(str::to_owned)
    }

    /// Makes everything durable, writes a last checkpoint, and gives the folder back.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.end();
        self.shared.check()?;
        self.shared.table().map(|_| ())
    }

    fn run(parts: EngineParts, place: StoreFolder) -> Result<(Engine, Report), StoreError> {
        let EngineParts { shared, committer, checkpointer, keeper, report } = parts;
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            let (shared, thread) = (shared.clone(), format!("store {name}"));
            let body = move || {
                let _fails = FailsIfItPanics(shared, thread);
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

/// A thread that dies must not leave others waiting.
struct FailsIfItPanics(Arc<EngineShared>, String);

impl Drop for FailsIfItPanics {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.note_dead(&self.1);
            self.0.fail("a thread of the store panicked");
            self.0.schedule.closed();
        }
    }
}
