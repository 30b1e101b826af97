//! Why a client is not read from.

use std::sync::Arc;

use super::filters::FiltersLeft;
use crate::broker::mailbox::Mailbox;
use crate::session::WillMessage;
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
    /// CONNACK waits for the store: so long at most, then CONNECT is refused, and its Session is what it
    /// was before. `begun`: when CONNECT came.
    Greeting { until: Time, begun: Time, before: Option<Before> },
    /// Filters of its last packet are still to be served.
    Filters(FiltersLeft),
}

/// What a Session was before the CONNECT that is being answered.
#[derive(Debug)]
pub(super) enum Before {
    /// It was not there.
    Nothing,
    /// Its client was away.
    Parked(Box<Left>),
}

/// What a client had left behind.
#[derive(Debug)]
pub(super) struct Left {
    /// Its Will, whole.
    pub will: Option<Arc<WillMessage>>,
    /// When that is due.
    pub will_due: Time,
    /// The Session Expiry Interval.
    pub expiry: u32,
}
