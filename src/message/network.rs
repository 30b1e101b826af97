//! What counts as one address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What clients are counted and limited by where that goes by address: an IPv4 address, also one written as IPv6; of an IPv6
/// address the first 64 bits, because one subscriber has all addresses of such a network. One number.
///
/// ```
/// use sluicemq::message::Network;
///
/// let of = |ip: &str| Network::of(ip.parse().ok());
/// assert_eq!(of("192.0.2.7"), of("::ffff:192.0.2.7"));
/// assert_eq!(of("2001:db8:0:1::7"), of("2001:db8:0:1:8::9"));
/// assert_ne!(of("2001:db8:0:1::7"), of("2001:db8:0:2::7"));
/// assert_eq!(Network::from_bits(of("192.0.2.7").to_bits()), of("192.0.2.7"));
/// assert_eq!(Network::of(None), Network::default());
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Network(u64);

/// In the upper half of the number of an IPv4 address. IPv6 has no networks that begin so: `0:1::/32`.
const V4: u64 = 1 << 32;
/// The network of `::1`, which would be 0: `0:2::/64` is none.
const LOOPBACK: u64 = 2 << 32;

impl Network {
    /// That of an address; without one, of all clients that have none.
    pub fn of(address: Option<IpAddr>) -> Network {
        match address.map(|address| address.to_canonical()) {
            None => Network(0),
            Some(IpAddr::V4(address)) => Network(V4 | u64::from(u32::from(address))),
            Some(IpAddr::V6(address)) => match (u128::from(address) >> 64) as u64 {
                0 => Network(LOOPBACK),
                bits => Network(bits),
            },
        }
    }

    /// The address, or the first one of the network; `None` of clients without an address.
    pub fn address(self) -> Option<IpAddr> {
        match self.0 {
            0 => None,
            LOOPBACK => Some(Ipv6Addr::UNSPECIFIED.into()),
            bits if bits >> 32 == V4 >> 32 => Some(Ipv4Addr::from(bits as u32).into()),
            bits => Some(Ipv6Addr::from(u128::from(bits) << 64).into()),
        }
    }

    /// The number that a store writes; 0 of clients without an address.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The network that [`Network::to_bits`] gave this number for.
    pub const fn from_bits(bits: u64) -> Network {
        Network(bits)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            None => f.write_str("none"),
            Some(IpAddr::V4(address)) => address.fmt(f),
            Some(IpAddr::V6(first)) => write!(f, "{first}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_said_as_people_write_it() {
        for (address, wanted) in [
            ("192.0.2.7", "192.0.2.7"),
            ("0.0.0.0", "0.0.0.0"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("::1", "::/64"),
            ("unix", "none"),
        ] {
            assert_eq!(Network::of(address.parse().ok()).to_string(), wanted);
        }
    }
}
