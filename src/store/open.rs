//! The store as the configuration wants it.

use std::path::{Path, PathBuf};

use super::durable::{DurableStore, Loader};
use super::engine::{Engine, Options, Report, RowBatch, StoreError, TableKind};
use super::facts::{self, RowKey, RowKind, Torn};
use crate::config::{StoreConfig as Section, StoreKind};

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
    /// This build lacks the kind.
    #[error("this build has no redb: build it with --features store-redb")]
    NoRedb,
}

/// Opens the store on disk that `section` describes; makes one if there is none. `None`: it wants
/// none.
///
/// # Errors
///
/// What is wrong, by path and place.
pub fn open(section: &Section) -> Result<Option<(DurableStore<Engine>, Report)>, OpenError> {
    let Some(kind) = table_kind(section)? else { return Ok(None) };
    let mut opening = Loader::default();
    let (engine, report) =
        Engine::open(&section.path, options(section), &kind, &mut |key, value| {
            opening.visit(key, value)
        })?;
    let path = section.path.clone();
    let store = opening.finish(engine).map_err(|what| OpenError::Row { path, what })?;
    Ok(Some((store, report)))
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
    let small = section.segment_bytes.0 < 16 << 20;
    Options {
        durability: section.durability,
        commit_delay: section.commit_delay.0,
        segment_bytes: section.segment_bytes.0,
        // What is kept for a full disk is in proportion.
        reserve_bytes: if small { section.segment_bytes.0 } else { 8 << 20 },
        ballast_bytes: if small { section.segment_bytes.0 } else { 32 << 20 },
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
