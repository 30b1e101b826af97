//! Opens the listeners, and says why one cannot be opened.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{Config, Listener, Transport};
use crate::net::listener::Bind;
#[cfg(feature = "quic")]
use crate::net::quic::QuicAcceptor;
use crate::net::serve::ServeContext;
use crate::net::tcp::TcpAcceptor;
use crate::net::tls::{LiveTls, TlsError};
use crate::net::unix::UnixAcceptor;
use crate::time::Clock;

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Its address cannot be had.
    #[error("cannot listen on {address}: {source}{hint}")]
    Address {
        /// As configured.
        address: String,
        /// What the system said.
        source: std::io::Error,
        /// What may be the reason.
        hint: String,
    },
    /// Its TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operator's token of the HTTP listener cannot be had.
    #[error("http.token_file {}: {problem}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// A listener that is open.
#[derive(Clone, Debug)]
pub struct Listening {
    /// As configured; its address if it has no name.
    pub name: String,
    /// Where it listens.
    pub place: Place,
    /// What carries MQTT there.
    pub transport: Transport,
    /// It wants TLS.
    pub tls: bool,
}

impl Listening {
    /// Its address, with the real port; none of a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.place {
            Place::Address(address) => Some(address),
            Place::Path(_) => None,
        }
    }
}

/// Where a listener listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// At an address, with the real port.
    Address(SocketAddr),
    /// At the file of a unix socket.
    Path(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Address(address) => address.fmt(f),
            Place::Path(path) => path.display().fmt(f),
        }
    }
}

/// An open listener of any kind.
pub(super) enum Acceptor<C> {
    Tcp(TcpAcceptor<C>),
    #[cfg(feature = "quic")]
    Quic(QuicAcceptor<C>),
    Unix(UnixAcceptor<C>),
}

impl<C: Clock> Acceptor<C> {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Acceptor::Tcp(acceptor) => acceptor.name(),
            #[cfg(feature = "quic")]
            Acceptor::Quic(acceptor) => acceptor.name(),
            Acceptor::Unix(acceptor) => acceptor.name(),
        }
    }

    /// Its TLS.
    pub fn tls(&self) -> Option<&Arc<LiveTls>> {
        match self {
            Acceptor::Tcp(acceptor) => acceptor.tls(),
            #[cfg(feature = "quic")]
            Acceptor::Quic(acceptor) => Some(acceptor.tls()),
            Acceptor::Unix(_) => None,
        }
    }

    /// Accepts until the task is dropped.
    pub async fn accept(self) {
        match self {
            Acceptor::Tcp(acceptor) => acceptor.accept().await,
            #[cfg(feature = "quic")]
            Acceptor::Quic(acceptor) => acceptor.accept().await,
            Acceptor::Unix(acceptor) => acceptor.accept().await,
        }
    }
}

/// Opens every listener of the configuration.
pub(super) fn open<C: Clock>(
    config: &Config,
    shared: &Arc<ServeContext<C>>,
) -> Result<Vec<Acceptor<C>>, ListenError> {
    let open_one = |listener: &Listener| {
        let tls = match &listener.tls {
            Some(tls) => Some(Arc::new(LiveTls::load_for(tls, listener.transport)?)),
            None => None,
        };
        open_at(config, listener, shared, tls).map_err(|source| ListenError::Address {
            address: listener.address.clone(),
            hint: hint(&source, config, listener),
            source,
        })
    };
    config.listener.iter().map(open_one).collect()
}

fn open_at<C: Clock>(
    config: &Config,
    listener: &Listener,
    shared: &Arc<ServeContext<C>>,
    tls: Option<Arc<LiveTls>>,
) -> std::io::Result<Acceptor<C>> {
    let anonymous = listener.admits_anonymous(&config.auth);
    if let Some(path) = listener.socket_path() {
        return UnixAcceptor::open(shared, listener, path, anonymous).map(Acceptor::Unix);
    }
    let address = listener.socket_address().ok_or(std::io::ErrorKind::InvalidInput)?;
    let is_udp = listener.transport.is_udp();
    let place = Bind { address, only_v6: only_v6(address, is_udp, config) };
    #[cfg(feature = "quic")]
    if let (true, Some(tls)) = (is_udp, &tls) {
        let open = QuicAcceptor::open(shared, listener, place, anonymous, tls.clone());
        return open.map(Acceptor::Quic);
    }
    TcpAcceptor::open(shared, listener, place, anonymous, tls).map(Acceptor::Tcp)
}

/// What is said of a listener that is open.
pub(super) fn listening<C: Clock>(
    acceptor: &Acceptor<C>,
    settings: &Listener,
) -> std::io::Result<Listening> {
    let place = match acceptor {
        Acceptor::Tcp(acceptor) => Place::Address(acceptor.address()?),
        #[cfg(feature = "quic")]
        Acceptor::Quic(acceptor) => Place::Address(acceptor.address()?),
        Acceptor::Unix(acceptor) => Place::Path(acceptor.path().to_owned()),
    };
    let (name, transport) = (acceptor.name().to_owned(), settings.transport);
    Ok(Listening { name, place, transport, tls: acceptor.tls().is_some() })
}

/// What may be the reason why a listener cannot be opened.
fn hint(source: &std::io::Error, config: &Config, listener: &Listener) -> String {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    let port = |listener: &Listener| {
        listener.socket_address().map(|address| (address.port(), listener.transport.is_udp()))
    };
    let other =
        |other: &&Listener| !std::ptr::eq(*other, listener) && port(other) == port(listener);
    match source.kind() {
        AddrInUse if listener.socket_path().is_some() => {
            " (another program listens on that socket)".to_owned()
        }
        AddrInUse => match config.listener.iter().find(other) {
            Some(other) => {
                format!(" (so does the listener at {} of this configuration)", other.address)
            }
            None => {
                let kind = if listener.transport.is_udp() { 'u' } else { 't' };
                format!(" (another program listens there: `ss -l{kind}np` names it)")
            }
        },
        AddrNotAvailable => " (this machine does not have that address)".to_owned(),
        PermissionDenied if listener.socket_path().is_none() => {
            " (ports below 1024 want CAP_NET_BIND_SERVICE)".to_owned()
        }
        _ => String::new(),
    }
}

/// Whether a listener on every IPv6 address leaves the IPv4 addresses to another one.
fn only_v6(address: SocketAddr, is_udp: bool, config: &Config) -> bool {
    let on_v4 = |other: SocketAddr| other.is_ipv4() && other.port() == address.port();
    let others = config.listener.iter().filter(|other| other.transport.is_udp() == is_udp);
    address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        && address.port() != 0
        && others.filter_map(Listener::socket_address).any(on_v4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(addresses: &[&str]) -> Config {
        let listener =
            |address: &&str| Listener { address: (*address).into(), ..Listener::default() };
        Config { listener: addresses.iter().map(listener).collect(), ..Config::default() }
    }

    #[test]
    fn every_ipv6_address_leaves_the_ipv4_ones_to_a_listener_on_the_same_port() {
        let is_only = |addresses: &[&str]| {
            let config = config(addresses);
            only_v6(config.listener[0].socket_address().unwrap(), false, &config)
        };
        assert!(is_only(&["[::]:1883", "0.0.0.0:1883"]));
        assert!(is_only(&["[::]:1883", "127.0.0.1:1883"]));
        assert!(!is_only(&["[::]:1883", "0.0.0.0:8883"]));
        assert!(!is_only(&["[::]:1883"]), "alone it serves both");
        assert!(!is_only(&["[::]:0", "0.0.0.0:0"]), "they get different ports");
        assert!(!is_only(&["[::1]:1883", "0.0.0.0:1883"]));
    }

    #[test]
    fn a_port_that_is_taken_says_by_which_listener_if_it_is_ours() {
        let said = |kind: std::io::ErrorKind, addresses: &[&str]| {
            let config = config(addresses);
            hint(&kind.into(), &config, config.listener.last().unwrap())
        };
        let taken = std::io::ErrorKind::AddrInUse;
        let ours = said(taken, &["0.0.0.0:1883", "127.0.0.1:1883"]);
        assert_eq!(ours, " (so does the listener at 0.0.0.0:1883 of this configuration)");
        assert!(said(taken, &["0.0.0.0:1883"]).contains("another program"));
        let right = said(std::io::ErrorKind::PermissionDenied, &["0.0.0.0:80"]);
        assert!(right.contains("CAP_NET_BIND_SERVICE"));
    }
}
