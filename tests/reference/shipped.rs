//! The text of `config/sluice.toml`.

use std::fmt::Write;

use sluicemq::config::{Allowed, ConfigEntry, InForce, KeyEntry, Presence, SectionEntry};

use super::{grouped, paragraph, range, without_numbers};

/// The file: every key at its default. A key that is not set is shown behind `#`.
pub fn render(entries: &[ConfigEntry]) -> String {
    let mut file = File { text: String::new(), is_off: false, is_described: true };
    let live = format!("In force at SIGHUP: {}.", live(entries).join(", "));
    let head = HEAD.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
    file.comment(&head.chain([live, TAIL.to_owned()]).collect::<Vec<_>>().join("\n\n"));
    for entry in entries {
        match entry {
            ConfigEntry::Section(section) => file.section(section),
            ConfigEntry::Key(key) => file.key(key),
        }
    }
    file.text
}

struct File {
    text: String,
    /// The section is not there: its lines stand behind `#`.
    is_off: bool,
    /// The section describes its keys.
    is_described: bool,
}

impl File {
    fn section(&mut self, section: &SectionEntry) {
        let name = without_numbers(&section.name);
        // A list may be empty, but a broker needs a listener.
        let is_list = section.presence == Presence::List;
        if !name.contains('.') {
            self.is_off = is_list && name != "listener";
        }
        let is_off = self.is_off
            || section.presence == Presence::Optional
            || (is_list && name != "listener");
        self.text.push('\n');
        let like = section.like.map_or(String::new(), |like| format!(" Keys as in [{like}]."));
        self.comment(&format!("{}{like}", plain(section.text)));
        let mark = if is_off { "#" } else { "" };
        let heading = if is_list { format!("[[{name}]]") } else { format!("[{name}]") };
        let _ = writeln!(self.text, "{mark}{heading}");
        self.is_off = is_off;
        self.is_described = section.like.is_none();
    }

    fn key(&mut self, key: &KeyEntry) {
        let name = key.name.rsplit('.').next().expect("a name");
        let is_shown = key.is_required || self.is_off || key.default.is_none();
        let shown = key.example.as_ref().filter(|_| is_shown).or(key.default.as_ref());
        let value = grouped(shown.expect("a value to show"), "_");
        if self.is_described {
            let range = match key.allowed {
                Some(Allowed::Range(..)) => range(key),
                _ => None,
            };
            let range = range.map_or(String::new(), |range| format!(" Range {range}."));
            self.comment(&format!("{}{range}", plain(key.text)));
        }
        let is_off = self.is_off || key.default.is_none();
        let _ = writeln!(self.text, "{}{name} = {value}", if is_off { "#" } else { "" });
    }

    /// Adds `text` in lines of 100 characters at most.
    fn comment(&mut self, text: &str) {
        for paragraph in text.lines() {
            let mut line = String::from("#");
            for word in paragraph.split(' ').filter(|word| !word.is_empty()) {
                if line.chars().count() + word.chars().count() >= 100 {
                    let _ = writeln!(self.text, "{line}");
                    line = String::from("#");
                }
                line.push(' ');
                line.push_str(word);
            }
            let _ = writeln!(self.text, "{line}");
        }
    }
}

/// Without the marks of Markdown.
fn plain(text: &[&str]) -> String {
    paragraph(text).replace('`', "")
}

/// What SIGHUP puts in force: whole sections where all of one is, else single keys.
fn live(entries: &[ConfigEntry]) -> Vec<String> {
    let mut sections: Vec<(String, bool, Vec<&KeyEntry>)> = Vec::new();
    for entry in entries {
        match entry {
            ConfigEntry::Section(section) => {
                let name = without_numbers(&section.name);
                sections.push((name, section.presence == Presence::List, Vec::new()));
            }
            ConfigEntry::Key(key) => sections.last_mut().expect("a section").2.push(key),
        }
    }
    let mut live: Vec<String> = Vec::new();
    for (name, is_list, keys) in sections {
        let of: Vec<_> = keys.iter().filter(|key| key.reload == InForce::Live).collect();
        if of.len() < keys.len() {
            live.extend(of.iter().map(|key| without_numbers(&key.name)));
        } else if !live.iter().any(|list| list.starts_with("[[") && inside(list, &name)) {
            live.push(if is_list { format!("[[{name}]]") } else { format!("[{name}]") });
        }
    }
    live
}

/// Whether the section `name` is inside the list of sections `list`.
fn inside(list: &str, name: &str) -> bool {
    name.split('.').next() == Some(list.trim_matches(['[', ']']))
}

const HEAD: &str = "\
Sluice, every key at its default. `sluice config` shows what is in force and where it came from;
`sluice check --config FILE` reads a file and reports its mistakes.

Lengths of time and sizes are in quotes, with a unit: \"250ms\", \"10s\", \"5m\", \"1h\", \"7d\"; \"512B\",
\"64KiB\", \"1MiB\", \"1GiB\". Files are looked for beside this file. `#key = value` shows a key that is
not set.

A key can also be set by the environment, SLUICE_SESSION__QOS_MAX=1, and over that by the command
line, --set session.qos_max=1. Both change listeners that are there: --set listener.0.address=...

SIGHUP reads the files again. If anything is wrong, nothing changes, and the log says where the
mistake is. Some keys are then in force at once, for connected clients too; every other changed key
needs a restart, and the log names it.";

const TAIL: &str = "tests/reference.rs makes this file from the table of keys in src/config/.";
