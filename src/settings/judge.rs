//! Whether a value suits its key, and the words for what was expected.

use toml::Value;
use toml::de::DeValue;

use super::keys::{KeyKind, Keys, bare, plain};
use crate::config::Allowed;
use crate::nearest::nearest;

/// Names that other programs have for what a key is here.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("port", "address"),
    ("host", "address"),
    ("bind", "address"),
    ("listen", "address"),
    ("cert", "certificate"),
    ("certfile", "certificate"),
    ("keyfile", "key"),
    ("private_key", "key"),
    ("ca", "client_ca"),
    ("cafile", "client_ca"),
    ("anonymous", "allow_anonymous"),
    ("users", "password_file"),
    ("passwords", "password_file"),
    ("listeners", "listener"),
];

/// The key of `keys` that other programs call `name`.
pub fn elsewhere_called<'a>(name: &str, keys: &'a toml::Table) -> Option<&'a str> {
    let ours = OTHER_NAMES.iter().filter(|(other, _)| *other == name);
    ours.filter_map(|(_, ours)| keys.get_key_value(*ours)).map(|(key, _)| key.as_str()).next()
}

/// What is wrong with `value`, which is of the kind of the key at `path`, if anything. `None`: a number that no
/// number of ours can hold.
pub fn judge(keys: &Keys, path: &str, value: Option<Value>) -> Option<String> {
    let name = bare(path);
    let allowed = keys.allowed(&name);
    let Some(value) = value else {
        return Some(format!("the number is out of range{}", range_of(allowed)));
    };
    let is_number = |segment: &str| segment.bytes().all(|b| b.is_ascii_digit());
    let document = path.rsplit('.').fold(value.clone(), |inner, segment| {
        if is_number(segment) {
            return Value::Array(vec![inner]);
        }
        Value::Table(toml::Table::from_iter([(segment.to_owned(), inner)]))
    });
    let segments = path.split('.').map(|s| if is_number(s) { "0" } else { s });
    let first = segments.collect::<Vec<_>>().join(".");
    match keys.out_of_range(document) {
        Ok(found) => found.into_iter().find(|found| found.key == first).map(|p| p.message),
        Err(error) => Some(match (allowed, &value) {
            (Some(Allowed::Words(words)), Value::String(found)) => {
                let near = nearest(found, words.iter().map(String::as_str));
                let near = near.map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
                let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("expected one of {}, found \"{found}\"{near}", words.join(", "))
            }
            (Some(Allowed::Range(..)), Value::Integer(found)) => {
                format!("{found} is out of range{}", range_of(allowed))
            }
            _ => plain(error.message()),
        }),
    }
}

/// What else can be said to a value of the wrong kind: the right one, and its range.
pub fn hint(keys: &Keys, key: &str, wanted: KeyKind, found: &DeValue<'_>) -> String {
    let text = found.as_str().map(str::trim);
    let meant = match (wanted, text, found) {
        (KeyKind::Number, Some(text), _) => {
            text.parse::<i64>().ok().map(|number| number.to_string())
        }
        (KeyKind::Truth, Some("true" | "yes" | "on" | "1"), _) => Some("true".to_owned()),
        (KeyKind::Truth, Some("false" | "no" | "off" | "0"), _) => Some("false".to_owned()),
        (KeyKind::Truth, _, DeValue::Integer(number)) if number.as_str() == "1" => {
            Some("true".to_owned())
        }
        (KeyKind::Truth, _, DeValue::Integer(number)) if number.as_str() == "0" => {
            Some("false".to_owned())
        }
        (KeyKind::List, _, DeValue::Table(_)) if keys.is_list(key) => Some(format!("[[{key}]]")),
        (KeyKind::Section, _, DeValue::Array(_)) => Some(format!("[{key}]")),
        (KeyKind::List, Some(text), _) if !keys.is_list(key) => Some(format!("[\"{text}\"]")),
        _ => None,
    };
    match (meant, range_of(keys.allowed(key))) {
        (Some(meant), _) => format!("; write {meant}"),
        (None, range) if !range.is_empty() => format!("; range{range}"),
        _ => String::new(),
    }
}

/// `: 1 to 10, or 0`; empty if there is no range.
fn range_of(allowed: Option<&Allowed>) -> String {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match allowed {
        Some(Allowed::Range(least, most, other)) => {
            let or = other.as_ref().map_or(String::new(), |other| format!(", or {}", plain(other)));
            format!(": {} to {}{or}", plain(least), plain(most))
        }
        _ => String::new(),
    }
}

/// In the words of `toml::Value`; none if it is no single value, or a number that is too large.
pub fn plain_value(value: &DeValue<'_>) -> Option<Value> {
    match value {
        DeValue::String(text) => Some(Value::String(text.to_string())),
        DeValue::Boolean(truth) => Some(Value::Boolean(*truth)),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            i64::from_str_radix(&digits, number.radix()).ok().map(Value::Integer)
        }
        DeValue::Float(number) => number.as_str().replace('_', "").parse().ok().map(Value::Float),
        _ => None,
    }
}

/// What a value is, in words.
pub fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
