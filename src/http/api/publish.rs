//! `POST /api/v1/publish`: publishes a message.

use axum::extract::State;
use axum::routing::post;
use axum::{Extension, Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::ApiPart;
use super::asking::{durable, topic};
use crate::broker::turn::Scratch;
use crate::broker::{PublishHandle, Sent};
use crate::codec::property::{put_content_type, put_user_property};
use crate::codec::{Properties, QoS};
use crate::http::guard::Caller;
use crate::http::problem::HttpProblem;
use crate::http::site::Site;
use crate::message::{Circumstances, Draft, Standing};

#[derive(OpenApi)]
#[openapi(paths(publish))]
struct PublishApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    let routes = Router::new().route("/publish", post(publish));
    ApiPart { routes, document: PublishApi::openapi() }
}

/// A message to publish.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PublishBody {
    /// Topic Name.
    topic: String,
    /// The payload as text.
    payload: Option<String>,
    /// The payload in base64.
    payload_base64: Option<String>,
    /// 0, 1 or 2.
    #[serde(default)]
    qos: u8,
    /// RETAIN.
    #[serde(default)]
    retain: bool,
    /// Message Expiry Interval.
    expiry_seconds: Option<u32>,
    /// Content Type.
    content_type: Option<String>,
    /// Names and values, in order.
    #[serde(default)]
    user_properties: Vec<[String; 2]>,
}

/// What has become of a message.
#[derive(Debug, Serialize, ToSchema)]
struct PublishAnswer {
    /// As in PUBACK: below 128 it was accepted.
    reason_code: u8,
    /// The same in words.
    reason: String,
    /// Clients and groups that have it or will have it.
    receivers: u32,
}

/// Publishes a message
///
/// It answers when the message is safe. Rules of access see a client `http/NAME` of the user `http/NAME`, where NAME is
/// the name of the token.
#[utoipa::path(post, path = "/api/v1/publish", tag = "topics", request_body = PublishBody,
    responses((status = 200, body = PublishAnswer)))]
async fn publish(
    State(site): State<Site>,
    Extension(caller): Extension<Caller>,
    Json(body): Json<PublishBody>,
) -> Result<Json<PublishAnswer>, HttpProblem> {
    let sent = send(&site, &caller, &body)?;
    durable(&site, sent.receipt()).await?;
    Ok(Json(PublishAnswer {
        reason_code: sent.reason() as u8,
        reason: sent.reason().name().to_owned(),
        receivers: sent.receivers(),
    }))
}

fn send(site: &Site, caller: &Caller, body: &PublishBody) -> Result<Sent, HttpProblem> {
    let topic = topic(&body.topic, site)?;
    let policy = site.broker().policy();
    let qos = QoS::from_bits(body.qos).filter(|qos| *qos <= policy.qos_max);
    let qos = qos.ok_or_else(|| {
        HttpProblem::bad_request("`qos` is 0, 1 or 2, and within session.qos_max")
    })?;
    if body.retain && !policy.session.retain_available {
        return Err(HttpProblem::bad_request(
            "nothing is retained: session.retain_available is false",
        ));
    }
    let payload = match (&body.payload, &body.payload_base64) {
        (Some(_), Some(_)) => {
            return Err(HttpProblem::bad_request("`payload` or `payload_base64`, not both"));
        }
        (Some(text), None) => text.clone().into_bytes(),
        (None, Some(text)) => STANDARD
            .decode(text)
            .map_err(|error| HttpProblem::bad_request(format!("`payload_base64`: {error}")))?,
        (None, None) => Vec::new(),
    };
    if site.broker().is_node() && (qos > QoS::AtMostOnce || body.retain) {
        return Err(HttpProblem::conflict(
            "a node of a cluster publishes over HTTP at QoS 0 alone, and retains nothing: use MQTT (/mqtt)",
        ));
    }
    let properties = properties(body)?;
    let draft = Draft {
        topic,
        qos,
        retain: body.retain,
        expiry: body.expiry_seconds,
        properties: Properties::trusted(&properties),
        payload: &payload,
    };
    let name = format!("http/{}", caller.name());
    let identity = site.broker().identity(&name, Some(&name));
    identity.set_standing(Standing::Of(Circumstances::default()));
    let now = site.process().now();
    let mut handle = PublishHandle::new(site.broker(), identity);
    Ok(handle.publish(&draft, now, &mut Scratch::default()))
}

/// The properties, as they are forwarded.
fn properties(body: &PublishBody) -> Result<Vec<u8>, HttpProblem> {
    let texts = body.user_properties.iter().flatten();
    if texts
        .chain(&body.content_type)
        .any(|text| text.len() > usize::from(u16::MAX) || text.contains('\0'))
    {
        return Err(HttpProblem::bad_request(
            "a text of MQTT has at most 65,535 bytes and no U+0000",
        ));
    }
    let mut block = Vec::new();
    if let Some(content_type) = &body.content_type {
        put_content_type(&mut block, content_type);
    }
    for [name, value] in &body.user_properties {
        put_user_property(&mut block, name, value);
    }
    Ok(block)
}
