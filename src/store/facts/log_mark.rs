//! How far this node has applied the log of its cluster, in one row.

use super::{RowKey, RowKind, Source, Unread};
use crate::broker::ports::Fact;
use crate::message::LogMark;
use crate::store::bytes::{FORM, ValueReader, ValueWriter};
use crate::store::engine::RowBatch;

/// Adds the row of how far the log is applied.
pub fn write_log_mark(mark: &LogMark, rows: &mut RowBatch) {
    rows.put_with(RowKey::of(RowKind::LogMark).as_bytes(), |out| {
        let mut value = ValueWriter::begin(FORM, out);
        value.u64(mark.sequence);
        value.varint(mark.runs.len() as u64);
        for (node, run) in &mark.runs {
            value.u64(*node);
            value.u64(*run);
        }
    });
}

pub fn tell_log_mark(_: &[u8], value: &[u8], _: &Source<'_>) -> Result<Fact, Unread> {
    let mut value = ValueReader::begin(FORM, value)?;
    let mut mark = LogMark { sequence: value.u64()?, runs: Vec::new() };
    for _ in 0..value.varint()? {
        mark.runs.push((value.u64()?, value.u64()?));
    }
    value.end()?;
    Ok(Fact::LogMark(mark))
}
