//! Properties that stand in fields of a packet: each is written if it is there.

use crate::codec::property::Property;
use crate::codec::wire::Sink;

pub(super) fn put_flag(sink: &mut dyn Sink, property: Property, value: Option<bool>) {
    if let Some(value) = value {
        sink.put(&[property as u8, u8::from(value)]);
    }
}

pub(super) fn put_u16(sink: &mut dyn Sink, property: Property, value: Option<u16>) {
    if let Some(value) = value {
        let [high, low] = value.to_be_bytes();
        sink.put(&[property as u8, high, low]);
    }
}

pub(super) fn put_u32(sink: &mut dyn Sink, property: Property, value: Option<u32>) {
    if let Some(value) = value {
        sink.put(&[property as u8]);
        sink.put(&value.to_be_bytes());
    }
}

pub(super) fn put_text(sink: &mut dyn Sink, property: Property, value: Option<&str>) {
    put_bytes(sink, property, value.map(str::as_bytes));
}

pub(super) fn put_bytes(sink: &mut dyn Sink, property: Property, value: Option<&[u8]>) {
    if let Some(value) = value {
        sink.put(&[property as u8]);
        sink.field(value);
    }
}
