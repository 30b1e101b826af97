//! `sluice`: the broker, and what the program does besides being one.

#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

mod acl_command;
mod check_command;
#[cfg(feature = "cluster")]
mod cluster_command;
#[cfg_attr(not(feature = "cluster"), allow(dead_code))] // What `sluice cluster` is told.
mod command_line;
mod ctl;
mod ctl_command;
mod import_command;
mod password;
mod store_command;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use sluicemq::config::LogFormat;
use sluicemq::config::Transport;
use sluicemq::logging::console;
use sluicemq::run::signals::Signals;
use sluicemq::run::{HttpListening, Listening, Place, RunError};
use sluicemq::settings::Settings;
use sluicemq::{certs, logging};

use self::command_line::{Cli, Command, Layers};

fn main() -> ExitCode {
    #[cfg(feature = "cluster")]
    if let Some(code) = cluster_command::run_as_child() {
        return code;
    }
    // First, so that no signal is lost and none kills.
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => {
            console::complain(format_args!("sluice: cannot catch signals: {error}"));
            return ExitCode::from(2);
        }
    };
    let cli = command_line::parse();
    if !matches!(cli.command, None | Some(Command::Run)) {
        signals.let_be();
    }
    let code = carry_out(&cli, signals);
    logging::flush(LAST_LINES);
    // What a broker says there is for people to read: it has served all the same.
    let runs = matches!(cli.command, None | Some(Command::Run));
    match console::unsaid() {
        Some(error) if !runs => {
            console::complain(format_args!("sluice: cannot write to standard output: {error}"));
            ExitCode::from(2)
        }
        _ => code,
    }
}

fn carry_out(cli: &Cli, signals: Signals) -> ExitCode {
    let done = match &cli.command {
        None | Some(Command::Run) => start(&cli.layers, signals),
        Some(Command::Check { live: true, target, .. }) => {
            return check_command::live(&cli.layers, target);
        }
        Some(Command::Check { files, .. }) => check_command::check(&cli.layers, *files),
        Some(Command::Config) => cli.layers.load().map_err(Into::into).map(|settings| {
            console::print(settings.show());
        }),
        Some(Command::Ctl { options, command }) => {
            return ctl_command::run(&cli.layers, options, command, &signals);
        }
        #[cfg(feature = "cluster")]
        Some(Command::Cluster { command }) => {
            return cluster_command::run(&cli.layers, command, &signals);
        }
        #[cfg(not(feature = "cluster"))]
        Some(Command::Cluster { .. }) => Err(NO_CLUSTER.into()),
        Some(Command::Certs { out, names, client }) => make_certs(out, names, client),
        Some(Command::Store { command }) => {
            let done = store_section(&cli.layers)
                .and_then(|section| store_command::run(command, &section));
            match done {
                Ok(code) => return code,
                Err(error) => Err(error),
            }
        }
        Some(Command::Import { command }) => {
            match import_command::run(command, cli.layers.files()) {
                Ok(code) => return code,
                Err(error) => Err(error),
            }
        }
        Some(Command::Acl { command }) => match acl_command::run(&cli.layers, command) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Some(Command::Passwd(command)) => password::run(command, &signals),
    };
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    let runs = matches!(cli.command, None | Some(Command::Run));
    let format = if runs { cli.layers.log_format() } else { LogFormat::Human };
    for line in error.to_string().lines() {
        console::say_failed(line, format);
    }
    let code = error.downcast_ref::<RunError>().map_or(2, RunError::exit_code);
    ExitCode::from(code)
}

/// Everything before the broker runs: settings, logs, development certificates.
fn start(layers: &Layers, signals: Signals) -> Result<(), Box<dyn Error>> {
    let settings = layers.load()?;
    let levels = std::env::var("SLUICE_LOG").ok();
    logging::start(&settings.config().log, levels.as_deref())?;
    for hint in settings.hints() {
        tracing::warn!("{hint}");
    }
    if settings.is_development() && certs::ensure_development(Path::new(DEVELOPMENT_CERTS))? {
        console::say(
            "made a development CA, a server certificate for localhost and a client certificate in certs/",
        );
    }
    run(layers, &settings, signals)
}

/// Runs the broker until it is told to stop.
fn run(layers: &Layers, settings: &Settings, signals: Signals) -> Result<(), Box<dyn Error>> {
    let ready = |listening: &[Listening], http: Option<&HttpListening>| {
        if settings.is_development() {
            console::say(try_lines(listening));
            match http {
                Some(http) => console::say(format_args!("look into it: {}", http.link())),
                None if settings.config().http.address.is_empty() => {}
                None => console::say("its HTTP port is taken: it runs without HTTP"),
            }
        }
    };
    let reread = || layers.load().map_err(|error| error.lines().to_vec());
    sluicemq::run::run(settings, signals, ready, &reread)?;
    Ok(())
}

fn store_section(layers: &Layers) -> Result<sluicemq::config::StoreConfig, Box<dyn Error>> {
    Ok(layers.load()?.store())
}

fn make_certs(out: &Path, names: &[String], client: &str) -> Result<(), Box<dyn Error>> {
    for path in certs::make(out, names, client)? {
        console::say(path.display());
    }
    Ok(())
}

/// The commands that try the development broker, on each of its ports.
fn try_lines(listening: &[Listening]) -> String {
    let mut lines = vec!["try it, in two terminals:".to_owned()];
    for target in listening.iter().filter_map(target) {
        lines.push(format!("  mosquitto_sub {target} -t 'hello/#' -v"));
        lines.push(format!("  mosquitto_pub {target} -t hello/world -m 'it works'"));
    }
    lines.join("\n")
}

/// How mosquitto's clients name a listener; `None`: they cannot.
fn target(listener: &Listening) -> Option<String> {
    match (&listener.place, listener.transport) {
        (Place::Address(address), Transport::Tcp) if listener.tls => {
            // The client compares the host with the name in the certificate.
            let port = address.port();
            Some(format!("--cafile {DEVELOPMENT_CERTS}/ca.pem -h localhost -p {port}"))
        }
        (Place::Address(address), Transport::Tcp) => {
            Some(format!("-h {} -p {}", address.ip(), address.port()))
        }
        (Place::Path(path), _) => Some(format!("--unix {}", path.display())),
        (Place::Address(_), _) => None,
    }
}

/// What `sluice cluster` says in a program without clusters.
#[cfg(not(feature = "cluster"))]
const NO_CLUSTER: &str = "this program was built without the feature cluster; the packages have it, and \
                          `cargo build --release --features full` makes a program that does";
/// How long the end of the process waits for the last lines of its log.
const LAST_LINES: Duration = Duration::from_secs(1);
/// Where [`sluicemq::config::Config::development`] looks for certificates.
const DEVELOPMENT_CERTS: &str = "certs";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use sluicemq::config::Config;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_lines_to_try_name_both_ports() {
        let wanted = "\
try it, in two terminals:
  mosquitto_sub -h 127.0.0.1 -p 1883 -t 'hello/#' -v
  mosquitto_pub -h 127.0.0.1 -p 1883 -t hello/world -m 'it works'
  mosquitto_sub --cafile certs/ca.pem -h localhost -p 8883 -t 'hello/#' -v
  mosquitto_pub --cafile certs/ca.pem -h localhost -p 8883 -t hello/world -m 'it works'";
        let config = Config::development();
        let listening = config.listener.iter().map(|listener| Listening {
            name: listener.name.clone(),
            place: Place::Address(listener.socket_address().expect("an address")),
            transport: listener.transport,
            tls: listener.tls.is_some(),
        });
        assert_eq!(try_lines(&listening.collect::<Vec<_>>()), wanted);
    }
}
