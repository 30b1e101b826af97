//! How the connections of a listener come: what carries their bytes.

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::section::InForce::Restart;
use super::section::{key, rows};

/// What carries the bytes of MQTT.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP, or TLS over it.
    #[default]
    Tcp,
    /// Messages of a WebSocket, over one of these.
    WebSocket,
    /// The one stream of a QUIC connection.
    Quic,
    /// A unix socket: a file of this machine.
    Unix,
}

impl Transport {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::WebSocket => "websocket",
            Transport::Quic => "quic",
            Transport::Unix => "unix",
        }
    }

    /// Its packets are those of UDP: the ports of TCP are others.
    pub fn is_udp(self) -> bool {
        self == Transport::Quic
    }

    /// What is spoken through TLS, by its name in ALPN.
    pub fn within_tls(self) -> &'static str {
        match self {
            Transport::Tcp | Transport::Quic | Transport::Unix => "mqtt",
            Transport::WebSocket => "http/1.1",
        }
    }
}

rows! {
    /// The upgrade of the listener above it to WebSocket, where its `transport` is `"websocket"`.
    pub struct WebSocket {
        /// The path that clients ask for; `"*"`: any.
        path: String = key(Restart, "/mqtt".to_owned());
        /// Origins of pages that may connect, such as `https://app.example`; `"*"`: all. A page
        /// that comes from the host and port of the listener itself may always. A client that is no browser says no
        /// origin and is let in.
        origins: Option<Vec<String>> =
            key(Restart, None).example(Some(vec!["https://app.example".to_owned()]));
    }
}

rows! {
    /// The file of the listener above it, where its `transport` is `"unix"`.
    pub struct UnixSocket {
        /// Rights of the file, in octal: to connect is to write.
        mode: String = key(Restart, "0660".to_owned());
        /// Name of the user that owns the file. Not set: the user of the broker.
        owner: Option<String> = key(Restart, None).example(Some("sluice".to_owned()));
        /// Name of the group of the file. Not set: the group of the broker.
        group: Option<String> = key(Restart, None).example(Some("mqtt".to_owned()));
        /// Where a client has its user name. `"none"`: in its CONNECT. `"peer"`: it is the user of this machine that
        /// its program runs as, as the system says; user name and password of its CONNECT are not looked at. In rules
        /// and classes that name is the identity of a client certificate.
        identity: UnixIdentity = key(Restart, UnixIdentity::None).words::<UnixIdentity>();
    }
}

/// Where a client behind a proxy has its user name.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyIdentity {
    /// In its CONNECT.
    #[default]
    None,
    /// It is the Common Name of the client certificate that the proxy has verified.
    Cn,
}

/// Where a client of a unix socket has its user name.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnixIdentity {
    /// In its CONNECT.
    #[default]
    None,
    /// It is the user that its program runs as.
    Peer,
}

impl UnixSocket {
    /// The rights of its file; none if `mode` is no such number.
    pub fn mode_bits(&self) -> Option<u32> {
        u32::from_str_radix(&self.mode, 8).ok().filter(|bits| *bits <= 0o777)
    }

    /// Adds what is wrong with it; `at` is its name.
    pub(super) fn check(&self, at: &str, found: &mut Problems) {
        if self.mode_bits().is_none() {
            let wanted = "expected rights in octal such as \"0660\"";
            found.add(format!("{at}.mode"), format!("{wanted}, found {:?}", self.mode));
        }
    }
}

impl WebSocket {
    /// Adds what is wrong with it; `at` is its name.
    pub(super) fn check(&self, at: &str, found: &mut Problems) {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#');
        if self.path != "*" && !(self.path.starts_with('/') && self.path.chars().all(plain)) {
            let wanted =
                "expected a path such as \"/mqtt\": it begins with / and has no ?, # or space";
            found.add(format!("{at}.path"), format!("{wanted}, found {:?}", self.path));
        }
        for origin in self.origins.iter().flatten().filter(|origin| !is_origin(origin)) {
            let wanted =
                "expected an origin such as \"https://app.example\", without a path, or \"*\"";
            found.add(format!("{at}.origins"), format!("{wanted}, found {origin:?}"));
        }
    }
}

/// Whether a browser could say it: scheme and host, nothing behind them.
fn is_origin(text: &str) -> bool {
    let host =
        |host: &str| !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic() && c != '/');
    text == "*"
        || text == "null"
        || text.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && host(rest))
}

#[cfg(test)]
#[cfg(not(feature = "quic"))]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_build_without_quic_says_so() {
        let text = "[[listener]]\naddress = '127.0.0.1:14567'\ntransport = 'quic'\n";
        let config: Config = toml::from_str(text).unwrap();
        let said = format!("{:?}", config.check().unwrap_err());
        assert!(said.contains("this program was built without the feature quic"), "{said}");
    }
}
