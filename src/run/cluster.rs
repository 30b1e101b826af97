//! The process as a node of a cluster: it joins before the listeners open, and ends if it is none any more.

use std::sync::Arc;

use serde_json::{Value, json};
use tracing::warn;

use super::process::LogAway;
use super::watch::{Task, Watch};
use super::{Listening, RunError};
use crate::broker::Broker;
use crate::broker::turn::Scratch;
use crate::cluster::{Cluster, JoinError, NodeParts, OnClaim};
use crate::config::Config;
use crate::message::ClientId;
use crate::time::{Clock, SystemClock};

/// This process is a node.
pub(super) struct ClusterNode {
    name: String,
    joined: NodeParts,
    on_claim: OnClaim,
}

impl ClusterNode {
    /// Joins the cluster that is configured, if one is, and applies what the node has missed.
    pub async fn of(
        config: &Config,
        broker: &Broker,
        clock: &SystemClock,
    ) -> Result<Option<ClusterNode>, RunError> {
        if !config.cluster.is_on() {
            return Ok(None);
        }
        let clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let words = |error: JoinError| RunError::Cluster(error.to_string());
        let connected = Cluster::connect(&config.cluster, super::seed(), clock.clone()).await;
        let cluster = connected.map_err(words)?;
        let packet_max = cluster.packet_max();
        let packet_bytes_max = config.limits.packet_bytes_max.len();
        if packet_bytes_max > packet_max {
            warn!(
                packet_bytes_max,
                packet_max,
                "limits.packet_bytes_max is above what the servers of the cluster take: raise max_payload there"
            );
        }
        let joined = cluster.join(broker).await.map_err(words)?;
        broker.caught_up(clock.now(), &mut Scratch::default());
        let name = config.cluster.node.clone().unwrap_or_default();
        Ok(Some(ClusterNode { name, joined, on_claim: on_claim(broker.clone(), clock) }))
    }

    /// What tells since when the log has not answered.
    pub fn log_away(&self) -> LogAway {
        let state = self.joined.state();
        Box::new(move || state.away_since())
    }

    /// Goes on from now on: a task that ends ends the process.
    pub fn start(self, watch: &Watch, listening: &[Listening]) -> Vec<Task> {
        let about = about(&self.name, listening);
        let tasks = self.joined.tasks(self.on_claim, about);
        tasks.into_iter().map(|(name, body)| watch.start(&name, body)).collect()
    }
}

/// What a node says of itself that does not change: its name, its version and where it listens.
fn about(name: &str, listening: &[Listening]) -> Value {
    let listener = |Listening { name, place, transport, tls }: &Listening| json!({ "name": name, "address": place.to_string(), "transport": transport.name(), "tls": tls });
    let listeners: Vec<Value> = listening.iter().map(listener).collect();
    json!({ "node": name, "version": env!("CARGO_PKG_VERSION"), "listeners": listeners })
}

/// Ends connections here of clients that have connected to another node.
fn on_claim(broker: Broker, clock: Arc<dyn Clock>) -> OnClaim {
    let mut scratch = Scratch::default();
    Box::new(move |client_id: &ClientId, clean_start: bool| {
        let (now, scratch) = (clock.now(), &mut scratch);
        broker.taken_elsewhere(client_id, clean_start, now, scratch);
    })
}
