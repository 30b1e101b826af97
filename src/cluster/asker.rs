//! Asks a node to do something.

use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use serde_json::{Value, json};

use super::nats::{asked_subject, options};
use super::view::{LookError, look_async};
use crate::config::ClusterConfig;

/// How long a node may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long it may take to have a node forgotten: a full log has room after some seconds.
pub(super) const FORGET: Duration = Duration::from_secs(25);

/// Asks one node.
pub(super) struct Asker {
    client: Client,
    subject: String,
    node: String,
}

impl Asker {
    /// To ask this node.
    pub async fn connect(config: &ClusterConfig, node: &str) -> Result<Asker, LookError> {
        let connected = options(config, "ask").await;
        let connected = connected.map_err(|error| LookError::Unusable(error.to_string()))?;
        let options = connected.request_timeout(Some(ANSWER + FORGET));
        let client = options.connect(config.servers()).await;
        let client = client.map_err(|error| LookError::Unreachable(error.to_string()))?;
        let subject = asked_subject(&config.prefix, node);
        Ok(Asker { client, subject, node: node.to_owned() })
    }

    /// What it answers.
    ///
    /// # Errors
    ///
    /// It does not answer in time.
    pub async fn ask(&self, question: &Value) -> Result<Bytes, LookError> {
        let node = &self.node;
        let asked = self.client.request(self.subject.clone(), question.to_string().into());
        match asked.await {
            Ok(answer) => Ok(answer.payload),
            Err(error) => Err(LookError::Unreachable(format!("{node}: {error}"))),
        }
    }

    /// What it answers, as JSON.
    ///
    /// # Errors
    ///
    /// It does not answer in time, or says that it does not do it.
    pub async fn ask_json(&self, question: &Value) -> Result<Value, LookError> {
        let answer = self.ask(question).await?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        match answer["error"].as_str() {
            Some(error) => Err(LookError::Unusable(format!("{}: {error}", self.node))),
            None => Ok(answer),
        }
    }
}

/// The nodes that answer and see the log.
pub(super) async fn serving(config: &ClusterConfig) -> Result<Vec<(String, Value)>, LookError> {
    let view = look_async(config).await?;
    let nodes = view.report["nodes"].as_array().cloned().unwrap_or_default();
    let serves = nodes.into_iter().filter(|node| node["state"] == json!("serves"));
    Ok(serves.filter_map(|node| Some((node["node"].as_str()?.to_owned(), node))).collect())
}
