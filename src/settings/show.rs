//! `sluice config`: the effective values in TOML, each with where it came from.

use std::fmt::Write;

use super::Settings;

impl Settings {
    /// The effective values as a configuration file, each with where it came from as a comment.
    pub fn show(&self) -> String {
        let table = toml::Table::try_from(&self.config).expect("every key of ours has a TOML form");
        let mut out = String::new();
        self.section("", "", &toml::Value::Table(table), &mut out);
        out
    }

    /// `title` is how the section is headed, `path` how its keys are called.
    fn section(&self, title: &str, path: &str, value: &toml::Value, out: &mut String) {
        let Some(table) = value.as_table() else {
            return;
        };
        let under = |base: &str, key: &str| {
            if base.is_empty() { key.to_owned() } else { format!("{base}.{key}") }
        };
        for (key, value) in table.iter().filter(|(_, value)| !value.is_table() && !value.is_array())
        {
            let origin = self.origin.get(&under(path, key)).map_or(super::BUILT_IN, String::as_str);
            let _ = writeln!(out, "{:<44} # {origin}", format!("{key} = {value}"));
        }
        for (key, value) in table {
            let (title, path) = (under(title, key), under(path, key));
            match value {
                toml::Value::Table(_) => {
                    let _ = writeln!(out, "\n[{title}]");
                    self.section(&title, &path, value, out);
                }
                toml::Value::Array(list) => {
                    for (index, item) in list.iter().enumerate() {
                        let _ = writeln!(out, "\n[[{title}]]");
                        self.section(&title, &format!("{path}.{index}"), item, out);
                    }
                }
                _ => {}
            }
        }
    }
}
