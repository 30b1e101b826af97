//! Keys of `[[dedup]]` in rows: so that a message that comes again is known after a restart.

use super::{RowKind, Source, Unread};
use crate::broker::ports::Fact;
use crate::message::{KeyChange, KeyHash, MessageKey};
use crate::store::bytes::{FORM, Torn, ValueReader, ValueWriter};
use crate::store::engine::RowBatch;
use crate::time::Time;

/// Adds the change of the row of a key.
pub fn write_key(change: KeyChange, rows: &mut RowBatch) {
    match change {
        KeyChange::Noted(rule, MessageKey { hash, since, publisher, verified }) => {
            rows.put_with(&row_key(hash, since), |out| {
                let mut value = ValueWriter::begin(FORM, out);
                value.u64(rule);
                value.u64(publisher);
                value.u8(verified.into());
            });
        }
        KeyChange::Gone(hash, since) => rows.delete(&row_key(hash, since)),
    }
}

pub fn tell_key(key: &[u8], value: &[u8], _: &Source<'_>) -> Result<Fact, Unread> {
    let (hash, since) = read_row_key(key)?;
    let mut value = ValueReader::begin(FORM, value)?;
    let (rule, publisher, verified) = (value.u64()?, value.u64()?, value.u8()? != 0);
    value.end()?;
    Ok(Fact::Key(rule, MessageKey { hash, since, publisher, verified }))
}

/// When the message of a row came.
pub fn since_of(key: &[u8]) -> Result<Time, Torn> {
    read_row_key(key).map(|(_, since)| since)
}

/// A key that comes again later has another row: that of before may still be deleted behind it.
fn row_key(hash: KeyHash, since: Time) -> [u8; 25] {
    let mut key = [RowKind::MessageKey as u8; 25];
    key[1..17].copy_from_slice(&hash);
    key[17..].copy_from_slice(&since.as_nanos().to_be_bytes());
    key
}

fn read_row_key(key: &[u8]) -> Result<(KeyHash, Time), Torn> {
    let (hash, since) = key.get(1..).and_then(|key| key.split_first_chunk()).ok_or(Torn)?;
    let since = since.try_into().map_err(|_| Torn)?;
    Ok((*hash, Time::from_nanos(u64::from_be_bytes(since))))
}
