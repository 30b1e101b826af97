//! `GET /api/v1/overload`: how hard the broker is pressed, and by what.

use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::ApiPart;
use crate::broker::overload::Reading;
use crate::http::site::Site;

#[derive(OpenApi)]
#[openapi(paths(overload))]
struct OverloadApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    ApiPart {
        routes: Router::new().route("/overload", get(overload)),
        document: OverloadApi::openapi(),
    }
}

/// How hard the broker is pressed.
#[derive(Debug, Serialize, ToSchema)]
struct OverloadLevel {
    /// From 0 to 3; `docs/flow-control.md` says what each does.
    level: u8,
    /// What the level is due to.
    cause: Option<&'static str>,
    /// Bytes a second that each publisher may bring in; null: what it likes.
    cap_bytes_per_second: Option<u64>,
    /// Each cause as it stands.
    causes: Vec<OverloadCause>,
}

/// One cause, by its times or its bytes.
#[derive(Debug, Default, Serialize, ToSchema)]
struct OverloadCause {
    /// Its name.
    cause: &'static str,
    /// The level that it asks for.
    level: u8,
    /// It is compared with its maximum.
    watched: bool,
    /// The middle of what was seen lately, if it is a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_seconds: Option<f64>,
    /// What that is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_seconds: Option<f64>,
    /// The middle of what was seen lately, if it is a length.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_bytes: Option<u64>,
    /// What that is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<u64>,
}

/// How hard the broker is pressed, and by what
#[utoipa::path(get, path = "/api/v1/overload", tag = "broker", responses((status = 200, body = OverloadLevel)))]
async fn overload(State(site): State<Site>) -> Json<OverloadLevel> {
    let view = site.broker().overload_view();
    Json(OverloadLevel {
        level: view.pressure().level(),
        cause: view.cause().map(|cause| cause.name()),
        cap_bytes_per_second: view.pressure().cap().map(|cap| cap.get()),
        causes: view.readings().iter().map(cause).collect(),
    })
}

fn cause(reading: &Reading) -> OverloadCause {
    let (cause, max) = (reading.cause(), Some(reading.max()).filter(|max| *max > 0));
    let whole = OverloadCause {
        cause: cause.name(),
        level: reading.level(),
        watched: max.is_some(),
        ..OverloadCause::default()
    };
    if cause.is_time() {
        let seconds = |micros| Duration::from_micros(micros).as_secs_f64();
        let (value_seconds, max_seconds) = (Some(seconds(reading.value())), max.map(seconds));
        return OverloadCause { value_seconds, max_seconds, ..whole };
    }
    OverloadCause { value_bytes: Some(reading.value()), max_bytes: max, ..whole }
}
