//! `/api/v1/delayed`: delayed messages, and an end to one of them.

use std::future::poll_fn;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::ApiPart;
use super::asking::{ItemPage, bad_cursor, durable, limit};
use crate::broker::turn::Scratch;
use crate::http::problem::HttpProblem;
use crate::http::site::Site;
use crate::message::{DelayKey, DelayedMessage};

#[derive(OpenApi)]
#[openapi(paths(delayed, cancel))]
struct DelayedApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    let routes =
        Router::new().route("/delayed", get(delayed)).route("/delayed/{id}", delete(cancel));
    ApiPart { routes, document: DelayedApi::openapi() }
}

/// Which delayed messages.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DelayedQuery {
    /// Items of a page, 100 unless it is said, 1,000 at most.
    limit: Option<usize>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// A delayed message.
#[derive(Debug, Serialize, ToSchema)]
struct DelayedItem {
    /// What it is cancelled by.
    id: String,
    /// When it is due.
    due: String,
    /// The topic that it is published to; none of a message that the store cannot give now.
    topic: Option<String>,
    /// Client Identifier of its publisher.
    client_id: Option<String>,
    /// User name of its publisher.
    user: Option<String>,
    /// Bytes that it takes of `delayed.bytes_max`.
    message_bytes: Option<usize>,
}

/// What was cancelled.
#[derive(Debug, Serialize, ToSchema)]
struct CancelledDelayed {
    /// How many there were: one.
    cancelled_messages: usize,
}

/// The store is not waited for longer than this.
const READ_TIME: Duration = Duration::from_secs(10);

/// Delayed messages in pages, in the order in which they are due
#[utoipa::path(get, path = "/api/v1/delayed", tag = "topics", params(DelayedQuery),
    responses((status = 200, body = ItemPage<DelayedItem>)))]
async fn delayed(
    State(site): State<Site>,
    Query(query): Query<DelayedQuery>,
) -> Result<Json<ItemPage<DelayedItem>>, HttpProblem> {
    let after = query.cursor.map(|cursor| cursor.parse().map_err(|_| bad_cursor())).transpose()?;
    let limit = limit(query.limit);
    let found = look(&site, after, limit).await?;
    let next = found.get(limit - 1).map(|(place, _)| place.to_string());
    let items = found.iter().map(|(place, message)| DelayedItem::of(*place, message.as_ref()));
    Ok(Json(ItemPage::new(items.collect(), next)))
}

async fn look(
    site: &Site,
    after: Option<DelayKey>,
    max: usize,
) -> Result<Vec<(DelayKey, Option<DelayedMessage>)>, HttpProblem> {
    let mut look = None;
    let found = poll_fn(|cx| {
        let look =
            look.get_or_insert_with(|| site.broker().look_at_delayed(after, max, cx.waker()));
        look.poll()
    });
    tokio::time::timeout(READ_TIME, found)
        .await
        .map_err(|_| HttpProblem::unavailable("the store does not give the messages: it is slow"))
}

/// Cancels a delayed message
///
/// It is never published.
#[utoipa::path(delete, path = "/api/v1/delayed/{id}", tag = "topics",
    params(("id" = String, Path, description = "Its `id`")),
    responses((status = 200, body = CancelledDelayed)))]
async fn cancel(
    State(site): State<Site>,
    Path(id): Path<String>,
) -> Result<Json<CancelledDelayed>, HttpProblem> {
    let gone = || HttpProblem::not_found("no delayed message with this id waits");
    let place: DelayKey = id.parse().map_err(|_| gone())?;
    let found = look(&site, place.before(), 1).await?.pop();
    let (_, message) = found.filter(|(found, _)| *found == place).ok_or_else(gone)?;
    let message = message.ok_or_else(|| {
        HttpProblem::unavailable("the store cannot give the message now; try again")
    })?;
    let (now, scratch) = (site.process().now(), &mut Scratch::default());
    let receipt = site.broker().cancel_delayed(place, &message, now, scratch).ok_or_else(gone)?;
    durable(&site, receipt).await?;
    Ok(Json(CancelledDelayed { cancelled_messages: 1 }))
}

impl DelayedItem {
    fn of(place: DelayKey, delayed: Option<&DelayedMessage>) -> DelayedItem {
        let message = delayed.map(|delayed| &delayed.message);
        DelayedItem {
            id: place.to_string(),
            due: place.due().to_rfc3339(),
            topic: message.map(|message| message.topic().as_str().to_owned()),
            client_id: message.map(|message| message.publisher().to_owned()),
            user: message.and_then(|message| message.user_name()).map(str::to_owned),
            message_bytes: message.map(|message| message.bytes()),
        }
    }
}
