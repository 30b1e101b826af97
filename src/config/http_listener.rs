//! The HTTP listener: health, metrics, the API and the dashboard.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::listener::{Listener, Tls, collide};
use super::problems::Problems;
use super::section::InForce::{Live, Restart};
use super::section::{key, list, optional, rows};

rows! {
    /// HTTP: health, metrics, the API and the dashboard. What everybody may ask is `/healthz` and `/readyz`; the
    /// rest wants a token.
    pub struct HttpListener {
        /// Address and port; port 0 takes a free one. `""`: there is no HTTP. A start without a configuration file
        /// has it at `127.0.0.1:18090`. On an address that is not loopback, tokens should come through TLS.
        address: String = key(Restart, String::new()).example("127.0.0.1:18090".to_owned());
        /// File with the token of an operator. It is made if it is missing, readable by its owner only. A relative
        /// one begins beside the last configuration file, or without one in the current folder. Not set:
        /// `http-token`, or, if there is `[[http.token]]`, none. SIGHUP reads it again.
        token_file: Option<PathBuf> =
            key(Restart, None).example(Some("/var/lib/sluice/http-token".into()));
        /// `/metrics` wants no token.
        metrics_public: bool = key(Live, false);
        /// Client Identifiers of which `/metrics` tells what waits and what was lost. Others are in no label.
        metrics_clients: Option<Vec<String>> =
            key(Live, None).example(Some(vec!["gateway-1".to_owned()]));
        /// `/mqtt` is MQTT over WebSocket, as the dashboard uses it; its clients log in as everywhere, and rules and
        /// classes know it as the listener `"http"`. A client without a user name is let in only where a
        /// `[[listener]]` does so too and `http.address` is a loopback address, or a step of `[[auth.step]]` says so.
        mqtt: bool = key(Restart, true);
        /// Names by which the listener is asked, beside `localhost` and addresses. A request
        /// for another name is refused: a page of another site could have that name lead here.
        hosts: Option<Vec<String>> =
            key(Live, None).example(Some(vec!["broker.example".to_owned()]));
        /// Origins of other pages that may ask, such as `https://app.example`.
        origins: Option<Vec<String>> =
            key(Live, None).example(Some(vec!["https://app.example".to_owned()]));
        /// Connections at once. Each has one request at a time. Beyond it the oldest one that has shown no good token
        /// is closed for the new one.
        connections_max: u32 = key(Live, 256).range(1..=65_536);
        /// Live feeds at once.
        feeds_max: u32 = key(Live, 32).range(1..=1024);
        /// Traces at once, which are feeds too: each makes the workers do more.
        traces_max: u32 = key(Live, 4).range(1..=64);
        /// Sections `[[http.token]]`.
        token: Vec<HttpToken> = list(Live);
        /// Section `[http.tls]`.
        tls: Option<Tls> = optional(Restart).like("listener.tls");
    }
}

rows! {
    /// A token, one `[[http.token]]` each, beside the one in `http.token_file`.
    pub struct HttpToken {
        /// Name in the log, of the audit mostly.
        name: String = key(Live, String::new()).required("grafana".to_owned());
        /// SHA-256 of the token, in 64 hexadecimal digits, as `printf %s TOKEN | sha256sum` says it. A token should
        /// be random: `openssl rand -hex 32` makes one.
        sha256: String = key(Live, String::new()).required("0".repeat(64));
        /// What it is good for. `"viewer"`: to look. `"operator"`: to change things too, to publish, and to look at
        /// payloads.
        rights: HttpRights = key(Live, HttpRights::Viewer).words::<HttpRights>();
    }
}

/// What the HTTP listener is called where MQTT comes through it.
pub const HTTP_NAME: &str = "http";

/// What a token is good for; each can do what those before it can.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpRights {
    /// To look.
    #[default]
    Viewer,
    /// To change things, to publish, and to look at payloads.
    Operator,
}

impl HttpRights {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            HttpRights::Viewer => "viewer",
            HttpRights::Operator => "operator",
        }
    }
}

impl HttpListener {
    /// Where to listen; none if there is no HTTP.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        self.address.parse().ok()
    }

    /// Whether MQTT comes this way too.
    pub fn carries_mqtt(&self) -> bool {
        self.mqtt && !self.address.is_empty()
    }

    /// The file of the operator's token, if there is one.
    pub fn operator_file(&self) -> Option<PathBuf> {
        let usual = || self.token.is_empty().then(|| PathBuf::from("http-token"));
        self.token_file.clone().or_else(usual)
    }

    /// Adds what is wrong with it, apart from ranges.
    pub(super) fn check(&self, listeners: &[Listener], found: &mut Problems) {
        match self.socket_address() {
            None if self.address.is_empty() => {}
            None => {
                let wanted = "an address and a port such as \"127.0.0.1:18090\", or \"\"";
                found.add("http.address", format!("expected {wanted}, found {:?}", self.address));
            }
            Some(own) => {
                let others = listeners.iter().filter(|other| !other.transport.is_udp());
                let mut others = others.filter_map(Listener::socket_address);
                if let Some(other) = others.find(|other| collide(*other, own)) {
                    found.add("http.address", format!("{own} is taken by a listener ({other})"));
                }
            }
        }
        if let Some(tls) = &self.tls {
            tls.check("http.tls", found);
        }
        if self.carries_mqtt() && listeners.iter().any(|other| other.called() == HTTP_NAME) {
            let problem =
                format!("a listener is called {HTTP_NAME:?} already: say false, or rename it");
            found.add("http.mqtt", problem);
        }
        let is_host = |host: &str| {
            !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic() && !"/:".contains(c))
        };
        for host in self.hosts.iter().flatten().filter(|host| !is_host(host)) {
            let wanted = "expected a name without a port, such as \"broker.example\"";
            found.add("http.hosts", format!("{wanted}, found {host:?}"));
        }
        for origin in self.origins.iter().flatten() {
            if !origin.split_once("://").is_some_and(|(_, host)| is_host(&host.replace(':', ""))) {
                let wanted = "expected an origin such as \"https://app.example\", without a path";
                found.add("http.origins", format!("{wanted}, found {origin:?}"));
            }
        }
        for (index, token) in self.token.iter().enumerate() {
            token.check(&format!("http.token.{index}"), &self.token[..index], found);
        }
    }
}

impl HttpToken {
    fn check(&self, at: &str, before: &[HttpToken], found: &mut Problems) {
        if self.name.is_empty() {
            found.add(format!("{at}.name"), "a token needs a name");
        } else if before.iter().any(|other| other.name == self.name) {
            found.add(format!("{at}.name"), format!("{:?} names another token", self.name));
        }
        if self.digest().is_none() {
            found.add(format!("{at}.sha256"), "expected 64 hexadecimal digits");
        }
    }

    /// The SHA-256 of the token; none if it is not written as one.
    pub fn digest(&self) -> Option<[u8; 32]> {
        let mut digest = [0; 32];
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, digits) in digest.iter_mut().zip(self.sha256.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(digest)
    }
}
