//! The text of `docs/configuration.md`.

use std::fmt::Write;

use sluicemq::config::{ConfigEntry, InForce, KeyEntry, Presence, SectionEntry};

use super::{grouped, paragraph, range, without_numbers};

/// The document: a section for each section, a row for each key.
pub fn render(entries: &[ConfigEntry]) -> String {
    let mut text = HEAD.to_owned();
    let mut is_described = true;
    let mut is_open = false;
    for entry in entries {
        match entry {
            ConfigEntry::Section(entry) => {
                section(entry, &mut text);
                is_described = entry.like.is_none();
                is_open = false;
            }
            ConfigEntry::Key(entry) if is_described => {
                if !is_open {
                    text.push_str(COLUMNS);
                    is_open = true;
                }
                key(entry, &mut text);
            }
            ConfigEntry::Key(_) => {}
        }
    }
    text
}

fn section(section: &SectionEntry, text: &mut String) {
    let name = without_numbers(&section.name);
    let heading = match section.presence {
        Presence::List => format!("[[{name}]]"),
        Presence::Always | Presence::Optional => format!("[{name}]"),
    };
    let level = "#".repeat(2 + name.matches('.').count());
    let _ = write!(text, "\n{level} `{heading}`\n\n{}", paragraph(section.text));
    if section.presence == Presence::Optional {
        text.push_str(" Optional.");
    }
    if let Some(like) = section.like {
        let anchor = like.replace('.', "");
        let _ = write!(text, " Keys as in [`[{like}]`](#{anchor}).");
    }
    text.push('\n');
}

fn key(key: &KeyEntry, text: &mut String) {
    let name = without_numbers(&key.name);
    let default = match &key.default {
        _ if key.is_required => "required".to_owned(),
        Some(value) => format!("`{}`", grouped(value, "_")),
        None => "not set".to_owned(),
    };
    let range =
        range(key).map_or(String::new(), |range| format!("`{range}`").replace(", ", "`, `"));
    let range = range.replace(" to ", "` to `").replace("`or ", "or `");
    let reload = match key.reload {
        InForce::Live => "SIGHUP",
        InForce::Restart => "restart",
    };
    let what = paragraph(key.text).replace('|', "\\|");
    let _ = writeln!(text, "| `{name}` | {default} | {range} | {reload} | {what} |");
}

const HEAD: &str = "\
# Configuration

Every key, its default, the values that it may have, and when a change takes effect: at SIGHUP, for connected
clients too, or at a restart. [`config/sluice.toml`](../config/sluice.toml) is a file with all of them;
[`config/examples/`](../config/examples) has one for each use.

Lengths of time and sizes are in quotes, with a unit: `\"250ms\"`, `\"10s\"`, `\"5m\"`, `\"1h\"`, `\"7d\"`; `\"512B\"`,
`\"64KiB\"`, `\"1MiB\"`, `\"1GiB\"`. A later layer goes over an earlier one: defaults, files in the order of `--config`,
the environment (`SLUICE_SESSION__QOS_MAX=1`), `--set session.qos_max=1`. A file with `[[listener]]` (or another list)
replaces all earlier ones; the environment and `--set` change one that is there: `--set listener.0.address=…`. An
unknown key, a wrong type or a value out of range is an error, never ignored. `sluice check` reports every mistake
with file, line and column; `sluice config` shows what is in force and where it came from.

`tests/reference.rs` makes this page from the table of keys in `src/config/`.
";

const COLUMNS: &str = "
| Key | Default | Values | In force at | What it does |
|---|---|---|---|---|
";
