//! What a reload puts in force, and what it leaves to a restart.

use std::collections::{BTreeMap, BTreeSet};

use super::listener::Listener;
use super::section::Section;
use super::whole::Config;

impl Config {
    /// This configuration, with all of `other` that can be put in force while the broker runs. The rest
    /// is left to a restart and stays as it is here.
    pub fn reloaded(&self, other: &Config) -> Config {
        let partners = partners(&self.listener, &other.listener);
        let listener = self.listener.iter().zip(partners).map(|(own, partner)| {
            let new = partner.and_then(|index| other.listener.get(index));
            new.map_or_else(|| own.clone(), |new| own.reloaded(new))
        });
        Config { listener: listener.collect(), ..Section::reloaded(self, other) }
    }

    /// The keys that differ in `other`, by their names there; a listener that only one of the two has by
    /// its own.
    pub fn differences(&self, other: &Config) -> Vec<String> {
        let mut changed = BTreeSet::new();
        let mut pairs = BTreeMap::new();
        for (own, partner) in self.listener.iter().zip(partners(&self.listener, &other.listener)) {
            match partner {
                Some(index) => {
                    pairs.insert(index, own);
                }
                None => {
                    changed.insert(format!("[[listener]] {:?} (is gone)", own.called()));
                }
            }
        }
        for (index, new) in other.listener.iter().enumerate() {
            let path = format!("listener.{index}");
            match pairs.get(&index) {
                Some(own) => compare(&path, &table(own), &table(new), &mut changed),
                None => {
                    changed.insert(format!("[[listener]] {:?} (is new)", new.called()));
                }
            }
        }
        let rest = |config: &Config| table(&Config { listener: Vec::new(), ..config.clone() });
        compare("", &rest(self), &rest(other), &mut changed);
        changed.into_iter().collect()
    }
}

/// Which of the new listeners each of the old ones has become: the one that is called the same, or else
/// the one in its place, if no other has become that.
fn partners(old: &[Listener], new: &[Listener]) -> Vec<Option<usize>> {
    let mut free: BTreeSet<usize> = (0..new.len()).collect();
    let mut partners: Vec<_> = old
        .iter()
        .map(|own| {
            let same = free.iter().find(|index| new[**index].called() == own.called()).copied();
            same.inspect(|index| {
                free.remove(index);
            })
        })
        .collect();
    for (index, partner) in partners.iter_mut().enumerate() {
        if partner.is_none() && free.remove(&index) {
            *partner = Some(index);
        }
    }
    partners
}

fn table(section: &impl serde::Serialize) -> toml::Value {
    toml::Value::try_from(section).expect("every key of ours has a TOML form")
}

/// Notes each key at or below `path` that is not the same on both sides.
fn compare(path: &str, old: &toml::Value, new: &toml::Value, changed: &mut BTreeSet<String>) {
    if old == new {
        return;
    }
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (old, new) {
        (toml::Value::Table(old), toml::Value::Table(new)) => {
            let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
            for key in keys {
                match (old.get(key), new.get(key)) {
                    (Some(old), Some(new)) => compare(&at(key), old, new, changed),
                    _ => {
                        changed.insert(at(key));
                    }
                }
            }
        }
        (toml::Value::Array(old), toml::Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&at(&index.to_string()), old, new, changed);
            }
        }
        _ => {
            changed.insert(path.to_owned());
        }
    }
}
