//! The numbers that may have been used, in their row.

use super::{RowKey, RowKind};
use crate::store::bytes::{FORM, Torn, ValueReader, ValueWriter};
use crate::store::engine::RowBatch;

/// Adds the row of the numbers that may have been used.
pub fn write_numbers(numbers: [u64; 3], rows: &mut RowBatch) {
    rows.put_with(RowKey::of(RowKind::Numbers).as_bytes(), |out| {
        let mut value = ValueWriter::begin(FORM, out);
        numbers.iter().for_each(|number| value.u64(*number));
    });
}

pub fn read_numbers(value: &[u8]) -> Result<[u64; 3], Torn> {
    let mut value = ValueReader::begin(FORM, value)?;
    Ok([value.u64()?, value.u64()?, value.u64()?])
}
