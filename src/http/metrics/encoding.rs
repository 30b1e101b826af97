//! Families as text: OpenMetrics 1.0.0, or the format of Prometheus that came before it.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use super::families::{Family, FamilyKind, SampleValue};
use crate::broker::metrics::Spans;

/// A format of `/metrics`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricsFormat {
    /// OpenMetrics 1.0.0, for those that ask for it, as Prometheus does.
    OpenMetrics,
    /// The text format of Prometheus, 0.0.4: for all others.
    Text,
}

impl MetricsFormat {
    /// The one that `accept` asks for, the header `Accept` of a request.
    pub fn of(accept: &str) -> MetricsFormat {
        match accept.contains("application/openmetrics-text") {
            true => MetricsFormat::OpenMetrics,
            false => MetricsFormat::Text,
        }
    }

    /// What it is called in the header `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            MetricsFormat::OpenMetrics => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8"
            }
            MetricsFormat::Text => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// The upper ends of buckets, in microseconds: ends of classes of a histogram.
const BOUNDS: [u64; 17] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// The families as text.
pub(super) fn encode(families: Vec<Family>, format: MetricsFormat) -> String {
    let mut registry = Registry::with_prefix("sluice");
    registry.register_collector(Box::new(Scrape(families)));
    let mut out = String::new();
    let encoded = match format {
        MetricsFormat::OpenMetrics => text::encode(&mut out, &registry),
        MetricsFormat::Text => prometheus_text::encode(&mut out, &registry),
    };
    encoded.expect("a String takes all that is written to it");
    out
}

#[derive(Debug)]
struct Scrape(Vec<Family>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|family| encode_family(family, &mut encoder))
    }
}

fn encode_family(family: &Family, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let unit = match family.unit {
        "" => None,
        "bytes" => Some(Unit::Bytes),
        "seconds" => Some(Unit::Seconds),
        other => Some(Unit::Other(other.to_owned())),
    };
    let kind = match family.kind {
        FamilyKind::Counter => MetricType::Counter,
        FamilyKind::Gauge => MetricType::Gauge,
        FamilyKind::Histogram => MetricType::Histogram,
        FamilyKind::Info => MetricType::Info,
    };
    let mut encoder = encoder.encode_descriptor(&family.name, family.help, unit.as_ref(), kind)?;
    for sample in &family.samples {
        if family.kind == FamilyKind::Info {
            encoder.encode_info(&sample.labels)?;
        } else {
            let mut encoder = encoder.encode_family(&sample.labels)?;
            encode_value(&sample.value, family.kind, &mut encoder)?;
        }
    }
    Ok(())
}

fn encode_value(
    value: &SampleValue,
    kind: FamilyKind,
    encoder: &mut MetricEncoder<'_>,
) -> fmt::Result {
    const NONE: Option<&Exemplar<NoLabelSet, f64>> = None;
    match (value, kind) {
        (SampleValue::Whole(number), FamilyKind::Counter) => encoder.encode_counter(number, NONE),
        (SampleValue::Real(number), FamilyKind::Counter) => encoder.encode_counter(number, NONE),
        (SampleValue::Whole(number), _) => encoder.encode_gauge(number),
        (SampleValue::Real(number), _) => encoder.encode_gauge(number),
        (SampleValue::Spans(spans), _) => {
            let (sum, buckets) = (spans.sum().as_secs_f64(), buckets_of(spans));
            encoder.encode_histogram::<NoLabelSet>(sum, spans.count(), &buckets, None)
        }
    }
}

/// How many there are in each bucket.
fn buckets_of(spans: &Spans) -> Vec<(f64, u64)> {
    let bounds = BOUNDS.map(Duration::from_micros);
    let up_to = bounds.map(|bound| (bound.as_secs_f64(), spans.up_to(bound)));
    let all = up_to.into_iter().chain([(f64::INFINITY, spans.count())]);
    let mut before = 0;
    all.map(|(bound, count)| (bound, count - std::mem::replace(&mut before, count))).collect()
}
