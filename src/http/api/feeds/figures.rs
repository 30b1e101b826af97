//! `GET /api/v1/feeds/figures`: the figures of each second.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use utoipa::OpenApi;

use super::{EventText, Feed, FeedEnd, answer};
use crate::broker::Broker;
use crate::http::api::history::HistoryPoint;
use crate::http::problem::HttpProblem;
use crate::http::site::Site;
use crate::time::Time;

#[derive(OpenApi)]
#[openapi(paths(figures))]
struct FiguresFeedApi;

pub(super) fn document() -> utoipa::openapi::OpenApi {
    FiguresFeedApi::openapi()
}

pub(super) fn routes() -> Router<Site> {
    Router::new().route("/feeds/figures", get(figures))
}

/// How often it is looked whether a new second has its figures.
const EVERY: Duration = Duration::from_millis(250);

struct FiguresFeed {
    broker: Broker,
    last: Time,
}

/// Figures, live: server-sent events
///
/// An event `figures` each second, with a point as `/history` has them; an event `end` at the end.
#[utoipa::path(
    get, path = "/api/v1/feeds/figures", tag = "feeds",
    responses((status = 200, body = HistoryPoint, content_type = "text/event-stream"))
)]
async fn figures(State(site): State<Site>) -> Result<Response, HttpProblem> {
    let feed = FiguresFeed { broker: site.broker().clone(), last: Time::START };
    answer(feed, &site, EVERY)
}

impl Feed for FiguresFeed {
    fn pull(&mut self, _now: Time, out: &mut EventText) -> Option<FeedEnd> {
        let point = self.broker.latest_figures().filter(|point| point.time > self.last)?;
        self.last = point.time;
        out.push("figures", &HistoryPoint::of(&point));
        None
    }
}
