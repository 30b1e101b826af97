//! Numbers of Sessions, groups, receivers and messages: one type each, so that none stands in another's place.

use std::fmt;

/// Number of a Session; never used twice in the life of a store.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId(u64);

/// Number of a group of Shared Subscriptions; never used twice in the life of a store.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GroupId(u64);

/// Number of a message in the store, above 0; rises in the order of [`submit`]; never used twice.
///
/// [`submit`]: crate::broker::ports::Store::submit
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Mid(u64);

/// A receiver of messages: a Session or a group, in one number. Sessions are ordered before groups,
/// each by number.
///
/// ```
/// use sluicemq::message::{GroupId, ReceiverId, ReceiverKind, SessionId};
///
/// let group = ReceiverId::group(GroupId::new(7));
/// assert!(ReceiverId::session(SessionId::new(8)) < group);
/// assert_eq!(group.kind(), ReceiverKind::Group(GroupId::new(7)));
/// assert_eq!(ReceiverId::from_bits(group.to_bits()), group);
/// ```
///
/// A receiver and a message in each other's place do not compile:
///
/// ```compile_fail,E0308
/// use sluicemq::broker::ports::Batch;
/// use sluicemq::message::{Mid, ReceiverId, SessionId};
///
/// let (receiver, mid) = (ReceiverId::session(SessionId::new(1)), Mid::new(2));
/// Batch::default().settled.push((mid, receiver));
/// ```
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ReceiverId(u64);

/// What a [`ReceiverId`] is the number of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReceiverKind {
    /// One Session.
    Session(SessionId),
    /// A group of Shared Subscriptions: its members take turns.
    Group(GroupId),
}

impl SessionId {
    /// The Session with this number, below 2^63.
    pub const fn new(number: u64) -> SessionId {
        debug_assert!(number & GROUP == 0);
        SessionId(number)
    }

    /// The same for a number that was read: `None` if it is none of a Session.
    pub fn checked(number: u64) -> Option<SessionId> {
        (number & GROUP == 0).then_some(SessionId(number))
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number after this one.
    pub const fn next(self) -> SessionId {
        SessionId::new(self.0 + 1)
    }
}

impl GroupId {
    /// The group with this number, below 2^63.
    pub const fn new(number: u64) -> GroupId {
        debug_assert!(number & GROUP == 0);
        GroupId(number)
    }

    /// The same for a number that was read: `None` if it is none of a group.
    pub fn checked(number: u64) -> Option<GroupId> {
        (number & GROUP == 0).then_some(GroupId(number))
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number after this one.
    pub const fn next(self) -> GroupId {
        GroupId::new(self.0 + 1)
    }
}

impl Mid {
    /// The message with this number.
    pub const fn new(number: u64) -> Mid {
        Mid(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl ReceiverId {
    /// A Session.
    pub const fn session(id: SessionId) -> ReceiverId {
        ReceiverId(id.0)
    }

    /// A group.
    pub const fn group(id: GroupId) -> ReceiverId {
        ReceiverId(id.0 | GROUP)
    }

    /// The receiver of a copy that a Session has taken: the group it came from, or else the Session.
    pub fn of(session: SessionId, group: Option<GroupId>) -> ReceiverId {
        group.map_or(ReceiverId::session(session), ReceiverId::group)
    }

    /// What it is the number of.
    pub const fn kind(self) -> ReceiverKind {
        if self.0 & GROUP == 0 {
            ReceiverKind::Session(SessionId(self.0))
        } else {
            ReceiverKind::Group(GroupId(self.0 ^ GROUP))
        }
    }

    /// The number that a store writes: the top bit tells a group from a Session.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The receiver that [`ReceiverId::to_bits`] gave this number for.
    pub const fn from_bits(bits: u64) -> ReceiverId {
        ReceiverId(bits)
    }
}

/// The bit that tells a group from a Session.
const GROUP: u64 = 1 << 63;

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Mid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ReceiverId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind().fmt(f)
    }
}
