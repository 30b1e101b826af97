//! The test of the tests: turns every expectation of a script around, one at a time. The script
//! must then fail, and at that line.

use std::collections::{BTreeMap, BTreeSet};

use sluicemq::codec::Version;

use crate::script::driver::Stage;
use crate::script::language::{Action, Field, Pattern, Script, Wanted, counts};
use crate::script::report::{Report, attempt, statements};

/// Turns every script around, if all pass as they are.
pub fn turn_around(report: &mut Report, stage: &impl Stage) {
    if report.failed.is_empty() {
        report.cases(
            "turned around",
            |_| true,
            |script, version| {
                flip(script, version, stage).map(|count| format!(" ({count} expectations)"))
            },
        );
    }
}

/// Says which statements no script proves yet.
pub fn coverage(report: &Report) {
    if report.partial || report.listing {
        return;
    }
    let scripts = &report.scripts;
    let named = scripts.iter().flat_map(|script| script.proves.iter().map(String::as_str));
    let proven: BTreeSet<&str> = named.collect();
    let statements = statements();
    let testable = statements.iter().filter(|(_, testable)| testable.as_str() == "yes");
    let open: Vec<&str> =
        testable.map(|(id, _)| id.as_str()).filter(|id| !proven.contains(id)).collect();
    println!(
        "\n{} scripts, {} of them with a clock, prove {} statements; open are {}: {}",
        scripts.len(),
        scripts.iter().filter(|script| script.timed()).count(),
        proven.len(),
        open.len(),
        open.join(" ")
    );
}

/// Rounds of a loop in which its lines are turned around.
const ROUNDS: usize = 3;

/// The number of expectations that were turned around; or the first that no run missed.
fn flip(script: &Script, version: Version, stage: &impl Stage) -> Result<usize, String> {
    let mut count = 0;
    for (line, what, flipped) in flips(script, version) {
        count += 1;
        match attempt(&flipped, version, stage) {
            Ok(()) => return Err(format!("{}:{line}: passes with {what}", script.file)),
            Err(failure) if failure.line != line => {
                let found = failure.line;
                return Err(format!(
                    "{}:{line}: with {what} it fails at line {found} instead",
                    script.file
                ));
            }
            Err(_) => {}
        }
    }
    Ok(count)
}

/// Every way to turn one expectation around: its line, what was done, the script.
fn flips(script: &Script, version: Version) -> Vec<(usize, String, Script)> {
    let mut out = Vec::new();
    let mut known: Vec<&str> = Vec::new();
    let mut times: BTreeMap<usize, usize> = BTreeMap::new();
    for (at, (step, version)) in script.steps.iter().zip(script.step_versions(version)).enumerate()
    {
        let turns = times.entry(step.line).or_insert(0);
        *turns += 1;
        // A line in a loop is turned around in its first rounds.
        if !counts(step.only, version) || *turns > ROUNDS {
            continue;
        }
        let mut turn = |what: String, action: Action| {
            let mut flipped = script.clone();
            flipped.steps[at].action = action;
            out.push((step.line, what, flipped));
        };
        match &step.action {
            Action::Expect { conn, wanted } => {
                turn("quiet in its place".to_owned(), Action::Quiet { conn: conn.clone() });
                for (place, one) in wanted.iter().enumerate() {
                    // Of many packets alike one stands for all.
                    if place > 0 && one.line == wanted[place - 1].line {
                        continue;
                    }
                    for (what, other) in others(one, version, &known) {
                        let mut wanted = wanted.clone();
                        wanted[place] = other;
                        turn(what, Action::Expect { conn: conn.clone(), wanted });
                    }
                }
                for field in wanted.iter().flat_map(|one| &one.fields) {
                    if let Pattern::Variable(name) = &field.value {
                        known.push(name);
                    }
                }
            }
            Action::Quiet { conn } => {
                let wanted = Wanted { line: step.line, name: "PINGRESP", fields: Vec::new() };
                let wanted = vec![wanted];
                turn(
                    "a packet in its place".to_owned(),
                    Action::Expect { conn: conn.clone(), wanted },
                );
            }
            Action::Closed { conn } => {
                turn("quiet in its place".to_owned(), Action::Quiet { conn: conn.clone() });
            }
            Action::Open { .. }
            | Action::Send { .. }
            | Action::Drop { .. }
            | Action::Advance(_) => {}
        }
    }
    out
}

/// The other packets that one expectation must not take.
fn others(wanted: &Wanted, version: Version, known: &[&str]) -> Vec<(String, Wanted)> {
    let mut out = Vec::new();
    let name = if wanted.name == "PINGRESP" { "PUBACK" } else { "PINGRESP" };
    out.push((
        format!("{name} in its place"),
        Wanted { name, fields: Vec::new(), ..wanted.clone() },
    ));
    for (at, field) in wanted.fields.iter().enumerate() {
        if !counts(field.only, version) {
            continue;
        }
        let value = match &field.value {
            Pattern::Absent => Pattern::Present,
            Pattern::Present => Pattern::Absent,
            Pattern::OneOf(_) => Pattern::OneOf(vec![b"\0 never".to_vec()]),
            Pattern::Range(..) => Pattern::Range(u64::MAX, u64::MAX),
            Pattern::Not(name) => Pattern::Variable(name.clone()),
            Pattern::Variable(name) if known.contains(&name.as_str()) => Pattern::Not(name.clone()),
            Pattern::Variable(_) => continue,
        };
        let mut other = wanted.clone();
        other.fields[at].value = value;
        out.push((format!("another {}", field.key), other));
    }
    let unsaid: &[(&'static str, &[u8])] = match wanted.name {
        "PUBLISH" => &[("dup", b"1"), ("qos", b"3"), ("retain", b"1")],
        "CONNACK" => &[("reason", b"Banned")],
        "SUBACK" | "UNSUBACK" | "PINGRESP" => &[],
        _ if version == Version::V5 => &[("reason", b"Banned")],
        _ => &[],
    };
    for (key, value) in unsaid {
        if !wanted.fields.iter().any(|field| field.key == *key && counts(field.only, version)) {
            let mut other = wanted.clone();
            let value = Pattern::OneOf(vec![value.to_vec()]);
            other.fields.push(Field { key, only: None, value });
            out.push((format!("another {key}"), other));
        }
    }
    out
}
