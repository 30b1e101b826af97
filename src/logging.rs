//! Logs: lines for people or JSON objects, to standard error.

mod line;

use std::io::{self, IsTerminal, Write};

use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, registry};

use crate::config::Log;
use line::LineFormat;

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The levels cannot be read.
    #[error("{from}: {levels:?} is not a list of levels: {problem}")]
    Levels {
        /// Where they were written.
        from: &'static str,
        /// What was written.
        levels: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Something else in this process logs already.
    #[error("logging was started before")]
    Started,
}

/// Starts logging as `log` says. `levels`, from `SLUICE_LOG`, goes over `log.level`.
pub fn start(log: &Log, levels: Option<&str>) -> Result<(), LogError> {
    let filter = filter(log, levels)?;
    let format = LineFormat { format: log.format, colours: colours(), priorities: false };
    let lines = LineLayer { format };
    registry().with(filter).with(lines).try_init().map_err(|_| LogError::Started)
}

/// Writes each event as a line.
struct LineLayer {
    format: LineFormat,
}

impl<S: Subscriber> Layer<S> for LineLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // A log that cannot be written is no reason for anything else to fail.
        let _ = io::stderr().write_all(self.format.line(event).as_bytes());
    }
}

/// Whether levels have colours: on a terminal, unless NO_COLOR is set to anything.
fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !refused
}

fn filter(log: &Log, levels: Option<&str>) -> Result<EnvFilter, LogError> {
    let (from, levels) = match levels.filter(|levels| !levels.is_empty()) {
        Some(levels) => ("SLUICE_LOG", levels),
        None => ("log.level", log.level.as_str()),
    };
    let wrong = |problem| LogError::Levels { from, levels: levels.to_owned(), problem };
    let judged = Log { level: levels.to_owned(), ..log.clone() };
    if let Some(problem) = judged.level_problem() {
        return Err(wrong(problem));
    }
    EnvFilter::builder().parse(levels).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(level: &str, variable: Option<&str>, wanted: &str) {
        let log = Log { level: level.to_owned(), ..Log::default() };
        match filter(&log, variable) {
            Ok(filter) => assert_eq!(filter.to_string(), wanted),
            Err(error) => assert!(error.to_string().starts_with(wanted), "{error}"),
        }
    }

    #[test]
    fn the_environment_goes_over_the_configuration() {
        check("info", None, "info");
        check("info", Some(""), "info");
        check("info", Some("debug"), "debug");
        check("info", Some("sluicemq::net=trace"), "sluicemq::net=trace");
    }

    #[test]
    fn what_is_no_level_is_named_where_it_was_written() {
        check("inof", None, "log.level: \"inof\" is not a list of levels: unknown level \"inof\"");
        check(
            "info",
            Some("loud"),
            "SLUICE_LOG: \"loud\" is not a list of levels: unknown level \"loud\"",
        );
        check(
            "info",
            Some("sluicemq[{=debug"),
            "SLUICE_LOG: \"sluicemq[{=debug\" is not a list of levels: ",
        );
    }
}
