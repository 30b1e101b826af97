//! The files of the dashboard, as they are in `page/`: they hold no data, so they want no token.

use axum::Router;
use axum::extract::Path;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::problem;
use super::site::Site;

/// Name and text of each file; the page at `/` asks for them as `/page/NAME`.
const FILES: &[(&str, &str)] = &[
    ("api.js", include_str!("page/api.js")),
    ("app.js", include_str!("page/app.js")),
    ("chart.js", include_str!("page/chart.js")),
    ("client.js", include_str!("page/client.js")),
    ("clients.js", include_str!("page/clients.js")),
    ("configuration.js", include_str!("page/configuration.js")),
    ("connection.js", include_str!("page/connection.js")),
    ("dom.js", include_str!("page/dom.js")),
    ("format.js", include_str!("page/format.js")),
    ("groups.js", include_str!("page/groups.js")),
    ("icon.svg", include_str!("page/icon.svg")),
    ("ledger.js", include_str!("page/ledger.js")),
    ("losses.js", include_str!("page/losses.js")),
    ("mqtt.js", include_str!("page/mqtt.js")),
    ("overview.js", include_str!("page/overview.js")),
    ("parts.js", include_str!("page/parts.js")),
    ("payload.js", include_str!("page/payload.js")),
    ("publish.js", include_str!("page/publish.js")),
    ("retained.js", include_str!("page/retained.js")),
    ("style.css", include_str!("page/style.css")),
    ("tail.js", include_str!("page/tail.js")),
    ("theme.js", include_str!("page/theme.js")),
    ("topics.js", include_str!("page/topics.js")),
    ("trace.js", include_str!("page/trace.js")),
    ("words.js", include_str!("page/words.js")),
];

/// The routes of the page.
pub fn routes() -> Router<Site> {
    let index = || async { file("index.html", include_str!("page/index.html")) };
    Router::new().route("/", get(index)).route("/page/{name}", get(named))
}

async fn named(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, _)| *known == name) {
        Some((name, text)) => file(name, text),
        None => problem::not_found().await.into_response(),
    }
}

fn file(name: &str, text: &'static str) -> Response {
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    ([(CONTENT_TYPE, kind)], text).into_response()
}
