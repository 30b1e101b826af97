//! `sluice config`: the effective values in TOML, each with where it came from.

use std::fmt::Write;

use super::keys::Keys;
use super::layer::BUILT_IN;
use super::load::Settings;

/// A key as it is in force.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EffectiveKey {
    /// Its full name, with the number in a list: `listener.0.tls.key`.
    pub name: String,
    /// Its value; none if it is not set.
    pub value: Option<toml::Value>,
    /// Where the value came from, as [`Settings::origin`] says it.
    pub origin: String,
}

impl Settings {
    /// Every key, in the order in which they are declared; none of an optional section that is not there.
    pub fn effective(&self) -> Vec<EffectiveKey> {
        let table =
            toml::Table::try_from(self.config()).expect("every key of ours has a TOML form");
        let table = toml::Value::Table(table);
        let mut found = Vec::new();
        for first in with_numbers(&table, Keys::all().paths().to_vec()) {
            // A list of texts is shown as a whole.
            let name = first.strip_suffix(".0").unwrap_or(&first);
            // Of a listener without TLS there is no section to show.
            let inside = name.rsplit_once('.').map(|(inside, _)| inside);
            if inside.is_none_or(|inside| at(&table, inside).is_none()) {
                continue;
            }
            let origin = self.origin(&first).unwrap_or(BUILT_IN).to_owned();
            let value = at(&table, name).cloned();
            found.push(EffectiveKey { name: name.to_owned(), value, origin });
        }
        found
    }

    /// The effective values as a configuration file, each with where it came from as a comment.
    pub fn show(&self) -> String {
        let mut out = String::new();
        let mut section = String::new();
        let keys = Keys::all();
        for EffectiveKey { name, value, origin } in self.effective() {
            let (inside, key) = name.rsplit_once('.').unwrap_or(("", &name));
            if section != inside {
                inside.clone_into(&mut section);
                let _ = writeln!(
                    out,
                    "{}{}",
                    if out.is_empty() { "" } else { "\n" },
                    heading(inside, &keys)
                );
            }
            let _ = match value {
                Some(value) => writeln!(out, "{:<44} # {origin}", format!("{key} = {value}")),
                None => writeln!(out, "# {key} is not set"),
            };
        }
        out
    }
}

/// The value at a full name such as `listener.0.tls.key`.
fn at<'a>(value: &'a toml::Value, path: &str) -> Option<&'a toml::Value> {
    path.split('.').try_fold(value, |value, segment| match segment.parse::<usize>() {
        Ok(index) => value.get(index),
        Err(_) => value.get(segment),
    })
}

/// The names of all keys there are: of each item of a list one after the other.
fn with_numbers(table: &toml::Value, names: Vec<String>) -> Vec<String> {
    let mut numbered = Vec::new();
    let mut names = names.into_iter().peekable();
    while let Some(name) = names.next() {
        let list = name.split_once(".0.").map(|(list, _)| list.to_owned());
        let Some(list) = list else {
            numbered.push(name);
            continue;
        };
        let begin = format!("{list}.0.");
        let mut keys = vec![name];
        keys.extend(std::iter::from_fn(|| names.next_if(|name| name.starts_with(&begin))));
        let length = at(table, &list).and_then(toml::Value::as_array).map_or(0, Vec::len);
        for index in 0..length {
            let number = format!(".{index}.");
            numbered.extend(keys.iter().map(|key| key.replacen(".0.", &number, 1)));
        }
    }
    numbered
}

fn heading(section: &str, keys: &Keys) -> String {
    let name: Vec<&str> =
        section.split('.').filter(|part| part.parse::<usize>().is_err()).collect();
    let name = name.join(".");
    if keys.is_list(&name) { format!("[[{name}]]") } else { format!("[{name}]") }
}
