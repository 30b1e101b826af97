//! The registry: which Session belongs to which Client Identifier, and what holds it: a link or the
//! registry.
//!
//! A Session is attached to one link or parked here. A claim takes it over: the newest claimant
//! wins; the attached link is kicked and parks the Session within its next turn.

mod nodes;
mod pages;
mod panicked;
mod slots;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

pub use self::pages::{PageStart, Whereabouts};
use self::slots::{Claims, Holder, Slots};
use super::mailbox::{Mailbox, Notice};
pub use super::parked::{Claim, Claimant, Claimed, Contest, Due, InFlight, Parked, ToLeave};
use super::shares::{SessionRoom, Shares};
use super::takeovers::Brake;
use crate::codec::{PacketId, Reason};
use crate::config::Quota;
use crate::message::{ClientId, Identity, SessionId};
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;
use crate::topic::TopicFilter;

/// What the link of a Session is told when another connection claims the Session `[MQTT5-3.1.4-3]`.
const TAKEN_OVER: Notice = Notice::Kick(Reason::SessionTakenOver);

/// All Sessions of a broker.
#[derive(Debug)]
pub struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    slots: Slots,
    deadlines: BTreeMap<(Time, SessionId), ClientId>,
    last_session: SessionId,
    last_claim: u64,
    sessions: usize,
    shares: Shares,
    brake: Brake,
}

impl Inner {
    /// No Session has the Client Identifier any more; a claimant is to be woken.
    fn free(&mut self, client_id: &ClientId) -> Option<Waker> {
        self.sessions -= 1;
        let mut slot = self.slots.occupied(client_id)?;
        self.shares.remove(slot.get().owner()?);
        if let Some(claims) = &mut slot.get_mut().claims {
            let claimant = claims.claimant.take();
            slot.get_mut().holder = Holder::Empty;
            return claimant;
        }
        slot.remove();
        None
    }

    /// Takes out a parked Session that is to end.
    fn end_parked(&mut self, client_id: &ClientId) -> Option<Box<Parked>> {
        let mut slot = self.slots.occupied(client_id)?;
        if !matches!(slot.get().holder, Holder::Parked(_)) {
            return None;
        }
        let ended = if slot.get().claims.is_some() {
            std::mem::take(&mut slot.get_mut().holder)
        } else {
            slot.remove().0.holder
        };
        let Holder::Parked(parked) = ended else { return None };
        self.sessions -= 1;
        self.unpark(&parked);
        self.shares.remove(parked.session.identity());
        Some(parked)
    }

    /// A Session is not parked any more.
    fn unpark(&mut self, parked: &Parked) {
        self.deadlines.remove(&(parked.deadline(), parked.id));
        self.shares.unpark(parked.session.identity(), parked.id);
    }

    /// A Session is parked from now on.
    fn park(&mut self, parked: &Parked) {
        let identity = parked.session.identity();
        let deadline = parked.deadline();
        if deadline != Time::NEVER {
            self.deadlines.insert((deadline, parked.id), identity.client_id.clone());
        }
        self.shares.park(identity, parked.id);
    }
}

impl Registry {
    /// An empty registry; `seed` feeds its hash. So many takeovers of a Session are free; 0: all are.
    pub fn new(seed: u64, takeovers_max: u32) -> Registry {
        let mut brake = Brake::default();
        brake.set_free(takeovers_max);
        let inner = Inner {
            slots: Slots::new(seed),
            deadlines: BTreeMap::new(),
            last_session: SessionId::default(),
            last_claim: 0,
            sessions: 0,
            shares: Shares::new(seed.rotate_left(16)),
            brake,
        };
        Registry { inner: Mutex::new(inner) }
    }

    /// So many takeovers of a Session are free from now on; 0: all are.
    pub fn set_takeovers_max(&self, takeovers_max: u32) {
        self.lock().brake.set_free(takeovers_max);
    }

    /// Whether takeovers of the Session of `client_id` are braked.
    pub fn brakes(&self, client_id: &ClientId) -> bool {
        self.lock().brake.brakes(client_id.as_str())
    }

    /// Whether there is a Session of `client_id`.
    pub fn knows(&self, client_id: &ClientId) -> bool {
        self.lock().slots.get(client_id).is_some()
    }

    /// Whether there is a Session of this Client Identifier that lasts.
    pub fn keeps(&self, client_id: &ClientId) -> bool {
        match self.lock().slots.get(client_id).map(|slot| &slot.holder) {
            Some(Holder::Attached(mailbox)) => mailbox.is_durable(),
            Some(Holder::Parked(parked)) => parked.session.lasts(),
            Some(Holder::Taken(_)) => true,
            Some(Holder::Empty) | None => false,
        }
    }

    /// Bytes of the Will that the client has left behind; 0 without one.
    pub fn parked_will(&self, client_id: &ClientId) -> usize {
        match self.lock().slots.get(client_id).map(|slot| &slot.holder) {
            Some(Holder::Parked(parked)) => parked.session.will_bytes(),
            _ => 0,
        }
    }

    /// Claims a Session for a new connection.
    ///
    /// # Errors
    ///
    /// What is in the way. A claim that is not final is made again later, under its number.
    pub fn claim(
        &self,
        claimant: &Claimant<'_>,
        now: Time,
        wakers: &mut Vec<Waker>,
    ) -> Result<Claimed, Contest> {
        let Claimant { client_id, user_name, clean, number, .. } = *claimant;
        let inner = &mut *self.lock();
        inner.last_claim += u64::from(number.is_none());
        let number = number.unwrap_or(inner.last_claim);
        let slot = inner.slots.get_or_new(client_id);
        let braked = slot.contest((claimant, number), now, &mut inner.brake)?;
        let new = || Box::new(Claims::new(client_id));
        let claims = slot.claims.get_or_insert_with(new);
        claims.newest = number;
        claims.clean |= clean;
        claims.user_name = user_name.map(Into::into);
        wakers.extend(claims.claimant.take());
        if let Holder::Attached(mailbox) = &slot.holder {
            wakers.extend(mailbox.notify(TAKEN_OVER));
        }
        Ok(Claimed { number, braked })
    }

    /// How `claim` stands; while it is pending, `waker` is woken when that changes. A settled
    /// claim holds the slot: [`Registry::attach`] follows.
    pub fn settle(
        &self,
        client_id: &ClientId,
        claim: u64,
        identity: &Arc<Identity>,
        quota: &Quota,
        waker: &Waker,
    ) -> Claim {
        let inner = &mut *self.lock();
        let Some(slot) = inner.slots.get(client_id) else { return Claim::Overtaken };
        let Some(claims) = slot.claims.as_mut().filter(|claims| claims.newest == claim) else {
            return Claim::Overtaken;
        };
        match std::mem::take(&mut slot.holder) {
            held @ (Holder::Attached(_) | Holder::Taken(_)) => {
                slot.holder = held;
                claims.claimant = Some(waker.clone());
                Claim::Pending
            }
            Holder::Empty => {
                let room = inner.shares.room(identity, inner.sessions, quota);
                if let SessionRoom::Full(grounds) = room {
                    inner.slots.remove(client_id);
                    return Claim::Full(grounds);
                }
                slot.take(identity);
                inner.shares.add(identity);
                inner.sessions += 1;
                inner.last_session = inner.last_session.next();
                let ends = match room {
                    SessionRoom::InsteadOf(client_id) => inner.end_parked(&client_id),
                    SessionRoom::Free | SessionRoom::Full(_) => None,
                };
                Claim::New(inner.last_session, ends)
            }
            Holder::Parked(parked) => {
                let clean = claims.clean;
                let before = parked.session.identity();
                let same = before.user_name == identity.user_name;
                let resumes = same && !clean;
                slot.take(if resumes { before } else { identity });
                inner.unpark(&parked);
                if !resumes {
                    inner.shares.remove(before);
                    inner.shares.add(identity);
                }
                if same { Claim::Resumed { parked, clean } } else { Claim::Unverified(parked) }
            }
        }
    }

    /// Takes in a Session from the store.
    pub fn restore(&self, mut parked: Parked) {
        parked.in_flight = InFlight::of(&parked.session);
        let inner = &mut *self.lock();
        let client_id = parked.session.identity().client_id.clone();
        inner.shares.add(parked.session.identity());
        inner.park(&parked);
        inner.last_session = inner.last_session.max(parked.id);
        inner.sessions += 1;
        let slot = inner.slots.get_or_new(&client_id);
        slot.holder = Holder::Parked(Box::new(parked));
        slot.claims = None;
    }

    /// Numbers up to this were used before.
    pub fn restore_last(&self, last: SessionId) {
        let inner = &mut *self.lock();
        inner.last_session = inner.last_session.max(last);
    }

    /// A number for a Session that replaces another.
    pub fn next_session(&self) -> SessionId {
        let inner = &mut *self.lock();
        inner.last_session = inner.last_session.next();
        inner.last_session
    }

    /// A settled claimant holds its Session now. If a newer claim has come meanwhile the mailbox
    /// is kicked at once.
    pub fn attach(&self, client_id: &ClientId, mailbox: &Arc<Mailbox>) {
        let inner = &mut *self.lock();
        let slot = inner.slots.get(client_id).expect("a settled claim has a slot");
        if slot.claims.is_some() {
            // Its link is in its turn, and looks at its mailbox before it waits.
            let _ = mailbox.notify(TAKEN_OVER);
        }
        slot.holder = Holder::Attached(mailbox.clone());
    }

    /// Takes a Session in; a claimant is woken.
    pub fn park(&self, mut parked: Parked) -> Option<Waker> {
        parked.in_flight = InFlight::of(&parked.session);
        let inner = &mut *self.lock();
        let client_id = parked.session.identity().client_id.clone();
        inner.park(&parked);
        let slot = inner.slots.get(&client_id).expect("an attached Session has a slot");
        slot.holder = Holder::Parked(Box::new(parked));
        slot.claims.as_mut()?.claimant.take()
    }

    /// An attached Session has ended with its connection; a claimant is woken.
    pub fn release(&self, client_id: &ClientId) -> Option<Waker> {
        self.lock().free(client_id)
    }

    /// A claimant's connection is gone before its claim was settled.
    pub fn abandon(&self, client_id: &ClientId, claim: u64) {
        let inner = &mut *self.lock();
        let Some(slot) = inner.slots.get(client_id) else { return };
        if slot.claims.as_ref().is_none_or(|claims| claims.newest != claim) {
            return;
        }
        if matches!(slot.holder, Holder::Empty) {
            inner.slots.remove(client_id);
        } else {
            slot.claims = None;
        }
    }

    /// The next thing of a parked Session that is due at `now`.
    pub fn due(&self, now: Time) -> Option<Due> {
        let inner = &mut *self.lock();
        let (&(due, id), _) = inner.deadlines.first_key_value()?;
        if due > now {
            return None;
        }
        let client_id = inner.deadlines.remove(&(due, id))?;
        let slot = inner.slots.get(&client_id)?;
        let Holder::Parked(parked) = &mut slot.holder else { return None };
        if parked.expires > now {
            parked.will_due = Time::NEVER;
            let expires = parked.expires;
            let identity = parked.session.identity().clone();
            let will = parked.session.take_will();
            if expires != Time::NEVER {
                inner.deadlines.insert((expires, id), client_id);
            }
            return will.map(|will| Due::Will(id, identity, will));
        }
        inner.end_parked(&client_id).map(Due::End)
    }

    /// Takes out a Session that is to end, if it is parked.
    pub fn end_parked(&self, client_id: &ClientId) -> Option<Box<Parked>> {
        self.lock().end_parked(client_id)
    }

    /// An exclusive Subscription of a Session is another one's now: if it is parked, it is told.
    pub fn lose(&self, client_id: &ClientId, session: SessionId, filter: &TopicFilter) {
        let inner = &mut *self.lock();
        if let Some(slot) = inner.slots.get(client_id)
            && let Holder::Parked(parked) = &mut slot.holder
            && parked.id == session
        {
            parked.session.lose(filter);
        }
    }

    /// A message of `QoS` 2 was received under this identifier: if the Session is parked, it is told.
    pub fn received(&self, client_id: &ClientId, session: SessionId, packet_id: PacketId) {
        let inner = &mut *self.lock();
        if let Some(slot) = inner.slots.get(client_id)
            && let Holder::Parked(parked) = &mut slot.holder
            && parked.id == session
        {
            parked.session.note_received(packet_id);
        }
    }

    /// When the next thing of a parked Session is due.
    pub fn deadline(&self) -> Option<Time> {
        self.lock().deadlines.first_key_value().map(|((due, _), _)| *due)
    }

    /// Sessions there are, connected and parked.
    pub fn sessions(&self) -> usize {
        self.lock().sessions
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        whole(self.inner.lock())
    }
}
