//! Logs: lines for people or JSON objects, to standard error or to a file.
//!
//! Nothing that happens to the log stops anything else: see `src/logging/queue.rs`.

pub mod console;
mod file;
mod line;
mod queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::{Event, Subscriber, error};
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, registry, reload as reloadable};

use crate::config::{Log, LogOutput};
use file::{RotatedFile, StandardError};
use line::LineFormat;
use queue::LineQueue;

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
    /// The file cannot be written.
    #[error("log.file: cannot open {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The thread that writes cannot be had.
    #[error("the log cannot be written: {0}")]
    Thread(io::Error),
    /// Logging was not started in this process.
    #[error("nothing is logged in this process")]
    NotStarted,
    /// Something else in this process logs already.
    #[error("logging was started before")]
    Started,
}

/// The log of this process.
struct Running {
    queue: LineQueue,
    levels: reloadable::Handle<Targets, Registry>,
    /// From the environment: they go over the configuration.
    environment: Option<String>,
}

static RUNNING: OnceLock<Running> = OnceLock::new();

/// Starts logging as `log` says. `levels`, from `SLUICE_LOG`, goes over `log.level`. From then on
/// each panic is a line of the log, and is counted: see [`take_panics`].
pub fn start(log: &Log, levels: Option<&str>) -> Result<(), LogError> {
    let (filter, handle) = reloadable::Layer::new(filter(log, levels)?);
    let is_file = log.output == LogOutput::File;
    let queue = if is_file {
        let path = log.file.clone().unwrap_or_default();
        let file = RotatedFile::open(&path, log.file_bytes_max.0, log.old_files_max);
        LineQueue::start(file.map_err(|source| LogError::File { path, source })?)
    } else {
        StandardError::open().and_then(LineQueue::start)
    };
    let queue = queue.map_err(LogError::Thread)?;
    let format = LineFormat {
        format: log.format,
        colours: !is_file && colours(),
        priorities: !is_file && is_journal(),
    };
    let lines = LineLayer { format, queue: queue.clone() };
    registry().with(filter).with(lines).try_init().map_err(|_| LogError::Started)?;
    let environment = levels.map(str::to_owned);
    let _ = RUNNING.set(Running { queue, levels: handle, environment });
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Whether the levels can be read: those of `SLUICE_LOG` if there are any, else those of `log`.
///
/// # Errors
///
/// What is wrong with them.
pub fn look_at_levels(log: &Log, levels: Option<&str>) -> Result<(), LogError> {
    filter(log, levels).map(|_| ())
}

/// Puts the levels of `log` in force, and opens the file again. Does nothing if logging was not started.
pub fn reload(log: &Log) -> Result<(), LogError> {
    let Some(running) = RUNNING.get() else { return Ok(()) };
    running.queue.reopen();
    let filter = filter(log, running.environment.as_deref())?;
    running.levels.reload(filter).map_err(|_| LogError::Started)
}

/// Puts other levels in force, until the next [`reload`] or [`set_levels`]. Lines of the audit stay.
///
/// # Errors
///
/// What is wrong with them, or that logging was not started.
pub fn set_levels(levels: &str) -> Result<(), LogError> {
    let levels = Log { level: format!("{levels},{AUDIT}=info"), ..Log::default() };
    let filter = filter(&levels, None)?;
    let running = RUNNING.get().ok_or(LogError::NotStarted)?;
    running.levels.reload(filter).map_err(|_| LogError::NotStarted)
}

/// The levels in force; none if logging was not started.
pub fn levels() -> Option<String> {
    RUNNING.get()?.levels.with_current(|filter| as_asked(&filter.to_string())).ok()
}

/// The target of the lines of changes over HTTP.
const AUDIT: &str = "audit";

/// Waits until every line is written, or lost, but no longer than `most`. The process may end then.
pub fn flush(most: Duration) {
    if let Some(running) = RUNNING.get() {
        running.queue.flush(most);
    }
}

/// Writes each event as a line.
struct LineLayer {
    format: LineFormat,
    queue: LineQueue,
}

impl<S: Subscriber> Layer<S> for LineLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.queue.push(&self.format.line(event));
    }
}

/// Panics since they were last taken.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// How many panics there were in this process since this was last asked, the log's start at first.
pub fn take_panics() -> u64 {
    PANICS.swap(0, Ordering::Relaxed)
}

/// A panic is counted, and its message goes where all lines go: standard error may be stuck.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    PANICS.fetch_add(1, Ordering::Relaxed);
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let thread = std::thread::current();
    let trace = Backtrace::capture();
    let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
    error!(
        thread = thread.name(),
        place = panic.location().map(tracing::field::display),
        trace,
        "panic, a fault of this program, please report it: {}",
        text.unwrap_or("no message")
    );
}

/// Whether levels have colours: on a terminal, unless NO_COLOR is set to anything.
fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !refused
}

/// Whether standard error leads to journald, which reads a priority at the front of a line.
fn is_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let found = rustix::fs::fstat(io::stderr());
    found.is_ok_and(|found| named == format!("{}:{}", found.st_dev, found.st_ino))
}

fn filter(log: &Log, levels: Option<&str>) -> Result<Targets, LogError> {
    let (from, levels) = match levels.filter(|levels| !levels.is_empty()) {
        Some(levels) => ("SLUICE_LOG", levels),
        None => ("log.level", log.level.as_str()),
    };
    let wrong = |problem| LogError::Levels { from, levels: levels.to_owned(), problem };
    let judged = Log { level: levels.to_owned(), ..log.clone() };
    if let Some(problem) = judged.level_problem() {
        return Err(wrong(problem));
    }
    let mut directives = Vec::new();
    for text in levels.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let wrong = || wrong(format!("invalid filter directive: {text:?}"));
        directives.push(directive(text).ok_or_else(wrong)?);
    }
    let filter = directives.join(",").parse().map_err(|error: ParseError| wrong(error.to_string()));
    filter.map(|filter| quiet(filter, levels))
}

/// The client of NATS tells of each connection that it makes: only if it is asked for, since `sluicemq::cluster` says what
/// counts.
fn quiet(filter: Targets, levels: &str) -> Targets {
    let is_off = !cfg!(feature = "cluster") || levels.contains(CLIENT_OF_NATS);
    if is_off { filter } else { filter.with_target(CLIENT_OF_NATS, LevelFilter::WARN) }
}

const CLIENT_OF_NATS: &str = "async_nats";

/// Levels as they were asked for: without what the client of NATS is quieted to.
fn as_asked(levels: &str) -> String {
    let quiet = format!("{CLIENT_OF_NATS}=warn");
    let asked = levels.split(',').filter(|level| *level != quiet);
    asked.collect::<Vec<_>>().join(",")
}

/// A level, or a module with or without a field that has a level, as in `sluicemq::net[{client}]=debug`,
/// as `Targets` reads it; `None` if it is something else. `Targets` takes anything for the name of a
/// module, also what can match no line.
fn directive(text: &str) -> Option<String> {
    let is_name = |name: &str| name.chars().all(|c| c.is_alphanumeric() || "-_:".contains(c));
    let (module, level) = match text.split_once('=') {
        Some((module, "")) => (module, "trace"),
        Some(both) => both,
        None if text.ends_with(']') => (text, "trace"),
        None => return is_name(text).then(|| text.to_owned()),
    };
    let is_known = match module.strip_suffix("}]") {
        Some(rest) => rest.split_once("[{").is_some_and(|(name, _)| is_name(name)),
        None => !module.is_empty() && is_name(module),
    };
    is_known.then(|| format!("{module}={level}"))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn check(level: &str, variable: Option<&str>, wanted: &str) {
        let log = Log { level: level.to_owned(), ..Log::default() };
        match filter(&log, variable) {
            Ok(filter) => assert_eq!(as_asked(&filter.to_string()), wanted),
            Err(error) => assert!(error.to_string().starts_with(wanted), "{error}"),
        }
    }

    #[test]
    fn the_environment_goes_over_the_configuration() {
        check("info", None, "info");
        check("info", Some(""), "info");
        check("info", Some("debug"), "debug");
        check("info", Some("sluicemq::net=trace"), "sluicemq::net=trace");
        check("info", Some("sluicemq::net[{client}]=debug"), "sluicemq::net[{client}]=debug");
        check("info", Some("sluicemq::net[{client}]"), "sluicemq::net[{client}]=trace");
        check("info", Some("[{client}]=debug, warn"), "[{client}]=debug,warn");
    }

    #[test]
    fn the_longest_name_of_a_module_decides() {
        let level = "WARN, sluicemq=info,sluicemq::net=TRACE,sluicemq::net::tls=off".to_owned();
        let filter = filter(&Log { level, ..Log::default() }, None).expect("levels");
        for (module, level, wanted) in [
            ("rustls", Level::WARN, true),
            ("rustls", Level::INFO, false),
            ("sluicemq::broker", Level::INFO, true),
            ("sluicemq::broker", Level::DEBUG, false),
            ("sluicemq::net::tcp", Level::TRACE, true),
            ("sluicemq::net::tls::files", Level::ERROR, false),
        ] {
            assert_eq!(filter.would_enable(module, &level), wanted, "{module} {level}");
        }
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
        for wrong in
            ["sluicemq[", "[]=debug", "/sluicemq[{client}]=debug", "sluicemq[{client}]=debog"]
        {
            let wanted = format!("SLUICE_LOG: {wrong:?} is not a list of levels: ");
            check("info", Some(wrong), &wanted);
            assert!(filter(&Log::default(), Some(wrong)).is_err(), "{wrong}");
        }
        for wrong in ["=debug", "/sluicemq=debug", "sluicemq=net=debug"] {
            assert!(filter(&Log::default(), Some(wrong)).is_err(), "{wrong}");
        }
    }
}
