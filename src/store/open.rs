//! The store as the configuration wants it.

use std::path::{Path, PathBuf};

use super::durable::{DurableStore, Loader};
use super::engine::{Engine, Options, Report, RowBatch, StoreError, TableKind, is_store};
use super::facts::{self, RowKey, RowKind, Torn};
use crate::config::{Size, StoreConfig as Section, StoreKind};

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The engine says why.
    #[error(transparent)]
    Engine(#[from] StoreError),
    /// A row says what it cannot mean.
    #[error(
        "the store in {}: {what}; see `sluice store check` and `sluice store salvage`",
        path.display()
    )]
    Row {
        /// Its folder.
        path: PathBuf,
        /// Which one.
        what: String,
    },
    /// An empty store would say at once that the disk is full.
    #[error(
        "the disk has too little room for a store in {}: {free} MiB are free, {needed} MiB are \
         needed{}",
        path.display(), hint(*smallest, *free)
    )]
    SmallDisk {
        /// Its folder.
        path: PathBuf,
        /// MiB free.
        free: u64,
        /// MiB needed.
        needed: u64,
        /// MiB needed with the shortest segments.
        smallest: u64,
    },
    /// This build lacks the kind.
    #[error("this build has no redb: build it with --features store-redb")]
    NoRedb,
}

fn hint(smallest: u64, free: u64) -> String {
    if free < smallest {
        return String::new();
    }
    format!("; with store.segment_bytes = \"1MiB\" {smallest} MiB are enough")
}

/// Opens the store on disk that `section` describes; makes one if there is none. `None`: it wants
/// none.
///
/// # Errors
///
/// What is wrong, by path and place.
pub fn open(section: &Section) -> Result<Option<(DurableStore<Engine>, Report)>, OpenError> {
    let Some(kind) = table_kind(section)? else { return Ok(None) };
    if !is_store(&section.path) {
        has_room(section, free(&section.path))?;
    }
    let mut opening = Loader::default();
    let (engine, report) =
        Engine::open(&section.path, options(section), &kind, &mut |key, value| {
            opening.visit(key, value)
        })?;
    let path = section.path.clone();
    let store = opening.finish(engine).map_err(|what| OpenError::Row { path, what })?;
    Ok(Some((store, report)))
}

/// Whether a disk with so many bytes free has room for an empty store.
fn has_room(section: &Section, free: Option<u64>) -> Result<(), OpenError> {
    let (free, needed) = (free.unwrap_or(u64::MAX), options(section).needed());
    if free >= needed {
        return Ok(());
    }
    let smallest = Section { segment_bytes: Size::kib(1024), ..section.clone() };
    let [free, needed, smallest] =
        [free, needed, options(&smallest).needed()].map(|bytes| bytes >> 20);
    Err(OpenError::SmallDisk { path: section.path.clone(), free, needed, smallest })
}

/// Bytes free on the disk where `path` is, or will be; `None`: the system does not say.
fn free(path: &Path) -> Option<u64> {
    let nearest = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let found = rustix::fs::statvfs(nearest).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// The table that `section` names; none for the store that forgets.
///
/// # Errors
///
/// This build lacks it.
pub fn table_kind(section: &Section) -> Result<Option<TableKind>, OpenError> {
    let cache = section.cache_bytes.len();
    match section.kind {
        StoreKind::Memory => Ok(None),
        StoreKind::Sled => Ok(Some(super::sled_kind(cache))),
        #[cfg(feature = "store-redb")]
        StoreKind::Redb => Ok(Some(super::redb_kind(cache))),
        #[cfg(not(feature = "store-redb"))]
        StoreKind::Redb => Err(OpenError::NoRedb),
    }
}

/// The engine's options that `section` describes.
pub fn options(section: &Section) -> Options {
    Options {
        durability: section.durability,
        commit_delay: section.commit_delay.0,
        segment_bytes: section.segment_bytes.0,
        // What is kept for a full disk is in proportion.
        reserve_bytes: section.segment_bytes.0.min(8 << 20),
        ballast_bytes: section.segment_bytes.0.min(32 << 20),
        checkpoint_interval: section.checkpoint_interval.0,
        checkpoint_journal_bytes: section.journal_bytes_max.0 / 4,
        checkpoint_pending_bytes: section.pending_bytes_max.len() / 8,
        queued_bytes_max: section.unwritten_bytes_max.len(),
        queued_bytes_low: section.unwritten_bytes_low.len(),
        pending_bytes_max: section.pending_bytes_max.len(),
        pending_bytes_low: section.pending_bytes_low.len(),
        journal_bytes_max: section.journal_bytes_max.0,
        growing: DurableStore::<Engine>::GROWING.to_vec(),
        schema: DurableStore::<Engine>::SCHEMA,
        ..Options::default()
    }
}

/// Deletes what is in flight and has lost its message, in a store made of what could be salvaged.
/// Returns how many there were.
///
/// # Errors
///
/// What is wrong with the store.
pub fn mend(path: &Path, options: Options, kind: &TableKind) -> Result<usize, StoreError> {
    let mut flights = Vec::new();
    let (engine, _) = Engine::open(path, options, kind, &mut |key, value| {
        if let Ok(RowKind::Flight) = RowKind::of(key) {
            flights.push((key.to_vec(), facts::message_of_flight(value)));
        }
    })?;
    let mut lost = RowBatch::new();
    for (key, mid) in flights {
        let there = match mid {
            Ok(Some(mid)) => engine.get(RowKey::message(mid).as_bytes())?.is_some(),
            Ok(None) => true,
            Err(Torn) => false,
        };
        if !there {
            lost.delete(&key);
        }
    }
    let count = lost.len();
    engine.submit(&mut lost);
    engine.close()?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_for_an_empty_store_is_refused_with_what_it_needs() {
        let said = |section: &Section, free: u64| match has_room(section, Some(free << 20)) {
            Ok(()) => "room".to_owned(),
            Err(error) => error.to_string(),
        };
        let section = Section { path: "data".into(), ..Section::default() };
        assert_eq!(said(&section, 88), "room");
        assert_eq!(
            said(&section, 87),
            "the disk has too little room for a store in data: 87 MiB are free, 88 MiB are needed; \
             with store.segment_bytes = \"1MiB\" 15 MiB are enough"
        );
        assert_eq!(
            said(&section, 14),
            "the disk has too little room for a store in data: 14 MiB are free, 88 MiB are needed"
        );
        let small = Section { segment_bytes: Size::kib(1024), ..section };
        assert_eq!(said(&small, 15), "room");
        assert_eq!(has_room(&small, None).map_err(|error| error.to_string()), Ok(()));
    }
}
