//! `GET /api/v1/store`: what the store says of itself.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::ApiPart;
use crate::broker::ports::StoreFigures;
use crate::http::site::Site;

#[derive(OpenApi)]
#[openapi(paths(store))]
struct StoreApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    ApiPart { routes: Router::new().route("/store", get(store)), document: StoreApi::openapi() }
}

/// What the store says of itself.
#[derive(Debug, Serialize, ToSchema)]
struct StoreView {
    /// A restart keeps what the broker has acknowledged.
    durable: bool,
    /// Figures, if it has any.
    figures: Vec<StoreFigure>,
}

/// One figure.
#[derive(Debug, Serialize, ToSchema)]
struct StoreFigure {
    /// Its name.
    name: &'static str,
    /// `counter` only grows; `gauge` is as it is now.
    kind: &'static str,
    /// Its value.
    value: u64,
    /// What it is measured in; empty where things are counted.
    unit: &'static str,
    /// What it means.
    text: &'static str,
}

/// What the store says of itself
#[utoipa::path(get, path = "/api/v1/store", tag = "broker", responses((status = 200, body = StoreView)))]
async fn store(State(site): State<Site>) -> Json<StoreView> {
    let found = site.broker().store_figures();
    let durable = found.is_some();
    let figures = found.iter().flat_map(|found| {
        StoreFigures::metrics().iter().zip(found.values()).map(|(metric, value)| StoreFigure {
            name: metric.name(),
            kind: metric.kind().name(),
            value,
            unit: metric.unit().name(),
            text: metric.help(),
        })
    });
    Json(StoreView { durable, figures: figures.collect() })
}
