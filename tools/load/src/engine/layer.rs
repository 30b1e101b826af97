//! A connection's bytes, with or without TLS.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::ClientConnection;

use super::socket::Secrets;
use super::wire::{Wire, waits};

/// A connection's bytes.
pub enum Layer {
    /// As they are.
    Plain(Wire),
    /// Within TLS.
    Tls(Box<Secured>),
}

/// A TLS session and the socket under it.
pub struct Secured {
    wire: Wire,
    session: ClientConnection,
}

/// What a read gave.
pub enum Came {
    /// So many bytes; `more` if there may be more at once.
    Bytes {
        /// How many.
        len: usize,
        /// It is worth reading again at once.
        more: bool,
    },
    /// Nothing for now.
    Nothing,
    /// The other side is done.
    End,
}

impl Layer {
    /// The bytes on `wire`, within TLS if it has secrets.
    ///
    /// # Errors
    ///
    /// If the secrets are of no use.
    pub fn new(wire: Wire, secrets: Option<&Secrets>) -> io::Result<Layer> {
        let Some(secrets) = secrets else { return Ok(Layer::Plain(wire)) };
        let mut session = ClientConnection::new(Arc::clone(&secrets.config), secrets.name.clone())
            .map_err(io::Error::other)?;
        session.set_buffer_limit(Some(TLS_BUFFER));
        Ok(Layer::Tls(Box::new(Secured { wire, session })))
    }

    /// Reads what is there, as far as `room` goes.
    #[inline]
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<Came> {
        match self {
            Layer::Plain(wire) => match wire.read(room) {
                Ok(0) => Ok(Came::End),
                // A short read has emptied the socket; what comes later is told by an event.
                Ok(len) => Ok(Came::Bytes { len, more: len == room.len() }),
                Err(error) => nothing(error),
            },
            Layer::Tls(secured) => secured.read(room),
        }
    }

    /// Writes what is taken at once; returns how much that was.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Layer::Plain(wire) => match wire.write(bytes) {
                Err(error) if waits(&error) => Ok(0),
                result => result,
            },
            Layer::Tls(secured) => {
                let len = secured.session.writer().write(bytes)?;
                secured.flush()?;
                Ok(len)
            }
        }
    }

    /// Sends what TLS has kept.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Layer::Plain(_) => Ok(()),
            Layer::Tls(secured) => secured.flush(),
        }
    }

    /// Whether TLS has kept something back.
    pub fn keeps_back(&self) -> bool {
        match self {
            Layer::Plain(_) => false,
            Layer::Tls(secured) => secured.session.wants_write(),
        }
    }

    /// Says goodbye.
    pub fn close(&mut self) {
        if let Layer::Tls(secured) = self {
            secured.session.send_close_notify();
            // The other side may be gone already.
            let _ = secured.flush();
        }
    }

    /// What carries it.
    pub fn wire(&self) -> &Wire {
        match self {
            Layer::Plain(wire) => wire,
            Layer::Tls(secured) => &secured.wire,
        }
    }

    /// The same, to be watched.
    pub fn wire_mut(&mut self) -> &mut Wire {
        match self {
            Layer::Plain(wire) => wire,
            Layer::Tls(secured) => &mut secured.wire,
        }
    }
}

impl Secured {
    fn read(&mut self, room: &mut [u8]) -> io::Result<Came> {
        let mut len = 0;
        loop {
            match self.session.reader().read(&mut room[len..]) {
                Ok(0) => break, // The room is full, or the other side said goodbye.
                Ok(more) => {
                    len += more;
                    continue;
                }
                Err(error) if waits(&error) => {}
                Err(error) => return Err(error),
            }
            match self.session.read_tls(&mut self.wire) {
                Ok(0) if len == 0 => return Ok(Came::End),
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if waits(&error) && len == 0 => return Ok(Came::Nothing),
                Err(error) if waits(&error) => return Ok(Came::Bytes { len, more: false }),
                Err(error) => return Err(error),
            }
            let state = self.session.process_new_packets();
            // Answers of the handshake, and the alert that says why it failed.
            self.flush()?;
            state.map_err(io::Error::other)?;
        }
        if len == 0 { Ok(Came::End) } else { Ok(Came::Bytes { len, more: true }) }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.wire) {
                Ok(_) => {}
                Err(error) if waits(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn nothing(error: io::Error) -> io::Result<Came> {
    if waits(&error) { Ok(Came::Nothing) } else { Err(error) }
}

/// Bytes that TLS may keep back before it takes no more.
const TLS_BUFFER: usize = 256 * 1024;
