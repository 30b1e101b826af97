//! Why a row of the store is no fact.

use crate::message::Mid;
use crate::store::bytes::Torn;

/// Why a row was not made a fact.
#[derive(Debug)]
pub enum Unread {
    /// It says what it cannot mean.
    Torn,
    /// The message that it speaks of is not there.
    Missing(Mid),
    /// The same, and nothing is missing: a copy of a group goes from one Session to another in two turns, and a
    /// crash between them leaves what the first one had.
    Stray,
    /// Something else is wrong, in words.
    Other(String),
}

impl Unread {
    /// The same of a copy of a group.
    pub(super) fn of_group(self) -> Unread {
        if matches!(self, Unread::Missing(_)) { Unread::Stray } else { self }
    }
}

impl From<Torn> for Unread {
    fn from(_: Torn) -> Unread {
        Unread::Torn
    }
}
