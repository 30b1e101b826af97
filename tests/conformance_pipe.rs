//! Every conformance script through the connection task, on tokio with its clock paused.

mod script;

#[allow(dead_code, reason = "only the ports and the configuration are wanted here")]
#[path = "script/link.rs"]
mod link;
#[path = "script/pipe.rs"]
mod pipe;

use std::process::ExitCode;

use pipe::Pipes;
use script::report::Report;

fn main() -> ExitCode {
    let mut report = match Report::begin() {
        Ok(report) => report,
        Err(code) => return code,
    };
    report.play("pipe", &Pipes { bytes: 1 << 20 }, |_| true);
    report.play("narrow pipe", &Pipes { bytes: 50 }, |script| !script.whole && !script.timed());
    report.end()
}
