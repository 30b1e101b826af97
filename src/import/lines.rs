//! The lines of mosquitto's configuration, with those of the files that it includes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ImportError;
use super::report::{ImportReport, Place};

/// An option and its value.
#[derive(Clone, Debug)]
pub struct ConfLine {
    place: Place,
    name: String,
    value: String,
    /// What it was called before [`ConfLine::renamed`], with its value.
    written: Option<String>,
    scope: LineScope,
}

/// For which listeners a line holds that says what is asked of clients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LineScope {
    /// `per_listener_settings` says it.
    Shared,
    /// All, wherever it stands.
    All,
    /// The one that it stands behind.
    One,
}

impl ConfLine {
    /// Where it stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The option.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value, without spaces around it.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The same line as another option.
    pub fn renamed(self, name: &str, value: &str) -> ConfLine {
        let written = Some(self.option());
        ConfLine { name: name.to_owned(), value: value.to_owned(), written, ..self }
    }

    /// The same line for other listeners.
    pub fn scoped(self, scope: LineScope) -> ConfLine {
        ConfLine { scope, ..self }
    }

    /// For which listeners it holds.
    pub fn scope(&self) -> LineScope {
        self.scope
    }

    /// Both, as they are written; what is secret is left out.
    pub fn option(&self) -> String {
        if let Some(written) = &self.written {
            return written.clone();
        }
        if self.is_secret() || self.value.is_empty() {
            return self.name.clone();
        }
        format!("{} {}", self.name, self.value)
    }

    /// Whether nothing that is printed may show the value.
    pub fn is_secret(&self) -> bool {
        ["password", "psk", "kpass"].iter().any(|word| self.name.contains(word))
            && !self.name.ends_with("_file")
    }

    /// What `true` and `false` mean in mosquitto.
    pub fn flag(&self) -> Option<bool> {
        match self.value.as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }
}

/// Reads the file and what it includes.
pub fn read(path: &Path, report: &mut ImportReport) -> Result<Vec<ConfLine>, ImportError> {
    let mut reader = ConfReader { files: 0, settings: Vec::new() };
    reader.file(path, true, report)?;
    Ok(reader.settings)
}

/// The text of a file, with a place in it.
pub fn text(path: &Path, order: usize) -> Result<(String, Place), ImportError> {
    let bytes = std::fs::read(path).map_err(|error| ImportError::file("read", path, &error))?;
    let file: Arc<str> = path.display().to_string().into();
    let text = String::from_utf8(bytes)
        .map_err(|_| ImportError(format!("{}: it is not UTF-8", path.display())))?;
    Ok((text, Place::new(order, &file, 0)))
}

struct ConfReader {
    files: usize,
    settings: Vec<ConfLine>,
}

impl ConfReader {
    fn file(
        &mut self,
        path: &Path,
        may_include: bool,
        report: &mut ImportReport,
    ) -> Result<(), ImportError> {
        let (text, place) = text(path, self.files)?;
        self.files += 1;
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            let (name, value) = (name.to_owned(), value.trim().to_owned());
            let place = place.at(number);
            let setting = ConfLine { place, name, value, written: None, scope: LineScope::Shared };
            match (setting.name.as_str(), may_include) {
                ("include_dir", true) => {
                    for file in included(Path::new(&setting.value))? {
                        self.file(&file, false, report)?;
                    }
                    report.carried(&setting.place, "include_dir: what it includes is read here");
                }
                ("include_dir", false) => {
                    report.carried(&setting.place, "include_dir: mosquitto ignores it here too");
                }
                _ => self.settings.push(setting),
            }
        }
        Ok(())
    }
}

/// The files that are read of a folder.
fn included(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    files_of(folder, |path| path.extension().is_some_and(|extension| extension == "conf"))
}

/// The files of a folder that are `wanted`, in the order of their names, as mosquitto has it.
pub fn files_of(
    folder: &Path,
    wanted: impl Fn(&Path) -> bool,
) -> Result<Vec<PathBuf>, ImportError> {
    let failed = |error: std::io::Error| ImportError::file("read", folder, &error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if wanted(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
