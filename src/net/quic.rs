//! The QUIC transport: one UDP socket, one loop that accepts. A connection carries MQTT on the one stream that
//! its client opens.
//!
//! Until its handshake is over, an address may be forged. Where that could harm others, the client has to show first
//! that it is there (Retry, RFC 9000, 8.1.2).

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::{
    Connection, ConnectionError, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;

use super::listener::{Admitted, Bind, OpenListener, PeerMoves};
use super::serve::ServeContext;
use super::tls::{HandshakeError, LiveTls, TlsError, shown};
use crate::config::Listener;
use crate::message::RefusalKind;
use crate::time::Clock;

/// A listener on a UDP socket.
pub struct QuicAcceptor<C> {
    listener: OpenListener<C>,
    endpoint: Endpoint,
    tls: Arc<LiveTls>,
    /// The terms of connections, with the certificates of the start.
    terms: Arc<ServerConfig>,
    /// Handshakes under way; further clients show first that their address is theirs.
    handshakes: Arc<Semaphore>,
    /// All do: a rate goes by address.
    always_validates: bool,
}

/// The stream of a connection, and the connection: dropped, it is closed.
struct QuicStream<C> {
    receive: RecvStream,
    send: SendStream,
    connection: Connection,
    /// Where the client was last.
    address: SocketAddr,
    moves: PeerMoves<C>,
}

/// What a peer may send and we have not read, and what we may send and it has not acknowledged: each is in our
/// memory, and in no other account.
const WINDOW: u32 = 64 * 1024;
/// Connections that have begun and wait to be accepted.
const INCOMING_MAX: usize = 1024;
/// Bytes that such a connection may have sent, and all of them.
const INCOMING_BYTES: u64 = 16 * 1024;
const INCOMING_BYTES_TOTAL: u64 = 4 * 1024 * 1024;
/// Room for datagrams in the system, as far as it gives it: one socket takes those of all clients.
const SOCKET_BYTES: usize = 4 * 1024 * 1024;

impl<C: Clock> QuicAcceptor<C> {
    /// Opens the socket of a listener at `address`. `anonymous`: clients without a user name are let
    /// in. A listener without a name is called by its address, with the real port.
    ///
    /// # Errors
    ///
    /// The address cannot be had.
    pub fn open(
        shared: &Arc<ServeContext<C>>,
        settings: &Listener,
        place: Bind,
        anonymous: bool,
        tls: Arc<LiveTls>,
    ) -> io::Result<QuicAcceptor<C>> {
        let socket = bind(place)?;
        let crypto = tls.within_quic().map_err(io::Error::other)?;
        let terms = Arc::new(terms(crypto, settings));
        let runtime = Arc::new(TokioRuntime);
        let config = EndpointConfig::default();
        let endpoint = Endpoint::new(config, Some((*terms).clone()), socket, runtime)?;
        let name = match settings.name.as_str() {
            "" => endpoint.local_addr()?.to_string(),
            name => name.to_owned(),
        };
        let listener = OpenListener::of_one_socket(shared, settings, &name, anonymous);
        listener.shows(&tls);
        let handshakes_max = settings.tls.as_ref().map_or(0, |tls| tls.handshakes_max);
        Ok(QuicAcceptor {
            listener,
            endpoint,
            tls,
            terms,
            handshakes: Arc::new(Semaphore::new(handshakes_max as usize)),
            always_validates: settings.connect_rate_per_address_max > 0,
        })
    }

    /// Its name, for the ready line.
    pub fn name(&self) -> &str {
        self.listener.name()
    }

    /// Where it listens, with the real port.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Its TLS.
    pub fn tls(&self) -> &Arc<LiveTls> {
        &self.tls
    }

    /// Accepts until the task is dropped, or its socket fails.
    pub async fn accept(mut self) {
        while let Some(incoming) = self.endpoint.accept().await {
            self.on_connection(incoming);
            self.listener.pace().await;
            // It may have computed the first part of a handshake.
            tokio::task::yield_now().await;
        }
    }

    fn on_connection(&mut self, incoming: Incoming) {
        let place = Arc::clone(&self.handshakes).try_acquire_owned().ok();
        let validates = self.always_validates || place.is_none();
        if validates && !incoming.remote_address_validated() {
            // It can be asked for what it has not shown yet.
            let _ = incoming.retry();
            return;
        }
        let address = incoming.remote_address();
        let Some(admitted) = self.listener.admit(address.to_string(), Some(address.ip())) else {
            return incoming.refuse();
        };
        let accepted = self.next_terms().map(|terms| incoming.accept_with(terms));
        let tls = self.tls.clone();
        tokio::spawn(async move {
            let handshake = async {
                let accepted = accepted.map_err(|error| {
                    let failed = "TLS handshake failed";
                    HandshakeError::new(RefusalKind::TlsHandshake, failed, error.to_string())
                })?;
                accepted.map_err(refused)?.await.map_err(refused)
            };
            let connection = admitted.handshake(RefusalKind::TlsTimeout, handshake).await;
            drop(place);
            if let Some(connection) = connection {
                enter(admitted, &tls, connection).await;
            }
        });
    }

    /// The terms of the next connection: with the certificates that are in force.
    fn next_terms(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let mut terms = (*self.terms).clone();
        terms.crypto = self.tls.within_quic()?;
        Ok(Arc::new(terms))
    }
}

/// Waits for the stream of a connection and serves it.
async fn enter<C: Clock>(mut admitted: Admitted<C>, tls: &Arc<LiveTls>, connection: Connection) {
    let (certificates, binding) = shown(&connection);
    admitted.secured(tls, &certificates, binding);
    let opened = async { connection.accept_bi().await.map_err(refused) };
    let Some((send, receive)) = admitted.handshake(RefusalKind::QuicTimeout, opened).await else {
        return;
    };
    let (address, moves) = (connection.remote_address(), admitted.moves());
    admitted.serve(QuicStream { receive, send, connection, address, moves });
}

fn bind(Bind { address, only_v6 }: Bind) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if only_v6 {
        socket.set_only_v6(true)?;
    }
    let _ = socket.set_recv_buffer_size(SOCKET_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn terms(crypto: Arc<dyn quinn::crypto::ServerConfig>, settings: &Listener) -> ServerConfig {
    let mut terms = ServerConfig::with_crypto(crypto);
    terms
        .transport_config(Arc::new(transport(settings)))
        .migration(true)
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL);
    terms
}

fn transport(settings: &Listener) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(WINDOW.into());
    // A client is lost only when it does not answer: it may be silent for longer than any Keep Alive.
    let patience = settings.tcp_patience();
    transport.max_idle_timeout(patience.and_then(|patience| patience.try_into().ok()));
    transport.keep_alive_interval(patience.map(|_| settings.tcp_keepalive.0));
    transport
}

/// What the log says of a connection that ended before MQTT began.
fn refused(error: ConnectionError) -> HandshakeError {
    match error {
        ConnectionError::TransportError(broken) => {
            HandshakeError::of_code(broken.code.into(), &broken.reason)
        }
        ConnectionError::ConnectionClosed(close) => {
            HandshakeError::told_by_code(close.error_code.into(), &close.to_string())
        }
        _ => HandshakeError::silent(RefusalKind::Quic, "the client left before MQTT began"),
    }
}

impl<C: Clock> QuicStream<C> {
    /// A client that came to another network has the same connection still.
    fn note_move(&mut self) {
        let address = self.connection.remote_address();
        if address != self.address {
            self.moves.note(self.address, address);
            self.address = address;
        }
    }
}

impl<C: Clock> AsyncRead for QuicStream<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.receive).poll_read(cx, buf);
        if read.is_ready() {
            this.note_move();
        }
        read
    }
}

impl<C: Clock> AsyncWrite for QuicStream<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_shutdown(cx)
    }
}
