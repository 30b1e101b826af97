//! Text to [`Script`]. Every error is `file:line: what`.

use std::time::Duration;

use sluicemq::codec::Version;

use super::check::check;
use super::language::{Action, Field, Pattern, Script, Sent, Step, Value, Wanted, version};
use super::value::{literal, pattern, unhex, variable};
use super::wire;

/// Reads one script.
pub fn parse(file: &str, text: &str) -> Result<Script, String> {
    let numbered: Vec<Line> = text
        .lines()
        .enumerate()
        .map(|(at, line)| Line { number: at + 1, text: without_comment(line).trim().to_owned() })
        .filter(|line| !line.text.is_empty())
        .collect();
    let mut script = Script {
        file: file.to_owned(),
        title: text.lines().next().unwrap_or("").trim_start_matches(['#', ' ']).to_owned(),
        proves: Vec::new(),
        versions: vec![Version::V311, Version::V5],
        settings: Vec::new(),
        accounts: Vec::new(),
        realtime: false,
        whole: false,
        steps: Vec::new(),
    };
    let fail = |line: usize, what: String| format!("{file}:{line}: {what}");
    let lines = expand(&numbered).map_err(|(line, what)| fail(line, what))?;
    let mut rest = lines.as_slice();
    while let Some((line, after)) = rest.split_first() {
        rest = after;
        let directed =
            directive(&line.text, &mut script).map_err(|what| fail(line.number, what))?;
        if !directed {
            script.steps.extend(step(line, &mut rest).map_err(|(at, what)| fail(at, what))?);
        }
    }
    if script.proves.is_empty() {
        return Err(fail(1, "names no statement it proves".to_owned()));
    }
    for version in &script.versions {
        check(&script, *version).map_err(|(line, what)| fail(line, what))?;
    }
    Ok(script)
}

#[derive(Clone, Debug)]
struct Line {
    number: usize,
    text: String,
}

/// A line and what is wrong with it.
pub type Failed = (usize, String);

/// A `#` at the start or after a space begins a comment, unless it is quoted.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match c {
            '"' if before != '\\' => quoted = !quoted,
            '#' if !quoted && before.is_whitespace() => return &line[..at],
            _ => {}
        }
        before = c;
    }
    line
}

/// Unrolls `for x in ... {` blocks: the text `{x}` becomes each value in turn.
fn expand(lines: &[Line]) -> Result<Vec<Line>, Failed> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        let Some(head) = line.text.strip_prefix("for ").and_then(|head| head.strip_suffix('{'))
        else {
            out.push(line.clone());
            continue;
        };
        let (name, values) =
            head.split_once(" in ").ok_or((line.number, "for NAME in ...".to_owned()))?;
        let begin = at;
        let mut depth = 1;
        while depth > 0 {
            let inner = lines.get(at).ok_or((line.number, "`for` without its end".to_owned()))?;
            depth += usize::from(inner.text.ends_with('{'));
            depth -= usize::from(inner.text == "}");
            at += 1;
        }
        let mark = format!("{{{}}}", name.trim());
        for value in loop_values(values.trim()).map_err(|what| (line.number, what))? {
            let once: Vec<Line> = lines[begin..at - 1]
                .iter()
                .map(|line| Line { number: line.number, text: line.text.replace(&mark, &value) })
                .collect();
            out.extend(expand(&once)?);
        }
    }
    Ok(out)
}

fn loop_values(text: &str) -> Result<Vec<String>, String> {
    if let Some((from, to)) = text.split_once("..")
        && let (Ok(from), Ok(to)) = (from.parse::<u32>(), to.parse::<u32>())
    {
        return Ok((from..=to).map(|number| number.to_string()).collect());
    }
    words(text)
}

/// Splits at spaces outside quotes; quotes stay.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut before = ' ';
    for c in text.chars() {
        if c == '"' && before != '\\' {
            quoted = !quoted;
        }
        if c.is_whitespace() && !quoted {
            if !word.is_empty() {
                out.push(std::mem::take(&mut word));
            }
        } else {
            word.push(c);
        }
        before = c;
    }
    if quoted {
        return Err("quote without its end".to_owned());
    }
    if !word.is_empty() {
        out.push(word);
    }
    Ok(out)
}

/// The lines at the top that are no steps.
fn directive(text: &str, script: &mut Script) -> Result<bool, String> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.trim();
    match word {
        "proves" => script.proves.extend(rest.split_whitespace().map(str::to_owned)),
        "versions" => {
            let known =
                rest.split_whitespace().map(|text| version(text).ok_or(format!("version {text}?")));
            script.versions = known.collect::<Result<_, _>>()?;
        }
        "set" => {
            let (key, value) = rest.split_once('=').ok_or("set KEY=VALUE")?;
            script.settings.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        "account" => {
            let (user, password) = rest.split_once(' ').ok_or("account USER PASSWORD")?;
            script.accounts.push((user.to_owned(), password.trim().to_owned()));
        }
        "realtime" => script.realtime = true,
        "whole" => script.whole = true,
        _ => return Ok(false),
    }
    if !script.steps.is_empty() {
        return Err(format!("`{word}` belongs to the top"));
    }
    Ok(true)
}

fn step(line: &Line, rest: &mut &[Line]) -> Result<Vec<Step>, Failed> {
    let here = |what: String| (line.number, what);
    let mut words = words(&line.text).map_err(here)?;
    let only = words.last().and_then(|word| word.strip_prefix('@')).and_then(version);
    if only.is_some() {
        words.pop();
    }
    let texts: Vec<&str> = words.iter().map(String::as_str).collect();
    let (conn, action) = match texts.as_slice() {
        ["+", span] => {
            let action = Action::Advance(duration(span).ok_or(here(format!("span {span}?")))?);
            return Ok(vec![Step { line: line.number, only, action }]);
        }
        [conn, action @ ..] if connection(conn) => ((*conn).to_owned(), action),
        _ => return Err(here(format!("cannot read `{}`", line.text))),
    };
    let action = match action {
        ["open"] => Action::Open { conn },
        ["quiet"] => Action::Quiet { conn },
        ["closed"] => Action::Closed { conn },
        [word @ ("closed" | "refused"), "by", reasons] => {
            return ended(line.number, only, conn, *word == "refused", reasons).map_err(here);
        }
        ["drop"] => Action::Drop { conn },
        [">", "{"] => {
            let mut sent = Vec::new();
            for inner in block(line, rest)? {
                let there = |what: String| (inner.number, what);
                let parts = self::words(&inner.text).map_err(there)?;
                sent.push(send(&parts).map_err(there)?);
            }
            Action::Send { conn, sent }
        }
        [">", ..] => Action::Send { conn, sent: vec![send(&words[2..]).map_err(here)?] },
        ["<", "unordered", "{"] => {
            let mut wanted = Vec::new();
            for inner in block(line, rest)? {
                let there = |what: String| (inner.number, what);
                let parts = self::words(&inner.text).map_err(there)?;
                wanted.extend(expect(inner.number, &parts).map_err(there)?);
            }
            Action::Expect { conn, wanted }
        }
        ["<", ..] => {
            Action::Expect { conn, wanted: expect(line.number, &words[2..]).map_err(here)? }
        }
        _ => return Err(here(format!("cannot read `{}`", line.text))),
    };
    Ok(vec![Step { line: line.number, only, action }])
}

/// `A closed by REASON`: version 5 says it in a DISCONNECT, 3.1.1 just closes. `A refused by
/// REASON`: version 5 says it in a CONNACK, 3.1.1 too if it has a return code for it.
fn ended(
    line: usize,
    only: Option<Version>,
    conn: String,
    refused: bool,
    reasons: &str,
) -> Result<Vec<Step>, String> {
    let said = |name, version, reasons: Vec<Vec<u8>>| {
        let reason = Field { key: "reason", only: None, value: Pattern::OneOf(reasons) };
        let wanted = vec![Wanted { line, name, fields: vec![reason] }];
        Step { line, only: Some(version), action: Action::Expect { conn: conn.clone(), wanted } }
    };
    let five: Vec<Vec<u8>> = reasons
        .split('|')
        .map(|text| wire::reason(text).ok_or(format!("reason {text}?")))
        .collect::<Result<_, _>>()?;
    let old: Vec<Vec<u8>> = reasons.split('|').filter_map(wire::return_code_text).collect();
    let mut steps = Vec::new();
    if only != Some(Version::V311) {
        steps.push(said(if refused { "CONNACK" } else { "DISCONNECT" }, Version::V5, five));
    }
    if refused && only != Some(Version::V5) && !old.is_empty() {
        steps.push(said("CONNACK", Version::V311, old));
    }
    steps.push(Step { line, only, action: Action::Closed { conn } });
    Ok(steps)
}

/// The lines up to `}`.
fn block<'a>(head: &Line, rest: &mut &'a [Line]) -> Result<&'a [Line], Failed> {
    let end = rest.iter().position(|line| line.text == "}");
    let end = end.ok_or((head.number, "`{` without its end".to_owned()))?;
    let inner = &rest[..end];
    *rest = &rest[end + 1..];
    Ok(inner)
}

fn connection(word: &str) -> bool {
    word.chars().next().is_some_and(|c| c.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_alphanumeric())
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(60 * number)),
        "h" => Some(Duration::from_secs(3600 * number)),
        "d" => Some(Duration::from_secs(86_400 * number)),
        _ => None,
    }
}

fn send(words: &[String]) -> Result<Sent, String> {
    let (name, fields) = words.split_first().ok_or("send what?")?;
    if name == "hex" {
        return unhex(&fields.concat()).map(Sent::Raw);
    }
    let name = wire::packet_name(name).ok_or(format!("packet {name}?"))?;
    let fields = fields.iter().map(|word| {
        let (key, only, text) = split_field(word)?;
        let (key, form, _) =
            wire::field(name, key, true).ok_or(format!("{name} has no field {key}"))?;
        let value = match variable(text) {
            Some(variable) => Value::Variable(variable.to_owned()),
            None => Value::Literal(literal(form, text).map_err(|what| format!("{key}: {what}"))?),
        };
        Ok(Field { key, only, value })
    });
    Ok(Sent::Packet { name, fields: fields.collect::<Result<_, String>>()? })
}

/// `PACKET ...`, or `any N PACKET ...`.
fn expect(line: usize, words: &[String]) -> Result<Vec<Wanted>, String> {
    let (times, words) = match words {
        [any, number, words @ ..] if any == "any" => {
            (number.parse().map_err(|_| format!("any {number}?"))?, words)
        }
        words => (1, words),
    };
    let (name, fields) = words.split_first().ok_or("expect what?")?;
    let name = wire::packet_name(name).ok_or(format!("packet {name}?"))?;
    let fields = fields.iter().map(|word| {
        let (key, only, text) = split_field(word)?;
        let (key, form, _) =
            wire::field(name, key, false).ok_or(format!("{name} has no field {key}"))?;
        let value = pattern(form, text).map_err(|what| format!("{key}: {what}"))?;
        Ok(Field { key, only, value })
    });
    let wanted = Wanted { line, name, fields: fields.collect::<Result<_, String>>()? };
    if name == "SUBACK" && !wanted.fields.iter().any(|field| field.key == "reasons") {
        return Err("SUBACK needs its reasons".to_owned());
    }
    Ok(vec![wanted; times])
}

/// `key=value`, `key@5=value`.
fn split_field(word: &str) -> Result<(&str, Option<Version>, &str), String> {
    let (key, text) = word.split_once('=').ok_or(format!("`{word}` is not key=value"))?;
    match key.split_once('@') {
        None => Ok((key, None, text)),
        Some((key, only)) => {
            Ok((key, Some(version(only).ok_or(format!("version {only}?"))?), text))
        }
    }
}
