//! Named queues that were made at run time, in rows: the name is the key, the definition is JSON.

use super::{RowKind, Source, Unread};
use crate::broker::ports::Fact;
use crate::config::NamedQueue;
use crate::store::bytes::{FORM, ValueReader, ValueWriter};
use crate::store::engine::RowBatch;

/// Adds the change of the row of a named queue.
pub fn write_queue(name: &str, queue: Option<&NamedQueue>, rows: &mut RowBatch) {
    let key = [&[RowKind::Queue as u8], name.as_bytes()].concat();
    match queue {
        Some(queue) => rows.put_with(&key, |out| {
            let text = serde_json::to_vec(queue).expect("its keys are texts");
            ValueWriter::begin(FORM, out).rest(&text);
        }),
        None => rows.delete(&key),
    }
}

pub fn tell_queue(key: &[u8], value: &[u8], _: &Source<'_>) -> Result<Fact, Unread> {
    let text = ValueReader::begin(FORM, value)?.rest();
    let queue = serde_json::from_slice(text).map_err(|error| {
        let name = String::from_utf8_lossy(&key[1..]);
        Unread::Other(format!("the definition of the named queue {name:?} cannot be read: {error}"))
    })?;
    Ok(Fact::Queue(Box::new(queue)))
}
