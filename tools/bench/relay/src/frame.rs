//! Just enough of MQTT to forward it: where a packet ends, and what is in a PUBLISH and a
//! SUBSCRIBE. Nothing here checks more than it needs for not reading past an end.

/// A packet as it stands in the bytes that were read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// Where the variable header starts.
    pub body_at: usize,
}

impl<'a> Frame<'a> {
    /// Cuts one packet from the front; `None` if it is not all there yet.
    pub fn cut(bytes: &'a [u8]) -> Result<Option<Frame<'a>>, Malformed> {
        let mut len = 0;
        for (at, byte) in bytes.iter().skip(1).take(4).enumerate() {
            len |= usize::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                let end = at + 2 + len;
                if end > FRAME_MAX {
                    return Err(Malformed);
                }
                return Ok(bytes.get(..end).map(|bytes| Frame { bytes, body_at: at + 2 }));
            }
        }
        if bytes.len() > 4 { Err(Malformed) } else { Ok(None) }
    }

    /// The packet's type, the upper half of its first byte.
    pub fn kind(&self) -> u8 {
        self.bytes[0] >> 4
    }

    /// What follows the fixed header.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[self.body_at..]
    }

    /// The Packet Identifier of a packet that starts with one.
    pub fn packet_id(&self) -> Result<[u8; 2], Malformed> {
        self.body().first_chunk().copied().ok_or(Malformed)
    }

    /// Whether a CONNECT is of version 5.
    pub fn is_version5(&self) -> Result<bool, Malformed> {
        let (_, rest) = string(self.body())?;
        match rest.first() {
            Some(3 | 4) => Ok(false),
            Some(5) => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// The Topic Filters of a SUBSCRIBE with the `QoS` asked for, or those of an UNSUBSCRIBE.
    pub fn filters(&self, version5: bool) -> Result<Vec<(&'a [u8], u8)>, Malformed> {
        let options = usize::from(self.kind() == SUBSCRIBE);
        let mut rest = self.body().get(2..).ok_or(Malformed)?;
        if version5 {
            rest = &rest[properties(rest)?..];
        }
        let mut filters = Vec::new();
        while !rest.is_empty() {
            let (filter, behind) = string(rest)?;
            let qos = if options == 1 { *behind.first().ok_or(Malformed)? & 3 } else { 0 };
            filters.push((filter, qos));
            rest = &behind[options..];
        }
        Ok(filters)
    }
}

/// A PUBLISH, and how to write it again for a receiver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Publish<'a> {
    /// The Topic Name.
    pub topic: &'a [u8],
    /// The quality of service it came with.
    pub qos: u8,
    /// The Packet Identifier it came with; zero at `QoS` 0.
    pub id: [u8; 2],
    bytes: &'a [u8],
    /// Where the Topic Name's length stands.
    topic_at: usize,
    /// Where the properties, if it is of version 5, and the payload start.
    rest_at: usize,
    version5: bool,
}

impl<'a> Publish<'a> {
    /// Reads the PUBLISH in `frame`.
    pub fn parse(frame: &Frame<'a>, version5: bool) -> Result<Publish<'a>, Malformed> {
        let qos = frame.bytes[0] >> 1 & 3;
        let (topic, behind) = string(frame.body())?;
        let id = if qos == 0 { [0; 2] } else { *behind.first_chunk().ok_or(Malformed)? };
        let bytes = frame.bytes;
        let rest_at = bytes.len() - behind.len() + if qos == 0 { 0 } else { 2 };
        Ok(Publish { topic, qos, id, bytes, topic_at: frame.body_at, rest_at, version5 })
    }

    /// Appends it to `out` as a receiver shall have it; `id` is used above `QoS` 0.
    pub fn write(
        &self,
        qos: u8,
        id: u16,
        version5: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        if qos == self.qos && version5 == self.version5 {
            // The usual case: the same bytes, but for the identifier and the flags DUP and RETAIN.
            let start = out.len();
            out.extend_from_slice(self.bytes);
            out[start] = 0x30 | qos << 1;
            if qos > 0 {
                let id_at = start + self.rest_at - 2;
                out[id_at..id_at + 2].copy_from_slice(&id.to_be_bytes());
            }
            return Ok(());
        }
        let mut rest = &self.bytes[self.rest_at..];
        if self.version5 && !version5 {
            rest = &rest[properties(rest)?..];
        }
        let none = version5 && !self.version5;
        let id = id.to_be_bytes();
        let id = if qos == 0 { &[][..] } else { &id[..] };
        let topic = &self.bytes[self.topic_at..self.topic_at + 2 + self.topic.len()];
        out.push(0x30 | qos << 1);
        put_length(topic.len() + id.len() + usize::from(none) + rest.len(), out);
        out.extend_from_slice(topic);
        out.extend_from_slice(id);
        if none {
            out.push(0);
        }
        out.extend_from_slice(rest);
        Ok(())
    }
}

/// What cannot be read; the connection is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

fn string(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (len, rest) = bytes.split_first_chunk().ok_or(Malformed)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or(Malformed)
}

/// How many bytes the properties at the front take, their length included.
fn properties(bytes: &[u8]) -> Result<usize, Malformed> {
    let mut len = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        len |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            let end = at + 1 + len;
            return if end <= bytes.len() { Ok(end) } else { Err(Malformed) };
        }
    }
    Err(Malformed)
}

/// Appends a Remaining Length.
pub fn put_length(mut len: usize, out: &mut Vec<u8>) {
    while len > 0x7F {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
}

/// The longest packet that is taken.
const FRAME_MAX: usize = 16 << 20;

pub const CONNECT: u8 = 1;
pub const PUBLISH: u8 = 3;
pub const PUBACK: u8 = 4;
pub const PUBREC: u8 = 5;
pub const PUBREL: u8 = 6;
pub const PUBCOMP: u8 = 7;
pub const SUBSCRIBE: u8 = 8;
pub const UNSUBSCRIBE: u8 = 10;
pub const PINGREQ: u8 = 12;

#[cfg(test)]
mod tests {
    use super::{Frame, Malformed, Publish, put_length};

    /// A PUBLISH to `a/b`, built in the plainest way.
    fn publish(qos: u8, id: u16, properties: Option<&[u8]>, payload: &[u8]) -> Vec<u8> {
        let mut body = b"\0\x03a/b".to_vec();
        if qos > 0 {
            body.extend(id.to_be_bytes());
        }
        if let Some(properties) = properties {
            put_length(properties.len(), &mut body);
            body.extend(properties);
        }
        body.extend(payload);
        let mut bytes = vec![0x30 | qos << 1];
        put_length(body.len(), &mut bytes);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_packet_is_cut_where_it_ends_and_not_before() {
        for len in [0, 1, 120, 121, 122, 127, 128, 16_383, 16_384, 100_000] {
            let mut bytes = publish(0, 0, None, &vec![7; len]);
            let whole = bytes.len();
            bytes.extend([0xC0, 0]);
            let frame = Frame::cut(&bytes).unwrap().unwrap();
            assert_eq!(frame.bytes.len(), whole);
            assert_eq!(&frame.body()[..5], b"\0\x03a/b");
            for short in [0, 1, 2, 3, whole / 2, whole - 1] {
                assert_eq!(Frame::cut(&bytes[..short.min(whole - 1)]), Ok(None), "{short}");
            }
        }
    }

    #[test]
    fn a_length_of_five_bytes_or_of_too_much_is_malformed() {
        assert_eq!(Frame::cut(&[0x30, 0x80, 0x80, 0x80, 0x80]), Err(Malformed));
        assert_eq!(Frame::cut(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]), Err(Malformed));
        assert_eq!(Frame::cut(&[0x30, 0x80, 0x80, 0x80]), Ok(None));
    }

    #[test]
    fn every_receiver_gets_the_form_of_its_version_and_quality() {
        let properties: &[u8] = &[0x01, 1];
        for (from_qos, from5) in [(0, false), (1, false), (2, false), (0, true), (1, true)] {
            let mut came = publish(from_qos, 9, from5.then_some(properties), b"payload");
            came[0] |= 0x09;
            let frame = Frame::cut(&came).unwrap().unwrap();
            let read = Publish::parse(&frame, from5).unwrap();
            assert_eq!((read.topic, read.qos), (&b"a/b"[..], from_qos));
            assert_eq!(read.id, if from_qos == 0 { [0, 0] } else { [0, 9] });
            for (qos, to5) in (0..=from_qos).flat_map(|qos| [(qos, false), (qos, true)]) {
                let kept = if from5 { properties } else { &[] };
                let expected = publish(qos, 513, to5.then_some(kept), b"payload");
                let mut out = vec![0xEE];
                read.write(qos, 513, to5, &mut out).unwrap();
                assert_eq!(out[1..], expected, "{from_qos} {from5} -> {qos} {to5}");
            }
        }
    }

    #[test]
    fn what_reaches_past_its_packet_is_malformed() {
        let readable = |bytes: &[u8]| {
            let frame = Frame::cut(bytes).unwrap().unwrap();
            Publish::parse(&frame, false).is_ok()
        };
        assert!(readable(b"\x30\x05\0\x03a/b"));
        assert!(!readable(b"\x30\x05\0\x04a/b"));
        assert!(!readable(b"\x32\x06\0\x03a/b\0"));
        let filters = |bytes: &[u8], version5: bool| {
            let frame = Frame::cut(bytes).unwrap().unwrap();
            frame.filters(version5).map(|filters| filters.len())
        };
        assert_eq!(filters(b"\x82\x08\0\x01\0\x03a/b\x01", false), Ok(1));
        assert_eq!(filters(b"\x82\x09\0\x01\0\0\x03a/b\x01", true), Ok(1));
        assert_eq!(filters(b"\xA2\x0C\0\x01\0\x03a/b\0\x03a/c", false), Ok(2));
        assert_eq!(filters(b"\x82\x07\0\x01\0\x03a/b", false), Err(Malformed));
        assert_eq!(filters(b"\x82\x09\0\x01\x09\0\x03a/b\x01", true), Err(Malformed));
    }
}
