//! Words for what is no TOML.

use std::ops::Range;

/// What is wrong at `span` of `text`, of which the parser says `message`.
pub fn problem(text: &str, span: Range<usize>, message: &str) -> String {
    let message = message.lines().collect::<Vec<_>>().join(", ");
    if message == "duplicate key" {
        let name = text.get(span).unwrap_or_default();
        return format!("duplicate key '{name}': it is there twice; keep one");
    }
    let line = line_at(text, span.start);
    match (in_quotes(line), line.split_once('=')) {
        (Some((key, value)), _) if matches!(value, "True" | "False" | "TRUE" | "FALSE") => {
            format!("{message}; write {key} = {}", value.to_lowercase())
        }
        (Some((key, value)), _) => format!("text is in quotes: write {key} = \"{value}\""),
        (None, Some((key, ""))) => format!("{} has no value", key.trim()),
        (None, None) if line.contains(':') => {
            format!("{message}; the file must be TOML, which has '=' and not ':'")
        }
        _ => message,
    }
}

fn line_at(text: &str, at: usize) -> &str {
    let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    text[start..].lines().next().unwrap_or_default().trim_end()
}

/// Key and value of a line, if the value is text without quotes.
fn in_quotes(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    let value = value.split('#').next().unwrap_or(value).trim();
    let is_text = value.starts_with(|c: char| c.is_alphanumeric() || "./*+$".contains(c));
    let known = value.parse::<f64>().is_ok() || value == "true" || value == "false";
    (is_text && !known && !value.contains(['"', '\''])).then_some((key.trim(), value))
}
