//! The process as a node of a cluster: it joins before the listeners open, and ends if it is none any more.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};
use tracing::info;

use super::process::LogAway;
use super::watch::{Task, Watch};
use super::{Listening, RunError};
use crate::broker::Broker;
use crate::broker::turn::Scratch;
use crate::cluster::{Cluster, JoinError, NodeParts, OnClaim};
use crate::config::{Config, Size};
use crate::message::ClientId;
use crate::time::{Clock, SystemClock};

/// This process is a node.
pub(super) struct ClusterNode {
    name: String,
    joined: NodeParts,
    on_claim: OnClaim,
}

/// A cluster whose servers answer; this broker is no node of it yet.
pub(super) struct ClusterServers {
    cluster: Cluster,
    clock: Arc<dyn Clock>,
}

impl ClusterServers {
    /// Connects to the cluster that is configured, if one is, and waits until a server of it answers.
    pub async fn connect(
        config: &Config,
        clock: &SystemClock,
    ) -> Result<Option<ClusterServers>, RunError> {
        if !config.cluster.is_on() {
            return Ok(None);
        }
        let clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let connected = Cluster::connect(&config.cluster, super::seed(), clock.clone()).await;
        let cluster = connected.map_err(|error| RunError::Cluster(error.to_string()))?;
        Ok(Some(ClusterServers { cluster, clock }))
    }

    /// The configuration with the largest packet that the servers take, if that is smaller than the one which is set.
    pub fn limit<'a>(&self, config: &'a Config) -> Cow<'a, Config> {
        let packet_max = self.cluster.packet_max();
        let packet_bytes_max = config.limits.packet_bytes_max.len();
        if packet_bytes_max <= packet_max {
            return Cow::Borrowed(config);
        }
        info!(
            maximum_packet_size = packet_max,
            packet_bytes_max,
            "limits.packet_bytes_max is above what the servers of the cluster take (max_payload there): clients are told the \
             smaller one"
        );
        let mut limited = config.clone();
        limited.limits.packet_bytes_max = Size(packet_max as u64);
        Cow::Owned(limited)
    }

    /// Joins, and applies what the node has missed.
    pub async fn join(self, config: &Config, broker: &Broker) -> Result<ClusterNode, RunError> {
        let ClusterServers { cluster, clock } = self;
        let joined = cluster.join(&config.cluster, broker).await;
        let joined = joined.map_err(|error: JoinError| RunError::Cluster(error.to_string()))?;
        broker.caught_up(clock.now(), &mut Scratch::default());
        let name = config.cluster.node.clone().unwrap_or_default();
        Ok(ClusterNode { name, joined, on_claim: on_claim(broker.clone(), clock) })
    }
}

impl ClusterNode {
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
