//! What stands behind the journal: an ordered table of rows, written by checkpoints only.

use std::ops::ControlFlow;
use std::path::Path;

use super::rows::Blob;

/// An ordered table of rows on stable storage.
///
/// The engine calls `apply` and `flush` from one thread, and no `scan` runs meanwhile. It calls
/// nothing any more once a call has failed: what a table does after an error is not to be relied
/// upon, and some never return.
pub trait Table: Send + Sync {
    /// The value of a row.
    fn get(&self, key: &[u8]) -> Result<Option<Blob>, TableError>;

    /// The values of many rows, in the order of `keys`.
    fn get_many(&self, keys: Vec<Blob>) -> Result<Vec<Option<Blob>>, TableError> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// Changes rows, all or none of them, in rising order of their keys. Not certain before
    /// [`Table::flush`], but nothing is certain of it that is not certain of what came before.
    fn apply(&self, changes: Vec<RowChange>) -> Result<(), TableError>;

    /// Makes all changes certain.
    fn flush(&self) -> Result<(), TableError>;

    /// Visits rows from `from` on, in rising order of their keys, until told to stop.
    fn scan(&self, from: &[u8], visit: &mut Visit<'_>) -> Result<(), TableError>;

    /// Nothing was written for a while: gives back memory that only what was written needed. No `apply`, `flush` or
    /// `scan` runs meanwhile; readers may wait.
    fn rest(&self) -> Result<(), TableError> {
        Ok(())
    }

    /// Gives files and threads back. Nothing is called afterwards.
    fn close(&self) -> Result<(), TableError>;
}

/// Looks at a row, and says whether to go on.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A change of a row: a key with its value, or with none if it is to be deleted.
pub type RowChange = (Blob, Option<Blob>);

/// Why a table did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct TableError(String);

impl TableError {
    /// What it said; if the system was the reason, with the system's words at the end.
    pub fn new(said: impl Into<String>) -> TableError {
        TableError(said.into())
    }

    /// What an operator can do about it, to be put behind it.
    pub fn advice(&self) -> &'static str {
        match super::advice::advice(&self.0) {
            "" => {
                "; look with `store check`, go back to an export, or copy what can be read with \
                 `store salvage`"
            }
            advice => advice,
        }
    }
}

/// Makes or opens a table in a folder.
pub struct TableKind {
    /// Its name: a store made with one kind is not opened with another.
    pub name: &'static str,
    /// Opens the table in a folder, which is there; makes an empty one if there is none.
    pub open: Box<OpenTable>,
}

/// Opens a table in a folder.
pub type OpenTable = dyn Fn(&Path) -> Result<Box<dyn Table>, TableError> + Send + Sync;
