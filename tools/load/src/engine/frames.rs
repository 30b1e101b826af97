//! The client's side of WebSocket (RFC 6455): the upgrade, and bytes in binary messages, one a write.

use std::io;

use super::layer::{Came, Layer};

/// A connection's bytes in messages.
pub struct Frames {
    layer: Layer,
    /// What asks for the upgrade, while the answer is waited for.
    upgrade: Option<Upgrade>,
    /// What the socket has not taken yet.
    unsent: Vec<u8>,
    /// Part of the header of a frame.
    header: Vec<u8>,
    /// A frame is being read, and this much of its payload is to come.
    within: bool,
    left: u64,
    /// What it is.
    kind: u8,
    /// Payload of a control frame, as far as it has come.
    control: Vec<u8>,
    /// The broker has closed.
    ended: bool,
    /// From it masks are drawn.
    state: u32,
}

/// An upgrade that is not answered yet.
struct Upgrade {
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Frames {
    /// Messages on `layer`; `request` asks for them.
    pub fn new(layer: Layer, request: &str) -> Frames {
        let upgrade = Upgrade { request: request.as_bytes().to_vec(), answer: Vec::new() };
        Frames {
            layer,
            upgrade: Some(upgrade),
            unsent: Vec::new(),
            header: Vec::new(),
            within: false,
            left: 0,
            kind: 0,
            control: Vec::new(),
            ended: false,
            state: 0x9E37_79B9,
        }
    }

    /// What asks for an upgrade at `host`.
    pub fn request(host: &str, path: &str) -> String {
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: mqtt\r\n\r\n"
        )
    }

    /// What is below.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// The same, to be changed.
    pub fn layer_mut(&mut self) -> &mut Layer {
        &mut self.layer
    }

    /// Reads the payload of what is there, as far as `room` goes.
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<Came> {
        while !self.ended {
            let (len, more) = match self.layer.read(room)? {
                Came::Bytes { len, more } => (len, more),
                other => return Ok(other),
            };
            let len = if self.upgrade.is_some() {
                self.on_answer(&room[..len])?;
                0
            } else {
                self.take(&mut room[..len])
            };
            self.flush()?;
            if len > 0 {
                return Ok(Came::Bytes { len, more });
            }
            if !more && !self.ended {
                return Ok(Came::Nothing);
            }
        }
        Ok(Came::End)
    }

    /// Takes what is written, all of it or nothing.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unsent.len() > UNSENT_MAX {
            return Ok(0);
        }
        self.put(BINARY, bytes);
        self.flush()?;
        Ok(bytes.len())
    }

    /// Sends what was kept back.
    pub fn flush(&mut self) -> io::Result<()> {
        self.layer.flush()?;
        let unsent = match &mut self.upgrade {
            Some(upgrade) => &mut upgrade.request,
            None => &mut self.unsent,
        };
        while !unsent.is_empty() {
            let len = self.layer.write(unsent)?;
            if len == 0 {
                break;
            }
            drop(unsent.drain(..len));
        }
        Ok(())
    }

    /// Whether something is kept back.
    pub fn keeps_back(&self) -> bool {
        let asks = self.upgrade.as_ref().is_some_and(|upgrade| !upgrade.request.is_empty());
        asks || self.upgrade.is_none() && !self.unsent.is_empty() || self.layer.keeps_back()
    }

    /// Says goodbye.
    pub fn close(&mut self) {
        if self.upgrade.is_none() {
            self.put(CLOSE, &NORMAL.to_be_bytes());
            // The other side may be gone already.
            let _ = self.flush();
        }
    }

    fn on_answer(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(upgrade) = &mut self.upgrade else { return Ok(()) };
        upgrade.answer.extend_from_slice(bytes);
        let answer = String::from_utf8_lossy(&upgrade.answer);
        let line = answer.lines().next().unwrap_or_default();
        let refused = || io::Error::other(format!("no WebSocket there: {line:?}"));
        if upgrade.answer.len() > ANSWER_MAX {
            return Err(refused());
        }
        let Some((head, rest)) = answer.split_once("\r\n\r\n") else { return Ok(()) };
        // Of MQTT the client says the first word.
        if !head.starts_with("HTTP/1.1 101 ") || !head.contains(ACCEPT) || !rest.is_empty() {
            return Err(refused());
        }
        self.upgrade = None;
        Ok(())
    }

    /// Moves the payload in `bytes` to their beginning; returns how much it is.
    fn take(&mut self, bytes: &mut [u8]) -> usize {
        let (mut from, mut to) = (0, 0);
        while from < bytes.len() && !self.ended {
            if self.within {
                let rest = bytes.len() - from;
                let len = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                if self.kind < CLOSE {
                    bytes.copy_within(from..from + len, to);
                    to += len;
                } else {
                    self.control.extend_from_slice(&bytes[from..from + len]);
                }
                from += len;
                self.left -= len as u64;
            } else {
                self.within = self.on_header(bytes[from]);
                from += 1;
            }
            if self.within && self.left == 0 {
                self.within = false;
                self.end_frame();
            }
        }
        to
    }

    /// One more byte of a header; whether that was the last.
    fn on_header(&mut self, byte: u8) -> bool {
        self.header.push(byte);
        let header = &self.header[..];
        let len = match header {
            [_, 126, high, low] => u16::from_be_bytes([*high, *low]).into(),
            [_, 127, len @ ..] if len.len() == 8 => {
                len.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
            }
            [_, len @ 0..=125] => u64::from(*len),
            _ => return false,
        };
        self.kind = header[0] & 0x0F;
        self.left = len;
        self.header.clear();
        true
    }

    fn end_frame(&mut self) {
        let control = std::mem::take(&mut self.control);
        match self.kind {
            CLOSE => self.ended = true,
            PING => self.put(PONG, &control),
            _ => {}
        }
    }

    /// Appends a frame.
    fn put(&mut self, kind: u8, payload: &[u8]) {
        self.unsent.push(0x80 | kind);
        match payload.len() {
            len @ 0..=125 => self.unsent.push(0x80 | len as u8),
            len @ 126..=0xFFFF => {
                self.unsent.push(0x80 | 126);
                self.unsent.extend((len as u16).to_be_bytes());
            }
            len => {
                self.unsent.push(0x80 | 127);
                self.unsent.extend((len as u64).to_be_bytes());
            }
        }
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        let mask = self.state.to_ne_bytes();
        self.unsent.extend(mask);
        let from = self.unsent.len();
        self.unsent.extend_from_slice(payload);
        for part in self.unsent[from..].chunks_mut(mask.len()) {
            part.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        }
    }
}

/// The key of RFC 6455, and the answer to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Kinds of frames; from `CLOSE` on they control.
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The code of an end in order.
const NORMAL: u16 = 1000;
/// Bytes kept back before no more is taken.
const UNSENT_MAX: usize = 256 * 1024;
/// The longest answer to an upgrade.
const ANSWER_MAX: usize = 16 * 1024;
