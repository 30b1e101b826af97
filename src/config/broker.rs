//! The process: its logs, threads, shutdown and `$SYS`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::rates::Egress;
use super::section::InForce::{Live, Restart};
use super::section::{key, rows, section};
use super::units::{Size, Span};

rows! {
    /// Logs. What cannot be written is counted in `$SYS/broker/log/lines lost`; it stops nothing.
    pub struct Log {
        /// `"human"`: lines for people. `"json"`: one JSON object a line.
        format: LogFormat = key(Restart, LogFormat::Human).words::<LogFormat>();
        /// Level, or levels by module as in `info,sluicemq::net=debug`. The environment variable
        /// `SLUICE_LOG` overrides it.
        level: String = key(Live, "info".to_owned());
        /// `"stderr"`, or `"file"`: then `log.file` names it. Lines on standard error have priorities where it
        /// leads to journald, and colours on a terminal unless `NO_COLOR` is set.
        output: LogOutput = key(Restart, LogOutput::Stderr).words::<LogOutput>();
        /// File for the log. At SIGHUP it is opened again, after another program has moved it.
        file: Option<PathBuf> = key(Restart, None).example(Some("sluice.log".into())).names_file();
        /// Length after which the file becomes an old one, `file.1`, and another begins; 0 is never.
        file_bytes_max: Size = key(Restart, Size::kib(64 * 1024))
            .range_or(Size::kib(64)..=Size::TIB, Size(0));
        /// Old files that are kept.
        old_files_max: u32 = key(Restart, 5).range(0..=1000);
    }
}

rows! {
    /// Threads, shutdown, `$SYS`.
    pub struct BrokerConfig {
        /// Worker threads; 0 is one for each core.
        workers: u32 = key(Restart, 0).range(0..=1024);
        /// At SIGTERM, how long writes may take to finish.
        stop_timeout: Span = key(Restart, Span::secs(5)).range(Span::secs(0)..=Span::secs(600));
        /// How often `$SYS` topics that changed are published; `"0s"` is never.
        sys_interval: Span = key(Restart, Span::secs(10))
            .range_or(Span::secs(1)..=Span::secs(86_400), Span::secs(0));
        /// Shortest time between two deliveries to a client: many messages share one write. A client
        /// that was given nothing for this long gets the next message at once.
        linger_max: Span = key(Live, Span::millis(0)).range(Span::millis(0)..=Span::millis(50));
        /// Section `[broker.egress]`.
        egress: Egress = section();
    }
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// What the log is written to.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogOutput {
    /// Standard error.
    #[default]
    Stderr,
    /// A file, rotated by size.
    File,
}

impl Log {
    /// What is wrong with `level`, if anything.
    ///
    /// A misspelt level would otherwise count as the name of a module and silence every log.
    pub fn level_problem(&self) -> Option<String> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        if self.level.trim().is_empty() {
            return Some("is empty; expected a level such as \"info\"".to_owned());
        }
        // Spans and fields may hold commas and equals signs: the log's own parser judges them.
        if self.level.contains(['[', '{']) {
            return None;
        }
        self.level.split(',').find_map(|directive| {
            let level = directive.rsplit('=').next().unwrap_or(directive).trim();
            let known = LEVELS.iter().any(|name| name.eq_ignore_ascii_case(level));
            (!known)
                .then(|| format!("unknown level {level:?}; expected one of {}", LEVELS.join(", ")))
        })
    }

    /// Adds what is wrong with it.
    pub(super) fn check(&self, found: &mut Problems) {
        if let Some(problem) = self.level_problem() {
            found.add("log.level", problem);
        }
        if self.output == LogOutput::File && self.file.is_none() {
            found.add("log.file", "is missing: log.output is \"file\"".to_owned());
        }
    }
}
