//! A rule that a client broke, or a limit that it went beyond: why its connection is closed.

use crate::codec::Reason;
use crate::message::RefusalKind;

/// Close with this Reason Code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Violation {
    pub reason: Reason,
    /// What was refused, where the Reason Code does not say it.
    pub kind: Option<RefusalKind>,
}

impl Violation {
    /// The Reason Code says it all.
    pub fn of(reason: Reason) -> Violation {
        Violation { reason, kind: None }
    }

    /// A Protocol Error of a kind that has a name.
    pub fn protocol(kind: RefusalKind) -> Violation {
        Violation { reason: Reason::ProtocolError, kind: Some(kind) }
    }
}
