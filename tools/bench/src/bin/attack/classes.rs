//! The classes of attack: a row each.

use std::path::Path;

use crate::attacker::Act;
use crate::{Outcome, hoards, http, opening, tls, topics};

/// One way to attack.
pub struct Class {
    /// As on the command line.
    pub name: &'static str,
    /// What the attacker does.
    pub what: &'static str,
    /// What its load is counted in.
    pub unit: &'static str,
    /// The defaults are those of a broker without any names, on a loopback address.
    pub logins: Logins,
    /// Done before memory is looked at for the first time.
    pub prepare: Option<Act>,
    /// What is done as fast as it can be.
    pub act: Act,
}

/// How clients log in.
#[derive(Clone, Copy, PartialEq)]
pub enum Logins {
    /// As they like: the default on a loopback address.
    Open,
    /// With a password, or without a name: the attacker is a stranger beside verified users.
    Strangers,
    /// With a password: the default where there is a password file.
    Passwords,
}

impl Class {
    pub fn named(name: &str) -> Outcome<&'static Class> {
        let found = CLASSES.iter().chain([&START]).find(|class| class.name == name);
        found.ok_or_else(|| format!("no class {name}: --list names them").into())
    }

    const fn new(name: &'static str, unit: &'static str, act: Act, what: &'static str) -> Class {
        Class { name, what, unit, logins: Logins::Open, prepare: None, act }
    }

    const fn behind(self, prepare: Act) -> Class {
        Class { prepare: Some(prepare), ..self }
    }

    const fn with(self, logins: Logins) -> Class {
        Class { logins, ..self }
    }
}

impl Logins {
    /// Keys of each listener.
    pub fn listener(self) -> &'static str {
        if self == Logins::Strangers { "allow_anonymous = true" } else { "" }
    }

    /// The rest of the configuration.
    pub fn rest(self, common: &Path) -> String {
        if self == Logins::Open {
            return String::new();
        }
        format!("[auth]\npassword_file = '{}/passwords'\n", common.display())
    }
}

/// Every class, in the order of the table.
#[rustfmt::skip]
pub const CLASSES: &[Class] = &[
    Class::new("slow-connect", "bytes", opening::slow_connect,
        "CONNECTs of 60 kB, a byte at a time, on 5,000 connections"),
    Class::new("silent-socket", "connections", opening::silent_socket,
        "10,000 connections on which nothing comes"),
    Class::new("length-bombs", "connections", opening::length_bombs,
        "CONNECTs that claim 256 MiB, and unfinished ones of 60 kB"),
    Class::new("garbage", "connections", opening::garbage,
        "16 KiB of noise on the plain port"),
    Class::new("connect-and-leave", "connections", opening::connect_and_leave,
        "a CONNECT, and RST before the answer"),
    Class::new("half-closed", "connections", opening::half_closed,
        "RST and half-closed sockets before, in and after CONNECT"),
    Class::new("takeover-loop", "connections", opening::takeover_loop,
        "clients that take one Session from each other"),
    Class::new("login-storm", "logins", opening::login_storm,
        "wrong passwords from ever other addresses").with(Logins::Passwords),
    Class::new("injection", "connections", opening::injection,
        "names that forge log lines, messages under $SYS, Subscriptions to it"),
    Class::new("session-hoarding", "Sessions", opening::session_hoarding,
        "Sessions that stay for a week").with(Logins::Strangers),
    Class::new("tls-slow", "connections", tls::slow_handshakes,
        "10,000 connections with one byte of a handshake"),
    Class::new("tls-broken", "connections", tls::broken_handshakes,
        "handshakes that break before, in and after ClientHello"),
    Class::new("tls-tickets", "connections", tls::tickets,
        "resumed handshakes, each with 20 changes of keys"),
    Class::new("tls-garbage", "connections", tls::garbage,
        "16 KiB of noise on the TLS port, and behind a handshake"),
    Class::new("deep-topics", "PUBLISHes", topics::deep_topics,
        "topics of 31 levels, and of 30,000"),
    Class::new("slashes", "packets", topics::slashes,
        "names and filters of 65,535 slashes"),
    Class::new("property-bombs", "PUBLISHes", topics::property_bombs,
        "64 User Properties of 120 bytes, and 10,000"),
    Class::new("subscription-bombs", "filters", topics::subscription_bombs,
        "Sessions that stay, with 1,000 filters each").with(Logins::Strangers),
    Class::new("share-bombs", "filters", topics::share_bombs,
        "groups of Shared Subscriptions, ever others").with(Logins::Strangers),
    Class::new("churn", "filters", topics::churn,
        "SUBSCRIBE and UNSUBSCRIBE of 100 filters"),
    Class::new("filters-in-vain", "PUBLISHes", topics::match_filters,
        "topics that lead to 65,536 filters and match none").behind(topics::park_in_vain),
    Class::new("filters-that-match", "PUBLISHes", topics::match_filters,
        "topics that match 65,536 filters").behind(topics::park_that_match),
    Class::new("retained-in-vain", "SUBSCRIBEs", topics::seek_retained,
        "128 filters that find nothing among 100,000 retained").behind(topics::retain_many),
    Class::new("amplification", "connections", topics::amplification,
        "`#` over 10,000 retained messages of 1 KiB, and again").behind(topics::retain_large),
    Class::new("retained-flood", "PUBLISHes", hoards::retained_flood,
        "retained messages of 4 KiB, each of another topic").with(Logins::Strangers),
    Class::new("will-storm", "connections", hoards::will_storm,
        "clients that break off, each with a retained Will").with(Logins::Strangers),
    Class::new("parked-wills", "connections", hoards::parked_wills,
        "Wills of 60 kB that wait for a week").with(Logins::Strangers),
    Class::new("alias-fill", "connections", hoards::alias_fill,
        "clients that stay, with 16 aliases of 1,000 bytes"),
    Class::new("never-released", "PUBLISHes", hoards::never_released,
        "QoS 2 without PUBREL, 4,096 for each Session").with(Logins::Strangers),
    Class::new("stalled-reader", "PUBLISHes", hoards::stalled_reader,
        "16 KiB messages to 100 receivers that read nothing").with(Logins::Strangers),
    Class::new("trickle-reader", "PUBLISHes", hoards::trickle_reader,
        "the same, and they read a byte now and then").with(Logins::Strangers),
    Class::new("never-acknowledged", "PUBLISHes", hoards::never_acknowledged,
        "QoS 1 to 100 receivers that acknowledge nothing").with(Logins::Strangers),
    Class::new("disk-hoarding", "PUBLISHes", hoards::disk_hoarding,
        "QoS 1 to 100 Sessions whose clients are away").with(Logins::Strangers),
    Class::new("unfinished-publish", "connections", hoards::unfinished_publish,
        "600 PUBLISHes of 1 MB without the last byte"),
    Class::new("http-flood", "requests", http::requests,
        "the status over HTTP, 3,200 requests at once on 100 connections"),
    Class::new("http-strangers", "requests", http::strangers,
        "requests over HTTP without a token, each on a connection of its own"),
    Class::new("feed-not-read", "PUBLISHes", http::feed_not_read,
        "32 traces of all messages, not read, while 1 KiB messages come"),
];

/// What is parked before a start; the start itself is measured by `start.rs`.
pub const START: Class = Class::new("start", "", |_| Ok(()), "a start over 120,000 deep filters")
    .behind(topics::park_deep);
