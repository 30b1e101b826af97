//! `POST /api/v1/reload`: the same as SIGHUP.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::ApiPart;
use crate::http::problem::HttpProblem;
use crate::http::process::ReloadEnd;
use crate::http::site::Site;

#[derive(OpenApi)]
#[openapi(paths(reload))]
struct ReloadApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    ApiPart { routes: Router::new().route("/reload", post(reload)), document: ReloadApi::openapi() }
}

/// How a reload has ended.
#[derive(Debug, Serialize, ToSchema)]
struct Reloaded {
    /// Everything that was read is in force; else nothing is.
    reloaded: bool,
    /// What was wrong; after a reload, what needs a restart.
    messages: Vec<String>,
}

/// Reads the configuration and its files again
///
/// As at SIGHUP: all of it is put in force or, if anything is wrong with any of it, nothing.
#[utoipa::path(post, path = "/api/v1/reload", tag = "process", responses((status = 200, body = Reloaded)))]
async fn reload(State(site): State<Site>) -> Result<Json<Reloaded>, HttpProblem> {
    let (reloaded, messages) = match site.process().reload().await {
        ReloadEnd::Reloaded(left) => {
            let say = |key| format!("{key} has changed, and is in force only after a restart");
            (true, left.into_iter().map(say).collect())
        }
        ReloadEnd::Refused(wrong) => (false, wrong),
        ReloadEnd::Busy => {
            return Err(HttpProblem::unavailable("others wait for a reload, or the broker stops"));
        }
    };
    Ok(Json(Reloaded { reloaded, messages }))
}
