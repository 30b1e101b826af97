//! `/mqtt`: MQTT over WebSocket. HTTP has read the request; from the upgrade on the stream is the process's, and
//! the client logs in as any other.

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::upgrade::OnUpgrade;
use tracing::debug;

use super::connection::BareStream;
use super::guard::PeerAddress;
use super::problem::HttpProblem;
use super::site::Site;

/// It.
pub fn routes() -> Router<Site> {
    Router::new().route("/mqtt", get(upgrade))
}

async fn upgrade(
    State(site): State<Site>,
    Extension(PeerAddress(address)): Extension<PeerAddress>,
    Extension(bare): Extension<BareStream>,
    mut request: Request,
) -> Response {
    let upgraded = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    let asked = Request::from_parts(parts, ());
    let granted = match site.process().grant_websocket(&asked, address) {
        Ok(granted) => granted,
        Err((status, reason)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            let mut response = HttpProblem::new(status, reason).into_response();
            if status == StatusCode::UPGRADE_REQUIRED {
                response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
                response
                    .headers_mut()
                    .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            return response;
        }
    };
    tokio::spawn(serve(site, upgraded, bare, address));
    let headers = [
        (UPGRADE, "websocket".to_owned()),
        (CONNECTION, "Upgrade".to_owned()),
        (SEC_WEBSOCKET_ACCEPT, granted.accept),
        (SEC_WEBSOCKET_PROTOCOL, granted.protocol.to_owned()),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Waits for the upgrade, and hands the stream on.
async fn serve(
    site: Site,
    upgraded: OnUpgrade,
    BareStream(bare): BareStream,
    address: std::net::SocketAddr,
) {
    match upgraded.await.map(bare) {
        Ok(Some(stream)) => site.process().serve_mqtt(stream, address),
        // A client sends no frame before it has its answer.
        Ok(None) => debug!(%address, "bytes after the WebSocket request, before its answer"),
        Err(error) => debug!(%address, %error, "no upgrade to WebSocket"),
    }
}
