//! A connection's bytes, with or without TLS, on a socket that never waits.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, Protocol, Type};

/// A connection's bytes.
pub enum Socket {
    /// As they are.
    Plain(TcpStream),
    /// Within TLS.
    Tls(Box<Secured>),
}

/// A TLS session and the socket under it.
pub struct Secured {
    tcp: TcpStream,
    session: ClientConnection,
}

/// How to speak TLS to the broker.
#[derive(Clone)]
pub struct Secrets {
    /// Certificates and versions.
    pub config: Arc<ClientConfig>,
    /// Name expected in the certificate.
    pub name: ServerName<'static>,
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

impl Socket {
    /// Begins to connect; the result is told by the first time the socket can be written.
    ///
    /// # Errors
    ///
    /// If the system has no socket or no port left, or refuses the connection at once.
    pub fn dial(
        address: SocketAddr,
        source: Option<IpAddr>,
        secrets: Option<&Secrets>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Socket> {
        let domain = Domain::for_address(address);
        let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if in_progress(&error) => {}
            Err(error) => return Err(error),
        }
        let mut tcp = TcpStream::from_std(socket.into());
        registry.register(&mut tcp, token, Interest::READABLE | Interest::WRITABLE)?;
        let Some(secrets) = secrets else { return Ok(Socket::Plain(tcp)) };
        let mut session = ClientConnection::new(Arc::clone(&secrets.config), secrets.name.clone())
            .map_err(io::Error::other)?;
        session.set_buffer_limit(Some(TLS_BUFFER));
        Ok(Socket::Tls(Box::new(Secured { tcp, session })))
    }

    /// Why it could not connect, if so.
    pub fn dialed(&self) -> io::Result<()> {
        match self.tcp().take_error()? {
            Some(error) => Err(error),
            None => self.tcp().peer_addr().map(drop),
        }
    }

    /// Reads what is there, as far as `room` goes.
    #[inline]
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<Came> {
        match self {
            Socket::Plain(tcp) => match tcp.read(room) {
                Ok(0) => Ok(Came::End),
                // A short read has emptied the socket; what comes later is told by an event.
                Ok(len) => Ok(Came::Bytes { len, more: len == room.len() }),
                Err(error) => nothing(error),
            },
            Socket::Tls(secured) => secured.read(room),
        }
    }

    /// Writes what is taken at once; returns how much that was.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Plain(tcp) => match tcp.write(bytes) {
                Err(error) if waits(&error) => Ok(0),
                result => result,
            },
            Socket::Tls(secured) => {
                let len = secured.session.writer().write(bytes)?;
                secured.flush()?;
                Ok(len)
            }
        }
    }

    /// The socket can be written again: sends what TLS has kept.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Socket::Plain(_) => Ok(()),
            Socket::Tls(secured) => secured.flush(),
        }
    }

    /// Whether TLS has kept something back.
    pub fn keeps_back(&self) -> bool {
        match self {
            Socket::Plain(_) => false,
            Socket::Tls(secured) => secured.session.wants_write(),
        }
    }

    /// Says goodbye and closes.
    pub fn close(mut self, registry: &Registry) {
        if let Socket::Tls(secured) = &mut self {
            secured.session.send_close_notify();
            // The other side may be gone already.
            let _ = secured.flush();
        }
        let tcp = match &mut self {
            Socket::Plain(tcp) => tcp,
            Socket::Tls(secured) => &mut secured.tcp,
        };
        // Closing it takes it out anyway.
        let _ = registry.deregister(tcp);
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Socket::Plain(tcp) => tcp,
            Socket::Tls(secured) => &secured.tcp,
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
            match self.session.read_tls(&mut self.tcp) {
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
            match self.session.write_tls(&mut self.tcp) {
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

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) || waits(error)
}

/// Bytes that TLS may keep back before it takes no more.
const TLS_BUFFER: usize = 256 * 1024;
