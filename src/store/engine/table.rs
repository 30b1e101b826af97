//! What a checkpoint needs of the table it writes to.

/// Why a table did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct TableError(pub String);
