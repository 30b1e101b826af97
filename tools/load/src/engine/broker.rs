//! Where the broker is, as every thread needs it: the address, where to come from, what to show.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use super::frames::Frames;
use super::quic::Gateway;
use super::socket::Secrets;
use super::tls;
use crate::error::Error;
use crate::target::{Target, Transport};

/// Where the broker is.
#[derive(Clone)]
pub struct Broker {
    /// As it is shown.
    pub name: String,
    /// How connections come to it.
    pub way: Way,
    /// Addresses to connect from, in turn; chosen by the system if there is none.
    pub sources: Vec<IpAddr>,
    /// How TLS is spoken on these.
    pub secrets: Option<Secrets>,
    /// What asks for a WebSocket, if it is one.
    pub upgrade: Option<Arc<str>>,
    /// User Name and Password.
    pub user: Option<String>,
    /// Password.
    pub password: Option<String>,
}

/// How connections come to a broker.
#[derive(Clone)]
pub enum Way {
    /// By TCP: the broker, or the nodes of its cluster.
    Tcp(Arc<[SocketAddr]>),
    /// By a unix socket.
    Unix(PathBuf),
    /// By QUIC.
    Quic(Arc<Gateway>),
}

impl Way {
    /// The node of the client with this number, of several: neighbours are not always at other ones.
    pub fn node(nodes: &[SocketAddr], number: u32) -> SocketAddr {
        let spread = number.wrapping_mul(0x9E37_79B9) >> 16;
        nodes[spread as usize % nodes.len()]
    }
}

impl Broker {
    /// The broker that `target` names, for a run of so many connections.
    ///
    /// # Errors
    ///
    /// If its name has no address, or a certificate cannot be read.
    pub fn new(target: &Target, connections: u32) -> Result<Broker, Error> {
        let carries = matches!(target.transport, Transport::Tcp | Transport::WebSocket);
        if !carries && !target.nodes.is_empty() {
            return Err(Error::Input("--node is for TCP and WebSocket".into()));
        }
        let secrets = target.tls.as_ref().map(|tls| tls::secrets(tls, &target.host)).transpose()?;
        let mut sources = target.sources.clone();
        let way = match (target.transport, &secrets) {
            (Transport::Unix, _) => Way::Unix(target.host.clone().into()),
            (Transport::Quic, Some(secrets)) => {
                Way::Quic(Arc::new(Gateway::start(target.address()?, secrets)?))
            }
            (Transport::Quic, None) => {
                return Err(Error::Input("QUIC is never without TLS".into()));
            }
            (Transport::Tcp | Transport::WebSocket, _) => {
                let addresses = target.addresses()?;
                let address = addresses[0];
                if sources.is_empty() && connections > PORTS && is_first_loopback(address.ip()) {
                    let needed = connections.div_ceil(PORTS).min(200) as u8;
                    sources = (1..=needed).map(|last| IpAddr::from([127, 0, 0, last])).collect();
                }
                Way::Tcp(addresses.into())
            }
        };
        let is_websocket = target.transport == Transport::WebSocket;
        let upgrade = is_websocket.then(|| Frames::request(&target.name(), &target.path).into());
        Ok(Broker {
            name: target.name(),
            sources,
            secrets: secrets.filter(|_| !matches!(way, Way::Quic(_))),
            way,
            upgrade,
            user: target.user.clone(),
            password: target.password.clone(),
        })
    }
}

fn is_first_loopback(address: IpAddr) -> bool {
    address == IpAddr::from([127, 0, 0, 1])
}

/// Connections from one address of our own to one of the broker's, safely within the range of
/// ports that systems give.
const PORTS: u32 = 25_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_connections_to_this_machine_come_from_several_addresses() {
        for (host, connections, sources) in
            [("127.0.0.1", 25_000, 0), ("127.0.0.1", 60_000, 3), ("127.0.0.2", 60_000, 0)]
        {
            let target = Target { host: host.into(), port: 1, ..Target::default() };
            let broker = Broker::new(&target, connections).unwrap();
            assert_eq!(broker.sources.len(), sources, "{host} {connections}");
        }
    }

    #[test]
    fn clients_are_spread_over_the_nodes() {
        let nodes = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let counts = nodes.map(|node| (0..900).filter(|at| Way::node(&nodes, *at) == node).count());
        assert!(counts.iter().all(|count| (270..=330).contains(count)), "{counts:?}");
    }
}
