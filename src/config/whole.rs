//! The whole configuration: its sections.

use super::access::{AccessConfig, AccessRule};
use super::auth::AuthConfig;
use super::broker::{BrokerConfig, Log};
use super::class::Class;
use super::cluster::ClusterConfig;
use super::dedup::DedupConfig;
use super::delayed::DelayedConfig;
use super::group::GroupConfig;
use super::http_listener::HttpListener;
use super::keep::Keep;
use super::limits::{LimitsConfig, SessionConfig};
use super::listener::{ClientCertificate, Listener, Tls};
use super::named_queue::NamedQueue;
use super::otel::OtelConfig;
use super::overload::OverloadConfig;
use super::priority::Priority;
use super::queue::QueueConfig;
use super::rates::Shaping;
use super::section::InForce::{Live, Restart};
use super::section::{ConfigEntry, Section, list, rows, section};
use super::store::StoreConfig;
use super::topic_class::TopicClassConfig;
use super::totals::Totals;

rows! {
    /// Everything that can be configured.
    pub struct Config {
        /// Sections `[[listener]]`.
        listener: Vec<Listener> = list(Restart);
        /// Section `[limits]`.
        limits: LimitsConfig = section();
        /// Section `[session]`.
        session: SessionConfig = section();
        /// Section `[queue]`.
        queue: QueueConfig = section();
        /// Section `[shaping]`.
        shaping: Shaping = section();
        /// Sections `[[class]]`.
        class: Vec<Class> = list(Live);
        /// Sections `[[priority]]`.
        priority: Vec<Priority> = list(Live);
        /// Sections `[[named_queue]]`.
        named_queue: Vec<NamedQueue> = list(Live);
        /// Sections `[[dedup]]`.
        dedup: Vec<DedupConfig> = list(Live);
        /// Sections `[[group]]`.
        group: Vec<GroupConfig> = list(Live);
        /// Sections `[[keep]]`.
        keep: Vec<Keep> = list(Live);
        /// Sections `[[topic_class]]`.
        topic_class: Vec<TopicClassConfig> = list(Restart);
        /// Section `[totals]`.
        totals: Totals = section();
        /// Section `[delayed]`.
        delayed: DelayedConfig = section();
        /// Section `[overload]`.
        overload: OverloadConfig = section();
        /// Section `[auth]`.
        auth: AuthConfig = section();
        /// Section `[access]`.
        access: AccessConfig = section();
        /// Sections `[[rule]]`.
        rule: Vec<AccessRule> = list(Live);
        /// Section `[http]`.
        http: HttpListener = section();
        /// Section `[cluster]`.
        cluster: ClusterConfig = section();
        /// Section `[otel]`.
        otel: OtelConfig = section();
        /// Section `[store]`.
        store: StoreConfig = section();
        /// Section `[log]`.
        log: Log = section();
        /// Section `[broker]`.
        broker: BrokerConfig = section();
    }
}

impl Config {
    /// The built-in configuration of a start without a file: TCP and TLS on the loopback address,
    /// with the development certificates in `certs/`, and HTTP.
    pub fn development() -> Config {
        let tls = Tls {
            certificate: "certs/server.pem".into(),
            key: "certs/server.key".into(),
            client_ca: Some("certs/ca.pem".into()),
            client_certificate: ClientCertificate::Optional,
            ..Tls::default()
        };
        let plain = Listener { address: "127.0.0.1:1883".to_owned(), ..Listener::default() };
        let secure = Listener {
            address: "127.0.0.1:8883".to_owned(),
            tls: Some(tls),
            ..Listener::default()
        };
        let http =
            HttpListener { address: "127.0.0.1:18090".to_owned(), ..HttpListener::default() };
        Config { listener: vec![plain, secure], http, ..Config::default() }
    }

    /// What a configuration file changes: the defaults, and MQTT over TCP on the loopback address, unless the
    /// file has listeners of its own.
    pub fn beneath_files() -> Config {
        let plain = Listener { address: "127.0.0.1:1883".to_owned(), ..Listener::default() };
        Config { listener: vec![plain], ..Config::default() }
    }

    /// A configuration with a value for every key, the optional ones too, and one section of each list.
    pub fn example() -> Config {
        Section::example()
    }

    /// Every section and key, in the order in which they are declared.
    pub fn entries() -> Vec<ConfigEntry> {
        let mut entries = Vec::new();
        <Config as Section>::describe("", &mut entries);
        entries
    }
}
