//! `/metrics`: what the broker counts and measures, for Prometheus and what reads its formats.
//!
//! Everything is looked up when it is asked for, from the counters that the broker keeps anyway. No label has
//! values that a stranger chooses: Client Identifiers are those of `http.metrics_clients`.

mod encoding;
mod families;
mod scrape;

pub use encoding::MetricsFormat;
pub use families::{Family, FamilyKind, LEFT_OUT, family_of};
pub use scrape::catalogue;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;

use super::site::Site;
use crate::broker::Broker;
use crate::time::Time;

/// `/metrics`.
pub(super) fn routes() -> Router<Site> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(site): State<Site>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = MetricsFormat::of(accept.unwrap_or_default());
    let terms = site.terms();
    let clients = terms.settings.metrics_clients.as_deref().unwrap_or_default();
    let text = render(site.broker(), clients, site.process().now(), format);
    ([(CONTENT_TYPE, format.content_type())], text)
}

/// All families with their samples at `now`, as text. `clients`: those of which single figures are told.
pub fn render(broker: &Broker, clients: &[String], now: Time, format: MetricsFormat) -> String {
    encoding::encode(scrape::look(broker, clients, now), format)
}
