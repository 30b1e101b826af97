//! What every listener does with a connection, whatever carries its bytes: count it against the
//! listener's limits, bound its handshakes, serve it in a task of its own.
//!
//! A transport is a file beside this one ([`tcp`](super::tcp), [`unix`](super::unix)). It opens its socket, asks
//! [`OpenListener::admit`] for every connection, runs its handshakes (TLS, an upgrade) in
//! [`Admitted::handshake`], and hands a stream of bytes to [`Admitted::serve`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{debug, warn};

use super::addresses::Addresses;
use super::serve::{Serve, ServeContext, serve};
use super::sockets::{SocketRoom, Sockets};
use super::tls::{CertificateDer, CertificateUser, HandshakeError, LiveTls};
use crate::broker::overload::SLOW;
use crate::broker::{Link, ListenerCounts, ListenerId, Peer, PeerInfo, RefusalNote};
use crate::codec::Reason;
use crate::config::Listener;
use crate::message::{Grounds, RefusalKind};
use crate::shape::TokenBucket;
use crate::time::{Clock, Time};

/// A listener that is open: its name, its limits and the connections it has.
pub struct OpenListener<C> {
    shared: Arc<ServeContext<C>>,
    id: ListenerId,
    name: String,
    /// Clients without a user name are let in.
    anonymous: bool,
    connections_max: u32,
    rates: Rates,
    /// What its connections take of the open files that the system permits.
    sockets: Arc<Sockets>,
    admitted: OpenCount,
    /// Connections that are answered with a refusal.
    refused: OpenCount,
    /// When a failed accept was last logged.
    failed: Option<Time>,
    /// Connections that were accepted one after the other.
    in_a_row: u32,
}

/// A connection that the listener has counted, before it is served. Dropped, it is not counted any
/// more.
pub struct Admitted<C> {
    shared: Arc<ServeContext<C>>,
    peer: PeerInfo,
    /// When it was accepted: handshakes count towards the time until CONNECT.
    accepted: Time,
    counted: CountedConnection,
    /// The rates of addresses, which the client's own is asked of if a proxy says it.
    each: Option<AddressRates>,
}

/// Where a listener with an address is to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Bind {
    /// Address and port.
    pub address: SocketAddr,
    /// Of every IPv6 address not the IPv4 addresses too: another listener has the port there.
    pub only_v6: bool,
}

/// Says in the log that a peer has moved to another address.
#[cfg(feature = "quic")]
pub struct PeerMoves<C> {
    shared: Arc<ServeContext<C>>,
    listener: Option<ListenerId>,
}

#[cfg(feature = "quic")]
impl<C: Clock> PeerMoves<C> {
    /// It has moved.
    pub fn note(&self, from: SocketAddr, to: SocketAddr) {
        let peer = Peer::at(&to, Some(to.ip())).on(self.listener);
        self.shared.broker.note_moved(&peer, &from, self.shared.clock.now());
    }
}

/// New connections a second, in all and from each address.
struct Rates {
    all: Option<TokenBucket>,
    each: Option<AddressRates>,
}

type AddressRates = Arc<Mutex<Addresses>>;

/// Refusals that a listener answers at once; beyond it connections are dropped without an answer.
const REFUSALS_MAX: u32 = 256;
/// Most addresses in the table of rates; beyond it those at rest are forgotten.
const ADDRESSES_MAX: usize = 65_536;
/// Pause after a failed accept, which is mostly a lack of file descriptors.
const PAUSE_FAILED: Duration = Duration::from_millis(100);
/// One failed accept in such a time is logged.
const SAY_FAILED: Duration = Duration::from_secs(10);
/// After so many connections in a row it is the turn of those that are there: a burst of them makes none of these wait
/// for long.
const IN_A_ROW_MAX: u32 = 8;
/// Pause between two connections of a listener while the broker is under pressure.
const PAUSE_PRESSED: Duration = Duration::from_millis(10);

impl<C: Clock> OpenListener<C> {
    /// A listener with the limits of `settings`, called `name` in logs and by classes of clients.
    /// `anonymous`: clients without a user name are let in.
    pub fn new(
        shared: &Arc<ServeContext<C>>,
        settings: &Listener,
        name: &str,
        anonymous: bool,
    ) -> OpenListener<C> {
        let sockets = shared.sockets.clone();
        OpenListener::with(shared, settings, (name, anonymous), sockets)
    }

    /// The same, if one socket is that of all its connections.
    #[cfg(feature = "quic")]
    pub fn of_one_socket(
        shared: &Arc<ServeContext<C>>,
        settings: &Listener,
        name: &str,
        anonymous: bool,
    ) -> OpenListener<C> {
        OpenListener::with(shared, settings, (name, anonymous), Arc::default())
    }

    fn with(
        shared: &Arc<ServeContext<C>>,
        settings: &Listener,
        (name, anonymous): (&str, bool),
        sockets: Arc<Sockets>,
    ) -> OpenListener<C> {
        let id = shared.broker.open_listener(settings.called(), name);
        let counts = shared.broker.listener_counts(id).expect("it was opened");
        OpenListener {
            shared: shared.clone(),
            id,
            name: name.to_owned(),
            anonymous,
            connections_max: settings.connections_max,
            rates: Rates::new(settings),
            admitted: OpenCount::new(&sockets, &counts),
            refused: OpenCount::new(&sockets, &counts),
            sockets,
            failed: None,
            in_a_row: 0,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its certificate ends at what `tls` says.
    pub fn shows(&self, tls: &LiveTls) {
        self.admitted.0.counts.set_certificate_ends(tls.certificate_ends().clone());
    }

    /// Counts a connection against the limits and rates. One beyond them is served too, so that its
    /// CONNECT is answered with the reason; `None`: too many of those are open, drop the connection.
    ///
    /// - `address`: the peer's, for logs.
    /// - `ip`: what the rate per address goes by, if the transport has such a thing; `None` for a proxy that tells
    ///   the address of its client.
    pub fn admit(&mut self, address: String, ip: Option<IpAddr>) -> Option<Admitted<C>> {
        let now = self.shared.clock.now();
        let (mut counted, number) = self.admitted.count();
        let room = self.sockets.count();
        let (max, number) = (u64::from(self.connections_max), u64::from(number));
        let refuse = if room != SocketRoom::Enough {
            let (max, number) = self.sockets.figures();
            Some((Reason::QuotaExceeded, Grounds::limit(RefusalKind::OpenFiles, max, number)))
        } else if number > max {
            let grounds = Grounds::limit(RefusalKind::ConnectionsMax, max, number);
            Some((Reason::QuotaExceeded, grounds))
        } else {
            // 0x9F; 3.1.1: 0x03.
            let beyond = self.rates.ask(ip, now).err();
            beyond.map(|grounds| (Reason::ConnectionRateExceeded, grounds))
        };
        if let Some((_, grounds)) = &refuse {
            // A refused connection does not count against `connections_max`.
            let number = counted.move_to(&self.refused);
            if number > REFUSALS_MAX || room == SocketRoom::None {
                let peer = Peer::at(&address, ip).on(Some(self.id));
                let grounds_of_it = Grounds::new(RefusalKind::Unanswered);
                let note = RefusalNote::new(grounds_of_it).why(grounds);
                self.shared.broker.note_refusal(&note, &peer, now);
                return None;
            }
        }
        let peer = PeerInfo {
            address,
            listener: Some(self.id),
            anonymous: self.anonymous,
            certificate: None,
            voucher: None,
            binding: None,
            nonce: nonce(),
            refuse: refuse.map(|(reason, _)| reason),
            grounds: refuse.map(|(_, grounds)| grounds),
        };
        // A proxy speaks for many: the rate is asked of the client's address when that is known.
        let each = if ip.is_none() { self.rates.each.clone() } else { None };
        Some(Admitted { shared: self.shared.clone(), peer, accepted: now, counted, each })
    }

    /// To be awaited after each accepted connection: leaves room for those that are there, and takes its time while the
    /// broker is under pressure.
    pub async fn pace(&mut self) {
        if self.shared.broker.pressure().level() >= SLOW {
            tokio::time::sleep(PAUSE_PRESSED).await;
        }
        self.in_a_row += 1;
        if self.in_a_row >= IN_A_ROW_MAX {
            self.in_a_row = 0;
            tokio::task::yield_now().await;
        }
    }

    /// To be awaited after each failed accept: pauses. Each is counted; one in ten seconds is logged.
    pub async fn pause(&mut self, error: &io::Error) {
        self.shared.broker.metrics().refuse(RefusalKind::Accept, 1);
        let now = self.shared.clock.now();
        if self.failed.is_none_or(|failed| failed.after(SAY_FAILED) <= now) {
            self.failed = Some(now);
            warn!(listener = %self.name, %error, "a connection cannot be accepted: accepting rests");
        }
        tokio::time::sleep(PAUSE_FAILED).await;
    }
}

impl<C: Clock> Admitted<C> {
    /// Runs a handshake within the time until CONNECT. `None`: it failed, or took too long, which is noted as
    /// `late`.
    pub async fn handshake<S>(
        &self,
        late: RefusalKind,
        handshake: impl Future<Output = Result<S, HandshakeError>>,
    ) -> Option<S> {
        let timeout = self.shared.broker.policy().limits.connect_timeout.0;
        let left = self.accepted.after(timeout).since(self.shared.clock.now());
        let ended = tokio::time::timeout(left, handshake).await;
        if late == RefusalKind::TlsTimeout && !matches!(&ended, Ok(Err(error)) if error.silent) {
            self.counted.0.counts.shake_hands(matches!(ended, Ok(Ok(_))));
        }
        match ended {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) if error.silent => {
                debug!(address = %self.peer.address, reason = error.reason, "closed");
            }
            Ok(Err(HandshakeError { kind, reason, detail, .. })) => {
                let note = RefusalNote::new(Grounds::new(kind));
                self.note_refusal(&note.because(reason).why(&detail));
            }
            Err(_) => {
                let limit = timeout.as_secs();
                let note = RefusalNote::new(Grounds::limit(late, limit, limit));
                self.note_refusal(&note);
            }
        }
        None
    }

    /// A proxy that is trusted says that the client is at `address`: that counts from now on.
    pub fn came_from(&mut self, address: SocketAddr) {
        self.peer.address = address.to_string();
        let allowed = self.each.take().is_none_or(|each| {
            let mut each = each.lock().unwrap_or_else(PoisonError::into_inner);
            each.allow(address.ip(), self.accepted)
        });
        if !allowed && self.peer.refuse.is_none() {
            self.peer.refuse = Some(Reason::ConnectionRateExceeded);
            self.peer.grounds = Some(Grounds::new(RefusalKind::AddressRate));
        }
    }

    /// Where the client is, as far as it is known.
    pub fn ip(&self) -> Option<IpAddr> {
        self.peer.address.parse().ok().map(|address: SocketAddr| address.ip())
    }

    /// Notes the identity in the peer's verified certificate.
    pub fn set_certificate(&mut self, identity: String) {
        self.peer.certificate = Some(identity);
    }

    /// Notes the user that a certificate of the peer stands for.
    pub fn identify(&mut self, user: CertificateUser) {
        match user {
            CertificateUser::Unasked => {}
            CertificateUser::Name(name) => self.set_certificate(name),
            CertificateUser::Unusable(problem) => self.refuse_identity(problem),
        }
    }

    /// Notes what TLS says of the peer: the certificates that it has `shown`, and what binds an authentication to
    /// its channel.
    pub fn secured(
        &mut self,
        tls: &Arc<LiveTls>,
        shown: &[CertificateDer<'_>],
        binding: Option<Box<[u8; 32]>>,
    ) {
        self.identify(tls.user(shown));
        self.peer.binding = binding;
        self.peer.voucher = tls.voucher(shown);
    }

    /// The peer's certificate should name its user, and does not: its CONNECT is refused, because any
    /// other name that it gives is one that nothing verified.
    pub fn refuse_identity(&mut self, problem: &'static str) {
        let note = RefusalNote::new(Grounds::new(RefusalKind::CertificateUser));
        self.note_refusal(&note.because(problem));
        self.peer.refuse = Some(Reason::NotAuthorized);
    }

    /// Says in the log, unless it was said lately of its address, that something is refused to the peer.
    pub fn note_refusal(&self, note: &RefusalNote<'_>) {
        let peer = Peer::at(&self.peer.address, self.ip()).on(self.peer.listener);
        self.shared.broker.note_refusal(note, &peer, self.shared.clock.now());
    }

    /// What tells of its moves to other addresses.
    #[cfg(feature = "quic")]
    pub fn moves(&self) -> PeerMoves<C> {
        PeerMoves { shared: self.shared.clone(), listener: self.peer.listener }
    }

    /// Serves the connection in a task of its own until the stream or the link ends.
    ///
    /// A stream that adapts another one: a read of 0 bytes is the end; a short write is followed by
    /// another until one is pending, and that must wake; what it buffers is drained by `poll_flush` and
    /// `poll_shutdown`; a large one should be in a `Box`.
    pub fn serve<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Admitted { shared, peer, accepted, counted, .. } = self;
        let link = Link::new(&shared.broker, peer, accepted);
        tokio::spawn(Served { _counted: counted, served: serve(link, stream, shared) });
    }
}

impl Rates {
    fn new(settings: &Listener) -> Rates {
        let all = NonZeroU64::new(settings.connect_rate_max.into());
        let each = NonZeroU64::new(settings.connect_rate_per_address_max.into());
        Rates {
            all: all.map(|rate| TokenBucket::new(rate, rate.get())),
            each: each.map(|rate| Arc::new(Mutex::new(Addresses::new(rate, ADDRESSES_MAX)))),
        }
    }

    /// Whether a connection from `ip` is let in.
    ///
    /// # Errors
    ///
    /// The rate that it is beyond.
    fn ask(&mut self, ip: Option<IpAddr>, now: Time) -> Result<(), Grounds> {
        let each = self.each.as_ref().zip(ip);
        let allow = |(each, ip): (&AddressRates, IpAddr)| {
            each.lock().unwrap_or_else(PoisonError::into_inner).allow(ip, now)
        };
        if !each.is_none_or(allow) {
            return Err(Grounds::new(RefusalKind::AddressRate));
        }
        if !self.all.as_mut().is_none_or(|bucket| bucket.take(1, now)) {
            return Err(Grounds::new(RefusalKind::ConnectRate));
        }
        Ok(())
    }
}

/// Connections that are open.
struct OpenCount(Arc<ListenerCount>);

struct ListenerCount {
    number: AtomicU32,
    /// Those of all listeners.
    all: Arc<Sockets>,
    /// What is told of the listener.
    counts: Arc<ListenerCounts>,
}

/// One of them; dropped, it is not counted any more, nor its socket.
struct CountedConnection(Arc<ListenerCount>);

impl OpenCount {
    fn new(all: &Arc<Sockets>, counts: &Arc<ListenerCounts>) -> OpenCount {
        let (number, all, counts) = (AtomicU32::new(0), all.clone(), counts.clone());
        OpenCount(Arc::new(ListenerCount { number, all, counts }))
    }

    /// Counts one more; its socket is counted apart; returns how many that makes.
    fn count(&self) -> (CountedConnection, u32) {
        self.0.counts.open();
        (CountedConnection(self.0.clone()), self.0.add())
    }
}

impl ListenerCount {
    fn add(&self) -> u32 {
        self.number.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl CountedConnection {
    /// It is one of `others` from now on; returns how many that makes. Its socket stays counted.
    fn move_to(&mut self, others: &OpenCount) -> u32 {
        self.0.number.fetch_sub(1, Ordering::Relaxed);
        self.0 = others.0.clone();
        self.0.add()
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.number.fetch_sub(1, Ordering::Relaxed);
        self.0.all.discount();
        self.0.counts.close();
    }
}

/// The task of a connection, counted until it ends.
struct Served<F> {
    _counted: CountedConnection,
    served: F,
}

impl<F: Future<Output = io::Result<()>> + Unpin> Future for Served<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.served).poll(cx).map(|ended| {
            if let Err(error) = ended {
                debug!(%error, "connection failed");
            }
        })
    }
}

const _: () = assert!(
    size_of::<Served<Serve<tokio::net::TcpStream, crate::time::SystemClock>>>() <= 24,
    "the task of a connection should take 128 bytes"
);

fn nonce() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    u128::from_ne_bytes(bytes)
}
