//! Where the broker is and where the result goes, as it is said on the command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::error::Error;
use crate::require::Requirements;
use crate::target::{Target, Tls, Transport};

/// Where the broker is.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Broker")]
pub struct Where {
    /// What carries MQTT [default: tcp, or tls where an option for TLS is given]
    #[arg(short = 'T', long, global = true, value_enum, conflicts_with = "url")]
    transport: Option<Carrier>,
    /// Name or address; with --transport unix, the path of the socket
    #[arg(short = 'H', long, global = true, default_value = "127.0.0.1")]
    host: String,
    /// Port [default: 1883, tls 8883, ws 8083, wss 8084, quic 14567]
    #[arg(short, long, global = true)]
    port: Option<u16>,
    /// Everything in one: mqtt://user:password@host:port, or mqtts://, ws://, wss://, quic://, unix:///path
    #[arg(long, global = true, value_name = "URL", conflicts_with_all = ["host", "port"])]
    url: Option<String>,
    /// One more node of the broker's cluster; clients are spread over all
    #[arg(long, global = true, value_name = "HOST:PORT", value_delimiter = ',')]
    node: Vec<String>,
    /// Path of the WebSocket
    #[arg(long, global = true, default_value = "/mqtt")]
    path: String,
    /// User name
    #[arg(short, long, global = true)]
    user: Option<String>,
    /// Password
    #[arg(short = 'P', long, global = true)]
    password: Option<String>,
    /// Speak TLS
    #[arg(long, global = true)]
    tls: bool,
    /// Certificates to trust (PEM) instead of the system's; means --tls
    #[arg(long, global = true, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Client certificate (PEM); means --tls
    #[arg(long, global = true, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Key of the client certificate (PEM)
    #[arg(long, global = true, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Name expected in the broker's certificate
    #[arg(long, global = true, value_name = "NAME")]
    tls_name: Option<String>,
    /// Accept any certificate; means --tls
    #[arg(long, global = true)]
    tls_insecure: bool,
    /// Address to connect from; more than one are used in turn
    #[arg(long, global = true, value_name = "ADDRESS", value_delimiter = ',')]
    source: Vec<IpAddr>,
    /// Process number of the broker on this machine: measures its CPU and memory
    #[arg(long, global = true, value_name = "PID")]
    broker_pid: Option<u32>,
}

/// What carries MQTT, as the command line names it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum Carrier {
    /// TCP.
    #[default]
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket within TLS.
    Wss,
    /// QUIC.
    Quic,
    /// A unix socket.
    Unix,
}

impl Carrier {
    fn transport(self) -> Transport {
        match self {
            Carrier::Tcp | Carrier::Tls => Transport::Tcp,
            Carrier::Ws | Carrier::Wss => Transport::WebSocket,
            Carrier::Quic => Transport::Quic,
            Carrier::Unix => Transport::Unix,
        }
    }

    fn is_secure(self) -> bool {
        matches!(self, Carrier::Tls | Carrier::Wss | Carrier::Quic)
    }

    /// The port that such listeners mostly have.
    fn port(self) -> u16 {
        match self {
            Carrier::Tcp | Carrier::Unix => 1883,
            Carrier::Tls => 8883,
            Carrier::Ws => 8083,
            Carrier::Wss => 8084,
            Carrier::Quic => 14567,
        }
    }
}

/// Where the result goes, and what it must reach.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Result")]
pub struct Output {
    /// Write the result as JSON; - is standard output
    #[arg(long, global = true, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the timeline as CSV; - is standard output
    #[arg(long, global = true, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Write a page with plots, for a browser
    #[arg(long, global = true, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// What the run must reach, such as p99<5ms,loss=0,rate>=100k; else exit code 1
    #[arg(long, global = true, value_name = "LIST")]
    pub require: Option<Requirements>,
    /// Show no progress
    #[arg(long, global = true)]
    pub quiet: bool,
    /// What makes the load
    #[arg(long, global = true, value_enum, default_value_t = Engine::Sluice)]
    pub engine: Engine,
}

/// What makes the load.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Engine {
    /// Our own light client.
    Sluice,
    /// rumqttc, a client that many applications use: for pair, fanout, fanin and shared.
    Rumqttc,
}

impl Where {
    /// The broker that this names.
    ///
    /// # Errors
    ///
    /// If the URL is none.
    pub fn target(&self) -> Result<Target, Error> {
        let tls = self.tls
            || self.tls_insecure
            || self.tls_ca.is_some()
            || self.tls_cert.is_some()
            || self.tls_name.is_some();
        let carrier = match self.transport.unwrap_or_default() {
            Carrier::Tcp if tls => Carrier::Tls,
            Carrier::Ws if tls => Carrier::Wss,
            Carrier::Unix if tls => {
                return Err(Error::Input("a unix socket has no TLS".into()));
            }
            carrier => carrier,
        };
        let node = |text: &String| {
            place_of(text, carrier.port())
                .ok_or_else(|| Error::Input(format!("--node {text:?}: no host:port")))
        };
        let target = Target {
            nodes: self.node.iter().map(node).collect::<Result<_, _>>()?,
            transport: carrier.transport(),
            host: self.host.clone(),
            port: self.port.unwrap_or(carrier.port()),
            path: self.path.clone(),
            tls: carrier.is_secure().then(|| self.tls_options()),
            user: self.user.clone(),
            password: self.password.clone(),
            pid: self.broker_pid,
            sources: self.source.clone(),
        };
        match &self.url {
            Some(url) => self.at_url(url, target),
            None => Ok(target),
        }
    }

    /// `target`, but where `url` says otherwise.
    ///
    /// # Errors
    ///
    /// If it is no URL of a broker.
    pub fn at_url(&self, url: &str, target: Target) -> Result<Target, Error> {
        let wrong = |why: &str| Error::Input(format!("{url:?}: {why}"));
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| wrong("no mqtt:// or the like"))?;
        let carrier = match scheme {
            "mqtt" | "tcp" => Carrier::Tcp,
            "mqtts" | "ssl" => Carrier::Tls,
            "ws" => Carrier::Ws,
            "wss" => Carrier::Wss,
            "quic" => Carrier::Quic,
            "unix" => Carrier::Unix,
            _ => return Err(wrong("only mqtt, mqtts, ws, wss, quic and unix are spoken")),
        };
        let tls = carrier.is_secure().then(|| self.tls_options()).or(target.tls.clone());
        let mut target = Target { transport: carrier.transport(), tls, ..target };
        if carrier == Carrier::Unix {
            target.tls = None;
            target.host = rest.into();
            return Ok(target);
        }
        let (rest, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !path.is_empty() {
            target.path = format!("/{path}");
        }
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        if let Some(login) = login {
            let (user, password) = match login.split_once(':') {
                Some((user, password)) => (user, Some(password.to_string())),
                None => (login, None),
            };
            target.user = Some(user.into());
            target.password = password.or(target.password.take());
        }
        let default = match target.tls {
            Some(_) if carrier == Carrier::Tcp => Carrier::Tls.port(),
            _ => carrier.port(),
        };
        (target.host, target.port) =
            place_of(place, default).ok_or_else(|| wrong("no host:port"))?;
        Ok(target)
    }

    fn tls_options(&self) -> Tls {
        Tls {
            ca: self.tls_ca.clone(),
            identity: self.tls_cert.clone().zip(self.tls_key.clone()),
            server_name: self.tls_name.clone(),
            insecure: self.tls_insecure,
        }
    }
}

/// `host`, `host:port` or `[address]:port`.
pub fn place_of(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']')?;
            (host, behind.strip_prefix(':'))
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map_or(Some(default), |port| port.parse().ok())?;
    (!host.is_empty()).then(|| (host.to_string(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_host_with_or_without_a_port() {
        for (text, place) in [
            ("a", Some(("a", 1))),
            ("a:2", Some(("a", 2))),
            ("[::1]:2", Some(("::1", 2))),
            ("[::1]", Some(("::1", 1))),
            ("a:x", None),
            (":2", None),
            ("", None),
        ] {
            let place = place.map(|(host, port): (&str, u16)| (host.to_string(), port));
            assert_eq!(place_of(text, 1), place, "{text}");
        }
    }
}
