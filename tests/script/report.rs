//! Finds the scripts, plays each on each of its versions, and reports every one as a case.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use sluicemq::codec::Version;

use super::driver::Stage;
use super::language::{Script, version_text};
use super::parse::parse;
use super::play::{Failure, play};

/// The scripts, what the command line asks, and how it goes.
///
/// The command line is that of every Rust test: words pick the cases that contain one of them,
/// `--list` lists.
pub struct Report {
    pub scripts: Vec<Script>,
    words: Vec<String>,
    /// Only part of the cases is asked for.
    pub partial: bool,
    pub listing: bool,
    start: Instant,
    passed: usize,
    pub failed: Vec<String>,
}

impl Report {
    /// Reads the scripts.
    pub fn begin() -> Result<Report, ExitCode> {
        // A panic is a failed case and is reported as one.
        std::panic::set_hook(Box::new(|_| {}));
        let scripts = scripts().map_err(|error| {
            println!("tests/conformance/{error}");
            ExitCode::FAILURE
        })?;
        let words: Vec<String> =
            std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
        Ok(Report {
            scripts,
            partial: !words.is_empty(),
            words,
            listing: std::env::args().any(|arg| arg == "--list"),
            start: Instant::now(),
            passed: 0,
            failed: Vec::new(),
        })
    }

    /// Plays the scripts that `wanted` picks, on every version.
    pub fn play(&mut self, driver: &str, stage: &impl Stage, wanted: impl Fn(&Script) -> bool) {
        self.cases(driver, wanted, |script, version| {
            attempt(script, version, stage).map(|()| String::new()).map_err(|failure| {
                let mut text = String::new();
                for line in &failure.transcript {
                    text.push_str(&format!("  {line}\n"));
                }
                text + &format!(
                    "tests/conformance/{}:{}: {}",
                    script.file, failure.line, failure.what
                )
            })
        });
    }

    /// Reports `run` of every script that `wanted` picks, on each of its versions.
    pub fn cases(
        &mut self,
        kind: &str,
        wanted: impl Fn(&Script) -> bool,
        run: impl Fn(&Script, Version) -> Result<String, String>,
    ) {
        let scripts = std::mem::take(&mut self.scripts);
        for script in scripts.iter().filter(|script| wanted(script)) {
            for version in &script.versions {
                let name = script.file.trim_end_matches(".mqtt");
                let case = format!("{name} ({}) on {kind}", version_text(*version));
                self.case(&case, &script.title, || run(script, *version));
            }
        }
        self.scripts = scripts;
    }

    /// Reports one case, if it is asked for: what to add to its `ok`, or what went wrong.
    pub fn case(&mut self, case: &str, title: &str, run: impl FnOnce() -> Result<String, String>) {
        if self.partial && !self.words.iter().any(|word| case.contains(word)) {
            return;
        }
        if self.listing {
            println!("{case}: test");
            return;
        }
        match run() {
            Ok(more) => {
                println!("test {case} ... ok{more}");
                self.passed += 1;
            }
            Err(text) => {
                println!("test {case} ... FAILED");
                self.failed.push(format!("---- {case}: {title}\n{text}"));
            }
        }
    }

    /// What failed, and the count.
    pub fn end(self) -> ExitCode {
        if self.listing {
            return ExitCode::SUCCESS;
        }
        for failure in &self.failed {
            println!("\n{failure}");
        }
        let result = if self.failed.is_empty() { "ok" } else { "FAILED" };
        let seconds = self.start.elapsed().as_secs_f64();
        println!(
            "\ntest result: {result}. {} passed; {} failed; finished in {seconds:.2}s",
            self.passed,
            self.failed.len()
        );
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
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

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

/// Every script, by name; or what is wrong with one of them.
fn scripts() -> Result<Vec<Script>, String> {
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
