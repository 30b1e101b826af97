//! `/api/v1/keeps`: logs of kept messages; an end to one that nothing defines any more.

use axum::extract::{Path, Query, State};
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::ApiPart;
use super::asking::{ItemPage, limit};
use super::queues::{DefinedIn, QueueBinding, QueueRemoval, RemovedQueue, when_removed};
use crate::broker::turn::Scratch;
use crate::broker::{KeepView, LogNotRemoved};
use crate::config::is_queue_name;
use crate::http::problem::HttpProblem;
use crate::http::site::Site;

#[derive(OpenApi)]
#[openapi(paths(keeps, remove))]
struct KeepsApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    let routes = Router::new().route("/keeps", get(keeps)).route("/keeps/{name}", delete(remove));
    ApiPart { routes, document: KeepsApi::openapi() }
}

/// Which logs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct KeepsQuery {
    /// Items of a page, 100 unless it is said, 1,000 at most.
    limit: Option<usize>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// A log of kept messages.
#[derive(Debug, Serialize, ToSchema)]
struct KeepItem {
    /// Its name: clients subscribe to `$replay/<name>/<from>`.
    name: String,
    /// Where it is defined, or the named queue that it belongs to.
    source: DefinedIn,
    /// Messages that are kept.
    kept_messages: usize,
    /// Their bytes.
    kept_bytes: u64,
    /// When the first of them was received, to the second.
    first: Option<String>,
    /// The same of the last.
    last: Option<String>,
    /// Readers that are connected.
    readers_connected: usize,
    /// Messages that the slowest of them has not read.
    unread_messages: u64,
    /// Messages that were trimmed before a reader came to them, since the start.
    missed_messages: u64,
    /// What it collects; a log without a definition collects nothing, and the fields below are none.
    bindings: Vec<QueueBinding>,
    /// Messages that it may keep.
    messages_max: Option<u32>,
    /// Their bytes.
    bytes_max: Option<u64>,
    /// How long it keeps a message; none if that has no end.
    span_seconds: Option<f64>,
}

/// Logs of kept messages in pages, by name
#[utoipa::path(get, path = "/api/v1/keeps", tag = "topics", params(KeepsQuery),
    responses((status = 200, body = ItemPage<KeepItem>)))]
async fn keeps(
    State(site): State<Site>,
    Query(query): Query<KeepsQuery>,
) -> Json<ItemPage<KeepItem>> {
    let limit = limit(query.limit);
    let views = site.broker().keeps(query.cursor.as_deref(), limit);
    let next = views.get(limit - 1).map(|last| last.name().to_owned());
    Json(ItemPage::new(views.iter().map(KeepItem::of).collect(), next))
}

/// Removes a log of kept messages
///
/// One that has left the configuration. What it has is dropped if that is no more than `discard` messages.
#[utoipa::path(delete, path = "/api/v1/keeps/{name}", tag = "topics",
    params(("name" = String, Path, description = "Its name"), QueueRemoval),
    responses((status = 200, body = RemovedQueue)))]
async fn remove(
    State(site): State<Site>,
    Path(name): Path<String>,
    Query(query): Query<QueueRemoval>,
) -> Result<Json<RemovedQueue>, HttpProblem> {
    let unknown = || HttpProblem::not_found(format!("there is no log of kept messages {name:?}"));
    if !is_queue_name(&name) {
        return Err(unknown());
    }
    let (now, scratch) = (site.process().now(), &mut Scratch::default());
    let removed = site.broker().remove_log(&name, query.discard, now, scratch);
    let removed = removed.map_err(|why| match why {
        LogNotRemoved::Unknown => unknown(),
        LogNotRemoved::Defined => HttpProblem::conflict(format!(
            "the log {name:?} is defined: take it out of the configuration, or remove its named queue"
        )),
        LogNotRemoved::Keeps(kept) => HttpProblem::conflict(format!(
            "the log {name:?} has {kept} messages: to drop them, ask with discard={kept}"
        )),
    });
    when_removed(&site, removed).await
}

impl KeepItem {
    fn of(view: &KeepView) -> KeepItem {
        let (state, (bindings, limits)) = (view.state(), view.definition().unzip());
        KeepItem {
            name: view.name().to_owned(),
            source: DefinedIn::of(view.source()),
            kept_messages: state.messages,
            kept_bytes: state.bytes,
            first: state.first.map(|first| first.to_rfc3339()),
            last: state.last.map(|last| last.to_rfc3339()),
            readers_connected: state.readers,
            unread_messages: state.unread,
            missed_messages: state.missed,
            bindings: bindings.into_iter().flatten().map(QueueBinding::of).collect(),
            messages_max: limits.map(|limits| limits.messages),
            bytes_max: limits.map(|limits| limits.bytes.0),
            span_seconds: limits.and_then(|limits| limits.span).map(|span| span.0.as_secs_f64()),
        }
    }
}
