//! `/api/v1/clients`: clients in pages, searched and sorted; one in full; its connection and its Session ended.

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::ApiPart;
use super::asking::{client_id, details, details_of_all, durable, limit, no_client, number};
use super::subscriptions::SubscriptionTerms;
use crate::broker::turn::Scratch;
use crate::broker::{
    Account, ClientDetails, ClientView, Pace, PageStart, Question, SessionEnd, Slowed,
};
use crate::codec::Reason;
use crate::http::problem::HttpProblem;
use crate::http::site::Site;
use crate::message::{ClientId, Loss};
use crate::session::WillMessage;
use crate::time::Time;

#[derive(OpenApi)]
#[openapi(paths(clients, client, kick, end))]
struct ClientsApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    let routes = Router::new()
        .route("/clients", get(clients))
        .route("/clients/{client_id}", get(client).delete(end))
        .route("/clients/{client_id}/connection", delete(kick));
    ApiPart { routes, document: ClientsApi::openapi() }
}

/// Which clients.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ClientsQuery {
    /// Only clients with this in their Client Identifier or user name, capitals or not.
    search: Option<String>,
    /// What they are sorted by: `client_id` unless it is said.
    sort: Option<ClientSort>,
    /// `asc` or `desc`: `asc` for `client_id`, else `desc`, unless it is said.
    order: Option<SortOrder>,
    /// Only those that are connected, or only those that are not.
    connected: Option<bool>,
    /// Items of a page, 100 unless it is said, 1,000 at most.
    limit: Option<usize>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ClientSort {
    #[default]
    ClientId,
    QueueMessages,
    QueueBytes,
    InflightMessages,
    LostMessages,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SortOrder {
    Asc,
    Desc,
}

/// A page of clients.
#[derive(Debug, Serialize, ToSchema)]
struct ClientList {
    /// The items of this page.
    items: Vec<ClientItem>,
    /// The `cursor` of the next page; none after the last one.
    next: Option<String>,
    /// How many clients are searched for, on all pages.
    total: usize,
}

/// A client in short.
#[derive(Debug, Serialize, ToSchema)]
struct ClientItem {
    /// Client Identifier.
    client_id: String,
    /// The user that it logged in as.
    user: Option<String>,
    /// It is connected.
    connected: bool,
    /// Where it comes from, if it is connected.
    address: Option<String>,
    /// The listener that accepted it.
    listener: Option<String>,
    /// `3.1`, `3.1.1` or `5`, if it is connected.
    version: Option<&'static str>,
    /// Its `[[class]]`.
    class: Option<String>,
    /// Messages that wait for it.
    queue_messages: u64,
    /// Their bytes.
    queue_bytes: u64,
    /// Messages that it was sent and has not acknowledged.
    inflight_messages: u64,
    /// Messages for it that were lost, for all reasons of the ledger.
    lost_messages: u64,
    /// Messages that were routed to it.
    routed_messages: u64,
    /// Messages that it has got, and acknowledged if they ask for it.
    delivered_messages: u64,
}

/// A client in full.
#[derive(Debug, Serialize, ToSchema)]
struct ClientFull {
    #[serde(flatten)]
    item: ClientItem,
    /// How long its Session outlives its connection; none: for ever.
    session_expiry_seconds: Option<u32>,
    /// It asked for a Clean Start.
    clean_start: bool,
    /// 0: off.
    keep_alive_seconds: u16,
    /// Messages of QoS 1 and 2 that it takes at once.
    receive_maximum: u16,
    /// None: no limit.
    maximum_packet_bytes: Option<u32>,
    /// Topic Aliases that the broker may set.
    topic_alias_maximum: u16,
    /// The identity in its certificate.
    certificate: Option<String>,
    /// Since when it is connected, if it is.
    connected_since: Option<String>,
    /// When its Session ends by itself, if it is not connected.
    session_ends: Option<String>,
    /// Why what it sends is not read now.
    not_read: Option<String>,
    /// Its Subscriptions, the first 1,000: `/api/v1/subscriptions?client=` has them all.
    subscriptions: Vec<SubscriptionTerms>,
    /// How many it has.
    subscriptions_total: usize,
    /// What may be in flight to it, and is.
    window: ClientWindow,
    /// How its messages are slowed down, if they are.
    pace: Option<ClientPace>,
    /// What was lost for it, by reason of the ledger.
    ledger: BTreeMap<&'static str, u64>,
    /// Its Will.
    will: Option<WillView>,
    /// How long the first of its queue has waited; none if only the store knows.
    oldest_queued_seconds: Option<f64>,
}

/// Messages of QoS 1 and 2 that may be in flight at once, and are.
#[derive(Debug, Serialize, ToSchema)]
struct ClientWindow {
    /// So many are.
    used: usize,
    /// So many may be.
    size: u16,
}

/// How the messages of a client are slowed down.
#[derive(Debug, Serialize, ToSchema)]
struct ClientPace {
    /// Its `[[class]]`.
    class: Option<String>,
    /// In its buckets.
    level_messages: u64,
    /// Bytes in its buckets.
    level_bytes: u64,
    /// How long, in all, messages have waited for its own buckets.
    delayed_seconds: f64,
    /// How long, in all, they have waited for buckets that it shares with others.
    waited_seconds: f64,
    /// Something waits for them now.
    waits: bool,
    /// When its own buckets let the next message go, if they keep one back.
    next_seconds: Option<f64>,
}

/// A Will.
#[derive(Debug, Serialize, ToSchema)]
struct WillView {
    /// Topic Name.
    topic: String,
    /// Quality of Service.
    qos: u8,
    /// RETAIN.
    retain: bool,
    /// Will Delay Interval.
    delay_seconds: u32,
    /// Bytes of the payload.
    payload_bytes: usize,
}

/// Subscriptions of one client that are shown with it.
const SUBSCRIPTIONS_MAX: usize = 1000;
/// Clients that are looked at in one go.
const WALK: usize = 256;
/// Clients beyond those wanted that are kept before the rest is thrown away.
const SPARE: usize = 4096;

/// Clients in pages
///
/// Each page is sorted anew: clients that come and go meanwhile may be on two pages or on none.
#[utoipa::path(get, path = "/api/v1/clients", tag = "clients", params(ClientsQuery),
    responses((status = 200, body = ClientList)))]
async fn clients(
    State(site): State<Site>,
    Query(query): Query<ClientsQuery>,
) -> Result<Json<ClientList>, HttpProblem> {
    let first = number(query.cursor.as_deref())?.unwrap_or(0) as usize;
    let last = first.saturating_add(limit(query.limit));
    let (mut found, total) = walk(&site, &query, last).await;
    let ids: Vec<_> =
        found.drain(first.min(found.len())..).map(|(_, client_id)| client_id).collect();
    let details = details_of_all(&site, &ids, &Question::default()).await;
    let items = ids.iter().zip(details).filter_map(|(client_id, details)| match details {
        Some(details) => Some(ClientItem::of_details(&details)),
        None => site.broker().client(client_id).map(|view| ClientItem::of(&view)),
    });
    let items = items.collect();
    let next = (last < total).then(|| last.to_string());
    Ok(Json(ClientList { items, next, total }))
}

/// The first `wanted` clients in the order of the query, and how many there are in all. Looked at in pages, with
/// other requests in between; no more are kept than are wanted and some.
async fn walk(site: &Site, query: &ClientsQuery, wanted: usize) -> (Vec<(u64, ClientId)>, usize) {
    let sort = query.sort.unwrap_or_default();
    let by_name = sort == ClientSort::ClientId;
    let order = query.order.unwrap_or(if by_name { SortOrder::Asc } else { SortOrder::Desc });
    let compare = |a: &(u64, ClientId), b: &(u64, ClientId)| {
        let ordering = if by_name { a.1.cmp(&b.1) } else { a.0.cmp(&b.0) };
        let ordering = if order == SortOrder::Desc { ordering.reverse() } else { ordering };
        ordering.then_with(|| a.1.cmp(&b.1))
    };
    let search = query.search.as_ref().map(|text| text.to_lowercase());
    let (mut found, mut total) = (Vec::new(), 0);
    let mut from = Some(PageStart::default());
    while let Some(start) = from {
        let page = site.broker().clients(start, WALK);
        from = page.next();
        for view in page.clients().iter().filter(|view| fits(view, query, search.as_deref())) {
            total += 1;
            found.push((sort_key(view, sort), view.client_id.clone()));
        }
        if found.len() > wanted.saturating_add(SPARE) {
            found.sort_by(compare);
            found.truncate(wanted);
        }
        tokio::task::yield_now().await;
    }
    found.sort_by(compare);
    // A table that grows while it is looked at shows some twice.
    found.dedup_by(|a, b| a.1 == b.1);
    found.truncate(wanted);
    (found, total)
}

fn fits(view: &ClientView, query: &ClientsQuery, search: Option<&str>) -> bool {
    let has = |text: &str, search: &str| text.to_lowercase().contains(search);
    query.connected.is_none_or(|connected| connected == view.connected)
        && search.is_none_or(|search| {
            let user = view.user_name.as_deref().unwrap_or_default();
            has(view.client_id.as_str(), search) || has(user, search)
        })
}

fn sort_key(view: &ClientView, sort: ClientSort) -> u64 {
    match sort {
        ClientSort::ClientId => 0,
        ClientSort::QueueMessages => sum(view.account.queued),
        ClientSort::QueueBytes => view.queued_bytes,
        ClientSort::InflightMessages => view.account.in_flight(),
        ClientSort::LostMessages => lost(&view.account),
    }
}

fn sum(counts: [u64; 2]) -> u64 {
    counts[0] + counts[1]
}

fn lost(account: &Account) -> u64 {
    account.ledger.iter().flatten().map(|count| u64::from(*count)).sum()
}

/// One client in full
#[utoipa::path(get, path = "/api/v1/clients/{client_id}", tag = "clients",
    params(("client_id" = String, Path, description = "Its Client Identifier")),
    responses((status = 200, body = ClientFull)))]
async fn client(
    State(site): State<Site>,
    Path(id): Path<String>,
) -> Result<Json<ClientFull>, HttpProblem> {
    let question = Question::default().subscriptions(SUBSCRIPTIONS_MAX);
    let details = details(&site, &client_id(&id)?, question).await?;
    Ok(Json(ClientFull::new(&details, site.process().now())))
}

/// Closes the connection of a client
///
/// With Reason Code 0x98. It counts as lost: its Will is published, and a Session that lasts waits for its client.
#[utoipa::path(delete, path = "/api/v1/clients/{client_id}/connection", tag = "clients",
    params(("client_id" = String, Path, description = "Its Client Identifier")),
    responses((status = 204, description = "It is closed")))]
async fn kick(State(site): State<Site>, Path(id): Path<String>) -> Result<StatusCode, HttpProblem> {
    let id = client_id(&id)?;
    if !site.broker().kick(&id, Reason::AdministrativeAction) {
        return Err(match site.broker().client(&id) {
            None => no_client(&id),
            Some(_) => HttpProblem::conflict(format!("the client \"{id}\" is not connected")),
        });
    }
    left(&site, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the Session of a client
///
/// With all that waits for it. If it is connected, its connection is closed with Reason Code 0x98. Its Will is
/// published.
#[utoipa::path(delete, path = "/api/v1/clients/{client_id}", tag = "clients",
    params(("client_id" = String, Path, description = "Its Client Identifier")),
    responses((status = 204, description = "It has ended")))]
async fn end(State(site): State<Site>, Path(id): Path<String>) -> Result<StatusCode, HttpProblem> {
    let id = client_id(&id)?;
    let (reason, now) = (Reason::AdministrativeAction, site.process().now());
    match site.broker().end_client(&id, reason, now, &mut Scratch::default()) {
        None => return Err(no_client(&id)),
        Some(SessionEnd::Now(receipt)) => durable(&site, receipt).await?,
        Some(SessionEnd::Soon) => left(&site, &id).await?,
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Waits for a link that was told to close: it closes before it answers.
async fn left(site: &Site, id: &ClientId) -> Result<(), HttpProblem> {
    match details(site, id, Question::default()).await {
        // Its Session has ended with the connection.
        Err(problem) if problem.is_not_found() => Ok(()),
        answer => answer.map(|_| ()),
    }
}

impl ClientItem {
    fn of(view: &ClientView) -> ClientItem {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        ClientItem {
            client_id: view.client_id.as_str().to_owned(),
            user: view.user_name.as_deref().map(str::to_owned),
            connected: view.connected,
            address: None,
            listener: None,
            version: None,
            class: text(&view.class),
            queue_messages: sum(view.account.queued),
            queue_bytes: view.queued_bytes,
            inflight_messages: view.account.in_flight(),
            lost_messages: lost(&view.account),
            routed_messages: sum(view.account.routed),
            delivered_messages: sum(view.account.completed),
        }
    }

    fn of_details(details: &ClientDetails) -> ClientItem {
        let item = ClientItem::of(details.view());
        let Some(connection) = details.connection() else { return item };
        ClientItem {
            address: Some(connection.address().to_owned()),
            listener: connection.listener().map(str::to_owned),
            version: Some(details.terms().version.name()),
            ..item
        }
    }
}

impl ClientFull {
    fn new(details: &ClientDetails, now: Time) -> ClientFull {
        let (terms, view) = (details.terms(), details.view());
        let connection = details.connection();
        let window = details.window();
        let in_ledger = |loss: Loss| {
            let count = view.account.ledger.iter().map(|class| u64::from(class[loss as usize]));
            (loss.name(), count.sum::<u64>())
        };
        ClientFull {
            item: ClientItem::of_details(details),
            session_expiry_seconds: (terms.expiry != u32::MAX).then_some(terms.expiry),
            clean_start: terms.clean_start,
            keep_alive_seconds: terms.keep_alive,
            receive_maximum: terms.receive_maximum,
            maximum_packet_bytes: (terms.packet_max != u32::MAX).then_some(terms.packet_max),
            topic_alias_maximum: terms.alias_out_max,
            certificate: connection.and_then(|of| of.certificate()).map(str::to_owned),
            connected_since: details.connected_since().map(Time::to_rfc3339),
            session_ends: details.ends().map(Time::to_rfc3339),
            not_read: connection.and_then(|of| of.not_read()).map(|why| why.to_string()),
            subscriptions: details.subscriptions().iter().map(SubscriptionTerms::of).collect(),
            subscriptions_total: details.subscription_count(),
            window: ClientWindow { used: window.used(), size: window.size() },
            pace: view
                .pace
                .as_ref()
                .map(|pace| ClientPace::of(pace, connection.and_then(|of| of.slowed()), now)),
            ledger: Loss::ALL.into_iter().map(in_ledger).filter(|(_, count)| *count > 0).collect(),
            will: details.will().map(|will| WillView::of(will)),
            oldest_queued_seconds: details.oldest_queued().map(|at| now.since(at).as_secs_f64()),
        }
    }
}

impl ClientPace {
    fn of(pace: &Pace, slowed: Option<Slowed>, now: Time) -> ClientPace {
        ClientPace {
            class: (!pace.class.is_empty()).then(|| pace.class.to_string()),
            level_messages: pace.level.0,
            level_bytes: pace.level.1,
            delayed_seconds: pace.delayed.as_secs_f64(),
            waited_seconds: pace.waited.as_secs_f64(),
            waits: pace.waits,
            next_seconds: match slowed {
                Some(Slowed::ByItself(until)) => Some(until.since(now).as_secs_f64()),
                Some(Slowed::ByOthers) | None => None,
            },
        }
    }
}

impl WillView {
    fn of(will: &WillMessage) -> WillView {
        let draft = will.draft();
        WillView {
            topic: draft.topic.as_str().to_owned(),
            qos: draft.qos as u8,
            retain: draft.retain,
            delay_seconds: will.delay,
            payload_bytes: draft.payload.len(),
        }
    }
}
