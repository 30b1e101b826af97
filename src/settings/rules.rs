//! The file of rules of access, read as strictly as a configuration.

use std::collections::BTreeMap;
use std::path::Path;

use super::file;
use super::keys::Keys;
use super::layer::{COLUMN, origins};
use super::load::SettingsError;
use crate::config::RulesFile;

/// Reads and checks a file of rules: what it says, and where each of its rules stands, as `rules.toml:12`.
/// `names_checked`: some user names are.
///
/// # Errors
///
/// Everything that is wrong with it, where it was written. A file without a rule is wrong too: it is taken for
/// an accident of what writes it.
pub fn load_rules(
    path: &Path,
    names_checked: bool,
) -> Result<(RulesFile, Vec<String>), SettingsError> {
    let read = file::read(path, &Keys::of_rules());
    if !read.wrong.is_empty() {
        return Err(SettingsError::new(read.wrong));
    }
    let one = |error: config::ConfigError| SettingsError::new(vec![error.to_string()]);
    let merged = config::Config::builder().add_source(read.layer).build().map_err(one)?;
    let mut origin = BTreeMap::new();
    origins("", &merged.cache, &mut origin);
    let rules: RulesFile = merged.try_deserialize().map_err(one)?;
    let mut lines = Vec::new();
    if rules.rule.is_empty() {
        lines.push(format!("{}:1:1: has no [[rule]]: it is not put in force", path.display()));
    }
    for problem in rules.check(names_checked).err().unwrap_or_default() {
        let section = problem.key.rsplit_once('.').map_or("", |(section, _)| section);
        let written = origin.get(&problem.key).cloned();
        let written = written.or_else(|| first(&origin, &problem.key));
        let written = written.or_else(|| first(&origin, section));
        let place = written.unwrap_or_else(|| path.display().to_string()).replace(COLUMN, ":");
        lines.push(format!("{place}: {problem}"));
    }
    if !lines.is_empty() {
        return Err(SettingsError::new(lines));
    }
    let places = (0..rules.rule.len()).map(|index| {
        let written = first(&origin, &format!("rule.{index}")).unwrap_or_default();
        written.split(COLUMN).next().unwrap_or_default().to_owned()
    });
    let places = places.collect();
    Ok((rules, places))
}

/// Where the first key of a section is written.
fn first(origin: &BTreeMap<String, String>, section: &str) -> Option<String> {
    let at = |place: &str| {
        let place = place.replace(COLUMN, ":");
        let mut numbers = place.rsplit(':').map_while(|number| number.parse::<usize>().ok());
        let column = numbers.next();
        (numbers.next(), column)
    };
    let inside = origin
        .iter()
        .filter(|(key, _)| key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.')));
    inside.map(|(_, place)| place.clone()).min_by_key(|place| at(place))
}
