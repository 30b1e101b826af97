//! Rows as one file: the backup, and the way from one store to another.
//!
//! ```text
//! magic and version of this layout, the rows' version, the checkpoint they are of, checksum
//! each row: length of the key, length of the value, checksum of both and of what follows, key,
//!           value; in the order of keys
//! end:      a length of the key that no key has, then how many rows there were, checksum
//! ```
//!
//! All numbers are little-endian. A file without its end is not a whole one.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;

use super::disk::Folder;
use super::error::StoreError;
use super::folder::{StoreFolder, StoreMarker};
use super::frame::checksum_from;
use super::journal::segment::Workshop;
use super::meta::{self, Meta, RowTally};
use super::options::Options;
use super::shared::EngineShared;
use super::start;
use super::table::{RowChange, Table, TableError, TableKind};

use crate::sync::whole;

/// What a file of rows holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Exported {
    /// Version of what is in the rows.
    pub schema: u32,
    /// Number of the last frame that is in them.
    pub checkpoint: u64,
    /// How many there are.
    pub rows: u64,
}

/// Writes the rows of the table to `out`, as of the last checkpoint. No other is written meanwhile.
pub fn export(shared: &EngineShared, out: &mut dyn Write) -> Result<Exported, StoreError> {
    let _quiet = whole(shared.quiet.lock());
    let meta = shared.on_table(shared.table()?.get(meta::KEY))?;
    let meta = Meta::decode(&meta.unwrap_or_else(|| [][..].into()));
    let meta = meta.map_err(StoreError::Failed)?;
    let mut writer = ExportWriter::begin(out, meta.schema, meta.checkpoint).map_err(unwritten)?;
    let mut written = Ok(());
    let scanned = shared.table()?.scan(&[1], &mut |key, value| {
        written = writer.row(key, value);
        if written.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    shared.on_table(scanned)?;
    written.and_then(|()| writer.end()).map_err(unwritten)
}

/// Makes a store in the folder `path` of the rows in `file`. If that does not succeed there is no
/// store, and none is made there but by another import.
pub fn import(
    path: &Path,
    options: &Options,
    kind: &TableKind,
    file: &mut dyn Read,
) -> Result<Exported, StoreError> {
    let place = StoreFolder::take(path)?;
    if place.found()?.is_some() {
        let what = "there is a store here already: give a new folder".to_owned();
        return Err(StoreError::Unfit { path: path.to_owned(), what });
    }
    place.begin_import()?;
    let mut reader = ExportReader::begin(file)?;
    if let Some(what) = start::another_version(reader.header.schema, options) {
        return Err(StoreError::Unfit { path: path.to_owned(), what });
    }
    place.begin()?;
    let marker = StoreMarker::new(kind.name);
    let table_path = place.table();
    let failed = |source: TableError| StoreError::Table { path: table_path.clone(), source };
    let table = (kind.open)(&table_path).map_err(failed)?;
    let mut tally = RowTally::default();
    let mut batch = Vec::new();
    while let Some((key, value)) = reader.row()? {
        tally.add(&key, &value);
        batch.push((key[..].into(), Some(value[..].into())));
        if batch.len() == options.checkpoint_rows_max {
            table.apply(std::mem::take(&mut batch)).map_err(failed)?;
        }
    }
    let meta = Meta { store: marker.store, schema: reader.header.schema, checkpoint: 0, tally };
    finish(&*table, batch, &meta).map_err(failed)?;
    let journal = place.journal();
    let workshop = Workshop::new(std::sync::Arc::new(Folder::at(&journal)), marker.store);
    let made = workshop.make(1, options.segment_for(0));
    made.map_err(StoreError::io("make a segment in", &journal))?;
    place.finish(&marker)?;
    Ok(reader.header)
}

/// Reads a file of rows to its end: what is in it, if all of it is as it was written.
pub fn rows_in(file: &mut dyn Read) -> Result<Exported, StoreError> {
    let mut reader = ExportReader::begin(file)?;
    while reader.row()?.is_some() {}
    Ok(reader.header)
}

fn finish(table: &dyn Table, rest: Vec<RowChange>, meta: &Meta) -> Result<(), TableError> {
    table.apply(rest)?;
    table.apply(vec![(meta::KEY.into(), Some(meta.encode()[..].into()))])?;
    table.flush()?;
    table.close()
}

/// Writes rows to a file.
pub struct ExportWriter<'a> {
    out: &'a mut dyn Write,
    header: Exported,
}

impl<'a> ExportWriter<'a> {
    /// Begins a file.
    pub fn begin(
        out: &'a mut dyn Write,
        schema: u32,
        checkpoint: u64,
    ) -> io::Result<ExportWriter<'a>> {
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&schema.to_le_bytes());
        head.extend_from_slice(&checkpoint.to_le_bytes());
        let checksum = checksum_from(0, &head);
        head.extend_from_slice(&checksum.to_le_bytes());
        out.write_all(&head)?;
        Ok(ExportWriter { out, header: Exported { schema, checkpoint, rows: 0 } })
    }

    /// Writes a row; they come in the order of keys.
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let too_long = |_| io::Error::other("a row of more than 4 GiB");
        let lengths = lengths(
            u32::try_from(key.len()).map_err(too_long)?,
            u32::try_from(value.len()).map_err(too_long)?,
        );
        self.out.write_all(&lengths)?;
        self.out.write_all(&row_checksum(&lengths, key, value))?;
        self.out.write_all(key)?;
        self.out.write_all(value)?;
        self.header.rows += 1;
        Ok(())
    }

    /// Ends the file: only now is it a whole one.
    pub fn end(self) -> io::Result<Exported> {
        let rows = self.header.rows.to_le_bytes();
        let lengths = lengths(END, 8);
        self.out.write_all(&lengths)?;
        self.out.write_all(&row_checksum(&lengths, &[], &rows))?;
        self.out.write_all(&rows)?;
        self.out.flush()?;
        Ok(self.header)
    }
}

/// Reads rows from a file.
pub struct ExportReader<'a> {
    file: &'a mut dyn Read,
    /// What it says of itself; all rows it has had so far.
    pub header: Exported,
    last: Vec<u8>,
    at: u64,
}

impl<'a> ExportReader<'a> {
    /// Begins to read.
    pub fn begin(file: &'a mut dyn Read) -> Result<ExportReader<'a>, StoreError> {
        let mut reader =
            ExportReader { file, header: Exported::default(), last: Vec::new(), at: 0 };
        let head = reader.take(MAGIC.len() + 16)?;
        let (said, checksum) = head.split_at(MAGIC.len() + 12);
        if !said.starts_with(MAGIC) || checksum != checksum_from(0, said).to_le_bytes() {
            return Err(reader.bad("this is not the beginning of a file of rows"));
        }
        let rest = &said[MAGIC.len()..];
        reader.header.schema = u32::from_le_bytes(rest[..4].try_into().expect("four bytes"));
        reader.header.checkpoint = u64::from_le_bytes(rest[4..].try_into().expect("eight bytes"));
        Ok(reader)
    }

    /// The next row; none at the end.
    #[expect(clippy::type_complexity, reason = "a row is a key and a value")]
    pub fn row(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>, StoreError> {
        let head = self.take(12)?;
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four"));
        let key = if number(0) == END { Vec::new() } else { self.take(number(0) as usize)? };
        let value = self.take(number(4) as usize)?;
        if head[8..] != row_checksum(&head[..8], &key, &value) {
            return Err(self.bad("a row that is not as it was written"));
        }
        if number(0) == END {
            if value != self.header.rows.to_le_bytes() {
                return Err(self.bad("it has fewer or more rows than were written"));
            }
            return Ok(None);
        }
        if key <= self.last || key[0] == 0 {
            return Err(self.bad("a row out of order"));
        }
        self.header.rows += 1;
        self.last.clone_from(&key);
        Ok(Some((key, value)))
    }

    fn take(&mut self, len: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let mut rest = Read::take(&mut *self.file, len as u64);
        let read = rest.read_to_end(&mut bytes);
        read.map_err(|error| StoreError::Failed(format!("cannot read the rows: {error}")))?;
        if bytes.len() < len {
            return Err(self.bad("the file ends in the middle"));
        }
        self.at += len as u64;
        Ok(bytes)
    }

    fn bad(&self, what: &str) -> StoreError {
        StoreError::Failed(format!("the file of rows is damaged before byte {}: {what}", self.at))
    }
}

fn lengths(key: u32, value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&key.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_le_bytes());
    bytes
}

fn row_checksum(lengths: &[u8], key: &[u8], value: &[u8]) -> [u8; 4] {
    let checksum = checksum_from(checksum_from(0, lengths), key);
    checksum_from(checksum, value).to_le_bytes()
}

fn unwritten(error: io::Error) -> StoreError {
    StoreError::Failed(format!("cannot write the rows: {error}"))
}

const MAGIC: &[u8] = b"sluicex\x01";
const END: u32 = u32::MAX;
