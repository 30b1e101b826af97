//! What a trace tells: plain data, by names that are those of the API.

use std::borrow::Cow;
use std::num::{NonZeroU16, NonZeroU32};

use crate::broker::dropped::shortened;
use crate::time::Time;

/// One thing that a trace has seen.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceEvent {
    /// What kind of thing.
    pub kind: TraceKind,
    /// When.
    pub time: Time,
    /// What, in the order in which it is shown.
    pub fields: TraceRecord,
}

/// What a trace has seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TraceKind {
    /// A packet, from or to a client.
    Packet,
    /// A stage in the journey of a message.
    Journey,
}

/// Values by name.
pub type TraceRecord = Vec<(Cow<'static, str>, TraceValue)>;

/// A value of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum TraceValue {
    /// Yes or no.
    Flag(bool),
    /// A number; its unit is in the name.
    Number(u64),
    /// A text; one that is too long is cut, and ends with `…`.
    Text(String),
    /// Bytes of a payload.
    Bytes(Vec<u8>),
    /// Values in order.
    List(Vec<TraceValue>),
    /// Values by name.
    Record(TraceRecord),
}

/// A text, cut at a length.
pub fn text(text: &str) -> TraceValue {
    TraceValue::Text(shortened(text).into_owned())
}

impl TraceEvent {
    /// The value of this name.
    pub fn field(&self, name: &str) -> Option<&TraceValue> {
        find(&self.fields, name)
    }

    /// Bytes that it takes in a queue, about.
    pub(super) fn bytes(&self) -> usize {
        size_of::<TraceEvent>() + bytes_of(&self.fields)
    }
}

impl TraceValue {
    /// The value of this name, in a record.
    pub fn field(&self, name: &str) -> Option<&TraceValue> {
        match self {
            TraceValue::Record(fields) => find(fields, name),
            _ => None,
        }
    }
}

fn find<'r>(fields: &'r TraceRecord, name: &str) -> Option<&'r TraceValue> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn bytes_of(fields: &TraceRecord) -> usize {
    let of = |(name, value): &(Cow<'_, str>, TraceValue)| {
        size_of::<(Cow<'_, str>, TraceValue)>() + name.len() + value_bytes(value)
    };
    fields.iter().map(of).sum()
}

fn value_bytes(value: &TraceValue) -> usize {
    match value {
        TraceValue::Flag(_) | TraceValue::Number(_) => 0,
        TraceValue::Text(text) => text.len(),
        TraceValue::Bytes(bytes) => bytes.len(),
        TraceValue::List(values) => {
            values.iter().map(|value| size_of::<TraceValue>() + value_bytes(value)).sum()
        }
        TraceValue::Record(fields) => bytes_of(fields),
    }
}

impl From<bool> for TraceValue {
    fn from(flag: bool) -> TraceValue {
        TraceValue::Flag(flag)
    }
}

impl From<&str> for TraceValue {
    fn from(long: &str) -> TraceValue {
        text(long)
    }
}

macro_rules! numbers {
    ($($kind:ty)*) => {
        $(impl From<$kind> for TraceValue {
            fn from(number: $kind) -> TraceValue {
                TraceValue::Number(number.into())
            }
        })*
    };
}

numbers! { u8 u16 u32 u64 }

impl From<NonZeroU16> for TraceValue {
    fn from(number: NonZeroU16) -> TraceValue {
        number.get().into()
    }
}

impl From<NonZeroU32> for TraceValue {
    fn from(number: NonZeroU32) -> TraceValue {
        number.get().into()
    }
}
