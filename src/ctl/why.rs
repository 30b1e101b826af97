//! Why a message would reach a client, or not.

use serde_json::Value;

use super::ledger::sentence;
use super::output::CtlOutput;
use super::table::{fields, table};
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
        if !steps.is_empty() {
            text.push_str("\nstep by step:\n");
            text.push_str(&table(steps, ["ok", "step", "text"], out.width()));
        }
        let losses = answer["recent_losses"].as_array().map_or(&[][..], Vec::as_slice);
        if !losses.is_empty() {
            text.push_str("\nlost lately:\n");
            text.push_str(&table(
                losses,
                fields(losses, &["time", "topic", "reason"]),
                out.width(),
            ));
        }
        text
    });
}
