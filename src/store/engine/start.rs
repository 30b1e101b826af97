//! A start: the journal is read above what the table holds, then the table once, from its first
//! row to its last; the caller sees every row, and what it adds up to is compared.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::checkpoint::Checkpointer;
use super::commit::Committer;
use super::disk::Disk;
use super::error::StoreError;
use super::frame::FrameKind;
use super::journal::Journal;
use super::journal::recovery::{self, JournalEnd};
use super::journal::segment::{Segment, Workshop};
use super::known::Known;
use super::meta::{self, Meta, RowTally};
use super::options::Options;
use super::pending::PendingRows;
use super::rows::{Blob, visit_rows};
use super::shared::EngineShared;
use super::spares::{Keeper, Supply};
use super::table::{Table, TableError, Visit};
use super::tail::Tail;
use crate::sync::atomic::Ordering;
use crate::sync::whole;
use crate::time::{Clock, SystemClock, Time};

/// What a start found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Rows there are.
    pub rows: u64,
    /// Version of what is in them, as it was stored.
    pub schema: u32,
    /// Frames of the journal that were not in the table.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that a crash left unfinished behind them: never promised, and given up.
    pub torn: u64,
    /// The last checkpoint had not finished: the table was repaired from the journal.
    pub repaired: bool,
    /// Time it took to open the table.
    pub table_time: Duration,
    /// Time it took in all.
    pub time: Duration,
}

/// The parts of a store, before its threads run.
pub struct EngineParts {
    pub shared: Arc<EngineShared>,
    pub committer: Committer,
    pub checkpointer: Checkpointer,
    pub keeper: Arc<Keeper>,
    pub report: Report,
}

/// The files of a store, and its identity.
pub struct Site {
    /// The journal's folder.
    pub disk: Arc<dyn Disk>,
    /// The table.
    pub table: Box<dyn Table>,
    /// Where the table is, for messages.
    pub table_path: std::path::PathBuf,
    /// The store's identity.
    pub store: [u8; 16],
    /// When the start began.
    pub begun: Time,
    /// The clock that said so.
    pub clock: SystemClock,
}

/// Visits a row at a start.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) + 'a;

/// Lays out an empty store: its first segment, and the row in the table that says that it is
/// empty.
pub fn lay_out(site: &Site, options: &Options) -> Result<(), StoreError> {
    let workshop = Workshop::new(site.disk.clone(), site.store);
    workshop
        .make(1, options.segment_for(0))
        .map_err(StoreError::io("make a segment in", &site.disk.path("")))?;
    let meta = Meta { store: site.store, schema: options.schema, ..Meta::default() };
    let first = vec![(meta::KEY.into(), Some(meta.encode()[..].into()))];
    let written = site.table.apply(first).and_then(|()| site.table.flush());
    written.map_err(|source| StoreError::Table { path: site.table_path.clone(), source })
}

/// Puts a store together from what is there. Every row is visited once, in the order of keys; if
/// an error is returned, what was visited is to be forgotten.
pub fn start(
    site: Site,
    options: Options,
    visit: &mut Visitor<'_>,
) -> Result<EngineParts, StoreError> {
    let Site { disk, table, table_path, store, begun, clock } = site;
    let meta = read_meta(&*table, &table_path, store, &options)?;
    let hasher = super::shared::Hasher::default();
    let journal = replay(&*disk, store, &meta, &hasher)?;
    let Replayed { found, mut pending, repaired } = journal;
    debug!(frames = found.frames, bytes = found.bytes, repaired, "journal read");
    let mut known = Known::new(&options.growing);
    let look = Look { table: &*table, path: &table_path, hasher: &hasher };
    let seen = look.at_rows(&mut pending, &mut known, visit)?;
    debug!(rows = seen.rows, "table read");
    if !repaired && let Some(what) = seen.tally.difference(&meta.tally) {
        return Err(StoreError::damaged(&table_path, 0, what));
    }
    let workshop = Workshop::new(disk.clone(), store);
    let active = found.go_on(&workshop, options.segment_for(found.bytes))?;
    let report = Report {
        rows: seen.rows,
        schema: meta.schema,
        frames: found.frames,
        bytes: found.bytes,
        torn: found.torn,
        repaired,
        ..Report::default()
    };
    let tail = Tail::new(found.last, meta.checkpoint, pending, known);
    let shared = Arc::new(EngineShared::new(options, tail, table, hasher, clock));
    shared.recount.store(repaired, Ordering::Relaxed);
    let meta = Meta { tally: seen.tally, ..meta };
    let mut parts = put_together(shared, disk, workshop, active, found, meta, report);
    parts.report.time = parts.shared.clock.now().since(begun);
    let (time, rows) = (parts.report.time, parts.report.rows);
    parts.shared.figures().start(time, rows);
    Ok(parts)
}

fn put_together(
    shared: Arc<EngineShared>,
    disk: Arc<dyn Disk>,
    workshop: Workshop,
    active: Segment,
    found: JournalEnd,
    meta: Meta,
    report: Report,
) -> EngineParts {
    let old = found.leftovers().collect();
    let keeper = Keeper::new(workshop.clone(), &shared.options, active.sequence + 1, old);
    let keeper = Arc::new(keeper);
    let budget = workshop.budget().clone();
    let journal = Journal::new(workshop, active, found.last, found.sealed);
    shared.room.set_journal(journal.bytes());
    let supply = Supply { keeper: keeper.clone(), room: shared.room.clone() };
    let committer = Committer::new(shared.clone(), journal, supply);
    let checkpointer = Checkpointer::new(shared.clone(), disk, budget, meta);
    EngineParts { shared, committer, checkpointer, keeper, report }
}

/// How far the table goes and what it should hold.
pub fn read_meta(
    table: &dyn Table,
    path: &std::path::Path,
    store: [u8; 16],
    options: &Options,
) -> Result<Meta, StoreError> {
    let failed = |source| StoreError::Table { path: path.to_owned(), source };
    let Some(bytes) = own_row(table).map_err(failed)? else {
        return Err(StoreError::damaged(path, 0, "its own row of figures is missing"));
    };
    let meta = Meta::decode(&bytes).map_err(|what| StoreError::damaged(path, 0, what))?;
    if meta.store != store {
        return Err(StoreError::damaged(path, 0, "this table belongs to another store"));
    }
    if let Some(what) = another_version(meta.schema, options) {
        return Err(StoreError::Unfit { path: path.to_owned(), what });
    }
    Ok(meta)
}

/// The engine's own row. Scanned for, because a table that is damaged may never return from a read
/// of one row, while a scan is not waited for longer than it may take.
pub fn own_row(table: &dyn Table) -> Result<Option<Blob>, TableError> {
    let mut row = None;
    table.scan(meta::KEY, &mut |key, value| {
        row = (key == meta::KEY).then(|| Blob::from(value));
        ControlFlow::Break(())
    })?;
    Ok(row)
}

/// Why rows of version `schema` are not read, if so: none is brought from one version to another so
/// far.
pub fn another_version(schema: u32, options: &Options) -> Option<String> {
    let which = match schema.cmp(&options.schema) {
        std::cmp::Ordering::Equal => return None,
        std::cmp::Ordering::Greater => "a newer",
        std::cmp::Ordering::Less => "an older",
    };
    let knows = options.schema;
    Some(format!("its rows are of version {schema}, this program knows {knows}: use {which} one"))
}

/// What the journal said.
pub struct Replayed {
    pub found: JournalEnd,
    /// Rows as they are to become.
    pub pending: PendingRows,
    /// The last checkpoint that began did not finish.
    pub repaired: bool,
}

/// Reads the journal above what the table holds.
pub fn replay(
    disk: &dyn Disk,
    store: [u8; 16],
    meta: &Meta,
    hasher: &super::shared::Hasher,
) -> Result<Replayed, StoreError> {
    let mut pending = PendingRows::new();
    let (mut begun, mut finished) = (0, 0);
    let found = recovery::read(disk, store, meta.checkpoint, &mut |_, kind, body| {
        match kind {
            FrameKind::Rows => visit_rows(body, &mut |key, value| {
                let hash = hasher.of(key);
                // Until the table is looked at, it may have every key.
                pending.set(key.into(), value.map(Blob::from), hash, |_| true);
            })?,
            FrameKind::Begun => begun = number(body)?,
            FrameKind::Finished => finished = number(body)?,
            FrameKind::Settled | FrameKind::Sealed => {}
        }
        Ok(())
    })?;
    let path = disk.path("");
    if meta.checkpoint > 0 && begun == 0 {
        let what = format!("it does not know of the table's checkpoint {}", meta.checkpoint);
        return Err(StoreError::damaged(&path, 0, what));
    }
    if finished > meta.checkpoint {
        let what = format!(
            "checkpoint {finished} was written to the table, which is as of checkpoint {}: the \
             table is an older one, or has lost what was written last",
            meta.checkpoint
        );
        return Err(StoreError::damaged(&path, 0, what));
    }
    Ok(Replayed { found, pending, repaired: begun != finished })
}

fn number(body: &[u8]) -> Result<u64, String> {
    let bytes = body.try_into().map_err(|_| "a mark of a checkpoint without its number")?;
    Ok(u64::from_le_bytes(bytes))
}

/// Looks at every row of a table.
pub struct Look<'a> {
    pub table: &'a dyn Table,
    pub path: &'a std::path::Path,
    pub hasher: &'a super::shared::Hasher,
}

/// What was seen.
pub struct ScanSummary {
    /// What the table holds.
    pub tally: RowTally,
    /// Rows there are, with what waits.
    pub rows: u64,
}

impl Look<'_> {
    /// Visits every row as it is with what waits in `pending`, in the order of keys, and notes
    /// which keys the table has.
    pub fn at_rows(
        &self,
        pending: &mut PendingRows,
        known: &mut Known,
        visit: &mut Visitor<'_>,
    ) -> Result<ScanSummary, StoreError> {
        let mut seen = ScanSummary { tally: RowTally::default(), rows: 0 };
        let mut waiting: Vec<(Blob, u64, bool)> =
            pending.sorted().iter().map(|entry| (entry.key.clone(), entry.hash, false)).collect();
        let mut next = 0;
        let mut show = |key: &[u8], value: &[u8], rows: &mut u64| {
            *rows += 1;
            visit(key, value);
        };
        let mut order = Ok(());
        let mut before: Option<Blob> = None;
        let scanned = self.table.scan(&[1], &mut |key, value| {
            if before.as_ref().is_some_and(|before| **before >= *key) {
                order = Err("its rows are not in order");
                return ControlFlow::Break(());
            }
            before = Some(key.into());
            seen.tally.add(key, value);
            known.insert(key, self.hasher.of(key));
            while let Some((waits, hash, _)) = waiting.get(next).filter(|w| *w.0 < *key) {
                let entry = pending.get(waits, *hash).expect("it was just listed");
                if let Some(value) = &entry.value {
                    show(waits, value, &mut seen.rows);
                }
                next += 1;
            }
            match waiting.get_mut(next).filter(|waits| *waits.0 == *key) {
                Some((waits, hash, in_table)) => {
                    *in_table = true;
                    let entry = pending.get(waits, *hash).expect("it was just listed");
                    if let Some(value) = &entry.value {
                        show(waits, value, &mut seen.rows);
                    }
                    next += 1;
                }
                None => show(key, value, &mut seen.rows),
            }
            ControlFlow::Continue(())
        });
        scanned.map_err(|source| StoreError::Table { path: self.path.to_owned(), source })?;
        order.map_err(|what| StoreError::damaged(self.path, 0, what))?;
        for (waits, hash, _) in &waiting[next..] {
            let entry = pending.get(waits, *hash).expect("it was just listed");
            if let Some(value) = &entry.value {
                show(waits, value, &mut seen.rows);
            }
        }
        waiting.iter().for_each(|(key, hash, there)| pending.settle(key, *hash, *there));
        Ok(seen)
    }
}

/// Visits the rows with keys that begin with `prefix`, as they are now.
pub fn scan(shared: &EngineShared, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
    let _quiet = whole(shared.quiet.lock());
    let waiting = waiting(shared, prefix);
    let mut waiting = waiting.iter().peekable();
    let mut stopped = false;
    let mut show = |key: &[u8], value: Option<&[u8]>| {
        if let Some(value) = value {
            stopped |= visit(key, value).is_break();
        }
        if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut ended = ControlFlow::Continue(());
    // The engine's own row is not shown.
    let from = if prefix.is_empty() { &[1] } else { prefix };
    let scanned = shared.table()?.scan(from, &mut |key, value| {
        if !key.starts_with(prefix) {
            return ControlFlow::Break(());
        }
        while let Some((waits, value)) = waiting.next_if(|(waits, _)| ***waits < *key) {
            ended = show(waits, value.as_deref());
            ended?;
        }
        ended = match waiting.next_if(|(waits, _)| ***waits == *key) {
            Some((waits, value)) => show(waits, value.as_deref()),
            None => show(key, Some(value)),
        };
        ended
    });
    shared.on_table(scanned)?;
    for (waits, value) in waiting {
        if ended.is_break() {
            break;
        }
        ended = show(waits, value.as_deref());
    }
    Ok(())
}

/// What waits, in the order of keys.
fn waiting(shared: &EngineShared, prefix: &[u8]) -> BTreeMap<Blob, Option<Blob>> {
    let tail = shared.tail();
    // The later ones replace the earlier ones.
    tail.entries()
        .filter(|entry| entry.key.starts_with(prefix))
        .map(|entry| (entry.key.clone(), entry.value.clone()))
        .collect()
}
