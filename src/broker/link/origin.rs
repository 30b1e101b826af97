//! Where a client came from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::broker::{ListenerId, Peer};

/// Where a client came from: its address, for logs, and the listener. Six bytes and two, mostly.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    V4(SocketAddrV4, Option<ListenerId>),
    V6(Box<(SocketAddrV6, Option<ListenerId>)>),
    /// No address of the Internet.
    Other(Box<(Box<str>, Option<ListenerId>)>),
}

impl Default for Origin {
    fn default() -> Origin {
        Origin::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), None)
    }
}

impl Origin {
    /// `address` as the listener says it.
    pub fn new(address: &str, listener: Option<ListenerId>) -> Origin {
        match address.parse() {
            Ok(SocketAddr::V4(address)) => Origin::V4(address, listener),
            Ok(SocketAddr::V6(address)) => Origin::V6(Box::new((address, listener))),
            Err(_) => Origin::Other(Box::new((address.into(), listener))),
        }
    }

    /// Where it came from, if that is an address of the Internet.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Origin::V4(address, _) => Some(IpAddr::V4(*address.ip())),
            Origin::V6(other) => Some(IpAddr::V6(*other.0.ip())),
            Origin::Other(_) => None,
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
            Origin::V6(other) => other.1,
            Origin::Other(other) => other.1,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::V4(address, _) => address.fmt(f),
            Origin::V6(other) => other.0.fmt(f),
            Origin::Other(other) => other.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_said_as_the_listener_says_it() {
        let cases = [
            ("192.0.2.7:1883", Some("192.0.2.7")),
            ("[2001:db8::7]:1883", Some("2001:db8::7")),
            ("[fe80::7%3]:1883", Some("fe80::7")),
            ("unix", None),
            ("", None),
        ];
        for (said, ip) in cases {
            let origin = Origin::new(said, None);
            assert_eq!(origin.to_string(), said);
            assert_eq!(origin.address(), ip.map(|ip| ip.parse().expect("an address")), "{said}");
        }
    }
}
