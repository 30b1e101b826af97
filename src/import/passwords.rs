//! The password file: its format is Sluice's.

use std::path::Path;

use super::ImportError;
use super::conf::SortedConf;
use super::draft::ConfigDraft;
use super::lines;
use super::report::ImportReport;
use super::sections::quoted;
use super::write::ImportFiles;
use crate::auth::{PasswordFile, PasswordFileError};

/// Hashes that Sluice reads.
const HASHES: &[&str] = &["$7$", "$6$", "$argon2id$"];

/// Places of the password file in reports come behind those of the configuration.
const ORDER: usize = 1_000_000;

/// What clients are asked for.
#[derive(Debug)]
pub struct ImportedLogins {
    /// The password file in mosquitto's configuration that is in force.
    file: Option<String>,
}

impl ImportedLogins {
    /// Whether passwords are checked at all.
    pub fn are_checked(&self) -> bool {
        self.file.is_some()
    }

    /// Whether there may be a user with a password.
    pub fn have_users(&self) -> bool {
        self.file.as_deref().is_some_and(|file| !file.is_empty())
    }
}

/// Writes the password file that mosquitto's configuration names.
pub fn collect(
    sorted: &SortedConf,
    draft: &mut ConfigDraft,
    files: &ImportFiles,
    report: &mut ImportReport,
) -> Result<ImportedLogins, ImportError> {
    let mut logins = ImportedLogins { file: None };
    for setting in sorted.securities().into_iter().filter_map(|block| block.get("password_file")) {
        let (place, option) = (setting.place(), setting.option());
        match &logins.file {
            None => {
                logins.file = Some(setting.value().to_owned());
                draft.sections.set("auth.password_file", quoted("passwords"));
                report.carried(place, format!("{option} is auth.password_file = \"passwords\""));
                copy(&draft.path(setting.value()), files, report)?;
            }
            Some(file) if file == setting.value() => {
                report.carried(place, format!("{option} is auth.password_file too"));
            }
            Some(_) => {
                let why = "there is one password file for all listeners; these users are refused";
                report.missing(place, format!("{option}: {why}"));
            }
        }
    }
    if !logins.are_checked() && refuses_everybody(sorted) {
        // Without a file Sluice would say that nothing checks the clients.
        draft.sections.set("auth.password_file", quoted("passwords"));
        files.write("passwords", "")?;
        logins.file = Some(String::new());
    }
    Ok(logins)
}

/// Whether a listener admits no client at all, for want of a password file.
fn refuses_everybody(sorted: &SortedConf) -> bool {
    sorted.listeners().iter().any(|listener| {
        let security = sorted.security(listener);
        !security.is_set("allow_anonymous") && !listener.is_set("require_certificate")
    })
}

fn copy(path: &Path, files: &ImportFiles, report: &mut ImportReport) -> Result<(), ImportError> {
    let (text, place) = lines::text(path, ORDER)?;
    let mut kept = String::new();
    let mut users = std::collections::BTreeSet::new();
    for (line, number) in text.lines().zip(1..) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (user, hash) = line.split_once(':').unwrap_or((line, ""));
        let place = place.at(number);
        if !HASHES.iter().any(|kind| hash.starts_with(kind)) {
            let why =
                "the password is not hashed, which mosquitto refuses too; `sluice passwd` sets it";
            report.differs(&place, format!("user {user:?}: {why}"));
        } else if !users.insert(user.to_owned()) {
            report.differs(&place, format!("user {user:?}: an earlier line holds"));
        } else {
            kept.push_str(line.trim_end());
            kept.push('\n');
        }
    }
    report.carried(&place, format!("{} users, with their hashes as they are", users.len()));
    let path = files.write("passwords", &kept)?;
    match PasswordFile::load(&path) {
        Ok(_) => {}
        Err(PasswordFileError::Line { line, problem, .. }) => {
            report.differs(&place, format!("line {line} of {}: {problem}", path.display()));
        }
        Err(error) => report.differs(&place, error.to_string()),
    }
    Ok(())
}
