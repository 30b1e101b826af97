//! `GET /api/v1/why`: why messages of a topic do not arrive at a client.

use std::future::poll_fn;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::ApiPart;
use super::asking::{client_id, too_many, topic};
use crate::broker::{LossCause, LossNote, Why, WhyQuestion, WhyStep};
use crate::codec::QoS;
use crate::http::problem::HttpProblem;
use crate::http::site::Site;

#[derive(OpenApi)]
#[openapi(paths(why))]
struct WhyApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    ApiPart { routes: Router::new().route("/why", get(why)), document: WhyApi::openapi() }
}

/// Which client and topic.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct WhyQuery {
    /// Client Identifier of the receiver.
    client: String,
    /// A Topic Name.
    topic: String,
    /// QoS of the message, 1 unless it is said.
    qos: Option<u8>,
    /// Bytes of its payload, 0 unless it is said.
    payload_bytes: Option<usize>,
    /// Client Identifier of its publisher.
    publisher: Option<String>,
}

/// What would become of a message that is published now, and why.
#[derive(Debug, Serialize, ToSchema)]
struct WhyAnswer {
    /// `would_arrive`, `would_wait` or `would_not_arrive`.
    verdict: &'static str,
    /// What stands in its way, in one word; `nothing`; or what the last that did not arrive was lost for.
    reason: &'static str,
    /// The same in sentences.
    explanation: String,
    /// What to change; empty if there is nothing.
    advice: String,
    /// What the broker decides on the way of a message, in that order.
    steps: Vec<WhyStepItem>,
    /// What this client lost of the topic lately, the newest first.
    recent_losses: Vec<WhyLoss>,
}

/// A decision.
#[derive(Debug, Serialize, ToSchema)]
struct WhyStepItem {
    /// Which decision, in one word.
    step: &'static str,
    /// It lets the message pass.
    ok: bool,
    /// What it says.
    text: String,
}

/// Messages that were lost.
#[derive(Debug, Serialize, ToSchema)]
struct WhyLoss {
    /// When the last of them was lost.
    time: String,
    /// Topic Name.
    topic: Option<String>,
    /// Why they were lost, in one word.
    reason: &'static str,
    /// How many there were.
    count: u64,
    /// What the reason means.
    meaning: &'static str,
    /// What to change.
    advice: &'static str,
}

/// A link that does not answer for this long is not waited for.
const LINK_TIME: Duration = Duration::from_secs(5);

/// Why messages of a topic do not arrive at a client
///
/// It goes through what the broker decides on the way of a message, and asks what is decided now.
#[utoipa::path(get, path = "/api/v1/why", tag = "topics", params(WhyQuery),
    responses((status = 200, body = WhyAnswer)))]
async fn why(
    State(site): State<Site>,
    Query(query): Query<WhyQuery>,
) -> Result<Json<WhyAnswer>, HttpProblem> {
    let largest = site.broker().policy().limits.packet_bytes_max.len();
    let mut question = WhyQuestion::new(client_id(&query.client)?, topic(&query.topic, &site)?);
    if let Some(qos) = query.qos {
        let qos = QoS::from_bits(qos);
        question = question.qos(qos.ok_or_else(|| HttpProblem::bad_request("`qos` is 0, 1 or 2"))?);
    }
    if let Some(bytes) = query.payload_bytes {
        question = question.payload_bytes(bytes.min(largest));
    }
    if let Some(publisher) = &query.publisher {
        question = question.publisher(client_id(publisher)?);
    }
    let mut enquiry = site.broker().why(question);
    let answer = poll_fn(|cx| enquiry.poll(cx.waker(), site.process().now()));
    match tokio::time::timeout(LINK_TIME, answer).await {
        Ok(Ok(why)) => Ok(Json(WhyAnswer::of(&why))),
        Ok(Err(_)) => Err(too_many()),
        Err(_) => Err(HttpProblem::unavailable(
            "the client's connection does not answer: the broker is busy; try again",
        )),
    }
}

impl WhyAnswer {
    fn of(why: &Why) -> WhyAnswer {
        let step = |step: &WhyStep| WhyStepItem {
            step: step.step(),
            ok: step.is_ok(),
            text: step.text().to_owned(),
        };
        WhyAnswer {
            verdict: why.verdict().name(),
            reason: why.reason(),
            explanation: why.explanation().to_owned(),
            advice: why.advice().to_owned(),
            steps: why.steps().iter().map(step).collect(),
            recent_losses: why.losses().iter().map(WhyLoss::of).collect(),
        }
    }
}

impl WhyLoss {
    fn of(note: &LossNote) -> WhyLoss {
        let (meaning, advice) = match note.cause() {
            LossCause::Copy(loss) => (loss.meaning(), loss.advice()),
            LossCause::Publish(kind) => (kind.help(), ""),
        };
        WhyLoss {
            time: note.last().to_rfc3339(),
            topic: note.topic().map(str::to_owned),
            reason: note.cause().name(),
            count: note.count(),
            meaning,
            advice,
        }
    }
}
