//! Sessions that go to another node of a cluster, and those that come from one.

use std::task::Waker;

use super::Registry;
use super::slots::{Holder, Slot};
use crate::broker::parked::{InFlight, Parked, ToLeave};
use crate::message::ClientId;

impl Registry {
    /// How a claim for another node stands. A Session that is there is taken out; its Client Identifier stays taken.
    pub fn settle_to_leave(&self, client_id: &ClientId, claim: u64) -> ToLeave {
        let inner = &mut *self.lock();
        let Some(slot) = inner.slots.get(client_id) else { return ToLeave::Overtaken };
        if slot.claims.as_ref().is_none_or(|claims| claims.newest != claim) {
            return ToLeave::Overtaken;
        }
        match std::mem::take(&mut slot.holder) {
            held @ (Holder::Attached(_) | Holder::Taken(_)) => {
                slot.holder = held;
                ToLeave::Pending
            }
            Holder::Empty => {
                inner.slots.remove(client_id);
                ToLeave::Nowhere
            }
            Holder::Parked(parked) => {
                slot.take(parked.session.identity());
                inner.unpark(&parked);
                ToLeave::Here(parked)
            }
        }
    }

    /// Takes in a Session that has come from another node. A claimant is woken, or the link that holds its place finds it
    /// with [`Registry::take_arrived`].
    pub fn arrive(&self, mut parked: Parked) -> Option<Waker> {
        parked.in_flight = InFlight::of(&parked.session);
        let inner = &mut *self.lock();
        let identity = parked.session.identity().clone();
        let client_id = &identity.client_id;
        inner.last_session = inner.last_session.max(parked.id);
        let held = inner.slots.get(client_id).and_then(|slot| slot.owner().cloned());
        match held {
            // It was counted for the claimant.
            Some(claimant) => inner.shares.remove(&claimant),
            None => inner.sessions += 1,
        }
        inner.shares.add(&identity);
        inner.park(&parked);
        let slot = inner.slots.get_or_new(client_id);
        slot.holder = Holder::Parked(Box::new(parked));
        slot.claims.as_mut().and_then(|claims| claims.claimant.take())
    }

    /// Takes out the Session that has come for a claim that holds its place.
    pub fn take_arrived(&self, client_id: &ClientId) -> Option<Box<Parked>> {
        let inner = &mut *self.lock();
        let slot = inner.slots.get(client_id)?;
        if !matches!(slot.holder, Holder::Parked(_)) {
            return None;
        }
        let Holder::Parked(parked) = std::mem::take(&mut slot.holder) else { return None };
        slot.hold_for(&parked);
        inner.unpark(&parked);
        Some(parked)
    }

    /// A claim that holds the place of a Session is given up; a claimant is woken. A Session that has come stays.
    pub fn give_up(&self, client_id: &ClientId) -> Option<Waker> {
        let inner = &mut *self.lock();
        match &inner.slots.get(client_id)?.holder {
            Holder::Taken(_) => inner.free(client_id),
            Holder::Empty | Holder::Attached(_) | Holder::Parked(_) => None,
        }
    }
}

impl Slot {
    /// A link takes the Session; newer claims wait for it.
    fn hold_for(&mut self, parked: &Parked) {
        self.holder = Holder::Taken(parked.session.identity().clone());
    }
}
