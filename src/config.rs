//! The configuration as plain data: every key, its unit, its default, its range. Reads no file.
//!
//! Each module is handed its own section, never the whole.
//!
//! # To add a key
//!
//! A key is one row in `src/config/<section>.rs`: the only place that states its name, text, type,
//! default, range and reloadability. Everything else follows from it or fails a test without it.
//!
//! 1. Add the row: text, name, type, then `key(Live, default)` or `key(Restart, default)`, with
//!    `.range(…)`, `.words::<…>()`, `.example(…)`, `.required(…)` or `.names_file()` as needed.
//! 2. A rule between keys goes into the section's `check`, and into the texts of both.
//! 3. Use the key, and test what it does. `Broker::reload` or `run/reload.rs` puts a `Live` one in force;
//!    test that too.
//! 4. `UPDATE=1 cargo test --test reference` writes `config/sluice.toml` and
//!    `docs/configuration.md`; without `UPDATE` that test fails until they say what the rows say.
//! 5. Add a line to `CHANGELOG.md`, and to the page in `docs/` that lists its neighbours.
//!
//! A new section is a row of [`Config`] too.

mod access;
mod auth;
mod broker;
mod check;
mod class;
mod cluster;
mod dedup;
mod delayed;
mod group;
mod http;
mod http_listener;
mod keep;
mod keep_limits;
mod limits;
mod listener;
mod login_step;
mod named_queue;
mod otel;
mod overload;
mod pattern;
mod priority;
mod problems;
mod queue;
mod rates;
mod reload;
mod retry;
mod section;
mod store;
mod strategy;
mod template;
mod topic_class;
mod totals;
mod transport;
mod units;
mod whole;

pub use self::access::{
    AccessConfig, AccessDefault, AccessGroup, AccessRule, AddressRange, RuleAction, RulesFile,
};
pub use self::auth::AuthConfig;
pub use self::broker::{BrokerConfig, Log, LogFormat, LogOutput};
pub use self::class::Class;
pub use self::cluster::ClusterConfig;
pub use self::dedup::{DedupConfig, DedupKey, DedupScope};
pub use self::delayed::DelayedConfig;
pub use self::group::GroupConfig;
pub use self::http::HttpConfig;
pub use self::http_listener::{HTTP_NAME, HttpListener, HttpRights, HttpToken};
pub use self::keep::Keep;
pub use self::keep_limits::KeepLimits;
pub use self::limits::{LimitsConfig, SessionConfig};
pub use self::listener::{CertificateIdentity, ClientCertificate, Listener, Tls};
pub use self::login_step::{LoginKind, LoginStep};
pub use self::named_queue::{Binding, BindingTable, NamedQueue, is_queue_name};
pub use self::otel::OtelConfig;
pub use self::overload::OverloadConfig;
pub use self::pattern::matches;
pub use self::priority::Priority;
pub use self::problems::Problem;
pub use self::queue::{ClassQueue, QueueConfig, QueuePolicy};
pub use self::rates::{Egress, Excess, Ingress, Shaping};
pub use self::retry::{Backoff, BackoffError, Retry};
pub use self::section::{Allowed, ConfigEntry, InForce, KeyEntry, Presence, SectionEntry};
pub use self::store::{Durability, StoreConfig, StoreKind};
pub use self::strategy::{LaneKey, OnPoison, Sharing, Strategy};
pub use self::template::{Placeholder, TopicTemplate};
pub use self::topic_class::{OTHER, TopicClassConfig, UNREAD};
pub use self::totals::{Quota, Quotas, Totals};
pub use self::transport::{ProxyIdentity, Transport, UnixIdentity, UnixSocket, WebSocket};
pub use self::units::{Size, Span, UnitError};
pub use self::whole::Config;
