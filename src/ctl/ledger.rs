//! What was lost and refused, with what to change.

use serde_json::Value;

use super::output::CtlOutput;
use super::table::{table, wrapped};
use super::units::shown;

/// Lines are not made narrower than this.
const NARROW: usize = 30;
/// Before a sentence below its reason.
const INDENT: &str = "    ";

/// The totals, as the broker answers them.
pub fn show(out: CtlOutput, answer: &Value) {
    out.show(answer, |answer| {
        let lost = counted(&answer["reasons"]);
        let mut text = match lost.is_empty() {
            true => "nothing was lost\n".to_owned(),
            false => "lost:\n".to_owned(),
        };
        for row in &lost {
            let (count, reason) = (shown("count", &row["count"]), shown("reason", &row["reason"]));
            text.push_str(&format!("{count:>10}  {reason}\n"));
            for field in ["meaning", "advice"] {
                text.push_str(&sentence(field, &row[field], out.width()));
            }
        }
        let refused = counted(&answer["refused"]);
        if !refused.is_empty() {
            text.push_str("\nrefused:\n");
            text.push_str(&table(&refused, ["reason", "count"], out.width()));
        }
        text
    });
}

/// The rows of a list that count anything.
fn counted(list: &Value) -> Vec<Value> {
    let rows = list.as_array().map_or(&[][..], Vec::as_slice);
    rows.iter().filter(|row| row["count"].as_u64().unwrap_or_default() > 0).cloned().collect()
}

/// A sentence in lines of its own, if there is one.
pub fn sentence(field: &str, value: &Value, width: Option<usize>) -> String {
    let Some(text) = value.as_str().filter(|text| !text.is_empty()) else { return String::new() };
    let width = width.map_or(usize::MAX, |width| width.saturating_sub(INDENT.len()).max(NARROW));
    let text = shown(field, &Value::from(text));
    let before = if field == "advice" { "to change it: " } else { "" };
    let lines = wrapped(&format!("{before}{text}"), width);
    lines.iter().map(|line| format!("{INDENT}{line}\n")).collect()
}
