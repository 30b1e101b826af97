//! Live feeds below `/api/v1/feeds`: server-sent events, each with a name and one line of JSON.
//!
//! A feed is pulled: it looks at the broker a few times a second, and only while its reader takes what was written
//! before. What a reader is too slow for waits in a bounded queue of the broker; beyond that it is counted, and the
//! feed says how much it was. A reader that takes nothing at all is closed with its connection. A comment goes out when
//! nothing else has for a while, so that either side notices that the other is gone. Every feed ends with an event
//! `end` that says why.

mod figures;
mod ledger;
mod trace;

use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde::Serialize;
use tokio::time::{Interval, MissedTickBehavior, interval};
use utoipa::ToSchema;

use super::ApiPart;
use crate::http::problem::HttpProblem;
use crate::http::site::{FeedPlace, Site};
use crate::time::Time;

/// Their part of the API.
pub(super) fn part() -> ApiPart {
    let mut document = figures::document();
    document.merge(ledger::document());
    document.merge(trace::document());
    let routes = figures::routes().merge(ledger::routes()).merge(trace::routes());
    ApiPart { routes, document }
}

/// Where the events of a feed come from.
trait Feed: Send + Unpin + 'static {
    /// Writes the events that have come since the last call. An end: no other comes.
    fn pull(&mut self, now: Time, out: &mut EventText) -> Option<FeedEnd>;
}

/// Why a feed is over.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum FeedEnd {
    /// It has lasted as long as it was to.
    Seconds,
    /// It has had as many events as it was to have.
    Events,
    /// The broker stops.
    Stopping,
}

/// The event `end` of a feed.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct EndEvent {
    /// Why it is over.
    why: FeedEnd,
}

/// The event `missed` of a feed.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct MissedEvent {
    /// So many events since the last one of this kind had no room, or are not told one by one.
    missed: u64,
}

/// Events as they are written.
#[derive(Debug, Default)]
struct EventText(String);

/// A feed as the body of an answer.
struct FeedBody<F> {
    feed: F,
    site: Site,
    ticks: Interval,
    /// When something was written last.
    written: Time,
    is_over: bool,
    _place: FeedPlace,
}

/// A comment goes out after so long without an event.
const HEARTBEAT: Duration = Duration::from_secs(10);

impl EventText {
    /// One event.
    fn push(&mut self, name: &str, data: &impl Serialize) {
        let data = serde_json::to_string(data).expect("it has no keys but words");
        write!(self.0, "event: {name}\ndata: {data}\n\n").expect("a text takes any");
    }

    /// Events that nobody is told of one by one, if there are any.
    fn push_missed(&mut self, missed: u64) {
        if missed > 0 {
            self.push("missed", &MissedEvent { missed });
        }
    }
}

/// The answer that is this feed; it looks for events as often as `every` says.
fn answer(feed: impl Feed, site: &Site, every: Duration) -> Result<Response, HttpProblem> {
    let terms = site.terms();
    let place = site.admit_feed().ok_or_else(|| {
        let most = terms.settings.feeds_max;
        HttpProblem::unavailable(format!("{most} feeds are on, as many as http.feeds_max allows"))
    })?;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (site, written) = (site.clone(), site.process().now());
    let body = FeedBody { feed, site, ticks, written, is_over: false, _place: place };
    Ok(([(CONTENT_TYPE, "text/event-stream")], Body::new(body)).into_response())
}

impl<F: Feed> FeedBody<F> {
    /// What is to be written now.
    fn look(&mut self) -> String {
        let mut text = EventText::default();
        let now = self.site.process().now();
        let stopping = self.site.process().is_stopping().then_some(FeedEnd::Stopping);
        let end = self.feed.pull(now, &mut text).or(stopping);
        if let Some(why) = end {
            text.push("end", &EndEvent { why });
            self.is_over = true;
        }
        if text.0.is_empty() && now.since(self.written) >= HEARTBEAT {
            text.0.push_str(": nothing new\n\n");
        }
        if !text.0.is_empty() {
            self.written = now;
        }
        text.0
    }
}

impl<F: Feed> HttpBody for FeedBody<F> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        while !self.is_over {
            ready!(self.ticks.poll_tick(cx));
            let text = self.look();
            if !text.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(text.into()))));
            }
        }
        Poll::Ready(None)
    }
}
