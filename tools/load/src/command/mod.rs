//! The command line: what is asked for, and where the answer goes.

mod options;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory, Parser};

use self::options::{Engine, Output, Where};
use crate::engine;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::scenario::Scenario;
use crate::table::{passes, table};
use crate::target::Target;

/// Makes load for an MQTT broker and verifies every message that comes back.
#[derive(Parser)]
#[command(name = "sluice-load", version, about, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
    #[command(flatten)]
    broker: Where,
    #[command(flatten)]
    output: Output,
}

const AFTER_HELP: &str = "\
Exit code 0: everything came back as it should. 1: something did not, or --require is not met.
2: the run could not be made.";

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match carry_out(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("sluice-load: {error}");
            ExitCode::from(2)
        }
    }
}

fn carry_out(cli: &Cli) -> Result<bool, Error> {
    let plan = cli.scenario.plan()?;
    let target = cli.broker.target()?;
    let progress = if cli.output.quiet { Progress::silent() } else { Progress::shown() };
    let outcome = run(cli.output.engine, &plan, &target, &progress)?;
    give(&cli.output, &[outcome])
}

/// Carries a plan out with the engine that was asked for.
fn run(
    engine: Engine,
    plan: &Plan,
    target: &Target,
    progress: &Progress,
) -> Result<Outcome, Error> {
    match engine {
        Engine::Sluice => engine::run(plan, target, progress),
    }
}

/// Shows and writes what was found; whether all of it is as it should be.
fn give(output: &Output, outcomes: &[Outcome]) -> Result<bool, Error> {
    let machine = [&output.json, &output.csv];
    let on_stdout = |path: &&Path| path.as_os_str() == "-";
    let quiet = machine.into_iter().flatten().any(|path| on_stdout(&path.as_path()));
    let mut good = true;
    for outcome in outcomes {
        if !quiet {
            say(&table(outcome))?;
        }
        good &= passes(outcome);
        for unmet in output.require.iter().flat_map(|required| required.unmet(outcome)) {
            eprintln!("sluice-load: not reached: {unmet}");
            good = false;
        }
    }
    if let Some(path) = &output.json {
        let json = match outcomes {
            [one] => serde_json::to_string_pretty(one),
            all => serde_json::to_string_pretty(all),
        };
        let json = json.map_err(|error| Error::Input(error.to_string()))?;
        write(path, &(json + "\n"))?;
    }
    if let Some(path) = &output.csv {
        write(path, &crate::csv::csv(outcomes))?;
    }
    Ok(good)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    if path.as_os_str() == "-" {
        return say(text);
    }
    let written = File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| Error::File {
        what: "cannot write",
        path: path.display().to_string(),
        source,
    })
}

fn say(text: &str) -> Result<(), Error> {
    match io::stdout().write_all(text.as_bytes()) {
        // Who closed the pipe has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|source| Error::System { what: "cannot write", source }),
    }
}

/// One line for what is wrong with the command line; help and version as they are.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Who closed the pipe has seen enough.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    eprintln!("sluice-load: {}", in_one_line(error));
    ExitCode::from(2)
}

fn in_one_line(error: &clap::Error) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string).filter(|text| !text.is_empty());
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let asked = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            let names: Vec<String> =
                Cli::command().get_subcommands().map(|one| one.get_name().into()).collect();
            match nearest(&asked, &names) {
                Some(near) => format!("there is no scenario {asked:?}: did you mean {near:?}?"),
                None => format!("there is no scenario {asked:?}; there are {}", names.join(", ")),
            }
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "no scenario; see sluice-load --help".into()
        }
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            let mut line = line.trim_start_matches("error: ").to_string();
            if let Some(near) = context(ContextKind::SuggestedArg) {
                line += &format!(": did you mean {near}?");
            }
            line
        }
    }
}

/// The name that differs least from `asked`, if it is not too far from it.
fn nearest<'n>(asked: &str, names: &'n [String]) -> Option<&'n String> {
    let distances = names.iter().map(|name| (distance(asked, name), name));
    distances
        .filter(|(far, name)| far * 2 <= name.len())
        .min_by_key(|(far, _)| *far)
        .map(|near| near.1)
}

/// How many letters have to be changed, added or removed.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for column in 0..to.len() {
            let changed = diagonal + usize::from(letter != to[column]);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (line, words) in [
            ("pare", "there is no scenario \"pare\": did you mean \"pair\"?"),
            ("zebra", "there is no scenario \"zebra\"; there are pair, fanout"),
            ("pair --payload 8", "at least 32"),
            ("pair --pubishers 3", "--publishers"),
            ("pair --qos 3", "no quality of service"),
            ("pair --require p99", "no requirement"),
            ("pair --count 5 --duration 3s", "cannot be used with"),
            ("", "no scenario"),
        ] {
            let asked = ["sluice-load"].into_iter().chain(line.split_whitespace());
            let error = Cli::try_parse_from(asked).err().expect(line);
            let said = in_one_line(&error);
            assert!(said.contains(words) && !said.contains('\n'), "{line}: {said}");
        }
    }

    #[test]
    fn the_distance_of_words_is_in_letters() {
        for (from, to, letters) in [("", "abc", 3), ("pair", "pair", 0), ("pare", "pair", 2)] {
            assert_eq!(distance(from, to), letters);
        }
    }
}
