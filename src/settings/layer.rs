//! One layer of the configuration: values with where each was written.

use std::collections::{BTreeMap, HashMap};

use config::ValueKind;

use crate::config::Config;

/// Where a value that was given nowhere comes from.
pub const BUILT_IN: &str = "built-in";

/// Between line and column of an origin in a file. The column is for mistakes only.
pub const COLUMN: char = '\u{1f}';

/// One layer: values by path expression of the `config` crate.
#[derive(Clone, Debug)]
pub struct Layer {
    origin: String,
    values: Vec<(String, config::Value)>,
}

impl Layer {
    /// The defaults.
    pub fn built_in(base: &Config) -> Layer {
        let table = toml::Table::try_from(base).expect("every key of ours has a TOML form");
        let values = table.into_iter().map(|(key, value)| (key, mark(value, BUILT_IN))).collect();
        Layer::new(BUILT_IN.to_owned(), values)
    }

    /// The values that `origin` gives, each by its path in the words of the `config` crate.
    pub fn new(origin: String, values: Vec<(String, config::Value)>) -> Layer {
        Layer { origin, values }
    }

    /// One value that `origin` gives.
    pub fn single(expression: String, value: toml::Value, origin: &str) -> Layer {
        Layer::new(origin.to_owned(), vec![(expression, mark(value, origin))])
    }

    /// Where its values were written.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How long it makes `list`, if it sets the list as a whole.
    pub fn length(&self, list: &str) -> Option<usize> {
        self.values.iter().find(|(key, _)| key == list).and_then(|(_, value)| match &value.kind {
            ValueKind::Array(items) => Some(items.len()),
            _ => None,
        })
    }

    /// Whether it is a single item of the list at this path.
    pub fn is_in(&self, list: &str) -> bool {
        let path = |key: &str| key.replace('[', ".").replace(']', "");
        self.values.first().is_some_and(|(key, _)| path(key).starts_with(&format!("{list}.")))
    }

    /// Which item of `list` it changes, if it changes one.
    pub fn index(&self, list: &str) -> Option<usize> {
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
    let kind = match value {
        toml::Value::String(text) => ValueKind::String(text),
        toml::Value::Integer(number) => ValueKind::I64(number),
        toml::Value::Float(number) => ValueKind::Float(number),
        toml::Value::Boolean(truth) => ValueKind::Boolean(truth),
        toml::Value::Datetime(time) => ValueKind::String(time.to_string()),
        toml::Value::Array(list) => {
            ValueKind::Array(list.into_iter().map(|item| mark(item, origin)).collect())
        }
        toml::Value::Table(table) => ValueKind::Table(
            table.into_iter().map(|(key, value)| (key, mark(value, origin))).collect(),
        ),
    };
    config::Value::new(Some(&origin.to_owned()), kind)
}

/// The path of a list that lacks an item before its last: one was set beyond its end.
pub fn with_gap(path: &str, value: &config::Value) -> Option<String> {
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match &value.kind {
        ValueKind::Table(table) => {
            table.iter().filter_map(|(key, value)| with_gap(&at(key), value)).min()
        }
        ValueKind::Array(list) => {
            let is_gap = |item: &config::Value| matches!(item.kind, ValueKind::Nil);
            let items = list.iter().enumerate();
            let inside = items.filter_map(|(n, item)| with_gap(&at(&n.to_string()), item));
            list.iter().any(is_gap).then(|| path.to_owned()).or(inside.min())
        }
        _ => None,
    }
}

/// Where each single value of the whole came from.
pub fn origins(path: &str, value: &config::Value, into: &mut BTreeMap<String, String>) {
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match &value.kind {
        ValueKind::Table(table) => {
            table.iter().for_each(|(key, value)| origins(&at(key), value, into));
        }
        ValueKind::Array(list) => {
            list.iter()
                .enumerate()
                .for_each(|(index, item)| origins(&at(&index.to_string()), item, into));
        }
        _ => {
            into.insert(path.to_owned(), value.origin().unwrap_or(BUILT_IN).to_owned());
        }
    }
}
