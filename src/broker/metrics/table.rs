//! A row for each figure that the broker shows: its name, kind, unit, topic and meaning.
//!
//! Rows are written with three macros, beside what they describe: `counters!` makes [`Counter`],
//! `figures!` makes a struct of figures such as [`StoreFigures`], `metrics!` makes constants for
//! what is looked up when it is asked for. So nothing is counted that has no row.
//!
//! [`Counter`]: super::Counter
//! [`StoreFigures`]: crate::broker::ports::StoreFigures

use std::fmt;

/// One figure that the broker shows, or a family of them that labels tell apart.
///
/// `docs/sys-topics.md` lists all of them. [`Broker::visit_metrics`] gives their values.
///
/// [`Broker::visit_metrics`]: crate::broker::Broker::visit_metrics
#[derive(Debug)]
pub struct Metric {
    name: &'static str,
    kind: MetricKind,
    unit: MetricUnit,
    topic: &'static str,
    help: &'static str,
}

/// How a figure changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricKind {
    /// It only rises, from 0 at the start.
    Counter,
    /// It rises and falls.
    Gauge,
    /// It is a word.
    Text,
}

/// What a figure is measured in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricUnit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    BytesPerSecond,
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// One figure divided by another.
    Ratio,
    /// Things a minute.
    PerMinute,
    /// Bytes a minute.
    BytesPerMinute,
    /// 1 if it is so, else 0.
    Flag,
    /// What its label says.
    Various,
}

/// The value of a figure at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricValue<'a> {
    /// A number, in the metric's unit.
    Number(u64),
    /// A quotient.
    Ratio(f64),
    /// A word.
    Text(&'a str),
    /// There is none: no limit is in force, nothing is the cause.
    None,
}

impl Metric {
    /// A row of the table. `topic` is below `$SYS/broker/`; a level in angle brackets is a label.
    pub(in crate::broker) const fn new(
        name: &'static str,
        kind: MetricKind,
        unit: MetricUnit,
        topic: &'static str,
        help: &'static str,
    ) -> Metric {
        Metric { name, kind, unit, topic, help }
    }

    /// Its name: lower case and underscores, without a prefix and without its unit. No other metric
    /// has it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How it changes.
    pub fn kind(&self) -> MetricKind {
        self.kind
    }

    /// What it is measured in.
    pub fn unit(&self) -> MetricUnit {
        self.unit
    }

    /// Its topic below `$SYS/broker/`; a level in angle brackets stands for the value of a label.
    pub fn topic(&self) -> &'static str {
        self.topic
    }

    /// What it means, in a sentence.
    pub fn help(&self) -> &'static str {
        self.help
    }

    /// The names of its labels, in the order of their levels in the topic. Most metrics have none.
    pub fn labels(&self) -> impl Iterator<Item = &'static str> {
        let levels = self.topic.split('/');
        levels.filter_map(|level| level.strip_prefix('<')?.strip_suffix('>'))
    }

    /// Its topic with the values of its labels, in order.
    pub(in crate::broker) fn topic_of(&self, labels: &[&str]) -> String {
        let mut topic = String::from("$SYS/broker/");
        if labels.is_empty() {
            topic.push_str(self.topic);
            return topic;
        }
        let mut labels = labels.iter();
        for (index, level) in self.topic.split('/').enumerate() {
            if index > 0 {
                topic.push('/');
            }
            let label = if level.starts_with('<') { labels.next() } else { None };
            topic.push_str(label.copied().unwrap_or(level));
        }
        topic
    }

    /// A value of it as `$SYS` says it.
    pub(in crate::broker) fn text_of(&self, value: MetricValue<'_>) -> String {
        match (value, self.unit) {
            // mosquitto writes it so.
            (MetricValue::Number(seconds), MetricUnit::Seconds) => format!("{seconds} seconds"),
            _ => value.to_string(),
        }
    }
}

impl fmt::Display for MetricValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetricValue::Number(number) => number.fmt(f),
            MetricValue::Ratio(ratio) => write!(f, "{ratio:.2}"),
            MetricValue::Text(text) => f.write_str(text),
            MetricValue::None => f.write_str("none"),
        }
    }
}

impl MetricKind {
    /// Its name in documents and for exporters.
    pub const fn name(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Text => "text",
        }
    }
}

impl MetricUnit {
    /// Its name in documents and for exporters; empty where things are counted.
    pub const fn name(self) -> &'static str {
        match self {
            MetricUnit::Count | MetricUnit::Various => "",
            MetricUnit::Bytes => "bytes",
            MetricUnit::BytesPerSecond => "bytes/s",
            MetricUnit::Micros => "µs",
            MetricUnit::Millis => "ms",
            MetricUnit::Seconds => "s",
            MetricUnit::Ratio => "ratio",
            MetricUnit::PerMinute => "1/min",
            MetricUnit::BytesPerMinute => "bytes/min",
            MetricUnit::Flag => "0 or 1",
        }
    }
}

/// Makes the counters of a broker and their rows: variant, name, unit, topic, meaning.
macro_rules! counters {
    ($($variant:ident $name:literal $unit:ident $topic:literal $help:literal;)*) => {
        /// What is counted. PUBLISH packets are those on the wire, clients' and ours.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[repr(usize)]
        pub enum Counter {
            $(#[doc = $help] $variant,)*
        }

        static ROWS: [Metric; Counter::ALL.len()] =
            [$(Metric::new($name, MetricKind::Counter, MetricUnit::$unit, $topic, $help)),*];

        impl Counter {
            /// Every counter, in the order of its number.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant),*];

            /// Its row in the table of metrics.
            pub fn metric(self) -> &'static Metric {
                &ROWS[self as usize]
            }
        }
    };
}

/// Makes a struct of figures and their rows: field, kind, unit, topic, meaning. A figure has the
/// name of its field behind `prefix`.
macro_rules! figures {
    (
        $(#[$attribute:meta])* $name:ident $prefix:literal
        $($field:ident $kind:ident $unit:ident $topic:literal $help:literal;)*
    ) => {
        $(#[$attribute])*
        pub struct $name {
            $(#[doc = $help] pub $field: u64,)*
        }

        impl $name {
            /// The rows of the table of metrics, in the order of the fields.
            pub fn metrics() -> &'static [$crate::broker::metrics::Metric] {
                use $crate::broker::metrics::{MetricKind, Metric, MetricUnit};
                static ROWS: &[Metric] = &[$(Metric::new(
                    concat!($prefix, stringify!($field)),
                    MetricKind::$kind,
                    MetricUnit::$unit,
                    $topic,
                    $help,
                )),*];
                ROWS
            }

            /// The values, in the order of the rows.
            pub fn values(&self) -> impl Iterator<Item = u64> {
                [$(self.$field),*].into_iter()
            }
        }
    };
}

/// Makes rows for what is looked up when it is asked for: constant, name, kind, unit, topic,
/// meaning.
macro_rules! metrics {
    ($($row:ident $name:literal $kind:ident $unit:ident $topic:literal $help:literal;)*) => {
        $(static $row: Metric = Metric::new($name, MetricKind::$kind, MetricUnit::$unit, $topic, $help);)*

        static ROWS: &[&Metric] = &[$(&$row),*];
    };
}

pub(in crate::broker) use {counters, figures, metrics};
