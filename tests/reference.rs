//! `config/sluice.toml` and `docs/configuration.md` say what the table of keys says.
//!
//! Both are made from [`Config::entries`]. `UPDATE=1 cargo test --test reference` writes them anew.

#[path = "reference/markdown.rs"]
mod markdown;
#[path = "reference/shipped.rs"]
mod shipped;

use std::fs;
use std::path::Path;

use sluicemq::config::{Allowed, Config, ConfigEntry, KeyEntry};
use sluicemq::message::Loss;
use toml::Value;

#[test]
fn the_shipped_configuration_is_what_the_table_says() {
    check("config/sluice.toml", &shipped::render(&Config::entries()));
}

#[test]
fn the_reference_of_keys_is_what_the_table_says() {
    check("docs/configuration.md", &markdown::render(&Config::entries()));
}

#[test]
fn every_key_and_section_has_a_text_of_its_own() {
    for entry in Config::entries() {
        let (name, text) = match &entry {
            ConfigEntry::Key(key) => (&key.name, key.text),
            ConfigEntry::Section(section) => (&section.name, section.text),
        };
        let text = paragraph(text);
        assert!(text.ends_with(['.', ')']), "{name}: {text:?} is no sentence");
        assert_eq!(text.matches('`').count() % 2, 0, "{name}: {text:?} has an odd backtick");
    }
}

#[test]
fn a_text_names_each_word_that_its_key_may_have() {
    for key in keys() {
        let Some(Allowed::Words(words)) = &key.allowed else { continue };
        assert!(words.len() > 1, "{}: {words:?}", key.name);
        let text = paragraph(key.text);
        for word in words {
            let is_named = text.contains(&format!("`\"{word}\"`")) || text.starts_with("As in ");
            assert!(is_named, "{}: {text:?} says nothing of {word:?}", key.name);
        }
    }
}

/// What the ledger advises names keys that exist: in backticks, with a point.
#[test]
fn each_reason_of_the_ledger_advises_a_key_that_exists() {
    let known: Vec<String> = keys().map(|key| key.name).collect();
    for loss in Loss::ALL {
        let quoted = loss.advice().split('`').skip(1).step_by(2);
        let named: Vec<&str> = quoted
            .filter_map(|quoted| quoted.split(" = ").next())
            .filter(|name| name.contains('.'))
            .collect();
        assert!(!named.is_empty(), "{loss:?}: {}", loss.advice());
        for name in named {
            assert!(known.iter().any(|key| key == name), "{loss:?}: no key {name}");
        }
    }
}

/// A key whose value is a number, a length of time or a size has a range.
#[test]
fn every_number_has_a_range() {
    for key in keys() {
        let value = key.default.as_ref().or(key.example.as_ref()).expect("a value to show");
        let text = value.as_str().unwrap_or_default();
        let is_unit = |unit: &str| {
            let number = text.strip_suffix(unit).filter(|number| !number.is_empty());
            number.is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
        };
        let units = ["d", "h", "m", "s", "ms", "GiB", "MiB", "KiB", "B"];
        if value.is_integer() || value.is_float() || units.into_iter().any(is_unit) {
            assert!(matches!(key.allowed, Some(Allowed::Range(..))), "{} has no range", key.name);
        }
    }
}

#[test]
fn every_default_and_every_example_is_in_its_range() {
    for config in [Config::default(), Config::example()] {
        let problems = config.check().err().unwrap_or_default();
        let outside = problems.iter().find(|problem| problem.message.contains("out of range"));
        assert_eq!(outside, None);
    }
}

/// The keys of the table.
fn keys() -> impl Iterator<Item = KeyEntry> {
    Config::entries().into_iter().filter_map(|entry| match entry {
        ConfigEntry::Key(key) => Some(key),
        ConfigEntry::Section(_) => None,
    })
}

/// Compares the file with what it should say, or writes it.
#[track_caller]
fn check(name: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, wanted).unwrap();
        return;
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let (mut found, mut wanted) = (found.lines(), wanted.lines());
    for number in 1.. {
        match (found.next(), wanted.next()) {
            (None, None) => return,
            (found, wanted) => assert_eq!(
                found, wanted,
                "{name}:{number} is not what the table says: UPDATE=1 cargo test --test reference"
            ),
        }
    }
}

/// The lines of a comment as one paragraph.
fn paragraph(text: &[&str]) -> String {
    text.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// `listener.0.tls.key` as sections are written: `listener.tls.key`.
fn without_numbers(name: &str) -> String {
    name.replace(".0", "")
}

/// The values that a key may have, in words; none if its type says it.
fn range(key: &KeyEntry) -> Option<String> {
    match key.allowed.as_ref()? {
        Allowed::Range(least, most, other) => {
            let other = other.as_ref().map_or(String::new(), |other| format!(", or {other}"));
            Some(format!("{} to {}{other}", grouped(least, ","), grouped(most, ",")))
        }
        Allowed::Words(words) => {
            let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
            Some(words.join(", "))
        }
    }
}

/// A value as TOML has it, the digits of a large number in groups of three.
fn grouped(value: &Value, mark: &str) -> String {
    let text = value.to_string();
    if value.as_integer().is_none_or(|number| number < 10_000) {
        return text;
    }
    let mut grouped = String::new();
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && (text.len() - index).is_multiple_of(3) {
            grouped.push_str(mark);
        }
        grouped.push(digit);
    }
    grouped
}
