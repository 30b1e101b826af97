//! `sluice config`: the effective values in TOML, each with where it came from.

use std::fmt::Write;

use super::{BUILT_IN, Settings, key_names};

impl Settings {
    /// The effective values as a configuration file, each with where it came from as a comment.
    pub fn show(&self) -> String {
        let table = toml::Table::try_from(&self.config).expect("every key of ours has a TOML form");
        let table = toml::Value::Table(table);
        let (listener, others): (Vec<_>, Vec<_>) =
            key_names().into_iter().partition(|path| path.starts_with("listener.0."));
        let mut out = String::new();
        let mut section = String::new();
        let listeners = (0..self.config.listener.len()).flat_map(|index| {
            let number = format!(".{index}.");
            listener.iter().map(move |path| path.replacen(".0.", &number, 1))
        });
        for path in listeners.chain(others) {
            let Some((inside, key)) = path.rsplit_once('.') else {
                continue;
            };
            // Of a listener without TLS, there is no section to show.
            if at(&table, inside).is_none() {
                continue;
            }
            if section != inside {
                inside.clone_into(&mut section);
                let _ =
                    writeln!(out, "{}{}", if out.is_empty() { "" } else { "\n" }, heading(inside));
            }
            let _ = match at(&table, &path) {
                Some(value) => {
                    let origin = self.origin.get(&path).map_or(BUILT_IN, String::as_str);
                    writeln!(out, "{:<44} # {origin}", format!("{key} = {value}"))
                }
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

fn heading(section: &str) -> String {
    let name: Vec<&str> =
        section.split('.').filter(|part| part.parse::<usize>().is_err()).collect();
    match name[..] {
        ["listener"] => "[[listener]]".to_owned(),
        _ => format!("[{}]", name.join(".")),
    }
}
