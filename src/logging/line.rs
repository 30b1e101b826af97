//! The form of a log line: for people, or one JSON object.
//!
//! Strangers choose much of what stands in a line. In lines for people a value stands in quotes unless it is
//! plain, so that none can look like another field or another line. A value is cut at [`VALUE_MAX`].

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::config::LogFormat;

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineFormat {
    pub format: LogFormat,
    /// Levels have colours.
    pub colours: bool,
    /// A line begins with the priority that journald reads: `<6>`.
    pub priorities: bool,
}

/// Bytes of one value; what is longer is cut.
pub(super) const VALUE_MAX: usize = 1024;

impl LineFormat {
    /// The line of an event, with its end.
    pub fn line(&self, event: &Event<'_>) -> String {
        let mut line = String::with_capacity(256);
        // Nothing fails that writes into memory.
        let _ = self.write(&mut line, event);
        line
    }

    /// A line without fields, with its end.
    pub fn line_of(&self, level: Level, target: &str, message: &str) -> String {
        let mut line = String::new();
        let message = if self.is_json() { cut(message) } else { without_controls(&cut(message)) };
        let fields = Fields { message, ..Fields::default() };
        let _ = self.write_fields(&mut line, (level, target), fields);
        line
    }

    fn is_json(&self) -> bool {
        self.format == LogFormat::Json
    }

    fn write(&self, out: &mut String, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields { json: self.is_json(), ..Fields::default() };
        event.record(&mut fields);
        let metadata = event.metadata();
        self.write_fields(out, (*metadata.level(), metadata.target()), fields)
    }

    fn write_fields(
        &self,
        out: &mut String,
        (level, target): (Level, &str),
        Fields { message, text, .. }: Fields,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        if self.priorities {
            write!(out, "<{}>", priority(level))?;
        }
        match self.format {
            LogFormat::Json => {
                write!(out, r#"{{"timestamp":"{time}","level":"{level}","message":"#)?;
                write_json(out, &message)?;
                out.write_str(&text)?;
                writeln!(out, r#","target":"{target}"}}"#)
            }
            LogFormat::Human if self.colours => {
                let colour = colour(level);
                writeln!(out, "{time} \x1b[{colour}m{level:>5}\x1b[0m {target}: {message}{text}")
            }
            LogFormat::Human => writeln!(out, "{time} {level:>5} {target}: {message}{text}"),
        }
    }
}

/// The fields of an event, as they are recorded.
#[derive(Default)]
struct Fields {
    json: bool,
    message: String,
    /// The others, each with what separates it from the one before.
    text: String,
}

impl Fields {
    fn text(&mut self, field: &Field, value: &str) {
        let cut = cut(value);
        if field.name() == "message" {
            self.message = if self.json { cut } else { without_controls(&cut) };
            return;
        }
        self.name(field);
        let _ = if self.json {
            write_json(&mut self.text, &cut)
        } else {
            write_quoted(&mut self.text, &cut)
        };
    }

    /// What cannot be mistaken for anything else.
    fn plain(&mut self, field: &Field, value: &dyn fmt::Display) {
        self.name(field);
        let _ = write!(self.text, "{value}");
    }

    fn name(&mut self, field: &Field) {
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        let _ = if self.json {
            write!(self.text, r#","{name}":"#)
        } else {
            write!(self.text, " {name}=")
        };
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A Display that is logged comes here too.
        let mut bounded = Bounded(String::new());
        let _ = write!(bounded, "{value:?}");
        self.text(field, &bounded.0);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity.
        if self.json && !value.is_finite() {
            self.text(field, &value.to_string())
        } else {
            self.plain(field, &value)
        }
    }
}

/// Text that is cut while it is written, a little above the longest value.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = (VALUE_MAX + 4).saturating_sub(self.0.len());
        self.0.push_str(beginning(text, room));
        if room < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

fn cut(value: &str) -> String {
    if value.len() <= VALUE_MAX {
        return value.to_owned();
    }
    format!("{}…", beginning(value, VALUE_MAX))
}

/// At most so many bytes of `text`.
fn beginning(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn without_controls(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { clean.extend(c.escape_default()) } else { clean.push(c) }
    }
    clean
}

/// A value of a line for people: in quotes, if anything in it could be mistaken.
fn write_quoted(out: &mut impl Write, value: &str) -> fmt::Result {
    let plain = |c: char| c.is_alphanumeric() || (c.is_ascii_graphic() && !"\"'=\\".contains(c));
    if !value.is_empty() && value.chars().all(plain) {
        out.write_str(value)
    } else {
        write!(out, "{value:?}")
    }
}

fn write_json(out: &mut impl Write, value: &str) -> fmt::Result {
    out.write_char('"')?;
    for c in value.chars() {
        match c {
            '"' | '\\' => write!(out, "\\{c}")?,
            '\n' => out.write_str("\\n")?,
            c if c.is_control() => write!(out, "\\u{:04x}", c as u32)?,
            c => out.write_char(c)?,
        }
    }
    out.write_char('"')
}

/// As syslog numbers them.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        _ => 35,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(value: &str) -> String {
        let mut out = String::new();
        write_quoted(&mut out, value).expect("memory");
        out
    }

    #[test]
    fn a_value_that_could_be_mistaken_stands_in_quotes() {
        for plain in ["a", "127.0.0.1:1883", "[::1]:7", "sensor/1", "größe", "0x97", "a,b;c"] {
            assert_eq!(quoted(plain), plain);
        }
        for (value, wanted) in [
            ("", r#""""#),
            ("d client=e", r#""d client=e""#),
            ("a=b", r#""a=b""#),
            ("a\nb", r#""a\nb""#),
            ("a\"b", r#""a\"b""#),
            ("two\nlines", r#""two\nlines""#),
            ("\u{1b}[31m", r#""\u{1b}[31m""#),
            ("right\u{202e}left", r#""right\u{202e}left""#),
            ("no\u{a0}break", r#""no\u{a0}break""#),
        ] {
            assert_eq!(quoted(value), wanted, "{value:?}");
        }
    }

    #[test]
    fn a_value_is_cut_between_two_characters() {
        let long = "ä".repeat(VALUE_MAX);
        assert_eq!(cut(&long).chars().count(), VALUE_MAX / 2 + 1);
        let mut bounded = Bounded(String::new());
        assert!(write!(bounded, "{long}").is_err());
        assert!(bounded.0.len() <= VALUE_MAX + 4);
        assert_eq!(cut(&bounded.0), cut(&long));
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn json_escapes_what_it_must() {
        let mut out = String::new();
        write_json(&mut out, "a\"b\\c\n\u{1}ü").expect("memory");
        assert_eq!(out, r#""a\"b\\c\n\u0001ü""#);
    }
}
