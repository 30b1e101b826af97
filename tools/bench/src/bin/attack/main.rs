//! What strangers do to make others wait, and what a healthy client sees meanwhile: for `tools/bench/attack`.
//!
//! Each class of attack is a row of `CLASSES` and a function. The broker and the healthy client run on one
//! processor, the attacker, a process of its own, on another. Each round is run against the broker and, as the
//! control, against a sink that answers and keeps nothing.

mod attacker;
mod classes;
mod client;
mod healthy;
mod hoards;
mod http;
mod opening;
mod report;
mod round;
mod sink;
mod start;
mod tls;
mod topics;
mod victim;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use attacker::{Attacker, Target};
use classes::{CLASSES, Class};
use report::Row;
use round::Rounds;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Attacks a broker in each of so many ways, and says what a healthy client sees meanwhile. Exit code 1: a
/// limit is broken.
#[derive(Parser)]
#[command(name = "attack")]
struct Options {
    /// Classes of attack; all of them if none is named. "start" is the start over many deep filters.
    classes: Vec<String>,
    /// Names and describes the classes.
    #[arg(long)]
    list: bool,
    /// How long each attack lasts.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How often each class is run, against the broker and against the sink in turns; medians count.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The broker's program.
    #[arg(long, default_value = "target/release/sluice")]
    sluice: PathBuf,
    /// File for all figures, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// File for the table, in Markdown.
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Little of everything, at most for so long, and no limit counts: whether each class runs.
    #[arg(long)]
    small: bool,
    /// What this process is, if it is one that the tool itself starts.
    #[arg(long, hide = true)]
    part: Option<Part>,
    /// Folder of the certificates, and of what is attacked.
    #[arg(long, hide = true, default_value = ".")]
    folder: PathBuf,
    /// Address of the listener without TLS, of the one with it, and of the one of HTTP.
    #[arg(long, hide = true, num_args = 3)]
    at: Vec<std::net::SocketAddr>,
    /// The attacker's processor.
    #[arg(long, hide = true, default_value_t = 0)]
    on: usize,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Part {
    Sink,
    Prepare,
    Attack,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("attack: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all limits hold.
fn run(options: &Options) -> Outcome<bool> {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    if options.list {
        for class in CLASSES {
            println!("{:<24} {}", class.name, class.what);
        }
        return Ok(true);
    }
    match options.part {
        Some(Part::Sink) => sink::serve(&options.folder).map(|()| true),
        Some(part) => strike(options, part),
        None => measure(options),
    }
}

/// The attacker's process.
fn strike(options: &Options, part: Part) -> Outcome<bool> {
    pin(options.on)?;
    let class = Class::named(options.classes.first().ok_or("no class")?)?;
    let [plain, tls, http] = options.at[..] else { return Err("three addresses".into()) };
    let target = Target { plain, tls, http, folder: options.folder.clone(), small: options.small };
    match part {
        Part::Prepare => class.prepare.map_or(Ok(()), |act| act(&Attacker::patient(target)))?,
        _ => attacker::strike(target, class.act, Duration::from_secs_f64(options.seconds))?,
    }
    Ok(true)
}

fn measure(options: &Options) -> Outcome<bool> {
    let [first, last] = processors()?;
    pin(first)?;
    let rounds = Rounds::new(options, last)?;
    let named = |name: &String| Class::named(name);
    let wanted: Vec<&Class> = match &options.classes[..] {
        [] => CLASSES.iter().collect(),
        [start] if start == "start" => return start::measure(&rounds).map(|()| true),
        names => names.iter().map(named).collect::<Result<_, _>>()?,
    };
    let mut rows = Vec::new();
    println!("{}", Row::heading());
    for class in wanted {
        let row = rounds.of(class)?;
        println!("{row}");
        rows.push(row);
    }
    if let Some(file) = &options.json {
        std::fs::write(file, report::json(options, &rows))?;
    }
    if let Some(file) = &options.markdown {
        std::fs::write(file, report::markdown(options, &rows))?;
    }
    Ok(options.small || rows.iter().all(|row| row.broken().is_empty()))
}

/// The first and the last processor that this process may run on.
fn processors() -> Outcome<[usize; 2]> {
    let set = sched_getaffinity(None)?;
    let mut may = (0..CpuSet::MAX_CPU).filter(|&number| set.is_set(number));
    let first = may.next().ok_or("no processor")?;
    Ok([first, may.next_back().unwrap_or(first)])
}

/// From now on this process and those that it starts run on this processor.
fn pin(processor: usize) -> Outcome<()> {
    let mut one = CpuSet::new();
    one.set(processor);
    Ok(sched_setaffinity(None, &one)?)
}
