//! `GET /api/v1/history`: the last quarter of an hour in figures.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::ApiPart;
use crate::broker::{FigurePoint, STEP};
use crate::http::site::Site;
use crate::message::Loss;

#[derive(OpenApi)]
#[openapi(paths(history))]
struct HistoryApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    let routes = Router::new().route("/history", get(history));
    ApiPart { routes, document: HistoryApi::openapi() }
}

/// The last quarter of an hour in figures.
#[derive(Debug, Serialize, ToSchema)]
struct History {
    /// Time between two points.
    step_seconds: u64,
    /// The points, the oldest first.
    points: Vec<HistoryPoint>,
}

/// Figures of one moment, and rates since the point before.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct HistoryPoint {
    /// When.
    time: String,
    /// Clients connected.
    clients: usize,
    /// PUBLISH packets received, a second.
    received_per_second: f64,
    /// PUBLISH packets sent, a second.
    sent_per_second: f64,
    /// Bytes read from clients, a second.
    received_bytes_per_second: f64,
    /// Bytes written to clients, a second.
    sent_bytes_per_second: f64,
    /// Copies lost, a second, by reason of the ledger; reasons without any are left out.
    lost_per_second: BTreeMap<&'static str, f64>,
    /// Half of the commits of the store were durable within this time; none if there was no commit.
    commit_p50_seconds: Option<f64>,
    /// 99 of 100 commits of the store were durable within this time; none if there was no commit.
    commit_p99_seconds: Option<f64>,
    /// How hard the broker is pressed: 0 to 3.
    level: u8,
    /// The cause of the level.
    cause: Option<&'static str>,
}

impl HistoryPoint {
    /// As the API shows it.
    pub fn of(point: &FigurePoint) -> HistoryPoint {
        let lost = Loss::ALL.into_iter().map(Loss::name).zip(point.lost);
        let commit = point.commit.map(|(p50, p99)| (p50.as_secs_f64(), p99.as_secs_f64()));
        HistoryPoint {
            time: point.time.to_rfc3339(),
            clients: point.clients,
            received_per_second: point.messages.0,
            sent_per_second: point.messages.1,
            received_bytes_per_second: point.bytes.0,
            sent_bytes_per_second: point.bytes.1,
            lost_per_second: lost.filter(|(_, rate)| *rate > 0.0).collect(),
            commit_p50_seconds: commit.map(|(p50, _)| p50),
            commit_p99_seconds: commit.map(|(_, p99)| p99),
            level: point.level,
            cause: point.cause.map(|cause| cause.name()),
        }
    }
}

/// The last quarter of an hour in figures
#[utoipa::path(get, path = "/api/v1/history", tag = "broker", responses((status = 200, body = History)))]
async fn history(State(site): State<Site>) -> Json<History> {
    let points = site.broker().figure_history();
    let points = points.iter().map(HistoryPoint::of).collect();
    Json(History { step_seconds: STEP.as_secs(), points })
}
