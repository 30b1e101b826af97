//! Text of others, as it may be printed.

use std::fmt::Write;

use serde_json::Value;
use sluicemq::message::is_unseen;

/// `text` with its control and format characters written out: what they do to a terminal, they do not.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unseen(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// `value` in one line of JSON, such characters in its strings as `\u` and digits.
pub fn json(value: &Value) -> String {
    unseen_escaped(&value.to_string())
}

/// JSON with such characters as `\u` and digits; the ends of its lines stay.
pub fn unseen_escaped(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if !is_unseen(c) || c == '\n' {
            shown.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String does not fail.
            let _ = write!(shown, "\\u{unit:04x}");
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        let shown = [
            ("lamp ü世", "lamp ü世"),
            ("a\u{1b}[2J\nb\u{7f}\u{9b}", "a\\u{1b}[2J\\nb\\u{7f}\\u{9b}"),
            ("x\u{202e}y\u{200b}", "x\\u{202e}y\\u{200b}"),
        ];
        for (text, wanted) in shown {
            assert_eq!(visible(text), wanted);
        }
    }

    #[test]
    fn json_says_the_same_without_them() {
        let value = json!({ "name": "a\u{1b}\u{9b}\u{202e}\u{e0041}\"\\\n" });
        let text = super::json(&value);
        assert_eq!(text, r#"{"name":"a\u001b\u009b\u202e\udb40\udc41\"\\\n"}"#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
