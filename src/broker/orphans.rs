//! What a turn held in its hands when it panicked: kept by its thread, so that it is not lost with the
//! turn.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::registry::Parked;
use super::turn::unwinding;
use crate::message::{Delivery, Identity, SessionId};
use crate::session::WillMessage;

/// Left behind by a turn that panicked.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    /// Sessions that were neither at a link nor parked.
    pub sessions: Vec<Parked>,
    /// Taken from a mailbox or a group, and not yet the Session's.
    pub deliveries: Vec<Delivery>,
    /// Wills that were being published.
    pub wills: Vec<WillInHand>,
}

/// A Will that is due, and its Session.
#[derive(Clone, Debug)]
pub(super) struct WillInHand {
    pub id: SessionId,
    pub identity: Arc<Identity>,
    pub will: Arc<WillMessage>,
}

thread_local! {
    static ORPHANS: RefCell<Orphans> = const {
        RefCell::new(Orphans { sessions: Vec::new(), deliveries: Vec::new(), wills: Vec::new() })
    };
}

/// Takes what turns of this thread have left behind.
pub(super) fn take() -> Orphans {
    ORPHANS.try_with(|orphans| std::mem::take(&mut *orphans.borrow_mut())).unwrap_or_default()
}

fn leave(leave: impl FnOnce(&mut Orphans)) {
    let _ = ORPHANS.try_with(|orphans| leave(&mut orphans.borrow_mut()));
}

/// Takes only what was on its way to a Session.
pub(super) fn take_deliveries() -> Vec<Delivery> {
    let take = |orphans: &RefCell<Orphans>| std::mem::take(&mut orphans.borrow_mut().deliveries);
    ORPHANS.try_with(take).unwrap_or_default()
}

/// Something that becomes a Session without a link if the turn panics.
pub(super) struct Kept<T: Into<Parked>>(Option<T>);

impl<T: Into<Parked>> Kept<T> {
    pub fn new(kept: T) -> Kept<T> {
        Kept(Some(kept))
    }

    /// The turn is through with it.
    pub fn take(mut self) -> T {
        self.0.take().expect("it is there until it is taken")
    }
}

impl<T: Into<Parked>> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is there until it is taken")
    }
}

impl<T: Into<Parked>> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("it is there until it is taken")
    }
}

impl<T: Into<Parked>> Drop for Kept<T> {
    fn drop(&mut self) {
        if let Some(kept) = self.0.take()
            && unwinding()
        {
            leave(|orphans| orphans.sessions.push(kept.into()));
        }
    }
}

/// A Will while it is published: it is due again if the turn panics.
pub(super) struct Publishing(pub WillInHand);

impl Drop for Publishing {
    fn drop(&mut self) {
        if unwinding() {
            leave(|orphans| orphans.wills.push(self.0.clone()));
        }
    }
}

/// Deliveries on their way to a Session, the next one first.
pub(super) struct OnTheWay<'a>(pub std::vec::Drain<'a, Delivery>);

impl OnTheWay<'_> {
    #[cold]
    fn rescue(&mut self) {
        if unwinding() {
            leave(|orphans| orphans.deliveries.extend(&mut self.0));
        }
    }
}

impl Drop for OnTheWay<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.0.len() > 0 {
            self.rescue();
        }
    }
}
