//! By what messages are told apart where one that comes again is taken once.

use crate::time::Time;

/// Tells messages apart: 128 bits of SHA-256 of all that makes a message a repeat of another.
pub type KeyHash = [u8; 16];

/// A key as it is remembered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MessageKey {
    /// What it is found by.
    pub hash: KeyHash,
    /// When its message came.
    pub since: Time,
    /// Tells publishers apart.
    pub publisher: u64,
    /// Its publisher is a verified user.
    pub verified: bool,
}

/// A change of what is remembered, for the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyChange {
    /// A key of the rule with this number is remembered.
    Noted(u64, MessageKey),
    /// It is not any more.
    Gone(KeyHash, Time),
}
