//! Wills in rows.

use std::sync::Arc;

use super::{Source, Unread};
use crate::broker::ports::Fact;
use crate::codec::{Properties, QoS};
use crate::message::{Draft, Identity};
use crate::session::{Op, WillMessage};
use crate::store::bytes::{FORM, Torn, ValueReader, ValueWriter};
use crate::topic::TopicName;

pub fn put_will(will: &WillMessage, identity: &Identity, out: &mut Vec<u8>) {
    let draft = will.draft();
    let mut value = ValueWriter::begin(FORM, out);
    super::put_identity(identity, &mut value);
    value.u32(will.delay);
    value.u8(draft.qos as u8 | u8::from(draft.retain) << 2 | u8::from(draft.expiry.is_some()) << 3);
    value.u32(draft.expiry.unwrap_or(0));
    value.block(draft.topic.as_str().as_bytes());
    value.block(draft.properties.as_bytes());
    value.rest(draft.payload);
}

pub fn tell_will(key: &[u8], value: &[u8], source: &Source<'_>) -> Result<Fact, Unread> {
    let mut reader = ValueReader::begin(FORM, value)?;
    let identity = Arc::new(super::read_identity(&mut reader, source.meter)?);
    let will = Arc::new(read_will_behind(reader)?);
    Ok(Fact::Session(super::key::session_of(key)?.0, Op::Will(will, identity)))
}

/// The Will in a row.
pub fn read_will(value: &[u8]) -> Result<WillMessage, Torn> {
    let mut reader = ValueReader::begin(FORM, value)?;
    super::skip_identity(&mut reader)?;
    read_will_behind(reader)
}

fn read_will_behind(mut value: ValueReader<'_>) -> Result<WillMessage, Torn> {
    let delay = value.u32()?;
    let bits = value.u8()?;
    let expiry = value.u32()?;
    let draft = Draft {
        qos: QoS::from_bits(bits & 3).ok_or(Torn)?,
        retain: bits & 4 != 0,
        expiry: (bits & 8 != 0).then_some(expiry),
        topic: TopicName::trusted(value.text()?),
        properties: Properties::trusted(value.block()?),
        payload: value.rest(),
    };
    Ok(WillMessage::restore(&draft, delay))
}
