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
}

impl Transport {
    /// What is spoken through TLS, by its name in ALPN.
    pub fn within_tls(self) -> &'static str {
        match self {
            Transport::Tcp => "mqtt",
            Transport::WebSocket => "http/1.1",
        }
    }
}

rows! {
    /// The upgrade of the listener above it to WebSocket, where its `transport` is `"websocket"`.
    pub struct WebSocket {
        /// The path that clients ask for.
        path: String = key(Restart, "/mqtt".to_owned());
        /// Origins of pages that may connect, such as `https://app.example`; `"*"`: all. A page
        /// that comes from the host and port of the listener itself may always. A client that is no browser says no
        /// origin and is let in.
        origins: Option<Vec<String>> =
            key(Restart, None).example(Some(vec!["https://app.example".to_owned()]));
    }
}

impl WebSocket {
    /// Adds what is wrong with it; `at` is its name.
    pub(super) fn check(&self, at: &str, found: &mut Problems) {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#');
        if !self.path.starts_with('/') || !self.path.chars().all(plain) {
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
