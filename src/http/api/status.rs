//! `GET /api/v1/status`: the broker in a few numbers.

use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::ApiPart;
use crate::http::guard::Caller;
use crate::http::health::not_ready;
use crate::http::site::Site;

#[derive(OpenApi)]
#[openapi(paths(status))]
struct StatusApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    ApiPart { routes: Router::new().route("/status", get(status)), document: StatusApi::openapi() }
}

/// The broker in a few numbers.
#[derive(Debug, Serialize, ToSchema)]
struct Status {
    /// Version of the broker.
    version: &'static str,
    /// Time since the start.
    uptime_seconds: f64,
    /// When it started.
    started: String,
    /// Name of the machine.
    node: String,
    /// Clients connected.
    clients_connected: usize,
    /// Sessions, of connected clients and of others.
    sessions: usize,
    /// Subscriptions, shared ones too.
    subscriptions: usize,
    /// Retained messages.
    retained_messages: usize,
    /// How hard the broker is pressed: 0 to 3.
    level: u8,
    /// The cause of the level.
    cause: Option<&'static str>,
    /// Clients may be sent here.
    ready: bool,
    /// Why not.
    not_ready: Vec<String>,
    /// PUBLISH packets received since the start.
    received_messages_total: u64,
    /// PUBLISH packets sent since the start.
    sent_messages_total: u64,
    /// Copies of messages lost since the start, for all reasons of the ledger.
    lost_messages_total: u64,
    /// Memory that messages take.
    message_memory_bytes: u64,
    /// What the token of this request is good for: `viewer` or `operator`.
    rights: &'static str,
}

/// The broker in a few numbers
#[utoipa::path(get, path = "/api/v1/status", tag = "broker", responses((status = 200, body = Status)))]
async fn status(State(site): State<Site>, Extension(caller): Extension<Caller>) -> Json<Status> {
    let summary = site.broker().summary();
    let not_ready = not_ready(&site, &summary);
    let (received, sent) = summary.publishes;
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: site.process().now().since(summary.started).as_secs_f64(),
        started: summary.started.to_rfc3339(),
        node: site.process().node(),
        clients_connected: summary.connected,
        sessions: summary.sessions,
        subscriptions: summary.subscriptions,
        retained_messages: summary.retained,
        level: summary.overload.pressure().level(),
        cause: summary.overload.cause().map(|cause| cause.name()),
        ready: not_ready.is_empty(),
        not_ready,
        received_messages_total: received,
        sent_messages_total: sent,
        lost_messages_total: summary.lost,
        message_memory_bytes: summary.message_bytes,
        rights: caller.rights().name(),
    })
}
