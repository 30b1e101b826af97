//! `sluice store …`: looks at a store that no broker has open, copies it, makes one of a copy. A store
//! that a broker has open is copied by the broker.

use std::error::Error;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::ExitCode;

use sluicemq::config::StoreConfig;
use sluicemq::logging::console;
use sluicemq::store::engine::{self, Engine, Exported, Options, StoreError, TableKind};
use sluicemq::store::{self, row_name};

use crate::command_line::StoreCommand;

/// Does it, on the store of the configuration.
pub fn run(command: &StoreCommand, section: &StoreConfig) -> Result<ExitCode, Box<dyn Error>> {
    let Some(kind) = store::table_kind(section)? else {
        return Err("store.kind is \"memory\": there is no store on disk".into());
    };
    let (path, options) = (&*section.path, store::options(section));
    let makes_one = matches!(command, StoreCommand::Import { .. });
    if !makes_one && !engine::is_store(path) {
        return Err(format!("{}: there is no store here", path.display()).into());
    }
    match command {
        StoreCommand::Check => return check(path, &options, &kind),
        StoreCommand::Stats => stats(path, &options, &kind)?,
        StoreCommand::Export { file } => {
            let exported = export(path, options, &kind, file)?;
            console::say(format_args!("{} rows are in {}", exported.rows, file.display()));
        }
        StoreCommand::Import { file } => {
            let mut input = BufReader::new(opened(file, File::open(file))?);
            let imported = engine::import(path, &options, &kind, &mut input)?;
            console::say(format_args!(
                "{} rows are in the store {}",
                imported.rows,
                path.display()
            ));
        }
        StoreCommand::EndSession { client_id } => return end_session(section, client_id),
        StoreCommand::Salvage { out } => salvage(path, &options, &kind, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn check(path: &Path, options: &Options, kind: &TableKind) -> Result<ExitCode, Box<dyn Error>> {
    let found = engine::check(path, options, kind)?;
    console::say(format_args!(
        "{} rows, {} frames of the journal above them",
        found.rows, found.frames
    ));
    if found.torn > 0 {
        console::say(format_args!(
            "{} bytes that a crash left unfinished: never promised",
            found.torn
        ));
    }
    for problem in &found.problems {
        console::say(format_args!("{problem}"));
    }
    if found.problems.is_empty() {
        console::say(format_args!("the store is as it was written"));
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

fn stats(path: &Path, options: &Options, kind: &TableKind) -> Result<(), Box<dyn Error>> {
    let found = engine::check(path, options, kind)?;
    for (prefix, rows) in found.table_rows {
        console::say(format_args!("{:<16}{rows:>12}", row_name(prefix)));
    }
    console::say(format_args!("{:<16}{:>12}", "all rows", found.rows));
    console::say(format_args!("{:<16}{:>12}", "journal frames", found.frames));
    console::say(format_args!("{:<16}{:>12}", "rows' version", found.schema));
    let (table, journal) = found.disk_bytes;
    console::say(format_args!("{:<16}{table:>12}", "table bytes"));
    console::say(format_args!("{:<16}{journal:>12}", "journal bytes"));
    match found.problems.first() {
        Some(problem) => Err(problem.to_string().into()),
        None => Ok(()),
    }
}

fn export(
    path: &Path,
    options: Options,
    kind: &TableKind,
    file: &Path,
) -> Result<Exported, Box<dyn Error>> {
    if file.exists() {
        return Err(format!("{}: it is there already", file.display()).into());
    }
    let engine = match Engine::open(path, options, kind, &mut |_, _| ()) {
        Ok((engine, _)) => engine,
        // A broker that runs does it itself.
        Err(StoreError::InUse { .. }) => return Ok(store::ask(path, file)?),
        Err(error) => return Err(error.into()),
    };
    let mut out = BufWriter::new(opened(file, create(file))?);
    let exported = engine.export(&mut out)?;
    finish(file, out)?;
    engine.close()?;
    Ok(exported)
}

fn end_session(section: &StoreConfig, client_id: &str) -> Result<ExitCode, Box<dyn Error>> {
    let Some(ended) = store::end_session(section, client_id)? else {
        console::say(format_args!("there is no session of {client_id:?}"));
        return Ok(ExitCode::FAILURE);
    };
    let user = ended.user_name().map(|user| format!(" of user {user:?}")).unwrap_or_default();
    let (subscriptions, messages) = (ended.subscriptions(), ended.messages().values().sum::<u64>());
    console::say(format_args!(
        "the session of {client_id:?}{user} is ended: {subscriptions} subscriptions, {messages} messages \
         that it had not received"
    ));
    for (topic, count) in ended.messages() {
        console::say(format_args!("{count:>8} {topic:?}"));
    }
    if ended.has_will() {
        console::say(format_args!("its Will is not published"));
    }
    Ok(ExitCode::SUCCESS)
}

fn salvage(
    path: &Path,
    options: &Options,
    kind: &TableKind,
    out: &Path,
) -> Result<(), Box<dyn Error>> {
    opened(out, DirBuilder::new().mode(0o700).create(out))?;
    let file = out.join("rows");
    let mut rows = BufWriter::new(opened(&file, create(&file))?);
    let salvaged = engine::salvage(path, kind, &mut rows)?;
    finish(&file, rows)?;
    let new = out.join("data");
    let mut rows = BufReader::new(opened(&file, File::open(&file))?);
    engine::import(&new, options, kind, &mut rows)?;
    let dangling = store::mend(&new, options.clone(), kind)?;
    for lost in &salvaged.lost {
        console::say(format_args!("lost: {lost}"));
    }
    if dangling > 0 {
        console::say(format_args!(
            "lost: {dangling} messages in flight that are not there any more"
        ));
    }
    console::say(format_args!(
        "{} rows were read; the new store is {}",
        salvaged.exported.rows,
        new.display()
    ));
    Ok(())
}

/// A new file for its owner's eyes only: it will hold every message.
fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// What was written is on the disk.
fn finish(path: &Path, mut out: BufWriter<File>) -> Result<(), Box<dyn Error>> {
    opened(path, out.flush())?;
    opened(path, out.get_ref().sync_all())
}

/// Names the file with the error.
fn opened<T>(path: &Path, result: std::io::Result<T>) -> Result<T, Box<dyn Error>> {
    result.map_err(|error| format!("{}: {error}", path.display()).into())
}
