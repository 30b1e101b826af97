//! How a client has brought its connection to an end.

use crate::message::RefusalKind;

/// How the client has brought its connection to an end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ClientEnd {
    /// It has not, or by nothing but what the Reason Code says.
    Unsaid,
    /// It said DISCONNECT.
    Goodbye,
    /// It sent what was refused.
    Refused(RefusalKind),
}
