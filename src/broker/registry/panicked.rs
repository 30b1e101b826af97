//! Client Identifiers are free again after a panic.

use std::sync::Arc;
use std::task::Waker;

use super::{Holder, Registry};
use crate::broker::mailbox::Mailbox;
use crate::message::{ClientId, Identity};

impl Registry {
    /// The Session of `mailbox` has ended because its link's turn has panicked: the Client Identifier is
    /// free. A claimant is woken.
    pub fn let_go(&self, client_id: &ClientId, mailbox: &Arc<Mailbox>) -> Option<Waker> {
        let inner = &mut *self.lock();
        match &inner.slots.get(client_id)?.holder {
            Holder::Taken(_) => {}
            Holder::Attached(attached) if Arc::ptr_eq(attached, mailbox) => {}
            Holder::Empty | Holder::Attached(_) | Holder::Parked(_) => return None,
        }
        inner.free(client_id)
    }

    /// The turn of a settled claimant has panicked before it had the Session: the Client Identifier is
    /// free, if it still holds that. A claimant is woken.
    pub fn forget(&self, identity: &Arc<Identity>) -> Option<Waker> {
        let inner = &mut *self.lock();
        match &inner.slots.get(&identity.client_id)?.holder {
            Holder::Taken(taken) if Arc::ptr_eq(taken, identity) => inner.free(&identity.client_id),
            _ => None,
        }
    }
}
