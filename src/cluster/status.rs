//! What a node says of itself to those that ask, beside the log: JSON over plain NATS.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::health::Health;
use super::lanes::AppendLanes;
use super::nats::Nats;
use crate::broker::Broker;
use crate::broker::cluster_log::HandedIn;
use crate::time::Time;

/// The state of this node.
pub(super) struct NodeStatus {
    /// What does not change.
    about: Value,
    broker: Broker,
    lanes: Arc<AppendLanes<HandedIn>>,
    health: Health,
}

/// For so long an answer is given to all that ask: more questions cost no more counting.
const FRESH: Duration = Duration::from_millis(100);
/// How long to wait before the servers are asked again for questions.
const PAUSE: Duration = Duration::from_secs(1);

impl NodeStatus {
    /// `about` is part of each answer.
    pub fn new(
        about: Value,
        (broker, lanes): (Broker, Arc<AppendLanes<HandedIn>>),
        health: Health,
    ) -> NodeStatus {
        NodeStatus { about, broker, lanes, health }
    }

    /// Answers all that ask, for ever.
    pub async fn answer(self, nats: Arc<Nats>) {
        let mut questions = loop {
            match nats.questions().await {
                Ok(questions) => break questions,
                Err(_) => sleep(PAUSE).await,
            }
        };
        let mut last: Option<(Time, Bytes)> = None;
        while let Some(question) = questions.next().await {
            let Some(to) = question.reply else { continue };
            let now = self.health.now();
            let fresh = last.take().filter(|(at, _)| now.since(*at) < FRESH);
            let (at, text) = fresh.unwrap_or_else(|| (now, self.text()));
            nats.answer(to, text.clone()).await;
            last = Some((at, text));
        }
    }

    fn text(&self) -> Bytes {
        let summary = self.broker.summary();
        let mut state = self.about.clone();
        let figures = json!({
            "run": format!("{:016x}", self.lanes.node_and_run().1),
            "applied_frame": self.lanes.fed(),
            "log_away_since": self.health.away_since().map(Time::to_rfc3339),
            "drains": self.broker.is_draining(),
            "waiting_bytes": self.lanes.waiting_bytes(),
            "clients_connected": summary.connected,
            "sessions_parked": summary.sessions.saturating_sub(summary.connected),
        });
        if let (Some(state), Value::Object(figures)) = (state.as_object_mut(), figures) {
            state.extend(figures);
        }
        state.to_string().into()
    }
}
