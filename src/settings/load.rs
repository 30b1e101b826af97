//! Reads all layers, lays them over each other and checks the whole.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::file;
use super::judge::judge;
use super::keys::{Keys, SettableKey, bare};
use super::layer::{BUILT_IN, COLUMN, Layer, origins, with_gap};
use crate::config::{Config, Problem, StoreConfig};

/// A configuration that was checked, and where its values came from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Passed [`Config::check`].
    config: Config,
    /// Where each value came from, by key.
    origin: BTreeMap<String, String>,
    /// The last configuration file's folder, where the store's relative path begins; empty without a
    /// file.
    folder: PathBuf,
    is_development: bool,
    hints: Vec<String>,
}

impl From<Config> for Settings {
    /// A configuration that no file has; it has passed [`Config::check`].
    fn from(config: Config) -> Settings {
        let (origin, folder, hints) = (BTreeMap::new(), PathBuf::new(), Vec::new());
        Settings { config, origin, folder, hints, is_development: false }
    }
}

impl Settings {
    /// The values; they have passed [`Config::check`].
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The values, with the paths of the store and of the operator's token relative to the current folder.
    pub fn from_here(&self) -> Config {
        let mut config = Config { store: self.store(), ..self.config.clone() };
        config.http.token_file = config.http.operator_file().map(|file| self.folder.join(file));
        config
    }

    /// These settings after a reload that has put `config` in force, which `read` says but for the keys `left`:
    /// they are as before until a restart.
    pub fn reloaded(&self, read: &Settings, config: Config, left: &[String]) -> Settings {
        let is_left = |key: &String| left.iter().any(|left| key.starts_with(left.as_str()));
        let (mut origin, before) = (read.origin.clone(), self.origin.iter());
        origin.extend(before.filter(|(key, _)| is_left(key)).map(|(k, o)| (k.clone(), o.clone())));
        Settings { config, origin, ..self.clone() }
    }

    /// What is no mistake and may not be meant: variables of the environment that have almost the name of one that
    /// counts.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Where the value of `key` came from: `built-in`, `config/sluice.toml:12`,
    /// `environment SLUICE_LOG__LEVEL` or `--set log.level`. None if the key is not set.
    pub fn origin(&self, key: &str) -> Option<&str> {
        self.origin.get(key).map(String::as_str)
    }

    /// Where each `[[rule]]` was written, as [`Settings::origin`] says it; empty where that is not known.
    pub fn rule_origins(&self) -> Vec<String> {
        let of = |index: usize| {
            let key = |action: &str| format!("rule.{index}.{action}.0");
            let origin = self.origin(&key("allow")).or_else(|| self.origin(&key("deny")));
            origin.unwrap_or_default().to_owned()
        };
        (0..self.config.rule.len()).map(of).collect()
    }

    /// Whether this is the built-in development configuration: no file was given.
    pub fn is_development(&self) -> bool {
        self.is_development
    }

    /// The store's section, its path as it is seen from the current folder.
    pub fn store(&self) -> StoreConfig {
        let store = self.config.store.clone();
        let path = self.folder.join(&store.path);
        StoreConfig { path, ..store }
    }
}

/// Everything that is wrong with a configuration, one line each, where it was written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct SettingsError(Vec<String>);

impl SettingsError {
    /// Of these lines.
    pub(super) fn new(lines: Vec<String>) -> SettingsError {
        SettingsError(lines)
    }

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

/// Reads and checks the configuration.
///
/// Without `files` it begins with [`Config::development`], else with [`Config::beneath_files`]. `env` are the
/// environment's variables, of which `SLUICE_SECTION__KEY` count; `sets` are `section.key=value`.
/// Later files go over earlier ones; a file with `[[listener]]` (or `[[class]]`) replaces all earlier
/// ones, while environment and command line change one that is there, as in `listener.0.address`.
pub fn load(
    files: &[PathBuf],
    env: impl IntoIterator<Item = (String, String)>,
    sets: &[String],
) -> Result<Settings, SettingsError> {
    let keys = Keys::all();
    let base = if files.is_empty() { Config::development() } else { Config::beneath_files() };
    let mut layers = vec![Layer::built_in(&base)];
    let mut wrong = Vec::new();
    let mut spoiled = Some(Vec::new());
    for path in files {
        let read = file::read(path, &keys);
        layers.push(read.layer);
        wrong.extend(read.wrong);
        spoiled = spoiled.zip(read.spoiled).map(|(all, more)| [all, more].concat());
    }
    let mut env: Vec<_> = env.into_iter().collect();
    env.sort();
    let singles = env.iter().filter_map(|(name, text)| variable(name, text, &keys));
    for single in singles.chain(sets.iter().map(|set| setting(set, &keys))) {
        match single {
            Ok(layer) => layers.push(layer),
            Err((key, line)) => {
                wrong.push(line);
                spoiled.iter_mut().for_each(|all| all.extend(key.clone()));
            }
        }
    }
    let folder = files.last().and_then(|file| file.parent()).unwrap_or(Path::new(""));
    // What does not follow from the mistakes found so far is told with them.
    let found = match (merge(&layers, keys.lists(), folder, files.is_empty()), spoiled) {
        (Ok(settings), _) if wrong.is_empty() => {
            let hints = hints(&env, &settings.config, &keys);
            return Ok(Settings { hints, ..settings });
        }
        (Err(found), Some(spoiled)) => found.into_iter().filter(|m| !m.follows(&spoiled)).collect(),
        _ => Vec::new(),
    };
    wrong.extend(found.into_iter().map(|mistake| mistake.line));
    Err(SettingsError(wrong))
}

/// Something wrong with the whole of the layers.
struct Mistake {
    /// The key; empty if it is none's.
    key: String,
    /// Whether a layer has set the key.
    is_written: bool,
    line: String,
}

impl Mistake {
    fn of_none(line: String) -> Mistake {
        Mistake { key: String::new(), is_written: true, line }
    }

    /// Whether it may be there only because the keys `spoiled` were left out.
    fn follows(&self, spoiled: &[String]) -> bool {
        let section = |key: &str| key.rsplit_once('.').map_or(String::new(), |(s, _)| s.to_owned());
        let within = |one: &str, other: &str| {
            one.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        spoiled.iter().any(|other| {
            within(&self.key, other)
                || within(other, &self.key)
                || self.line.contains(&bare(other))
                || (!self.is_written && section(&self.key) == section(other))
        })
    }
}

/// The layer of one value; or the key, if there is one, and the line to say.
type Single = Result<Layer, (Option<String>, String)>;

/// The layer of a variable of the environment; none if it is none of ours.
fn variable(name: &str, text: &str, keys: &Keys) -> Option<Single> {
    let origin = format!("environment {name}");
    Some(single(keys.of_variable(name).transpose()?, text, &origin, keys))
}

/// What is said of variables that stand for no key and look as if they should.
fn hints(env: &[(String, String)], config: &Config, keys: &Keys) -> Vec<String> {
    let is_meant = |name: &str| config.auth.variables().any(|meant| meant == name);
    let others = env
        .iter()
        .map(|(name, _)| name)
        .filter(|name| !is_meant(name) && keys.of_variable(name).is_ok_and(|key| key.is_none()));
    let hint = |name: &String| {
        let near = keys.near_variable(name)?;
        Some(format!("environment {name}: stands for nothing; did you mean {near}?"))
    };
    others.filter_map(hint).collect()
}

/// The layer of `section.key=value` on the command line.
fn setting(set: &str, keys: &Keys) -> Single {
    let (path, text) = set
        .split_once('=')
        .ok_or_else(|| (None, format!("--set {set}: expected section.key=value")))?;
    single(keys.find(path.trim()), text.trim(), &format!("--set {path}"), keys)
}

/// The layer of one value, if it is of its key's kind and in its range.
fn single(key: Result<SettableKey, String>, text: &str, origin: &str, keys: &Keys) -> Single {
    let key = key.map_err(|problem| (None, format!("{origin}: {problem}")))?;
    let name = key.name();
    let judged = key.value(text).and_then(|value| match judge(keys, &name, Some(value.clone())) {
        None => Ok(value),
        Some(problem) => Err(problem),
    });
    match judged {
        Ok(value) => Ok(Layer::single(key.expression(), value, origin)),
        Err(problem) => {
            let line = format!("{origin}: {name}: {problem}");
            Err((Some(name), line))
        }
    }
}

/// Lays the layers over each other and checks the whole.
fn merge(
    layers: &[Layer],
    lists: &[String],
    folder: &Path,
    is_development: bool,
) -> Result<Settings, Vec<Mistake>> {
    let one = |line: String| vec![Mistake::of_none(line)];
    if let Some(line) = lists.iter().find_map(|list| beyond(list, layers)) {
        return Err(one(line));
    }
    let mut builder = config::Config::builder();
    for layer in layers {
        builder = builder.add_source(layer.clone());
    }
    let merged = builder.build().map_err(|error| one(error.to_string()))?;
    if let Some(list) = with_gap("", &merged.cache) {
        let layer = layers.iter().rfind(|layer| layer.is_in(&list));
        let origin = layer.map_or(BUILT_IN, Layer::origin);
        return Err(one(format!("{origin}: {list} has no such place, counted from 0")));
    }
    let mut origin = BTreeMap::new();
    origins("", &merged.cache, &mut origin);
    let config: Config = merged.try_deserialize().map_err(|error| one(error.to_string()))?;
    if let Err(problems) = config.check() {
        let mistake = |problem: Problem| Mistake {
            is_written: origin.get(&problem.key).is_some_and(|origin| origin != BUILT_IN),
            line: match written(&origin, &problem.key) {
                Some(origin) => format!("{}: {problem}", origin.replace(COLUMN, ":")),
                None => problem.to_string(),
            },
            key: problem.key,
        };
        return Err(problems.into_iter().map(mistake).collect());
    }
    for origin in origin.values_mut() {
        origin.truncate(origin.find(COLUMN).unwrap_or(origin.len()));
    }
    let (folder, hints) = (folder.to_owned(), Vec::new());
    Ok(Settings { config, origin, folder, is_development, hints })
}

/// What is wrong with the layer that changes an item of `list` that is not there, if one does.
fn beyond(list: &str, layers: &[Layer]) -> Option<String> {
    let length = layers.iter().filter_map(|layer| layer.length(list)).next_back().unwrap_or(0);
    let is_beyond = |layer: &&Layer| layer.index(list).is_some_and(|index| index >= length);
    let origin = layers.iter().find(is_beyond)?.origin();
    let there_are = if length == 1 { "is 1".to_owned() } else { format!("are {length}") };
    Some(format!("{origin}: there {there_are} [[{list}]], counted from 0"))
}

/// Where `key` was written, or for a key left out, another one of its section.
fn written<'a>(origin: &'a BTreeMap<String, String>, key: &str) -> Option<&'a str> {
    if let Some(origin) = origin.get(key) {
        return (origin != BUILT_IN).then_some(origin);
    }
    let (section, _) = key.rsplit_once('.')?;
    let beside =
        origin.iter().find(|(key, origin)| key.starts_with(section) && *origin != BUILT_IN);
    beside.map(|(_, origin)| origin.as_str())
}
