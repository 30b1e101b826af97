//! One connection: hyper, with its limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;
use tracing::debug;

use super::guard::PeerAddress;
use super::patient::Patient;
use super::places::HttpPlace;
use super::process::BoxedStream;

/// Until the next request has come with its whole header, from the answer to the one before on: a peer that is idle
/// is closed after it too.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Bytes of a header; hyper answers 431 beyond it.
const HEADER_MAX: usize = 16 * 1024;
/// Bytes that hyper gathers of what is read or written.
const BUFFER_MAX: usize = 64 * 1024;

/// Takes the peer's stream out of an upgraded connection; none if the peer has sent more than its request. An
/// extension of every request.
#[derive(Clone, Copy)]
pub struct BareStream(pub fn(Upgraded) -> Option<BoxedStream>);

fn bare<S>(upgraded: Upgraded) -> Option<BoxedStream>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let parts = upgraded.downcast::<TokioIo<Patient<S>>>().ok()?;
    parts.read_buf.is_empty().then(|| Box::new(parts.io.into_inner().into_inner()) as BoxedStream)
}

/// Answers the requests on `stream`, of the peer at `address`, until either side ends it. Its `place` is an extension
/// of every request.
pub async fn serve<S>(router: Router, stream: S, address: SocketAddr, place: Arc<HttpPlace>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(PeerAddress(address));
        request.extensions_mut().insert(place.clone());
        request.extensions_mut().insert(BareStream(bare::<S>));
        // It is ready whenever it is asked.
        router.clone().call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_header_size(HEADER_MAX)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(TokioIo::new(Patient::new(stream)), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        debug!(%address, %error, "HTTP connection ended");
    }
}
