//! `/api/v1/clients/{client_id}/queue`: what waits for a client and what is in flight to it, and an end to it.
//! `/api/v1/queues/{name}/messages`: what waits in a named queue.

use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Extension, Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::ApiPart;
use super::asking::{ItemPage, client_id, details, durable, limit, no_client};
use crate::broker::turn::Scratch;
use crate::broker::{Question, QueueLook, WaitingCopy};
use crate::codec::QoS;
use crate::config::is_queue_name;
use crate::http::guard::Caller;
use crate::http::problem::HttpProblem;
use crate::http::site::Site;
use crate::message::{ClientId, Message};
use crate::time::Time;

#[derive(OpenApi)]
#[openapi(paths(queue, purge, messages))]
struct QueueApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    let routes = Router::new()
        .route("/clients/{client_id}/queue", get(queue).delete(purge))
        .route("/queues/{name}/messages", get(messages));
    ApiPart { routes, document: QueueApi::openapi() }
}

/// How much of a queue.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct QueueQuery {
    /// Messages, 100 unless it is said, 1,000 at most; and no more than about 1 MiB of them.
    limit: Option<usize>,
    /// With payloads.
    #[serde(default)]
    payload: bool,
}

/// A message that waits for a client or in a named queue, or is in flight to a client.
#[derive(Debug, Serialize, ToSchema)]
struct QueueItem {
    /// Whether it is in flight.
    state: QueueState,
    /// None of a message that the store cannot give now.
    topic: Option<String>,
    /// As it is sent.
    qos: u8,
    /// RETAIN.
    retain: bool,
    /// Bytes of the payload.
    payload_bytes: Option<usize>,
    /// The payload, where it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    /// Until it expires.
    expires_in_seconds: Option<f64>,
    /// Client Identifier of its publisher; empty for the broker itself.
    publisher: Option<String>,
    /// When the broker received it.
    received: Option<String>,
    /// Attempts at it that have failed, in a named queue.
    attempts: u16,
    /// When it may be tried again, if it waits for that.
    due: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum QueueState {
    Queued,
    Inflight,
}

/// What was thrown away.
#[derive(Debug, Serialize, ToSchema)]
struct QueuePurge {
    /// How many there were.
    purged_messages: usize,
}

/// The store is not waited for longer than this.
const READ_TIME: Duration = Duration::from_secs(10);

/// What is in flight to a client and what waits for it, in the order of sending
///
/// It wants an operator: topics tell what a client is sent.
#[utoipa::path(get, path = "/api/v1/clients/{client_id}/queue", tag = "clients",
    params(("client_id" = String, Path, description = "Its Client Identifier"), QueueQuery),
    responses((status = 200, body = ItemPage<QueueItem>)))]
async fn queue(
    State(site): State<Site>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(query): Query<QueueQuery>,
) -> Result<Json<ItemPage<QueueItem>>, HttpProblem> {
    caller.shows_payloads()?;
    let (id, limit) = (client_id(&id)?, limit(query.limit));
    let details = details(&site, &id, Question::default().flights(limit)).await?;
    let waiting = waiting(&site, &id, limit - details.flights().len()).await?;
    let now = site.process().now();
    let flying = details.flights().iter().map(|copy| {
        let told = (copy.qos, copy.retain, copy.message.expires);
        QueueItem::new(QueueState::Inflight, Some(&copy.message), told, (query.payload, now))
    });
    let queued = waiting.iter().map(|copy| QueueItem::waiting(copy, (query.payload, now)));
    Ok(Json(ItemPage::new(flying.chain(queued).collect(), None)))
}

/// What waits in a named queue, in the order in which it is about to be taken
///
/// What has failed and is to be tried at a later time comes last. It wants an operator: topics tell what clients are
/// sent.
#[utoipa::path(get, path = "/api/v1/queues/{name}/messages", tag = "topics",
    params(("name" = String, Path, description = "Its name"), QueueQuery),
    responses((status = 200, body = ItemPage<QueueItem>)))]
async fn messages(
    State(site): State<Site>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Query(query): Query<QueueQuery>,
) -> Result<Json<ItemPage<QueueItem>>, HttpProblem> {
    caller.shows_payloads()?;
    let unknown = || HttpProblem::not_found(format!("there is no named queue {name:?}"));
    let max = limit(query.limit);
    let look = |waker: &Waker| {
        let named = Some(&*name).filter(|name| is_queue_name(name))?;
        site.broker().look_into_named_queue(named, max, waker)
    };
    let waiting = looked_at(look).await?.ok_or_else(unknown)?;
    let now = site.process().now();
    let items = waiting.iter().map(|copy| QueueItem::waiting(copy, (query.payload, now)));
    Ok(Json(ItemPage::new(items.collect(), None)))
}

async fn waiting(site: &Site, id: &ClientId, max: usize) -> Result<Vec<WaitingCopy>, HttpProblem> {
    let look = |waker: &Waker| site.broker().look_into_queue(id, max, waker);
    looked_at(look).await?.ok_or_else(|| no_client(id))
}

/// What a look finds; `None`: there is nothing to look into.
async fn looked_at(
    begin: impl Fn(&Waker) -> Option<QueueLook>,
) -> Result<Option<Vec<WaitingCopy>>, HttpProblem> {
    let mut look = None;
    let copies = poll_fn(|cx| {
        if look.is_none() {
            look = begin(cx.waker());
        }
        match &mut look {
            None => Poll::Ready(None),
            Some(look) => look.poll().map(Some),
        }
    });
    tokio::time::timeout(READ_TIME, copies)
        .await
        .map_err(|_| HttpProblem::unavailable("the store does not give the messages: it is slow"))
}

/// Throws away what waits for a client
///
/// What is in flight stays. The ledger has it as `purged`.
#[utoipa::path(delete, path = "/api/v1/clients/{client_id}/queue", tag = "clients",
    params(("client_id" = String, Path, description = "Its Client Identifier")),
    responses((status = 200, body = QueuePurge)))]
async fn purge(
    State(site): State<Site>,
    Path(id): Path<String>,
) -> Result<Json<QueuePurge>, HttpProblem> {
    let id = client_id(&id)?;
    let purged = site.broker().purge(&id, site.process().now(), &mut Scratch::default());
    let (purged_messages, receipt) = purged.ok_or_else(|| no_client(&id))?;
    durable(&site, receipt).await?;
    Ok(Json(QueuePurge { purged_messages }))
}

impl QueueItem {
    fn waiting(copy: &WaitingCopy, how: (bool, Time)) -> QueueItem {
        let told = (copy.qos(), copy.retain(), copy.expires());
        let due = copy.due().map(|due| due.to_rfc3339());
        QueueItem { due, ..QueueItem::new(QueueState::Queued, copy.message(), told, how) }
    }

    fn new(
        state: QueueState,
        message: Option<&Message>,
        (qos, retain, expires): (QoS, bool, Time),
        (with_payload, now): (bool, Time),
    ) -> QueueItem {
        let payload = message.filter(|_| with_payload).map(Message::payload);
        QueueItem {
            state,
            topic: message.map(|message| message.topic().as_str().to_owned()),
            qos: qos as u8,
            retain,
            payload_bytes: message.map(|message| message.payload().len()),
            payload_base64: payload.map(|payload| STANDARD.encode(payload)),
            expires_in_seconds: (expires != Time::NEVER).then(|| expires.since(now).as_secs_f64()),
            publisher: message.map(|message| message.publisher().to_owned()),
            received: message.map(|message| message.received.to_rfc3339()),
            attempts: message.map_or(0, |message| message.attempts),
            due: None,
        }
    }
}
