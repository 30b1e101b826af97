//! The line that says where the broker listens.

use std::io::Write;

use tracing::{info, warn};

use super::{HttpListening, Listening};

/// Prints one line on standard output, for the program that started this one: every listener with its
/// real port, and the HTTP listener if there is one.
pub(super) fn say_ready(listening: &[Listening], http: Option<&HttpListening>) {
    let mut listeners = Vec::new();
    for Listening { name, place, transport, tls } in listening {
        info!(listener = name, address = %place, transport = transport.name(), tls, "listening");
        let (name, place) = (json_string(name), json_string(&place.to_string()));
        let transport = transport.name();
        listeners.push(format!(
            r#"{{"name":{name},"address":{place},"tls":{tls},"transport":"{transport}"}}"#
        ));
    }
    let version = env!("CARGO_PKG_VERSION");
    let http = http.map_or_else(String::new, |HttpListening { address, tls, .. }| {
        format!(r#","http":{{"address":"{address}","tls":{tls}}}"#)
    });
    let line = format!(
        r#"{{"sluice":"ready","version":"{version}","listeners":[{}]{http}}}"#,
        listeners.join(",")
    );
    // A closed standard output is no reason to stop, and one that takes nothing none to wait.
    let print = move || {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    };
    if let Err(error) = std::thread::Builder::new().name("ready line".to_owned()).spawn(print) {
        warn!(%error, "the ready line is not printed");
    }
}

fn json_string(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => json.push_str(&format!("\\u{:04x}", c as u32)),
            c => json.push(c),
        }
    }
    json + "\""
}
