//! `sluice import …`: what another broker had becomes files of this one.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use sluicemq::import::{self, Fate};
use sluicemq::logging::console;

use crate::command_line::ImportCommand;

/// Does it, with the configuration that was given.
///
/// # Errors
///
/// Something cannot be read or written.
pub fn run(command: &ImportCommand, configs: &[PathBuf]) -> Result<ExitCode, Box<dyn Error>> {
    let ImportCommand::Mosquitto { out, db } = command;
    let [config] = configs else {
        return Err(
            "name one configuration of mosquitto: --config /etc/mosquitto/mosquitto.conf".into()
        );
    };
    let report = import::mosquitto(config, out, db.as_deref())?;
    console::say(&report);
    let same = report.count(Fate::Differs) + report.count(Fate::Missing) == 0;
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
