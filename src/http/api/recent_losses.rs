//! `GET /api/v1/ledger/recent`: the latest losses.

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::ApiPart;
use crate::broker::LossNote;
use crate::http::site::Site;

#[derive(OpenApi)]
#[openapi(paths(recent))]
struct RecentLossesApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    let routes = Router::new().route("/ledger/recent", get(recent));
    ApiPart { routes, document: RecentLossesApi::openapi() }
}

/// Losses, at most, and if nothing is said.
const LIMIT_MAX: usize = 1000;
const LIMIT: usize = 100;

/// Which losses.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RecentLossesQuery {
    /// Only those of this Client Identifier, as receiver or publisher, or of the group of this filter.
    client: Option<String>,
    /// Only those of this topic, or of topics that fit this Topic Filter.
    topic: Option<String>,
    /// So many at most, 1 to 1000. Default 100.
    limit: Option<usize>,
}

/// The latest losses that are remembered, the newest first.
#[derive(Debug, Serialize, ToSchema)]
struct RecentLossList {
    /// The losses.
    items: Vec<LossItem>,
    /// Always none: what is older is not remembered.
    next: Option<String>,
}

/// Losses of one receiver, topic and reason.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct LossItem {
    /// When the last of them was lost.
    time: String,
    /// When the first of them was lost.
    first_time: String,
    /// How many there were.
    count: u64,
    /// The receiver, or the publisher that was refused; of a group its whole filter. None: no receiver is known.
    client_id: Option<String>,
    /// The topic, cut to 256 bytes. None: only the store has it, or these are many copies that were lost at once.
    topic: Option<String>,
    /// The reason in the ledger, or why the publisher was refused.
    reason: &'static str,
    /// What to change; of a refusal, what it means.
    advice: &'static str,
}

impl LossItem {
    /// As the API shows it.
    pub fn of(note: &LossNote) -> LossItem {
        let receiver = note.receiver();
        LossItem {
            time: note.last().to_rfc3339(),
            first_time: note.first().to_rfc3339(),
            count: note.count(),
            client_id: (!receiver.is_empty()).then(|| receiver.to_owned()),
            topic: note.topic().map(str::to_owned),
            reason: note.cause().name(),
            advice: note.cause().advice(),
        }
    }
}

/// The latest losses, the newest first
///
/// Each with its receiver, topic and reason; of PUBLISHes that were refused, with their publisher. At most 4096 entries
/// are remembered, and 16 of one receiver; losses of one receiver, topic and reason are one entry with a count.
#[utoipa::path(
    get, path = "/api/v1/ledger/recent", tag = "ledger", params(RecentLossesQuery),
    responses((status = 200, body = RecentLossList))
)]
async fn recent(
    State(site): State<Site>,
    Query(query): Query<RecentLossesQuery>,
) -> Json<RecentLossList> {
    let RecentLossesQuery { client, topic, limit } = query;
    let max = limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let notes = site.broker().recent_losses(client.as_deref(), topic.as_deref(), max);
    Json(RecentLossList { items: notes.iter().map(LossItem::of).collect(), next: None })
}
