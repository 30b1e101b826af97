//! Ranges and rules between keys: what a configuration must satisfy beyond its types.

mod topics;

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::Path;

use super::{
    CertificateIdentity, ClientCertificate, Config, Egress, Ingress, Listener, Log, Queue, Shaping,
    Size, Span, StoreKind, Tls,
};

/// One thing wrong with a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The key, such as `session.qos_max` or `listener.0.tls.key`.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// Largest packet MQTT can carry: fixed header and a Remaining Length of 268,435,455.
const PACKET_BYTES_MAX: Size = Size(268_435_460);
/// Largest Session Expiry Interval, "does not expire".
const NEVER: Span = Span::secs(u32::MAX as u64);

impl Config {
    /// Whether every value is in its range and the keys agree with each other.
    pub fn check(&self) -> Result<(), Vec<Problem>> {
        let mut found = Findings::default();
        self.check_limits(&mut found);
        self.check_session(&mut found);
        self.check_totals(&mut found);
        self.check_classes(&mut found);
        self.check_overload(&mut found);
        self.check_priorities(&mut found);
        self.check_topic_classes(&mut found);
        self.check_store(&mut found);
        self.check_broker(&mut found);
        self.check_listeners(&mut found);
        if found.0.is_empty() { Ok(()) } else { Err(found.0) }
    }

    fn check_limits(&self, found: &mut Findings) {
        let limits = &self.limits;
        let hour = Span::secs(3600);
        found.range("limits.connect_timeout", limits.connect_timeout, Span::millis(100), hour);
        found.range("limits.auth_timeout", limits.auth_timeout, Span::millis(100), hour);
        found.range("limits.write_timeout", limits.write_timeout, Span::millis(100), hour);
        found.range(
            "limits.connect_bytes_max",
            limits.connect_bytes_max,
            Size(256),
            PACKET_BYTES_MAX,
        );
        found.range(
            "limits.packet_bytes_max",
            limits.packet_bytes_max,
            Size(256),
            PACKET_BYTES_MAX,
        );
        found.range(
            "limits.properties_bytes_max",
            limits.properties_bytes_max,
            Size(64),
            PACKET_BYTES_MAX,
        );
        found.range("limits.topic_bytes_max", limits.topic_bytes_max, 1, 65_535);
        found.range("limits.topic_levels_max", limits.topic_levels_max, 1, 65_536);
        found.range("limits.client_id_bytes_max", limits.client_id_bytes_max, 23, 65_535);
        found.range("limits.subscriptions_max", limits.subscriptions_max, 1, 1_000_000);
        found.range("limits.filters_max", limits.filters_max, 1, 65_536);
        found.range("limits.user_properties_max", limits.user_properties_max, 0, 65_536);
        found.range("limits.owed_max", limits.owed_max, 1, 65_535);
        found.range("limits.unreleased_max", limits.unreleased_max, 1, 65_535);
        found.range("limits.connects_rate", limits.connects_rate, 0, 1_000_000);
        limits.client.check("limits.client", found);
        let packet = ("limits.packet_bytes_max", limits.packet_bytes_max);
        found.at_most("limits.connect_bytes_max", limits.connect_bytes_max, packet);
        found.at_most("limits.properties_bytes_max", limits.properties_bytes_max, packet);
    }

    fn check_session(&self, found: &mut Findings) {
        let session = &self.session;
        found.range("session.inflight_max", session.inflight_max, 1, 65_535);
        found.range("session.receive_maximum", session.receive_maximum, 1, 65_535);
        found.range("session.expiry_max", session.expiry_max, Span::secs(0), NEVER);
        found.range("session.qos_max", session.qos_max, 0, 2);
    }

    fn check_totals(&self, found: &mut Findings) {
        let (queue, totals) = (&self.queue, &self.totals);
        let terabyte = Size::kib(1 << 30);
        queue.check("queue", self, found);
        found.range("queue.pause_max", queue.pause_max, Span::secs(0), Span::secs(10));
        found.range("totals.sessions_max", totals.sessions_max, 1, 100_000_000);
        found.range("totals.subscriptions_max", totals.subscriptions_max, 1, 1_000_000_000);
        found.range("totals.retained_max", totals.retained_max, 0, 1_000_000_000);
        found.range("totals.retained_bytes_max", totals.retained_bytes_max, Size(0), terabyte);
        found.range("totals.queued_bytes_max", totals.queued_bytes_max, Size::kib(1), terabyte);
        found.range("totals.groups_max", totals.groups_max, 0, 100_000_000);
        let (packet, packet_max) = ("limits.packet_bytes_max", self.limits.packet_bytes_max);
        found.at_most(
            "limits.subscriptions_max",
            self.limits.subscriptions_max,
            ("totals.subscriptions_max", totals.subscriptions_max),
        );
        if self.session.retain_available && totals.retained_max > 0 {
            found.at_most(
                packet,
                packet_max,
                ("totals.retained_bytes_max", totals.retained_bytes_max),
            );
        }
    }

    fn check_classes(&self, found: &mut Findings) {
        self.shaping.check("shaping", found);
        for (index, class) in self.class.iter().enumerate() {
            let at = |key: &str| format!("class.{index}.{key}");
            if class.name.is_empty() {
                found.add(at("name"), "a class needs a name, for logs and $SYS");
            } else if self.class[..index].iter().any(|other| other.name == class.name) {
                found.add(at("name"), format!("{:?} is the name of another class", class.name));
            }
            if let Some(shaping) = &class.shaping {
                shaping.check(&at("shaping"), found);
            }
            if let Some(queue) = &class.queue {
                queue.over(&self.queue).check(&at("queue"), self, found);
            }
            if let Some(ingress) = &class.ingress {
                ingress.check(&at("ingress"), found);
            }
        }
    }

    fn check_overload(&self, found: &mut Findings) {
        let overload = &self.overload;
        let (off, hour) = (Span::secs(0), Span::secs(3600));
        found.range("overload.level_max", overload.level_max, 0, 3);
        found.range("overload.lag_max", overload.lag_max, off, Span::secs(60));
        found.range("overload.memory_max", overload.memory_max, Size(0), Size::kib(1 << 30));
        found.range("overload.commit_max", overload.commit_max, off, hour);
        found.range("overload.hold", overload.hold, Span::millis(100), Span::secs(600));
    }

    fn check_priorities(&self, found: &mut Findings) {
        found.range("queue.lower_band_share", self.queue.lower_band_share, 1, 25);
        for (index, priority) in self.priority.iter().enumerate() {
            let at = |key: &str| format!("priority.{index}.{key}");
            found.range(at("band"), priority.band, 0, 3);
            if priority.filter.is_none() && priority.property.is_none() {
                found.add(at("filter"), "a priority needs a filter or a property");
            }
            if let Some(filter) = &priority.filter
                && !is_filter(filter)
            {
                found.add(at("filter"), format!("{filter:?} is not a Topic Filter of its own"));
            }
            let property = priority.property.as_deref();
            if property.is_some_and(|property| !property.contains('=')) {
                found.add(at("property"), "expected \"name=value\"");
            }
        }
    }

    fn check_store(&self, found: &mut Findings) {
        let store = &self.store;
        let (mib, terabyte) = (Size::kib(1024), Size::kib(1 << 30));
        found.range("store.segment_bytes", store.segment_bytes, mib, Size::kib(1 << 20));
        found.range(
            "store.journal_bytes_max",
            store.journal_bytes_max,
            Size::kib(16 * 1024),
            terabyte,
        );
        found.range("store.pending_bytes_max", store.pending_bytes_max, mib, terabyte);
        found.range("store.unwritten_bytes_max", store.unwritten_bytes_max, mib, terabyte);
        found.range("store.cache_bytes", store.cache_bytes, mib, terabyte);
        found.range("store.commit_delay", store.commit_delay, Span::millis(0), Span::secs(1));
        found.range(
            "store.checkpoint_interval",
            store.checkpoint_interval,
            Span::millis(10),
            Span::secs(3600),
        );
        let marks = [
            ("store.pending_bytes", store.pending_bytes_low, store.pending_bytes_max),
            ("store.unwritten_bytes", store.unwritten_bytes_low, store.unwritten_bytes_max),
        ];
        for (name, low, max) in marks {
            if low.0 >= max.0 {
                found.add(format!("{name}_low"), format!("is not below {name}_max"));
            }
        }
        if store.segment_bytes.0.saturating_mul(4) > store.journal_bytes_max.0 {
            found.add("store.segment_bytes", "four segments are more than store.journal_bytes_max");
        }
        if store.kind != StoreKind::Memory && is_empty(&store.path) {
            found.add("store.path", "is empty; with store.kind = \"memory\" none is needed");
        }
        if store.kind == StoreKind::Redb && !cfg!(feature = "store-redb") {
            found.add("store.kind", "this build has no redb: build it with --features store-redb");
        }
    }

    fn check_broker(&self, found: &mut Findings) {
        let broker = &self.broker;
        found.range("broker.workers", broker.workers, 0, 1024);
        broker.egress.check("broker.egress", found);
        found.range("broker.stop_timeout", broker.stop_timeout, Span::secs(0), Span::secs(600));
        found.range("broker.linger_max", broker.linger_max, Span::millis(0), Span::millis(50));
        if broker.sys_interval != Span::secs(0) {
            found.range(
                "broker.sys_interval",
                broker.sys_interval,
                Span::secs(1),
                Span::secs(86_400),
            );
        }
        if let Some(problem) = self.log.level_problem() {
            found.add("log.level", problem);
        }
        if self.auth.password_file.as_deref().is_some_and(is_empty) {
            found.add("auth.password_file", "is empty; leave the key out to check no passwords");
        }
    }

    fn check_listeners(&self, found: &mut Findings) {
        if self.listener.is_empty() {
            found.add(
                "listener",
                "there is no [[listener]]; add one with address = \"127.0.0.1:1883\"",
            );
        }
        let mut taken: Vec<SocketAddr> = Vec::new();
        for (index, listener) in self.listener.iter().enumerate() {
            let at = |key: &str| format!("listener.{index}.{key}");
            found.range(at("connections_max"), listener.connections_max, 1, 10_000_000);
            found.range(at("connect_rate_max"), listener.connect_rate_max, 0, 10_000_000);
            found.range(
                at("connect_rate_per_address_max"),
                listener.connect_rate_per_address_max,
                0,
                10_000_000,
            );
            listener.ingress.check(&at("ingress"), found);
            listener.ingress_per_address.check(&at("ingress_per_address"), found);
            listener.egress.check(&at("egress"), found);
            if let Some(tls) = &listener.tls {
                tls.check(&at("tls"), found);
            }
            if !listener.name.is_empty()
                && self.listener[..index].iter().any(|l| l.name == listener.name)
            {
                found.add(
                    at("name"),
                    format!("{:?} is the name of another listener", listener.name),
                );
            }
            let Some(address) = listener.socket_address() else {
                found.add(
                    at("address"),
                    format!(
                        "expected an address and a port such as \"127.0.0.1:1883\" or \"[::1]:1883\", found {:?}",
                        listener.address
                    ),
                );
                continue;
            };
            if let Some(other) = taken.iter().find(|other| collide(**other, address)) {
                found.add(
                    at("address"),
                    format!("{address} is taken by another listener ({other})"),
                );
            }
            taken.push(address);
            self.check_anonymous(listener, address, &at("allow_anonymous"), found);
        }
    }

    /// Nobody opens a broker to a network by leaving a key out.
    fn check_anonymous(
        &self,
        listener: &Listener,
        address: SocketAddr,
        key: &str,
        found: &mut Findings,
    ) {
        if self.auth.password_file.is_some() || listener.requires_certificate() {
            return;
        }
        match listener.allow_anonymous {
            Some(true) => {}
            Some(false) => found.add(
                key,
                "is false, but nothing checks who comes in: set auth.password_file, or client_certificate = \"required\"",
            ),
            None if address.ip().is_loopback() => {}
            None => found.add(
                key,
                format!(
                    "{address} is not a loopback address and anyone could come in: \
                     set auth.password_file, or say allow_anonymous = true"
                ),
            ),
        }
    }
}

impl Tls {
    fn check(&self, at: &str, found: &mut Findings) {
        for (key, path) in
            [("certificate", Some(&self.certificate)), ("key", Some(&self.key))].into_iter().chain(
                [("client_ca", self.client_ca.as_ref()), ("client_crl", self.client_crl.as_ref())],
            )
        {
            if path.is_some_and(|path| is_empty(path)) {
                found.add(format!("{at}.{key}"), "a file name is missing");
            }
        }
        let asked = self.client_certificate != ClientCertificate::None;
        if asked && self.client_ca.is_none() {
            found.add(
                format!("{at}.client_certificate"),
                "needs client_ca: the certificates that clients' certificates descend from",
            );
        }
        if !asked && self.client_ca.is_some() {
            found.add(
                format!("{at}.client_ca"),
                "is set but clients are not asked for certificates: say client_certificate = \"optional\" or \"required\"",
            );
        }
        if !asked && self.client_crl.is_some() {
            found.add(
                format!("{at}.client_crl"),
                "is set but clients are not asked for certificates",
            );
        }
        if !asked && self.identity != CertificateIdentity::None {
            found.add(
                format!("{at}.identity"),
                "needs client_certificate = \"optional\" or \"required\"",
            );
        }
        found.range(format!("{at}.handshakes_max"), self.handshakes_max, 1, 100_000);
    }
}

impl Queue {
    fn check(&self, section: &str, config: &Config, found: &mut Findings) {
        let at = |key: &str| format!("{section}.{key}");
        found.range(at("messages_max"), self.messages_max, 1, 10_000_000);
        found.range(at("bytes_max"), self.bytes_max, Size::kib(1), Size::kib(1 << 30));
        let bytes_max = at("bytes_max");
        let packet_max = config.limits.packet_bytes_max;
        found.at_most("limits.packet_bytes_max", packet_max, (&bytes_max, self.bytes_max));
        let totals = ("totals.queued_bytes_max", config.totals.queued_bytes_max);
        found.at_most(&bytes_max, self.bytes_max, totals);
    }
}

impl Egress {
    fn check(&self, at: &str, found: &mut Findings) {
        // The same keys with the same ranges.
        let shaping = Shaping {
            messages_rate: self.messages_rate,
            messages_burst: self.messages_burst,
            bytes_rate: self.bytes_rate,
            bytes_burst: self.bytes_burst,
            ..Shaping::default()
        };
        shaping.check(at, found);
    }
}

impl Ingress {
    fn check(&self, at: &str, found: &mut Findings) {
        let at = |key: &str| format!("{at}.{key}");
        let (most, bytes_max) = (1_000_000_000, Size::kib(1 << 30));
        found.range(at("publishes_rate"), self.publishes_rate, 0, most);
        found.range(at("publishes_burst"), self.publishes_burst, 0, most);
        found.range(at("publish_bytes_rate"), self.publish_bytes_rate, Size(0), bytes_max);
        found.range(at("publish_bytes_burst"), self.publish_bytes_burst, Size(0), bytes_max);
        found.range(at("subscribes_rate"), self.subscribes_rate, 0, most);
        found.range(at("subscribes_burst"), self.subscribes_burst, 0, most);
        let pairs = [
            ("publishes", self.publishes_burst.into(), self.publishes_rate.into()),
            ("publish_bytes", self.publish_bytes_burst.0, self.publish_bytes_rate.0),
            ("subscribes", self.subscribes_burst.into(), self.subscribes_rate.into()),
        ];
        for (name, burst, rate) in pairs {
            if burst > 0 && rate == 0 {
                let (burst, rate) = (format!("{name}_burst"), format!("{name}_rate"));
                found.add(at(&burst), format!("is of no use without {rate}"));
            }
        }
    }
}

impl Shaping {
    fn check(&self, at: &str, found: &mut Findings) {
        let at = |key: &str| format!("{at}.{key}");
        let (messages_max, bytes_max) = (1_000_000_000, Size::kib(1 << 30));
        found.range(at("messages_rate"), self.messages_rate, 0, messages_max);
        found.range(at("messages_burst"), self.messages_burst, 0, messages_max);
        found.range(at("bytes_rate"), self.bytes_rate, Size(0), bytes_max);
        found.range(at("bytes_burst"), self.bytes_burst, Size(0), bytes_max);
        found.range(at("qos0_age_max"), self.qos0_age_max, Span::secs(0), Span::secs(7 * 86_400));
        if self.messages_burst > 0 && self.messages_rate == 0 {
            found.add(at("messages_burst"), "is of no use without messages_rate");
        }
        if self.bytes_burst.0 > 0 && self.bytes_rate.0 == 0 {
            found.add(at("bytes_burst"), "is of no use without bytes_rate");
        }
    }
}

impl Log {
    /// What is wrong with `level`, if anything.
    ///
    /// A misspelt level would otherwise count as the name of a module and silence every log.
    pub fn level_problem(&self) -> Option<String> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        if self.level.trim().is_empty() {
            return Some("is empty; expected a level such as \"info\"".to_owned());
        }
        // Spans and fields may hold commas and equals signs: the log's own parser judges them.
        if self.level.contains(['[', '{']) {
            return None;
        }
        self.level.split(',').find_map(|directive| {
            let level = directive.rsplit('=').next().unwrap_or(directive).trim();
            let known = LEVELS.iter().any(|name| name.eq_ignore_ascii_case(level));
            (!known)
                .then(|| format!("unknown level {level:?}; expected one of {}", LEVELS.join(", ")))
        })
    }
}

/// Whether it is a Topic Filter, and not one of a Shared Subscription.
fn is_filter(text: &str) -> bool {
    let levels: Vec<&str> = text.split('/').collect();
    let sound = |(index, level): (usize, &&str)| match *level {
        "#" => index + 1 == levels.len(),
        "+" => true,
        level => !level.contains(['#', '+', '\0']),
    };
    let short = !text.is_empty() && text.len() <= usize::from(u16::MAX);
    short && levels[0] != "$share" && levels.iter().enumerate().all(sound)
}

/// The problems found so far.
#[derive(Default)]
struct Findings(Vec<Problem>);

impl Findings {
    fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { key: key.into(), message: message.into() });
    }

    fn range<T: PartialOrd + Display>(
        &mut self,
        key: impl Into<String>,
        value: T,
        least: T,
        most: T,
    ) {
        if value < least || value > most {
            self.add(key, format!("{value} is out of range: {least} to {most}"));
        }
    }

    fn at_most<T: PartialOrd + Display>(&mut self, key: &str, value: T, (other, most): (&str, T)) {
        if value > most {
            self.add(key, format!("{value} is more than {other}, which is {most}"));
        }
    }
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// Whether the system would refuse to open both.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip = one.ip() == other.ip()
        || one.is_ipv4() == other.is_ipv4()
            && (one.ip().is_unspecified() || other.ip().is_unspecified());
    one.port() != 0 && one.port() == other.port() && same_ip
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Listener};

    /// `edit` on top of the built-in configuration gives problems that begin so.
    fn check(toml: &str, wanted: &[&str]) {
        let config: Config = toml::from_str(toml).unwrap();
        let found: Vec<String> =
            config.check().err().unwrap_or_default().iter().map(Problem::to_string).collect();
        assert_eq!(found.len(), wanted.len(), "{toml}\n{found:#?}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(found.contains(wanted), "{toml}\n{found}\nis not\n{wanted}");
        }
    }

    /// The same with a harmless listener.
    fn check_with(toml: &str, wanted: &[&str]) {
        check(&format!("{toml}\n[[listener]]\naddress = \"127.0.0.1:1883\""), wanted);
    }

    #[test]
    fn the_built_in_configuration_is_sound() {
        assert_eq!(Config::development().check(), Ok(()));
    }

    #[test]
    fn values_out_of_range_are_named() {
        check_with("session.qos_max = 3", &["session.qos_max: 3 is out of range: 0 to 2"]);
        check_with(
            "session.inflight_max = 0",
            &["session.inflight_max: 0 is out of range: 1 to 65535"],
        );
        check_with("limits.client_id_bytes_max = 22", &["22 is out of range: 23 to 65535"]);
        check_with("limits.connect_timeout = \"0s\"", &["0s is out of range: 100ms to 1h"]);
        check_with("broker.sys_interval = \"10ms\"", &["10ms is out of range: 1s to 1d"]);
        check_with("broker.sys_interval = \"0s\"", &[]);
        check_with("broker.workers = 1025", &["broker.workers: 1025 is out of range: 0 to 1024"]);
    }

    #[test]
    fn keys_must_agree_with_each_other() {
        check_with(
            "limits.packet_bytes_max = \"32KiB\"",
            &[
                "limits.connect_bytes_max: 64KiB is more than limits.packet_bytes_max, which is 32KiB",
            ],
        );
        check_with(
            "limits.packet_bytes_max = \"8MiB\"",
            &["8MiB is more than queue.bytes_max, which is 4MiB"],
        );
        check_with(
            "totals.retained_bytes_max = \"1KiB\"",
            &["1MiB is more than totals.retained_bytes_max"],
        );
        check_with("totals.retained_bytes_max = \"1KiB\"\nsession.retain_available = false", &[]);
        check_with("totals.queued_bytes_max = \"1MiB\"", &["more than totals.queued_bytes_max"]);
        check_with(
            "store.unwritten_bytes_max = \"32MiB\"",
            &["store.unwritten_bytes_low: is not below store.unwritten_bytes_max"],
        );
        check_with(
            "store.pending_bytes_low = \"1GiB\"",
            &["store.pending_bytes_low: is not below store.pending_bytes_max"],
        );
    }

    #[test]
    fn classes_have_names_of_their_own_and_sound_rates() {
        let class = |keys: &str| format!("[[class]]\n{keys}\n");
        check_with(&class("name = \"a\"\nclient_id = \"a-*\""), &[]);
        check_with(&class(""), &["class.0.name: a class needs a name"]);
        let twice = class("name = \"a\"").repeat(2);
        check_with(&twice, &["class.1.name: \"a\" is the name of another class"]);
        check_with(
            &class("name = \"a\"\nqueue = { messages_max = 0, bytes_max = \"64KiB\" }"),
            &[
                "class.0.queue.messages_max: 0 is out of range",
                "1MiB is more than class.0.queue.bytes_max, which is 64KiB",
            ],
        );
        check_with("shaping.messages_burst = 5", &["is of no use without messages_rate"]);
        check_with(
            &class("name = \"a\"\nshaping = { bytes_rate = \"1KiB\", qos0_age_max = \"8d\" }"),
            &["class.0.shaping.qos0_age_max: 8d is out of range"],
        );
    }

    #[test]
    fn ingress_has_sound_rates_wherever_it_stands() {
        let wanted = "publishes_burst: is of no use without publishes_rate";
        let keys = "{ publishes_burst = 5, subscribes_rate = 1, action = \"reject\" }";
        check_with(&format!("limits.client = {keys}"), &[&format!("limits.client.{wanted}")]);
        let class = format!("[[class]]\nname = \"a\"\ningress = {keys}");
        check_with(&class, &[&format!("class.0.ingress.{wanted}")]);
        let listener = "[[listener]]\naddress = \"127.0.0.1:1\"";
        for key in ["ingress", "ingress_per_address"] {
            check(&format!("{listener}\n{key} = {keys}"), &[&format!("listener.0.{key}.{wanted}")]);
        }
        check_with(
            "broker.egress.bytes_burst = \"1KiB\"",
            &["broker.egress.bytes_burst: is of no use without bytes_rate"],
        );
        check_with("limits.connects_rate = 1_000_001", &["limits.connects_rate: 1000001 is out"]);
    }

    #[test]
    fn priorities_say_what_they_are_for() {
        let priority = |keys: &str| format!("[[priority]]\n{keys}\n");
        for good in ["a", "a/+/b", "#", "+", "$SYS/#", "/"] {
            check_with(&priority(&format!("filter = \"{good}\"\nband = 3")), &[]);
        }
        for bad in ["", "a/#/b", "a#", "a/b+", "$share/g/t"] {
            let text = priority(&format!("filter = \"{bad}\""));
            check_with(&text, &["is not a Topic Filter of its own"]);
        }
        check_with(&priority("band = 2"), &["priority.0.filter: a priority needs"]);
        check_with(&priority("property = \"a\""), &["priority.0.property: expected"]);
        check_with(&priority("property = \"a=b\"\nband = 4"), &["priority.0.band: 4 is out of"]);
        check_with("queue.lower_band_share = 26", &["lower_band_share: 26 is out of range"]);
    }

    #[test]
    fn topic_classes_have_usable_names_and_filters_of_their_own() {
        let class = |name: &str, filters: &str| {
            format!("[[topic_class]]\nname = \"{name}\"\nfilters = [{filters}]\n")
        };
        check_with(&(class("a", "'a/#', '+/b'") + &class("$b c", "'#', '$dead/#'")), &[]);
        let least = |count: usize| {
            (0..count).map(|n| class(&n.to_string(), &format!("'{n}'"))).collect::<String>()
        };
        check_with(&least(64), &[]);
        check_with(&least(65), &["topic_class: 65 of them are more than 64"]);
        check_with(
            "[[topic_class]]",
            &["topic_class.0.name: a topic class needs a name", "topic_class.0.filters: 0 filters"],
        );
        for bad in ["a/b", "+", "a#", "a\\u0001", &"x".repeat(65)] {
            let text = class(bad, "'a'");
            check_with(&text, &["topic_class.0.name: expected one level of a topic"]);
        }
        for own in ["other", "unread"] {
            check_with(&class(own, "'a'"), &["is the name of a class of its own"]);
        }
        let twice = class("a", "'a'") + &class("a", "'b'");
        check_with(&twice, &["topic_class.1.name: \"a\" is the name of another topic class"]);
        let twice = class("a", "'a', 'b'") + &class("b", "'a'");
        check_with(&twice, &["topic_class.1.filters.0: \"a\" counts where it stands first"]);
        for bad in ["", "a/#/b", "a#", "$share/g/t"] {
            let text = class("a", &format!("'ok', '{bad}'"));
            check_with(&text, &["filters.1: "]);
        }
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_module() {
        check_with(
            "log.level = \"inof\"",
            &["log.level: unknown level \"inof\"; expected one of off, error"],
        );
        check_with("log.level = \"info,sluicemq::net=debog\"", &["unknown level \"debog\""]);
        check_with("log.level = \"\"", &["log.level: is empty"]);
        check_with("log.level = \"WARN,sluicemq::net=trace\"", &[]);
    }

    #[test]
    fn listeners_need_an_address_of_their_own() {
        check("", &["listener: there is no [[listener]]"]);
        check("[[listener]]", &["expected an address and a port such as"]);
        check("[[listener]]\naddress = \"localhost:1883\"", &["found \"localhost:1883\""]);
        let two = |one: &str, other: &str| {
            format!(
                "[[listener]]\naddress = \"{one}\"\n[[listener]]\naddress = \"{other}\"\nallow_anonymous = true"
            )
        };
        check(&two("127.0.0.1:1", "127.0.0.1:1"), &["listener.1.address: 127.0.0.1:1 is taken"]);
        check(&two("127.0.0.1:1", "0.0.0.0:1"), &["listener.1.address: 0.0.0.0:1 is taken"]);
        check(&two("127.0.0.1:0", "127.0.0.1:0"), &[]);
        check(&two("127.0.0.1:1", "[::1]:1"), &[]);
    }

    #[test]
    fn an_open_door_to_a_network_must_be_said_in_words() {
        let open = "[[listener]]\naddress = \"0.0.0.0:1883\"\n";
        check(open, &["listener.0.allow_anonymous: 0.0.0.0:1883 is not a loopback address"]);
        check(&format!("{open}allow_anonymous = true"), &[]);
        check(&format!("{open}allow_anonymous = false"), &["nothing checks who comes in"]);
        check(&format!("auth.password_file = \"p\"\n{open}"), &[]);
        let tls = "[listener.tls]\ncertificate = \"c\"\nkey = \"k\"\nclient_ca = \"a\"\nclient_certificate";
        check(&format!("{open}{tls} = \"required\""), &[]);
        check(&format!("{open}{tls} = \"optional\""), &["anyone could come in"]);
    }

    #[test]
    fn anonymous_clients_come_in_only_where_nothing_else_is_said() {
        let mut config = Config { listener: vec![Listener::default()], ..Config::default() };
        assert!(config.listener[0].admits_anonymous(&config.auth));
        config.auth.password_file = Some("p".into());
        assert!(!config.listener[0].admits_anonymous(&config.auth));
        config.listener[0].allow_anonymous = Some(true);
        assert!(config.listener[0].admits_anonymous(&config.auth));
    }

    #[test]
    fn tls_needs_its_files_and_client_certificates_their_ca() {
        let tls =
            |keys: &str| format!("[[listener]]\naddress = \"127.0.0.1:1\"\n[listener.tls]\n{keys}");
        check(
            &tls(""),
            &["listener.0.tls.certificate: a file name", "listener.0.tls.key: a file name"],
        );
        let pair = "certificate = \"c\"\nkey = \"k\"\n";
        check(&tls(pair), &[]);
        check(&tls(&format!("{pair}client_certificate = \"required\"")), &["needs client_ca"]);
        check(&tls(&format!("{pair}client_ca = \"a\"")), &["listener.0.tls.client_ca: is set but"]);
        check(&tls(&format!("{pair}identity = \"cn\"")), &["listener.0.tls.identity: needs"]);
        check(
            &tls(&format!("{pair}client_crl = \"r\"")),
            &["listener.0.tls.client_crl: is set but"],
        );
    }
}
