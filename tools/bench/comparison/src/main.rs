//! Runs the same load against several brokers and writes the table of `PERFORMANCE.md`.
//!
//! A *cell* is one row of the table on one broker: the broker is started for it, loaded by
//! `sluice-load` and killed. In every round each row is run on each broker, one right after the
//! other; what is said of a broker is the median of the rounds, and so is its ratio to the relay,
//! taken round by round, so that it does not change when the speed of the machine drifts.
//!
//! `tools/bench/compare` builds everything and calls this.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sluice_compare::broker::{self, Broker, Kind};
use sluice_compare::document::{self, Marks};
use sluice_compare::figures::{Cell, Results};
use sluice_compare::load::Load;
use sluice_compare::rows::{ROWS, Row};
use sluice_compare::table;

/// Runs the same load against several brokers, in turns, and prints the table.
#[derive(Parser)]
#[command(name = "tools/bench/compare", disable_version_flag = true)]
struct Options {
    /// How often each row is run on each broker [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Measure for so many seconds each time [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: Option<u32>,
    /// Only rows with this in their name; may be given more than once
    #[arg(long, value_name = "PATTERN")]
    rows: Vec<String>,
    /// Only these brokers: relay, sluice, mosquitto, rumqttd
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    brokers: Vec<Kind>,
    /// One round of a second each, and fewer connections: shows that it works, no more
    #[arg(long)]
    quick: bool,
    /// Lists the rows
    #[arg(long)]
    list: bool,
    /// Where the table is written too; the figures of every round go beside it, as .tsv
    #[arg(long, value_name = "FILE", default_value = "target/compare/table.md")]
    out: PathBuf,
    /// A document to put the tables in, in place of those it has between its two marks
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
    /// A broker and its program, as NAME=PATH
    #[arg(long, value_name = "NAME=PATH", hide = true)]
    program: Vec<String>,
    /// The load generator's program
    #[arg(long, value_name = "PATH", hide = true, default_value = "target/dist/sluice-load")]
    load: PathBuf,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        for row in ROWS {
            println!("{:<20} {}", row.name, row.title);
        }
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tools/bench/compare: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs everything, prints and writes the tables; whether our own programs did all they were
/// asked to. What a peer cannot do is said below the tables.
fn run(options: &Options) -> Result<bool, String> {
    let brokers = brokers(options)?;
    let rows: Vec<&Row> = ROWS
        .iter()
        .filter(|row| {
            options.rows.is_empty() || options.rows.iter().any(|part| row.name.contains(part))
        })
        .collect();
    if rows.is_empty() {
        return Err(format!("no row is named like {:?}; --list shows them", options.rows));
    }
    let load = Load {
        program: options.load.clone(),
        seconds: options.seconds.unwrap_or(if options.quick { 1 } else { 3 }),
        quick: options.quick,
    };
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 3 });
    let document = match &options.into {
        Some(path) => Some((path, MARKS.read(path)?)),
        None => None,
    };
    broker::raise_open_files()?;

    let mut results = Results::default();
    let (mut failed, mut good) = (BTreeSet::new(), true);
    for round in 0..rounds {
        for row in &rows {
            // Each broker is the first one in its turn.
            let first = round as usize % brokers.len();
            for broker in brokers[first..].iter().chain(&brokers[..first]) {
                if !row.suits(broker.kind) {
                    continue;
                }
                let cell = Cell { round, row: row.name, broker: broker.kind };
                eprint!("round {} of {rounds}, {}, {} … ", round + 1, row.title, broker.kind);
                match load.cell(row, broker) {
                    Ok(figures) => {
                        eprintln!("{figures}");
                        results.add(cell, figures);
                    }
                    Err(error) => {
                        eprintln!("{error}");
                        good &= !matches!(broker.kind, Kind::Relay | Kind::Sluice);
                        failed.insert(format!("{}, {}: {error}", row.title, broker.kind));
                    }
                }
            }
        }
    }

    let mut text = format!("{}\n", table::machine(&brokers, rounds, load.seconds));
    if options.quick {
        text += "A quick run: seconds are few, and idle clients are 2,000.\n\n";
    }
    let kinds: Vec<Kind> = brokers.iter().map(|broker| broker.kind).collect();
    text += &table::tables(&rows, &kinds, &results);
    for failure in &failed {
        let _ = writeln!(text, "- Not measured: {failure}.");
    }
    println!("{text}");
    document::write(&options.out, &text)?;
    document::write(&options.out.with_extension("tsv"), &results.to_tsv())?;
    if let Some((path, document)) = document {
        document::write(path, &document.with(&text))?;
    }
    Ok(good)
}

/// The brokers that have a program, the relay first: the others are compared with it.
fn brokers(options: &Options) -> Result<Vec<Broker>, String> {
    let mut brokers = Vec::new();
    for program in &options.program {
        let (name, path) = program.split_once('=').ok_or(format!("{program:?} is no NAME=PATH"))?;
        let kind = Kind::named(name).ok_or(format!("there is no broker {name:?}"))?;
        if options.brokers.is_empty() || options.brokers.contains(&kind) {
            let path = PathBuf::from(path);
            let path =
                path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
            brokers.push(Broker { kind, program: path });
        }
    }
    if let Some(missing) =
        options.brokers.iter().find(|kind| !brokers.iter().any(|broker| broker.kind == **kind))
    {
        return Err(format!("{missing} is not here"));
    }
    if brokers.is_empty() {
        return Err("no broker: tools/bench/compare builds and names them".into());
    }
    brokers.sort_by_key(|broker| broker.kind);
    Ok(brokers)
}

const MARKS: Marks = Marks {
    begin: "<!-- tools/bench/compare: begin -->",
    end: "<!-- tools/bench/compare: end -->",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn the_relay_comes_first_and_unknown_brokers_are_refused() {
        let named = |arguments: &str| {
            let words = ["compare"].into_iter().chain(arguments.split_whitespace());
            brokers(&Options::parse_from(words))
                .map(|all| all.into_iter().map(|broker| broker.kind).collect::<Vec<_>>())
        };
        let both = "--program sluice=/bin/sh --program relay=/bin/sh";
        assert_eq!(named(both), Ok(vec![Kind::Relay, Kind::Sluice]));
        assert_eq!(named(&format!("{both} --brokers sluice")), Ok(vec![Kind::Sluice]));
        assert!(named(&format!("{both} --brokers rumqttd")).is_err());
        assert!(named("--program emu=/bin/sh").is_err());
        assert!(named("--program relay=/nowhere").is_err());
        assert!(named("").is_err());
    }
}
