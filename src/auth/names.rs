//! Names in JSON that someone else has written of a client.

use serde_json::Value;

use crate::message::is_unseen;

/// Groups and other claims that are taken of one client.
pub(super) const VALUES_MAX: usize = 64;

/// A text that can stand in a log, and be told from another one.
pub(super) fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= 65_535 && !text.chars().any(is_unseen)
}

/// Groups: a text, or a list of texts. What is no name is left out.
pub(super) fn groups(value: Option<&Value>) -> Vec<Box<str>> {
    let groups = match value {
        Some(Value::String(group)) => vec![group.as_str()],
        Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    groups.into_iter().filter(|group| is_name(group)).take(VALUES_MAX).map(Into::into).collect()
}

/// A claim as a text, if it is one, a number or a truth.
pub(super) fn text_of(value: &Value) -> Option<Box<str>> {
    let text = match value {
        Value::String(text) if is_name(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(is) => is.to_string(),
        _ => return None,
    };
    Some(text.into())
}
