//! Attempts at copies of named queues in rows.

use super::key::{RowKey, copy_of};
use super::{Source, Unread};
use crate::broker::ports::Fact;
use crate::codec::Reason;
use crate::message::{Attempt, SessionId};
use crate::store::bytes::{FORM, Torn, ValueReader, ValueWriter};
use crate::store::engine::RowBatch;
use crate::time::Time;

/// Adds the row of a copy that is to be tried again.
pub fn write_attempt(attempt: &Attempt, rows: &mut RowBatch) {
    let key = RowKey::attempt(attempt.mid, attempt.receiver);
    rows.put_with(key.as_bytes(), |out| {
        let mut value = ValueWriter::begin(FORM, out);
        value.varint(attempt.attempts.into());
        value.u64(attempt.due.as_nanos());
        value.varint(attempt.last.get());
        value.u8(attempt.reason as u8);
    });
}

pub fn tell_attempt(key: &[u8], value: &[u8], source: &Source<'_>) -> Result<Fact, Unread> {
    let (mid, receiver) = copy_of(key)?;
    let mut value = ValueReader::begin(FORM, value)?;
    let attempts = u16::try_from(value.varint()?).map_err(|_| Torn)?;
    let due = Time::from_nanos(value.u64()?);
    let last = SessionId::checked(value.varint()?).ok_or(Torn)?;
    let reason = Reason::from_byte(value.u8()?).ok_or(Torn)?;
    value.end()?;
    let message = (source.message)(mid).map_err(Unread::of_group)?;
    message.set_mid(mid);
    Ok(Fact::Attempt(Attempt { receiver, mid, attempts, due, last, reason }, message))
}
