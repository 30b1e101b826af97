//! `sluice cluster status`: asks the servers of a cluster, its log and its nodes.

use std::fs::File;

use sluicemq::cluster::{LookError, drain, forget, look};
use sluicemq::config::ClusterConfig;
use sluicemq::logging::console;
use sluicemq::net::tls::use_cryptography;

use super::report;
use crate::command_line::Layers;
use crate::ctl::failure::CtlFailure;
use crate::ctl::output::CtlOutput;
use crate::ctl::target::files;

/// Prints what it finds out. `servers`: instead of those of the configuration, if there are any.
///
/// # Errors
///
/// The configuration is wrong, no server can be reached, or the log does not answer.
pub fn run(layers: &Layers, servers: &[String], json: bool) -> Result<(), CtlFailure> {
    let config = cluster(layers, servers)?;
    use_cryptography();
    let found = look(&config).map_err(failure)?;
    let out = CtlOutput::new(json);
    out.show(&found.report, |report| report::text(report, out.width()));
    match found.log_problem {
        Some(problem) => Err(CtlFailure::Refused(problem)),
        None => Ok(()),
    }
}

/// Sends what a node has to the others, and waits until it has ended. `node`: instead of that of the configuration.
///
/// # Errors
///
/// The configuration is wrong, there is no such node, or it does not end.
pub fn drain_node(
    layers: &Layers,
    servers: &[String],
    node: Option<&str>,
) -> Result<(), CtlFailure> {
    let config = cluster(layers, servers)?;
    let unnamed = || CtlFailure::Usage("which node? give its name by --node NAME".to_owned());
    let node = node.or(config.node.as_deref()).ok_or_else(unnamed)?;
    use_cryptography();
    let mut last = None;
    let mut progress = |sessions: u64| {
        if last.replace(sessions) != Some(sessions) {
            console::say(format_args!("{node}: {sessions} sessions are still there"));
        }
    };
    drain(&config, node, &mut progress).map_err(failure)?;
    console::say(format_args!("{node} has ended, and all its sessions are at other nodes"));
    Ok(())
}

/// Gives up a node that does not come back.
///
/// # Errors
///
/// The configuration is wrong, the node is up, or no other one serves.
pub fn forget_node(layers: &Layers, servers: &[String], node: &str) -> Result<(), CtlFailure> {
    let config = cluster(layers, servers)?;
    use_cryptography();
    let sessions = forget(&config, node).map_err(failure)?;
    console::say(format_args!(
        "{node} is forgotten; {sessions} sessions that it had are begun anew"
    ));
    Ok(())
}

fn failure(error: LookError) -> CtlFailure {
    match error {
        LookError::Unusable(text) => CtlFailure::Usage(text),
        LookError::Unreachable(text) => CtlFailure::Unreachable(text),
    }
}

/// The section of the configuration, with these servers.
fn cluster(layers: &Layers, servers: &[String]) -> Result<ClusterConfig, CtlFailure> {
    // What is named on the command line says enough without the files of usual places.
    let files = if servers.is_empty() { files(layers) } else { layers.files().to_vec() };
    for file in &files {
        if let Err(error) = File::open(file) {
            let text = format!("cannot read the configuration {}: {error}", file.display());
            return Err(CtlFailure::Usage(text));
        }
    }
    let settings = layers.load_with(&files);
    let settings = settings.map_err(|error| CtlFailure::Usage(error.to_string()))?;
    let mut config = settings.from_here().cluster;
    if !servers.is_empty() {
        config.servers = Some(servers.to_vec());
    }
    if !config.is_on() {
        let named = match files.last() {
            Some(file) => format!("{} has no section [cluster] with servers", file.display()),
            None => "there is no configuration with a section [cluster]".to_owned(),
        };
        return Err(CtlFailure::Usage(format!(
            "{named}: give the configuration of a node by --config FILE, or a server by --server nats://HOST:PORT"
        )));
    }
    Ok(config)
}
