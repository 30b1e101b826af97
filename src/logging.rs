//! Logs: lines for people or JSON objects, to standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

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
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match log.format {
        LogFormat::Human => lines.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|_| LogError::Started)
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
