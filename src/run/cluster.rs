//! The process as a node of a cluster: it joins before the listeners open, and ends if it is none any more.

use std::sync::Arc;

use tracing::warn;

use super::RunError;
use super::watch::{Task, Watch};
use crate::broker::Broker;
use crate::broker::turn::Scratch;
use crate::cluster::{Cluster, JoinError, LogHealth, NodeParts, OnClaim};
use crate::config::Config;
use crate::message::ClientId;
use crate::time::{Clock, SystemClock};

/// This process is a node.
pub(super) struct ClusterNode {
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
        Ok(Some(ClusterNode { joined, on_claim: on_claim(broker.clone(), clock) }))
    }

    /// Whether the log does what is asked of it, at any time.
    #[expect(dead_code, reason = "what /readyz will ask")]
    pub fn state(&self) -> LogHealth {
        self.joined.state()
    }

    /// Goes on from now on: a task that ends ends the process.
    pub fn start(self, watch: &Watch) -> Vec<Task> {
        let tasks = self.joined.tasks(self.on_claim);
        tasks.into_iter().map(|(name, body)| watch.start(&name, body)).collect()
    }
}

/// Ends connections here of clients that have connected to another node.
fn on_claim(broker: Broker, clock: Arc<dyn Clock>) -> OnClaim {
    let mut scratch = Scratch::default();
    Box::new(move |client_id: &ClientId, clean_start: bool| {
        let (now, scratch) = (clock.now(), &mut scratch);
        broker.taken_elsewhere(client_id, clean_start, now, scratch);
    })
}
