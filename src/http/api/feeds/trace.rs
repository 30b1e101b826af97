//! `GET /api/v1/feeds/trace`: the packets of one client or Topic Filter, and the journeys of messages.

use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Query, State};
use axum::response::Response;
use axum::routing::get;
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi};

use super::{EndEvent, EventText, Feed, FeedEnd, MissedEvent, answer};
use crate::broker::trace::{
    TraceEvent, TraceHandle, TraceKind, TraceOf, TraceOrder, TraceRecord, TraceValue,
};
use crate::http::guard::Caller;
use crate::http::problem::HttpProblem;
use crate::http::site::Site;
use crate::time::Time;
use crate::topic::TopicFilter;

#[derive(OpenApi)]
#[openapi(paths(trace), components(schemas(EndEvent, MissedEvent)))]
struct TraceFeedApi;

pub(super) fn document() -> utoipa::openapi::OpenApi {
    TraceFeedApi::openapi()
}

pub(super) fn routes() -> Router<Site> {
    Router::new().route("/feeds/trace", get(trace))
}

/// How often it is looked for events.
const EVERY: Duration = Duration::from_millis(100);
/// How long a trace lasts, at most and if nothing is said.
const SECONDS_MAX: u64 = 3600;
const SECONDS: u64 = 60;
/// Its events, at most and if nothing is said.
const EVENTS_MAX: u32 = 1_000_000;
const EVENTS: u32 = 10_000;
/// Bytes of each payload that are shown.
const PAYLOAD_MAX: usize = 4096;

/// What is traced, and how long.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct TraceQuery {
    /// The client of this Client Identifier, connected or not: its packets, and the messages that it publishes or is
    /// to receive. Either this or `filter`.
    client: Option<String>,
    /// Messages with a topic that fits this Topic Filter: their PUBLISH packets of all clients, and their journeys.
    filter: Option<String>,
    /// Payloads are shown, each up to 4096 bytes.
    #[serde(default)]
    payload: bool,
    /// Seconds until it ends by itself: 1 to 3600. Default 60.
    seconds: Option<u64>,
    /// Events until it ends by itself: 1 to 1000000. Default 10000.
    events: Option<u32>,
}

struct TraceFeed {
    trace: TraceHandle,
    until: Time,
}

/// A trace, live: server-sent events
///
/// For operators, and in the audit log. Events:
///
/// - `packet`: `{time, client_id, direction, packet, fields}`: each packet of the client, or PUBLISH of the filter, with
///   `direction` `in` (from the client) or `out`, the packet's name, and its fields by name; never a password or
///   authentication data.
/// - `journey`: `{time, message, topic, stage, ...}`: a stage of a message, which `message` numbers. `published` has
///   `client_id` (its publisher), `packet_id`, `qos`, `retain`, `payload_bytes`, and if it came in `receivers` and the
///   payload; `routed`
///   and `queued` have the receiver's `client_id` or the `group`; `sent` has `client_id`, `packet_id`, `qos`, `dup`;
///   `acknowledged` has `client_id`, `packet_id`, `by` (the packet's name), `reason_code`, `reason`; `lost` has the
///   `client_id` or `group`, and the `reason` of the ledger, or why its publisher was refused.
/// - `missed`: `{missed}`: so many events had no room, because they are taken too slowly.
/// - `end`: `{why}`: `seconds`, `events` or `stopping`.
#[utoipa::path(
    get, path = "/api/v1/feeds/trace", tag = "feeds", params(TraceQuery),
    responses((status = 200, body = String, content_type = "text/event-stream"))
)]
async fn trace(
    State(site): State<Site>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<TraceQuery>,
) -> Result<Response, HttpProblem> {
    caller.shows_payloads()?;
    let seconds = within("seconds", query.seconds, (SECONDS, SECONDS_MAX))?;
    let events = within("events", query.events.map(u64::from), (EVENTS.into(), EVENTS_MAX.into()))?;
    let order = TraceOrder {
        of: what(&site, &query)?,
        payload_max: if query.payload { PAYLOAD_MAX } else { 0 },
        events_max: events,
    };
    let most = site.terms().settings.traces_max as usize;
    let trace = site
        .broker()
        .trace(order, most)
        .map_err(|error| HttpProblem::unavailable(format!("{error}: http.traces_max")))?;
    let until = site.process().now().after(Duration::from_secs(seconds));
    answer(TraceFeed { trace, until }, &site, EVERY)
}

/// What is to be traced.
fn what(site: &Site, query: &TraceQuery) -> Result<TraceOf, HttpProblem> {
    match (&query.client, &query.filter) {
        (Some(client), None) if !client.is_empty() => Ok(TraceOf::Client(client.as_str().into())),
        (None, Some(filter)) => TopicFilter::parse(filter, &site.broker().policy().topic)
            .map(TraceOf::Filter)
            .map_err(|error| HttpProblem::bad_request(format!("filter {filter:?}: {error}"))),
        _ => Err(HttpProblem::bad_request("either client or filter says what is traced")),
    }
}

/// A number from 1 to the most there may be.
fn within(name: &str, value: Option<u64>, (usual, most): (u64, u64)) -> Result<u64, HttpProblem> {
    let value = value.unwrap_or(usual);
    if (1..=most).contains(&value) {
        return Ok(value);
    }
    Err(HttpProblem::bad_request(format!("{name} is from 1 to {most}")))
}

impl Feed for TraceFeed {
    fn pull(&mut self, now: Time, out: &mut EventText) -> Option<FeedEnd> {
        let taken = self.trace.take();
        for event in &taken.events {
            let name = match event.kind {
                TraceKind::Packet => "packet",
                TraceKind::Journey => "journey",
            };
            out.push(name, &EventJson(event));
        }
        out.push_missed(taken.missed);
        if taken.is_over {
            return Some(FeedEnd::Events);
        }
        (now >= self.until).then_some(FeedEnd::Seconds)
    }
}

/// An event as JSON: its time, then its fields.
struct EventJson<'a>(&'a TraceEvent);

struct RecordJson<'a>(&'a TraceRecord);

struct ValueJson<'a>(&'a TraceValue);

impl Serialize for EventJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &self.0.time.to_rfc3339())?;
        for (name, value) in &self.0.fields {
            map.serialize_entry(name, &ValueJson(value))?;
        }
        map.end()
    }
}

impl Serialize for RecordJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, ValueJson(value))))
    }
}

impl Serialize for ValueJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            TraceValue::Flag(flag) => serializer.serialize_bool(*flag),
            TraceValue::Number(number) => serializer.serialize_u64(*number),
            TraceValue::Text(text) => serializer.serialize_str(text),
            TraceValue::Bytes(bytes) => serializer.serialize_str(&BASE64_STANDARD.encode(bytes)),
            TraceValue::List(values) => serializer.collect_seq(values.iter().map(ValueJson)),
            TraceValue::Record(fields) => RecordJson(fields).serialize(serializer),
        }
    }
}
