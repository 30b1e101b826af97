//! `/api/v1/log`: the levels of the log, while the broker runs.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::ApiPart;
use crate::http::problem::HttpProblem;
use crate::http::site::Site;

#[derive(OpenApi)]
#[openapi(paths(log, set_log))]
struct LogApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    ApiPart {
        routes: Router::new().route("/log", get(log).put(set_log)),
        document: LogApi::openapi(),
    }
}

/// The levels of the log.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LogLevel {
    /// A level, or levels by module, as in `info,sluicemq::net=debug`.
    level: String,
}

/// The levels of the log in force
#[utoipa::path(get, path = "/api/v1/log", tag = "process", responses((status = 200, body = LogLevel)))]
async fn log(State(site): State<Site>) -> Result<Json<LogLevel>, HttpProblem> {
    let level = site.process().log_levels();
    let level = level.ok_or_else(|| HttpProblem::unavailable("nothing is logged"))?;
    Ok(Json(LogLevel { level }))
}

/// Puts other levels in force
///
/// Until the next reload or start. Lines of the audit stay, whatever the levels.
#[utoipa::path(put, path = "/api/v1/log", tag = "process", request_body = LogLevel, responses((status = 200, body = LogLevel)))]
async fn set_log(
    site: State<Site>,
    Json(wanted): Json<LogLevel>,
) -> Result<Json<LogLevel>, HttpProblem> {
    site.process().set_log_levels(&wanted.level).map_err(HttpProblem::bad_request)?;
    log(site).await
}
