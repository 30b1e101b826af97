//! Every key there is, what kind of value it takes, and the nearest to a misspelt one.

use std::collections::HashMap;

use toml::Value;

use crate::config::{Allowed, Config, ConfigEntry, KeyEntry, Presence, Problem, RulesFile};
use crate::nearest::nearest;

/// Every key there is, as a tree with an example of each value.
pub struct Keys {
    tree: toml::Table,
    /// Full names, in the order they are declared.
    paths: Vec<String>,
    /// The keys that name files, without numbers: `listener.tls.key`.
    files: Vec<String>,
    /// Sections of which there may be many.
    lists: Vec<String>,
    /// The values that a key may have, by its name without numbers.
    allowed: HashMap<String, Allowed>,
    /// Reads a document with some of the keys.
    read: fn(Value) -> Result<Vec<Problem>, toml::de::Error>,
}

/// What kind of value a key takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyKind {
    /// Text, a span, a size, a file, or one of a few words.
    Text,
    /// A whole number.
    Number,
    /// A number that may have a fraction.
    Fraction,
    /// `true` or `false`.
    Truth,
    /// A section.
    Section,
    /// `[[listener]]` and the like, or a list of texts.
    List,
}

/// A key of a single value.
#[derive(Clone, Debug)]
pub struct SettableKey {
    path: Vec<String>,
    example: Value,
}

/// Variables that stand for no key, without their beginning.
const OTHERS: [&str; 3] = ["LOG", "CHECK_PASSWORD", "FAULTS"];

impl Keys {
    /// All keys, the optional ones too.
    pub fn all() -> Keys {
        let read =
            |document: Value| document.try_into().map(|config: Config| config.out_of_range());
        Keys::of(toml::Table::try_from(Config::example()), Config::entries(), read)
    }

    /// All keys of a file of rules.
    pub fn of_rules() -> Keys {
        let read = |document: Value| document.try_into().map(|file: RulesFile| file.out_of_range());
        Keys::of(toml::Table::try_from(RulesFile::example()), RulesFile::entries(), read)
    }

    fn of(
        tree: Result<toml::Table, toml::ser::Error>,
        entries: Vec<ConfigEntry>,
        read: fn(Value) -> Result<Vec<Problem>, toml::de::Error>,
    ) -> Keys {
        let mut keys = Keys {
            tree: tree.expect("every key of ours has a TOML form"),
            read,
            paths: Vec::new(),
            files: Vec::new(),
            lists: Vec::new(),
            allowed: HashMap::new(),
        };
        for entry in entries {
            match entry {
                ConfigEntry::Key(key) => keys.add(key),
                ConfigEntry::Section(section) if section.presence == Presence::List => {
                    keys.lists.push(section.name.trim_end_matches(".0").to_owned());
                }
                ConfigEntry::Section(_) => {}
            }
        }
        keys
    }

    fn add(&mut self, key: KeyEntry) {
        let is_list = key.example.as_ref().or(key.default.as_ref()).is_some_and(Value::is_array);
        let number = if is_list { ".0" } else { "" };
        if key.names_file {
            self.files.push(key.name.replace(".0", ""));
        }
        self.paths.push(format!("{}{number}", key.name));
        if let Some(allowed) = key.allowed {
            self.allowed.insert(bare(&key.name), allowed);
        }
    }

    /// The values of a document that are out of their range.
    ///
    /// # Errors
    ///
    /// One is not of its type.
    pub fn out_of_range(&self, document: Value) -> Result<Vec<Problem>, toml::de::Error> {
        (self.read)(document)
    }

    /// The tree: sections as tables, those of which there may be many as lists of one.
    pub fn tree(&self) -> &toml::Table {
        &self.tree
    }

    /// The key that a variable of the environment stands for; none if it is none of ours.
    pub fn of_variable(&self, name: &str) -> Result<Option<SettableKey>, String> {
        let Some(rest) = name.strip_prefix("SLUICE_") else {
            return Ok(None);
        };
        if rest.contains("__") {
            return self.find(&rest.to_ascii_lowercase().replace("__", ".")).map(Some);
        }
        // Others may begin so: `SLUICE_LOG`, or what Kubernetes sets for a service `sluice`. But one
        // underscore too few is a mistake.
        let meant = self.paths.iter().find(|path| {
            !path.contains(".0.") && path.replace('.', "_").eq_ignore_ascii_case(rest)
        });
        match meant {
            Some(path) => Err(format!("did you mean {}?", variable(path))),
            None => Ok(None),
        }
    }

    /// What a variable of the environment that stands for no key may have been meant to be, if anything: one that
    /// the program reads.
    pub fn near_variable(&self, name: &str) -> Option<String> {
        let rest = name.strip_prefix("SLUICE_")?;
        // Kubernetes sets such for a service `sluice`.
        if ["PORT", "SERVICE_"].iter().any(|theirs| rest.starts_with(theirs))
            || OTHERS.contains(&rest)
        {
            return None;
        }
        let names = self.paths.iter().map(|path| path.replace('.', "_").to_ascii_uppercase());
        let names: Vec<String> = names.chain(OTHERS.map(str::to_owned)).collect();
        let near = nearest(rest, names.iter().map(String::as_str))?;
        let of_key = self.paths.iter().zip(&names).find(|(_, name)| *name == near);
        Some(of_key.map_or_else(|| format!("SLUICE_{near}"), |(path, _)| variable(path)))
    }

    /// The key at `path`, such as `session.qos_max` or `listener.0.tls.key`.
    pub fn find(&self, path: &str) -> Result<SettableKey, String> {
        let unknown = || match self.near(path) {
            Some(near) => format!("unknown key '{path}'; did you mean '{near}'?"),
            None => format!("unknown key '{path}'"),
        };
        let segments: Vec<&str> = path.split('.').collect();
        let mut at = None;
        let mut table = Some(&self.tree);
        let mut segments_left = segments.iter();
        while let Some(segment) = segments_left.next() {
            let value = table.and_then(|table| table.get(*segment)).ok_or_else(unknown)?;
            let value = match value {
                Value::Array(list) => {
                    let index = segments_left.next().and_then(|index| index.parse::<u16>().ok());
                    index.and(list.first()).ok_or_else(|| {
                        format!("'{segment}' is a list: say which one, as in '{segment}.0.name'")
                    })?
                }
                value => value,
            };
            table = value.as_table();
            at = Some(value);
        }
        match at {
            Some(value) if !value.is_table() => Ok(SettableKey {
                path: segments.iter().map(|segment| (*segment).to_owned()).collect(),
                example: value.clone(),
            }),
            Some(_) => Err(format!("'{path}' is a section, not a key")),
            None => Err(unknown()),
        }
    }

    /// The key that `path` may have been meant to be: a near one, or in another section one of that name or of a
    /// near one.
    pub fn near(&self, path: &str) -> Option<&str> {
        let paths = || self.paths.iter().map(|path| path.trim_end_matches(".0"));
        let own = |path: &'_ str| path.rsplit('.').next().unwrap_or_default().to_owned();
        let wanted = own(path);
        nearest(path, paths()).or_else(|| paths().find(|path| own(path) == wanted)).or_else(|| {
            let names: Vec<String> = paths().map(own).collect();
            let near = nearest(&wanted, names.iter().map(String::as_str))?;
            paths().find(|path| own(path) == near)
        })
    }

    /// The full names of all keys as they are declared, with `0` for the number in a list.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The values that the key `name`, without numbers, may have, as far as they are not its type's to say.
    pub fn allowed(&self, name: &str) -> Option<&Allowed> {
        self.allowed.get(name)
    }

    /// Whether the key `name`, without numbers, names a file: `listener.tls.key`.
    pub fn names_file(&self, name: &str) -> bool {
        self.files.iter().any(|file| file == name)
    }

    /// Sections of which there may be many: `listener`.
    pub fn lists(&self) -> &[String] {
        &self.lists
    }

    /// Whether there may be many sections `name`.
    pub fn is_list(&self, name: &str) -> bool {
        self.lists.iter().any(|list| list == name)
    }
}

impl SettableKey {
    /// As the `config` crate writes it: `listener[0].address`.
    pub fn expression(&self) -> String {
        let mut expression = String::new();
        for segment in &self.path {
            if segment.bytes().all(|b| b.is_ascii_digit()) {
                expression.push_str(&format!("[{segment}]"));
            } else {
                expression.push_str(if expression.is_empty() { "" } else { "." });
                expression.push_str(segment);
            }
        }
        expression
    }

    /// The value that `text` without quotes stands for. Nothing is bent into shape: a number is
    /// digits, a truth is `true` or `false`.
    pub fn value(&self, text: &str) -> Result<Value, String> {
        let value = match KeyKind::of(&self.example) {
            KeyKind::Number => text.parse().ok().map(Value::Integer),
            KeyKind::Fraction => text.parse().ok().map(Value::Float),
            KeyKind::Truth => text.parse().ok().map(Value::Boolean),
            KeyKind::Text | KeyKind::Section | KeyKind::List => {
                Some(Value::String(text.to_owned()))
            }
        };
        value.ok_or_else(|| {
            format!("expected {}, found {text:?}", KeyKind::of(&self.example).wanted())
        })
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.path.join(".")
    }
}

impl KeyKind {
    /// The kind of value that a key with this example takes.
    pub fn of(example: &Value) -> KeyKind {
        match example {
            Value::Integer(_) => KeyKind::Number,
            Value::Float(_) => KeyKind::Fraction,
            Value::Boolean(_) => KeyKind::Truth,
            Value::Array(_) => KeyKind::List,
            Value::Table(_) => KeyKind::Section,
            Value::String(_) | Value::Datetime(_) => KeyKind::Text,
        }
    }

    /// What was expected, in words.
    pub fn wanted(self) -> &'static str {
        match self {
            KeyKind::Text => "a string",
            KeyKind::Number => "an integer",
            KeyKind::Fraction => "a number",
            KeyKind::Truth => "true or false",
            KeyKind::Section => "a section",
            KeyKind::List => "a list",
        }
    }
}

/// The name of a key or a section without the numbers of lists: `listener.tls.key`.
pub fn bare(path: &str) -> String {
    let is_name = |segment: &&str| !segment.bytes().all(|byte| byte.is_ascii_digit());
    path.split('.').filter(is_name).collect::<Vec<_>>().join(".")
}

/// The name in the environment of the key at `path`.
fn variable(path: &str) -> String {
    format!("SLUICE_{}", path.replace('.', "__").to_ascii_uppercase())
}

/// A message of the types without the words of their language.
pub fn plain(message: &str) -> String {
    let mut message = message.trim_end().replace('\n', ", ");
    for (rust, range) in [("u8", "0 to 255"), ("u16", "0 to 65535"), ("u32", "0 to 4294967295")] {
        if let Some(start) = message.strip_suffix(&format!(", expected {rust}")) {
            message = format!("{start}, expected {range}");
        }
    }
    message.strip_prefix("invalid value: ").map(str::to_owned).unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_by_its_name() {
        let keys = Keys::all();
        let paths = keys.paths();
        assert!(paths.len() > 50, "{paths:?}");
        assert_eq!(paths[0], "listener.0.name");
        assert!(paths.contains(&"listener.0.tls.client_crl".to_owned()), "{paths:?}");
        for path in paths {
            assert!(keys.find(path).is_ok(), "{path}");
            assert!(keys.of_variable(&variable(path)).unwrap().is_some(), "{path}");
        }
    }
}
