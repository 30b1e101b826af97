//! What every request is answered from: the broker, the process, and which requests are let in.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;

use super::places::{HttpPlace, HttpPlaces};
use super::process::Process;
use super::tokens::HttpTokens;
use crate::broker::Broker;
use crate::config::HttpListener;

/// The state of all handlers; cloning it gives another handle to the same one.
#[derive(Clone)]
pub struct Site(Arc<SiteState>);

struct SiteState {
    broker: Broker,
    process: Arc<dyn Process>,
    terms: ArcSwap<Terms>,
    connections: Arc<HttpPlaces>,
    feeds: AtomicU32,
}

/// Which requests are let in, from one reload to the next.
#[derive(Debug)]
pub struct Terms {
    /// As configured.
    pub settings: HttpListener,
    /// The tokens that are good.
    pub tokens: HttpTokens,
}

/// The place of a feed among those that there may be; dropped, it is free.
#[derive(Debug)]
pub struct FeedPlace(Site);

impl Site {
    /// A site.
    pub fn new(
        broker: Broker,
        process: Arc<dyn Process>,
        settings: &HttpListener,
        tokens: HttpTokens,
    ) -> Site {
        let terms = ArcSwap::from_pointee(Terms { settings: settings.clone(), tokens });
        let (connections, feeds) = (Arc::default(), AtomicU32::new(0));
        Site(Arc::new(SiteState { broker, process, terms, connections, feeds }))
    }

    /// The broker.
    pub fn broker(&self) -> &Broker {
        &self.0.broker
    }

    /// The process.
    pub fn process(&self) -> &dyn Process {
        &*self.0.process
    }

    /// Which requests are let in.
    pub fn terms(&self) -> Arc<Terms> {
        self.0.terms.load_full()
    }

    /// Lets in other ones.
    pub fn reload(&self, settings: &HttpListener, tokens: HttpTokens) {
        self.0.terms.store(Arc::new(Terms { settings: settings.clone(), tokens }));
    }

    /// A place for one more connection; none if all are taken by connections with good tokens.
    pub fn admit(&self) -> Option<Arc<HttpPlace>> {
        self.0.connections.admit(self.0.terms.load().settings.connections_max)
    }

    /// A place for one more feed; none if all are taken.
    pub fn admit_feed(&self) -> Option<FeedPlace> {
        let place = FeedPlace(self.clone());
        let number = self.0.feeds.fetch_add(1, Ordering::Relaxed) + 1;
        (number <= self.0.terms.load().settings.feeds_max).then_some(place)
    }
}

impl Drop for FeedPlace {
    fn drop(&mut self) {
        self.0.0.feeds.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").finish_non_exhaustive()
    }
}
