//! Every conformance script on the broker's core: no socket, no thread, a clock that is told.
//! Then every expectation of every script is turned around, and must be missed.

mod script;

#[path = "script/flip.rs"]
mod flip;
#[path = "script/link.rs"]
mod link;
#[path = "script/mistakes.rs"]
mod mistakes;

use std::process::ExitCode;

use link::Core;
use script::report::Report;

fn main() -> ExitCode {
    let mut report = match Report::begin() {
        Ok(report) => report,
        Err(code) => return code,
    };
    let plain = Core { lasting: false, piece: usize::MAX };
    report.play("link", &plain, |_| true);
    report.play("link, lasting", &Core { lasting: true, ..plain }, |_| true);
    report.play("link, in pieces", &Core { piece: 3, ..plain }, |script| !script.whole);
    mistakes::tell(&mut report);
    flip::turn_around(&mut report, &plain);
    flip::coverage(&report);
    report.end()
}
