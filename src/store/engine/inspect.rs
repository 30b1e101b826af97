//! Looks at a store that no process has open: whether it is as it was written, and what can still be
//! read of one that is not.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use super::disk::{Disk, Folder};
use super::error::StoreError;
use super::export::{ExportWriter, Exported};
use super::folder::StoreFolder;
use super::frame::{self, FrameKind};
use super::journal::recovery;
use super::journal::segment::START;
use super::known::Known;
use super::meta::{self, Meta};
use super::options::Options;
use super::pending::PendingRows;
use super::rows::visit_rows;
use super::shared::Hasher;
use super::start::{self, Look};
use super::table::{Table, TableError, TableKind};

/// What was seen of a store.
#[derive(Debug, Default)]
pub struct StoreFindings {
    /// Rows there are.
    pub rows: u64,
    /// Rows in the table, by the first byte of their keys.
    pub table_rows: Vec<(u8, u64)>,
    /// Version of what is in the rows.
    pub schema: u32,
    /// Bytes that the table's and the journal's files take on the disk.
    pub disk_bytes: (u64, u64),
    /// The table holds what was up to this frame.
    pub checkpoint: u64,
    /// Frames of the journal that are not in the table yet.
    pub frames: u64,
    /// Bytes that a crash left unfinished.
    pub torn: u64,
    /// What is not as it was written; empty: all is well.
    pub problems: Vec<StoreError>,
}

/// Looks at every byte of a store that is not damaged, and as far as possible of one that is.
/// Changes nothing; an error if it cannot be looked at at all.
pub fn check(
    path: &Path,
    options: &Options,
    kind: &TableKind,
) -> Result<StoreFindings, StoreError> {
    let place = StoreFolder::hold(path)?;
    let Some(marker) = place.marker()? else {
        let what = "there is no store here".to_owned();
        return Err(StoreError::Unfit { path: path.to_owned(), what });
    };
    let bytes = |path| super::folder::bytes_on_disk(path);
    let mut findings = StoreFindings {
        disk_bytes: (bytes(&place.table()), bytes(&place.journal())),
        ..StoreFindings::default()
    };
    let (disk, table_path) = (Folder::at(&place.journal()), place.table());
    let opened = (kind.open)(&table_path)
        .map_err(|source| StoreError::Table { path: table_path.clone(), source });
    let read = opened.and_then(|table| {
        let meta = start::read_meta(&*table, &table_path, marker.store, options)?;
        Ok((table, meta))
    });
    let (table, meta) = match read {
        Ok(read) => read,
        Err(problem) => {
            findings.problems.push(problem);
            // The table cannot say where the journal is to begin; what there is can be looked at.
            findings.problems.extend(bad_segments(&disk, marker.store));
            return Ok(findings);
        }
    };
    (findings.schema, findings.checkpoint) = (meta.schema, meta.checkpoint);
    let hasher = Hasher::default();
    let mut pending = PendingRows::new();
    let mut repaired = true;
    match start::replay(&disk, marker.store, &meta, &hasher) {
        Ok(replayed) => {
            (findings.frames, findings.torn) = (replayed.found.frames, replayed.found.torn);
            (pending, repaired) = (replayed.pending, replayed.repaired);
        }
        Err(problem) => findings.problems.push(problem),
    }
    let look = Look { table: &*table, path: &table_path, hasher: &hasher };
    match look.at_rows(&mut pending, &mut Known::new(&[]), &mut |_, _| ()) {
        Ok(seen) => {
            findings.rows = seen.rows;
            findings.table_rows = seen.tally.by_prefix().collect();
            let difference = seen.tally.difference(&meta.tally).filter(|_| !repaired);
            let problem = difference.map(|what| StoreError::damaged(&table_path, 0, what));
            findings.problems.extend(problem);
        }
        Err(problem) => findings.problems.push(problem),
    }
    if let Err(source) = table.close() {
        findings.problems.push(StoreError::Table { path: table_path, source });
    }
    Ok(findings)
}

/// What was read of a damaged store.
#[derive(Debug, Default)]
pub struct Salvaged {
    /// What was written to the file of rows.
    pub exported: Exported,
    /// What could not be read, in words.
    pub lost: Vec<String>,
}

/// Copies every row that can be read to `out`, as a file of rows, and lists what cannot. What is
/// damaged may have been later than what is written: it is the best there is, not what was.
pub fn salvage(path: &Path, kind: &TableKind, out: &mut dyn Write) -> Result<Salvaged, StoreError> {
    let place = StoreFolder::hold(path)?;
    let mut salvaged = Salvaged::default();
    let mut rows = BTreeMap::new();
    let meta = read_table(&place.table(), kind, &mut rows, &mut salvaged.lost);
    let from = meta.as_ref().map_or(0, |meta| meta.checkpoint);
    read_journal(&Folder::at(&place.journal()), from, &mut rows, &mut salvaged.lost);
    let schema = meta.map_or(1, |meta| meta.schema);
    let mut write = || {
        let mut writer = ExportWriter::begin(out, schema, from)?;
        for (key, value) in &rows {
            writer.row(key, value)?;
        }
        writer.end()
    };
    salvaged.exported =
        write().map_err(|error| StoreError::Failed(format!("cannot write the rows: {error}")))?;
    Ok(salvaged)
}

type SalvagedRows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Reads what can be read of a table: where it cannot, from further and further behind.
fn read_table(
    path: &Path,
    kind: &TableKind,
    rows: &mut SalvagedRows,
    lost: &mut Vec<String>,
) -> Option<Meta> {
    let mut meta = None;
    let mut asked = false;
    let mut from = vec![0];
    let mut step = 1;
    loop {
        let table = match (kind.open)(path) {
            Ok(table) => table,
            Err(error) => {
                lost.push(format!("the table cannot be opened: {error}"));
                return meta;
            }
        };
        if !asked {
            asked = true;
            match start::own_row(&*table) {
                Ok(row) => meta = row.and_then(|row| Meta::decode(&row).ok()),
                // It answers nothing any more: the rows are asked for anew.
                Err(error) => {
                    lost.push(format!("the table's own row: {error}"));
                    continue;
                }
            }
        }
        let before = rows.len();
        let Err(error) = read_on(&*table, &from, rows) else {
            let _ = table.close();
            return meta;
        };
        drop(table);
        let last = rows.last_key_value().map_or(from.clone(), |(key, _)| key.clone());
        if rows.len() > before {
            lost.push(format!("rows after {last:02x?}: {error}"));
            (from, step) = (last, 1);
        }
        let Some(next) = behind(&from, step) else { return meta };
        from = next;
        step = step.saturating_mul(2);
    }
}

fn read_on(table: &dyn Table, from: &[u8], rows: &mut SalvagedRows) -> Result<(), TableError> {
    table.scan(from, &mut |key, value| {
        if key != meta::KEY {
            rows.insert(key.to_vec(), value.to_vec());
        }
        ControlFlow::Continue(())
    })
}

/// A key some way behind another: the first nine bytes counted on as a number. None: there is
/// none.
fn behind(key: &[u8], step: u64) -> Option<Vec<u8>> {
    let mut bytes = [0; 9];
    let len = key.len().min(9);
    bytes[..len].copy_from_slice(&key[..len]);
    let rest = u64::from_be_bytes(bytes[1..].try_into().expect("eight bytes"));
    match rest.checked_add(step) {
        Some(rest) => bytes[1..].copy_from_slice(&rest.to_be_bytes()),
        None => {
            bytes[0] = bytes[0].checked_add(1)?;
            bytes[1..].fill(0);
        }
    }
    Some(bytes.to_vec())
}

/// Reads every good frame above `from`, wherever it is, and applies them in the order of their
/// numbers.
fn read_journal(disk: &dyn Disk, from: u64, rows: &mut SalvagedRows, lost: &mut Vec<String>) {
    let sequences = match recovery::sequences(disk) {
        Ok(sequences) => sequences,
        Err(error) => return lost.push(error.to_string()),
    };
    let mut frames: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for sequence in sequences {
        let (header, bytes) = match recovery::load_any(disk, sequence) {
            Ok(loaded) => loaded,
            Err(error) => {
                lost.push(error.to_string());
                continue;
            }
        };
        let start = usize::try_from(START).expect("a small number");
        for (_, found) in frame::scan(&bytes, start, from + 1, header.salt) {
            if found.kind.counts() {
                let body = if found.kind == FrameKind::Rows { found.body } else { &[] };
                frames.insert(found.lsn, body.to_vec());
            }
        }
    }
    let mut expected = from + 1;
    for (lsn, body) in frames {
        if lsn > expected {
            lost.push(format!("frames {expected} to {} of the journal", lsn - 1));
        }
        expected = lsn + 1;
        let visited = visit_rows(&body, &mut |key, value| match value {
            Some(value) => drop(rows.insert(key.to_vec(), value.to_vec())),
            None => drop(rows.remove(key)),
        });
        lost.extend(visited.err().map(|what| format!("part of frame {lsn}: {what}")));
    }
}

/// Segments with a bad header.
fn bad_segments(disk: &dyn Disk, store: [u8; 16]) -> Vec<StoreError> {
    match recovery::sequences(disk) {
        Ok(sequences) => sequences
            .iter()
            .filter_map(|&sequence| recovery::load(disk, store, sequence, usize::MAX).err())
            .collect(),
        Err(problem) => vec![problem],
    }
}
