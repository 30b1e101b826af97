//! A node that is to stop sends its clients and its Sessions to the other nodes first.

use std::time::Duration;

use serde_json::json;
use signal_hook::consts::SIGTERM;
use signal_hook::low_level::raise;
use tokio::time::sleep;
use tracing::{info, warn};

use super::asker::{Asker, serving};
use super::health::Health;
use super::view::LookError;
use crate::broker::Broker;
use crate::broker::turn::Scratch;
use crate::config::ClusterConfig;

/// How often it is looked how far it has come.
const EVERY: Duration = Duration::from_millis(20);
/// How long it may go without a Session that leaves.
const STUCK: Duration = Duration::from_secs(30);

/// Sends all Sessions of this node to the nodes that it was told; then the process ends as SIGTERM ends it.
pub(super) async fn drain_to(broker: &Broker, health: &Health) {
    if until_empty(broker, health).await {
        info!("all sessions are at other nodes");
        let _ = raise(SIGTERM);
    } else {
        let sessions = broker.end_drain();
        warn!(sessions, "sessions do not leave: this node goes on");
    }
}

/// `false`: no Session has left for too long.
async fn until_empty(broker: &Broker, health: &Health) -> bool {
    let mut scratch = Scratch::default();
    let (mut least, mut since) = (usize::MAX, health.now());
    loop {
        let now = health.now();
        let left = broker.drain(now, &mut scratch);
        if left == 0 {
            return true;
        }
        if left < least {
            (least, since) = (left, now);
        } else if now.since(since) >= STUCK {
            return false;
        }
        sleep(EVERY).await;
    }
}

/// Asks a node to stop; `progress` is told how many Sessions it still has, as it says it. It returns once the node has
/// ended.
///
/// # Errors
///
/// There is no such node, no other one, or it goes on.
pub fn drain(
    config: &ClusterConfig,
    node: &str,
    progress: &mut dyn FnMut(u64),
) -> Result<(), LookError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| LookError::Unusable(error.to_string()))?;
    runtime.block_on(drain_async(config, node, progress))
}

async fn drain_async(
    config: &ClusterConfig,
    node: &str,
    progress: &mut dyn FnMut(u64),
) -> Result<(), LookError> {
    let nodes = serving(config).await?;
    if !nodes.iter().any(|(name, _)| name == node) {
        return Err(LookError::Unusable(format!("no node called {node:?} answers")));
    }
    let others = nodes.iter().map(|(name, _)| name).filter(|name| *name != node);
    let to: Vec<&String> = others.collect();
    let asker = Asker::connect(config, node).await?;
    let answer = asker.ask_json(&json!({ "do": "drain", "to": to })).await?;
    progress(answer["sessions"].as_u64().unwrap_or_default());
    loop {
        let nodes = serving(config).await?;
        match nodes.iter().find(|(name, _)| name == node) {
            None => return Ok(()),
            Some((_, state)) if state["drains"] == json!(false) => {
                return Err(LookError::Unusable(format!("{node} goes on: its log says why")));
            }
            Some((_, state)) => progress(state["sessions_parked"].as_u64().unwrap_or_default()),
        }
    }
}
