//! `/api/v1/retained`: retained messages by filter, and an end to them.

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Extension, Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::ApiPart;
use super::asking::{ItemPage, durable, filter, limit};
use crate::broker::turn::Scratch;
use crate::http::guard::Caller;
use crate::http::problem::HttpProblem;
use crate::http::site::Site;
use crate::message::Message;
use crate::time::Time;

#[derive(OpenApi)]
#[openapi(paths(retained, delete_retained))]
struct RetainedApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    let routes = Router::new().route("/retained", get(retained).delete(delete_retained));
    ApiPart { routes, document: RetainedApi::openapi() }
}

/// Which retained messages.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RetainedQuery {
    /// A Topic Filter; `#` unless it is said, which leaves out topics that begin with `$`.
    filter: Option<String>,
    /// Items of a page, 100 unless it is said, 1,000 at most; and no more than about 1 MiB of them.
    limit: Option<usize>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// With payloads: it wants an operator.
    #[serde(default)]
    payload: bool,
}

/// Which are deleted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DeletionQuery {
    /// A Topic Filter.
    filter: String,
}

/// A retained message.
#[derive(Debug, Serialize, ToSchema)]
struct RetainedItem {
    /// Topic Name.
    topic: String,
    /// Quality of Service.
    qos: u8,
    /// Bytes of the payload.
    payload_bytes: usize,
    /// The payload, where it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    /// Client Identifier of its publisher; empty for the broker itself.
    publisher: String,
    /// When the broker received it.
    stored_at: String,
    /// Until it expires.
    expires_in_seconds: Option<f64>,
}

/// What was deleted.
#[derive(Debug, Serialize, ToSchema)]
struct DeletedRetained {
    /// How many there were.
    deleted_messages: usize,
}

/// Messages deleted in one go.
const AT_ONCE: usize = 256;

/// Retained messages in pages, in the order of topics
///
/// A page may have few messages, or none, and still have a next one.
#[utoipa::path(get, path = "/api/v1/retained", tag = "topics", params(RetainedQuery),
    responses((status = 200, body = ItemPage<RetainedItem>)))]
async fn retained(
    State(site): State<Site>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<RetainedQuery>,
) -> Result<Json<ItemPage<RetainedItem>>, HttpProblem> {
    if query.payload {
        caller.shows_payloads()?;
    }
    let filter = filter(query.filter.as_deref().unwrap_or("#"), &site)?;
    let (limit, now) = (limit(query.limit), site.process().now());
    let mut after = query.cursor;
    let mut items = Vec::new();
    // What is looked at in one go may have none that match.
    for _ in 0..LOOKS {
        let page = site.broker().retained_page(&filter, after.as_deref(), limit, now);
        let of = |message: &Message| RetainedItem::of(message, query.payload, now);
        items.extend(page.messages().iter().map(of));
        after = page.next().map(str::to_owned);
        if after.is_none() || !items.is_empty() {
            break;
        }
        tokio::task::yield_now().await;
    }
    Ok(Json(ItemPage::new(items, after)))
}

/// How often it is looked for the first message of a page.
const LOOKS: usize = 64;

/// Deletes retained messages
///
/// Clients are sent nothing. What the broker says itself (`$SYS`) stays.
#[utoipa::path(delete, path = "/api/v1/retained", tag = "topics", params(DeletionQuery),
    responses((status = 200, body = DeletedRetained)))]
async fn delete_retained(
    State(site): State<Site>,
    Query(query): Query<DeletionQuery>,
) -> Result<Json<DeletedRetained>, HttpProblem> {
    if site.broker().is_node() {
        return Err(HttpProblem::conflict(
            "a node of a cluster would delete them at itself alone: publish an empty retained message to each topic",
        ));
    }
    let filter = filter(&query.filter, &site)?;
    let (mut deleted_messages, mut after, mut newest) = (0, None::<String>, None);
    loop {
        let now = site.process().now();
        let (after_this, scratch) = (after.as_deref(), &mut Scratch::default());
        let gone = site.broker().delete_retained(&filter, after_this, AT_ONCE, now, scratch);
        deleted_messages += gone.count();
        newest = gone.receipt().or(newest);
        after = gone.next().map(str::to_owned);
        if after.is_none() {
            break;
        }
        tokio::task::yield_now().await;
    }
    // The last is safe after all others.
    durable(&site, newest).await?;
    Ok(Json(DeletedRetained { deleted_messages }))
}

impl RetainedItem {
    fn of(message: &Message, with_payload: bool, now: Time) -> RetainedItem {
        let expires = message.expires;
        RetainedItem {
            topic: message.topic().as_str().to_owned(),
            qos: message.qos as u8,
            payload_bytes: message.payload().len(),
            payload_base64: with_payload.then(|| STANDARD.encode(message.payload())),
            publisher: message.publisher().to_owned(),
            stored_at: message.received.to_rfc3339(),
            expires_in_seconds: (expires != Time::NEVER).then(|| expires.since(now).as_secs_f64()),
        }
    }
}
