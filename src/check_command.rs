//! `sluice check`: the configuration, the files and ports that it names, or a broker that runs.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

use sluicemq::config::{Config, Listener, Tls, Transport};
use sluicemq::logging::{self, console};
use sluicemq::net::live_check::{LiveError, live_check};
use sluicemq::net::tls::{ClientTls, ServerTrust};

use crate::command_line::{Layers, LiveTarget};

/// Whether the configuration is good and, with `files`, what it names.
///
/// # Errors
///
/// A line for each mistake.
pub fn check(layers: &Layers, files: bool) -> Result<(), Box<dyn Error>> {
    let settings = layers.load()?;
    logging::look_at_levels(&settings.config().log, std::env::var("SLUICE_LOG").ok().as_deref())?;
    for hint in settings.hints() {
        console::complain(format_args!("sluice: warning: {hint}"));
    }
    sluicemq::run::read_rules(&settings.from_here(), &settings)?;
    if files {
        let findings =
            sluicemq::run::look_at_files(&settings.from_here(), settings.is_development());
        let (serious, hints): (Vec<_>, Vec<_>) =
            findings.into_iter().partition(|found| found.serious);
        for hint in hints {
            console::complain(format_args!("sluice: warning: {}", hint.text));
        }
        if !serious.is_empty() {
            let lines: Vec<_> = serious.into_iter().map(|found| found.text).collect();
            return Err(lines.join("\n").into());
        }
    }
    console::say(if files {
        "the configuration is good, and so are the files it names"
    } else {
        "the configuration is good"
    });
    Ok(())
}

/// Exit code 0 if a running broker takes a message and gives it back, else 1.
pub fn live(layers: &Layers, target: &LiveTarget) -> ExitCode {
    match try_live(layers, target) {
        Ok(()) => {
            console::say("the broker is well");
            ExitCode::SUCCESS
        }
        Err(error) => {
            for line in error.to_string().lines() {
                console::complain(format_args!("sluice: {line}"));
            }
            ExitCode::FAILURE
        }
    }
}

fn try_live(layers: &Layers, target: &LiveTarget) -> Result<(), Box<dyn Error>> {
    let (address, tls) = match &target.address {
        Some(text) => (resolve(text)?, tls_of_options(target, text)?),
        None => {
            let settings = layers.load()?;
            let listener = choose(settings.config(), target.listener.as_deref())?;
            let address = listener.socket_address().ok_or("the listener has no address")?;
            let tls = listener.tls.as_ref();
            (reachable(address), tls.map(|tls| tls_of_listener(target, tls, address)).transpose()?)
        }
    };
    let password = std::env::var("SLUICE_CHECK_PASSWORD").unwrap_or_default();
    let user = target.user.as_deref().map(|user| (user, password.as_str()));
    // Without a configuration it is a guess whether TLS is spoken there.
    let of_tls = match (&target.address, &tls) {
        (None, _) => "",
        (Some(_), None) => "; does it speak TLS there? give --ca",
        (Some(_), Some(_)) => "; does it speak TLS there? if not, leave out --ca",
    };
    live_check(address, tls.as_ref(), user).map_err(|error| match error {
        LiveError::Io { ref source, .. } => format!("{error}{}", hint(source, of_tls)).into(),
        error => error.into(),
    })
}

/// What an error of the connection may come of: `of_tls`, if it was made.
fn hint(error: &io::Error, of_tls: &'static str) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "; nothing listens there: does the broker run, and on this port?"
        }
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::TimedOut => "",
        _ => of_tls,
    }
}

/// The listener called `name`, or the first without TLS, or the first.
fn choose<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a Listener, String> {
    let listeners = &config.listener;
    match name {
        Some(name) => {
            let found = listeners.iter().find(|listener| listener.called() == name);
            let found = found.ok_or_else(|| format!("there is no listener {name:?}"))?;
            match found.transport {
                Transport::Tcp => Ok(found),
                other => Err(format!("{name:?} is a {} listener: name one of TCP", other.name())),
            }
        }
        None => {
            let of_tcp = || listeners.iter().filter(|found| found.transport == Transport::Tcp);
            let plain = of_tcp().find(|listener| listener.tls.is_none());
            plain.or(of_tcp().next()).ok_or_else(|| "there is no listener of TCP".to_owned())
        }
    }
}

/// Where a listener on all addresses can be reached.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn resolve(text: &str) -> Result<SocketAddr, String> {
    let cannot = |why: &str| format!("--address {text}: {why}; expected as in 127.0.0.1:1883");
    let mut found = text.to_socket_addrs().map_err(|error| cannot(&error.to_string()))?;
    found.next().ok_or_else(|| cannot("no such address"))
}

/// TLS to an address of the command line: if there is a CA.
fn tls_of_options(target: &LiveTarget, address: &str) -> Result<Option<ClientTls>, Box<dyn Error>> {
    let Some(ca) = &target.ca else {
        if target.cert.is_some() {
            return Err("--cert is for TLS: give --ca, too".into());
        }
        return Ok(None);
    };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    client_tls(target, &ServerTrust::Authority(ca.clone()), host).map(Some)
}

/// TLS to a listener of the configuration: without a CA its own certificate is expected.
fn tls_of_listener(
    target: &LiveTarget,
    tls: &Tls,
    address: SocketAddr,
) -> Result<ClientTls, Box<dyn Error>> {
    let own = ServerTrust::Certificate(tls.certificate.clone());
    let trust = target.ca.clone().map_or(own, ServerTrust::Authority);
    client_tls(target, &trust, &address.ip().to_string())
}

fn client_tls(
    target: &LiveTarget,
    trust: &ServerTrust,
    host: &str,
) -> Result<ClientTls, Box<dyn Error>> {
    let name = target.server_name.as_deref().unwrap_or(host);
    let name =
        name.to_owned().try_into().map_err(|_| format!("{name:?} is no name of a server"))?;
    let identity = target.cert.clone().zip(target.key.clone());
    Ok(ClientTls::load(trust, identity, name)?)
}
