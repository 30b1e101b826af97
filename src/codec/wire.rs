//! The primitives of the wire: integers, variable integers, strings and binary fields.
//!
//! A [`FieldReader`] sees exactly one frame or one block of properties; running past its end is always
//! an error, never a wish for more bytes. Only [`remaining_length`] can find that bytes are missing.

use super::error::DecodeError;
use super::reason::Reason;
use super::words::PacketId;

/// Largest value of a Variable Byte Integer: 268,435,455.
pub(super) const VARIABLE_MAX: usize = 0x0FFF_FFFF;

/// What is known of the Remaining Length at the front of the bytes after the first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RemainingLength {
    /// More bytes are needed to know.
    Unfinished,
    /// A fourth byte with a continuation bit.
    Malformed,
    /// Known.
    Known {
        /// The value.
        value: usize,
        /// Bytes it takes, 1 to 4.
        len: usize,
        /// Whether it is in its shortest form.
        shortest: bool,
    },
}

/// Reads the Remaining Length from `bytes`, which start after the first byte of the packet.
#[inline]
pub(super) fn remaining_length(bytes: &[u8]) -> RemainingLength {
    if let Some(&byte) = bytes.first()
        && byte < 0x80
    {
        return RemainingLength::Known { value: usize::from(byte), len: 1, shortest: true };
    }
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte < 0x80 {
            return RemainingLength::Known { value, len: index + 1, shortest: byte != 0 };
        }
    }
    if bytes.len() >= 4 { RemainingLength::Malformed } else { RemainingLength::Unfinished }
}

/// Reads fields from the front of a slice. Every method names the field for the error.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldReader<'a> {
    rest: &'a [u8],
}

impl<'a> FieldReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> FieldReader<'a> {
        FieldReader { rest: bytes }
    }

    #[inline]
    pub(super) fn take(
        &mut self,
        len: usize,
        field: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Malformed(field))?;
        self.rest = rest;
        Ok(taken)
    }

    /// All that is left.
    #[inline]
    pub(super) fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    #[inline]
    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        let (&byte, rest) = self.rest.split_first().ok_or(DecodeError::Malformed(field))?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        let (&bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Malformed(field))?;
        self.rest = rest;
        Ok(u16::from_be_bytes(bytes))
    }

    #[inline]
    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let (&bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Malformed(field))?;
        self.rest = rest;
        Ok(u32::from_be_bytes(bytes))
    }

    /// A Packet Identifier; zero is a Protocol Error `[MQTT5-2.2.1-3]`.
    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16("Packet Identifier")?)
            .ok_or(DecodeError::Refused(Reason::ProtocolError, "packet identifier is zero"))
    }

    /// A Variable Byte Integer in its shortest form `[MQTT5-1.5.5-1]`.
    #[inline]
    pub(super) fn variable(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        match remaining_length(self.rest) {
            RemainingLength::Known { value, len, shortest: true } => {
                self.rest = &self.rest[len..];
                Ok(value as u32)
            }
            _ => Err(DecodeError::Malformed(field)),
        }
    }

    /// Binary Data: two bytes of length, then the bytes.
    #[inline]
    pub(super) fn binary(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.u16(field)?;
        self.take(usize::from(len), field)
    }

    /// A UTF-8 string `[MQTT5-1.5.4-1]` without U+0000 `[MQTT5-1.5.4-2]`.
    #[inline]
    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let bytes = self.binary(field)?;
        match std::str::from_utf8(bytes) {
            Ok(text) if !holds(bytes, |byte| byte == 0) => Ok(text),
            _ => Err(DecodeError::Malformed(field)),
        }
    }

    /// A Topic Name, possibly empty: a UTF-8 string without wildcards `[MQTT5-3.3.2-2]`;
    /// a wildcard is refused with `reason`.
    #[inline]
    pub(super) fn topic(
        &mut self,
        field: &'static str,
        reason: Reason,
    ) -> Result<&'a str, DecodeError> {
        let bytes = self.binary(field)?;
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(DecodeError::Malformed(field));
        };
        if holds_null_or_wildcard(bytes) {
            return Err(forbidden_character(bytes, field, reason));
        }
        Ok(text)
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// Nothing may follow the last field.
    #[inline]
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(DecodeError::Malformed("bytes after the end"))
    }
}

/// Whether U+0000, `+` or `#` is in `bytes`.
#[inline]
fn holds_null_or_wildcard(bytes: &[u8]) -> bool {
    // `+` is `#` with one more bit: without that bit both are the same.
    holds(bytes, |byte| (byte == 0) | (byte & !0x08 == b'#'))
}

/// Whether `found` is true of one of the bytes: by chunks, the last of which may overlap the one
/// before.
#[inline]
fn holds(bytes: &[u8], found: impl Fn(u8) -> bool + Copy) -> bool {
    if let Some(last) = bytes.last_chunk::<16>() {
        let mut chunks = bytes.as_chunks::<16>().0.iter();
        return chunks.any(|chunk| chunk_holds(chunk, found)) || chunk_holds(last, found);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        return chunk_holds(first, found) | chunk_holds(last, found);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return chunk_holds(first, found) | chunk_holds(last, found);
    }
    bytes.iter().any(|byte| found(*byte))
}

/// The same for one chunk, without branches: the compiler makes vector instructions of it.
#[inline]
fn chunk_holds<const N: usize>(chunk: &[u8; N], found: impl Fn(u8) -> bool) -> bool {
    chunk.iter().fold(false, |before, byte| before | found(*byte))
}

#[cold]
fn forbidden_character(bytes: &[u8], field: &'static str, reason: Reason) -> DecodeError {
    if bytes.contains(&0) {
        return DecodeError::Malformed(field);
    }
    DecodeError::Refused(reason, "wildcard in a topic name")
}

/// Where an encoder puts bytes: once into a [`Measure`], then into a buffer.
pub(super) trait Sink {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);

    /// Binary Data or a UTF-8 string: two bytes of length, then the bytes.
    fn field(&mut self, bytes: &[u8]) {
        self.put(&(bytes.len() as u16).to_be_bytes());
        self.put(bytes);
    }

    /// A Variable Byte Integer in its shortest form `[MQTT5-1.5.5-1]`.
    fn variable(&mut self, value: usize) {
        let (bytes, len) = variable_bytes(value);
        self.put(&bytes[..len]);
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts what would be written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measure {
    /// Bytes so far.
    pub(super) len: usize,
    /// A field was longer than 65,535 bytes.
    pub(super) field_too_long: bool,
}

impl Sink for Measure {
    fn put(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
    }

    fn field(&mut self, bytes: &[u8]) {
        self.field_too_long |= bytes.len() > usize::from(u16::MAX);
        self.len += 2 + bytes.len();
    }
}

/// `value` as a Variable Byte Integer, and how many of the bytes count.
#[inline]
pub(super) fn variable_bytes(value: usize) -> ([u8; 4], usize) {
    debug_assert!(value <= VARIABLE_MAX);
    if value < 0x80 {
        return ([value as u8, 0, 0, 0], 1);
    }
    let mut bytes = [0; 4];
    let mut rest = value;
    let mut len = 0;
    loop {
        bytes[len] = (rest & 0x7F) as u8;
        rest >>= 7;
        if rest == 0 || len == 3 {
            return (bytes, len + 1);
        }
        bytes[len] |= 0x80;
        len += 1;
    }
}

/// Bytes that `value` takes as a Variable Byte Integer.
#[inline]
pub(super) fn variable_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_integers_round_trip_at_every_edge() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, VARIABLE_MAX] {
            let (bytes, len) = variable_bytes(value);
            assert_eq!(len, variable_len(value), "{value}");
            let known = RemainingLength::Known { value, len, shortest: true };
            assert_eq!(remaining_length(&bytes[..len]), known);
            assert_eq!(remaining_length(&bytes[..len - 1]), RemainingLength::Unfinished);
        }
    }

    #[test]
    fn a_longer_form_is_seen_and_a_fifth_byte_is_malformed() {
        let long = RemainingLength::Known { value: 0, len: 2, shortest: false };
        assert_eq!(remaining_length(&[0x80, 0]), long);
        assert_eq!(remaining_length(&[0xFF; 4]), RemainingLength::Malformed);
        assert_eq!(remaining_length(&[0xFF; 3]), RemainingLength::Unfinished);
    }

    #[test]
    fn the_word_scan_agrees_with_the_byte_scan() {
        let naive = |bytes: &[u8]| bytes.iter().any(|b| matches!(b, 0 | b'+' | b'#'));
        for len in 0..40 {
            for at in 0..len {
                for byte in 0..=255 {
                    let mut bytes = vec![0xE9; len];
                    bytes[at] = byte;
                    assert_eq!(holds_null_or_wildcard(&bytes), naive(&bytes), "{bytes:?}");
                }
            }
        }
    }
}
