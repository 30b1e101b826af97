//! Where the broker is and where the result goes, as it is said on the command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::error::Error;
use crate::require::Requirements;
use crate::target::{Target, Tls};

/// Where the broker is.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Broker")]
pub struct Where {
    /// Name or address
    #[arg(short = 'H', long, global = true, default_value = "127.0.0.1")]
    host: String,
    /// Port [default: 1883, with TLS 8883]
    #[arg(short, long, global = true)]
    port: Option<u16>,
    /// Everything in one: mqtt://user:password@host:port, or mqtts:// for TLS
    #[arg(long, global = true, value_name = "URL", conflicts_with_all = ["host", "port"])]
    url: Option<String>,
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
        let mut target = Target {
            host: self.host.clone(),
            port: self.port.unwrap_or(if tls { TLS_PORT } else { PORT }),
            tls: tls.then(|| self.tls_options()),
            user: self.user.clone(),
            password: self.password.clone(),
            pid: self.broker_pid,
            sources: self.source.clone(),
        };
        if let Some(url) = &self.url {
            self.read_url(url, &mut target)?;
        }
        Ok(target)
    }

    fn read_url(&self, url: &str, target: &mut Target) -> Result<(), Error> {
        let wrong = |why: &str| Error::Input(format!("{url:?}: {why}"));
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| wrong("no mqtt:// or mqtts://"))?;
        match scheme {
            "mqtt" | "tcp" => {}
            "mqtts" | "ssl" => target.tls = Some(self.tls_options()),
            _ => return Err(wrong("only mqtt:// and mqtts:// are spoken")),
        }
        let rest = rest.trim_end_matches('/');
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
        let default = if target.tls.is_some() { TLS_PORT } else { PORT };
        (target.host, target.port) =
            place_of(place, default).ok_or_else(|| wrong("no host:port"))?;
        Ok(())
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

const PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

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
