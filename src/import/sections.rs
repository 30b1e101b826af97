//! Keys of a configuration of Sluice, by section.

use std::collections::BTreeMap;
use std::fmt;

use toml::Value;

/// Values by section and key.
#[derive(Clone, Debug, Default)]
pub struct ConfigSections(BTreeMap<&'static str, BTreeMap<&'static str, Value>>);

impl ConfigSections {
    /// Sets `key`, such as `session.qos_max`.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        let (section, key) = key.split_once('.').expect("a section and a key");
        self.0.entry(section).or_default().insert(key, value.into());
    }
}

impl fmt::Display for ConfigSections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (section, keys) in &self.0 {
            writeln!(f, "\n[{section}]")?;
            keys.iter().try_for_each(|(key, value)| writeln!(f, "{key} = {value}"))?;
        }
        Ok(())
    }
}

/// A text in quotes.
pub fn quoted(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// A size in bytes.
pub fn bytes(count: u64) -> Value {
    Value::String(format!("{count}B"))
}

/// A length of time in seconds.
pub fn seconds(count: u64) -> Value {
    Value::String(format!("{count}s"))
}
