//! What carries a connection's bytes: a socket of the system that never waits.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use socket2::{Domain, Protocol, SockAddr, Type};

use super::quic::Bridged;

/// A socket.
pub enum Wire {
    /// Of TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// What speaks QUIC is at its other end.
    Quic(Bridged),
}

impl Wire {
    /// Begins to connect to an address.
    ///
    /// # Errors
    ///
    /// If the system has no socket or no port left, or refuses the connection at once.
    pub fn tcp(address: SocketAddr, source: Option<IpAddr>) -> io::Result<Wire> {
        let domain = Domain::for_address(address);
        let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&address.into()) {
            Err(error) if !in_progress(&error) => Err(error),
            _ => Ok(Wire::Tcp(TcpStream::from_std(socket.into()))),
        }
    }

    /// Connects to the socket at `path`.
    ///
    /// # Errors
    ///
    /// If nothing listens there.
    pub fn unix(path: &Path) -> io::Result<Wire> {
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // This waits, for no longer than the broker takes to accept.
        socket.connect(&SockAddr::unix(path)?)?;
        socket.set_nonblocking(true)?;
        Ok(Wire::Unix(UnixStream::from_std(socket.into())))
    }

    /// Why it could not connect, if so.
    pub fn dialed(&self) -> io::Result<()> {
        match self {
            Wire::Tcp(tcp) => match tcp.take_error()? {
                Some(error) => Err(error),
                None => tcp.peer_addr().map(drop),
            },
            Wire::Unix(_) | Wire::Quic(_) => Ok(()),
        }
    }

    /// What a poll watches.
    pub fn source(&mut self) -> &mut dyn Source {
        match self {
            Wire::Tcp(tcp) => tcp,
            Wire::Unix(unix) => unix,
            Wire::Quic(bridged) => &mut bridged.near,
        }
    }
}

impl Read for Wire {
    #[inline]
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Tcp(tcp) => tcp.read(room),
            Wire::Unix(unix) => unix.read(room),
            Wire::Quic(bridged) => bridged.read(room),
        }
    }
}

impl Write for Wire {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Tcp(tcp) => tcp.write(bytes),
            Wire::Unix(unix) => unix.write(bytes),
            Wire::Quic(bridged) => bridged.near.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether it has to be tried again when the socket is ready.
pub fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) || waits(error)
}
