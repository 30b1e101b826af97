//! Listening and accepting: one loop for each listener, with its limits.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use super::addresses::Addresses;
use super::serve::{Shared, serve};
use super::tls::{self, LiveTls};
use crate::broker::overload::SLOW;
use crate::broker::{Link, PeerInfo};
use crate::codec::Reason;
use crate::config::{CertificateIdentity, Listener};
use crate::shape::TokenBucket;
use crate::time::{Clock, Time};

/// A listener with its socket open.
pub struct Gateway<C> {
    shared: Arc<Shared<C>>,
    socket: TcpListener,
    name: Arc<str>,
    settings: Listener,
    anonymous: bool,
    tls: Option<Arc<LiveTls>>,
    /// Connections that were let in.
    open: Arc<AtomicU32>,
    /// Connections that are being told no.
    refused: Arc<AtomicU32>,
}

/// New connections a second, in all and from each address.
struct Rates {
    all: Option<TokenBucket>,
    each: Option<Addresses>,
}

/// Connections the system completes before we accept them.
const BACKLOG: i32 = 4096;
/// Addresses whose rate is remembered; beyond it those at rest are forgotten.
const ADDRESSES_MAX: usize = 65_536;
/// After running out of file descriptors, accepting rests so long.
const REST: Duration = Duration::from_millis(100);
/// Between two connections of a listener while the broker is pressed.
const SLOWLY: Duration = Duration::from_millis(10);

impl<C: Clock> Gateway<C> {
    /// Opens the socket of a listener.
    pub fn open(
        shared: &Arc<Shared<C>>,
        settings: &Listener,
        address: SocketAddr,
        anonymous: bool,
        tls: Option<Arc<LiveTls>>,
    ) -> io::Result<Gateway<C>> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into())?;
        let name = match settings.name.as_str() {
            "" => socket.local_addr()?.to_string(),
            name => name.to_owned(),
        };
        shared.broker.open_listener(settings, &name);
        Ok(Gateway {
            shared: shared.clone(),
            socket,
            name: name.into(),
            settings: settings.clone(),
            anonymous,
            tls,
            open: Arc::default(),
            refused: Arc::default(),
        })
    }

    /// Its name, for the ready line.
    pub fn name(&self) -> &str {
        &self.name
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
    pub async fn accept(self) {
        let mut rates = Rates::new(&self.settings);
        let mut tired = false;
        loop {
            match self.socket.accept().await {
                Ok((stream, address)) => {
                    tired = false;
                    self.welcome(stream, address, &mut rates);
                    if self.shared.broker.pressure().level >= SLOW {
                        tokio::time::sleep(SLOWLY).await;
                    }
                }
                Err(error) => {
                    // Out of file descriptors, or the peer has gone already.
                    if !tired {
                        warn!(listener = %self.name, %error, "accepting rests");
                    }
                    tired = true;
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    fn welcome(&self, stream: TcpStream, address: SocketAddr, rates: &mut Rates) {
        let now = self.shared.clock.now();
        let mut open = Opened::count(&self.open);
        let refuse = if open.number > self.settings.connections_max {
            Some(Reason::QuotaExceeded)
        } else if rates.allow(address.ip(), now) {
            None
        } else {
            Some(Reason::ConnectionRateExceeded) // 0x9F; 3.1.1: 0x03.
        };
        if refuse.is_some() {
            // Those that are only told no take no place from those that are let in, and when too
            // many are being told, the rest hear nothing.
            open = Opened::count(&self.refused);
            if open.number > REFUSALS_MAX {
                return;
            }
        }
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%address, %error, "gone already");
            return;
        }
        let peer = PeerInfo {
            address: address.to_string(),
            listener: self.name.clone(),
            anonymous: self.anonymous,
            certificate: None,
            nonce: nonce(),
            refuse,
        };
        match &self.tls {
            None => self.spawn(peer, stream, now, open),
            Some(tls) => self.spawn_handshake(tls, peer, stream, now, open),
        }
    }

    fn spawn(&self, peer: PeerInfo, stream: TcpStream, now: Time, open: Opened) {
        let link = Link::new(&self.shared.broker, peer, now);
        tokio::spawn(Counted { open, served: serve(link, stream, self.shared.clone()) });
    }

    fn spawn_handshake(
        &self,
        tls: &Arc<LiveTls>,
        mut peer: PeerInfo,
        stream: TcpStream,
        now: Time,
        open: Opened,
    ) {
        let (tls, shared) = (tls.clone(), self.shared.clone());
        let from = self.settings.tls.as_ref().map_or(CertificateIdentity::None, |t| t.identity);
        let timeout = shared.broker.policy().limits.connect_timeout.0;
        tokio::spawn(async move {
            let handshake = async {
                // A peer that says nothing takes no place from those that do.
                stream.readable().await?;
                tls.handshake(stream).await
            };
            let stream = match tokio::time::timeout(timeout, handshake).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    debug!(address = %peer.address, %error, "TLS handshake failed");
                    return;
                }
                Err(_) => {
                    debug!(address = %peer.address, "TLS handshake took too long");
                    return;
                }
            };
            peer.certificate = tls::identity(stream.get_ref().1, from);
            // The time the handshake took counts towards the CONNECT's.
            let link = Link::new(&shared.broker, peer, now);
            // A task of its own: this one is as large as a handshake.
            tokio::spawn(Counted { open, served: serve(link, Box::new(stream), shared) });
        });
    }
}

/// Refusals a listener speaks out at once.
const REFUSALS_MAX: u32 = 256;

impl Rates {
    fn new(settings: &Listener) -> Rates {
        let all = NonZeroU64::new(settings.connect_rate_max.into());
        let each = NonZeroU64::new(settings.connect_rate_per_address_max.into());
        Rates {
            all: all.map(|rate| TokenBucket::new(rate, rate.get())),
            each: each.map(|rate| Addresses::new(rate, ADDRESSES_MAX)),
        }
    }

    fn allow(&mut self, address: IpAddr, now: Time) -> bool {
        self.each.as_mut().is_none_or(|each| each.allow(address, now))
            && self.all.as_mut().is_none_or(|bucket| bucket.take(1, now))
    }
}

/// One open connection of a listener, counted until it is dropped.
struct Opened {
    open: Arc<AtomicU32>,
    number: u32,
}

impl Opened {
    fn count(open: &Arc<AtomicU32>) -> Opened {
        let number = open.fetch_add(1, Ordering::Relaxed) + 1;
        Opened { open: open.clone(), number }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A served connection that is counted.
struct Counted<F> {
    open: Opened,
    served: F,
}

impl<F: Future<Output = io::Result<()>> + Unpin> Future for Counted<F> {
    type Output = ();

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        let _ = &self.open;
        std::pin::Pin::new(&mut self.served).poll(cx).map(|ended| {
            if let Err(error) = ended {
                debug!(%error, "connection failed");
            }
        })
    }
}

const _: () = assert!(
    size_of::<Counted<super::serve::Serve<TcpStream, crate::time::SystemClock>>>() <= 24,
    "the task of a connection should take 128 bytes"
);

fn nonce() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    u128::from_ne_bytes(bytes)
}
