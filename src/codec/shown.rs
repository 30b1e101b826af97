//! The properties of a block with their values: for people to look at.

use super::property::{Properties, Property, ValueKind};
use super::wire::FieldReader;

/// The value of a property.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ShownValue<'a> {
    /// A flag.
    Flag(bool),
    /// Of every other numeric kind.
    Number(u32),
    /// UTF-8 string.
    Text(&'a str),
    /// Binary Data.
    Binary(&'a [u8]),
    /// Two UTF-8 strings.
    Pair(&'a str, &'a str),
}

impl<'a> Properties<'a> {
    /// Every property of the block with its value, in order.
    pub fn shown(&self) -> impl Iterator<Item = (Property, ShownValue<'a>)> + use<'a> {
        self.entries().filter_map(|(property, raw)| {
            let mut reader = FieldReader::new(&raw[1..]);
            let value = match property.kind() {
                ValueKind::Flag => ShownValue::Flag(reader.u8("").ok()? != 0),
                ValueKind::U16 | ValueKind::NonZeroU16 => {
                    ShownValue::Number(reader.u16("").ok()?.into())
                }
                ValueKind::U32 | ValueKind::NonZeroU32 => ShownValue::Number(reader.u32("").ok()?),
                ValueKind::NonZeroVariable => ShownValue::Number(reader.variable("").ok()?),
                ValueKind::Text | ValueKind::Topic => ShownValue::Text(reader.text("").ok()?),
                ValueKind::Binary => ShownValue::Binary(reader.binary("").ok()?),
                ValueKind::Pair => ShownValue::Pair(reader.text("").ok()?, reader.text("").ok()?),
            };
            Some((property, value))
        })
    }
}
