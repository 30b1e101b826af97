//! Opens the listeners, and says why one cannot be opened.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::config::{Config, Listener};
use crate::net::serve::ServeContext;
use crate::net::tcp::{Bind, TcpAcceptor};
use crate::net::tls::{LiveTls, TlsError};
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
}

/// A listener that is open.
#[derive(Clone, Debug)]
pub struct Listening {
    /// As configured; its address if it has no name.
    pub name: String,
    /// With the real port.
    pub address: SocketAddr,
    /// It wants TLS.
    pub tls: bool,
}

/// Opens every listener of the configuration.
pub(super) fn open<C: Clock>(
    config: &Config,
    shared: &Arc<ServeContext<C>>,
) -> Result<Vec<TcpAcceptor<C>>, ListenError> {
    let mut acceptors = Vec::new();
    for listener in &config.listener {
        let tls = match &listener.tls {
            Some(tls) => Some(Arc::new(LiveTls::load_for(tls, listener.transport.within_tls())?)),
            None => None,
        };
        let cannot = |source: std::io::Error| ListenError::Address {
            address: listener.address.clone(),
            hint: hint(&source, config, listener),
            source,
        };
        let address = listener
            .socket_address()
            .ok_or_else(|| cannot(std::io::ErrorKind::InvalidInput.into()))?;
        let place = Bind { address, only_v6: only_v6(address, config) };
        let anonymous = listener.admits_anonymous(&config.auth);
        let acceptor =
            TcpAcceptor::open(shared, listener, place, anonymous, tls).map_err(cannot)?;
        acceptors.push(acceptor);
    }
    Ok(acceptors)
}

/// What is said of a listener that is open.
pub(super) fn listening<C: Clock>(acceptor: &TcpAcceptor<C>) -> std::io::Result<Listening> {
    let name = acceptor.name().to_owned();
    Ok(Listening { name, address: acceptor.address()?, tls: acceptor.tls().is_some() })
}

/// What may be the reason why a listener cannot be opened.
fn hint(source: &std::io::Error, config: &Config, listener: &Listener) -> String {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    let port = |listener: &Listener| listener.socket_address().map(|address| address.port());
    let other =
        |other: &&Listener| !std::ptr::eq(*other, listener) && port(other) == port(listener);
    match source.kind() {
        AddrInUse => match config.listener.iter().find(other) {
            Some(other) => {
                format!(" (so does the listener at {} of this configuration)", other.address)
            }
            None => " (another program listens there: `ss -ltnp` names it)".to_owned(),
        },
        AddrNotAvailable => " (this machine does not have that address)".to_owned(),
        PermissionDenied => " (ports below 1024 want CAP_NET_BIND_SERVICE)".to_owned(),
        _ => String::new(),
    }
}

/// Whether a listener on every IPv6 address leaves the IPv4 addresses to another one.
fn only_v6(address: SocketAddr, config: &Config) -> bool {
    let on_v4 = |other: SocketAddr| other.is_ipv4() && other.port() == address.port();
    address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        && address.port() != 0
        && config.listener.iter().filter_map(Listener::socket_address).any(on_v4)
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
            only_v6(config.listener[0].socket_address().unwrap(), &config)
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
