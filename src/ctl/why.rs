//! Why a message would reach a client, or not.

use std::fmt::Write;

use serde_json::Value;

use super::ledger::sentence;
use super::output::CtlOutput;
use super::table::{table, wrapped};
use super::units::shown;

/// What the broker says of a client and a topic.
pub fn show(out: CtlOutput, answer: &Value) {
    out.show(answer, |answer| {
        let verdict = match answer["verdict"].as_str() {
            Some("would_arrive") => "it would arrive".to_owned(),
            Some("would_wait") => "it would wait".to_owned(),
            Some("would_not_arrive") => "it would not arrive".to_owned(),
            _ => shown("verdict", &answer["verdict"]),
        };
        let reason = match answer["reason"].as_str() {
            None | Some("" | "nothing") => String::new(),
            Some(_) => format!(": {}", shown("reason", &answer["reason"])),
        };
        let mut text = format!("{verdict}{reason}\n");
        for field in ["explanation", "advice"] {
            text.push_str(&sentence(field, &answer[field], out.width()));
        }
        let steps = answer["steps"].as_array().map_or(&[][..], Vec::as_slice);
        text.push_str(&walked(steps, out.width()));
        let losses = answer["recent_losses"].as_array().map_or(&[][..], Vec::as_slice);
        if !losses.is_empty() {
            text.push_str("\nlost lately:\n");
            text.push_str(&table(losses, ["time", "topic", "reason", "count"], out.width()));
        }
        text
    });
}

/// Lines are not made narrower than this.
const NARROW: usize = 30;

/// The decisions, with a word for each and what it says.
fn walked(steps: &[Value], width: Option<usize>) -> String {
    let mut text = String::new();
    if !steps.is_empty() {
        text.push_str("\nstep by step:\n");
    }
    let words = steps.iter().map(|step| (shown("ok", &step["ok"]), shown("step", &step["step"])));
    let words: Vec<_> = words.collect();
    let column = words.iter().map(|(_, step)| step.chars().count()).max().unwrap_or_default();
    // `yes` or `no`, and what stands between the columns.
    let rest = width.map_or(usize::MAX, |width| width.saturating_sub(column + 9).max(NARROW));
    for ((ok, step), said) in words.iter().zip(steps) {
        let (mut ok, mut step) = (ok.as_str(), step.as_str());
        for line in wrapped(&shown("text", &said["text"]), rest) {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{ok:>5}  {step:column$}  {line}");
            (ok, step) = ("", "");
        }
    }
    text
}
