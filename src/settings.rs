//! The configuration from its layers: built-in < files < environment < command line.
//!
//! Each layer is checked strictly by itself, so that whatever is wrong is named where it was
//! written; then the `config` crate lays them over each other and keeps where each value came from.

mod file;
mod keys;
mod show;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use self::keys::{Key, Keys, LISTS};
use crate::config::Config;

/// A configuration that was checked, and where its values came from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The values.
    pub config: Config,
    /// Where each value came from, by key: `built-in`, `config/sluice.toml:12`,
    /// `environment SLUICE_LOG__LEVEL` or `--set`.
    pub origin: BTreeMap<String, String>,
    /// The last configuration file's folder, where the store's relative path begins; empty without a
    /// file.
    pub folder: PathBuf,
    /// Whether this is the built-in development configuration: no file was given.
    pub development: bool,
}

impl Settings {
    /// The store's section, its path as it is seen from the current folder.
    pub fn store(&self) -> crate::config::Store {
        let store = self.config.store.clone();
        let path = self.folder.join(&store.path);
        crate::config::Store { path, ..store }
    }
}

/// Everything that is wrong with a configuration, one line each, where it was written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct SettingsError(Vec<String>);

impl SettingsError {
    /// The lines; at least one.
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Where a value that was given nowhere comes from.
const BUILT_IN: &str = "built-in";

/// Reads and checks the configuration.
///
/// Without `files` it begins with [`Config::development`], else with the defaults. `env` are the
/// environment's variables, of which `SLUICE_SECTION__KEY` count; `sets` are `section.key=value`.
/// Later files go over earlier ones; a file with `[[listener]]` (or `[[class]]`) replaces all earlier
/// ones, while environment and command line change one that is there, as in `listener.0.address`.
pub fn load(
    files: &[PathBuf],
    env: impl IntoIterator<Item = (String, String)>,
    sets: &[String],
) -> Result<Settings, SettingsError> {
    let keys = Keys::all();
    let mut wrong = Vec::new();
    let base = if files.is_empty() { Config::development() } else { Config::default() };
    let mut layers = vec![Layer::built_in(&base)];
    for path in files {
        match file::read(path, &keys) {
            Ok(layer) => layers.push(layer),
            Err(lines) => wrong.extend(lines),
        }
    }
    let mut env: Vec<_> = env.into_iter().collect();
    env.sort();
    for (name, text) in env {
        match keys.of_variable(&name) {
            Ok(None) => {}
            Ok(Some(key)) => {
                single(&key, &text, format!("environment {name}"), &mut layers, &mut wrong)
            }
            Err(problem) => wrong.push(format!("environment {name}: {problem}")),
        }
    }
    for set in sets {
        let origin = format!("--set {}", set.split('=').next().unwrap_or(set));
        match set.split_once('=') {
            None => wrong.push(format!("--set {set}: expected section.key=value")),
            Some((path, text)) => match keys.find(path.trim()) {
                Ok(key) => single(&key, text.trim(), origin, &mut layers, &mut wrong),
                Err(problem) => wrong.push(format!("{origin}: {problem}")),
            },
        }
    }
    if !wrong.is_empty() {
        return Err(SettingsError(wrong));
    }
    let folder = files.last().and_then(|file| file.parent()).unwrap_or(Path::new(""));
    merge(layers, folder, files.is_empty())
}

/// The full names of all keys as they are declared, with `0` for the number in a list.
pub fn key_names() -> Vec<String> {
    Keys::all().paths().to_vec()
}

/// Adds a layer of one value, if it is of its key's kind.
fn single(key: &Key, text: &str, origin: String, layers: &mut Vec<Layer>, wrong: &mut Vec<String>) {
    match key.value(text) {
        Ok(value) => {
            layers.push(Layer { values: vec![(key.expression(), mark(value, &origin))], origin })
        }
        Err(problem) => wrong.push(format!("{origin}: {problem}")),
    }
}

/// Lays the layers over each other and checks the whole.
fn merge(layers: Vec<Layer>, folder: &Path, development: bool) -> Result<Settings, SettingsError> {
    let one = |line: String| SettingsError(vec![line]);
    for list in LISTS {
        let length = layers.iter().filter_map(|layer| layer.length(list)).next_back().unwrap_or(0);
        let beyond = |layer: &&Layer| layer.index(list).is_some_and(|index| index >= length);
        if let Some(layer) = layers.iter().find(beyond) {
            let origin = &layer.origin;
            return Err(one(format!(
                "{origin}: there {} [[{list}]], counted from 0",
                if length == 1 { "is 1".to_owned() } else { format!("are {length}") }
            )));
        }
    }
    let mut builder = config::Config::builder();
    for layer in &layers {
        builder = builder.add_source(layer.clone());
    }
    let merged = builder.build().map_err(|error| one(error.to_string()))?;
    if let Some(list) = with_gap("", &merged.cache) {
        let layer = layers.iter().rfind(|layer| layer.is_in(&list));
        let origin = layer.map_or(BUILT_IN, |layer| layer.origin.as_str());
        return Err(one(format!("{origin}: {list} has no such place, counted from 0")));
    }
    let mut origin = BTreeMap::new();
    origins("", &merged.cache, &mut origin);
    let config: Config = merged.try_deserialize().map_err(|error| one(error.to_string()))?;
    match config.check() {
        Ok(()) => Ok(Settings { config, origin, folder: folder.to_owned(), development }),
        Err(problems) => Err(SettingsError(
            problems
                .iter()
                .map(|problem| match written(&origin, &problem.key) {
                    Some(origin) => format!("{origin}: {problem}"),
                    None => problem.to_string(),
                })
                .collect(),
        )),
    }
}

/// Where somebody wrote `key`, or for a key left out, another one of its section.
fn written<'a>(origin: &'a BTreeMap<String, String>, key: &str) -> Option<&'a str> {
    if let Some(origin) = origin.get(key) {
        return (origin != BUILT_IN).then_some(origin);
    }
    let (section, _) = key.rsplit_once('.')?;
    let beside =
        origin.iter().find(|(key, origin)| key.starts_with(section) && *origin != BUILT_IN);
    beside.map(|(_, origin)| origin.as_str())
}

/// One layer: values by path expression of the `config` crate.
#[derive(Clone, Debug)]
struct Layer {
    origin: String,
    values: Vec<(String, config::Value)>,
}

impl Layer {
    fn built_in(base: &Config) -> Layer {
        let table = toml::Table::try_from(base).expect("every key of ours has a TOML form");
        let values = table.into_iter().map(|(key, value)| (key, mark(value, BUILT_IN))).collect();
        Layer { origin: BUILT_IN.to_owned(), values }
    }

    /// How long it makes `list`, if it says anything of it as a whole.
    fn length(&self, list: &str) -> Option<usize> {
        self.values.iter().find(|(key, _)| key == list).and_then(|(_, value)| match &value.kind {
            config::ValueKind::Array(items) => Some(items.len()),
            _ => None,
        })
    }

    /// Whether it is a single item of the list at this path.
    fn is_in(&self, list: &str) -> bool {
        let path = |key: &str| key.replace('[', ".").replace(']', "");
        self.values.first().is_some_and(|(key, _)| path(key).starts_with(&format!("{list}.")))
    }

    /// Which item of `list` it changes, if it changes one.
    fn index(&self, list: &str) -> Option<usize> {
        let (key, _) = self.values.first()?;
        key.strip_prefix(list)?.strip_prefix('[')?.split(']').next()?.parse().ok()
    }
}

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<HashMap<String, config::Value>, config::ConfigError> {
        Ok(self.values.iter().cloned().collect())
    }
}

/// `value` in the `config` crate's words, with its origin.
fn mark(value: toml::Value, origin: &str) -> config::Value {
    use config::ValueKind as To;
    let kind = match value {
        toml::Value::String(text) => To::String(text),
        toml::Value::Integer(number) => To::I64(number),
        toml::Value::Float(number) => To::Float(number),
        toml::Value::Boolean(truth) => To::Boolean(truth),
        toml::Value::Datetime(time) => To::String(time.to_string()),
        toml::Value::Array(list) => {
            To::Array(list.into_iter().map(|item| mark(item, origin)).collect())
        }
        toml::Value::Table(table) => {
            To::Table(table.into_iter().map(|(key, value)| (key, mark(value, origin))).collect())
        }
    };
    config::Value::new(Some(&origin.to_owned()), kind)
}

/// The path of a list that lacks an item before its last: one was set beyond its end.
fn with_gap(path: &str, value: &config::Value) -> Option<String> {
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match &value.kind {
        config::ValueKind::Table(table) => {
            table.iter().filter_map(|(key, value)| with_gap(&at(key), value)).min()
        }
        config::ValueKind::Array(list) => {
            let is_gap = |item: &config::Value| matches!(item.kind, config::ValueKind::Nil);
            let items = list.iter().enumerate();
            let inside = items.filter_map(|(n, item)| with_gap(&at(&n.to_string()), item));
            list.iter().any(is_gap).then(|| path.to_owned()).or(inside.min())
        }
        _ => None,
    }
}

/// Where each single value of the whole came from.
fn origins(path: &str, value: &config::Value, into: &mut BTreeMap<String, String>) {
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match &value.kind {
        config::ValueKind::Table(table) => {
            table.iter().for_each(|(key, value)| origins(&at(key), value, into));
        }
        config::ValueKind::Array(list) => {
            list.iter()
                .enumerate()
                .for_each(|(index, item)| origins(&at(&index.to_string()), item, into));
        }
        _ => {
            into.insert(path.to_owned(), value.origin().unwrap_or(BUILT_IN).to_owned());
        }
    }
}
