//! The TCP transport: a socket, one loop that accepts, TLS if the listener has it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

use super::listener::{Admitted, OpenListener};
use super::serve::ServeContext;
use super::tls::{CertificateUser, LiveTls};
use crate::config::Listener;
use crate::time::Clock;

/// A listener on a TCP socket.
pub struct TcpAcceptor<C> {
    listener: OpenListener<C>,
    socket: TcpListener,
    tls: Option<Arc<LiveTls>>,
}

/// Where a listener is to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Bind {
    /// Address and port.
    pub address: SocketAddr,
    /// Of every IPv6 address not the IPv4 addresses too: another listener has the port there.
    pub only_v6: bool,
}

/// Connections the system completes before we accept them.
const BACKLOG: i32 = 4096;

impl<C: Clock> TcpAcceptor<C> {
    /// Opens the socket of a listener at `address`. `anonymous`: clients without a user name are let
    /// in. A listener without a name is called by its address, with the real port.
    pub fn open(
        shared: &Arc<ServeContext<C>>,
        settings: &Listener,
        Bind { address, only_v6 }: Bind,
        anonymous: bool,
        tls: Option<Arc<LiveTls>>,
    ) -> io::Result<TcpAcceptor<C>> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if only_v6 {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        set_keepalive(&socket, settings)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into())?;
        let name = match settings.name.as_str() {
            "" => socket.local_addr()?.to_string(),
            name => name.to_owned(),
        };
        let listener = OpenListener::new(shared, settings, &name, anonymous);
        Ok(TcpAcceptor { listener, socket, tls })
    }

    /// Its name, for the ready line.
    pub fn name(&self) -> &str {
        self.listener.name()
    }

    /// Where it listens, with the real port.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Its TLS.
    pub fn tls(&self) -> Option<&Arc<LiveTls>> {
        self.tls.as_ref()
    }

    /// Accepts until the task is dropped.
    pub async fn accept(mut self) {
        loop {
            match self.socket.accept().await {
                Ok((stream, address)) => {
                    self.on_connection(stream, address);
                    self.listener.pace().await;
                }
                // Out of file descriptors, or the peer has gone already.
                Err(error) => self.listener.pause(&error).await,
            }
        }
    }

    fn on_connection(&mut self, stream: TcpStream, address: SocketAddr) {
        let Some(admitted) = self.listener.admit(address.to_string(), Some(address.ip())) else {
            return;
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%address, %error, "gone already");
            return;
        }
        match &self.tls {
            None => admitted.serve(stream),
            Some(tls) => {
                tokio::spawn(serve_tls(tls.clone(), admitted, stream));
            }
        }
    }
}

/// Has TCP find out that a peer has vanished. A connection inherits it from the socket that listens.
fn set_keepalive(socket: &Socket, settings: &Listener) -> io::Result<()> {
    let Some(patience) = settings.tcp_patience() else { return Ok(()) };
    let keepalive = TcpKeepalive::new()
        .with_time(settings.tcp_keepalive.0)
        .with_interval(settings.tcp_keepalive_interval.0)
        .with_retries(settings.tcp_keepalive_probes);
    socket.set_tcp_keepalive(&keepalive)?;
    // Where this is set, Linux goes by it instead of the number of probes; it counts for what was sent and
    // not acknowledged too, which would else take a quarter of an hour or more.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(patience))?;
    Ok(())
}

async fn serve_tls<C: Clock>(tls: Arc<LiveTls>, mut admitted: Admitted<C>, stream: TcpStream) {
    let handshake = async {
        let hello = tls.client_hello(&stream).await?;
        // As large as a handshake: a peer that only begins one does not pay for it.
        Box::pin(tls.handshake(stream, &hello)).await
    };
    let Some(stream) = admitted.handshake(handshake).await else { return };
    match tls.user(stream.get_ref().1) {
        CertificateUser::Unasked => {}
        CertificateUser::Name(name) => admitted.set_certificate(name),
        CertificateUser::Unusable(problem) => admitted.refuse_identity(problem),
    }
    let channel = stream.get_ref().1;
    admitted.set_channel(tls.binding(channel), tls.voucher(channel));
    // A task of its own: this one is as large as a handshake.
    admitted.serve(Box::new(stream));
}
