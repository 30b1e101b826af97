//! What commands print: the one place that writes to standard output and standard error by itself.
//!
//! A reader that has gone has seen enough: that is no error. Anything else that standard output refuses is
//! remembered, for the exit code.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tracing::Level;

use super::RUNNING;
use super::line::LineFormat;
use crate::config::LogFormat;

/// Why standard output could not be written first.
static UNSAID: Mutex<Option<io::Error>> = Mutex::new(None);
/// Nothing more can be printed on standard output.
static OVER: AtomicBool = AtomicBool::new(false);

/// Prints a line on standard output.
pub fn say(line: impl Display) {
    print(format_args!("{line}\n"));
}

/// Prints a text on standard output.
pub fn print(text: impl Display) {
    // One write, so that what is printed at once comes at once.
    print_bytes(text.to_string().as_bytes());
}

/// Prints bytes on standard output, as they are.
pub fn print_bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    let Err(error) = written else { return };
    OVER.store(true, Ordering::Relaxed);
    if error.kind() != io::ErrorKind::BrokenPipe {
        UNSAID.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// Whether standard output has refused something: there is no use in printing more.
pub fn is_over() -> bool {
    OVER.load(Ordering::Relaxed)
}

/// Why something could not be printed on standard output, if so. A reader that has gone is no reason.
pub fn unsaid() -> Option<io::Error> {
    UNSAID.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Prints a line on standard error, if it can be written.
pub fn complain(line: impl Display) {
    complain_of(format_args!("{line}\n"));
}

/// Prints a text on standard error, if it can be written.
pub fn complain_of(text: impl Display) {
    let _ = io::stderr().write_all(text.to_string().as_bytes());
}

/// Says in a line of the log's form why the broker does not run. Where the log has begun it goes there.
pub fn say_failed(line: &str, format: LogFormat) {
    let text = match format {
        LogFormat::Human => format!("sluice: {line}\n"),
        LogFormat::Json => {
            let format = LineFormat { format, colours: false, priorities: false };
            format.line_of(Level::ERROR, "sluice", line)
        }
    };
    match RUNNING.get() {
        Some(running) => running.queue.push(&text),
        None => complain_of(text),
    }
}
