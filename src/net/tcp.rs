//! The TCP transport: a socket, one loop that accepts; on a connection, as the listener has it, a header of the
//! PROXY protocol, TLS, WebSocket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

use super::listener::{Admitted, Bind, OpenListener};
use super::proxy;
use super::serve::ServeContext;
use super::tls::LiveTls;
use super::websocket::{Upgrade, WebSocketStream};
use crate::config::{AddressRange, Listener, ProxyIdentity, Transport};
use crate::message::RefusalKind;
use crate::time::Clock;

/// A listener on a TCP socket.
pub struct TcpAcceptor<C> {
    listener: OpenListener<C>,
    socket: TcpListener,
    approach: Arc<Approach>,
}

/// What lies between a connection and MQTT.
#[derive(Debug)]
struct Approach {
    /// Proxies that are believed.
    proxies: Vec<AddressRange>,
    /// Their connections begin with a header of the PROXY protocol.
    proxy_protocol: bool,
    /// They say the users of their clients.
    proxy_identity: bool,
    tls: Option<Arc<LiveTls>>,
    websocket: Option<Upgrade>,
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
        tls.iter().for_each(|tls| listener.shows(tls));
        let approach = Arc::new(Approach {
            proxies: settings.believed().to_vec(),
            proxy_protocol: settings.proxy_protocol,
            proxy_identity: settings.proxy_identity == ProxyIdentity::Cn,
            tls,
            websocket: match settings.transport {
                Transport::Tcp | Transport::Quic | Transport::Unix => None,
                Transport::WebSocket => {
                    Some(Upgrade::new(&settings.websocket, settings.believed()))
                }
            },
        });
        Ok(TcpAcceptor { listener, socket, approach })
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
        self.approach.tls.as_ref()
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
        let believed = self.approach.believes(address.ip());
        let ip = Some(address.ip()).filter(|_| !believed);
        let Some(admitted) = self.listener.admit(address.to_string(), ip) else { return };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%address, %error, "gone already");
            return;
        }
        let approach = &self.approach;
        if approach.tls.is_none() && approach.websocket.is_none() && !approach.proxy_protocol {
            admitted.serve(stream);
        } else {
            tokio::spawn(approach.clone().enter(admitted, stream, believed));
        }
    }
}

impl Approach {
    fn believes(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|range| range.contains(address))
    }

    /// Takes a connection through all of it and serves it. `believed`: it is of a proxy that is trusted.
    async fn enter<C: Clock>(
        self: Arc<Self>,
        mut admitted: Admitted<C>,
        mut stream: TcpStream,
        believed: bool,
    ) {
        if self.proxy_protocol && believed {
            let header = proxy::read_header(&mut stream);
            let Some(proxied) = admitted.handshake(RefusalKind::ProxyTimeout, header).await else {
                return;
            };
            if let Some(address) = proxied.address {
                admitted.came_from(address);
            }
            if self.proxy_identity {
                admitted.identify(proxied.user);
            }
        }
        match &self.tls {
            None => self.upgrade(admitted, stream).await,
            Some(tls) => {
                let Some(stream) = meet_tls(tls, &mut admitted, stream).await else { return };
                // Apart: this task is as large as a handshake.
                self.upgrade(admitted, Box::new(stream)).await;
            }
        }
    }

    /// The last layer, if there is one, and the service in a task of its own.
    async fn upgrade<C, S>(&self, mut admitted: Admitted<C>, mut stream: S)
    where
        C: Clock,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(upgrade) = &self.websocket else { return admitted.serve(stream) };
        let answer = upgrade.answer(&mut stream, admitted.ip());
        let Some(upgraded) = admitted.handshake(RefusalKind::WebSocketTimeout, answer).await else {
            return;
        };
        if let Some(address) = upgraded.address {
            admitted.came_from(SocketAddr::new(address, 0));
        }
        admitted.serve(WebSocketStream::new(stream));
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

/// The handshake of TLS, and what it says of the client; `None`: it failed, which is noted.
async fn meet_tls<C: Clock>(
    tls: &Arc<LiveTls>,
    admitted: &mut Admitted<C>,
    stream: TcpStream,
) -> Option<impl AsyncRead + AsyncWrite + Unpin + Send + use<C>> {
    let handshake = async {
        let hello = tls.client_hello(&stream).await?;
        // As large as a handshake: a peer that only begins one does not pay for it.
        Box::pin(tls.handshake(stream, &hello)).await
    };
    let stream = admitted.handshake(RefusalKind::TlsTimeout, handshake).await?;
    let channel = stream.get_ref().1;
    admitted.secured(tls, channel.peer_certificates().unwrap_or_default(), tls.binding(channel));
    Some(stream)
}
