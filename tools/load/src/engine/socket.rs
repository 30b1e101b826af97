//! A connection to the broker, over whatever carries it, on a socket that never waits.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use mio::{Interest, Registry, Token};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::broker::{Broker, Way};
use super::frames::Frames;
pub use super::layer::Came;
use super::layer::Layer;
use super::wire::Wire;

/// A connection.
pub enum Socket {
    /// Bytes as they are.
    Bytes(Layer),
    /// Messages of a WebSocket.
    Frames(Box<Frames>),
}

/// How to speak TLS to the broker.
#[derive(Clone)]
pub struct Secrets {
    /// Certificates and versions.
    pub config: Arc<ClientConfig>,
    /// Name expected in the certificate.
    pub name: ServerName<'static>,
}

impl Socket {
    /// Begins to connect; the result is told by the first time the socket can be written.
    ///
    /// # Errors
    ///
    /// If the system has no socket or no port left, or refuses the connection at once.
    pub fn dial(
        broker: &Broker,
        number: u32,
        source: Option<IpAddr>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Socket> {
        let mut wire = match &broker.way {
            Way::Tcp(nodes) => Wire::tcp(Way::node(nodes, number), source)?,
            Way::Unix(path) => Wire::unix(path)?,
            Way::Quic(gateway) => Wire::Quic(gateway.dial()?),
        };
        registry.register(wire.source(), token, Interest::READABLE | Interest::WRITABLE)?;
        let layer = Layer::new(wire, broker.secrets.as_ref())?;
        Ok(match &broker.upgrade {
            None => Socket::Bytes(layer),
            Some(request) => Socket::Frames(Box::new(Frames::new(layer, request))),
        })
    }

    /// Why it could not connect, if so.
    pub fn dialed(&self) -> io::Result<()> {
        match self {
            Socket::Bytes(layer) => layer.wire().dialed(),
            Socket::Frames(frames) => frames.layer().wire().dialed(),
        }
    }

    /// Reads what is there, as far as `room` goes.
    #[inline]
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<Came> {
        match self {
            Socket::Bytes(layer) => layer.read(room),
            Socket::Frames(frames) => frames.read(room),
        }
    }

    /// Writes what is taken at once; returns how much that was.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Bytes(layer) => layer.write(bytes),
            Socket::Frames(frames) => frames.write(bytes),
        }
    }

    /// The socket can be written again: sends what was kept.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Socket::Bytes(layer) => layer.flush(),
            Socket::Frames(frames) => frames.flush(),
        }
    }

    /// Whether something was kept back.
    pub fn keeps_back(&self) -> bool {
        match self {
            Socket::Bytes(layer) => layer.keeps_back(),
            Socket::Frames(frames) => frames.keeps_back(),
        }
    }

    /// Says goodbye and closes.
    pub fn close(mut self, registry: &Registry) {
        if let Socket::Frames(frames) = &mut self {
            frames.close();
        }
        let layer = match &mut self {
            Socket::Bytes(layer) => layer,
            Socket::Frames(frames) => frames.layer_mut(),
        };
        layer.close();
        // Closing it takes it out anyway.
        let _ = registry.deregister(layer.wire_mut().source());
    }
}
