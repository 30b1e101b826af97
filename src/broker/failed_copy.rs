//! A copy of a named queue that has failed, until the end of its turn.

use crate::message::{Delivery, GroupId, SessionId};
use crate::time::Time;

/// A copy that has failed. It waits for another attempt from the end of the turn, when the store has been told of
/// it: nothing can end it before, so that its end stands behind that there.
#[derive(Debug)]
pub(super) struct FailedCopy {
    pub queue: GroupId,
    pub delivery: Delivery,
    pub due: Time,
    /// The member that has failed.
    pub last: SessionId,
}
