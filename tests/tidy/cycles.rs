//! Which file of `src` imports from which, and the cycles that this makes.
//!
//! A file imports from another if it names an item that the other defines, in a `use` or in code,
//! however the path is spelt. Declaring a module is no import, and neither is passing an item on by
//! `pub use`: the import is from the file that defines the item. What a file names of the modules
//! around it does not count: a module is made of its children, which may know what they are part of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::source::{Kind, Named, Source};

/// The imports between the files of a tree, outside tests.
pub struct Imports {
    paths: Vec<String>,
    /// The first name by which a file imports from another.
    edges: BTreeMap<(usize, usize), Import>,
}

#[derive(Clone, Debug)]
struct Import {
    line: usize,
    name: String,
}

/// Files that import from each other, directly or by way of others.
#[derive(Debug)]
pub struct Cycle {
    /// Sorted paths.
    pub paths: Vec<String>,
    /// One line for each import between two of them.
    pub imports: Vec<String>,
}

/// Cycles of imports that have a file beyond those that one of `allowed` lists.
pub fn cycles(root: &Path, allowed: &[&[&str]]) -> Vec<String> {
    let is_allowed = |cycle: &Cycle| {
        let among = |listed: &[&str]| cycle.paths.iter().all(|path| listed.contains(&&**path));
        allowed.iter().any(|listed| among(listed))
    };
    let mut cycles = Imports::of(root).cycles();
    cycles.retain(|cycle| !is_allowed(cycle));
    cycles.iter().map(|cycle| format!("files import from each other: {cycle}")).collect()
}

/// What the modules of a tree are called, and which names they have from elsewhere.
struct Names {
    /// The file of each module.
    files: BTreeMap<Vec<String>, usize>,
    /// What a name within a module stands for, as a path from the root.
    aliases: BTreeMap<(Vec<String>, String), Vec<String>>,
}

impl Imports {
    /// Reads `src` below `root`, without the programs' own `main.rs`.
    pub fn of(root: &Path) -> Imports {
        let mut sources = Source::read_all(root, "src");
        sources.retain(|source| source.path != "src/main.rs" && !source.is_test());
        let names = Names::of(&sources);
        let mut edges = BTreeMap::new();
        for (from, source) in sources.iter().enumerate() {
            for named in source.names().iter().filter(|named| !named.test) {
                if named.kind == Kind::Export {
                    continue;
                }
                let Some(path) = names.absolute(named, &source.module) else { continue };
                let Some(to) = names.definer(&path, ALIASES_MAX) else { continue };
                if source.module.starts_with(&sources[to].module) {
                    continue;
                }
                let import = Import { line: named.line, name: named.segments.join("::") };
                edges.entry((from, to)).or_insert(import);
            }
        }
        Imports { paths: sources.into_iter().map(|source| source.path).collect(), edges }
    }

    /// The groups of files that import from each other, the longest first.
    pub fn cycles(&self) -> Vec<Cycle> {
        let reached: Vec<BTreeSet<usize>> =
            (0..self.paths.len()).map(|file| self.reached_from(file)).collect();
        let mut cycles = Vec::new();
        for file in 0..self.paths.len() {
            let group: Vec<usize> = reached[file]
                .iter()
                .copied()
                .filter(|&other| reached[other].contains(&file))
                .collect();
            if group.first() == Some(&file) {
                cycles.push(self.cycle(&group));
            }
        }
        cycles.sort_by_key(|cycle| std::cmp::Reverse(cycle.paths.len()));
        cycles
    }

    fn reached_from(&self, file: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut open = vec![file];
        while let Some(from) = open.pop() {
            let next = self.edges.range((from, 0)..=(from, usize::MAX)).map(|(&(_, to), _)| to);
            open.extend(next.filter(|&to| reached.insert(to)));
        }
        reached
    }

    fn cycle(&self, group: &[usize]) -> Cycle {
        let within = |file| group.contains(file);
        let imports = self.edges.iter().filter(|((from, to), _)| within(from) && within(to)).map(
            |(&(from, to), import)| {
                let (from, to) = (&self.paths[from], &self.paths[to]);
                format!("{from}:{}: {} of {to}", import.line, import.name)
            },
        );
        Cycle {
            paths: group.iter().map(|&file| self.paths[file].clone()).collect(),
            imports: imports.collect(),
        }
    }
}

/// So many names may stand for one another before an item is reached.
const ALIASES_MAX: usize = 8;

impl Names {
    fn of(sources: &[Source]) -> Names {
        let modules =
            sources.iter().enumerate().map(|(file, source)| (source.module.clone(), file));
        let mut names = Names { files: modules.collect(), aliases: BTreeMap::new() };
        for source in sources {
            for named in source.names() {
                if named.kind == Kind::Code || named.test {
                    continue;
                }
                let Some(path) = names.absolute(&named, &source.module) else { continue };
                let called = named.alias.clone().or(path.last().cloned());
                let Some(called) = called.filter(|called| called != "*" && called != "_") else {
                    continue;
                };
                names.aliases.insert((source.module.clone(), called), path);
            }
        }
        names
    }

    /// The path from the root: by `crate`, `self` or `super`, by a child module or by a `use`.
    fn absolute(&self, named: &Named, module: &[String]) -> Option<Vec<String>> {
        let mut path = named.absolute(module).or_else(|| self.relative(named, module))?;
        path.retain(|segment| segment != "self");
        Some(path)
    }

    fn relative(&self, named: &Named, module: &[String]) -> Option<Vec<String>> {
        let (first, rest) = named.segments.split_first()?;
        let mut path = match self.aliases.get(&(module.to_vec(), first.clone())) {
            Some(path) if named.kind == Kind::Code => path.clone(),
            _ => {
                let child: Vec<String> = module.iter().chain([first]).cloned().collect();
                self.files.contains_key(&child).then_some(child)?
            }
        };
        path.extend_from_slice(rest);
        Some(path)
    }

    /// The file that defines what `path` names; none if that is a module or unknown.
    fn definer(&self, path: &[String], aliases: usize) -> Option<usize> {
        let known = (0..=path.len()).rev().find(|&len| self.files.contains_key(&path[..len]))?;
        let (module, rest) = path.split_at(known);
        let (item, within) = rest.split_first()?;
        match self.aliases.get(&(module.to_vec(), item.clone())) {
            Some(target) if aliases > 0 && target != path => {
                let target: Vec<String> = target.iter().chain(within).cloned().collect();
                self.definer(&target, aliases - 1)
            }
            _ => self.files.get(module).copied(),
        }
    }
}

impl std::fmt::Display for Cycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n  {}", self.paths.join(" "), self.imports.join("\n  "))
    }
}
