//! `GET /api/v1/config`: the configuration in force.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::ApiPart;
use crate::config::InForce;
use crate::http::process::ConfigKey;
use crate::http::site::Site;

#[derive(OpenApi)]
#[openapi(paths(config))]
struct ConfigApi;

/// Its part of the API.
pub(super) fn part() -> ApiPart {
    ApiPart { routes: Router::new().route("/config", get(config)), document: ConfigApi::openapi() }
}

/// The configuration in force.
#[derive(Debug, Serialize, ToSchema)]
struct EffectiveConfig {
    /// Every key, in the order of the reference.
    items: Vec<ConfigItem>,
}

/// A key.
#[derive(Debug, Serialize, ToSchema)]
struct ConfigItem {
    /// Its full name, with numbers in lists, as in `listener.0.address`.
    key: String,
    /// Its value; null if it is not set; `***` for what is secret.
    #[schema(value_type = Value)]
    value: serde_json::Value,
    /// Where the value came from: `built-in`, a file with its line, `environment NAME`, `--set KEY`.
    origin: String,
    /// A reload puts a change in force; else a restart does.
    reload: bool,
}

/// The configuration in force
///
/// What a reload has put in force is in it; what waits for a restart is not.
#[utoipa::path(get, path = "/api/v1/config", tag = "process", responses((status = 200, body = EffectiveConfig)))]
async fn config(State(site): State<Site>) -> Json<EffectiveConfig> {
    Json(EffectiveConfig { items: site.process().config().into_iter().map(item).collect() })
}

fn item(ConfigKey { name, value, origin, reload }: ConfigKey) -> ConfigItem {
    let value = match value {
        None => serde_json::Value::Null,
        Some(_) if name.ends_with(".sha256") => "***".into(),
        Some(value) => serde_json::to_value(value).unwrap_or_default(),
    };
    ConfigItem { key: name, value, origin, reload: reload == InForce::Live }
}
