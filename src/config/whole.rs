//! The whole configuration: its sections.

use super::auth::Auth;
use super::broker::{Broker, Log};
use super::class::Class;
use super::limits::{Limits, Session};
use super::listener::{ClientCertificate, Listener, Tls};
use super::overload::Overload;
use super::priority::Priority;
use super::queue::Queue;
use super::rates::Shaping;
use super::section::Reload::{Live, Restart};
use super::section::{Entry, Section, list, rows, section};
use super::store::Store;
use super::topic_class::TopicClass;
use super::totals::Totals;

rows! {
    /// Everything that can be configured.
    pub struct Config {
        /// Sections `[[listener]]`.
        listener: Vec<Listener> = list(Restart);
        /// Section `[limits]`.
        limits: Limits = section();
        /// Section `[session]`.
        session: Session = section();
        /// Section `[queue]`.
        queue: Queue = section();
        /// Section `[shaping]`.
        shaping: Shaping = section();
        /// Sections `[[class]]`.
        class: Vec<Class> = list(Live);
        /// Sections `[[priority]]`.
        priority: Vec<Priority> = list(Live);
        /// Sections `[[topic_class]]`.
        topic_class: Vec<TopicClass> = list(Restart);
        /// Section `[totals]`.
        totals: Totals = section();
        /// Section `[overload]`.
        overload: Overload = section();
        /// Section `[auth]`.
        auth: Auth = section();
        /// Section `[store]`.
        store: Store = section();
        /// Section `[log]`.
        log: Log = section();
        /// Section `[broker]`.
        broker: Broker = section();
    }
}

impl Config {
    /// The built-in configuration of a start without a file: TCP and TLS on the loopback address,
    /// with the development certificates in `certs/`.
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
        Config { listener: vec![plain, secure], ..Config::default() }
    }

    /// A configuration with a value for every key, the optional ones too, and one section of each list.
    pub fn example() -> Config {
        Section::example()
    }

    /// Every section and key, in the order in which they are declared.
    pub fn entries() -> Vec<Entry> {
        let mut entries = Vec::new();
        <Config as Section>::describe("", &mut entries);
        entries
    }
}
