//! `GET /api/v1/subscriptions`: Subscriptions, of one client or of all.

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::ApiPart;
use super::asking::{ItemPage, bad_cursor, client_id, details, details_of_all, filter, limit};
use crate::broker::{ClientDetails, PageStart, Question};
use crate::codec::RetainHandling;
use crate::http::problem::HttpProblem;
use crate::http::site::Site;
use crate::session::Subscription;
use crate::topic::TopicFilter;

#[derive(OpenApi)]
#[openapi(paths(subscriptions))]
struct SubscriptionsApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    let routes = Router::new().route("/subscriptions", get(subscriptions));
    ApiPart { routes, document: SubscriptionsApi::openapi() }
}

/// Which Subscriptions.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SubscriptionsQuery {
    /// Those of this client.
    client: Option<String>,
    /// Those with this in their filter.
    filter: Option<String>,
    /// Items of a page, 100 unless it is said, 1,000 at most. Where no client is said a page has whole clients, and may
    /// have some more.
    limit: Option<usize>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// A Subscription.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SubscriptionTerms {
    /// Topic Filter.
    filter: String,
    /// Granted.
    qos: u8,
    /// The client is not sent what it has published itself.
    no_local: bool,
    /// The RETAIN flag is kept as it was published.
    retain_as_published: bool,
    /// 0: retained messages are sent at every SUBSCRIBE, 1: at the first, 2: never.
    retain_handling: u8,
    /// Subscription Identifier.
    id: Option<u32>,
}

/// A Subscription of a client.
#[derive(Debug, Serialize, ToSchema)]
struct SubscriptionItem {
    /// Client Identifier.
    client_id: String,
    #[serde(flatten)]
    terms: SubscriptionTerms,
    /// The client has more Subscriptions than are listed here: ask for `client`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    has_more: bool,
}

/// Subscriptions of one client that are listed where all clients are asked for.
const OF_ONE: usize = 100;
/// Clients that are asked in one go.
const CLIENTS: usize = 16;

/// Subscriptions in pages
#[utoipa::path(get, path = "/api/v1/subscriptions", tag = "topics", params(SubscriptionsQuery),
    responses((status = 200, body = ItemPage<SubscriptionItem>)))]
async fn subscriptions(
    State(site): State<Site>,
    Query(query): Query<SubscriptionsQuery>,
) -> Result<Json<ItemPage<SubscriptionItem>>, HttpProblem> {
    let page = match &query.client {
        Some(client) => of_client(&site, client, &query).await?,
        None => of_all(&site, &query).await?,
    };
    Ok(Json(page))
}

async fn of_client(
    site: &Site,
    client: &str,
    query: &SubscriptionsQuery,
) -> Result<ItemPage<SubscriptionItem>, HttpProblem> {
    let after = query.cursor.as_deref().map(|text| filter(text, site)).transpose()?;
    let question = Question::default().subscriptions(limit(query.limit)).after(after);
    let details = details(site, &client_id(client)?, question).await?;
    let next = details.next().map(|next| next.as_str().to_owned());
    Ok(ItemPage::new(items(&details, query, false), next))
}

async fn of_all(
    site: &Site,
    query: &SubscriptionsQuery,
) -> Result<ItemPage<SubscriptionItem>, HttpProblem> {
    let from = query.cursor.as_deref().map_or(Some(PageStart::default()), PageStart::parse);
    let mut from = Some(from.ok_or_else(bad_cursor)?);
    let (limit, mut found) = (limit(query.limit), Vec::new());
    while let Some(start) = from.filter(|_| found.len() < limit) {
        let page = site.broker().clients(start, CLIENTS);
        let ids: Vec<_> = page.clients().iter().map(|view| view.client_id.clone()).collect();
        let question = Question::default().subscriptions(OF_ONE);
        for details in details_of_all(site, &ids, &question).await.into_iter().flatten() {
            found.extend(items(&details, query, details.next().is_some()));
        }
        from = page.next();
    }
    Ok(ItemPage::new(found, from.map(|next| next.to_string())))
}

fn items(
    details: &ClientDetails,
    query: &SubscriptionsQuery,
    has_more: bool,
) -> Vec<SubscriptionItem> {
    let wanted = |(filter, _): &&(TopicFilter, Subscription)| {
        query.filter.as_ref().is_none_or(|part| filter.as_str().contains(part.as_str()))
    };
    let client_id = details.view().client_id.as_str();
    let all = details.subscriptions().iter().filter(wanted);
    all.map(|one| {
        let (client_id, terms) = (client_id.to_owned(), SubscriptionTerms::of(one));
        SubscriptionItem { client_id, terms, has_more }
    })
    .collect()
}

impl SubscriptionTerms {
    /// A Subscription as the broker has it.
    pub fn of((filter, subscription): &(TopicFilter, Subscription)) -> SubscriptionTerms {
        let options = subscription.options;
        SubscriptionTerms {
            filter: filter.as_str().to_owned(),
            qos: options.qos as u8,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            retain_handling: match options.retain_handling {
                RetainHandling::Always => 0,
                RetainHandling::IfNew => 1,
                RetainHandling::Never => 2,
            },
            id: (subscription.id > 0).then_some(subscription.id),
        }
    }
}
