//! What `sluice cluster status` prints for people.

use serde_json::Value;

use crate::ctl::sheet::sheet;
use crate::ctl::table::table;

/// The nodes, the servers of the engine and the log; `width`: of the terminal, if it is one.
pub fn text(report: &Value, width: Option<usize>) -> String {
    let mut text = String::from("nodes:\n");
    text.push_str(&rows(&report["nodes"], NODES, "no node answers", width));
    text.push_str("\nservers of the engine:\n");
    text.push_str(&rows(&report["servers"], SERVERS, "there is none", width));
    text.push_str("\nlog:\n");
    match &report["log"] {
        Value::Null => text.push_str("it does not answer\n"),
        log => text.push_str(&sheet(log, LOG, width)),
    }
    text
}

/// A node.
const NODES: &[&str] = &[
    "node",
    "version",
    "applied_frame",
    "lag_frames",
    "clients_connected",
    "sessions_parked",
    "waiting_bytes",
    "state",
];
/// A server.
const SERVERS: &[&str] = &["server", "name", "version", "state"];
/// The log.
const LOG: &[&str] =
    &["stream", "first_frame", "last_frame", "log_bytes", "max_bytes", "leader", "replicas"];

fn rows(list: &Value, fields: &[&str], none: &str, width: Option<usize>) -> String {
    match list.as_array().map(Vec::as_slice).unwrap_or_default() {
        [] => format!("{none}\n"),
        rows => table(rows, fields.iter().copied(), width),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        json!({
            "nodes": [
                { "node": "node1", "version": "0.1.0", "applied_frame": 1200, "lag_frames": 0, "clients_connected": 3,
                  "sessions_parked": 17, "waiting_bytes": 0, "state": "serves", "run": "1f", "listeners": [] },
                { "node": "node2", "version": "0.1.0", "applied_frame": 1150, "lag_frames": 50, "clients_connected": 0,
                  "sessions_parked": 0, "waiting_bytes": 4096, "run": "2f", "listeners": [],
                  "state": "does not see the log since 2026-01-01T00:00:00Z" },
                { "node": "node3", "state": "does not answer" },
            ],
            "servers": [
                { "server": "nats://127.0.0.1:4222", "name": "engine1", "version": "2.15.1", "state": "answers" },
                { "server": "nats://127.0.0.1:4223", "name": null, "version": null, "state": "Connection refused" },
            ],
            "log": {
                "stream": "sl_LOG", "first_frame": 1, "last_frame": 1200, "log_bytes": 2048, "max_bytes": 1_073_741_824,
                "leader": "engine1", "replicas": [
                    { "name": "engine1", "in_step": true, "lag_operations": 0 },
                    { "name": "engine2", "in_step": false, "lag_operations": 12 },
                ],
            },
        })
    }

    #[test]
    fn nodes_servers_and_the_log_are_tables() {
        let wanted = "\
nodes:
NODE   VERSION  APPLIED FRAME  LAG FRAMES  CLIENTS CONNECTED  SESSIONS PARKED  WAITING BYTES  STATE
node1  0.1.0             1200           0                  3               17            0 B  serves
node2  0.1.0             1150          50                  0                0        4.0 KiB  does not see the log since 2026-01-01T00:00:00Z
node3  -                    -           -                  -                -              -  does not answer

servers of the engine:
SERVER                 NAME     VERSION  STATE
nats://127.0.0.1:4222  engine1  2.15.1   answers
nats://127.0.0.1:4223  -        -        Connection refused

log:
stream       sl_LOG
first frame  1
last frame   1200
log bytes    2.0 KiB
max bytes    1.0 GiB
leader       engine1

replicas:
NAME     IN STEP  LAG OPERATIONS
engine1  yes                   0
engine2  no                   12
";
        assert_eq!(text(&report(), None), wanted);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let report = json!({ "nodes": [], "servers": [], "log": null });
        let said = text(&report, Some(80));
        for words in ["no node answers", "there is none", "it does not answer"] {
            assert!(said.contains(words), "{said}");
        }
    }

    /// A node that names itself with the characters of a terminal writes none to it.
    #[test]
    fn names_of_others_are_made_visible() {
        let report = json!({ "nodes": [{ "node": "a\u{1b}[2J" }], "servers": [], "log": null });
        assert!(text(&report, None).contains("a\\u{1b}[2J"));
    }
}
