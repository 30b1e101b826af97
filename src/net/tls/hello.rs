//! The first bytes of a connection to a TLS listener: is it TLS, is the whole ClientHello there, and what
//! does it offer? Read before anything is decided, from bytes that stay where they are.
//!
//! Nothing here is trusted: rustls reads the same bytes again. This only says in words why a handshake
//! failed, and how small the client wants its records.

use std::ops::RangeInclusive;

/// The longest ClientHello, with its record headers. Those of browsers with post-quantum keys take 2 KiB,
/// a ticket with a chain of certificates some more.
pub const HELLO_MAX: usize = 16 * 1024;

/// What the first bytes are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FirstBytes {
    /// The beginning of a ClientHello, or nothing yet.
    Incomplete,
    /// A whole ClientHello.
    Hello(ClientHello),
    /// Something else, in words.
    Foreign(&'static str),
}

/// What a ClientHello offers. Empty where it cannot be read: then rustls says what is wrong with it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClientHello {
    /// The highest version of TLS, as on the wire; 0 if it is not known.
    pub version: u16,
    /// Cipher suites, without signals.
    pub suites: Vec<u16>,
    /// Server Name Indication.
    pub server_name: Option<String>,
    /// Protocols (ALPN).
    pub protocols: Vec<String>,
    /// The most plaintext that a record to this client may hold, if it says so: by `max_fragment_length`
    /// (RFC 6066) or `record_size_limit` (RFC 8449).
    pub record_max: Option<usize>,
}

/// What a record limit may be: smaller ones would be a way to make us send headers only.
const RECORD_LIMITS: RangeInclusive<u16> = 64..=0x4000;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Suites that are signals: `TLS_EMPTY_RENEGOTIATION_INFO_SCSV`, `TLS_FALLBACK_SCSV`.
const SIGNALS: [u16; 2] = [0x00FF, 0x5600];

impl FirstBytes {
    /// Looks at `bytes`, the first of a connection.
    pub fn of(bytes: &[u8]) -> FirstBytes {
        if let Some(foreign) = foreign(bytes) {
            return FirstBytes::Foreign(foreign);
        }
        let mut rest = bytes;
        let mut message = Vec::new();
        while let [kind, _, _, high, low, after @ ..] = rest {
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            if *kind != HANDSHAKE || len == 0 {
                // rustls has the words for it.
                return FirstBytes::Hello(ClientHello::default());
            }
            message.extend_from_slice(&after[..len.min(after.len())]);
            if let [kind, a, b, c, body @ ..] = &message[..] {
                let wanted = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                if *kind != CLIENT_HELLO {
                    return FirstBytes::Hello(ClientHello::default());
                }
                if wanted > HELLO_MAX - 64 {
                    return FirstBytes::Foreign("a ClientHello of more than 16 KiB");
                }
                if body.len() >= wanted {
                    return FirstBytes::Hello(
                        ClientHello::parse(&body[..wanted]).unwrap_or_default(),
                    );
                }
            }
            let Some(next) = after.get(len..) else { break };
            rest = next;
        }
        match bytes.len() >= HELLO_MAX {
            true => FirstBytes::Foreign("a ClientHello of more than 16 KiB"),
            false => FirstBytes::Incomplete,
        }
    }
}

impl ClientHello {
    /// The body of a ClientHello (RFC 8446, 4.1.2).
    fn parse(body: &[u8]) -> Option<ClientHello> {
        let mut body = HelloReader(body);
        let mut hello = ClientHello { version: body.u16()?, ..ClientHello::default() };
        body.take(32)?; // random
        body.short()?; // session identifier
        let suites = HelloReader(body.long()?).numbers();
        hello.suites = suites.into_iter().filter(|suite| !SIGNALS.contains(suite)).collect();
        body.short()?; // compression
        let mut extensions = HelloReader(body.long().unwrap_or_default());
        while let Some(kind) = extensions.u16() {
            hello.extension(kind, extensions.long()?);
        }
        Some(hello)
    }

    fn extension(&mut self, kind: u16, data: &[u8]) {
        let mut data = HelloReader(data);
        match kind {
            0 => {
                let mut names = HelloReader(data.long().unwrap_or_default());
                while let Some((kind, name)) = names.u8().zip(names.long()) {
                    if kind == 0 {
                        self.server_name = Some(String::from_utf8_lossy(name).into_owned());
                    }
                }
            }
            1 => {
                let limit = data.u8().filter(|code| (1..=4).contains(code));
                let limit = limit.map(|code| 256_usize << code);
                // A client that knows both sends both: the other one counts.
                self.record_max = self.record_max.or(limit);
            }
            16 => {
                let mut names = HelloReader(data.long().unwrap_or_default());
                while let Some(name) = names.short() {
                    self.protocols.push(String::from_utf8_lossy(name).into_owned());
                }
            }
            28 => {
                // In TLS 1.3 the limit counts the byte that tells the content's type.
                let limit = data.u16().filter(|limit| RECORD_LIMITS.contains(limit));
                self.record_max = limit.map(|limit| usize::from(limit) - 1).or(self.record_max);
            }
            43 => {
                let versions = HelloReader(data.short().unwrap_or_default()).numbers();
                // Those of no meaning (GREASE) are higher than all that will ever be.
                let known = versions.into_iter().filter(|version| *version <= 0x0304);
                self.version = known.max().unwrap_or(self.version);
            }
            _ => {}
        }
    }
}

/// What is not TLS at all, by its first bytes.
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    const METHODS: [&[u8]; 8] =
        [b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS ", b"CONNECT ", b"DELETE ", b"PRI "];
    match bytes {
        [] | [HANDSHAKE, ..] => None,
        [0x10, ..] => Some("MQTT without TLS"),
        _ if METHODS.iter().any(|method| bytes.starts_with(method)) => Some("HTTP"),
        _ if bytes.starts_with(b"PROXY ") || bytes.starts_with(b"\r\n\r\n\0\r\nQUIT") => {
            Some("a PROXY header")
        }
        [length, _, 1, ..] if *length & 0x80 != 0 => Some("a ClientHello of SSL 2.0"),
        _ => Some("no ClientHello"),
    }
}

/// Reads from the front; `None` when there is too little.
struct HelloReader<'a>(&'a [u8]);

impl<'a> HelloReader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        let taken = self.take(2)?;
        Some(u16::from_be_bytes([taken[0], taken[1]]))
    }

    /// Behind its length in one byte.
    fn short(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(len.into())
    }

    /// Behind its length in two bytes.
    fn long(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(len.into())
    }

    /// All that is left, in pairs of bytes.
    fn numbers(mut self) -> Vec<u16> {
        std::iter::from_fn(|| self.u16()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handshake message in records of at most `max` bytes.
    fn records(message: &[u8], max: usize) -> Vec<u8> {
        let record =
            |part: &[u8]| [&[22, 3, 1][..], &(part.len() as u16).to_be_bytes(), part].concat();
        message.chunks(max).flat_map(record).collect()
    }

    fn long(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
    }

    fn message(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let extensions: Vec<u8> = extensions
            .iter()
            .flat_map(|(kind, data)| [&kind.to_be_bytes()[..], &long(data)].concat())
            .collect();
        let suites = long(&[0x13, 0x01, 0x00, 0x2F, 0x00, 0xFF]);
        let body = [&[3, 3][..], &[7; 32], &[0], &suites, &[1, 0], &long(&extensions)].concat();
        [&[1, 0][..], &long(&body)].concat()
    }

    fn hello(extensions: &[(u16, Vec<u8>)]) -> ClientHello {
        match FirstBytes::of(&records(&message(extensions), HELLO_MAX)) {
            FirstBytes::Hello(hello) => hello,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_client_offers_is_read() {
        let versions = (43, vec![6, 0x7A, 0x7A, 3, 4, 3, 3]);
        let name = (0, long(&[&[0][..], &long(b"broker.example")].concat()));
        let protocols = (16, long(b"\x02h2\x04mqtt"));
        let read = hello(&[versions, name, protocols]);
        let wanted = ClientHello {
            version: 0x0304,
            suites: vec![0x1301, 0x002F],
            server_name: Some("broker.example".to_owned()),
            protocols: vec!["h2".to_owned(), "mqtt".to_owned()],
            record_max: None,
        };
        assert_eq!(read, wanted);
        assert_eq!(hello(&[]).version, 0x0303);
    }

    #[test]
    fn the_limit_of_a_record_is_read() {
        for (extensions, wanted) in [
            (vec![(1, vec![1])], Some(512)),
            (vec![(1, vec![4])], Some(4096)),
            (vec![(1, vec![0])], None),
            (vec![(1, vec![5])], None),
            (vec![(28, vec![0x02, 0x01])], Some(512)),
            (vec![(28, vec![0, 63])], None),
            (vec![(28, vec![0x40, 0x01])], None),
            (vec![(1, vec![1]), (28, vec![0x04, 0x01])], Some(1024)),
            (vec![(28, vec![0x04, 0x01]), (1, vec![1])], Some(1024)),
        ] {
            assert_eq!(hello(&extensions).record_max, wanted, "{extensions:?}");
        }
    }

    #[test]
    fn every_part_of_a_hello_is_incomplete_however_it_is_cut_into_records() {
        let message = message(&[(16, long(b"\x04mqtt")), (21, vec![0; 700])]);
        let whole = FirstBytes::of(&records(&message, HELLO_MAX));
        assert!(matches!(whole, FirstBytes::Hello(_)));
        for max in [1, 2, 3, 5, 100, HELLO_MAX] {
            let bytes = records(&message, max);
            for len in 0..bytes.len() {
                assert_eq!(FirstBytes::of(&bytes[..len]), FirstBytes::Incomplete, "{max} {len}");
            }
            assert_eq!(FirstBytes::of(&bytes), whole);
        }
    }

    #[test]
    fn what_is_no_tls_is_named() {
        for (bytes, wanted) in [
            (&b"\x10\x0c\x00\x04MQTT"[..], "MQTT without TLS"),
            (b"GET / HTTP/1.1\r\n", "HTTP"),
            (b"PROXY TCP4 1.2.3.4", "a PROXY header"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21", "a PROXY header"),
            (b"\x80\x2e\x01\x03\x01", "a ClientHello of SSL 2.0"),
            (b"SSH-2.0-OpenSSH", "no ClientHello"),
            (b"\0", "no ClientHello"),
            (b"\x16\x03\x01\xff\xff\x01\x00\xff\xff", "a ClientHello of more than 16 KiB"),
        ] {
            assert_eq!(FirstBytes::of(bytes), FirstBytes::Foreign(wanted));
        }
        // It is for rustls to say what is wrong with these.
        for bytes in [
            &b"\x16\x03\x01\0\0"[..],
            b"\x16\x03\x01\0\x04\x02\0\0\0",
            b"\x16\x03\x01\0\x05\x01\0\0\x01\0",
        ] {
            assert_eq!(FirstBytes::of(bytes), FirstBytes::Hello(ClientHello::default()));
        }
    }

    #[test]
    fn no_bytes_make_it_panic_and_a_flipped_bit_is_still_an_answer() {
        let good = records(&message(&[(0, vec![0, 3, 0, 0, 0]), (43, vec![2, 3, 4])]), 40);
        for at in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            let _ = FirstBytes::of(&bytes);
        }
    }
}
