//! `GET /api/v1/groups`: groups of Shared Subscriptions.

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::ApiPart;
use super::asking::{ItemPage, limit, number};
use crate::broker::GroupView;
use crate::http::problem::HttpProblem;
use crate::http::site::Site;
use crate::message::{ClientId, GroupId};

#[derive(OpenApi)]
#[openapi(paths(groups))]
struct GroupsApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    ApiPart { routes: Router::new().route("/groups", get(groups)), document: GroupsApi::openapi() }
}

/// Which groups.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct GroupsQuery {
    /// Items of a page, 100 unless it is said, 1,000 at most.
    limit: Option<usize>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// A group of Shared Subscriptions or a named queue: each message goes to one of its members. Or a log of kept
/// messages, `$replay/<name>`, which has no members.
#[derive(Debug, Serialize, ToSchema)]
struct GroupItem {
    /// Name of the group.
    name: String,
    /// Without the name of the group.
    filter: String,
    /// Client Identifiers, a hundred at most.
    members: Vec<String>,
    /// How many members it has.
    members_total: usize,
    /// How many of them are connected.
    members_connected: u32,
    /// How its members share: `least_inflight`, `round_robin`, `random`, `sticky`, `hash` or `single_active`.
    strategy: String,
    /// For the last three of those, the connected members with the number of lanes that each owns, a hundred at most;
    /// of `single_active` the active one has one.
    lanes: Vec<LaneOwner>,
    /// Messages that wait for it.
    queue_messages: usize,
    /// Their bytes.
    queue_bytes: u64,
    /// Messages that members have not acknowledged.
    inflight_messages: u64,
    /// Messages that were lost, for all reasons of the ledger.
    lost_messages: u64,
}

/// A member that owns lanes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LaneOwner {
    /// Client Identifier.
    client_id: String,
    /// How many lanes it owns.
    lanes: u16,
}

/// Groups in pages
#[utoipa::path(get, path = "/api/v1/groups", tag = "topics", params(GroupsQuery),
    responses((status = 200, body = ItemPage<GroupItem>)))]
async fn groups(
    State(site): State<Site>,
    Query(query): Query<GroupsQuery>,
) -> Result<Json<ItemPage<GroupItem>>, HttpProblem> {
    let (after, limit) = (number(query.cursor.as_deref())?, limit(query.limit));
    let views = site.broker().groups(after.map(GroupId::new), limit);
    let next = views.last().filter(|_| views.len() == limit);
    let next = next.map(|last| last.id().get().to_string());
    Ok(Json(ItemPage::new(views.iter().map(GroupItem::of).collect(), next)))
}

impl LaneOwner {
    pub fn of((client_id, lanes): &(ClientId, u16)) -> LaneOwner {
        LaneOwner { client_id: client_id.as_str().to_owned(), lanes: *lanes }
    }
}

impl GroupItem {
    fn of(view: &GroupView) -> GroupItem {
        let (account, filter) = (view.account(), view.filter());
        let name = filter.queue().or(filter.replay()).or(filter.share());
        GroupItem {
            name: name.unwrap_or_default().to_owned(),
            filter: filter.pattern().to_owned(),
            members: view.members().iter().map(|id| id.as_str().to_owned()).collect(),
            members_total: view.member_count(),
            members_connected: view.connected(),
            strategy: view.strategy().name().to_owned(),
            lanes: view.lanes().iter().map(LaneOwner::of).collect(),
            queue_messages: view.depth().0,
            queue_bytes: view.depth().1,
            inflight_messages: account.in_flight(),
            lost_messages: view.lost(),
        }
    }
}
