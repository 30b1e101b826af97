//! `GET /api/v1/listeners`: where clients connect.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::ApiPart;
use crate::http::site::Site;
use crate::time::Time;

#[derive(OpenApi)]
#[openapi(paths(listeners))]
struct ListenersApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    ApiPart {
        routes: Router::new().route("/listeners", get(listeners)),
        document: ListenersApi::openapi(),
    }
}

/// Where clients connect.
#[derive(Debug, Serialize, ToSchema)]
struct ListenerItems {
    /// Each listener, in the order of the configuration.
    items: Vec<ListenerItem>,
}

/// A listener.
#[derive(Debug, Serialize, ToSchema)]
struct ListenerItem {
    /// Its name in logs.
    name: String,
    /// Address with the real port, or the file of a unix socket.
    address: String,
    /// What carries MQTT there: `tcp`, `websocket`, `quic`, `unix`.
    transport: &'static str,
    /// It wants TLS.
    tls: bool,
    /// Connections that are open.
    connections: u64,
    /// Most connections at once.
    connections_max: u32,
    /// Connections accepted since the start, those that were refused among them.
    opened_total: u64,
    /// TLS handshakes made since the start.
    handshakes_total: u64,
    /// TLS handshakes that failed since the start.
    handshakes_failed_total: u64,
    /// When its certificate ends.
    certificate_ends: Option<String>,
}

/// Where clients connect
#[utoipa::path(get, path = "/api/v1/listeners", tag = "broker", responses((status = 200, body = ListenerItems)))]
async fn listeners(State(site): State<Site>) -> Json<ListenerItems> {
    let views = site.broker().listeners();
    let items = site.process().listeners().into_iter().map(|listener| {
        let view = views.iter().find(|view| view.name == listener.name);
        let [failed, made] = view.map_or([0; 2], |view| view.handshakes);
        let ends = view.and_then(|view| view.certificate_ends);
        ListenerItem {
            name: listener.name,
            address: listener.place,
            transport: listener.transport,
            tls: listener.tls,
            connections: view.map_or(0, |view| view.connections),
            connections_max: listener.connections_max,
            opened_total: view.map_or(0, |view| view.opened),
            handshakes_total: made,
            handshakes_failed_total: failed,
            certificate_ends: ends.map(|ends| Time::from_secs(ends).to_rfc3339()),
        }
    });
    Json(ListenerItems { items: items.collect() })
}
