//! Finds the scripts, plays each on each of its versions, and reports every one as a case.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use sluicemq::codec::Version;

use super::driver::Stage;
use super::language::{Script, version_text};
use super::parse::parse;
use super::play::{Failure, play};

/// The folder of the scripts.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

/// Every script, by name; or what is wrong with one of them.
pub fn scripts() -> Result<Vec<Script>, String> {
    let entries = std::fs::read_dir(folder()).map_err(|error| error.to_string())?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "mqtt"));
    files.sort();
    let statements = statements();
    let mut scripts = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let script = parse(&file, &text)?;
        for id in &script.proves {
            let of = if id.starts_with("MQTT5-") { Version::V5 } else { Version::V311 };
            if !statements.contains_key(id) {
                return Err(format!("{file}: there is no statement {id}"));
            }
            if id.starts_with("MQTT") && !script.versions.contains(&of) {
                return Err(format!("{file}: {id} is of a version it does not run on"));
            }
        }
        scripts.push(script);
    }
    Ok(scripts)
}

/// Every statement of both standards and every expectation beyond: its identifier, and whether a
/// socket can show it.
pub fn statements() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(folder().join("statements.tsv")).unwrap_or_default();
    let rows = text.lines().skip(1).filter_map(|line| {
        let mut cells = line.split('\t');
        Some((cells.next()?.to_owned(), cells.next()?.to_owned()))
    });
    rows.collect()
}

/// Plays what `wanted` picks, on every version; says how it went.
pub fn run(name: &str, stage: &impl Stage, wanted: impl Fn(&Script) -> bool) -> ExitCode {
    let scripts = match scripts() {
        Ok(scripts) => scripts,
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let filters: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let listing = std::env::args().any(|arg| arg == "--list");
    let start = Instant::now();
    let (mut passed, mut failed) = (0, Vec::new());
    for script in scripts.iter().filter(|script| wanted(script)) {
        for version in &script.versions {
            let case =
                format!("{} ({})", script.file.trim_end_matches(".mqtt"), version_text(*version));
            if !filters.is_empty() && !filters.iter().any(|filter| case.contains(filter)) {
                continue;
            }
            if listing {
                println!("{case}: test");
                continue;
            }
            match attempt(script, *version, stage) {
                Ok(()) => {
                    println!("test {case} ... ok");
                    passed += 1;
                }
                Err(failure) => {
                    println!("test {case} ... FAILED");
                    failed.push((case, script, failure));
                }
            }
        }
    }
    for (case, script, failure) in &failed {
        println!("\n---- {case}: {}", script.title);
        for line in &failure.transcript {
            println!("  {line}");
        }
        println!("tests/conformance/{}:{}: {}", script.file, failure.line, failure.what);
    }
    if !listing {
        let seconds = start.elapsed().as_secs_f64();
        println!("\n{name}: {passed} passed, {} failed in {seconds:.2} s", failed.len());
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays one script on a fresh broker; a panic is a failure too.
pub fn attempt(script: &Script, version: Version, stage: &impl Stage) -> Result<(), Failure> {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let broken = |what| Failure { line: 1, what, transcript: Vec::new() };
        let mut driver = stage.set(script).map_err(broken)?;
        play(script, version, &mut driver)
    }));
    played.unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().cloned();
        let what = what.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let what = format!("panic: {}", what.unwrap_or_default());
        Err(Failure { line: 1, what, transcript: Vec::new() })
    })
}

/// Testable statements that no script proves yet.
pub fn unproven(scripts: &[Script]) -> Vec<String> {
    let proven: BTreeSet<&str> =
        scripts.iter().flat_map(|script| script.proves.iter().map(String::as_str)).collect();
    let all = statements();
    let testable = all.iter().filter(|(_, testable)| testable.as_str() == "yes");
    testable.map(|(id, _)| id.clone()).filter(|id| !proven.contains(id.as_str())).collect()
}
