//! HTTP for people and programs that look after the broker: health, metrics, the API, live feeds and the
//! dashboard, on axum and hyper.
//!
//! All of it runs on one thread of its own, at a lower priority than the workers: no request takes a worker from
//! MQTT. The [`Broker`] is called directly; what belongs to the process is asked through [`Process`], which `run`
//! implements. Every request goes through [`guard`] before anything else looks at it.
//!
//! Every connection has one request at a time, a header of 16 KiB, a body of 1 MiB, and a limit of time for each
//! of them and for each write; the number of connections is bounded.

pub mod api;
mod connection;
pub mod guard;
mod health;
pub mod metrics;
mod mqtt;
mod page;
mod patient;
mod places;
mod problem;
mod process;
mod site;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::MissedTickBehavior;

pub use places::HttpPlace;
pub use problem::HttpProblem;
pub use process::{BoxedStream, ConfigKey, ListenerPlace, Process, ReloadEnd, WebSocketGrant};
pub use site::Site;
pub use tokens::{HttpTokens, Token};

use crate::broker::Broker;
use crate::config::HttpListener;
use crate::message::{Grounds, RefusalKind};

/// Time between two samples of the figures.
const SECOND: Duration = Duration::from_secs(1);

/// Answers the requests of all connections.
#[derive(Clone, Debug)]
pub struct HttpServer {
    site: Site,
    router: Router,
}

impl HttpServer {
    /// A server for `broker`, part of `process`. Requests are let in as `settings` and `tokens` say.
    pub fn new(
        broker: Broker,
        process: Arc<dyn Process>,
        settings: &HttpListener,
        tokens: HttpTokens,
    ) -> HttpServer {
        let site = Site::new(broker, process, settings, tokens);
        let router = Router::new()
            .merge(health::routes())
            .merge(metrics::routes())
            .merge(mqtt::routes())
            .merge(page::routes())
            .nest("/api/v1", api::routes())
            .fallback(problem::not_found)
            .method_not_allowed_fallback(problem::method_not_allowed)
            .layer(from_fn_with_state(site.clone(), guard::guard))
            .with_state(site.clone());
        HttpServer { site, router }
    }

    /// Looks after what is to be seen later, until it is dropped: figures each second, and what a watched
    /// broker notes ([`Broker::watch`]).
    pub async fn watch(&self) {
        self.site.broker().watch();
        let mut seconds = tokio::time::interval(SECOND);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            self.site.broker().sample_figures(self.site.process().now());
        }
    }

    /// From the next request on, lets in what these say.
    pub fn reload(&self, settings: &HttpListener, tokens: HttpTokens) {
        self.site.reload(settings, tokens);
    }

    /// A place for one more connection; none if all are taken by connections with good tokens. If all are taken,
    /// the oldest of the others ends.
    pub fn admit(&self) -> Option<Arc<HttpPlace>> {
        self.site.admit()
    }

    /// Why there is none.
    pub fn no_place(&self) -> Grounds {
        let max = self.site.terms().settings.connections_max.into();
        Grounds::limit(RefusalKind::HttpConnections, max, max + 1)
    }

    /// Answers the requests on `stream`, of the peer at `address`, until either side ends it. It keeps its `place`
    /// until then.
    pub async fn serve<S>(&self, stream: S, address: SocketAddr, place: Arc<HttpPlace>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        connection::serve(self.router.clone(), stream, address, place).await;
    }
}
