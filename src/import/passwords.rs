//! Password files, whose format is Sluice's, and the clients of dynamic security, which become one.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::ImportError;
use super::conf::{OptionBlock, SortedConf};
use super::draft::ConfigDraft;
use super::dynsec::DynamicSecurity;
use super::lines::{self, ConfLine};
use super::plugins::DYNAMIC_SECURITY;
use super::report::{ImportReport, Place};
use super::sections::quoted;
use super::write::ImportFiles;
use crate::auth::{PasswordFile, PasswordFileError};

/// Hashes that Sluice reads.
const HASHES: &[&str] = &["$7$", "$6$", "$argon2id$"];

/// Places of password files in reports come behind those of the configuration.
const ORDER: usize = 1_000_000;

/// Options that name users, in the order in which mosquitto asks them.
const SOURCES: &[&str] = &[DYNAMIC_SECURITY, "password_file"];

/// What clients are asked for.
#[derive(Debug, Default)]
pub struct ImportedLogins {
    /// Each option that names users, its file, and the password file that it became.
    files: Vec<LoginFile>,
}

#[derive(Debug)]
struct LoginFile {
    option: String,
    value: String,
    name: String,
    has_users: bool,
}

impl ImportedLogins {
    /// Whether passwords are checked at all.
    pub fn are_checked(&self) -> bool {
        !self.files.is_empty()
    }

    /// Whether there may be a user with a password.
    pub fn have_users(&self) -> bool {
        self.files.iter().any(|file| file.has_users)
    }

    /// Whether each listener has steps of its own: one password file is not enough.
    pub fn are_steps(&self) -> bool {
        self.files.len() > 1
    }

    /// The password files for the clients of a listener, in their order.
    fn of<'l>(&'l self, security: &'l OptionBlock) -> impl Iterator<Item = &'l str> {
        named(security).filter_map(|setting| self.find(setting)).map(|file| file.name.as_str())
    }

    fn find(&self, setting: &ConfLine) -> Option<&LoginFile> {
        self.files
            .iter()
            .find(|file| file.option == setting.name() && file.value == setting.value())
    }

    /// The steps of a listener's logins.
    pub fn steps(
        &self,
        listener: &str,
        security: &OptionBlock,
        by_certificate: bool,
        is_open: bool,
    ) -> String {
        let mut text = String::new();
        let mut step = |kind: &str, file: Option<&str>| {
            let listeners = format!("listeners = [{}]", quoted(listener));
            let _ = writeln!(text, "\n[[auth.step]]\nkind = \"{kind}\"\n{listeners}");
            if let Some(file) = file {
                let _ = writeln!(text, "file = {}", quoted(file));
            }
        };
        if by_certificate {
            step("certificate", None);
        }
        self.of(security).for_each(|file| step("password", Some(file)));
        if is_open {
            step("anonymous", None);
        }
        text
    }
}

/// The options of a listener that name users.
pub fn named(security: &OptionBlock) -> impl Iterator<Item = &ConfLine> {
    SOURCES.iter().filter_map(|name| security.get(name))
}

/// Writes the password files that mosquitto's configuration names.
pub fn collect(
    sorted: &SortedConf,
    draft: &mut ConfigDraft,
    report: &mut ImportReport,
) -> Result<ImportedLogins, ImportError> {
    let mut logins = ImportedLogins::default();
    for setting in sorted.securities().into_iter().flat_map(named) {
        let name = match (logins.find(setting), logins.files.len()) {
            (Some(file), _) => file.name.clone(),
            (None, 0) => "passwords".to_owned(),
            (None, number) => format!("passwords-{}", number + 1),
        };
        report.carried(setting.place(), format!("{} is the file {name:?}", setting.option()));
        if logins.find(setting).is_some() {
            continue;
        }
        let path = draft.path(setting.value());
        let order = ORDER + logins.files.len();
        let (text, place) = if setting.name() == DYNAMIC_SECURITY {
            let (dynamic, place) = DynamicSecurity::read(&path, order)?;
            (dynamic.passwords(&place, report), place)
        } else {
            let (text, place) = lines::text(&path, order)?;
            (kept(&text, &place, report), place)
        };
        write(&name, &text, &place, &draft.files, report)?;
        let (option, value) = (setting.name().to_owned(), setting.value().to_owned());
        logins.files.push(LoginFile { option, value, name, has_users: !text.is_empty() });
    }
    if !logins.are_checked() && refuses_everybody(sorted) {
        // Without a file Sluice would say that nothing checks the clients.
        draft.files.write("passwords", "")?;
        let (option, value, name) = (String::new(), String::new(), "passwords".to_owned());
        logins.files.push(LoginFile { option, value, name, has_users: false });
    }
    if logins.are_checked() && !logins.are_steps() {
        draft.sections.set("auth.password_file", quoted("passwords"));
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

/// The lines of a password file that Sluice reads.
fn kept(text: &str, place: &Place, report: &mut ImportReport) -> String {
    let mut kept = String::new();
    let mut users = BTreeSet::new();
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
    report.carried(place, format!("{} users, with their hashes as they are", users.len()));
    kept
}

fn write(
    name: &str,
    text: &str,
    place: &Place,
    files: &ImportFiles,
    report: &mut ImportReport,
) -> Result<(), ImportError> {
    let path = files.write(name, text)?;
    match PasswordFile::load(&path) {
        Ok(_) => {}
        Err(PasswordFileError::Lines(lines)) => {
            lines.into_iter().for_each(|line| report.differs(place, line));
        }
        Err(error) => report.differs(place, error.to_string()),
    }
    Ok(())
}
