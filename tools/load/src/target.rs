//! Where the broker is, and how to come in.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use crate::error::Error;

/// A broker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// What carries MQTT.
    pub transport: Transport,
    /// Name or address; of a unix socket, the path of its file.
    pub host: String,
    /// Port.
    pub port: u16,
    /// More nodes of its cluster: connections are spread over it and these. Only over TCP and WebSocket.
    pub nodes: Vec<(String, u16)>,
    /// TLS, if it is spoken.
    pub tls: Option<Tls>,
    /// Path of the WebSocket.
    pub path: String,
    /// User Name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Process number of the broker, to measure what it uses.
    pub pid: Option<u32>,
    /// Addresses to connect from, in turn. If empty, the system chooses; to a loopback address of
    /// many connections, 127.0.0.1, 127.0.0.2, … are used.
    pub sources: Vec<IpAddr>,
}

/// What carries MQTT.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Transport {
    /// TCP, or TLS over it.
    #[default]
    Tcp,
    /// WebSocket over one of these.
    WebSocket,
    /// QUIC.
    Quic,
    /// A unix socket.
    Unix,
}

/// How TLS is spoken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// Certificates to trust; the system's if not given.
    pub ca: Option<PathBuf>,
    /// Client certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Name expected in the certificate; the host if not given.
    pub server_name: Option<String>,
    /// Accept any certificate.
    pub insecure: bool,
}

impl Target {
    /// `host:port`, or the path of a socket, as it is shown; with the other nodes, if there are some.
    pub fn name(&self) -> String {
        if !self.nodes.is_empty() {
            let nodes = self.nodes.iter().map(|(host, port)| format!("{host}:{port}"));
            return format!("{}:{},{}", self.host, self.port, nodes.collect::<Vec<_>>().join(","));
        }
        if self.transport == Transport::Unix {
            self.host.clone()
        } else if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The first address that the host's name stands for.
    ///
    /// # Errors
    ///
    /// If it stands for none.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.address_of(&self.host, self.port)
    }

    /// The same of all nodes, the broker first.
    ///
    /// # Errors
    ///
    /// If a name stands for none.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        let others = self.nodes.iter().map(|(host, port)| self.address_of(host, *port));
        std::iter::once(self.address()).chain(others).collect()
    }

    fn address_of(&self, host: &str, port: u16) -> Result<SocketAddr, Error> {
        let unknown = |why: String| Error::Unreachable { address: self.name(), why };
        (host, port)
            .to_socket_addrs()
            .map_err(|source| unknown(source.to_string()))?
            .next()
            .ok_or_else(|| unknown("the name has no address".into()))
    }
}
