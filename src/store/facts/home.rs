//! Which node of the cluster has the Session of a Client Identifier, in rows: the Client Identifier is the key.

use super::{RowKind, Source, Unread};
use crate::broker::ports::Fact;
use crate::message::{ClientId, SessionHome};
use crate::store::bytes::{FORM, Torn, ValueReader, ValueWriter};
use crate::store::engine::RowBatch;

/// Adds the change of the row of a Client Identifier: `None`: no node has a Session of it.
pub fn write_home(client_id: &ClientId, home: Option<&SessionHome>, rows: &mut RowBatch) {
    let key = [&[RowKind::Home as u8], client_id.as_str().as_bytes()].concat();
    match home {
        Some(home) => rows.put_with(&key, |out| {
            let mut value = ValueWriter::begin(FORM, out);
            value.u64(home.node);
            value.u8(u8::from(home.user.is_some()));
            value.rest(home.user.as_deref().unwrap_or_default().as_bytes());
        }),
        None => rows.delete(&key),
    }
}

pub fn tell_home(key: &[u8], value: &[u8], _: &Source<'_>) -> Result<Fact, Unread> {
    let client_id = std::str::from_utf8(&key[1..]).map_err(|_| Torn)?;
    let mut value = ValueReader::begin(FORM, value)?;
    let (node, has_user) = (value.u64()?, value.u8()? != 0);
    let user = std::str::from_utf8(value.rest()).map_err(|_| Torn)?;
    let home = SessionHome { node, user: has_user.then(|| user.into()) };
    Ok(Fact::Home(ClientId::new(client_id), home))
}
