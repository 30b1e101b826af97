//! Lists, which the broker answers in pages.

use serde_json::Value;

use super::api::{Api, ApiPath};
use super::failure::CtlFailure;
use super::output::CtlOutput;
use super::table::table;

/// The most that the broker puts in one page.
const PAGE_MAX: usize = 1000;

/// Asks for the list at `path` until it has `max` items or all. The answer is that of one page, with all items in it.
///
/// # Errors
///
/// The broker refuses, or is not reached.
pub fn list(api: &Api, path: &ApiPath, max: usize) -> Result<Value, CtlFailure> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let limit = (max - items.len()).min(PAGE_MAX);
        let page = path.clone().with("limit", limit).with_some("cursor", cursor.as_deref());
        let mut answer = api.get(&page)?;
        if let Some(Value::Array(more)) = answer.get_mut("items").map(Value::take) {
            items.extend(more);
        }
        cursor = answer["next"].as_str().map(str::to_owned);
        if items.len() >= max || cursor.is_none() {
            answer["items"] = Value::Array(items);
            return Ok(answer);
        }
    }
}

/// The items of a list as a table of these fields, or `none`; below it whether there are more.
pub fn show(out: CtlOutput, answer: &Value, fields: &[&str], none: &str) {
    out.show(answer, |answer| {
        let items = answer["items"].as_array().map_or(&[][..], Vec::as_slice);
        if items.is_empty() {
            return format!("{none}\n");
        }
        // What no item has is no column.
        let has = |field: &&&str| items.iter().any(|item| item.get(**field).is_some());
        let mut text = table(items, fields.iter().filter(has).copied(), out.width());
        if answer["next"].is_string() {
            let of = answer["total"].as_u64().map_or(String::new(), |total| format!(" of {total}"));
            text.push_str(&format!("({}{of}; more with --limit NUMBER)\n", items.len()));
        }
        text
    });
}
