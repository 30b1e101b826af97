//! One configuration file, read strictly: what is wrong is named with file, line and column.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::keys::{KeyKind, Keys, nearest, plain};
use super::layer::Layer;
use crate::config::Config;

/// The layer that the file at `path` is; or all that is wrong with it.
pub fn read(path: &Path, keys: &Keys) -> Result<Layer, Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        vec![format!("cannot read configuration file {}: {error}", path.display())]
    })?;
    parse(path, &text, keys)
}

/// The same for a text that was read.
pub fn parse(path: &Path, text: &str, keys: &Keys) -> Result<Layer, Vec<String>> {
    let mut reader = FileReader { path, text, keys, wrong: Vec::new() };
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            reader.add(
                error.span().unwrap_or(0..0),
                error.message().lines().collect::<Vec<_>>().join(", "),
            );
            return Err(reader.lines());
        }
    };
    reader.table(document.get_ref(), keys.tree(), "");
    if reader.wrong.is_empty() {
        // Our own look has judged keys and kinds; words and ranges of numbers are the types' to judge.
        if let Err(error) = toml::from_str::<Config>(text) {
            reader.add(error.span().unwrap_or(0..0), plain(error.message()));
        }
    }
    if !reader.wrong.is_empty() {
        return Err(reader.lines());
    }
    let values = document
        .get_ref()
        .iter()
        .map(|(key, value)| (key.get_ref().to_string(), reader.value(key.get_ref(), value)))
        .collect();
    Ok(Layer::new(path.display().to_string(), values))
}

struct FileReader<'a> {
    path: &'a Path,
    text: &'a str,
    keys: &'a Keys,
    /// Where in the text, and what.
    wrong: Vec<(usize, String)>,
}

impl FileReader<'_> {
    /// Compares a section with the keys it may have.
    fn table(&mut self, table: &DeTable<'_>, keys: &toml::Table, section: &str) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            let Some(example) = keys.get(name) else {
                self.unknown(key, value.get_ref(), keys, section);
                continue;
            };
            let inside =
                if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
            match (example, value.get_ref()) {
                (toml::Value::Table(keys), DeValue::Table(table)) => {
                    self.table(table, keys, &inside)
                }
                (toml::Value::Array(keys), DeValue::Array(list)) => {
                    for item in list.iter() {
                        match (keys.first(), item.get_ref()) {
                            (Some(toml::Value::Table(keys)), DeValue::Table(table)) => {
                                self.table(table, keys, &inside);
                            }
                            (Some(toml::Value::Table(_)) | None, found) => {
                                self.add(
                                    item.span(),
                                    format!("expected a section, found {}", kind_of(found)),
                                );
                            }
                            (Some(example), found) => {
                                self.kind(&inside, example, found, item.span());
                            }
                        }
                    }
                }
                (example, found) => self.kind(&inside, example, found, value.span()),
            }
        }
    }

    fn kind(&mut self, key: &str, example: &toml::Value, found: &DeValue<'_>, span: Range<usize>) {
        let wanted = KeyKind::of(example);
        let fits = match wanted {
            KeyKind::Text => found.is_str(),
            KeyKind::Number => found.is_integer(),
            KeyKind::Truth => found.is_bool(),
            KeyKind::Section | KeyKind::List => false,
        };
        if fits {
            return;
        }
        let such_as = match (wanted, example) {
            (KeyKind::Text, example) => format!("a string such as {example}"),
            (KeyKind::Number, example) => format!("an integer such as {example}"),
            (KeyKind::Section, _) => format!("a section [{key}]"),
            (KeyKind::List, _) if self.keys.is_list(key) => format!("a list of sections [[{key}]]"),
            (KeyKind::List, example) => format!("a list such as {example}"),
            (KeyKind::Truth, _) => wanted.wanted().to_owned(),
        };
        self.add(span, format!("{key}: expected {such_as}, found {}", kind_of(found)));
    }

    fn unknown(
        &mut self,
        key: &Spanned<DeString<'_>>,
        value: &DeValue<'_>,
        keys: &toml::Table,
        section: &str,
    ) {
        let name: &str = key.get_ref();
        let place = match section {
            "" => String::new(),
            list if self.keys.is_list(list) => format!(" in [[{list}]]"),
            section => format!(" in [{section}]"),
        };
        let is_list =
            value.as_array().is_some_and(|list| list.iter().all(|v| v.get_ref().is_table()));
        let what = if value.is_table() || is_list { "section" } else { "key" };
        let hint = match nearest(name, keys.keys().map(String::as_str)) {
            Some(near) => format!("did you mean '{near}'?"),
            None => match self.elsewhere(name) {
                Some(other) => format!("there is one in [{other}]"),
                None => format!("known: {}", keys.keys().cloned().collect::<Vec<_>>().join(", ")),
            },
        };
        self.add(key.span(), format!("unknown {what} '{name}'{place}; {hint}"));
    }

    fn add(&mut self, span: Range<usize>, problem: String) {
        let (line, column) = place(self.text, span.start);
        self.wrong
            .push((span.start, format!("{}:{line}:{column}: {problem}", self.path.display())));
    }

    /// What is wrong, from the top of the file to its end.
    fn lines(mut self) -> Vec<String> {
        self.wrong.sort();
        self.wrong.into_iter().map(|(_, line)| line).collect()
    }

    /// The value of `name`, with its line as its origin; files in it are relative to this one.
    fn value(&self, name: &str, value: &Spanned<DeValue<'_>>) -> config::Value {
        use config::ValueKind as To;
        let kind = match value.get_ref() {
            DeValue::Table(table) => To::Table(
                table
                    .iter()
                    .map(|(key, value)| {
                        let name = format!("{name}.{}", key.get_ref());
                        (key.get_ref().to_string(), self.value(&name, value))
                    })
                    .collect(),
            ),
            DeValue::Array(list) => {
                To::Array(list.iter().map(|item| self.value(name, item)).collect())
            }
            DeValue::String(text) if self.keys.names_file(name) => To::String(self.beside(text)),
            DeValue::String(text) => To::String(text.to_string()),
            DeValue::Boolean(truth) => To::Boolean(*truth),
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                To::I64(
                    i64::from_str_radix(&digits, number.radix())
                        .expect("the types took this number"),
                )
            }
            DeValue::Float(_) | DeValue::Datetime(_) => {
                unreachable!("no key takes one, so none was let by")
            }
        };
        let (line, _) = place(self.text, value.span().start);
        config::Value::new(Some(&format!("{}:{line}", self.path.display())), kind)
    }

    /// A section that has a key `name`.
    fn elsewhere(&self, name: &str) -> Option<String> {
        let mut paths = self.keys.paths().iter().map(|path| path.trim_end_matches(".0"));
        let path = paths.find(|path| path.rsplit('.').next() == Some(name))?;
        path.rsplit_once('.').map(|(section, _)| section.replace(".0", ""))
    }

    fn beside(&self, file: &str) -> String {
        // An empty name stays empty: the check reports it.
        let beside = |dir: &Path| if file.is_empty() { PathBuf::new() } else { dir.join(file) };
        self.path.parent().map_or_else(|| file.into(), beside).to_string_lossy().into_owned()
    }
}

/// Line and column of a byte, from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
