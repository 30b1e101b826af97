//! The registry: which Session belongs to which Client Identifier, and what holds it: a link or the
//! registry.
//!
//! A Session is attached to one link or parked here. A claim takes it over: the newest claimant
//! wins; the attached link is kicked and parks the Session within its next turn.

mod pages;
mod panicked;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

use hashbrown::HashTable;

pub use self::pages::PageStart;
use super::mailbox::{Mailbox, Notice};
pub use super::parked::{Claim, Claimant, Claimed, Contest, Due, Parked};
pub use super::shares::Quota;
use super::shares::{SessionRoom, Shares};
use super::takeovers::{Brake, Passage};
use crate::codec::Reason;
use crate::message::{ClientId, Identity, SessionId};
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;
use crate::topic::TextHash;

/// What the link of a Session is told when another connection claims the Session `[MQTT5-3.1.4-3]`.
const TAKEN_OVER: Notice = Notice::Kick(Reason::SessionTakenOver);

/// All Sessions of a broker.
#[derive(Debug)]
pub struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// By Client Identifier, which a slot has from its holder or its claims.
    slots: HashTable<Slot>,
    hash: TextHash,
    deadlines: BTreeMap<(Time, SessionId), ClientId>,
    last_session: SessionId,
    last_claim: u64,
    sessions: usize,
    shares: Shares,
    brake: Brake,
    /// Another one each time that slots may have changed their places.
    layout: u64,
}

#[derive(Debug)]
struct Slot {
    holder: Holder,
    /// Claims that are not settled yet: the slot stays until they are, though its link has left.
    claims: Option<Box<Claims>>,
}

/// The links that claim a Session while another link still holds it.
#[derive(Debug)]
struct Claims {
    client_id: ClientId,
    /// Number of the newest; the older ones are overtaken.
    newest: u64,
    /// One of them asked for a Clean Start.
    clean: bool,
    /// The verified user of the newest.
    user_name: Option<Box<str>>,
    claimant: Option<Waker>,
}

#[derive(Debug)]
enum Holder {
    Empty,
    /// A claim is settled; its link attaches within the same turn.
    Taken(Box<Handover>),
    Attached(Arc<Mailbox>),
    Parked(Box<Parked>),
}

/// A Session on its way to a link.
#[derive(Debug)]
struct Handover {
    /// The client of the link.
    by: Arc<Identity>,
    /// The client that made the Session.
    of: Arc<Identity>,
}

impl Inner {
    fn slot(&mut self, client_id: &ClientId) -> Option<&mut Slot> {
        let hash = self.hash.of(client_id.as_str().as_bytes());
        self.slots.find_mut(hash, |slot| slot.client_id() == client_id)
    }

    fn slot_or_new(&mut self, client_id: &ClientId) -> &mut Slot {
        let Inner { slots, hash, layout, .. } = self;
        // Making room moves slots.
        *layout += u64::from(slots.len() == slots.capacity());
        let of = |client_id: &ClientId| hash.of(client_id.as_str().as_bytes());
        let same = |slot: &Slot| slot.client_id() == client_id;
        let entry = slots.entry(of(client_id), same, |slot| of(slot.client_id()));
        let new = || Slot { holder: Holder::Empty, claims: Some(Box::new(Claims::new(client_id))) };
        entry.or_insert_with(new).into_mut()
    }

    /// What is in the way of a claim; whether it takes the Session over under the brake.
    fn contest(
        &mut self,
        (client_id, number): (&ClientId, u64),
        user_name: Option<&str>,
        now: Time,
    ) -> Result<bool, Contest> {
        let Some(slot) = self.slot(client_id) else { return Ok(false) };
        if slot.claims.as_ref().is_some_and(|claims| claims.newest > number) {
            return Err(Contest::Overtaken);
        }
        let claimed_by = slot.claims.as_ref().and_then(|claims| claims.user_name.as_deref());
        if claimed_by.is_some() && claimed_by != user_name {
            return Err(Contest::OtherUserConnected(number));
        }
        let connected = match &slot.holder {
            Holder::Empty => return Ok(false),
            Holder::Attached(_) | Holder::Taken(_) => true,
            Holder::Parked(_) => false,
        };
        let owner = slot.owner().and_then(|owner| owner.user_name.as_deref());
        if owner.is_none() && user_name.is_some() {
            // It ends, whatever its takeovers were.
            return Ok(false);
        }
        if owner != user_name {
            // Its time may be over, though it has not been looked after yet.
            let ends = connected
                || matches!(&slot.holder, Holder::Parked(parked) if parked.expires <= now);
            let (lasts, ends_soon) = (Contest::OtherUser, Contest::OtherUserConnected(number));
            return Err(if ends { ends_soon } else { lasts });
        }
        if !connected {
            return Ok(false);
        }
        match self.brake.ask(client_id.as_str(), number, now) {
            Passage::Go { braked } => Ok(braked),
            Passage::Wait(due) => Err(Contest::Braked(number, due)),
            Passage::Overtaken => Err(Contest::Overtaken),
        }
    }

    /// No Session has the Client Identifier any more; a claimant is to be woken.
    fn free(&mut self, client_id: &ClientId) -> Option<Waker> {
        self.sessions -= 1;
        let charged = self.slot(client_id)?.charged()?.clone();
        self.shares.remove(&charged);
        let slot = self.slot(client_id)?;
        if let Some(claims) = &mut slot.claims {
            slot.holder = Holder::Empty;
            return claims.claimant.take();
        }
        self.remove(client_id);
        None
    }

    /// Takes out a parked Session that is to end.
    fn end_parked(&mut self, client_id: &ClientId) -> Option<Box<Parked>> {
        let slot = self.slot(client_id)?;
        if !matches!(slot.holder, Holder::Parked(_)) {
            return None;
        }
        let ended = if slot.claims.is_some() {
            std::mem::replace(&mut slot.holder, Holder::Empty)
        } else {
            self.remove(client_id)?.holder
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

    fn remove(&mut self, client_id: &ClientId) -> Option<Slot> {
        let hash = self.hash.of(client_id.as_str().as_bytes());
        let found = self.slots.find_entry(hash, |slot| slot.client_id() == client_id);
        found.ok().map(|entry| entry.remove().0)
    }
}

impl Slot {
    fn client_id(&self) -> &ClientId {
        match (self.owner(), &self.claims) {
            (Some(identity), _) => &identity.client_id,
            (None, Some(claims)) => &claims.client_id,
            (None, None) => unreachable!("a slot without holder is there for its claims"),
        }
    }

    /// The identity that the Session belongs to.
    fn owner(&self) -> Option<&Arc<Identity>> {
        match &self.holder {
            Holder::Empty => None,
            Holder::Taken(taken) => Some(&taken.by),
            Holder::Attached(mailbox) => mailbox.owner().identity(),
            Holder::Parked(parked) => Some(parked.session.identity()),
        }
    }

    /// The identity that its Session is counted for.
    fn charged(&self) -> Option<&Arc<Identity>> {
        match &self.holder {
            Holder::Taken(taken) => Some(&taken.of),
            _ => self.owner(),
        }
    }

    /// The mailbox of its Session, and whether its client is connected.
    fn mailbox(&self) -> Option<(&Arc<Mailbox>, bool)> {
        match &self.holder {
            Holder::Empty | Holder::Taken(_) => None,
            Holder::Attached(mailbox) => Some((mailbox, true)),
            Holder::Parked(parked) => Some((&parked.mailbox, false)),
        }
    }
}

impl Handover {
    fn holder(by: &Arc<Identity>, of: &Arc<Identity>) -> Holder {
        Holder::Taken(Box::new(Handover { by: by.clone(), of: of.clone() }))
    }
}

impl Claims {
    fn new(client_id: &ClientId) -> Claims {
        let (newest, clean, user_name, claimant) = (0, false, None, None);
        Claims { client_id: client_id.clone(), newest, clean, user_name, claimant }
    }
}

impl Registry {
    /// An empty registry; `seed` feeds its hash. So many takeovers of a Session are free; 0: all are.
    pub fn new(seed: u64, takeovers_max: u32) -> Registry {
        let mut brake = Brake::default();
        brake.set_free(takeovers_max);
        let inner = Inner {
            slots: HashTable::new(),
            hash: TextHash::new(seed),
            deadlines: BTreeMap::new(),
            last_session: SessionId::default(),
            last_claim: 0,
            sessions: 0,
            shares: Shares::default(),
            brake,
            layout: 0,
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
        self.lock().slot(client_id).is_some()
    }

    /// Whether there is a Session of this Client Identifier that lasts.
    pub fn keeps(&self, client_id: &ClientId) -> bool {
        match self.lock().slot(client_id).map(|slot| &slot.holder) {
            Some(Holder::Attached(mailbox)) => mailbox.is_durable(),
            Some(Holder::Parked(parked)) => parked.session.lasts(),
            Some(Holder::Taken(_)) => true,
            Some(Holder::Empty) | None => false,
        }
    }

    /// Bytes of the Will that the client has left behind; 0 without one.
    pub fn parked_will(&self, client_id: &ClientId) -> usize {
        match self.lock().slot(client_id).map(|slot| &slot.holder) {
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
        let Claimant { client_id, user_name, clean, number } = *claimant;
        let inner = &mut *self.lock();
        inner.last_claim += u64::from(number.is_none());
        let number = number.unwrap_or(inner.last_claim);
        let braked = inner.contest((client_id, number), user_name, now)?;
        let slot = inner.slot_or_new(client_id);
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
        let Some(slot) = inner.slot(client_id) else { return Claim::Overtaken };
        let Some(claims) = slot.claims.as_mut().filter(|claims| claims.newest == claim) else {
            return Claim::Overtaken;
        };
        match std::mem::replace(&mut slot.holder, Holder::Empty) {
            held @ (Holder::Attached(_) | Holder::Taken(_)) => {
                slot.holder = held;
                claims.claimant = Some(waker.clone());
                Claim::Pending
            }
            Holder::Empty => {
                let ends = match inner.shares.room(identity, inner.sessions, quota) {
                    SessionRoom::Free => None,
                    SessionRoom::InsteadOf(client_id) => inner.end_parked(&client_id),
                    SessionRoom::Full(grounds) => {
                        inner.remove(client_id);
                        return Claim::Full(grounds);
                    }
                };
                inner.shares.add(identity);
                inner.sessions += 1;
                inner.last_session = inner.last_session.next();
                let slot = inner.slot(client_id).expect("it is claimed");
                slot.claims = None;
                slot.holder = Handover::holder(identity, identity);
                Claim::New(inner.last_session, ends)
            }
            Holder::Parked(parked) => {
                let clean = claims.clean;
                let before = parked.session.identity();
                let same = before.user_name == identity.user_name;
                let of = if same && !clean { before } else { identity };
                slot.claims = None;
                slot.holder = Handover::holder(identity, of);
                inner.unpark(&parked);
                inner.shares.remove(before);
                inner.shares.add(of);
                if same { Claim::Resumed { parked, clean } } else { Claim::Unverified(parked) }
            }
        }
    }

    /// Takes in a Session from the store.
    pub fn restore(&self, parked: Parked) {
        let inner = &mut *self.lock();
        let client_id = parked.session.identity().client_id.clone();
        inner.shares.add(parked.session.identity());
        inner.park(&parked);
        inner.last_session = inner.last_session.max(parked.id);
        inner.sessions += 1;
        let slot = inner.slot_or_new(&client_id);
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
        let slot = inner.slot(client_id).expect("a settled claim has a slot");
        if slot.claims.is_some() {
            // Its link is in its turn, and looks at its mailbox before it waits.
            let _ = mailbox.notify(TAKEN_OVER);
        }
        slot.holder = Holder::Attached(mailbox.clone());
    }

    /// Takes a Session in; a claimant is woken.
    pub fn park(&self, parked: Parked) -> Option<Waker> {
        let inner = &mut *self.lock();
        let client_id = parked.session.identity().client_id.clone();
        inner.park(&parked);
        let slot = inner.slot(&client_id).expect("an attached Session has a slot");
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
        let Some(slot) = inner.slot(client_id) else { return };
        if slot.claims.as_ref().is_none_or(|claims| claims.newest != claim) {
            return;
        }
        if matches!(slot.holder, Holder::Empty) {
            inner.remove(client_id);
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
        let slot = inner.slot(&client_id)?;
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
