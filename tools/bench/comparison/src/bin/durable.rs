//! What it costs to keep messages safe, beside not keeping them and beside another broker: the
//! tables of `PERFORMANCE.md` about the store. `tools/bench/durable` builds everything and calls this.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sluice_compare::broker::{self, Broker, Kind};
use sluice_compare::document::{self, Marks};
use sluice_compare::durable::{Acknowledged, Backlog, Bench, Online, Subject, flush_time};
use sluice_compare::figures::median;
use sluice_compare::table;

/// What it costs to keep messages safe, beside not keeping them and beside another broker.
#[derive(Parser)]
#[command(name = "tools/bench/durable", disable_version_flag = true)]
struct Options {
    /// How often each row is run on each broker
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Measure for so many seconds each time
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Only these tables
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_values = ["acknowledged", "online", "restart"])]
    tables: Vec<Table>,
    /// Where the stores are: a folder on the disk that is to be measured
    #[arg(long, value_name = "FOLDER", default_value = "target/durable")]
    folder: PathBuf,
    /// Where the tables are written too
    #[arg(long, value_name = "FILE", default_value = "target/durable/table.md")]
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

/// A table of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum Table {
    /// Acknowledged messages to one Session without a client.
    Acknowledged,
    /// Pairs of connected clients with lasting Sessions.
    Online,
    /// 1,000,000 messages in 10,000 Sessions, and a kill.
    Restart,
    /// 10,000,000 messages in 100,000 Sessions, and a kill: takes minutes and 5 GB of disk.
    Depth,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tools/bench/durable: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether nothing was lost by us.
fn run(options: &Options) -> Result<bool, String> {
    let (sluice, mosquitto) = programs(options)?;
    let ours = |title, durability| Subject { title, broker: sluice.clone(), durability };
    let sync = ours("Sluice, `sync`", Some("sync"));
    let none = ours("Sluice, `none`", Some("none"));
    let memory = ours("Sluice, memory", None);
    let mut all = vec![sync.clone(), none, memory];
    all.extend(mosquitto.clone().map(|broker| Subject {
        title: "mosquitto",
        broker,
        durability: Some("half-hourly"),
    }));
    let document = match &options.into {
        Some(path) => Some((path, MARKS.read(path)?)),
        None => None,
    };
    broker::raise_open_files()?;
    let folder = &options.folder;
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let folder = folder.canonicalize().map_err(|error| error.to_string())?;
    let bench = Bench { load: options.load.clone(), seconds: options.seconds, folder };

    let brokers: Vec<Broker> = [Some(sluice.clone()), mosquitto].into_iter().flatten().collect();
    let (half, most) = flush_time(&bench.folder)?;
    let mut text = format!(
        "{}Writing 4 KiB and flushing it takes this disk {half:.0} µs (99 %: {most:.0}).\n\n",
        table::machine(&brokers, options.rounds, options.seconds)
    );
    let mut good = true;
    for table in &options.tables {
        match table {
            Table::Acknowledged => text += &acknowledged(&bench, options.rounds, &all)?,
            Table::Online => text += &online(&bench, options.rounds, &all, &mut good)?,
            Table::Restart => {
                text += &backlog(&bench, &sync, 1_000_000, 10_000, &mut good)?;
            }
            Table::Depth => {
                text += &backlog(&bench, &sync, 10_000_000, 100_000, &mut good)?;
            }
        }
    }
    println!("{text}");
    document::write(&options.out, &text)?;
    if let Some((path, document)) = document {
        document::write(path, &document.with(&text))?;
    }
    Ok(good)
}

fn programs(options: &Options) -> Result<(Broker, Option<Broker>), String> {
    let (mut sluice, mut mosquitto) = (None, None);
    for program in &options.program {
        let (name, path) = program.split_once('=').ok_or(format!("{program:?} is no NAME=PATH"))?;
        let path = PathBuf::from(path);
        let path = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
        match Kind::named(name) {
            Some(kind @ Kind::Sluice) => sluice = Some(Broker { kind, program: path }),
            Some(kind @ Kind::Mosquitto) => mosquitto = Some(Broker { kind, program: path }),
            _ => return Err(format!("there is no broker {name:?} here")),
        }
    }
    Ok((sluice.ok_or("no broker: tools/bench/durable builds and names it")?, mosquitto))
}

fn acknowledged(bench: &Bench, rounds: u32, subjects: &[Subject]) -> Result<String, String> {
    let mut text = String::from(
        "### Acknowledged messages a second to one Session whose client is away (µs to the \
         acknowledgement, half and 99 %; CPU µs a message)\n\n| in flight |",
    );
    head(&mut text, subjects);
    for in_flight in [1, 16, 128, 1024] {
        let found = in_turns(rounds, subjects, |subject| {
            let found = bench.acknowledged(subject, in_flight)?;
            eprintln!("{in_flight} in flight, {}: {found:?}", subject.title);
            Ok(found)
        })?;
        let _ = write!(text, "| {in_flight} |");
        for found in found {
            let of = |which: fn(&Acknowledged) -> f64| median(found.iter().map(which).collect());
            let all = of(|a| a.rate).zip(of(|a| a.p50)).zip(of(|a| a.p99).zip(of(|a| a.cpu)));
            let Some(((rate, p50), (p99, cpu))) = all else { continue };
            let rate = rate / 1e3;
            let _ = write!(text, " {rate:.1}k ({p50:.0}, {p99:.0}; {cpu:.1}) |");
        }
        text.push('\n');
    }
    text.push('\n');
    Ok(text)
}

fn online(
    bench: &Bench,
    rounds: u32,
    subjects: &[Subject],
    good: &mut bool,
) -> Result<String, String> {
    let mut text = String::from(
        "### 50→50 connected clients whose Sessions last: CPU µs per delivered message · ratio to the \
         memory store (delivered messages/s)\n\n| |",
    );
    head(&mut text, subjects);
    let memory = subjects.iter().position(|subject| subject.durability.is_none());
    for (title, qos, rate) in [
        ("QoS 1, 20,000/s", "1", Some("20k")),
        ("QoS 1, 100,000/s", "1", Some("100k")),
        ("QoS 1, as fast as they may", "1", None),
        ("QoS 2, as fast as they may", "2", None),
    ] {
        let found = in_turns(rounds, subjects, |subject| {
            let found = bench.online(subject, qos, rate)?;
            eprintln!("online, {title}, {}: {found:?}", subject.title);
            Ok(found)
        })?;
        let _ = write!(text, "| {title} |");
        for (subject, cells) in subjects.iter().zip(&found) {
            let of = |which: fn(&Online) -> f64| median(cells.iter().map(which).collect());
            let Some((cpu, rate)) = of(|o| o.cpu).zip(of(|o| o.rate)) else { continue };
            let _ = write!(text, " {cpu:.2}");
            if let Some(memory) = memory.filter(|_| subject.durability.is_some()) {
                let ratios = cells.iter().zip(&found[memory]).map(|(a, b)| a.cpu / b.cpu);
                let _ = write!(text, " · {:.2}×", median(ratios.collect()).unwrap_or(0.0));
            }
            let wrong = cells.iter().any(|cell| cell.wrong > 0.0);
            *good &= !wrong || subject.broker.kind != Kind::Sluice;
            let _ = write!(text, " ({:.0}k){} |", rate / 1e3, if wrong { "†" } else { "" });
        }
        text.push('\n');
    }
    text.push('\n');
    if text.contains('†') {
        text += "† Some messages were lost, doubled or reordered.\n\n";
    }
    Ok(text)
}

fn backlog(
    bench: &Bench,
    subject: &Subject,
    messages: u64,
    sessions: u64,
    good: &mut bool,
) -> Result<String, String> {
    let title = format!("{} messages in {} Sessions", grouped(messages), grouped(sessions));
    let found = bench.backlog(subject, messages, sessions, &mut |what| {
        eprintln!("{title}: {what}");
    })?;
    let Backlog { acknowledged, delivered, wrong, .. } = found;
    *good &= acknowledged == messages && delivered == messages && wrong == 0;
    let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
    let rows = [
        ("acknowledged before the kill", grouped(acknowledged)),
        ("CPU µs a message", format!("{:.1}", found.cpu)),
        ("resident at most while they came", mib(found.resident_max)),
        ("resident when they waited", mib(found.resident)),
        ("on disk", mib(found.stored)),
        ("from start to listening after kill -9", format!("{:.2} s", found.start.as_secs_f64())),
        ("… CPU of it, all threads", format!("{:.2} s", found.start_cpu.as_secs_f64())),
        ("resident then", mib(found.resident_after)),
        ("delivered afterwards", grouped(delivered)),
        ("lost, doubled, reordered or corrupt", grouped(wrong)),
    ];
    let mut text = format!("### {title}\n\n| | {} |\n|---|---|\n", subject.title);
    for (what, value) in rows {
        let _ = writeln!(text, "| {what} | {value} |");
    }
    text.push('\n');
    Ok(text)
}

/// Runs each subject in each round, one right after the other; which comes first changes.
fn in_turns<T: Copy>(
    rounds: u32,
    subjects: &[Subject],
    mut measure: impl FnMut(&Subject) -> Result<T, String>,
) -> Result<Vec<Vec<T>>, String> {
    let mut found = vec![Vec::new(); subjects.len()];
    for round in 0..rounds as usize {
        for turn in 0..subjects.len() {
            let at = (round + turn) % subjects.len();
            found[at].push(measure(&subjects[at])?);
        }
    }
    Ok(found)
}

fn head(text: &mut String, subjects: &[Subject]) {
    for subject in subjects {
        let _ = write!(text, " {} |", subject.title);
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(subjects.len()));
}

/// With commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const MARKS: Marks = Marks {
    begin: "<!-- tools/bench/durable: begin -->",
    end: "<!-- tools/bench/durable: end -->",
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
    fn programs_are_named_and_the_own_one_is_needed() {
        let named = |words: &[&str]| {
            programs(&Options::parse_from(["durable"].iter().chain(words)))
                .map(|(_, m)| m.is_some())
        };
        assert_eq!(named(&["--program", "sluice=/bin/sh"]), Ok(false));
        let both = ["--program", "sluice=/bin/sh", "--program", "mosquitto=/bin/sh"];
        assert_eq!(named(&both), Ok(true));
        assert!(named(&["--program", "relay=/bin/sh"]).is_err());
        assert!(named(&["--program", "sluice=/nowhere"]).is_err());
        assert!(named(&[]).is_err());
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 10_000_000].map(grouped), ["0", "999", "1,000", "10,000,000"]);
    }
}
