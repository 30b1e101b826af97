//! Functions, type definitions and public fields of a file, found by its words.

use super::source::{Source, Token};

/// A function outside tests. A declaration without a body is one too.
pub struct Function {
    pub place: Place,
    pub name: String,
    /// From the line of `fn` to the closing brace, both counted.
    pub lines: usize,
    /// `self` counted.
    pub parameters: usize,
}

/// Where something is defined.
pub struct Place {
    pub path: String,
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.path, self.line)
    }
}

/// Functions outside tests, those within functions and macros too.
pub fn functions(source: &Source) -> Vec<Function> {
    (0..source.tokens.len())
        .filter(|&at| source.word(at) == "fn" && !source.tokens[at].test)
        .filter_map(|at| function_at(source, at))
        .collect()
}

/// The function that begins with the `fn` at `at`; none if it is a type such as `fn(u8)`.
fn function_at(source: &Source, at: usize) -> Option<Function> {
    let name = source.word(at + 1);
    if !name.starts_with(|first: char| first.is_alphabetic() || first == '_') {
        return None;
    }
    let open = if source.word(at + 2) == "<" { closing(source, at + 2)? + 1 } else { at + 2 };
    if source.word(open) != "(" {
        return None; // In a macro: `fn $name`.
    }
    let mut end = closing(source, open)? + 1;
    while !matches!(source.word(end), "{" | ";" | "") {
        end = match source.word(end) {
            "(" | "[" | "<" => closing(source, end)? + 1,
            _ => end + 1,
        };
    }
    if source.word(end) == "{" {
        end = closing_brace(&source.tokens, end)?;
    }
    let line = source.tokens[at].line;
    Some(Function {
        place: Place { path: source.path.clone(), line },
        name: name.to_owned(),
        lines: source.tokens.get(end)?.line + 1 - line,
        parameters: arguments(source, open),
    })
}

/// How many parts the commas make of what is between the bracket at `open` and its partner.
fn arguments(source: &Source, open: usize) -> usize {
    let Some(close) = closing(source, open) else { return 0 };
    let (mut at, mut count, mut empty) = (open + 1, 0, true);
    while at < close {
        match source.word(at) {
            "," => empty = true,
            _ if empty => (count, empty) = (count + 1, false),
            _ => {}
        }
        at = match source.word(at) {
            "(" | "[" | "<" | "{" => closing(source, at).map_or(close, |end| end + 1),
            _ => at + 1,
        };
    }
    count
}

/// The partner of the bracket at `open`, in a signature or a type.
fn closing(source: &Source, open: usize) -> Option<usize> {
    let mut depth = 0;
    for at in open..source.tokens.len() {
        match source.word(at) {
            "(" | "[" | "<" | "{" => depth += 1,
            ">" if matches!(source.word(at - 1), "-" | "=") => {}
            ")" | "]" | ">" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The partner of the brace at `open`, in code: `<` compares there.
fn closing_brace(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Structs, enums, traits and type aliases outside tests; no associated types.
pub fn type_definitions(source: &Source) -> Vec<(String, Place)> {
    let mut definitions = Vec::new();
    // Whether each brace that is open belongs to a `trait` or an `impl`.
    let mut open = Vec::new();
    let mut associated = false;
    for (at, token) in source.tokens.iter().enumerate() {
        match token.text.as_str() {
            "impl" if starts_item(source, at) => associated = true,
            "{" => open.push(std::mem::take(&mut associated)),
            "}" => drop(open.pop()),
            "struct" | "enum" | "trait" | "type" => {
                let name = source.word(at + 1);
                let is_associated = token.text == "type" && open.last() == Some(&true);
                if token.text == "trait" {
                    associated = true;
                }
                if name.starts_with(char::is_uppercase) && !is_associated && !token.test {
                    let place = Place { path: source.path.clone(), line: token.line };
                    definitions.push((name.to_owned(), place));
                }
            }
            _ => {}
        }
    }
    definitions
}

/// Whether the word at `at` begins an item, and is no `impl` in a type.
fn starts_item(source: &Source, at: usize) -> bool {
    at == 0 || matches!(source.word(at - 1), ";" | "}" | "{" | "]" | "unsafe")
}

/// Fields of structs outside tests that have any `pub`, of tuples too.
pub fn public_fields(source: &Source) -> usize {
    (0..source.tokens.len())
        .filter(|&at| source.word(at) == "struct" && !source.tokens[at].test)
        .map(|at| public_fields_at(source, at))
        .sum()
}

fn public_fields_at(source: &Source, at: usize) -> usize {
    let mut open = at + 2;
    while !matches!(source.word(open), "{" | "(" | ";" | "") {
        open = match source.word(open) {
            "<" => closing(source, open).map_or(open, |end| end) + 1,
            _ => open + 1,
        };
    }
    let Some(close) = closing(source, open).filter(|_| source.word(open) != ";") else { return 0 };
    (open..close).filter(|&at| source.word(at) == "pub").count()
}
