//! Words that have one place only: paths, types without a named hasher, unfinished work, versions of
//! the protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::floors::floor_of;
use super::source::{Named, Source};
use super::{From, FromAnd, HASHED, Only, Place, UNFINISHED, WORDS, Word};

/// Words out of place, and what unfinished work leaves behind.
pub fn words(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for source in Source::read_all(root, "src") {
        let mut here = BTreeSet::new();
        for name in source.names().iter().filter(|name| !name.test) {
            for word in WORDS.iter().filter(|word| word.is_in(name) && !word.may_stand(&source)) {
                here.insert((
                    name.line,
                    format!("{} belongs {}", word.path.join("::"), word.place),
                ));
            }
        }
        if floor_of(&source) < 4 {
            let lines = unnamed_hashers(&source);
            here.extend(lines.map(|(line, map)| (line, format!("{map} without a named hasher"))));
        }
        found.extend(here.iter().map(|(line, what)| format!("{}:{line}: {what}", source.path)));
        found.extend(unfinished(&source));
    }
    for folder in ["tests", "tools"] {
        found.extend(Source::read_all(root, folder).iter().flat_map(unfinished));
    }
    found
}

impl Word {
    /// As a whole path from its first segment if it names a crate, anywhere in a path otherwise.
    fn is_in(&self, name: &Named) -> bool {
        let krate = self.path[0].starts_with(char::is_lowercase) && self.path[0] != "unwrap";
        if krate {
            name.segments
                .iter()
                .map(String::as_str)
                .take(self.path.len())
                .eq(self.path.iter().copied())
        } else {
            name.holds(self.path)
        }
    }

    fn may_stand(&self, source: &Source) -> bool {
        match self.place {
            Only(paths) => paths.iter().any(|path| source.path.starts_with(path)),
            From(floor) => floor_of(source) >= floor,
            FromAnd(floor, path) => floor_of(source) >= floor || source.path == path,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Only([]) => write!(f, "nowhere"),
            Only(paths) => write!(f, "only in {}", paths.join(", ")),
            From(floor) | FromAnd(floor, _) => write!(f, "on floor {floor} and above"),
        }
    }
}

/// Types such as `HashMap<K, V>` that leave the hasher to chance, outside tests.
fn unnamed_hashers(source: &Source) -> impl Iterator<Item = (usize, &'static str)> {
    (0..source.tokens.len()).filter_map(|at| {
        let (map, full) = HASHED.iter().find(|(map, _)| source.word(at) == *map)?;
        let open = if source.word(at + 1) == "::" { at + 2 } else { at + 1 };
        let parameters = parameters(source, open)?;
        let token = &source.tokens[at];
        (parameters < *full && !token.test).then_some((token.line, *map))
    })
}

/// The number of parameters between the `<` at `open` and its `>`.
fn parameters(source: &Source, open: usize) -> Option<usize> {
    let (mut depth, mut count) = (0, 1);
    for at in open..source.tokens.len() {
        match source.word(at) {
            "<" | "(" | "[" => depth += 1,
            ">" if source.word(at - 1) == "-" => {}
            ">" | ")" | "]" => depth -= 1,
            "," if depth == 1 && source.word(at + 1) != ">" => count += 1,
            _ => {}
        }
        if depth == 0 {
            return (at > open).then_some(count);
        }
    }
    None
}

fn unfinished(source: &Source) -> Vec<String> {
    (0..source.tokens.len())
        .flat_map(|at| UNFINISHED.iter().map(move |words| (at, words)))
        .filter(|(at, words)| words.iter().enumerate().all(|(i, w)| source.word(at + i) == *w))
        .map(|(at, words)| {
            let line = source.tokens[at].line;
            format!("{}:{line}: {} is unfinished work", source.path, words.concat())
        })
        .collect()
}

/// Lines outside the codec that name a version, against what `listed` allows.
pub fn versions(root: &Path, listed: &[(&str, usize)]) -> Vec<String> {
    let mut listed: BTreeMap<&str, usize> = listed.iter().copied().collect();
    let mut found = Vec::new();
    for source in Source::read_all(root, "src") {
        if source.module.first().is_some_and(|module| module == "codec") {
            continue;
        }
        let lines: Vec<String> = source
            .names()
            .iter()
            .filter(|name| !name.test)
            .filter(|name| name.segments.iter().rev().skip(1).any(|part| part == "Version"))
            .map(|name| name.line.to_string())
            .collect();
        let allowed = listed.remove(source.path.as_str()).unwrap_or(0);
        if lines.len() != allowed {
            let (path, count, lines) = (&source.path, lines.len(), lines.join(", "));
            found.push(format!(
                "{path}: names a Version:: {count} times (lines {lines}), listed {allowed}"
            ));
        }
    }
    found.extend(
        listed.iter().map(|(path, count)| format!("{path}: names no Version::, listed {count}")),
    );
    found
}
