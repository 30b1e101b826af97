//! One thing in full: a line for each field, and a table for each list in it.

use std::fmt::Write;

use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use super::table::{fields, table, wrapped};
use super::units::{label, shown};

/// Lines are not made narrower than this, and their values begin no later.
const NARROW: usize = 20;

/// The fields of `value`, those in `first` before the others; `width`: of the terminal, if it is one.
pub fn sheet(value: &Value, first: &[&str], width: Option<usize>) -> String {
    let mut lines = Vec::new();
    let mut lists = Vec::new();
    gather(value, first, "", &mut lines, &mut lists);
    let column = lines.iter().map(|(name, _)| name.width()).max().unwrap_or_default() + 2;
    let mut text = String::new();
    for (name, value) in lines {
        let rest = width.map_or(usize::MAX, |width| width.saturating_sub(column).max(NARROW));
        let mut name = name.as_str();
        for line in wrapped(&value, rest) {
            let padding = " ".repeat(column - name.width());
            // Writing to a String does not fail.
            let _ = writeln!(text, "{}", format!("{name}{padding}{line}").trim_end());
            name = "";
        }
    }
    for (name, rows) in lists {
        let _ = writeln!(text, "\n{name}:\n{}", table(rows, fields(rows, FIRST), width).trim_end());
    }
    text
}

/// Of the rows of lists within something else.
const FIRST: &[&str] =
    &["name", "value", "unit", "filter", "topic", "time", "reason", "count", "cause", "level"];

/// Lines of `value` and what is in it, and its lists.
fn gather<'a>(
    value: &'a Value,
    first: &[&str],
    before: &str,
    lines: &mut Vec<(String, String)>,
    lists: &mut Vec<(String, &'a [Value])>,
) {
    for field in fields(std::slice::from_ref(value), first) {
        let Some(value) = value.get(field) else { continue };
        let name = format!("{before}{}", label(field));
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                gather(value, first, &format!("{name} "), lines, lists);
            }
            Value::Array(rows) if rows.iter().any(Value::is_object) => lists.push((name, rows)),
            _ => lines.push((name, shown(field, value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sheet_has_lines_and_then_tables() {
        let value = json!({
            "client_id": "lamp",
            "keep_alive_seconds": 60,
            "queue_bytes": 2048,
            "subscriptions": [{ "qos": 1, "filter": "a/#" }],
            "will": null,
            "window": { "used": 1, "size": 20 },
        });
        let wanted = "\
client id    lamp
window size  20
window used  1
keep alive   1 min
queue bytes  2.0 KiB
will         -

subscriptions:
FILTER  QOS
a/#       1
";
        assert_eq!(sheet(&value, &["client_id", "window"], None), wanted);
    }

    #[test]
    fn what_is_long_goes_on_below() {
        let value = json!({ "advice": "raise the limit of this client, or have it read faster" });
        let text = sheet(&value, &[], Some(40));
        assert!(text.lines().all(|line| line.width() <= 40), "{text}");
        assert_eq!(text.lines().nth(1), Some("        or have it read faster"));
    }
}
