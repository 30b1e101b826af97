//! A mix of scenarios from a file: phases that are run one after the other. A phase says in TOML
//! what a command line says in options; the same code reads both.
//!
//! ```toml
//! [[phase]]
//! scenario = "pair"
//! publishers = 50
//! qos = 1
//! duration = "10s"
//! ```

use std::ops::Range;
use std::path::Path;

use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory, Parser};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::words::{in_one_line, nearest, no_scenario};
use crate::error::Error;
use crate::scenario::Scenario;

/// The scenarios of the phases in `path`.
///
/// # Errors
///
/// If it cannot be read, or with file, line and column, what is wrong in it.
pub fn read(path: &Path) -> Result<Vec<Scenario>, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::File {
        what: "cannot read",
        path: path.display().to_string(),
        source,
    })?;
    parse(&text).map_err(|Wrong { at, why }| {
        let (line, column) = place(&text, at);
        Error::Input(format!("{}:{line}:{column}: {why}", path.display()))
    })
}

/// What is wrong, and where: bytes from the beginning.
#[derive(Debug)]
struct Wrong {
    at: usize,
    why: String,
}

/// A scenario alone, as a command line.
#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    scenario: Scenario,
}

fn parse(text: &str) -> Result<Vec<Scenario>, Wrong> {
    let plan = DeTable::parse(text).map_err(|error| Wrong {
        at: error.span().map_or(0, |span| span.start),
        why: error.message().replace('\n', ", "),
    })?;
    let mut phases = Vec::new();
    for (key, value) in plan.get_ref() {
        if key.get_ref() != "phase" {
            let why = format!("unknown key {:?}: a plan is a list of [[phase]]", key.get_ref());
            return Err(Wrong { at: key.span().start, why });
        }
        let at = value.span().start;
        let list = value.get_ref().as_array();
        let list = list.ok_or_else(|| Wrong { at, why: "a phase begins with [[phase]]".into() })?;
        for phase in list.iter() {
            phases.push(one(phase)?);
        }
    }
    if phases.is_empty() {
        return Err(Wrong { at: 0, why: "a plan has at least one [[phase]]".into() });
    }
    Ok(phases)
}

/// A phase: its keys become the options of its scenario.
fn one(phase: &Spanned<DeValue<'_>>) -> Result<Scenario, Wrong> {
    let begin = phase.span().start;
    let table = phase.get_ref().as_table();
    let table = table.ok_or_else(|| Wrong { at: begin, why: "a phase is a table".into() })?;
    let named = table.get("scenario");
    let named = named.ok_or_else(|| Wrong { at: begin, why: "a phase has a scenario".into() })?;
    let name = named.get_ref().as_str();
    let wrong_name = |why: String| Wrong { at: named.span().start, why };
    let name = name.ok_or_else(|| wrong_name("the name of a scenario is a text".into()))?;
    let command = Line::command();
    let scenarios: Vec<String> =
        command.get_subcommands().map(|one| one.get_name().to_string()).collect();
    let scenario = command.find_subcommand(name);
    let scenario = scenario.ok_or_else(|| wrong_name(no_scenario(name, &scenarios)))?;

    let mut words = vec!["phase".to_string(), name.to_string()];
    let mut behind = Vec::new();
    let mut spans: Vec<(String, Range<usize>)> = Vec::new();
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        if name == "scenario" {
            continue;
        }
        let names: Vec<String> =
            scenario.get_arguments().filter_map(|arg| arg.get_long().map(str::to_string)).collect();
        let positional = scenario.get_positionals().any(|arg| arg.get_id() == name);
        if !positional && !names.iter().any(|known| known == name) {
            let hint = nearest(name, &names).map(|near| format!(": did you mean {near:?}?"));
            let why = format!("unknown key {name:?}{}", hint.unwrap_or_default());
            return Err(Wrong { at: key.span().start, why });
        }
        spans.push((name.into(), value.span()));
        match said(value)? {
            Said::Flag(false) => {}
            Said::Flag(true) => words.push(format!("--{name}")),
            Said::Value(text) if positional => behind.push(text),
            Said::Value(text) => words.push(format!("--{name}={text}")),
        }
    }
    words.push("--".into());
    words.extend(behind);
    Line::try_parse_from(words).map(|line| line.scenario).map_err(|error| {
        // Options are named in errors as --name <VALUE>.
        let option =
            error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
        let option = option.trim_start_matches("--").split([' ', '=']).next().unwrap_or_default();
        let at = spans.iter().find(|(name, _)| name == option).map_or(begin, |found| found.1.start);
        let why = match error.kind() {
            ErrorKind::TooManyValues | ErrorKind::UnknownArgument => {
                format!("{option} is no value here")
            }
            _ => in_one_line(&error, &scenarios),
        };
        Wrong { at, why }
    })
}

enum Said {
    Flag(bool),
    Value(String),
}

fn said(value: &Spanned<DeValue<'_>>) -> Result<Said, Wrong> {
    Ok(match value.get_ref() {
        DeValue::Boolean(flag) => Said::Flag(*flag),
        DeValue::String(text) => Said::Value(text.to_string()),
        DeValue::Integer(number) => Said::Value(number.as_str().into()),
        DeValue::Float(number) => Said::Value(number.as_str().into()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            let why = "a value is a number, a text or true".into();
            return Err(Wrong { at: value.span().start, why });
        }
    })
}

/// Line and column of a byte, from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_read() {
        let text = "[[phase]]\nscenario = \"pair\"\npublishers = 3\nqos = 1\nrate = 1.5\n\
                    payload = \"32..64\"\npersistent = true\n\n\
                    [[phase]]\nscenario = \"idle\"\nsubscribers = 7\nhold = \"1s\"\n";
        let phases = parse(text).unwrap();
        let plans: Vec<_> = phases.iter().map(|phase| phase.plan().unwrap()).collect();
        assert_eq!(plans[0].clients(), 6);
        assert!(plans[0].groups[0].persistent);
        assert_eq!((plans[1].scenario.as_str(), plans[1].clients()), ("idle", 7));
    }

    #[test]
    fn what_is_wrong_is_said_with_line_and_column() {
        for (text, at, word) in [
            ("", (1, 1), "at least one"),
            ("x = 1", (1, 1), "unknown key \"x\""),
            ("[[phase]]\nqos = 1\n", (1, 1), "has a scenario"),
            ("[[phase]]\nscenario = \"pare\"\n", (2, 12), "did you mean \"pair\""),
            ("[[phase]]\nscenario = \"pair\"\nqos = 3\n", (3, 7), "no quality of service"),
            ("[[phase]]\nscenario = \"pair\"\nqoss = 3\n", (3, 1), "did you mean \"qos\""),
            ("[[phase]]\nscenario = \"pair\"\nburst = 3\n", (3, 1), "unknown key \"burst\""),
            ("[[phase]]\nscenario = \"pair\"\nqos = [1]\n", (3, 7), "a value is"),
            ("[[phase]]\nscenario = \"pair\"\nqos = \n", (3, 7), "value"),
            ("[[phase]]\nscenario = \"pair\"\nqos = true\n", (3, 7), "value"),
            ("[[phase]]\nscenario = \"replay\"\n", (1, 1), "<FILE> is missing"),
        ] {
            let Wrong { at: byte, why } = parse(text).unwrap_err();
            assert_eq!(place(text, byte), at, "{text:?}: {why}");
            assert!(why.contains(word) && !why.contains('\n'), "{text:?}: {why}");
        }
    }
}
