//! `/api/v1/queues`: named queues; one that is made, and one that is removed.

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::ApiPart;
use super::asking::{ItemPage, durable, limit};
use super::groups::LaneOwner;
use crate::broker::ports::Receipt;
use crate::broker::turn::Scratch;
use crate::broker::{QueueNotMade, QueueNotRemoved, QueueSource, QueueView};
use crate::config::{Binding, NamedQueue, QueuePolicy, is_queue_name};
use crate::http::problem::HttpProblem;
use crate::http::site::Site;

#[derive(OpenApi)]
#[openapi(paths(queues, make, remove))]
struct QueuesApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    let routes = Router::new()
        .route("/queues", get(queues).post(make))
        .route("/queues/{name}", delete(remove));
    ApiPart { routes, document: QueuesApi::openapi() }
}

/// Which named queues.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct QueuesQuery {
    /// Items of a page, 100 unless it is said, 1,000 at most.
    limit: Option<usize>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// A named queue.
#[derive(Debug, Serialize, ToSchema)]
struct NamedQueueItem {
    /// Its name: clients subscribe to `$queue/<name>`.
    name: String,
    /// Where it is defined.
    source: DefinedIn,
    /// Client Identifiers of clients that are subscribed, a hundred at most.
    consumers: Vec<String>,
    /// How many clients are subscribed.
    consumers_total: usize,
    /// How many of them are connected.
    consumers_connected: u32,
    /// How its consumers share: `least_inflight`, `round_robin`, `random`, `sticky`, `hash` or `single_active`.
    strategy: String,
    /// For the last three of those, the connected consumers with the number of lanes that each owns, a hundred at most;
    /// of `single_active` the active one has one.
    lanes: Vec<LaneOwner>,
    /// Messages that wait.
    queue_messages: usize,
    /// Their bytes.
    queue_bytes: u64,
    /// Those of them that no connected consumer may receive.
    aside_messages: usize,
    /// Those of them that have failed, and wait for another attempt.
    postponed_messages: usize,
    /// Messages that consumers have not acknowledged.
    inflight_messages: u64,
    /// Messages that were lost, for all reasons of the ledger.
    lost_messages: u64,
    /// When what waits first was received; none if nothing waits, or only the store has it.
    oldest: Option<String>,
    /// What it collects; a queue that drains collects nothing, and the fields below are none.
    bindings: Vec<QueueBinding>,
    /// Messages that may wait.
    messages_max: Option<u32>,
    /// Their bytes.
    bytes_max: Option<u64>,
    /// What a full queue does.
    #[schema(value_type = Option<String>)]
    policy: Option<QueuePolicy>,
    /// How long a message may wait; none if there is no end to it.
    ttl_seconds: Option<f64>,
    /// Whether what it loses is published under `$dead/<reason>/<topic>`.
    dead_letters: Option<bool>,
}

/// Where a named queue, or a log of kept messages, is defined.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DefinedIn {
    /// In the configuration.
    Configuration,
    /// It was made by the API.
    Api,
    /// Nowhere any more: it collects nothing, and a queue goes when it is empty and no client is subscribed.
    None,
}

/// What a named queue, or a log of kept messages, collects.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueueBinding {
    /// Topic Filter.
    filter: String,
    /// User Properties that a message must have, with these values.
    #[serde(rename = "where")]
    properties: BTreeMap<String, String>,
}

/// A named queue that was made.
#[derive(Debug, Serialize, ToSchema)]
struct MadeQueue {
    /// Its name.
    name: String,
}

/// How many messages may go with a queue or a log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct QueueRemoval {
    /// The most messages that may be dropped; none unless it is said.
    #[serde(default)]
    pub discard: usize,
}

/// What went with a queue or a log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RemovedQueue {
    /// Messages that were in it; those that waited in a queue are in the ledger as `purged`.
    pub discarded_messages: usize,
}

/// Named queues in pages, by name
#[utoipa::path(get, path = "/api/v1/queues", tag = "topics", params(QueuesQuery),
    responses((status = 200, body = ItemPage<NamedQueueItem>)))]
async fn queues(
    State(site): State<Site>,
    Query(query): Query<QueuesQuery>,
) -> Json<ItemPage<NamedQueueItem>> {
    let limit = limit(query.limit);
    let views = site.broker().queues(query.cursor.as_deref(), limit);
    let next = views.get(limit - 1).map(|last| last.name().to_owned());
    Json(ItemPage::new(views.iter().map(NamedQueueItem::of).collect(), next))
}

/// Makes a named queue
///
/// It has the keys of `[[named_queue]]`, collects from now on, and comes back at a restart if there is a store. It
/// answers when that is safe. What is wrong with it is said in the words of `sluice check`.
#[utoipa::path(post, path = "/api/v1/queues", tag = "topics",
    request_body(content = Value, example = json!({ "name": "jobs", "bindings": ["jobs/#"] })),
    responses((status = 201, body = MadeQueue)))]
async fn make(
    State(site): State<Site>,
    Json(body): Json<Value>,
) -> Result<(StatusCode, Json<MadeQueue>), HttpProblem> {
    let queue = site.process().named_queue(&body);
    let queue: NamedQueue = queue.map_err(|wrong| HttpProblem::bad_request(wrong.join("; ")))?;
    let name = queue.name.clone();
    let made = site.broker().make_queue(queue, site.process().now(), &mut Scratch::default());
    let receipt = made.map_err(|why| match why {
        QueueNotMade::Exists(QueueSource::Configuration) => {
            HttpProblem::conflict(format!("the configuration has a named queue {name:?}"))
        }
        QueueNotMade::Exists(_) => {
            HttpProblem::conflict(format!("there is a named queue {name:?}"))
        }
        QueueNotMade::TooMany(max) => HttpProblem::conflict(format!(
            "there are {max} named queues that were made here, as many as totals.queues_max allows"
        )),
        QueueNotMade::InCluster => {
            HttpProblem::conflict("named queues are not possible in a cluster yet")
        }
        QueueNotMade::NoRoom => HttpProblem::unavailable("the store has no room for it"),
    })?;
    durable(&site, receipt).await?;
    Ok((StatusCode::CREATED, Json(MadeQueue { name })))
}

/// Removes a named queue
///
/// One that was made by the API, or that has left the configuration. What waits in it is dropped if it is no more than
/// `discard` messages. What its consumers have in flight stays with them, and the queue is listed without a definition
/// until no client is subscribed and nothing is in flight.
#[utoipa::path(delete, path = "/api/v1/queues/{name}", tag = "topics",
    params(("name" = String, Path, description = "Its name"), QueueRemoval),
    responses((status = 200, body = RemovedQueue)))]
async fn remove(
    State(site): State<Site>,
    Path(name): Path<String>,
    Query(query): Query<QueueRemoval>,
) -> Result<Json<RemovedQueue>, HttpProblem> {
    let unknown = || HttpProblem::not_found(format!("there is no named queue {name:?}"));
    if !is_queue_name(&name) {
        return Err(unknown());
    }
    let (now, scratch) = (site.process().now(), &mut Scratch::default());
    let removed = site.broker().remove_queue(&name, query.discard, now, scratch);
    let removed = removed.map_err(|why| match why {
        QueueNotRemoved::Unknown => unknown(),
        QueueNotRemoved::Configured => HttpProblem::conflict(format!(
            "the configuration has the named queue {name:?}: take it out there, and reload"
        )),
        QueueNotRemoved::Waiting(waiting) => HttpProblem::conflict(format!(
            "{waiting} messages wait in the named queue {name:?}: to drop them too, ask with discard={waiting}"
        )),
    });
    when_removed(&site, removed).await
}

/// The answer when the store has been told: how many messages were dropped.
pub(super) async fn when_removed(
    site: &Site,
    removed: Result<(usize, Option<Receipt>), HttpProblem>,
) -> Result<Json<RemovedQueue>, HttpProblem> {
    let (discarded_messages, receipt) = removed?;
    durable(site, receipt).await?;
    Ok(Json(RemovedQueue { discarded_messages }))
}

impl NamedQueueItem {
    fn of(view: &QueueView) -> NamedQueueItem {
        let (group, (own, limits)) = (view.group(), view.definition().unzip());
        NamedQueueItem {
            name: view.name().to_owned(),
            source: DefinedIn::of(view.source()),
            consumers: group.members().iter().map(|id| id.as_str().to_owned()).collect(),
            consumers_total: group.member_count(),
            consumers_connected: group.connected(),
            strategy: group.strategy().name().to_owned(),
            lanes: group.lanes().iter().map(LaneOwner::of).collect(),
            queue_messages: group.depth().0,
            queue_bytes: group.depth().1,
            aside_messages: view.set_aside(),
            postponed_messages: view.postponed(),
            inflight_messages: group.account().in_flight(),
            lost_messages: group.lost(),
            oldest: view.oldest().map(|oldest| oldest.to_rfc3339()),
            bindings: own.into_iter().flat_map(|own| &own.bindings).map(QueueBinding::of).collect(),
            messages_max: limits.map(|limits| limits.messages_max),
            bytes_max: limits.map(|limits| limits.bytes_max.0),
            policy: limits.map(|limits| limits.policy),
            ttl_seconds: own.and_then(|own| own.ttl).map(|ttl| ttl.0.as_secs_f64()),
            dead_letters: limits.map(|limits| limits.dead_letters),
        }
    }
}

impl DefinedIn {
    pub fn of(source: QueueSource) -> DefinedIn {
        match source {
            QueueSource::Configuration => DefinedIn::Configuration,
            QueueSource::Made => DefinedIn::Api,
            QueueSource::None => DefinedIn::None,
        }
    }
}

impl QueueBinding {
    pub fn of(binding: &Binding) -> QueueBinding {
        QueueBinding {
            filter: binding.filter().to_owned(),
            properties: binding.properties().cloned().unwrap_or_default(),
        }
    }
}
