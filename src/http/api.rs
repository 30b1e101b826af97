//! The API below `/api/v1`: a file for each resource, and the document that describes them.
//!
//! # To add a resource
//!
//! A file beside `api/status.rs`, with its data as `Serialize` and `ToSchema`, a handler with its
//! `#[utoipa::path]`, and a function `part`; and its line in `parts`.
//! `UPDATE=1 cargo test --test openapi` writes `docs/openapi.json`.

mod asking;
mod clients;
mod config;
mod delayed;
mod feeds;
mod groups;
mod history;
mod keeps;
mod ledger;
mod listeners;
mod log;
mod overload;
mod publish;
mod queue;
mod queues;
mod receivers;
mod recent_losses;
mod reload;
mod retained;
mod status;
mod store;
mod subscriptions;
mod why;

use std::sync::OnceLock;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};

use super::problem::HttpProblem;
use super::site::Site;

/// One resource: its routes below `/api/v1`, and its part of the document.
pub(crate) struct ApiPart {
    /// The routes.
    pub routes: Router<Site>,
    /// What they are.
    pub document: utoipa::openapi::OpenApi,
}

/// Every resource.
fn parts() -> Vec<ApiPart> {
    vec![
        // One line each, in alphabetical order.
        clients::part(),
        config::part(),
        delayed::part(),
        feeds::part(),
        groups::part(),
        history::part(),
        keeps::part(),
        ledger::part(),
        listeners::part(),
        log::part(),
        overload::part(),
        publish::part(),
        queue::part(),
        queues::part(),
        receivers::part(),
        recent_losses::part(),
        reload::part(),
        retained::part(),
        status::part(),
        store::part(),
        subscriptions::part(),
        why::part(),
    ]
}

/// All routes of the API.
pub(super) fn routes() -> Router<Site> {
    let routes = Router::new().route("/openapi.json", get(openapi));
    parts().into_iter().fold(routes, |routes, part| routes.merge(part.routes))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sluice",
        description = "Looks into a running broker, and changes what can be changed while it runs.\n\nTimes are in RFC 3339, or in seconds where a name ends in `_seconds`; lengths are in bytes where it ends in `_bytes`. Lists come in pages: `limit` items, and `next` is the `cursor` of the next page.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "/")),
    components(schemas(HttpProblem))
)]
struct WholeApi;

/// The name of the one way to log in.
const TOKEN: &str = "token";

/// The document that describes the API, as JSON in lines.
pub fn document() -> String {
    let mut document = WholeApi::openapi();
    for part in parts() {
        document.merge(part.document);
    }
    let components = document.components.get_or_insert_default();
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.add_security_scheme(TOKEN, token);
    document.security = Some(vec![SecurityRequirement::new(TOKEN, Vec::<String>::new())]);
    for operation in document.paths.paths.values_mut().flat_map(|item| {
        [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
    }) {
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let problem = ResponseBuilder::new()
            .description("Why not: 401 without a good token, 403 with one that is not good for it")
            .content("application/problem+json", problem);
        operation.responses.responses.insert("4XX".to_owned(), problem.build().into());
    }
    document.to_pretty_json().expect("a document has keys of text") + "\n"
}

async fn openapi() -> impl IntoResponse {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.get_or_init(document).as_str())
}
