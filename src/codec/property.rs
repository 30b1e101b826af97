//! Properties: the one table (MQTT 5, 2.2.2.2) and the borrowed, checked block.
//!
//! The table drives the decoder's checks, the iteration over blocks and what is forwarded.

use super::error::DecodeError;
use super::reason::Reason;
use super::wire::{FieldReader, Sink};
use super::words::DecodeLimits;

/// Bits for the packets a property may stand in; see [`Property::allowed_in`].
pub mod carrier {
    /// CONNECT, outside the Will.
    pub const CONNECT: u16 = 1;
    /// The Will Properties of a CONNECT.
    pub const WILL: u16 = 1 << 1;
    /// CONNACK.
    pub const CONNACK: u16 = 1 << 2;
    /// PUBLISH.
    pub const PUBLISH: u16 = 1 << 3;
    /// PUBACK, PUBREC, PUBREL, PUBCOMP: they may carry the same.
    pub const ACK: u16 = 1 << 4;
    /// SUBSCRIBE.
    pub const SUBSCRIBE: u16 = 1 << 5;
    /// SUBACK and UNSUBACK: they may carry the same.
    pub const SUBACK: u16 = 1 << 6;
    /// UNSUBSCRIBE.
    pub const UNSUBSCRIBE: u16 = 1 << 7;
    /// DISCONNECT.
    pub const DISCONNECT: u16 = 1 << 8;
    /// AUTH.
    pub const AUTH: u16 = 1 << 9;
}

use carrier::*;

/// How the value of a property is written, and which values are legal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ValueKind {
    /// One byte, 0 or 1.
    Flag,
    /// Two bytes.
    U16,
    /// Two bytes, not zero.
    NonZeroU16,
    /// Four bytes.
    U32,
    /// Four bytes, not zero.
    NonZeroU32,
    /// Variable Byte Integer, not zero.
    NonZeroVariable,
    /// UTF-8 string.
    Text,
    /// UTF-8 string that is a Topic Name: not empty, no wildcards.
    Topic,
    /// Binary Data.
    Binary,
    /// Two UTF-8 strings.
    Pair,
}

macro_rules! properties {
    ($($id:literal $name:ident $text:literal $kind:ident $carriers:expr;)*) => {
        /// A property, by its identifier.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        pub enum Property {
            $(
                #[doc = concat!($text, ", ", stringify!($id), ".")]
                $name = $id,
            )*
        }

        impl Property {
            /// Every property there is.
            pub const ALL: &'static [Property] = &[$(Property::$name),*];

            /// The property with the identifier `byte`, if there is one.
            #[inline]
            pub const fn from_byte(byte: u8) -> Option<Property> {
                match byte {
                    $($id => Some(Property::$name),)*
                    _ => None,
                }
            }

            /// The specification's name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Property::$name => $text,)*
                }
            }

            /// How its value is written.
            #[inline]
            pub const fn kind(self) -> ValueKind {
                match self {
                    $(Property::$name => ValueKind::$kind,)*
                }
            }

            /// Whether a packet of `carrier` (one bit of [`carrier`]) may carry it.
            #[inline]
            pub const fn allowed_in(self, carrier: u16) -> bool {
                let carriers = match self {
                    $(Property::$name => $carriers,)*
                };
                carriers & carrier != 0
            }
        }
    };
}

const MESSAGE: u16 = PUBLISH | WILL;

properties! {
    0x01 PayloadFormatIndicator "Payload Format Indicator" Flag MESSAGE;
    0x02 MessageExpiryInterval "Message Expiry Interval" U32 MESSAGE;
    0x03 ContentType "Content Type" Text MESSAGE;
    0x08 ResponseTopic "Response Topic" Topic MESSAGE;
    0x09 CorrelationData "Correlation Data" Binary MESSAGE;
    0x0B SubscriptionIdentifier "Subscription Identifier" NonZeroVariable PUBLISH | SUBSCRIBE;
    0x11 SessionExpiryInterval "Session Expiry Interval" U32 CONNECT | CONNACK | DISCONNECT;
    0x12 AssignedClientIdentifier "Assigned Client Identifier" Text CONNACK;
    0x13 ServerKeepAlive "Server Keep Alive" U16 CONNACK;
    0x15 AuthenticationMethod "Authentication Method" Text CONNECT | CONNACK | AUTH;
    0x16 AuthenticationData "Authentication Data" Binary CONNECT | CONNACK | AUTH;
    0x17 RequestProblemInformation "Request Problem Information" Flag CONNECT;
    0x18 WillDelayInterval "Will Delay Interval" U32 WILL;
    0x19 RequestResponseInformation "Request Response Information" Flag CONNECT;
    0x1A ResponseInformation "Response Information" Text CONNACK;
    0x1C ServerReference "Server Reference" Text CONNACK | DISCONNECT;
    0x1F ReasonString "Reason String" Text CONNACK | ACK | SUBACK | DISCONNECT | AUTH;
    0x21 ReceiveMaximum "Receive Maximum" NonZeroU16 CONNECT | CONNACK;
    0x22 TopicAliasMaximum "Topic Alias Maximum" U16 CONNECT | CONNACK;
    0x23 TopicAlias "Topic Alias" NonZeroU16 PUBLISH;
    0x24 MaximumQoS "Maximum QoS" Flag CONNACK;
    0x25 RetainAvailable "Retain Available" Flag CONNACK;
    0x26 UserProperty "User Property" Pair !0;
    0x27 MaximumPacketSize "Maximum Packet Size" NonZeroU32 CONNECT | CONNACK;
    0x28 WildcardSubscriptionAvailable "Wildcard Subscription Available" Flag CONNACK;
    0x29 SubscriptionIdentifiersAvailable "Subscription Identifiers Available" Flag CONNACK;
    0x2A SharedSubscriptionAvailable "Shared Subscription Available" Flag CONNACK;
}

impl Property {
    /// Whether it may stand more than once in a packet of `carrier`.
    #[inline]
    pub const fn repeatable_in(self, carrier: u16) -> bool {
        match self {
            Property::UserProperty => true,
            Property::SubscriptionIdentifier => carrier == PUBLISH,
            _ => false,
        }
    }

    /// Whether a server passes it on unaltered with the message `[MQTT5-3.3.2-4]`,
    /// `[MQTT5-3.3.2-15]`, `[MQTT5-3.3.2-16]`, `[MQTT5-3.3.2-17]`, `[MQTT5-3.3.2-20]`.
    #[inline]
    pub const fn forwarded(self) -> bool {
        matches!(
            self,
            Property::PayloadFormatIndicator
                | Property::ContentType
                | Property::ResponseTopic
                | Property::CorrelationData
                | Property::UserProperty
        )
    }

    /// Reads its value and checks it against its kind.
    #[inline]
    fn read<'a>(self, reader: &mut FieldReader<'a>) -> Result<PropertyValue<'a>, DecodeError> {
        let field = self.name();
        let value = match self.kind() {
            ValueKind::Flag => match reader.u8(field)? {
                byte @ (0 | 1) => PropertyValue::Number(u32::from(byte)),
                _ => return Err(DecodeError::Refused(Reason::ProtocolError, field)),
            },
            ValueKind::U16 => PropertyValue::Number(u32::from(reader.u16(field)?)),
            ValueKind::NonZeroU16 => self.not_zero(u32::from(reader.u16(field)?))?,
            ValueKind::U32 => PropertyValue::Number(reader.u32(field)?),
            ValueKind::NonZeroU32 => self.not_zero(reader.u32(field)?)?,
            ValueKind::NonZeroVariable => self.not_zero(reader.variable(field)?)?,
            ValueKind::Text => PropertyValue::Text(reader.text(field)?),
            ValueKind::Topic => match reader.topic(field, Reason::ProtocolError)? {
                "" => return Err(DecodeError::Refused(Reason::ProtocolError, field)),
                topic => PropertyValue::Text(topic),
            },
            ValueKind::Binary => PropertyValue::Binary(reader.binary(field)?),
            ValueKind::Pair => {
                reader.text(field)?;
                reader.text(field)?;
                PropertyValue::Pair
            }
        };
        Ok(value)
    }

    fn not_zero<'a>(self, number: u32) -> Result<PropertyValue<'a>, DecodeError> {
        if number != 0 {
            return Ok(PropertyValue::Number(number));
        }
        let reason = match self {
            Property::TopicAlias => Reason::TopicAliasInvalid, // [MQTT5-3.3.2-8]
            _ => Reason::ProtocolError,
        };
        Err(DecodeError::Refused(reason, self.name()))
    }

    /// Steps over its value, which was checked before.
    fn skip(self, reader: &mut FieldReader<'_>) -> Result<(), DecodeError> {
        let field = self.name();
        match self.kind() {
            ValueKind::Flag => reader.u8(field).map(drop),
            ValueKind::U16 | ValueKind::NonZeroU16 => reader.u16(field).map(drop),
            ValueKind::U32 | ValueKind::NonZeroU32 => reader.u32(field).map(drop),
            ValueKind::NonZeroVariable => reader.variable(field).map(drop),
            ValueKind::Text | ValueKind::Topic | ValueKind::Binary => {
                reader.binary(field).map(drop)
            }
            ValueKind::Pair => reader.binary(field).and_then(|_| reader.binary(field)).map(drop),
        }
    }
}

/// The value of a property, as far as a packet needs it.
#[derive(Clone, Copy, Debug)]
pub(super) enum PropertyValue<'a> {
    /// Of every numeric kind.
    Number(u32),
    /// Text or Topic.
    Text(&'a str),
    /// Binary.
    Binary(&'a [u8]),
    /// A User Property: read from the block when wanted.
    Pair,
}

impl<'a> PropertyValue<'a> {
    /// The number, of a numeric property.
    pub(super) fn number(self) -> u32 {
        match self {
            PropertyValue::Number(number) => number,
            PropertyValue::Text(_) | PropertyValue::Binary(_) | PropertyValue::Pair => 0,
        }
    }

    /// The number of a two-byte property.
    pub(super) fn u16(self) -> u16 {
        self.number() as u16
    }

    /// The value of a flag.
    pub(super) fn flag(self) -> bool {
        self.number() != 0
    }

    /// The string, of a property that is one.
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            PropertyValue::Text(text) => Some(text),
            PropertyValue::Number(_) | PropertyValue::Binary(_) | PropertyValue::Pair => None,
        }
    }

    /// The bytes, of a binary property.
    pub(super) fn binary(self) -> Option<&'a [u8]> {
        match self {
            PropertyValue::Binary(bytes) => Some(bytes),
            PropertyValue::Number(_) | PropertyValue::Text(_) | PropertyValue::Pair => None,
        }
    }
}

/// A block of properties that [`read_block`] has checked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Block<'a> {
    /// The whole block.
    pub(super) all: Properties<'a>,
    /// From the first to the last User Property.
    pub(super) user: Properties<'a>,
    /// How many User Properties.
    pub(super) users: usize,
}

/// Reads a Property Length and the properties in it, checks all of them against the table, and
/// shows each to `each`.
#[inline]
pub(super) fn read_block<'a>(
    reader: &mut FieldReader<'a>,
    carrier: u16,
    limits: &DecodeLimits,
    mut each: impl FnMut(Property, PropertyValue<'a>),
) -> Result<Block<'a>, DecodeError> {
    let len = reader.variable("Property Length")? as usize;
    if len == 0 {
        return Ok(Block::default());
    }
    if len > limits.properties_max {
        return Err(DecodeError::Refused(Reason::PacketTooLarge, "too many bytes of properties"));
    }
    let block = reader.take(len, "Property Length")?;
    let mut reader = FieldReader::new(block);
    let mut seen = 0u64;
    let mut users = 0;
    let mut user_span = 0..0;
    while !reader.is_empty() {
        let start = len - reader.len();
        let byte = reader.u8("Property Identifier")?;
        let property = Property::from_byte(byte)
            .filter(|property| property.allowed_in(carrier))
            .ok_or(DecodeError::Malformed("property that may not be in this packet"))?;
        let bit = 1 << byte;
        if seen & bit != 0 && !property.repeatable_in(carrier) {
            return Err(DecodeError::Refused(Reason::ProtocolError, "property given twice"));
        }
        seen |= bit;
        each(property, property.read(&mut reader)?);
        if property == Property::UserProperty {
            user_span.start = if users == 0 { start } else { user_span.start };
            user_span.end = len - reader.len();
            users += 1;
        }
    }
    if users > limits.user_properties_max {
        return Err(DecodeError::Refused(Reason::QuotaExceeded, "too many User Properties"));
    }
    Ok(Block { all: Properties(block), user: Properties(&block[user_span]), users })
}

/// A checked block of properties, borrowed, without its length.
///
/// A packet's own properties stand in its fields. The block is for what is passed on with a
/// message, for the User Properties, and for the Subscription Identifiers; two blocks are equal
/// if they agree in these. The order counts only among properties of one identifier.
#[derive(Clone, Copy, Debug, Default)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Properties<'static> = Properties(&[]);

    /// Takes over a block that was checked before: one that [`Properties::forwarded`] of a
    /// decoded PUBLISH or Will wrote, kept in a message, or that [`put_user_property`] made.
    pub fn trusted(block: &'a [u8]) -> Properties<'a> {
        Properties(block)
    }

    /// The bytes of the block.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes [`Properties::forwarded`] writes.
    pub fn forwarded_len(&self) -> usize {
        self.entries().filter(|(property, _)| property.forwarded()).map(|(_, raw)| raw.len()).sum()
    }

    /// Appends what a broker forwards unaltered with a message, in order: everything but Topic
    /// Alias, Message Expiry Interval, Subscription Identifier and Will Delay Interval.
    #[inline]
    pub fn forwarded(&self, out: &mut Vec<u8>) {
        if !self.as_bytes().is_empty() {
            self.put_forwarded(out);
        }
    }

    /// The same, but for User Properties of this name.
    pub fn forwarded_without(&self, name: &str, out: &mut Vec<u8>) {
        for (property, raw) in self.entries().filter(|(property, _)| property.forwarded()) {
            let is_named = property == Property::UserProperty
                && FieldReader::new(&raw[1..]).text("").is_ok_and(|found| found == name);
            if !is_named {
                out.extend_from_slice(raw);
            }
        }
    }

    /// The Subscription Identifiers in the block, in order.
    pub fn subscription_ids(&self) -> Vec<u32> {
        self.entries()
            .filter(|(property, _)| *property == Property::SubscriptionIdentifier)
            .filter_map(|(_, raw)| FieldReader::new(&raw[1..]).variable("").ok())
            .collect()
    }

    /// The User Properties in the block, in order.
    pub fn user_properties(&self) -> Vec<(&'a str, &'a str)> {
        self.users().collect()
    }

    /// The value of the first User Property of this name.
    pub fn user_property(&self, name: &str) -> Option<&'a str> {
        self.users().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// Correlation Data.
    pub fn correlation_data(&self) -> Option<&'a [u8]> {
        let mut entries = self.entries();
        let (_, raw) = entries.find(|(property, _)| *property == Property::CorrelationData)?;
        FieldReader::new(&raw[1..]).binary("").ok()
    }

    fn users(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.entries().filter(|(property, _)| *property == Property::UserProperty).filter_map(
            |(_, raw)| {
                let mut reader = FieldReader::new(&raw[1..]);
                Some((reader.text("").ok()?, reader.text("").ok()?))
            },
        )
    }

    /// Writes what is forwarded to `sink`.
    pub(super) fn put_forwarded(&self, sink: &mut (impl Sink + ?Sized)) {
        for (_, raw) in self.entries().filter(|(property, _)| property.forwarded()) {
            sink.put(raw);
        }
    }

    /// Writes the User Properties of the block to `sink`.
    pub(super) fn put_users(&self, sink: &mut dyn Sink) {
        for (_, raw) in self.entries().filter(|(id, _)| *id == Property::UserProperty) {
            sink.put(raw);
        }
    }

    /// Each property with its bytes, identifier included. Ends at what is no property, which is
    /// in no checked block.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Property, &'a [u8])> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let property = Property::from_byte(*rest.first()?)?;
            let mut reader = FieldReader::new(&rest[1..]);
            property.skip(&mut reader).ok()?;
            let (entry, after) = rest.split_at(rest.len() - reader.len());
            rest = after;
            Some((property, entry))
        })
    }

    /// What two equal blocks agree in: sorted by identifier, otherwise in order.
    fn meaning(&self) -> Vec<(Property, &'a [u8])> {
        let counts = |property: Property| {
            property.forwarded() || property == Property::SubscriptionIdentifier
        };
        let mut entries: Vec<_> =
            self.entries().filter(|(property, _)| counts(*property)).collect();
        entries.sort_by_key(|(property, _)| *property);
        entries
    }
}

impl PartialEq for Properties<'_> {
    fn eq(&self, other: &Properties<'_>) -> bool {
        self.0 == other.0 || self.meaning() == other.meaning()
    }
}

/// Appends a User Property to `block`, to be handed to [`Properties::trusted`].
///
/// The strings must hold no U+0000. Longer ones than 65,535 bytes are cut to nothing.
pub fn put_user_property(block: &mut Vec<u8>, name: &str, value: &str) {
    let fits = |text: &str| text.len() <= usize::from(u16::MAX);
    block.push(Property::UserProperty as u8);
    block.field(if fits(name) { name.as_bytes() } else { b"" });
    block.field(if fits(value) { value.as_bytes() } else { b"" });
}

/// Appends a Content Type to `block`, as [`put_user_property`] does.
pub fn put_content_type(block: &mut Vec<u8>, content_type: &str) {
    let fits = content_type.len() <= usize::from(u16::MAX);
    block.push(Property::ContentType as u8);
    block.field(if fits { content_type.as_bytes() } else { b"" });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_identifier_fits_the_set_of_those_seen() {
        for property in Property::ALL {
            assert!((*property as u8) < 64);
            assert_eq!(Property::from_byte(*property as u8), Some(*property));
        }
        assert_eq!(Property::ALL.len(), 27);
    }

    #[test]
    fn forwarding_drops_what_belongs_to_one_hop_and_keeps_the_order() {
        let mut block = vec![0x23, 0, 1];
        put_user_property(&mut block, "k", "v");
        block.extend([0x02, 0, 0, 0, 9, 0x01, 1, 0x0B, 0x80, 0x01]);
        put_user_property(&mut block, "k", "w");
        let properties = Properties::trusted(&block);
        let mut out = Vec::new();
        properties.forwarded(&mut out);
        let mut expected = Vec::new();
        put_user_property(&mut expected, "k", "v");
        expected.extend([0x01, 1]);
        put_user_property(&mut expected, "k", "w");
        assert_eq!(out, expected);
        assert_eq!(properties.forwarded_len(), expected.len());
        assert_eq!(properties.subscription_ids(), [128]);
        assert_eq!(properties.user_properties(), [("k", "v"), ("k", "w")]);
    }

    #[test]
    fn order_counts_only_among_properties_of_one_identifier() {
        let block = |names: [&str; 2], flag_first: bool| {
            let mut block = if flag_first { vec![0x01, 1] } else { Vec::new() };
            put_user_property(&mut block, names[0], "");
            put_user_property(&mut block, names[1], "");
            block.extend(if flag_first { &[][..] } else { &[0x01, 1] });
            block
        };
        let (a, b, c) =
            (block(["x", "y"], true), block(["x", "y"], false), block(["y", "x"], true));
        assert_eq!(Properties(&a), Properties(&b));
        assert_ne!(Properties(&a), Properties(&c));
    }
}
