//! The store's note of what it was handed.

/// The store's own note of a batch. Only the store compares two of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Receipt(pub u64);
