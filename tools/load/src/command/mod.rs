//! The command line: what is asked for, and where the answer goes.

mod options;
mod phases;
mod words;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use sluicemq::logging::console;
use sluicemq::run::signals::Signals;

use self::options::{Engine, Output, Where, place_of};
use self::words::in_one_line;
use crate::compare::comparison;
use crate::engine::{self, Watching};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::html;
use crate::scenario::Scenario;
use crate::table::{passes, table};
use crate::target::Target;

/// Makes load for an MQTT broker and verifies every message that comes back.
#[derive(Parser)]
#[command(name = "sluice-load", version, about, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    task: Task,
    #[command(flatten)]
    broker: Where,
    #[command(flatten)]
    output: Output,
}

#[derive(Subcommand)]
enum Task {
    #[command(flatten)]
    Scenario(Scenario),
    /// Scenarios from a file, one after the other
    Run {
        /// The file: [[phase]] with scenario = "..." and its options, as on the command line
        plan: PathBuf,
    },
    /// The same scenario on several brokers, in turn: medians, and ratios to the first
    Compare(Compare),
}

#[derive(Args)]
struct Compare {
    /// Brokers: NAME=HOST:PORT, or NAME=HOST:PORT,pid=NUMBER
    #[arg(required = true, num_args = 2.., value_parser = contender)]
    brokers: Vec<Contender>,
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// The scenario and its options
    #[arg(last = true, required = true)]
    scenario: Vec<String>,
}

/// A broker that is compared.
#[derive(Clone, Debug, PartialEq)]
struct Contender {
    name: String,
    place: Spot,
    pid: Option<u32>,
}

/// Where a broker that is compared is.
#[derive(Clone, Debug, PartialEq)]
enum Spot {
    At(String, u16),
    Url(String),
}

/// The scenario behind `--` of a comparison.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Behind {
    #[command(subcommand)]
    scenario: Scenario,
}

const AFTER_HELP: &str = "\
Exit code 0: everything came back as it should. 1: something did not, or --require is not met.
2: the run could not be made. 130: it was interrupted, and what it found until then is shown.";

/// The commands and options, for manual pages and completions.
pub fn command_line() -> clap::Command {
    Cli::command()
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    // Ctrl-C ends the run, not the program.
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => {
            console::complain(format_args!("sluice-load: cannot catch signals: {error}"));
            return ExitCode::from(2);
        }
    };
    let interrupted = || signals.ending().is_some();
    match carry_out(&cli, &interrupted) {
        Ok(_) if interrupted() => ExitCode::from(INTERRUPTED),
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            console::complain(format_args!("sluice-load: {error}"));
            ExitCode::from(2)
        }
    }
}

fn carry_out(cli: &Cli, interrupted: &dyn Fn() -> bool) -> Result<bool, Error> {
    let target = cli.broker.target()?;
    try_files(&cli.output)?;
    let progress = if cli.output.quiet { Progress::silent() } else { Progress::shown() };
    let watching = Watching { progress: &progress, interrupted };
    let run = |plan: &Plan, target: &Target| {
        let mut outcome = run(cli.output.engine, plan, target, watching)?;
        let unmet = cli.output.require.iter().flat_map(|required| required.unmet(&outcome));
        outcome.unmet = unmet.collect();
        Ok(outcome)
    };
    match &cli.task {
        Task::Scenario(scenario) => {
            let outcome = run(&scenario.plan()?, &target)?;
            show(&cli.output, &table(&outcome))?;
            give(&cli.output, &[outcome])
        }
        Task::Run { plan } => {
            let scenarios = phases::read(plan)?;
            // What makes no sense is said before the first phase has run.
            let plans = scenarios.iter().map(Scenario::plan).collect::<Result<Vec<_>, _>>()?;
            let mut outcomes = Vec::new();
            for (plan, phase) in plans.iter().zip(0..) {
                let mut outcome = run(plan, &target)?;
                outcome.timeline.iter_mut().for_each(|sample| sample.phase = phase);
                show(&cli.output, &table(&outcome))?;
                outcomes.push(outcome);
                if interrupted() {
                    break;
                }
            }
            give(&cli.output, &outcomes)
        }
        Task::Compare(compare) => {
            let outcomes = compare.run(&cli.broker, &target, run, interrupted)?;
            let names: Vec<String> = compare.brokers.iter().map(|one| one.name.clone()).collect();
            show(&cli.output, &comparison(&names, &outcomes))?;
            give(&cli.output, &outcomes.concat())
        }
    }
}

impl Compare {
    /// The outcomes of each broker. The rounds are interleaved, and each begins with another
    /// broker, so that what else happens on the machine happens to all of them.
    fn run(
        &self,
        broker: &Where,
        target: &Target,
        run: impl Fn(&Plan, &Target) -> Result<Outcome, Error>,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Vec<Vec<Outcome>>, Error> {
        let behind = Behind::try_parse_from(&self.scenario)
            .map_err(|error| Error::Input(in_one_line(&error, &scenarios())))?;
        if !target.nodes.is_empty() {
            return Err(Error::Input("--node is of one broker: compare has several".into()));
        }
        let mut outcomes = vec![Vec::new(); self.brokers.len()];
        for round in 0..self.rounds as usize {
            for turn in 0..self.brokers.len() {
                let place = (round + turn) % self.brokers.len();
                let Contender { name, place: spot, pid } = &self.brokers[place];
                let target = Target { pid: *pid, ..target.clone() };
                let target = match spot {
                    Spot::At(host, port) => Target { host: host.clone(), port: *port, ..target },
                    Spot::Url(url) => broker.at_url(url, target)?,
                };
                let mut outcome = run(&behind.scenario.plan()?, &target)?;
                outcome.target.clone_from(name);
                outcomes[place].push(outcome);
                if interrupted() {
                    return Ok(outcomes);
                }
            }
        }
        Ok(outcomes)
    }
}

/// `NAME=HOST:PORT` or `NAME=URL`, and perhaps `,pid=NUMBER` behind it.
fn contender(text: &str) -> Result<Contender, String> {
    let wrong =
        || format!("{text:?} is no NAME=HOST:PORT or NAME=URL, with or without ,pid=NUMBER");
    let (name, rest) =
        text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
    let (place, pid) = match rest.split_once(",pid=") {
        Some((place, pid)) => (place, Some(pid.parse().map_err(|_| wrong())?)),
        None => (rest, None),
    };
    let place = if place.contains("://") {
        Spot::Url(place.into())
    } else {
        let (host, port) = place_of(place, MQTT_PORT).ok_or_else(wrong)?;
        Spot::At(host, port)
    };
    Ok(Contender { name: name.into(), place, pid })
}

/// Carries a plan out with the engine that was asked for.
fn run(
    engine: Engine,
    plan: &Plan,
    target: &Target,
    watching: Watching<'_>,
) -> Result<Outcome, Error> {
    let client = match engine {
        Engine::Sluice => engine::Client::Own,
        Engine::Rumqttc => engine::Client::Rumqttc,
    };
    engine::run(client, plan, target, watching)
}

/// Shows a text to a person, unless the answer for machines goes the same way.
fn show(output: &Output, text: &str) -> Result<(), Error> {
    let files = [&output.json, &output.csv, &output.report];
    if files.into_iter().flatten().any(|path| path.as_os_str() == "-") {
        return Ok(());
    }
    say(text)
}

/// Writes what was found; whether all of it is as it should be.
fn give(output: &Output, outcomes: &[Outcome]) -> Result<bool, Error> {
    let good = outcomes.iter().all(passes);
    for outcome in outcomes {
        for unmet in &outcome.unmet {
            console::complain(format_args!(
                "sluice-load: {} against {}: {unmet}",
                outcome.scenario, outcome.target
            ));
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
    if let Some(path) = &output.report {
        write(path, &html::page(outcomes))?;
    }
    Ok(good)
}

/// A file that cannot be written is said before the run, not after it. Nothing is changed or left behind.
fn try_files(output: &Output) -> Result<(), Error> {
    let files = [&output.json, &output.csv, &output.report];
    for path in files.into_iter().flatten().filter(|path| path.as_os_str() != "-") {
        let tried = match File::options().write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                File::create_new(path).and_then(|_| std::fs::remove_file(path))
            }
            tried => tried.map(drop),
        };
        tried.map_err(|source| Error::File {
            what: "cannot write",
            path: path.display().to_string(),
            source,
        })?;
    }
    Ok(())
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
    console::complain(format_args!("sluice-load: {}", in_one_line(error, &scenarios())));
    ExitCode::from(2)
}

/// The names of what can be asked for.
fn scenarios() -> Vec<String> {
    Cli::command().get_subcommands().map(|one| one.get_name().to_string()).collect()
}

/// Exit code after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

const MQTT_PORT: u16 = 1883;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
        Behind::command().debug_assert();
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
            ("run", "<PLAN> is missing"),
            ("compare a=x:1 b -- pair", "no NAME=HOST:PORT"),
            ("durable --verify", "--state <FILE> is missing"),
        ] {
            let asked = ["sluice-load"].into_iter().chain(line.split_whitespace());
            let error = Cli::try_parse_from(asked).err().expect(line);
            let said = in_one_line(&error, &scenarios());
            assert!(said.contains(words) && !said.contains('\n'), "{line}: {said}");
        }
    }

    #[test]
    fn a_contender_has_a_name_and_a_place() {
        let contender_of = |name: &str, host: &str, port, pid| {
            Ok(Contender { name: name.into(), place: Spot::At(host.into(), port), pid })
        };
        let by_url = Spot::Url("ws://b:1/p".into());
        let wanted = Contender { name: "a".into(), place: by_url, pid: Some(7) };
        assert_eq!(contender("a=ws://b:1/p,pid=7"), Ok(wanted));
        assert_eq!(contender("a=b:1"), contender_of("a", "b", 1, None));
        assert_eq!(contender("a=[::1]:1,pid=7"), contender_of("a", "::1", 1, Some(7)));
        assert_eq!(contender("a=b"), contender_of("a", "b", MQTT_PORT, None));
        for wrong in ["a", "=b:1", "a=b:x", "a=b:1,pid=x", "a=:1"] {
            assert!(contender(wrong).is_err(), "{wrong}");
        }
    }
}
