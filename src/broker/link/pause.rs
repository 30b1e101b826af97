//! Why a client is not read from.

use std::sync::Arc;

use super::filters::FiltersLeft;
use crate::broker::mailbox::Mailbox;
use crate::time::Time;

/// Why a client is not read from for a while.
#[derive(Debug)]
pub(super) enum Pause {
    /// Receivers are above half full: so long at most.
    Receivers { until: Time, mailboxes: Vec<(Arc<Mailbox>, u32)> },
    /// A PUBLISH waits, unread, until the store has room for it.
    Store,
    /// A packet waits, unread, until a rate allows it.
    Rate { until: Time },
    /// A PUBLISH waits, unread, because the broker is overloaded.
    Overload { until: Time },
    /// CONNACK waits for the store: so long at most, then CONNECT is refused. `new`: its Session was not
    /// there before.
    Greeting { until: Time, new: bool },
    /// Filters of its last packet are still to be served.
    Filters(FiltersLeft),
}
