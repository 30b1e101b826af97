//! Spans for OpenTelemetry: what becomes of the stages of sampled messages, and how a collector is told.

mod otlp;
mod spans;

pub use otlp::request;
pub use spans::{AttributeValue, OtelSpan, SpanKind, SpanMaker};
