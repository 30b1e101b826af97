//! `GET /api/v1/receivers`: what a message of a topic would go to.

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::ApiPart;
use super::asking::{details_of_all, limit, number, topic};
use crate::broker::{Question, ReceiverView};
use crate::http::problem::HttpProblem;
use crate::http::site::Site;
use crate::message::ReceiverId;

#[derive(OpenApi)]
#[openapi(paths(receivers))]
struct ReceiversApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    let routes = Router::new().route("/receivers", get(receivers));
    ApiPart { routes, document: ReceiversApi::openapi() }
}

/// Of which topic.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ReceiversQuery {
    /// A Topic Name.
    topic: String,
    /// Receivers of a page, 100 unless it is said, 1,000 at most.
    limit: Option<usize>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// A page of receivers.
#[derive(Debug, Serialize, ToSchema)]
struct ReceiverList {
    /// One for each client or group, and filter of it that matches.
    items: Vec<ReceiverItem>,
    /// The `cursor` of the next page; none after the last one.
    next: Option<String>,
    /// Clients and groups in all.
    total: usize,
}

/// A client or group that a message would go to.
#[derive(Debug, Serialize, ToSchema)]
struct ReceiverItem {
    /// The client; none of a group.
    client_id: Option<String>,
    /// The group; none of a client. One of its members gets the message.
    group: Option<String>,
    /// Topic Filter.
    filter: String,
    /// Granted; none of a group, where each member has its own.
    qos: Option<u8>,
    /// A rule lets it have the message; of a group, lets one of its members.
    permitted: bool,
    /// The rule that decides.
    rule: Option<String>,
    /// It is connected; of a group, one of its members is.
    connected: bool,
}

/// Filters of one client that are named.
const FILTERS: usize = 100;

/// What a message of a topic would go to
#[utoipa::path(get, path = "/api/v1/receivers", tag = "topics", params(ReceiversQuery),
    responses((status = 200, body = ReceiverList)))]
async fn receivers(
    State(site): State<Site>,
    Query(query): Query<ReceiversQuery>,
) -> Result<Json<ReceiverList>, HttpProblem> {
    let topic = topic(&query.topic, &site)?;
    let (after, limit) = (number(query.cursor.as_deref())?, limit(query.limit));
    let after = after.map(ReceiverId::from_bits);
    let (views, total) = site.broker().receivers_of(topic, after, limit);
    let next = views.last().filter(|_| views.len() == limit);
    let next = next.map(|last| last.receiver().to_bits().to_string());
    let clients: Vec<_> = views.iter().filter_map(ReceiverView::client_id).collect();
    let question = Question::default().matching(topic).subscriptions(FILTERS);
    let mut details = details_of_all(&site, &clients, &question).await.into_iter();
    let mut items = Vec::new();
    for view in &views {
        if view.client_id().is_none() {
            items.push(ReceiverItem::of(view, view.name().to_string(), None));
            continue;
        }
        // A receiver inside the process is none that can be asked.
        let Some(Some(details)) = details.next() else {
            items.push(ReceiverItem::of(view, String::new(), Some(view.qos() as u8)));
            continue;
        };
        let own = details.subscriptions().iter().filter(|(filter, _)| !filter.is_shared());
        items.extend(own.map(|(filter, subscription)| {
            let qos = subscription.options.qos as u8;
            ReceiverItem::of(view, filter.as_str().to_owned(), Some(qos))
        }));
    }
    Ok(Json(ReceiverList { items, next, total }))
}

impl ReceiverItem {
    fn of(view: &ReceiverView, filter: String, qos: Option<u8>) -> ReceiverItem {
        let is_group = view.client_id().is_none();
        let name = || view.name().to_string();
        ReceiverItem {
            client_id: (!is_group).then(name),
            group: is_group.then(name),
            filter,
            qos,
            permitted: view.permission().is_allowed(),
            rule: view.permission().rule().map(str::to_owned),
            connected: view.is_connected(),
        }
    }
}
