//! What goes wrong with a store, with its place and with what to do.

use std::io;
use std::path::{Path, PathBuf};

use super::table::TableError;

/// Why a store cannot be opened, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system said no.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done, as in "cannot … this file".
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is on disk is not what was written there.
    #[error(
        "{} is damaged at byte {offset}: {what}; look with `store check`, go back to an export, \
         or copy what can be read with `store salvage`",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// How it shows.
        what: String,
    },
    /// Another process has this store open.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The store's folder.
        path: PathBuf,
    },
    /// There is something in the folder, but not a store that this program can open.
    #[error("{}: {what}", path.display())]
    Unfit {
        /// The store's folder, or the file in it.
        path: PathBuf,
        /// What is there, and what to do.
        what: String,
    },
    /// The table behind the journal failed.
    #[error(
        "the table in {}: {source}; look with `store check`, go back to an export, or copy what \
         can be read with `store salvage`",
        path.display()
    )]
    Table {
        /// The table's folder.
        path: PathBuf,
        /// What it said.
        source: TableError,
    },
    /// The store failed earlier in this process, and takes nothing any more.
    #[error("the store has failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// An error of the file system, with what was being done.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Io { doing, path, source }
    }

    /// Damage in a file.
    pub(super) fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> StoreError {
        StoreError::Damaged { path: path.to_owned(), offset, what: what.into() }
    }
}
