//! Rust source as tidy reads it: words with their line, comments and text in quotes left out,
//! code under `#[cfg(test)]` marked. A reader for rules, not a compiler.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One file of Rust source.
pub struct Source {
    /// Path from the root that was read, with `/`.
    pub path: String,
    /// The file as it is.
    pub text: String,
    /// Its words.
    pub tokens: Vec<Token>,
    /// Its comments with the line that each begins at, without the slashes.
    pub comments: Vec<(usize, String)>,
    /// The module it is: `codec/decode.rs` is `["codec", "decode"]`.
    pub module: Vec<String>,
}

/// A name, a `::`, or one character of punctuation; text in quotes is `"`.
#[derive(Clone, Debug)]
pub struct Token {
    pub text: String,
    pub line: usize,
    /// Under `#[cfg(test)]`, in a file of its own or not.
    pub test: bool,
}

/// A path such as `std::sync::Arc`; a `use` with braces gives one for each name in them.
#[derive(Debug)]
pub struct Named {
    pub segments: Vec<String>,
    pub line: usize,
    pub test: bool,
    /// Inline modules around it.
    pub inside: Vec<String>,
    pub kind: Kind,
    /// Its name behind `as`.
    pub alias: Option<String>,
}

/// Where a path stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// In code.
    Code,
    /// In a `use`.
    Use,
    /// In a `pub use`, of any visibility.
    Export,
}

impl Source {
    /// Every `.rs` file below `folder` of `root`, sorted; fixtures and build output left out.
    pub fn read_all(root: &Path, folder: &str) -> Vec<Source> {
        let mut files = Vec::new();
        collect(&root.join(folder), &mut files);
        files.sort();
        let mut sources: Vec<Source> = files
            .iter()
            .map(|file| {
                let path = file.strip_prefix(root).expect("below the root");
                Source::parse(
                    &path.to_string_lossy().replace('\\', "/"),
                    std::fs::read_to_string(file).expect("source is UTF-8"),
                )
            })
            .collect();
        let tests: BTreeSet<String> = sources.iter().flat_map(Source::test_files).collect();
        for source in &mut sources {
            let stem = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
            if tests.iter().any(|test| stem == test || stem.starts_with(&format!("{test}/"))) {
                source.tokens.iter_mut().for_each(|token| token.test = true);
            }
        }
        sources
    }

    pub fn parse(path: &str, text: String) -> Source {
        let (mut tokens, comments) = words(&text);
        mark_tests(&mut tokens);
        let stem = path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut module: Vec<String> = stem.split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|name| name == "mod")
            || matches!(path, "src/lib.rs" | "src/main.rs")
        {
            module.pop();
        }
        Source { path: path.to_owned(), text, tokens, comments, module }
    }

    /// Every path in the file.
    pub fn names(&self) -> Vec<Named> {
        let mut names = Vec::new();
        let mut inside: Vec<(String, usize)> = Vec::new();
        let mut depth = 0;
        let mut at = 0;
        let mut kind = Kind::Code;
        while at < self.tokens.len() {
            let token = &self.tokens[at];
            match token.text.as_str() {
                ";" => kind = Kind::Code,
                "use" if self.word(at + 1) != "<" => {
                    let exported = at > 0 && matches!(self.word(at - 1), "pub" | ")");
                    kind = if exported { Kind::Export } else { Kind::Use };
                }
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    inside.retain(|&(_, opened)| opened < depth + 1);
                }
                "mod" if self.word(at + 2) == "{" => {
                    inside.push((self.word(at + 1).to_owned(), depth + 1));
                    at += 2;
                    continue;
                }
                _ if is_name(&token.text) => {
                    let around: Vec<String> = inside.iter().map(|(name, _)| name.clone()).collect();
                    let first = names.len();
                    at = self.tree(at, Vec::new(), &around, &mut names);
                    names[first..].iter_mut().for_each(|name| name.kind = kind);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        names
    }

    /// Lines of the file that are not tests.
    pub fn lines_outside_tests(&self) -> impl Iterator<Item = &str> {
        let tests: Vec<(usize, usize)> = self
            .tokens
            .chunk_by(|a, b| a.test == b.test)
            .filter(|run| run[0].test)
            .map(|run| (run[0].line, run[run.len() - 1].line))
            .collect();
        let is_test = move |line| tests.iter().any(|&(first, last)| first <= line && line <= last);
        let lines = self.text.lines().enumerate();
        lines.filter(move |(at, _)| !is_test(at + 1)).map(|(_, line)| line)
    }

    /// Whether the whole file is a test.
    pub fn is_test(&self) -> bool {
        self.tokens.iter().all(|token| token.test)
    }

    /// The text of the token at `at`, or nothing.
    pub fn word(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    /// Follows one path or tree of paths from `at`; returns where it ends.
    fn tree(
        &self,
        mut at: usize,
        mut prefix: Vec<String>,
        inside: &[String],
        names: &mut Vec<Named>,
    ) -> usize {
        if self.word(at) == "{" {
            at += 1;
            while at < self.tokens.len() && self.word(at) != "}" {
                let before = at;
                at = self.tree(at, prefix.clone(), inside, names);
                if self.word(at) == "as" {
                    at += 2;
                }
                if self.word(at) == "," || at == before {
                    at += 1;
                }
            }
            return at + 1;
        }
        let Some(token) = self.tokens.get(at) else { return at };
        prefix.push(token.text.clone());
        let goes_on = self.word(at + 1) == "::"
            && (is_name(self.word(at + 2)) || matches!(self.word(at + 2), "{" | "*"));
        if goes_on {
            return self.tree(at + 2, prefix, inside, names);
        }
        let renamed = self.word(at + 1) == "as";
        names.push(Named {
            segments: prefix,
            line: token.line,
            test: token.test,
            inside: inside.to_vec(),
            kind: Kind::Code,
            alias: renamed.then(|| self.word(at + 2).to_owned()),
        });
        at + 1
    }

    /// Files, without `.rs`, that this one declares as `#[cfg(test)] mod name;`.
    fn test_files(&self) -> Vec<String> {
        let folder = match self.path.rsplit_once('/') {
            Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder.to_owned(),
            _ => self.path.trim_end_matches(".rs").to_owned(),
        };
        self.tokens
            .windows(3)
            .filter(|w| w[0].test && w[0].text == "mod" && w[2].text == ";")
            .map(|w| format!("{folder}/{}", w[1].text))
            .collect()
    }
}

impl Named {
    /// The path from the crate's root, if it is one within the crate. `module` is where it stands.
    pub fn absolute(&self, module: &[String]) -> Option<Vec<String>> {
        let mut here: Vec<String> = module.iter().chain(&self.inside).cloned().collect();
        let mut rest = self.segments.as_slice();
        match rest.first()?.as_str() {
            "crate" => here.clear(),
            "self" | "super" => {
                while rest.first().is_some_and(|first| first == "super") && rest.len() > 1 {
                    here.pop();
                    rest = &rest[1..];
                }
                if rest.len() == self.segments.len() && rest.len() == 1 {
                    return None; // `self`, the value.
                }
                if rest[0] != "self" {
                    here.extend(rest.iter().cloned());
                    return Some(here);
                }
            }
            _ => return None,
        }
        here.extend(rest[1..].iter().cloned());
        Some(here)
    }

    /// Whether `wanted` stands in it, segment by segment.
    pub fn holds(&self, wanted: &[&str]) -> bool {
        self.segments.windows(wanted.len()).any(|part| part.iter().eq(wanted))
    }
}

pub fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            if !path.ends_with("fixtures") && !path.ends_with("target") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// The words of a file, and its comments.
fn words(text: &str) -> (Vec<Token>, Vec<(usize, String)>) {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut comments = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let start = at;
        let began = line;
        let next = chars.get(at + 1).copied();
        let word = match chars[at] {
            '/' if next == Some('/') => {
                at = find(&chars, at, |c| c == '\n');
                None
            }
            '/' if next == Some('*') => {
                at = after_block_comment(&chars, at);
                None
            }
            '"' => {
                at = after_string(&chars, at);
                Some("\"".to_owned())
            }
            '\'' => {
                at = after_quote(&chars, at);
                None
            }
            ':' if next == Some(':') => {
                at += 2;
                Some("::".to_owned())
            }
            first if first.is_alphanumeric() || first == '_' => {
                at = find(&chars, at, |c| !c.is_alphanumeric() && c != '_');
                let name: String = chars[start..at].iter().collect();
                let raw = matches!(name.as_str(), "r" | "br" | "cr");
                match chars.get(at) {
                    Some('#' | '"') if raw && after_raw(&chars, at).is_some() => {
                        at = after_raw(&chars, at).unwrap_or(at);
                        Some("\"".to_owned())
                    }
                    Some('"') if matches!(name.as_str(), "b" | "c") => {
                        at = after_string(&chars, at);
                        Some("\"".to_owned())
                    }
                    _ => Some(name),
                }
            }
            other if other.is_whitespace() => {
                at += 1;
                None
            }
            other => {
                at += 1;
                Some(other.to_string())
            }
        };
        line += chars[start..at].iter().filter(|&&c| c == '\n').count();
        if chars[start] == '/' && at > start + 1 {
            let comment: String = chars[start..at].iter().collect();
            comments.push((began, comment.trim_start_matches(['/', '!', '*']).to_owned()));
        }
        if let Some(text) = word {
            tokens.push(Token { text, line: began, test: false });
        }
    }
    (tokens, comments)
}

fn find(chars: &[char], from: usize, end: impl Fn(char) -> bool) -> usize {
    chars[from..].iter().position(|&c| end(c)).map_or(chars.len(), |offset| from + offset)
}

fn after_string(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// The end of `#"…"#` with any number of `#`; none if it is a raw name such as `r#type`.
fn after_raw(chars: &[char], from: usize) -> Option<usize> {
    let marks = chars[from..].iter().take_while(|&&c| c == '#').count();
    if chars.get(from + marks) != Some(&'"') {
        return None;
    }
    let mut at = from + marks + 1;
    while at < chars.len() {
        let closed = chars[at] == '"' && chars[at + 1..].iter().take(marks).all(|&c| c == '#');
        if closed {
            return Some((at + 1 + marks).min(chars.len()));
        }
        at += 1;
    }
    Some(at)
}

fn after_block_comment(chars: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The end of a character in quotes, or of the tick of a lifetime.
fn after_quote(chars: &[char], from: usize) -> usize {
    match (chars.get(from + 1), chars.get(from + 2)) {
        (Some('\\'), _) => find(chars, from + 3, |c| c == '\'') + 1,
        (Some(_), Some('\'')) => from + 3,
        _ => from + 1,
    }
}

/// Marks every item behind a `#[cfg(test)]` or `#[cfg(all(test, …))]`.
fn mark_tests(tokens: &mut [Token]) {
    let mut at = 0;
    while at < tokens.len() {
        if !is_cfg_test(&tokens[at..]) {
            at += 1;
            continue;
        }
        let mut depth = 0;
        let mut seen_item = false;
        while let Some(token) = tokens.get_mut(at) {
            token.test = true;
            match token.text.as_str() {
                "(" | "[" => depth += 1,
                "{" => (depth, seen_item) = (depth + 1, true),
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            let ends = token.text == ";" || (token.text == "}" && seen_item);
            at += 1;
            if depth == 0 && ends {
                break;
            }
        }
    }
}

fn is_cfg_test(tokens: &[Token]) -> bool {
    let starts = |with: &[&str]| {
        tokens.len() >= with.len()
            && tokens.iter().zip(with).all(|(token, text)| token.text == *text)
    };
    starts(&["#", "[", "cfg", "(", "test"]) || starts(&["#", "[", "cfg", "(", "all", "(", "test"])
}
