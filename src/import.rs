//! The move from mosquitto: its configuration, password files, access lists, dynamic security and database become files of
//! Sluice, and a [`ImportReport`] says of each line what became of it.

mod acl;
mod conf;
mod database;
mod draft;
mod dynsec;
mod general;
mod lines;
mod listener;
mod logs;
mod passwords;
mod plugins;
mod report;
mod restore;
mod rules;
mod sections;
mod tls;
mod write;

use std::path::{Path, PathBuf};

pub use self::report::{Fate, ImportFinding, ImportReport, Place};

use self::conf::SortedConf;
use self::draft::ConfigDraft;
use self::write::ImportFiles;

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ImportError(String);

impl ImportError {
    /// Names the file with what the system says.
    fn file(verb: &str, path: &Path, source: &std::io::Error) -> ImportError {
        ImportError(format!("cannot {verb} {}: {source}", path.display()))
    }
}

/// Reads mosquitto's configuration in the file `config` and all that it names, and writes what Sluice
/// needs for the same into the folder `out`. `database` is read instead of the database that it names.
///
/// # Errors
///
/// Something cannot be read or written, or is there already.
pub fn mosquitto(
    config: &Path,
    out: &Path,
    database: Option<&Path>,
) -> Result<ImportReport, ImportError> {
    let files = ImportFiles::begin(out)?;
    let mut report = ImportReport::default();
    let sorted = SortedConf::of(lines::read(config, &mut report)?);
    let base = std::path::absolute(config)
        .map_err(|error| ImportError::file("find", config, &error))?
        .parent()
        .map_or_else(PathBuf::new, Path::to_owned);
    let mut draft = ConfigDraft::new(base, files);
    general::translate(sorted.general(), &mut draft, &mut report);
    let logins = passwords::collect(&sorted, &mut draft, &mut report)?;
    let listeners = listener::translate(&sorted, &logins, &mut draft, &mut report);
    let named = |served: &listener::ServedListener<'_>| served.text().contains("\nidentity = ");
    let names_checked = logins.are_checked() || listeners.iter().any(named);
    acl::collect(&sorted, &listeners, names_checked, &mut draft, &mut report)?;
    for line in sorted.bridges() {
        let why = if line.is_secret() {
            "Sluice has no bridges yet; it is a comment in sluice.toml, without its value"
        } else {
            "Sluice has no bridges yet; it is a comment in sluice.toml"
        };
        report.missing(line.place(), format!("{}: {why}", line.option()));
    }
    let found = find_database(database, &mut draft, &mut report);
    let sections: String = listeners.iter().map(listener::ServedListener::text).collect();
    draft.write_config(&sections, sorted.bridges())?;
    if let Some(path) = found {
        restore::fill(&path, draft.files.folder(), draft.expiry_max(), &mut report)?;
    }
    draft.files.check(&mut report);
    report.sort();
    Ok(report)
}

/// The database that is to be read: the one that was named, else the one that mosquitto keeps.
fn find_database(
    named: Option<&Path>,
    draft: &mut ConfigDraft,
    report: &mut ImportReport,
) -> Option<PathBuf> {
    if let Some(path) = named {
        draft.keep();
        return Some(path.to_owned());
    }
    let path = draft.database()?;
    if path.exists() {
        return Some(path);
    }
    let place = Place::of_file(&path);
    report.differs(&place, "there is no such file: no sessions and messages; --db names it");
    None
}
