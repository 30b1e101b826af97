//! Conformance scripts on the real process: all that move no clock, and a few that are worth the
//! seconds they take; some of them again over TLS.

mod script;

#[path = "script/process.rs"]
mod process;

use std::process::ExitCode;
use std::sync::Arc;

use process::{Certificates, Processes};
use script::language::Script;
use script::report::Report;

fn main() -> ExitCode {
    let mut report = match Report::begin() {
        Ok(report) => report,
        Err(code) => return code,
    };
    let timeless = |script: &Script| !script.timed() || script.realtime;
    report.play("tcp", &Processes { certificates: None }, timeless);
    let certificates = match Certificates::make() {
        Ok(certificates) => Some(Arc::new(certificates)),
        Err(error) => {
            println!("no certificates: {error}");
            return ExitCode::FAILURE;
        }
    };
    let kinds = ["connect-accepted", "publish-", "session-res", "size-", "disconnect-", "will-d"];
    report.play("tls", &Processes { certificates }, |script| {
        !script.timed() && kinds.iter().any(|kind| script.file.starts_with(kind))
    });
    report.end()
}
