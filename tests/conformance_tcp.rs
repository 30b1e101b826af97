//! Conformance scripts on the real process: all that move no clock, over each transport; over TCP also a few
//! that are worth the seconds they take.

mod script;

#[path = "wire/websocket.rs"]
mod messages;
#[path = "script/process.rs"]
mod process;
#[cfg(feature = "quic")]
#[path = "wire/quic.rs"]
mod quic;

use std::process::ExitCode;
use std::sync::Arc;

use process::{Carrier, Certificates, Processes};
use script::language::Script;
use script::report::Report;

fn main() -> ExitCode {
    let mut report = match Report::begin() {
        Ok(report) => report,
        Err(code) => return code,
    };
    let timeless = |script: &Script| !script.timed() || script.realtime;
    report.play("tcp", &Processes { carrier: Carrier::Tcp }, timeless);
    let certificates = match Certificates::make() {
        Ok(certificates) => Arc::new(certificates),
        Err(error) => {
            println!("no certificates: {error}");
            return ExitCode::FAILURE;
        }
    };
    let untimed = |script: &Script| !script.timed();
    report.play("tls", &Processes { carrier: Carrier::Tls(certificates.clone()) }, untimed);
    #[cfg(feature = "quic")]
    report.play("quic", &Processes { carrier: Carrier::Quic(certificates) }, untimed);
    report.play("websocket", &Processes { carrier: Carrier::WebSocket }, untimed);
    report.play("unix", &Processes { carrier: Carrier::Unix }, untimed);
    report.end()
}
