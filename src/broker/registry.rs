//! The registry: which Session belongs to which Client Identifier, and who holds it.
//!
//! A Session is attached to one link or parked here. A claim takes it over: the newest claimant
//! wins; the attached link is kicked and parks the Session within its next turn.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::Waker;

use foldhash::fast::FixedState;

use super::mailbox::Mailbox;
use super::ports::Receipt;
use crate::codec::Reason;
use crate::message::{ClientId, Identity, SessionId};
use crate::session::Session;
use crate::sync::{Mutex, MutexGuard};
use crate::time::Time;

/// All Sessions of a broker.
#[derive(Debug)]
pub struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    slots: HashMap<ClientId, Slot, FixedState>,
    deadlines: BTreeMap<(Time, SessionId), ClientId>,
    last_session: SessionId,
    last_claim: u64,
    sessions: usize,
}

#[derive(Debug)]
struct Slot {
    holder: Holder,
    /// Claims that are not settled yet: the slot waits for them, whoever leaves.
    claims: Option<Box<Claims>>,
}

/// Who wants a Session that somebody else still holds.
#[derive(Debug, Default)]
struct Claims {
    /// Number of the newest; the older ones are overtaken.
    newest: u64,
    /// One of them asked for a Clean Start.
    clean: bool,
    claimant: Option<Waker>,
}

#[derive(Debug)]
enum Holder {
    Empty,
    /// A claim is settled; its link attaches within the same turn.
    Taken(Arc<Identity>),
    Attached(Arc<Mailbox>),
    Parked(Box<Parked>),
}

/// A Session without a connection.
#[derive(Debug)]
pub struct Parked {
    /// Its number.
    pub id: SessionId,
    /// Itself.
    pub session: Session,
    /// Still in the tree.
    pub mailbox: Arc<Mailbox>,
    /// When its Will is to be published; [`Time::NEVER`] if it has none.
    pub will_due: Time,
    /// When it ends; [`Time::NEVER`] if it does not.
    pub expires: Time,
    /// Of the last batch with anything of this Session in it: promises of its next connection
    /// wait for it.
    pub newest: Option<Receipt>,
}

impl Parked {
    fn deadline(&self) -> Time {
        self.will_due.min(self.expires)
    }
}

/// How a claim stands.
#[derive(Debug)]
pub enum Claim {
    /// The attached link has not given the Session up yet.
    Pending,
    /// A newer claimant has come.
    Overtaken,
    /// The broker holds as many Sessions as it may.
    Full,
    /// There was none: it is yours to make, under this number.
    New(SessionId),
    /// Here it is; `clean`: it was asked to be discarded.
    Resumed {
        /// The Session.
        parked: Box<Parked>,
        /// This or an overtaken claim asked for a Clean Start.
        clean: bool,
    },
}

/// What became due of a parked Session.
#[derive(Debug)]
pub enum Due {
    /// Its Will; the Session stays parked.
    Will(Arc<Identity>, Arc<crate::session::WillMessage>),
    /// Its end.
    End(Box<Parked>),
}

impl Registry {
    /// An empty registry; `seed` feeds its hash.
    pub fn new(seed: u64) -> Registry {
        let inner = Inner {
            slots: HashMap::with_hasher(FixedState::with_seed(seed)),
            deadlines: BTreeMap::new(),
            last_session: 0,
            last_claim: 0,
            sessions: 0,
        };
        Registry { inner: Mutex::new(inner) }
    }

    /// Claims the Session of `client_id` for a new connection; returns the claim's number, or
    /// the refusal if it belongs to another user.
    pub fn claim(
        &self,
        client_id: &ClientId,
        user_name: Option<&str>,
        clean: bool,
        wakers: &mut Vec<Waker>,
    ) -> Result<u64, Reason> {
        let inner = &mut *self.lock();
        inner.last_claim += 1;
        let claim = inner.last_claim;
        let new = || Slot { holder: Holder::Empty, claims: None };
        let slot = inner.slots.entry(client_id.clone()).or_insert_with(new);
        let owner = match &slot.holder {
            Holder::Empty => None,
            Holder::Taken(identity) => Some(identity),
            Holder::Attached(mailbox) => mailbox.owner.identity(),
            Holder::Parked(parked) => Some(parked.session.identity()),
        };
        if owner.is_some_and(|owner| owner.user_name.as_deref() != user_name) {
            return Err(Reason::NotAuthorized);
        }
        let claims = slot.claims.get_or_insert_default();
        claims.newest = claim;
        claims.clean |= clean;
        wakers.extend(claims.claimant.take());
        if let Holder::Attached(mailbox) = &slot.holder {
            wakers.extend(mailbox.kick());
        }
        Ok(claim)
    }

    /// How `claim` stands; while it is pending, `waker` is woken when that changes. A settled
    /// claim holds the slot: [`Registry::attach`] follows.
    pub fn settle(
        &self,
        client_id: &ClientId,
        claim: u64,
        identity: &Arc<Identity>,
        sessions_max: u32,
        waker: &Waker,
    ) -> Claim {
        let inner = &mut *self.lock();
        let Some(slot) = inner.slots.get_mut(client_id) else { return Claim::Overtaken };
        let Some(claims) = slot.claims.as_mut().filter(|claims| claims.newest == claim) else {
            return Claim::Overtaken;
        };
        match std::mem::replace(&mut slot.holder, Holder::Empty) {
            held @ (Holder::Attached(_) | Holder::Taken(_)) => {
                slot.holder = held;
                claims.claimant = Some(waker.clone());
                Claim::Pending
            }
            Holder::Empty if inner.sessions >= sessions_max as usize => {
                inner.slots.remove(client_id);
                Claim::Full
            }
            Holder::Empty => {
                slot.claims = None;
                slot.holder = Holder::Taken(identity.clone());
                inner.sessions += 1;
                inner.last_session += 1;
                Claim::New(inner.last_session)
            }
            Holder::Parked(parked) => {
                let clean = claims.clean;
                slot.claims = None;
                slot.holder = Holder::Taken(identity.clone());
                inner.deadlines.remove(&(parked.deadline(), parked.id));
                Claim::Resumed { parked, clean }
            }
        }
    }

    /// A number for a Session that replaces another.
    pub fn next_session(&self) -> SessionId {
        let inner = &mut *self.lock();
        inner.last_session += 1;
        inner.last_session
    }

    /// A settled claimant holds its Session now. If a newer claim has come meanwhile the mailbox
    /// is kicked at once.
    pub fn attach(&self, client_id: &ClientId, mailbox: &Arc<Mailbox>) {
        let inner = &mut *self.lock();
        let slot = inner.slots.get_mut(client_id).expect("a settled claim has a slot");
        if slot.claims.is_some() {
            mailbox.kick();
        }
        slot.holder = Holder::Attached(mailbox.clone());
    }

    /// Takes a Session in; a claimant is woken.
    pub fn park(&self, parked: Parked) -> Option<Waker> {
        let inner = &mut *self.lock();
        let client_id = parked.session.identity().client_id.clone();
        let slot = inner.slots.get_mut(&client_id).expect("an attached Session has a slot");
        let deadline = parked.deadline();
        if deadline != Time::NEVER {
            inner.deadlines.insert((deadline, parked.id), client_id);
        }
        slot.holder = Holder::Parked(Box::new(parked));
        slot.claims.as_mut()?.claimant.take()
    }

    /// An attached Session has ended with its connection; a claimant is woken.
    pub fn release(&self, client_id: &ClientId) -> Option<Waker> {
        let inner = &mut *self.lock();
        inner.sessions -= 1;
        let slot = inner.slots.get_mut(client_id)?;
        slot.holder = Holder::Empty;
        match &mut slot.claims {
            Some(claims) => claims.claimant.take(),
            None => {
                inner.slots.remove(client_id);
                None
            }
        }
    }

    /// A claimant's connection is gone before its claim was settled.
    pub fn abandon(&self, client_id: &ClientId, claim: u64) {
        let inner = &mut *self.lock();
        let Some(slot) = inner.slots.get_mut(client_id) else { return };
        if slot.claims.as_ref().is_none_or(|claims| claims.newest != claim) {
            return;
        }
        slot.claims = None;
        if matches!(slot.holder, Holder::Empty) {
            inner.slots.remove(client_id);
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
        let slot = inner.slots.get_mut(&client_id)?;
        let Holder::Parked(parked) = &mut slot.holder else { return None };
        if parked.expires > now {
            parked.will_due = Time::NEVER;
            if parked.expires != Time::NEVER {
                inner.deadlines.insert((parked.expires, id), client_id);
            }
            let identity = parked.session.identity().clone();
            return parked.session.take_will().map(|will| Due::Will(identity, will));
        }
        inner.sessions -= 1;
        let ended = std::mem::replace(&mut slot.holder, Holder::Empty);
        if slot.claims.is_none() {
            inner.slots.remove(&client_id);
        }
        match ended {
            Holder::Parked(parked) => Some(Due::End(parked)),
            Holder::Empty | Holder::Taken(_) | Holder::Attached(_) => None,
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

    /// Every Session's client and mailbox, in the order of their numbers.
    pub fn mailboxes(&self) -> Vec<(ClientId, Arc<Mailbox>, bool)> {
        let inner = self.lock();
        let mut all: Vec<_> = inner
            .slots
            .iter()
            .filter_map(|(client_id, slot)| match &slot.holder {
                Holder::Empty | Holder::Taken(_) => None,
                Holder::Attached(mailbox) => Some((client_id.clone(), mailbox.clone(), true)),
                Holder::Parked(parked) => Some((client_id.clone(), parked.mailbox.clone(), false)),
            })
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Messages in flight of parked Sessions, by the group they came from.
    pub fn parked_in_flight(&self) -> Vec<(ClientId, Vec<Option<u64>>)> {
        let inner = self.lock();
        let mut all = Vec::new();
        for (client_id, slot) in &inner.slots {
            if let Holder::Parked(parked) = &slot.holder {
                all.push((client_id.clone(), parked.session.in_flight()));
            }
        }
        all.sort();
        all
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no code panics while it holds the registry")
    }
}
