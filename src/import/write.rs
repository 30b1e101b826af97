//! The files that are made.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::ImportError;
use super::report::{ImportReport, Place};
use crate::settings;

/// The folder of what is made.
#[derive(Debug)]
pub struct ImportFiles {
    folder: PathBuf,
}

impl ImportFiles {
    /// Makes the folder; in one that is there, nothing of what is made may be.
    pub fn begin(folder: &Path) -> Result<ImportFiles, ImportError> {
        let made = DirBuilder::new().mode(0o700).recursive(true).create(folder);
        made.map_err(|error| ImportError::file("make", folder, &error))?;
        for name in ["sluice.toml", "passwords", "rules.toml", "data"] {
            let path = folder.join(name);
            if path.exists() {
                return Err(ImportError(format!("{}: it is there already", path.display())));
            }
        }
        Ok(ImportFiles { folder: folder.to_owned() })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a new file, for its owner's eyes only.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, ImportError> {
        let path = self.folder.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|error| ImportError::file("write", &path, &error))?;
        Ok(path)
    }

    /// Says what `sluice check` would.
    pub fn check(&self, report: &mut ImportReport) {
        let path = self.folder.join("sluice.toml");
        let place = Place::of_file(&path);
        if let Err(wrong) = settings::load(&[path], [], &[]) {
            wrong.lines().iter().for_each(|line| report.differs(&place, line.clone()));
        }
    }
}
