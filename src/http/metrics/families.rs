//! The families: each row of the table of metrics is one, but for those that [`LEFT_OUT`] names.

use std::borrow::Cow;

use crate::broker::metrics::{Metric, MetricKind, MetricUnit, MetricValue, Spans};

/// What exporters call a family: samples of one name and meaning that labels tell apart.
#[derive(Clone, Debug)]
pub struct Family {
    /// Without the prefix, the unit and the endings of its kind.
    pub(super) name: Cow<'static, str>,
    pub(super) kind: FamilyKind,
    /// A base unit; empty where things are counted.
    pub(super) unit: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: Vec<&'static str>,
    /// What a value is multiplied by to be in this unit.
    scale: f64,
    pub(super) samples: Vec<FamilySample>,
}

/// The kinds of families.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FamilyKind {
    /// It only rises, from 0 at the start.
    Counter,
    /// It rises and falls.
    Gauge,
    /// Spans of time, in buckets.
    Histogram,
    /// Words, as labels of a 1.
    Info,
}

/// One sample of a family.
#[derive(Clone, Debug)]
pub(super) struct FamilySample {
    pub labels: Vec<(&'static str, String)>,
    pub value: SampleValue,
}

#[derive(Clone, Debug)]
pub(super) enum SampleValue {
    Whole(u64),
    Real(f64),
    Spans(Spans),
}

/// Rows of the table of metrics that are not exported by themselves, and what says the same.
pub const LEFT_OUT: &[(&str, &str)] = &[
    ("version", "label `version` of `sluice_build_info`"),
    ("timestamp", "label `built` of `sluice_build_info`"),
    ("clients_active", "`sluice_clients_connected`"),
    ("clients_inactive", "`sluice_clients_disconnected`"),
    ("messages_received", "`sluice_packets_received_total`"),
    ("messages_sent", "`sluice_packets_written_total`"),
    ("messages_kept", "`sluice_messages_held`"),
    ("publish_dropped", "`sluice_copies_lost_total` of these reasons"),
    ("messages_inflight", "nothing: it is counted while a client subscribes to it in `$SYS`"),
    ("heap", "`sluice_overload_memory_bytes`"),
    ("heap_max", "`max_over_time(sluice_overload_memory_bytes[1d])`"),
    ("store_resident", "`sluice_overload_memory_bytes`"),
    ("load_messages_received", "`rate(sluice_packets_received_total[5m])`"),
    ("load_messages_sent", "`rate(sluice_packets_written_total[5m])`"),
    ("load_publish_dropped", "`rate(sluice_copies_lost_total[5m])`"),
    ("load_publish_received", "`rate(sluice_publish_received_total[5m])`"),
    ("load_publish_sent", "`rate(sluice_publish_sent_total[5m])`"),
    ("load_bytes_received", "`rate(sluice_received_bytes_total[5m])`"),
    ("load_bytes_sent", "`rate(sluice_sent_bytes_total[5m])`"),
    ("load_sockets", "`rate(sluice_connections_opened_total[5m])`"),
    (
        "load_connections",
        "`rate(sluice_connects_accepted_total[5m]) + rate(sluice_connects_refused_total[5m])`",
    ),
    (
        "packets_per_write",
        "`rate(sluice_packets_written_total[5m]) / rate(sluice_writes_total[5m])`",
    ),
    (
        "messages_per_flush",
        "`rate(sluice_messages_stored_total[5m]) / rate(sluice_store_commits_total[5m])`",
    ),
    ("overload_cause", "`sluice_overload_cause`, a family with a label"),
    ("store_commit_p50", "`sluice_store_commit_seconds`"),
    ("store_commit_p99", "`sluice_store_commit_seconds`"),
    ("store_commit_max", "`sluice_store_commit_seconds`"),
    ("store_flush_p50", "`sluice_store_flush_seconds`"),
    ("store_flush_p99", "`sluice_store_flush_seconds`"),
    ("store_flush_max", "`sluice_store_flush_seconds`"),
    ("client_class", "`GET /api/v1/clients/{client_id}`: a word"),
];

impl Family {
    pub(super) fn new(
        name: impl Into<Cow<'static, str>>,
        (kind, unit): (FamilyKind, &'static str),
        labels: &[&'static str],
        help: &'static str,
    ) -> Family {
        let (name, labels, samples) = (name.into(), labels.to_vec(), Vec::new());
        Family { name, kind, unit, help, labels, scale: 1.0, samples }
    }

    /// Its name in queries. Of a histogram it has `_bucket`, `_sum` and `_count` behind it there.
    pub fn name(&self) -> String {
        let unit = if self.unit.is_empty() { "" } else { "_" };
        let ending = match self.kind {
            FamilyKind::Counter => "_total",
            FamilyKind::Info => "_info",
            FamilyKind::Gauge | FamilyKind::Histogram => "",
        };
        format!("sluice_{}{unit}{}{ending}", self.name, self.unit)
    }

    /// Its kind.
    pub fn kind(&self) -> FamilyKind {
        self.kind
    }

    /// What it is measured in, a base unit; empty where things are counted.
    pub fn unit(&self) -> &'static str {
        self.unit
    }

    /// What it means, in a sentence.
    pub fn help(&self) -> &'static str {
        self.help
    }

    /// The names of its labels.
    pub fn labels(&self) -> &[&'static str] {
        &self.labels
    }

    /// Adds a sample, with the values of its labels in order.
    pub(super) fn add(&mut self, labels: &[&str], value: SampleValue) {
        let names = self.labels.iter().copied();
        let labels = names.zip(labels.iter().map(|value| (*value).to_owned())).collect();
        self.samples.push(FamilySample { labels, value });
    }

    /// The same with a value of the table of metrics; none of those that are no numbers.
    pub(super) fn add_value(&mut self, labels: &[&str], value: MetricValue<'_>) {
        let value = match value {
            MetricValue::Number(number) if self.scale == 1.0 => SampleValue::Whole(number),
            MetricValue::Number(number) => SampleValue::Real(number as f64 * self.scale),
            MetricValue::Ratio(ratio) => SampleValue::Real(ratio),
            MetricValue::Text(_) | MetricValue::None => return,
        };
        self.add(labels, value);
    }
}

impl FamilyKind {
    /// Its name in OpenMetrics.
    pub const fn name(self) -> &'static str {
        match self {
            FamilyKind::Counter => "counter",
            FamilyKind::Gauge => "gauge",
            FamilyKind::Histogram => "histogram",
            FamilyKind::Info => "info",
        }
    }
}

/// How a row of the table of metrics is exported.
///
/// # Errors
///
/// It is not; this says the same.
pub fn family_of(metric: &'static Metric) -> Result<Family, &'static str> {
    if let Some((_, instead)) = LEFT_OUT.iter().find(|(name, _)| *name == metric.name()) {
        return Err(instead);
    }
    let (unit, scale) = match metric.unit() {
        MetricUnit::Bytes => ("bytes", 1.0),
        MetricUnit::BytesPerSecond => ("bytes_per_second", 1.0),
        MetricUnit::Seconds => ("seconds", 1.0),
        MetricUnit::Millis => ("seconds", 1e-3),
        MetricUnit::Micros => ("seconds", 1e-6),
        MetricUnit::Count
        | MetricUnit::Ratio
        | MetricUnit::PerMinute
        | MetricUnit::BytesPerMinute
        | MetricUnit::Flag
        | MetricUnit::Various => ("", 1.0),
    };
    let kind = match metric.kind() {
        MetricKind::Counter => FamilyKind::Counter,
        MetricKind::Gauge | MetricKind::Text => FamilyKind::Gauge,
    };
    // Some names say their unit, to differ from others.
    let name = metric.name();
    let name = name.strip_suffix(unit).and_then(|name| name.strip_suffix('_')).unwrap_or(name);
    let labels: Vec<_> = metric.labels().collect();
    Ok(Family { scale, ..Family::new(name, (kind, unit), &labels, metric.help()) })
}
