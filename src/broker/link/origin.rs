//! Where a client came from.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use crate::broker::{ListenerId, Peer};

/// Where a client came from: its address, for logs, and the listener. Six bytes and two, mostly.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    V4(SocketAddrV4, Option<ListenerId>),
    Other(Box<(String, Option<ListenerId>)>),
}

impl Origin {
    /// `address` as the listener says it.
    pub fn new(address: &str, listener: Option<ListenerId>) -> Origin {
        match address.parse() {
            Ok(address) => Origin::V4(address, listener),
            Err(_) => Origin::Other(Box::new((address.to_owned(), listener))),
        }
    }

    /// Where it came from, if that is an address of the Internet.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Origin::V4(address, _) => Some(IpAddr::V4(*address.ip())),
            Origin::Other(other) => other.0.parse().ok().map(|address: SocketAddr| address.ip()),
        }
    }

    /// It, as the log names it.
    pub fn peer(&self) -> Peer<'_> {
        Peer::at(self, self.address()).on(self.listener())
    }

    /// The listener that accepted it; none of a client in this process.
    pub fn listener(&self) -> Option<ListenerId> {
        match self {
            Origin::V4(_, listener) => *listener,
            Origin::Other(other) => other.1,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::V4(address, _) => address.fmt(f),
            Origin::Other(other) => other.0.fmt(f),
        }
    }
}
