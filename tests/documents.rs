//! The documents say nothing that is not so: links lead somewhere, commands are commands, keys are keys.
//!
//! What a document is: each `.md` file of the repository, and the comments of `config/examples/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sluicemq::config::{Config, ConfigEntry};

/// Folders without documents of ours.
const SKIPPED: &[&str] = &["target", "fixtures", ".git", "data"];

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut wrong = Vec::new();
    for document in documents() {
        for (number, link) in document.links() {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => document.path.clone(),
                file => document.path.parent().expect("a folder").join(file),
            };
            let at = format!("{}:{number}: {link}", document.name());
            if !target.exists() {
                wrong.push(format!("{at}: no such file"));
            } else if !anchor.is_empty() && !anchors(&target).contains(anchor) {
                wrong.push(format!("{at}: no such heading"));
            }
        }
    }
    none(&wrong);
}

/// The real program takes the arguments: it prints its help instead of doing what they say.
#[test]
fn every_command_of_sluice_is_one() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in documents().into_iter().chain(examples()) {
        for (number, line) in document.commands() {
            let Some(arguments) = line.strip_prefix("sluice ") else { continue };
            let arguments = arguments.split_whitespace().map(|word| word.trim_matches('\''));
            let mut sluice = Command::new(env!("CARGO_BIN_EXE_sluice"));
            let output = sluice.args(arguments).arg("--help").output().unwrap();
            seen += 1;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                wrong.push(format!("{}:{number}: {line}\n{said}", document.name()));
            }
        }
    }
    none(&wrong);
    assert!(seen >= 10, "only {seen} commands were found");
}

#[test]
fn every_tool_and_every_argument_of_cargo_exists() {
    let packages = packages();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in documents() {
        for (number, line) in document.commands().into_iter().chain(document.quoted()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(program) = words.iter().find(|word| !word.contains('=')) else { continue };
            let mut add = |what: &str| {
                wrong.push(format!("{}:{number}: {what} of {line:?}", document.name()));
            };
            seen += 1;
            let is_ours = ["tools/", ".ci/"].iter().any(|folder| program.starts_with(folder));
            if is_ours && !program.contains(['*', '<']) && !house().join(program).exists() {
                add(program);
            }
            if *program != "cargo" {
                continue;
            }
            for pair in words.windows(2) {
                let named = pair[1].trim_matches('"');
                let exists = match pair[0] {
                    "--test" => is_file(&["tests"], named),
                    "--example" => is_file(&["examples", "tools/load/examples"], named),
                    "--bench" => is_file(&["tools/bench/benches"], named),
                    "-p" | "--package" => packages.contains(named),
                    "--features" => named.split(',').all(is_feature),
                    _ => true,
                };
                if !exists {
                    add(&pair.join(" "));
                }
            }
        }
    }
    none(&wrong);
    assert!(seen >= 20, "only {seen} commands were found");
}

#[test]
fn every_key_and_section_in_backticks_is_in_the_table() {
    let (mut keys, mut sections) = (BTreeSet::new(), BTreeSet::new());
    for entry in Config::entries() {
        match entry {
            ConfigEntry::Key(key) => keys.insert(key.name.replace(".0", "")),
            ConfigEntry::Section(section) => sections.insert(section.name.replace(".0", "")),
        };
    }
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in documents() {
        for (number, code) in document.quoted() {
            let name = code.split([' ', '=']).next().expect("a first word");
            let is_known = if let Some(section) = heading(name) {
                sections.contains(section)
            } else if is_key(name, &sections) {
                keys.contains(name) || sections.contains(name)
            } else {
                continue;
            };
            seen += 1;
            if !is_known {
                wrong.push(format!("{}:{number}: no key {code}", document.name()));
            }
        }
    }
    none(&wrong);
    assert!(seen >= 200, "only {seen} keys were found");
}

/// A row of a walk names a file and its functions: ``| 1 | `src/net/serve.rs` `read_and_poll` |``.
#[test]
fn every_file_and_function_of_the_map_exists() {
    let map = read(house().join("ARCHITECTURE.md"));
    let (mut wrong, mut functions) = (Vec::new(), 0);
    for (number, is_code, line) in map.lines() {
        if is_code {
            continue;
        }
        let mut source = String::new();
        for name in line.split('`').skip(1).step_by(2) {
            let at = format!("ARCHITECTURE.md:{number}: {name}");
            let is_path = ["src/", "tests/", "tools/", "docs/", "examples/"];
            if is_path.iter().any(|folder| name.starts_with(folder)) && !name.contains('<') {
                let path = house().join(name);
                if !path.exists() {
                    wrong.push(format!("{at}: no such file"));
                }
                source = fs::read_to_string(path).unwrap_or_default();
            } else if !source.is_empty() && line.starts_with("| ") && is_function(name) {
                functions += 1;
                if !source.contains(&format!("fn {name}")) {
                    wrong.push(format!("{at}: no such function in the file named before it"));
                }
            }
        }
    }
    none(&wrong);
    assert!(functions >= 15, "only {functions} functions were found");
}

/// Whether a word in backticks has the form of a function's name.
fn is_function(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// The name in `[section]` or `[[section]]`.
fn heading(code: &str) -> Option<&str> {
    let name = code.strip_prefix('[')?.strip_suffix(']')?;
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_word = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
    (!name.is_empty() && name.chars().all(is_word)).then_some(name)
}

/// Whether it has the form of a key: a section of the table, and names behind it.
fn is_key(name: &str, sections: &BTreeSet<String>) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_file = [".rs", ".md", ".toml", ".tsv"].iter().any(|ending| name.ends_with(ending));
    let mut parts = name.split('.');
    let section = parts.next().expect("a first part");
    let mut rest = parts.peekable();
    !is_file
        && sections.contains(section)
        && rest.peek().is_some()
        && rest.all(|part| !part.is_empty() && part.chars().all(is_word))
}

struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    fn name(&self) -> String {
        self.path.strip_prefix(house()).expect("below the root").display().to_string()
    }

    /// Lines outside and inside blocks of code, with their numbers.
    fn lines(&self) -> impl Iterator<Item = (usize, bool, &str)> {
        let mut is_code = false;
        self.text.lines().enumerate().filter_map(move |(index, line)| {
            if line.trim_start().starts_with("```") {
                is_code = !is_code;
                return None;
            }
            Some((index + 1, is_code, line))
        })
    }

    /// The relative links.
    fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (number, _, line) in self.lines().filter(|(_, is_code, _)| !is_code) {
            for part in line.split("](").skip(1) {
                let link = part.split(')').next().expect("a first part");
                if !link.contains("://") && !link.starts_with("mailto:") {
                    links.push((number, link.to_owned()));
                }
            }
        }
        links
    }

    /// Lines of blocks of code, without comments.
    fn commands(&self) -> Vec<(usize, String)> {
        let lines = self.lines().filter(|(_, is_code, _)| *is_code);
        lines
            .map(|(number, _, line)| {
                (number, line.split(" #").next().expect("a first part").trim().to_owned())
            })
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .collect()
    }

    /// What stands in backticks.
    fn quoted(&self) -> Vec<(usize, String)> {
        let lines = self.lines().filter(|(_, is_code, _)| !is_code);
        lines
            .flat_map(|(number, _, line)| {
                let quoted = line.split('`').skip(1).step_by(2);
                quoted.map(move |code| (number, code.to_owned()))
            })
            .filter(|(_, code)| !code.trim().is_empty())
            .collect()
    }
}

/// Every document of the repository.
fn documents() -> Vec<Document> {
    let mut paths = Vec::new();
    collect(&house(), "md", &mut paths);
    assert!(paths.len() >= 10, "{paths:?}");
    paths.into_iter().map(read).collect()
}

/// The examples of configurations: their indented comments are blocks of code.
fn examples() -> Vec<Document> {
    let mut paths = Vec::new();
    collect(&house().join("config"), "toml", &mut paths);
    let block = |document: Document| {
        let lines = document.text.lines();
        let lines = lines.map(|line| line.strip_prefix("#   ").unwrap_or_default());
        let text = std::iter::once("```").chain(lines).collect::<Vec<_>>().join("\n");
        Document { text, ..document }
    };
    paths.into_iter().map(read).map(block).collect()
}

fn read(path: PathBuf) -> Document {
    Document { text: fs::read_to_string(&path).unwrap(), path }
}

fn collect(folder: &Path, ending: &str, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() && !SKIPPED.contains(&name.as_str()) {
            collect(&path, ending, into);
        } else if path.extension().is_some_and(|found| found == ending) {
            into.push(path);
        }
    }
    into.sort();
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(path: &Path) -> BTreeSet<String> {
    let document = read(path.to_owned());
    let lines = document.lines().filter(|(_, is_code, line)| !is_code && line.starts_with('#'));
    lines
        .map(|(_, _, line)| {
            let text = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            text.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
        })
        .collect()
}

/// The names of the packages of this repository.
fn packages() -> BTreeSet<String> {
    let mut manifests = vec![house().join("Cargo.toml")];
    collect(&house().join("tools"), "toml", &mut manifests);
    manifests.retain(|path| path.ends_with("Cargo.toml"));
    let name = |path: &PathBuf| {
        let manifest: toml::Table = toml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        manifest["package"]["name"].as_str().expect("a name").to_owned()
    };
    manifests.iter().map(name).collect()
}

fn is_feature(name: &str) -> bool {
    let manifest = fs::read_to_string(house().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = toml::from_str(&manifest).unwrap();
    manifest["features"].get(name).is_some()
}

/// Whether one of the folders has a program of that name.
fn is_file(folders: &[&str], name: &str) -> bool {
    let file = |folder: &&str| house().join(folder).join(format!("{name}.rs")).exists();
    name.contains('<') || folders.iter().any(file)
}

fn house() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
