//! The registry: which Session belongs to which Client Identifier, and what holds it: a link or the
//! registry.
//!
//! A Session is attached to one link or parked here. A claim takes it over: the newest claimant
//! wins; the attached link is kicked and parks the Session within its next turn.

mod panicked;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

use hashbrown::HashTable;

use super::mailbox::{Mailbox, Notice};
pub use super::parked::{Claim, Claimant, Claimed, Contest, Due, Parked};
use super::takeovers::{Brake, Passage};
use crate::codec::Reason;
use crate::message::{ClientId, GroupId, Identity, SessionId};
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
    brake: Brake,
    /// Another one each time that slots may have changed their places.
    layout: u64,
}

/// Where a page of clients begins: see [`Broker::clients`].
///
/// [`Broker::clients`]: super::Broker::clients
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PageStart {
    layout: u64,
    bucket: usize,
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
    Taken(Arc<Identity>),
    Attached(Arc<Mailbox>),
    Parked(Box<Parked>),
}

/// Places in the table that are looked at for each client of a page.
const LOOKS: usize = 8;

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
        let slot = self.slot(client_id)?;
        if let Some(claims) = &mut slot.claims {
            slot.holder = Holder::Empty;
            return claims.claimant.take();
        }
        self.remove(client_id);
        None
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
            Holder::Taken(identity) => Some(identity),
            Holder::Attached(mailbox) => mailbox.owner().identity(),
            Holder::Parked(parked) => Some(parked.session.identity()),
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

impl Claims {
    fn new(client_id: &ClientId) -> Claims {
        let (newest, clean, user_name, claimant) = (0, false, None, None);
        Claims { client_id: client_id.clone(), newest, clean, user_name, claimant }
    }
}

/// A client, the mailbox of its Session, and whether it is connected.
pub type Found = (ClientId, Arc<Mailbox>, bool);

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
        sessions_max: u32,
        waker: &Waker,
    ) -> Claim {
        let inner = &mut *self.lock();
        let full = inner.sessions >= sessions_max as usize;
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
            Holder::Empty if full => {
                inner.remove(client_id);
                Claim::Full
            }
            Holder::Empty => {
                slot.claims = None;
                slot.holder = Holder::Taken(identity.clone());
                inner.sessions += 1;
                inner.last_session = inner.last_session.next();
                Claim::New(inner.last_session)
            }
            Holder::Parked(parked) => {
                let clean = claims.clean;
                slot.claims = None;
                slot.holder = Holder::Taken(identity.clone());
                inner.deadlines.remove(&(parked.deadline(), parked.id));
                let same = parked.session.identity().user_name == identity.user_name;
                if same { Claim::Resumed { parked, clean } } else { Claim::Unverified(parked) }
            }
        }
    }

    /// Takes in a Session from the store.
    pub fn restore(&self, parked: Parked) {
        let inner = &mut *self.lock();
        let client_id = parked.session.identity().client_id.clone();
        let deadline = parked.deadline();
        if deadline != Time::NEVER {
            inner.deadlines.insert((deadline, parked.id), client_id.clone());
        }
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
        let deadline = parked.deadline();
        if deadline != Time::NEVER {
            inner.deadlines.insert((deadline, parked.id), client_id.clone());
        }
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
        let ended = if slot.claims.is_some() {
            std::mem::replace(&mut slot.holder, Holder::Empty)
        } else {
            inner.remove(&client_id)?.holder
        };
        inner.sessions -= 1;
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

    /// Every Session's client and mailbox, in the order of Client Identifiers.
    pub fn mailboxes(&self) -> Vec<Found> {
        let inner = self.lock();
        let mut all: Vec<_> = inner
            .slots
            .iter()
            .filter_map(|slot| slot.mailbox().map(|found| (slot.client_id(), found)))
            .map(|(client_id, (mailbox, connected))| {
                (client_id.clone(), mailbox.clone(), connected)
            })
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// The mailbox of a client's Session, and whether the client is connected.
    pub fn mailbox(&self, client_id: &ClientId) -> Option<(Arc<Mailbox>, bool)> {
        let inner = &mut *self.lock();
        let (mailbox, connected) = inner.slot(client_id)?.mailbox()?;
        Some((mailbox.clone(), connected))
    }

    /// At most `max` Sessions' clients and mailboxes from `from` on, and where the next page begins.
    /// Looks at a number of slots that depends on `max` alone.
    pub fn page(&self, from: PageStart, max: usize) -> (Vec<Found>, Option<PageStart>) {
        let inner = &*self.lock();
        let layout = inner.layout;
        let first = if from.layout == layout { from.bucket } else { 0 };
        let last =
            first.saturating_add(max.max(1).saturating_mul(LOOKS)).min(inner.slots.num_buckets());
        let mut found = Vec::new();
        for bucket in first..last {
            if found.len() == max.max(1) {
                return (found, Some(PageStart { layout, bucket }));
            }
            let Some(slot) = inner.slots.get_bucket(bucket) else { continue };
            if let Some((mailbox, connected)) = slot.mailbox() {
                found.push((slot.client_id().clone(), mailbox.clone(), connected));
            }
        }
        let more = last < inner.slots.num_buckets();
        (found, more.then_some(PageStart { layout, bucket: last }))
    }

    /// Messages in flight of parked Sessions, by the group they came from.
    pub fn parked_in_flight(&self) -> Vec<(ClientId, Vec<Option<GroupId>>)> {
        let inner = self.lock();
        let mut all = Vec::new();
        for slot in &inner.slots {
            if let Holder::Parked(parked) = &slot.holder {
                all.push((slot.client_id().clone(), parked.session.in_flight()));
            }
        }
        all.sort();
        all
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        whole(self.inner.lock())
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::message::Meter;

    fn come(registry: &Registry, name: &str) {
        let meter = Meter::forever();
        let identity = Arc::new(Identity::new(ClientId::new(name), None, meter));
        let id = &identity.client_id;
        let claimant = Claimant { client_id: id, user_name: None, clean: false, number: None };
        let claim = registry.claim(&claimant, Time::START, &mut Vec::new());
        let claim = claim.expect("it is of one user").number;
        let settled = registry.settle(id, claim, &identity, u32::MAX, Waker::noop());
        let Claim::New(session) = settled else { panic!("{settled:?}") };
        registry.attach(id, &Arc::new(Mailbox::for_session(session, identity.clone())));
    }

    /// All pages, with as many as `between` says of others that come after each.
    fn pages(registry: &Registry, max: usize, mut between: impl FnMut()) -> BTreeMap<String, u32> {
        let (mut seen, mut next) = (BTreeMap::new(), Some(PageStart::default()));
        while let Some(from) = next {
            let (found, then) = registry.page(from, max);
            assert!(found.len() <= max);
            for (client_id, _, connected) in found {
                assert!(connected);
                *seen.entry(client_id.as_str().to_owned()).or_default() += 1;
            }
            next = then;
            between();
        }
        seen
    }

    #[test]
    fn each_client_that_stays_is_in_a_page() {
        let registry = Registry::new(7, 0);
        assert!(pages(&registry, 3, || {}).is_empty());
        (0..500).for_each(|n| come(&registry, &format!("c{n}")));
        for max in [1, 7, 100, 1000] {
            let seen = pages(&registry, max, || {});
            assert_eq!((seen.len(), seen.values().max()), (500, Some(&1)), "each once");
        }
        // The table grows meanwhile.
        let mut more = 0..2_000;
        let seen = pages(&registry, 10, || {
            more.by_ref().take(20).for_each(|n| come(&registry, &format!("d{n}")));
        });
        assert!((0..500).all(|n| seen.contains_key(&format!("c{n}"))));
        let knows = |name: &str| registry.mailbox(&ClientId::new(name)).is_some();
        assert!(knows("c7") && knows("d7") && !knows("e7"));
    }

    #[test]
    fn a_page_of_a_table_that_many_have_left_costs_no_more() {
        let registry = Registry::new(7, 0);
        (0..5_000).for_each(|n| come(&registry, &format!("c{n}")));
        for n in 0..4_990 {
            let _ = registry.release(&ClientId::new(&format!("c{n}")));
        }
        let mut rounds = 0;
        assert_eq!(pages(&registry, 10, || rounds += 1).len(), 10);
        assert_eq!(rounds, registry.lock().slots.num_buckets().div_ceil(10 * LOOKS));
    }
}
