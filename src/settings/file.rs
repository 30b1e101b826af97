//! One configuration file, read strictly: what is wrong is named with file, line and column.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::judge::{self, judge};
use super::keys::{KeyKind, Keys, bare};
use super::layer::{COLUMN, Layer};
use super::text::text;
use super::{mosquitto, syntax};
use crate::nearest::nearest;
use crate::place::place;

/// The section whose keys are names that are free to choose.
const FREE_NAMES: &str = "where";

/// What was read of a file.
pub struct FileLayer {
    /// What is good of it.
    pub layer: Layer,
    /// A line for each mistake, from the top of the file to its end.
    pub wrong: Vec<String>,
    /// Keys that were meant and are not in the layer; `None`: it is not known which.
    pub spoiled: Option<Vec<String>>,
}

/// The layer that the file at `path` is, and all that is wrong with it.
pub fn read(path: &Path, keys: &Keys) -> FileLayer {
    let text = match std::fs::read(path) {
        Ok(bytes) => text(bytes).map_err(|(line, column, problem)| {
            format!("{}:{line}:{column}: {problem}", path.display())
        }),
        Err(error) => Err(format!("cannot read configuration file {}: {error}", path.display())),
    };
    match text {
        Ok(text) => parse(path, &text, keys),
        Err(line) => FileLayer {
            layer: Layer::new(path.display().to_string(), Vec::new()),
            wrong: vec![line],
            spoiled: None,
        },
    }
}

/// The same for a text that was read.
fn parse(path: &Path, text: &str, keys: &Keys) -> FileLayer {
    let mut reader = FileReader { path, text, keys, wrong: Vec::new(), spoiled: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    let foreign = if errors.is_empty() { Vec::new() } else { mosquitto::options(text) };
    if foreign.is_empty() {
        reader.table(document.get_ref(), keys.tree(), "");
        reader.syntax(&errors);
    }
    let values = document.get_ref().iter().filter_map(|(key, value)| {
        Some((key.get_ref().to_string(), reader.value(key.get_ref(), value)?))
    });
    let layer = Layer::new(path.display().to_string(), values.collect());
    let spoiled = if errors.is_empty() { Some(reader.spoiled.clone()) } else { None };
    let wrong = if foreign.is_empty() { reader.lines() } else { foreign_lines(path, &foreign) };
    FileLayer { layer, wrong, spoiled }
}

/// What is wrong with sections that are in no file: the same, without places.
pub fn judge_table(table: &toml::Table, keys: &Keys) -> Vec<String> {
    let text = table.to_string();
    let document = DeTable::parse(&text).expect("what was written is TOML");
    let (path, wrong, spoiled) = (Path::new(""), Vec::new(), Vec::new());
    let mut reader = FileReader { path, text: &text, keys, wrong, spoiled };
    reader.table(document.get_ref(), keys.tree(), "");
    reader.wrong.into_iter().map(|(_, problem)| problem).collect()
}

/// What is said of a file of mosquitto.
fn foreign_lines(path: &Path, options: &[mosquitto::Found]) -> Vec<String> {
    let file = path.display();
    let mut lines = vec![format!(
        "{file}: this is a configuration file of mosquitto; Sluice's is TOML, and config/sluice.toml has every key"
    )];
    let line = |(line, name, ours): &mosquitto::Found| format!("{file}:{line}:1: {name}: {ours}");
    lines.extend(options.iter().map(line));
    lines
}

struct FileReader<'a> {
    path: &'a Path,
    text: &'a str,
    keys: &'a Keys,
    /// Where in the text, and what.
    wrong: Vec<(usize, String)>,
    /// See [`FileLayer::spoiled`].
    spoiled: Vec<String>,
}

impl FileReader<'_> {
    /// Compares a section with the keys it may have; `section` is its name, with numbers.
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
                (toml::Value::Table(_), DeValue::Table(table)) if name == FREE_NAMES => {
                    self.free_table(table, &inside);
                }
                (toml::Value::Table(keys), DeValue::Table(table)) => {
                    self.table(table, keys, &inside);
                }
                (toml::Value::Array(keys), DeValue::Array(list)) => {
                    for (index, item) in list.iter().enumerate() {
                        self.item(item, example_for(keys, item), &format!("{inside}.{index}"));
                    }
                }
                (example, _) => self.single(&inside, example, value),
            }
        }
    }

    /// A section of names that are free to choose, each with a text.
    fn free_table(&mut self, table: &DeTable<'_>, section: &str) {
        let text = toml::Value::String("eu".to_owned());
        for (key, value) in table {
            self.single(&join(section, key.get_ref()), &text, value);
        }
    }

    fn item(&mut self, item: &Spanned<DeValue<'_>>, example: Option<&toml::Value>, path: &str) {
        match (example, item.get_ref()) {
            (Some(toml::Value::Table(keys)), DeValue::Table(table)) => {
                self.table(table, keys, path);
            }
            (Some(toml::Value::Table(_)) | None, found) => {
                let found = judge::kind_of(found);
                self.add(item.span(), format!("expected a section, found {found}"));
                self.spoiled.push(path.to_owned());
            }
            (Some(example), _) => self.single(path, example, item),
        }
    }

    /// Judges the value of one key.
    fn single(&mut self, path: &str, example: &toml::Value, value: &Spanned<DeValue<'_>>) {
        let found = value.get_ref();
        let wanted = KeyKind::of(example);
        let key = bare(path);
        let fits = match wanted {
            KeyKind::Text => found.is_str(),
            KeyKind::Number => found.is_integer(),
            KeyKind::Fraction => found.is_float() || found.is_integer(),
            KeyKind::Truth => found.is_bool(),
            KeyKind::Section | KeyKind::List => false,
        };
        let problem = if fits {
            judge(self.keys, path, judge::plain_value(found))
        } else {
            let such_as = match (wanted, example) {
                (KeyKind::Text, example) => format!("a string such as {example}"),
                (KeyKind::Number, example) => format!("an integer such as {example}"),
                (KeyKind::Fraction, example) => format!("a number such as {example}"),
                (KeyKind::Section, _) => format!("a section [{key}]"),
                (KeyKind::List, _) if self.keys.is_list(&key) => {
                    format!("a list of sections [[{key}]]")
                }
                (KeyKind::List, example) => format!("a list such as {example}"),
                (KeyKind::Truth, _) => wanted.wanted().to_owned(),
            };
            let hint = judge::hint(self.keys, &key, wanted, found);
            Some(format!("expected {such_as}, found {}{hint}", judge::kind_of(found)))
        };
        if let Some(problem) = problem {
            self.add(value.span(), format!("{key}: {problem}"));
            self.spoiled.push(path.to_owned());
        }
    }

    /// Adds what is no TOML. What was found on the same lines follows from it.
    fn syntax(&mut self, errors: &[toml::de::Error]) {
        let line = |at: usize| place(self.text, at).0;
        let told: Vec<usize> =
            errors.iter().map(|error| line(error.span().unwrap_or(0..0).start)).collect();
        let kept = self.wrong.iter().filter(|(at, _)| !told.contains(&line(*at)));
        self.wrong = kept.cloned().collect();
        for (index, error) in errors.iter().enumerate() {
            // One line has one mistake; the others follow from it.
            if !told[..index].contains(&told[index]) {
                let span = error.span().unwrap_or(0..0);
                self.add(span.clone(), syntax::problem(self.text, span, error.message()));
            }
        }
    }

    fn unknown(
        &mut self,
        key: &Spanned<DeString<'_>>,
        value: &DeValue<'_>,
        keys: &toml::Table,
        section: &str,
    ) {
        let name: &str = key.get_ref();
        let full = |name: &str| join(section, name);
        let place = match bare(section).as_str() {
            "" => String::new(),
            list if self.keys.is_list(list) => format!(" in [[{list}]]"),
            section => format!(" in [{section}]"),
        };
        let is_list =
            value.as_array().is_some_and(|list| list.iter().all(|v| v.get_ref().is_table()));
        let what = if value.is_table() || is_list { "section" } else { "key" };
        let mut meant = vec![full(name)];
        let near = nearest(name, keys.keys().map(String::as_str));
        let hint = match near.or_else(|| judge::elsewhere_called(name, keys)) {
            Some(near) => {
                meant.push(full(near));
                format!("did you mean '{near}'?")
            }
            None => match self.elsewhere(name) {
                Some(other) => {
                    meant.push(join(&other, name));
                    format!("there is one in {}", heading(self.keys, &other))
                }
                None => {
                    match self.keys.near(name).filter(|_| what == "key" && section.is_empty()) {
                        Some(near) => {
                            meant.push(near.to_owned());
                            format!("did you mean '{near}'?")
                        }
                        None => {
                            format!(
                                "known: {}",
                                keys.keys().cloned().collect::<Vec<_>>().join(", ")
                            )
                        }
                    }
                }
            },
        };
        self.add(key.span(), format!("unknown {what} '{name}'{place}; {hint}"));
        self.spoiled.extend(meant);
    }

    fn add(&mut self, span: Range<usize>, problem: String) {
        self.wrong.push((span.start, problem));
    }

    /// What is wrong, from the top of the file to its end.
    fn lines(mut self) -> Vec<String> {
        self.wrong.sort();
        let placed = |(start, problem)| {
            let (line, column) = place(self.text, start);
            format!("{}:{line}:{column}: {problem}", self.path.display())
        };
        self.wrong.into_iter().map(placed).collect()
    }

    /// The value of the key at `path`, with its place as its origin, if it is good; files in it are relative to
    /// this one.
    fn value(&self, path: &str, value: &Spanned<DeValue<'_>>) -> Option<config::Value> {
        use config::ValueKind as To;
        if self.spoiled.iter().any(|spoiled| spoiled == path) {
            return None;
        }
        let kind = match value.get_ref() {
            DeValue::Table(table) => To::Table(
                table
                    .iter()
                    .filter_map(|(key, value)| {
                        let value = self.value(&join(path, key.get_ref()), value)?;
                        Some((key.get_ref().to_string(), value))
                    })
                    .collect(),
            ),
            DeValue::Array(list) => {
                let items = list.iter().enumerate();
                To::Array(
                    items
                        .filter_map(|(index, item)| self.value(&format!("{path}.{index}"), item))
                        .collect(),
                )
            }
            DeValue::String(text) if self.keys.names_file(&bare(path)) => {
                To::String(self.beside(text))
            }
            DeValue::String(text) => To::String(text.to_string()),
            DeValue::Boolean(truth) => To::Boolean(*truth),
            DeValue::Integer(_) => To::I64(judge::plain_value(value.get_ref())?.as_integer()?),
            DeValue::Float(_) => To::Float(judge::plain_value(value.get_ref())?.as_float()?),
            DeValue::Datetime(_) => return None,
        };
        let (line, column) = place(self.text, value.span().start);
        Some(config::Value::new(
            Some(&format!("{}:{line}{COLUMN}{column}", self.path.display())),
            kind,
        ))
    }

    /// A section that has a key `name`.
    fn elsewhere(&self, name: &str) -> Option<String> {
        let mut paths = self.keys.paths().iter().map(|path| path.trim_end_matches(".0"));
        let path = paths.find(|path| path.rsplit('.').next() == Some(name))?;
        path.rsplit_once('.').map(|(section, _)| section.to_owned())
    }

    fn beside(&self, file: &str) -> String {
        // An empty name stays empty: the check reports it.
        let beside = |dir: &Path| if file.is_empty() { PathBuf::new() } else { dir.join(file) };
        self.path.parent().map_or_else(|| file.into(), beside).to_string_lossy().into_owned()
    }
}

/// The example of a list that is of the kind of `item`, or else the first.
fn example_for<'a>(
    examples: &'a [toml::Value],
    item: &Spanned<DeValue<'_>>,
) -> Option<&'a toml::Value> {
    let same = |example: &&toml::Value| example.is_table() == item.get_ref().is_table();
    examples.iter().find(same).or(examples.first())
}

fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

/// The section at `path`, as it is written.
fn heading(keys: &Keys, path: &str) -> String {
    let section = bare(path);
    if keys.is_list(&section) { format!("[[{section}]]") } else { format!("[{section}]") }
}
