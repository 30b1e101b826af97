//! `/healthz` and `/readyz`, for programs that start and stop brokers and send them clients.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use super::site::Site;
use crate::broker::Summary;
use crate::broker::overload::SHED;

/// Both.
pub fn routes() -> Router<Site> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(site): State<Site>) -> (StatusCode, String) {
    let reasons = not_ready(&site, &site.broker().summary());
    match reasons.is_empty() {
        true => (StatusCode::OK, "ready\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
    }
}

/// Why no client should be sent here, in words; nothing if they may come. That HTTP is served says that the
/// listeners are open.
pub fn not_ready(site: &Site, summary: &Summary) -> Vec<&'static str> {
    let store = |is: fn(&crate::broker::ports::StoreFigures) -> u64| {
        summary.store.as_ref().is_some_and(|figures| is(figures) != 0)
    };
    let reasons = [
        (site.process().is_stopping(), "the broker is stopping"),
        (store(|figures| figures.failed), "the store has failed: the log says why"),
        (
            store(|figures| figures.table_failed),
            "the table of the store has failed: the log says why",
        ),
        (store(|figures| figures.disk_full), "the disk of the store is full"),
        (summary.overload.pressure().level() >= SHED, "the broker is overloaded: level 3"),
    ];
    reasons.into_iter().filter(|(is_so, _)| *is_so).map(|(_, reason)| reason).collect()
}
