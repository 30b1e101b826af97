//! The client's side of WebSocket, as a stream of bytes.
#![allow(dead_code)] // Each test file uses its part.

use std::io::{self, Read, Write};

use tungstenite::client::IntoClientRequest;
use tungstenite::{Error, Message, WebSocket};

/// A stream of bytes over WebSocket: each write is one binary message.
pub struct Messages<S: Read + Write> {
    socket: WebSocket<S>,
    unread: Vec<u8>,
}

impl<S: Read + Write> Messages<S> {
    /// Upgrades `stream`, with these headers too.
    pub fn open(stream: S, headers: &[(&'static str, &str)]) -> io::Result<Messages<S>> {
        let mut request = "ws://localhost/mqtt".into_client_request().map_err(io::Error::other)?;
        let fields =
            [("Sec-WebSocket-Protocol", "mqtt")].into_iter().chain(headers.iter().copied());
        for (name, value) in fields {
            request.headers_mut().insert(name, value.parse().map_err(io::Error::other)?);
        }
        let opened = tungstenite::client::client(request, stream);
        let (socket, _) = opened.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Messages { socket, unread: Vec::new() })
    }

    /// The stream below.
    pub fn below(&self) -> &S {
        self.socket.get_ref()
    }
}

impl<S: Read + Write> Read for Messages<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.unread.is_empty() {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => self.unread = bytes.to_vec(),
                Ok(Message::Text(text)) => return Err(io::Error::other(format!("text: {text}"))),
                Ok(_) => {}
                Err(Error::Io(error)) => return Err(error),
                Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_)) => {
                    return Ok(0);
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        let n = self.unread.len().min(into.len());
        into[..n].copy_from_slice(&self.unread[..n]);
        self.unread.drain(..n);
        Ok(n)
    }
}

impl<S: Read + Write> Write for Messages<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(Message::binary(bytes.to_vec())).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush().map_err(io::Error::other)
    }
}
