//! Numbers and texts in the values of rows: written one after the other, and read so again.

/// The first version of a value's form: that of all values so far but of copies in flight.
pub const FORM: u8 = 1;

/// Writes a value, behind whatever stands there already.
#[derive(Debug)]
pub struct ValueWriter<'a>(&'a mut Vec<u8>);

impl ValueWriter<'_> {
    /// A value that begins with the version of its form.
    pub fn begin(form: u8, out: &mut Vec<u8>) -> ValueWriter<'_> {
        out.push(form);
        ValueWriter(out)
    }

    /// Makes room for so many more bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.0.reserve(bytes);
    }

    pub fn u8(&mut self, n: u8) {
        self.0.push(n);
    }

    pub fn u32(&mut self, n: u32) {
        self.0.extend_from_slice(&n.to_be_bytes());
    }

    pub fn u64(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_be_bytes());
    }

    /// Seven bits a byte, lowest first.
    pub fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    /// A length, and so many bytes.
    pub fn block(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// What is last needs no length.
    pub fn rest(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// Reads a value. What does not fit is [`Torn`]; nothing is guessed.
#[derive(Debug)]
pub struct ValueReader<'a>(&'a [u8]);

/// A value ends too early, or says what it cannot mean.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Torn;

impl<'a> ValueReader<'a> {
    pub fn new(bytes: &'a [u8]) -> ValueReader<'a> {
        ValueReader(bytes)
    }

    /// Reads a value behind the version of its form, which must be this one.
    pub fn begin(form: u8, bytes: &'a [u8]) -> Result<ValueReader<'a>, Torn> {
        let mut reader = ValueReader(bytes);
        if reader.u8()? == form { Ok(reader) } else { Err(Torn) }
    }

    pub fn u8(&mut self) -> Result<u8, Torn> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub fn u16(&mut self) -> Result<u16, Torn> {
        self.number().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Torn> {
        self.number().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Torn> {
        self.number().map(u64::from_be_bytes)
    }

    pub fn varint(&mut self) -> Result<u64, Torn> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(Torn)
    }

    pub fn block(&mut self) -> Result<&'a [u8], Torn> {
        let len = self.varint()?;
        self.take(usize::try_from(len).map_err(|_| Torn)?)
    }

    pub fn text(&mut self) -> Result<&'a str, Torn> {
        std::str::from_utf8(self.block()?).map_err(|_| Torn)
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<(), Torn> {
        if self.0.is_empty() { Ok(()) } else { Err(Torn) }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Torn> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Torn)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Torn> {
        self.take(N)?.try_into().map_err(|_| Torn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for n in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            let mut value = ValueWriter::begin(1, &mut bytes);
            value.varint(n);
            value.u32(8);
            value.u64(n);
            value.block(b"text");
            value.rest(b"rest");
            let mut reader = ValueReader::new(&bytes);
            assert_eq!(reader.u8(), Ok(1));
            assert_eq!(reader.varint(), Ok(n));
            assert_eq!((reader.u32(), reader.u64()), (Ok(8), Ok(n)));
            assert_eq!((reader.text(), reader.rest()), (Ok("text"), &b"rest"[..]));
            assert_eq!(reader.end(), Ok(()));
        }
    }

    #[test]
    fn what_ends_too_early_is_torn() {
        let mut bytes = Vec::new();
        ValueWriter(&mut bytes).block(b"text");
        for len in 0..bytes.len() {
            assert_eq!(ValueReader::new(&bytes[..len]).block(), Err(Torn));
        }
        assert_eq!(ValueReader::new(&[0xff; 11]).varint(), Err(Torn));
    }
}
