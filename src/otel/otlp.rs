//! Spans as OTLP has them, in JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::spans::{AttributeValue, OtelSpan};

/// The body of a request with these spans.
pub fn request(spans: &[OtelSpan]) -> Vec<u8> {
    let resource = [("service.name", "sluice"), ("service.version", env!("CARGO_PKG_VERSION"))];
    let resource =
        resource.map(|(key, value)| json!({"key": key, "value": {"stringValue": value}}));
    let spans: Vec<Value> = spans.iter().map(json_of).collect();
    let scope = json!({"name": "sluice", "version": env!("CARGO_PKG_VERSION")});
    let body = json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": scope, "spans": spans}],
    }]});
    body.to_string().into_bytes()
}

fn json_of(span: &OtelSpan) -> Value {
    let attribute = |(key, value): &(&str, AttributeValue)| {
        let value = match value {
            AttributeValue::Text(text) => json!({"stringValue": text}),
            // Numbers of 64 bits are texts.
            AttributeValue::Number(number) => json!({"intValue": number.to_string()}),
            AttributeValue::Flag(flag) => json!({"boolValue": flag}),
        };
        json!({"key": key, "value": value})
    };
    let attributes: Vec<Value> = span.attributes.iter().map(attribute).collect();
    let mut json = json!({
        "traceId": hex(&span.trace_id),
        "spanId": hex(&span.span_id),
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": span.start.as_nanos().to_string(),
        "endTimeUnixNano": span.end.as_nanos().to_string(),
        "attributes": attributes,
    });
    if let Some(parent) = &span.parent {
        json["parentSpanId"] = hex(parent).into();
    }
    if let Some(error) = &span.error {
        json["status"] = json!({"code": 2, "message": error});
    }
    json
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
