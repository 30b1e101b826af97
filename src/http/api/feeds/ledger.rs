//! `GET /api/v1/feeds/ledger`: each loss as it happens.

use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

use super::{EventText, Feed, FeedEnd, answer};
use crate::broker::Broker;
use crate::http::api::recent_losses::LossItem;
use crate::http::problem::HttpProblem;
use crate::http::site::Site;
use crate::time::Time;

#[derive(OpenApi)]
#[openapi(paths(ledger))]
struct LedgerFeedApi;

pub(super) fn document() -> utoipa::openapi::OpenApi {
    LedgerFeedApi::openapi()
}

pub(super) fn routes() -> Router<Site> {
    Router::new().route("/feeds/ledger", get(ledger))
}

/// How often it is looked for losses.
const EVERY: Duration = Duration::from_millis(250);
/// Losses that are told in one go; what has come beside them waits.
const AT_ONCE: usize = 512;

/// Which losses.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LedgerFeedQuery {
    /// Only those of this Client Identifier, or group.
    client: Option<String>,
    /// Only those of this topic, or of topics that fit this Topic Filter.
    topic: Option<String>,
}

struct LedgerFeed {
    broker: Broker,
    query: LedgerFeedQuery,
    /// The last entry that was told, and losses without an entry until then.
    seen: (u64, u64),
}

/// Losses, live: server-sent events
///
/// An event `loss` for each, with an item as `/ledger/recent` has them: losses of one receiver, topic and reason
/// within a moment are one event with their count since `first_time`. An event `missed` for losses that are in no
/// entry, and an event `end` at the end.
#[utoipa::path(
    get, path = "/api/v1/feeds/ledger", tag = "feeds", params(LedgerFeedQuery),
    responses((status = 200, body = LossItem, content_type = "text/event-stream"))
)]
async fn ledger(
    State(site): State<Site>,
    Query(query): Query<LedgerFeedQuery>,
) -> Result<Response, HttpProblem> {
    let broker = site.broker().clone();
    let newest = broker.recent_losses(None, None, 1);
    let newest = newest.first().map_or(0, |note| note.number());
    let (_, unlisted) = broker.losses_since(newest, 0);
    answer(LedgerFeed { broker, query, seen: (newest, unlisted) }, &site, EVERY)
}

impl Feed for LedgerFeed {
    fn pull(&mut self, _now: Time, out: &mut EventText) -> Option<FeedEnd> {
        let (last, unlisted) = self.seen;
        let (notes, now_unlisted) = self.broker.losses_since(last, AT_ONCE);
        let LedgerFeedQuery { client, topic } = &self.query;
        for note in &notes {
            if note.concerns(client.as_deref(), topic.as_deref()) {
                out.push("loss", &LossItem::of(note));
            }
        }
        out.push_missed(now_unlisted - unlisted);
        self.seen = (notes.last().map_or(last, |note| note.number()), now_unlisted);
        None
    }
}
