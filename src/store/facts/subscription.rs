//! Subscriptions in rows.

use super::{Source, Unread, filter_of, key};
use crate::broker::ports::Fact;
use crate::codec::{QoS, RetainHandling, SubscribeOptions};
use crate::session::{Op, Owed};
use crate::store::bytes::{FORM, Torn, ValueReader, ValueWriter};
use crate::time::Time;

/// The form of the values of Subscriptions for which retained messages are owed.
pub const OWES_FORM: u8 = 2;

/// Writes the value of a Subscription.
pub fn put_subscription(
    options: SubscribeOptions,
    id: u32,
    owes: Option<&Owed>,
    out: &mut Vec<u8>,
) {
    let form = if owes.is_some() { OWES_FORM } else { FORM };
    let mut value = ValueWriter::begin(form, out);
    value.u8(options.qos as u8
        | u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | (options.retain_handling as u8) << 4);
    value.u32(id);
    if let Some(Owed { latest, after }) = owes {
        value.u64(latest.as_nanos());
        // No topic is empty.
        value.rest(after.as_deref().unwrap_or("").as_bytes());
    }
}

pub fn tell_subscription(key: &[u8], value: &[u8], _: &Source<'_>) -> Result<Fact, Unread> {
    let (session, filter) = key::session_of(key)?;
    let form = if value.first() == Some(&OWES_FORM) { OWES_FORM } else { FORM };
    let mut value = ValueReader::begin(form, value)?;
    let bits = value.u8()?;
    let retain_handling = match bits >> 4 {
        0 => RetainHandling::Always,
        1 => RetainHandling::IfNew,
        2 => RetainHandling::Never,
        _ => return Err(Unread::Torn),
    };
    let options = SubscribeOptions {
        qos: QoS::from_bits(bits & 3).ok_or(Torn)?,
        no_local: bits & 4 != 0,
        retain_as_published: bits & 8 != 0,
        retain_handling,
    };
    let (filter, id) = (filter_of(filter)?, value.u32()?);
    let owes = if form == OWES_FORM { Some(Box::new(read_owed(&mut value)?)) } else { None };
    Ok(Fact::Session(session, Op::Subscribed { filter, options, id, owes }))
}

fn read_owed(value: &mut ValueReader<'_>) -> Result<Owed, Torn> {
    let latest = Time::from_nanos(value.u64()?);
    let after = std::str::from_utf8(value.rest()).map_err(|_| Torn)?;
    Ok(Owed { latest, after: (!after.is_empty()).then(|| after.to_owned()) })
}
