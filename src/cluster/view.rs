//! A cluster from outside: what its servers, its log and its nodes say when they are asked.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::ContextBuilder;
use async_nats::jetstream::stream::{Info, Stream};
use async_nats::{Client, StatusCode};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::nats::{READER, options, status_subject, stream_name};
use crate::config::ClusterConfig;

/// What was found out about a cluster.
#[derive(Debug)]
pub struct ClusterView {
    /// `nodes`, `servers` and `log`, which is null if it does not answer.
    pub report: Value,
    /// Why the log takes nothing now, in words.
    pub log_problem: Option<String>,
}

/// Why nothing was found out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LookError {
    /// What the configuration names cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// No server can be reached.
    #[error("{0}")]
    Unreachable(String),
}

/// How long it takes at most to be connected to a server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a question about the log may take.
const LOG_TIMEOUT: Duration = Duration::from_secs(3);
/// How long nodes may take to answer.
const NODES_TIMEOUT: Duration = Duration::from_secs(1);
/// Answers and consumers that are looked at: there are not so many nodes.
const NODES_MAX: usize = 1000;

/// Asks the servers that `config` names, and the log and the nodes behind them. It takes a second, and more if some do
/// not answer.
///
/// # Errors
///
/// No server can be reached, or a file that `config` names cannot be used.
pub fn look(config: &ClusterConfig) -> Result<ClusterView, LookError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| LookError::Unusable(error.to_string()))?;
    runtime.block_on(look_async(config))
}

/// The same within a runtime.
pub(super) async fn look_async(config: &ClusterConfig) -> Result<ClusterView, LookError> {
    let reached = join_all(config.servers().iter().map(|server| reach(config, server))).await;
    let reached: Vec<Reached> = reached.into_iter().collect::<Result<_, _>>()?;
    let Some(client) = reached.iter().find_map(|reached| reached.client.clone()) else {
        let each = reached.iter().map(|reached| format!("\n{}: {}", reached.server, reached.said));
        let text = format!("no server of the cluster can be reached:{}", each.collect::<String>());
        return Err(LookError::Unreachable(text));
    };
    let servers: Vec<Value> = reached.iter().map(Reached::row).collect();
    let context = ContextBuilder::new().timeout(LOG_TIMEOUT).build(client.clone());
    let name = stream_name(config);
    let (log, log_problem) = match context.get_stream(&name).await {
        Ok(log) => {
            let problem = without_leader(log.cached_info());
            (Some(log), problem.then(|| format!("the log {name} has no leader")))
        }
        Err(error) => (None, Some(format!("the log {name}: {error}"))),
    };
    // After the log, so that what is appended meanwhile is not taken for missing.
    let answers = ask_nodes(&client, config).await;
    // Without a leader it is not known what the log has.
    let known = log.as_ref().filter(|_| log_problem.is_none());
    let mut nodes = node_rows(answers, known.map(|log| log.cached_info()));
    if let Some(log) = &log {
        add_silent(&mut nodes, readers(log).await);
    }
    nodes.sort_by_key(|node| node["node"].as_str().unwrap_or_default().to_owned());
    let log = log.map_or(Value::Null, |log| log_row(log.cached_info()));
    let report = json!({ "nodes": nodes, "servers": servers, "log": log });
    Ok(ClusterView { report, log_problem })
}

/// Whether too few of the servers that keep the log see each other.
fn without_leader(log: &Info) -> bool {
    log.cluster.as_ref().is_some_and(|cluster| cluster.leader.is_none())
}

/// A server of the list.
struct Reached {
    server: String,
    client: Option<Client>,
    /// Why it cannot be reached.
    said: String,
}

async fn reach(config: &ClusterConfig, server: &str) -> Result<Reached, LookError> {
    let options = options(config, "status").await;
    let options = options.map_err(|error| LookError::Unusable(error.to_string()))?;
    let reached = |client, said| Reached { server: server.to_owned(), client, said };
    Ok(match timeout(CONNECT_TIMEOUT, options.connect(server)).await {
        Ok(Ok(client)) => reached(Some(client), String::new()),
        Ok(Err(error)) => reached(None, error.to_string()),
        Err(_) => reached(None, "it does not answer in time".to_owned()),
    })
}

impl Reached {
    fn row(&self) -> Value {
        let info = self.client.as_ref().map(Client::server_info);
        json!({
            "server": self.server,
            "name": info.as_ref().map(|info| &info.server_name),
            "version": info.as_ref().map(|info| &info.version),
            "state": if info.is_some() { "answers" } else { self.said.as_str() },
        })
    }
}

/// What the nodes say within [`NODES_TIMEOUT`].
async fn ask_nodes(client: &Client, config: &ClusterConfig) -> Vec<Value> {
    let mut found = Vec::new();
    let inbox = client.new_inbox();
    let Ok(mut answers) = client.subscribe(inbox.clone()).await else { return found };
    let subject = status_subject(&config.prefix);
    if client.publish_with_reply(subject, inbox, "".into()).await.is_err() {
        return found;
    }
    let gather = async {
        while let Some(answer) = answers.next().await {
            if answer.status == Some(StatusCode::NO_RESPONDERS) || found.len() == NODES_MAX {
                return;
            }
            let state = serde_json::from_slice(&answer.payload).ok();
            found.extend(state.filter(|state: &Value| state["node"].is_string()));
        }
    };
    // How many will answer is not known: those that have by then are those that do.
    let _ = timeout(NODES_TIMEOUT, gather).await;
    found
}

/// A row for each node that has answered, with how far it is behind the log.
fn node_rows(mut answers: Vec<Value>, log: Option<&Info>) -> Vec<Value> {
    for answer in &mut answers {
        let state = match answer["log_away_since"].as_str() {
            Some(since) => format!("does not see the log since {since}"),
            None => "serves".to_owned(),
        };
        let applied = answer["applied_frame"].as_u64();
        let last = log.map(|log| log.state.last_sequence);
        let lag = last.zip(applied).map(|(last, applied)| last.saturating_sub(applied));
        if let Some(answer) = answer.as_object_mut() {
            answer.insert("lag_frames".to_owned(), json!(lag));
            answer.insert("state".to_owned(), json!(state));
        }
    }
    answers
}

/// The names of the nodes that read the log, or did within the last half minute: so long their consumers are kept.
async fn readers(log: &Stream<Info>) -> BTreeSet<String> {
    let names = log.consumers().take(NODES_MAX).filter_map(async |consumer| {
        let description = consumer.ok()?.config.description?;
        description.strip_prefix(READER).map(str::to_owned)
    });
    timeout(LOG_TIMEOUT, names.collect()).await.unwrap_or_default()
}

/// Adds a row for each node that reads the log and has not answered.
fn add_silent(nodes: &mut Vec<Value>, readers: BTreeSet<String>) {
    for name in readers {
        if !nodes.iter().any(|node| node["node"] == json!(name)) {
            nodes.push(json!({ "node": name, "state": "does not answer" }));
        }
    }
}

fn log_row(info: &Info) -> Value {
    let (state, cluster) = (&info.state, info.cluster.as_ref());
    let replica = |name: &str, in_step: bool, lag: u64| json!({ "name": name, "in_step": in_step, "lag_operations": lag });
    let mut replicas = Vec::new();
    let leader = cluster.and_then(|cluster| cluster.leader.as_deref());
    if let Some(cluster) = cluster {
        replicas.extend(leader.map(|leader| replica(leader, true, 0)));
        for peer in &cluster.replicas {
            let in_step = peer.current && !peer.offline;
            replicas.push(replica(&peer.name, in_step, peer.lag.unwrap_or_default()));
        }
    }
    json!({
        "stream": info.config.name,
        "first_frame": state.first_sequence,
        "last_frame": state.last_sequence,
        "log_bytes": state.bytes,
        "max_bytes": info.config.max_bytes,
        "leader": leader,
        "replicas": replicas,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_reads_the_log_and_does_not_answer_is_listed_once() {
        let answers = vec![
            json!({ "node": "a", "applied_frame": 7, "log_away_since": null }),
            json!({ "node": "b", "applied_frame": 5, "log_away_since": "2026-01-01T00:00:00Z" }),
        ];
        let mut nodes = node_rows(answers, None);
        assert_eq!(nodes[0]["state"], "serves");
        assert_eq!(nodes[1]["state"], "does not see the log since 2026-01-01T00:00:00Z");
        // Without the log it is not known how far they are behind.
        assert_eq!(nodes[0]["lag_frames"], Value::Null);
        add_silent(&mut nodes, ["a", "c"].map(str::to_owned).into());
        assert_eq!(nodes.len(), 3);
        assert_eq!(nodes[2], json!({ "node": "c", "state": "does not answer" }));
    }
}
