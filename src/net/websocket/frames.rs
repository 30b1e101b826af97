//! What a client's frames hold, and what becomes of them: RFC 6455, section 5.
//!
//! Payload is unmasked where it was read to and goes on as it comes. Nothing is kept of a frame but its header
//! and, of a control frame, its at most 125 bytes: a connection holds no more over a WebSocket than over TCP, and
//! a packet that begins and does not end is counted where packets are put together.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// The frames that come from a client.
#[derive(Debug, Default)]
pub(super) struct ClientFrames {
    /// The beginning of a header.
    header: [u8; HEADER_MAX],
    header_len: u8,
    /// Bytes of the frame's payload that are still to come.
    left: u64,
    /// The key that the next byte is masked with is the first.
    mask: [u8; 4],
    kind: Payload,
    /// A message has begun and goes on in the next data frame.
    in_message: bool,
    /// Of a control frame, what came so far.
    control: Vec<u8>,
    /// The client has closed: what follows is nothing.
    closed: bool,
}

/// What the payload that comes is of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Payload {
    /// Nothing: a header is to come.
    #[default]
    None,
    Data,
    Ping,
    Pong,
    Close,
}

/// What a client asked for by control frames.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Wishes {
    /// The payload of the last ping, which a pong answers; earlier ones need no answer (5.5.3).
    pub ping: Option<Vec<u8>>,
    /// It closes, with this code if it gave one.
    pub close: Option<Option<u16>>,
}

/// How a client broke the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{why}")]
pub struct BrokenFrame {
    /// In words.
    pub why: &'static str,
    /// What the close frame says.
    pub code: CloseCode,
}

/// The longest header: 2 bytes, 8 of the length, 4 of the mask.
const HEADER_MAX: usize = 14;
/// The most payload of a control frame (5.5).
const CONTROL_MAX: u64 = 125;
/// The longest MQTT packet. A frame may hold more than one packet, but none that is longer is of use.
const FRAME_MAX: u64 = 268_435_460;

impl ClientFrames {
    /// Takes `bytes`, the next of the stream: moves the payload in them to their beginning and returns how many
    /// bytes of it there are. What control frames ask for is noted in `asked`.
    ///
    /// # Errors
    ///
    /// What broke the protocol. Nothing more may be given to it then.
    pub fn take(&mut self, bytes: &mut [u8], asked: &mut Wishes) -> Result<usize, BrokenFrame> {
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() && !self.closed {
            if self.kind == Payload::None {
                at += self.take_header(&bytes[at..])?;
            } else {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.unmask(&mut bytes[at..at + here]);
                if self.kind == Payload::Data {
                    bytes.copy_within(at..at + here, kept);
                    kept += here;
                } else {
                    self.control.extend_from_slice(&bytes[at..at + here]);
                }
                at += here;
                self.left -= here as u64;
            }
            if self.kind != Payload::None && self.left == 0 {
                self.end_frame(asked)?;
            }
        }
        Ok(kept)
    }

    /// Takes what belongs to the header, and returns how many bytes that are.
    fn take_header(&mut self, bytes: &[u8]) -> Result<usize, BrokenFrame> {
        let mut taken = 0;
        loop {
            let have = usize::from(self.header_len);
            let wanted = if have < 2 { 2 } else { header_len(self.header[1]) };
            if have == wanted {
                break;
            }
            let here = (wanted - have).min(bytes.len() - taken);
            if here == 0 {
                return Ok(taken);
            }
            self.header[have..have + here].copy_from_slice(&bytes[taken..taken + here]);
            self.header_len += here as u8;
            taken += here;
        }
        let mut cursor = Cursor::new(&self.header[..usize::from(self.header_len)]);
        let parsed = FrameHeader::parse(&mut cursor);
        self.header_len = 0;
        let (header, len) =
            parsed.ok().flatten().ok_or(BrokenFrame::protocol("an unknown kind of frame"))?;
        self.begin_frame(&header, len)?;
        Ok(taken)
    }

    fn begin_frame(&mut self, header: &FrameHeader, len: u64) -> Result<(), BrokenFrame> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(BrokenFrame::protocol("a reserved bit, for no extension was agreed on"));
        }
        let mask = header.mask.ok_or(BrokenFrame::protocol("a frame without a mask"))?;
        self.kind = match header.opcode {
            OpCode::Control(control) => {
                if !header.is_final || len > CONTROL_MAX {
                    return Err(BrokenFrame::protocol("a control frame that is cut or too long"));
                }
                match control {
                    Control::Ping => Payload::Ping,
                    Control::Pong => Payload::Pong,
                    _ => Payload::Close,
                }
            }
            OpCode::Data(data) => {
                self.begin_data(data, header.is_final)?;
                if len > FRAME_MAX {
                    let why = "a frame longer than any MQTT packet";
                    return Err(BrokenFrame { why, code: CloseCode::Size });
                }
                Payload::Data
            }
        };
        (self.mask, self.left) = (mask, len);
        Ok(())
    }

    fn begin_data(&mut self, data: Data, is_final: bool) -> Result<(), BrokenFrame> {
        match (data, self.in_message) {
            // Other frames than binary ones end the connection [MQTT5-6.0.0-1].
            (Data::Text, _) => {
                let why = "a text frame, and MQTT comes in binary ones";
                return Err(BrokenFrame { why, code: CloseCode::Unsupported });
            }
            (Data::Binary, false) | (Data::Continue, true) => {}
            (Data::Continue, false) => {
                return Err(BrokenFrame::protocol("a continuation of no message"));
            }
            _ => return Err(BrokenFrame::protocol("a message within another one")),
        }
        self.in_message = !is_final;
        Ok(())
    }

    fn end_frame(&mut self, asked: &mut Wishes) -> Result<(), BrokenFrame> {
        let control = std::mem::take(&mut self.control);
        match std::mem::take(&mut self.kind) {
            Payload::Ping => asked.ping = Some(control),
            Payload::Close => {
                self.closed = true;
                asked.close = Some(close_code(&control)?);
            }
            Payload::None | Payload::Data | Payload::Pong => {}
        }
        Ok(())
    }

    /// Unmasks the next bytes of a frame (5.3).
    fn unmask(&mut self, bytes: &mut [u8]) {
        let [a, b, c, d] = self.mask;
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (chunks, rest) = bytes.as_chunks_mut::<8>();
        for chunk in chunks {
            *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(self.mask.iter().cycle()) {
            *byte ^= key;
        }
        self.mask.rotate_left(bytes.len() % 4);
    }
}

impl BrokenFrame {
    fn protocol(why: &'static str) -> BrokenFrame {
        BrokenFrame { why, code: CloseCode::Protocol }
    }
}

/// How long a header is whose second byte is this.
fn header_len(second: u8) -> usize {
    let length = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if second & 0x80 == 0 { 0 } else { 4 }
}

/// The code in a close frame (5.5.1, 7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, BrokenFrame> {
    match payload {
        [] => Ok(None),
        [high, low, text @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !CloseCode::from(code).is_allowed() || std::str::from_utf8(text).is_err() {
                return Err(BrokenFrame::protocol(
                    "a close frame with a code or text that it may not have",
                ));
            }
            Ok(Some(code))
        }
        [_] => Err(BrokenFrame::protocol("a close frame with half a code")),
    }
}

/// Frames to a client: the one that is being written, and control frames, which go between two.
#[derive(Debug, Default)]
pub(super) struct BrokerFrames {
    /// What is to be written before more payload: the rest of the data frame's header.
    header: [u8; HEADER_MAX],
    header_at: u8,
    header_len: u8,
    /// Bytes of the data frame's payload that are still to be written.
    left: usize,
    /// Control frames that wait until the data frame is whole.
    control: Vec<u8>,
    /// How many of their bytes are of a frame that is written in part.
    begun: usize,
    /// A close frame was written or waits: no frame follows it.
    closing: bool,
}

impl BrokerFrames {
    /// Whether a data frame is written in part, so that nothing else may come now.
    pub fn is_within(&self) -> bool {
        self.left > 0
    }

    /// Whether the close frame is made.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Begins a data frame of `len` bytes; the frame before is whole.
    pub fn begin(&mut self, len: usize) {
        let opcode = OpCode::Data(Data::Binary);
        let mut rest = &mut self.header[..];
        let room = rest.len();
        // It has room for each header.
        let _ = FrameHeader { opcode, ..FrameHeader::default() }.format(len as u64, &mut rest);
        self.header_len = (room - rest.len()) as u8;
        self.header_at = 0;
        self.left = len;
    }

    /// What is to be written next: of the header, and of `bytes`, which go on where the last ones ended.
    pub fn next<'a>(&'a self, bytes: &'a [u8]) -> [&'a [u8]; 2] {
        let header = &self.header[usize::from(self.header_at)..usize::from(self.header_len)];
        [header, &bytes[..bytes.len().min(self.left)]]
    }

    /// Notes that `n` bytes of [`next`](BrokerFrames::next) are written; returns how many are payload.
    pub fn written(&mut self, n: usize) -> usize {
        let header = n.min(usize::from(self.header_len - self.header_at));
        self.header_at += header as u8;
        self.left -= n - header;
        n - header
    }

    /// Does what the client asked for: a pong in place of one that waits, or the end.
    pub fn answer(&mut self, asked: Wishes) {
        if self.closing {
            return;
        }
        if let Some(payload) = asked.ping {
            self.control.truncate(self.begun);
            self.push(Control::Pong, &payload);
        }
        if let Some(code) = asked.close {
            self.close(code.map(CloseCode::from));
        }
    }

    /// Makes the close frame, unless there is one.
    pub fn close(&mut self, code: Option<CloseCode>) {
        if !std::mem::replace(&mut self.closing, true) {
            let payload = code.map(|code| u16::from(code).to_be_bytes());
            self.push(Control::Close, payload.as_ref().map_or(&[], |code| &code[..]));
        }
    }

    fn push(&mut self, control: Control, payload: &[u8]) {
        let header = FrameHeader { opcode: OpCode::Control(control), ..FrameHeader::default() };
        // Writing to a vector does not fail.
        let _ = header.format(payload.len() as u64, &mut self.control);
        self.control.extend_from_slice(payload);
    }

    /// Control frames to be written now.
    pub fn control(&self) -> &[u8] {
        if self.is_within() { &[] } else { &self.control }
    }

    /// Notes that so many bytes of [`control`](BrokerFrames::control) are written.
    pub fn control_written(&mut self, n: usize) {
        self.control.drain(..n);
        self.begun = self.control.len();
        if self.control.is_empty() {
            self.control = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Write};

    use tungstenite::protocol::{Role, WebSocketConfig};
    use tungstenite::{Error, Message, WebSocket};

    use super::*;

    /// A seeded sequence of numbers.
    struct Seeded(u64);

    impl Seeded {
        fn below(&mut self, n: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % n as u64) as usize
        }
    }

    /// What came of a stream of frames: payload, whether it was closed or broken.
    #[derive(Debug, Default, Eq, PartialEq)]
    struct Came {
        payload: Vec<u8>,
        closed: bool,
        broken: bool,
    }

    fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = match payload.len() {
            len @ 0..=125 => vec![first, masked | len as u8],
            len => {
                let [high, low] = (len as u16).to_be_bytes();
                vec![first, masked | 126, high, low]
            }
        };
        bytes.extend(mask.into_iter().flatten());
        let key = mask.unwrap_or_default();
        bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]));
        bytes
    }

    /// Some frames of a client, most of them right; the last data message is whole.
    fn frames(seeded: &mut Seeded) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut within = false;
        for _ in 0..seeded.below(12) {
            let payload: Vec<u8> =
                (0..seeded.below(200)).map(|_| seeded.below(256) as u8).collect();
            let short = &payload[..payload.len().min(125)];
            let mask = Some([0; 4].map(|_: u8| seeded.below(256) as u8));
            match seeded.below(40) {
                0 => bytes.extend(frame(0x81, mask, b"text")),
                1 => bytes.extend(frame(0x82, None, &payload)),
                2 => bytes.extend(frame(0x88, mask, &[3, 0xE8])),
                3 => bytes.extend(frame(0x09, mask, short)),
                4 => bytes.extend(frame(0xC2, mask, &payload)),
                5 => bytes.extend(frame(0x83, mask, &payload)),
                6 => bytes.extend(frame(if within { 0x82 } else { 0x80 }, mask, &payload)),
                7..12 => bytes.extend(frame(0x89, mask, short)),
                12..16 => bytes.extend(frame(0x8A, mask, short)),
                kind => {
                    let fin = kind % 2 == 0;
                    let opcode = if within { 0 } else { 2 };
                    bytes.extend(frame(opcode | if fin { 0x80 } else { 0 }, mask, &payload));
                    within = !fin;
                }
            }
        }
        if within {
            bytes.extend(frame(0x80, Some([1, 2, 3, 4]), b"end"));
        }
        bytes
    }

    /// Given in pieces.
    fn ours(bytes: &[u8], seeded: &mut Seeded) -> Came {
        let (mut incoming, mut asked) = (ClientFrames::default(), Wishes::default());
        let mut came = Came::default();
        let mut rest = bytes.to_vec();
        while !rest.is_empty() && !came.broken {
            let mut piece: Vec<u8> = rest.drain(..1 + seeded.below(rest.len())).collect();
            match incoming.take(&mut piece, &mut asked) {
                Ok(kept) => came.payload.extend(&piece[..kept]),
                Err(_) => came.broken = true,
            }
        }
        came.closed = asked.close.is_some();
        came
    }

    struct Given<'a>(&'a [u8]);

    impl Read for Given<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match self.0.read(into)? {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                n => Ok(n),
            }
        }
    }

    impl Write for Given<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What the library makes of it, message by message. A text message breaks the protocol of MQTT.
    fn theirs(bytes: &[u8]) -> Came {
        let config = WebSocketConfig::default();
        let mut socket = WebSocket::from_raw_socket(Given(bytes), Role::Server, Some(config));
        let mut came = Came::default();
        loop {
            match socket.read() {
                Ok(Message::Binary(payload)) => came.payload.extend(payload),
                Ok(Message::Close(_)) => came.closed = true,
                Ok(Message::Text(_)) => came.broken = true,
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(Error::ConnectionClosed) => break,
                Err(_) => came.broken = true,
            }
            if came.broken || came.closed {
                break;
            }
        }
        came
    }

    #[test]
    fn cut_anywhere_frames_mean_what_the_library_makes_of_them() {
        let (mut whole, mut broken, mut closed) = (0, 0, 0);
        for seed in 1..4000 {
            let mut seeded = Seeded(seed * 0x9E37_79B9);
            let bytes = frames(&mut seeded);
            let (ours, theirs) = (ours(&bytes, &mut seeded), theirs(&bytes));
            assert_eq!(ours.broken, theirs.broken, "seed {seed}: {bytes:02x?}");
            // Where it breaks or closes ours has given the beginning of a message, and not what came with the break.
            let (short, long) = match ours.payload.len() < theirs.payload.len() {
                true => (&ours.payload, &theirs.payload),
                false => (&theirs.payload, &ours.payload),
            };
            assert!(long.starts_with(short), "seed {seed}: {bytes:02x?}");
            if !ours.broken {
                assert_eq!(ours.closed, theirs.closed, "seed {seed}: {bytes:02x?}");
                assert!(ours.closed || ours == theirs, "seed {seed}: {bytes:02x?}");
            }
            whole += usize::from(!ours.broken && !ours.payload.is_empty());
            broken += usize::from(ours.broken);
            closed += usize::from(ours.closed);
        }
        assert!(whole > 500 && broken > 500 && closed > 100, "{whole} {broken} {closed}");
    }

    #[test]
    fn a_frame_is_refused_by_its_header() {
        let masked = |header: &[u8]| [header, &[0; 4]].concat();
        for (bytes, why) in [
            (
                masked(&[0x82, 0xFF, 0, 0, 0, 0, 0x10, 0, 0, 5]),
                "a frame longer than any MQTT packet",
            ),
            (
                masked(&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0]),
                "a frame longer than any MQTT packet",
            ),
            (masked(&[0x89, 0xFE, 0, 126]), "a control frame that is cut or too long"),
            (masked(&[0x09, 0x80]), "a control frame that is cut or too long"),
            (masked(&[0x81, 0x80]), "a text frame, and MQTT comes in binary ones"),
            (vec![0x82, 0], "a frame without a mask"),
            (masked(&[0x80, 0x80]), "a continuation of no message"),
            (masked(&[0xC2, 0x80]), "a reserved bit, for no extension was agreed on"),
            (masked(&[0x83, 0x80]), "an unknown kind of frame"),
            (masked(&[0x88, 0x81, 0]), "a close frame with half a code"),
        ] {
            let mut bytes = [&bytes[..], &[0; 8]].concat();
            let broken =
                ClientFrames::default().take(&mut bytes, &mut Wishes::default()).unwrap_err();
            assert_eq!(broken.why, why);
        }
    }

    #[test]
    fn control_frames_go_between_data_frames_and_only_the_last_ping_is_answered() {
        let mut outgoing = BrokerFrames::default();
        let ping = |payload: &[u8]| Wishes { ping: Some(payload.to_vec()), close: None };
        outgoing.begin(3);
        outgoing.answer(ping(b"a"));
        outgoing.answer(ping(b"b"));
        assert_eq!(outgoing.control(), b"", "within a frame");
        assert_eq!(outgoing.next(b"xyz"), [&[0x82, 3][..], b"xyz"]);
        assert_eq!(outgoing.written(1), 0);
        assert_eq!(outgoing.next(b"xyz"), [&[3][..], b"xyz"]);
        assert_eq!(outgoing.written(3), 2);
        assert_eq!(outgoing.next(b"z and more"), [&[][..], b"z"]);
        assert_eq!(outgoing.written(1), 1);
        assert_eq!(outgoing.control(), [0x8A, 1, b'b']);
        outgoing.control_written(1);
        outgoing.answer(ping(b"c"));
        outgoing.answer(Wishes { ping: None, close: Some(Some(1000)) });
        outgoing.answer(ping(b"d"));
        let wanted = [&[1, b'b', 0x8A, 1, b'c', 0x88, 2][..], &1000_u16.to_be_bytes()].concat();
        assert_eq!(outgoing.control(), wanted, "what is written in part stays");
        outgoing.control_written(wanted.len());
        assert!(outgoing.is_closing());
    }
}
