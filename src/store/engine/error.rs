//! What goes wrong with a store, with its place and with what to do.

use std::io;
use std::path::{Path, PathBuf};

use super::advice::advice;
use super::table::TableError;

/// Why a store cannot be opened, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system said no.
    #[error("cannot {doing} {}: {source}{}", path.display(), advice(&source.to_string()))]
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
    #[error("the table in {}: {source}{}", path.display(), source.advice())]
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
    /// Whether it says that the disk is full: nothing is broken, there is only no room.
    pub fn is_full(&self) -> bool {
        matches!(self, StoreError::Io { source, .. } if super::disk::is_full(source))
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_system_is_said_with_what_to_do_and_damage_with_how_to_salvage() {
        let said = |number| {
            StoreError::io("make", Path::new("data/x"))(io::Error::from_raw_os_error(number))
                .to_string()
        };
        for (number, wanted) in [
            (
                28,
                "cannot make data/x: No space left on device (os error 28); make room on the disk",
            ),
            (24, "raise its limit of open files (ulimit -n, LimitNOFILE)"),
            (30, "mounted read-only"),
            (13, "must own the store's folder"),
            (5, "look in the kernel's log, and replace it"),
            (122, "quota"),
            (27, "ulimit -f"),
            (23, "fs.file-max"),
        ] {
            let said = said(number);
            assert!(said.contains(wanted), "{said}");
            assert!(!said.contains("salvage"), "{said}");
        }
        let table = |said: &str| {
            let path = PathBuf::from("data/table");
            StoreError::Table { path, source: TableError::new(said) }.to_string()
        };
        let open_files = table("it cannot be opened: Too many open files (os error 24)");
        assert!(
            open_files.contains("ulimit -n") && !open_files.contains("salvage"),
            "{open_files}"
        );
        let threads = table("it cannot be opened: Resource temporarily unavailable (os error 11)");
        assert!(threads.contains("TasksMax") && !threads.contains("salvage"), "{threads}");
        let damaged = table("a checksum is wrong");
        assert!(damaged.contains("store salvage"), "{damaged}");
    }
}
