//! Values of an answer with their units, which the names of fields end in.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::visible::visible;

/// What a field is called in a table or a sheet.
pub fn label(field: &str) -> String {
    let cut = ["_seconds", "_total", "_base64"];
    let name = cut.iter().find_map(|end| field.strip_suffix(end)).unwrap_or(field);
    let name =
        field.strip_suffix("_per_second").map_or(name.to_owned(), |rate| format!("{rate} rate"));
    visible(&name).replace('_', " ")
}

/// The value of the field called `field`.
pub fn shown(field: &str, value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => match number.as_f64() {
            Some(number) => amount(field, number),
            None => number.to_string(),
        },
        Value::String(text) if field.ends_with("_base64") => payload(text),
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => visible(text),
        Value::Array(list) if list.is_empty() => "-".to_owned(),
        Value::Array(list) if list.iter().any(Value::is_object) => list.len().to_string(),
        Value::Array(list) => {
            list.iter().map(|one| shown(field, one)).collect::<Vec<_>>().join(", ")
        }
        Value::Object(fields) if fields.is_empty() => "-".to_owned(),
        Value::Object(fields) => {
            let each =
                fields.iter().map(|(name, one)| format!("{} {}", label(name), shown(name, one)));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// Whether a value is a number, also where it is shown with a unit.
pub fn is_number(value: &Value) -> bool {
    value.is_number()
}

/// A number with the unit that its field's name ends in.
fn amount(field: &str, number: f64) -> String {
    if field.ends_with("_bytes_per_second") {
        format!("{}/s", bytes(number))
    } else if field.ends_with("_per_second") {
        format!("{}/s", plain(number))
    } else if field.ends_with("_bytes") || field == "bytes" {
        bytes(number)
    } else if field.ends_with("_seconds") {
        span(number)
    } else {
        plain(number)
    }
}

/// Three digits after the point at most.
fn plain(number: f64) -> String {
    let text = format!("{number:.3}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// An amount of bytes.
pub fn bytes(number: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut number = number;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < units.len() {
        number /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && number < 100.0);
    format!("{number:.digits$} {}", units[unit])
}

/// A span of time, in its two largest units.
pub fn span(seconds: f64) -> String {
    if seconds < 0.001 && seconds > 0.0 {
        return format!("{} µs", plain((seconds * 1e6).round()));
    }
    if seconds < 1.0 && seconds > 0.0 {
        return format!("{} ms", plain((seconds * 1e4).round() / 10.0));
    }
    if seconds < 60.0 {
        return format!("{} s", plain((seconds * 10.0).round() / 10.0));
    }
    let units = [(86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s")];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let (size, unit) = units[first];
    let whole = (seconds / size).floor();
    match units.get(first + 1) {
        Some((next, smaller)) if ((seconds - whole * size) / next).floor() > 0.0 => {
            format!("{whole} {unit} {} {smaller}", ((seconds - whole * size) / next).floor())
        }
        _ => format!("{whole} {unit}"),
    }
}

/// A payload, as text if it is text.
fn payload(base64: &str) -> String {
    let decoded = BASE64_STANDARD.decode(base64).ok();
    match decoded.and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(text) if text.is_empty() => "\"\"".to_owned(),
        Some(text) => visible(&text),
        None => format!("base64:{}", visible(base64)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_has_the_unit_of_its_field() {
        for (field, value, wanted) in [
            ("queue_messages", json!(12), "12"),
            ("queue_bytes", json!(0), "0 B"),
            ("queue_bytes", json!(1023), "1023 B"),
            ("queue_bytes", json!(1536), "1.5 KiB"),
            ("queue_bytes", json!(734_003_200), "700 MiB"),
            ("uptime_seconds", json!(0), "0 s"),
            ("commit_p50_seconds", json!(0.000_25), "250 µs"),
            ("commit_p50_seconds", json!(0.0123), "12.3 ms"),
            ("uptime_seconds", json!(59.96), "60 s"),
            ("uptime_seconds", json!(3661.5), "1 h 1 min"),
            ("uptime_seconds", json!(172_800), "2 d"),
            ("received_per_second", json!(1234.5678), "1234.568/s"),
            ("received_bytes_per_second", json!(2048), "2.0 KiB/s"),
            ("level", json!(100), "100"),
            ("connected", json!(true), "yes"),
            ("user", json!(null), "-"),
            ("user", json!(""), "\"\""),
            ("members", json!(["a", "b\u{1b}"]), "a, b\\u{1b}"),
            ("payload_base64", json!("aGk="), "hi"),
            ("payload_base64", json!("/w=="), "base64:/w=="),
            ("window", json!({ "used": 1, "size": 20 }), "size 20, used 1"),
        ] {
            assert_eq!(shown(field, &value), wanted, "{field}");
        }
    }

    #[test]
    fn a_label_is_the_name_in_words() {
        for (field, wanted) in [
            ("queue_bytes", "queue bytes"),
            ("uptime_seconds", "uptime"),
            ("received_messages_total", "received messages"),
            ("received_per_second", "received rate"),
            ("payload_base64", "payload"),
        ] {
            assert_eq!(label(field), wanted);
        }
    }
}
