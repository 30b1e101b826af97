//! `GET /api/v1/ledger`: what was lost and what was refused since the start, by reason.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::ApiPart;
use crate::http::site::Site;
use crate::message::{Loss, RefusalKind};

#[derive(OpenApi)]
#[openapi(paths(ledger))]
struct LedgerApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    ApiPart { routes: Router::new().route("/ledger", get(ledger)), document: LedgerApi::openapi() }
}

/// What was lost and what was refused since the start.
#[derive(Debug, Serialize, ToSchema)]
struct LedgerTotals {
    /// Every reason for which a copy of a message is lost.
    reasons: Vec<LossTotal>,
    /// The same by class of topics, in the order of the configuration; then what is of none. Empty where no
    /// `[[topic_class]]` is configured.
    classes: Vec<ClassTotals>,
    /// What was refused to peers: every reason that there was.
    refused: Vec<RefusalTotal>,
}

/// A reason of the ledger.
#[derive(Debug, Serialize, ToSchema)]
struct LossTotal {
    /// Its name.
    reason: &'static str,
    /// Copies lost for it.
    count: u64,
    /// What it means.
    meaning: &'static str,
    /// What to change.
    advice: &'static str,
}

/// What was lost of a class of topics.
#[derive(Debug, Serialize, ToSchema)]
struct ClassTotals {
    /// Its name.
    class: String,
    /// Copies lost by reason; `shed`, `over_rate` and `refused` are messages of QoS 0 and Wills that were not routed.
    reasons: Vec<ReasonTotal>,
}

/// A reason and its count.
#[derive(Debug, Serialize, ToSchema)]
struct ReasonTotal {
    /// Its name.
    reason: &'static str,
    /// How often.
    count: u64,
}

/// A reason for a refusal.
#[derive(Debug, Serialize, ToSchema)]
struct RefusalTotal {
    /// Its name.
    reason: &'static str,
    /// How often.
    count: u64,
    /// What it means.
    meaning: &'static str,
    /// The key of the configuration that decides; empty if none does.
    key: &'static str,
}

/// What was lost and what was refused since the start
#[utoipa::path(get, path = "/api/v1/ledger", tag = "ledger", responses((status = 200, body = LedgerTotals)))]
async fn ledger(State(site): State<Site>) -> Json<LedgerTotals> {
    let metrics = site.broker().metrics();
    let reasons = Loss::ALL.into_iter().map(|loss| LossTotal {
        reason: loss.name(),
        count: metrics.lost(loss),
        meaning: loss.meaning(),
        advice: loss.advice(),
    });
    let classes = metrics.topics().losses().into_iter().map(|class| {
        let reasons = class.reasons().filter(|(_, count)| *count > 0);
        let reasons = reasons.map(|(reason, count)| ReasonTotal { reason, count }).collect();
        ClassTotals { class: class.class.to_string(), reasons }
    });
    let refused = RefusalKind::ALL.iter().map(|kind| RefusalTotal {
        reason: kind.name(),
        count: metrics.refused(*kind),
        meaning: kind.help(),
        key: kind.key(),
    });
    Json(LedgerTotals {
        reasons: reasons.collect(),
        classes: classes.collect(),
        refused: refused.filter(|refusal| refusal.count > 0).collect(),
    })
}
