//! What a node is asked to do beside the log: to stop, to have another node forgotten, to tell what the log has made.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::asker::{Asker, FORGET, serving};
use super::drain::drain_to;
use super::frame::{FrameOrigin, hash, put_gone, seal};
use super::gather::FrameLimits;
use super::health::Health;
use super::image::{ImageFrames, read_head};
use super::lanes::{AppendLanes, Back, FrameToSend, send};
use super::nats::Nats;
use super::trim::AppliedByNodes;
use super::view::LookError;
use crate::broker::Broker;
use crate::broker::cluster_log::{HandedIn, LogMark};
use crate::config::ClusterConfig;
use crate::sync::{Mutex, whole};

/// A node that does what it is asked.
pub(super) struct AskedNode {
    pub nats: Arc<Nats>,
    pub broker: Broker,
    pub lanes: Arc<AppendLanes<HandedIn>>,
    pub health: Health,
    pub nodes: Arc<Mutex<AppliedByNodes>>,
    /// Bytes of the largest frame.
    pub frame_max: usize,
    /// What it has said of other nodes so far: frames of a lane of their own.
    pub said: u64,
}

/// What the log has made, on its way to another node.
struct ImageOnItsWay {
    number: u64,
    frames: ImageFrames,
    /// The last frame, and which it was.
    last: (u64, Bytes),
}

/// How long to wait before the servers are asked again for questions.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes of records in a frame of an image.
const TOGETHER: usize = 128 * 1024;
/// The lane of what is said of other nodes.
const NODES_LANE: u32 = u32::MAX - 1;

impl AskedNode {
    /// Answers for ever.
    pub async fn serve(mut self) {
        let mut image = None;
        loop {
            let Ok(mut questions) = self.nats.asked().await else {
                sleep(PAUSE).await;
                continue;
            };
            while let Some(question) = questions.next().await {
                let Some(reply) = question.reply else { continue };
                let asked: Value = serde_json::from_slice(&question.payload).unwrap_or_default();
                let answer = match asked["do"].as_str() {
                    Some("drain") => match self.begin_drain(&asked) {
                        Ok(answer) => {
                            self.nats.answer(reply, answer.to_string().into()).await;
                            drain_to(&self.broker, &self.health).await;
                            continue;
                        }
                        Err(error) => error.to_string().into(),
                    },
                    Some("forget") => self.forget(&asked).await.to_string().into(),
                    Some("image") => self.image(&asked, &mut image),
                    _ => json!({ "error": "it is not known what is asked" }).to_string().into(),
                };
                self.nats.answer(reply, answer).await;
            }
            sleep(PAUSE).await;
        }
    }

    fn begin_drain(&self, asked: &Value) -> Result<Value, Value> {
        let names = asked["to"].as_array().into_iter().flatten();
        let to: Vec<u64> = names.filter_map(|name| name.as_str()).map(hash).collect();
        if to.is_empty() {
            return Err(json!({ "error": "there is no other node that serves" }));
        }
        let sessions = self.broker.begin_drain(&to);
        info!(sessions, nodes = to.len(), "sessions go to the other nodes, and this one stops");
        Ok(json!({ "sessions": sessions }))
    }

    /// Has a node forgotten that does not answer.
    async fn forget(&mut self, asked: &Value) -> Value {
        let Some(name) = asked["node"].as_str() else { return json!({ "error": "which node?" }) };
        let node = hash(name);
        if !self.broker.nodes_of_log().contains(&node) {
            return json!({ "error": format!("there is no node called {name:?} in the log") });
        }
        let (own, run) = self.lanes.node_and_run();
        if node == own || !whole(self.nodes.lock()).is_silent(node, self.health.now()) {
            let error = format!("{name} was up within the last 15 seconds: drain it, or ask again");
            return json!({ "error": error });
        }
        let counts = self.broker.sessions_by_node();
        let sessions = counts.iter().find(|(of, _)| *of == node).map_or(0, |(_, count)| *count);
        let mut records = Vec::new();
        put_gone(node, &mut records);
        self.said += 1;
        let origin = FrameOrigin { node: own, run, lane: NODES_LANE, number: self.said };
        let frame = FrameToSend { origin, frame: seal(origin, 1, &records).into() };
        // A second one of the same number is void.
        let back = Back { is_back: || false, fed: || u64::MAX };
        let sent = send(&*self.nats, &self.health, &frame, back);
        whole(self.nodes.lock()).give_up(Some(node));
        let sent = timeout(FORGET, sent).await;
        whole(self.nodes.lock()).give_up(None);
        match sent {
            Ok(()) => json!({ "sessions": sessions }),
            Err(_) => json!({ "error": "the log does not answer, or has no room" }),
        }
    }

    /// One part of what the log has made: a beginning, or the next frame, which is empty at the end.
    fn image(&self, asked: &Value, on_its_way: &mut Option<ImageOnItsWay>) -> Bytes {
        let (Some(number), Some(part)) = (asked["number"].as_u64(), asked["part"].as_u64()) else {
            return Bytes::new();
        };
        if part == 0 {
            let most = self.frame_max;
            let limits = FrameLimits { together: TOGETHER.min(most), most, records: 500 };
            let frames = ImageFrames::of(self.broker.cluster_image(), limits);
            let head = frames.head().to_string().into();
            *on_its_way = Some(ImageOnItsWay { number, frames, last: (0, Bytes::new()) });
            return head;
        }
        let Some(image) = on_its_way.as_mut().filter(|image| image.number == number) else {
            return json!({ "error": "another node has asked since" }).to_string().into();
        };
        // Asked again, it is told again.
        if part == image.last.0 + 1 {
            image.last = (part, image.frames.next().unwrap_or_default());
        }
        let frame = image.last.1.clone();
        if frame.is_empty() {
            *on_its_way = None;
        }
        frame
    }
}

/// What another node has made of the log: its mark, and frames that make the same. Waits for a node that has it.
pub(super) async fn fetch_image(config: &ClusterConfig, number: u64) -> (LogMark, Vec<Bytes>) {
    let mut is_said = false;
    loop {
        match try_fetch_image(config, number).await {
            Ok(image) => return image,
            Err(error) if !std::mem::replace(&mut is_said, true) => warn!(
                %error,
                "the log of the cluster has lost its beginning, and this node has an empty store: it waits for a node that \
                 serves, to learn what is retained and where sessions are"
            ),
            Err(_) => {}
        }
        sleep(PAUSE).await;
    }
}

async fn try_fetch_image(
    config: &ClusterConfig,
    number: u64,
) -> Result<(LogMark, Vec<Bytes>), LookError> {
    let nodes = serving(config).await?;
    let own = config.node.as_deref().unwrap_or_default();
    let Some((node, _)) = nodes.into_iter().find(|(name, _)| name != own) else {
        return Err(LookError::Unusable("no other node serves".to_owned()));
    };
    let asker = Asker::connect(config, &node).await?;
    let asked = |part: u64| json!({ "do": "image", "number": number, "part": part });
    let head = asker.ask(&asked(0)).await?;
    let head: Value = serde_json::from_slice(&head).unwrap_or_default();
    let wrong = || LookError::Unusable(format!("{node} does not tell what is retained"));
    let mark = read_head(&head).ok_or_else(wrong)?;
    let mut frames = Vec::new();
    loop {
        let frame = asker.ask(&asked(frames.len() as u64 + 1)).await?;
        if frame.is_empty() {
            let count = frames.len();
            info!(
                node,
                frame = mark.sequence,
                parts = count,
                "learned what is retained and where sessions are"
            );
            return Ok((mark, frames));
        }
        if frame.starts_with(b"{") {
            return Err(wrong());
        }
        frames.push(frame);
    }
}

/// Has the node called `node` forgotten: it does not come back. Returns how many Sessions it had.
///
/// # Errors
///
/// No node serves, it is up, or the log does not know it.
pub fn forget(config: &ClusterConfig, node: &str) -> Result<u64, LookError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| LookError::Unusable(error.to_string()))?;
    runtime.block_on(async {
        let nodes = serving(config).await?;
        if nodes.iter().any(|(name, _)| name == node) {
            return Err(LookError::Unusable(format!("{node} is up: drain it")));
        }
        let Some((asked, _)) = nodes.first() else {
            return Err(LookError::Unreachable("no node serves".to_owned()));
        };
        let asker = Asker::connect(config, asked).await?;
        let answer = asker.ask_json(&json!({ "do": "forget", "node": node })).await?;
        Ok(answer["sessions"].as_u64().unwrap_or_default())
    })
}
