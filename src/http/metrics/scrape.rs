//! What is looked at for a scrape: the table of metrics, and what is not in it, for it is no part of `$SYS`.

use std::collections::HashMap;

use super::families::{Family, FamilyKind, SampleValue, family_of};
use crate::broker::Broker;
use crate::broker::metrics::{self, Metric, MetricValue, Timing};
use crate::broker::overload::Cause;
use crate::config::Totals;
use crate::time::Time;

/// Every family there is, without samples: the rows of `docs/metrics.md`.
pub fn catalogue() -> Vec<Family> {
    let rows = metrics::all().filter_map(|metric| family_of(metric).ok());
    let own = [build(), cause()].into_iter().chain(listeners()).chain(queues());
    let own = own.chain(LIMITS.iter().map(limit));
    own.chain(Timing::ALL.map(timing)).chain(rows).collect()
}

/// Every family, with its samples.
pub(super) fn look(broker: &Broker, clients: &[String], now: Time) -> Vec<Family> {
    let (mut build, mut cause) = (build(), cause());
    let (mut version, mut built) = (String::new(), String::new());
    let mut families: Vec<Family> = Vec::new();
    let mut places = HashMap::new();
    let mut note = |metric: &'static Metric, labels: &[&str], value: MetricValue<'_>| {
        match (metric.name(), value) {
            ("version", MetricValue::Text(text)) => version = text.to_owned(),
            ("timestamp", MetricValue::Text(text)) => built = text.to_owned(),
            ("overload_cause", MetricValue::Text(text)) => add_causes(&mut cause, Some(text)),
            ("overload_cause", _) => add_causes(&mut cause, None),
            _ => {}
        }
        let place = places.entry(metric.name()).or_insert_with(|| {
            let family = family_of(metric).ok()?;
            families.push(family);
            Some(families.len() - 1)
        });
        if let Some(place) = *place {
            families[place].add_value(labels, value);
        }
    };
    broker.visit_metrics(now, &mut note);
    broker.visit_clients_named(clients, &mut note);
    let version = version.strip_prefix("sluice version ").unwrap_or(&version);
    build.add(&[version, &built], SampleValue::Whole(1));
    families.extend([build, cause]);
    families.extend(look_at_listeners(broker));
    families.extend(look_at_queues(broker));
    families.extend(look_at_limits(broker));
    families.extend(look_at_timings(broker));
    families
}

fn build() -> Family {
    let help = "The running program: its version, and when it was built, if that is known.";
    Family::new("build", (FamilyKind::Info, ""), &["version", "built"], help)
}

fn cause() -> Family {
    let help = "1 for the cause that the level of overload is due to, 0 for the others.";
    Family::new("overload_cause", (FamilyKind::Gauge, ""), &["cause"], help)
}

fn add_causes(family: &mut Family, found: Option<&str>) {
    for cause in Cause::ALL {
        let is_it = u64::from(found == Some(cause.name()));
        family.add(&[cause.name()], SampleValue::Whole(is_it));
    }
}

fn listeners() -> [Family; 4] {
    let family = |name: &'static str, kind, labels: &[&'static str], help| {
        Family::new(name, kind, labels, help)
    };
    let counter = (FamilyKind::Counter, "");
    let expiry = (FamilyKind::Gauge, "seconds");
    [
        family(
            "listener_connections_opened",
            counter,
            &["listener"],
            "Connections that were accepted, those that were refused among them.",
        ),
        family(
            "listener_connections",
            (FamilyKind::Gauge, ""),
            &["listener"],
            "Connections that are open.",
        ),
        family(
            "listener_tls_handshakes",
            counter,
            &["listener", "result"],
            "TLS handshakes that were made (ok), or failed.",
        ),
        family(
            "listener_certificate_expiry_timestamp",
            expiry,
            &["listener"],
            "When the certificate of the listener ends.",
        ),
    ]
}

fn look_at_listeners(broker: &Broker) -> [Family; 4] {
    let mut families = listeners();
    let [opened, connections, handshakes, expiry] = &mut families;
    for view in broker.listeners() {
        let name = view.name.as_str();
        opened.add(&[name], SampleValue::Whole(view.opened));
        connections.add(&[name], SampleValue::Whole(view.connections));
        if let Some(ends) = view.certificate_ends {
            let [failed, made] = view.handshakes;
            handshakes.add(&[name, "ok"], SampleValue::Whole(made));
            handshakes.add(&[name, "failed"], SampleValue::Whole(failed));
            expiry.add(&[name], SampleValue::Whole(ends));
        }
    }
    families
}

/// Named queues that have series of their own, the first by name.
const QUEUES_MAX: usize = 1000;

fn queues() -> [Family; 5] {
    let family =
        |name: &'static str, (kind, unit), help| Family::new(name, (kind, unit), &["queue"], help);
    let gauge = (FamilyKind::Gauge, "");
    [
        family("named_queue_messages", gauge, "Messages that wait in the named queue."),
        family("named_queue", (FamilyKind::Gauge, "bytes"), "Their bytes."),
        family(
            "named_queue_inflight_messages",
            gauge,
            "Messages that consumers have not acknowledged.",
        ),
        family("named_queue_consumers", gauge, "Consumers that are connected."),
        family(
            "named_queue_lost",
            (FamilyKind::Counter, ""),
            "Messages lost, for all reasons of the ledger.",
        ),
    ]
}

fn look_at_queues(broker: &Broker) -> [Family; 5] {
    let mut families = queues();
    for view in broker.queues(None, QUEUES_MAX) {
        let group = view.group();
        let (messages, bytes) = group.depth();
        let inflight = group.account().in_flight();
        let values = [messages as u64, bytes, inflight, group.connected().into(), group.lost()];
        for (family, value) in families.iter_mut().zip(values) {
            family.add(&[view.name()], SampleValue::Whole(value));
        }
    }
    families
}

/// Totals of the configuration: name, unit, its value, and what it limits.
type Limit = (&'static str, &'static str, fn(&Totals) -> u64, &'static str);

const LIMITS: [Limit; 8] = [
    ("sessions_limit", "", |totals| totals.sessions_max.into(), "totals.sessions_max."),
    ("subscriptions_limit", "", |t| t.subscriptions_max.into(), "totals.subscriptions_max."),
    ("groups_limit", "", |totals| totals.groups_max.into(), "totals.groups_max."),
    ("retained_messages_limit", "", |t| t.retained_max.into(), "totals.retained_max."),
    ("retained_limit", "bytes", |t| t.retained_bytes_max.0, "totals.retained_bytes_max."),
    ("messages_limit", "bytes", |t| t.queued_bytes_max.0, "totals.queued_bytes_max."),
    ("connection_limit", "bytes", |t| t.connection_bytes_max.0, "totals.connection_bytes_max."),
    ("will_limit", "bytes", |totals| totals.will_bytes_max.0, "totals.will_bytes_max."),
];

fn limit((name, unit, _, help): &Limit) -> Family {
    Family::new(*name, (FamilyKind::Gauge, unit), &[], help)
}

fn look_at_limits(broker: &Broker) -> impl Iterator<Item = Family> {
    LIMITS.iter().map(|row| {
        let mut family = limit(row);
        family.add(&[], SampleValue::Whole(row.2(broker.totals())));
        family
    })
}

fn timing(timing: Timing) -> Family {
    Family::new(timing.name(), (FamilyKind::Histogram, "seconds"), &[], timing.help())
}

fn look_at_timings(broker: &Broker) -> impl Iterator<Item = Family> {
    Timing::ALL.into_iter().map(|what| {
        let mut family = timing(what);
        if let Some(spans) = broker.timing(what) {
            family.add(&[], SampleValue::Spans(spans));
        }
        family
    })
}
