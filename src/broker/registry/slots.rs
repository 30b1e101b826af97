//! The slots of Client Identifiers: what holds the Session of each, and who claims it.

use std::sync::Arc;
use std::task::Waker;

use hashbrown::HashTable;
use hashbrown::hash_table::OccupiedEntry;

use crate::broker::mailbox::Mailbox;
use crate::broker::parked::{Claimant, Contest, Parked};
use crate::broker::takeovers::{Brake, Passage};
use crate::message::{ClientId, Identity};
use crate::time::Time;
use crate::topic::TextHash;

/// All slots.
#[derive(Debug)]
pub(super) struct Slots {
    /// By Client Identifier, which a slot has from its holder or its claims.
    pub table: HashTable<Slot>,
    hash: TextHash,
    /// Another one each time that slots may have changed their places.
    pub layout: u64,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub holder: Holder,
    /// Claims that are not settled yet: the slot stays until they are, though its link has left.
    pub claims: Option<Box<Claims>>,
}

/// The links that claim a Session while another link still holds it.
#[derive(Debug)]
pub(super) struct Claims {
    client_id: ClientId,
    /// Number of the newest; the older ones are overtaken.
    pub newest: u64,
    /// One of them asked for a Clean Start.
    pub clean: bool,
    /// The verified user of the newest.
    pub user_name: Option<Box<str>>,
    pub claimant: Option<Waker>,
}

#[derive(Debug, Default)]
pub(super) enum Holder {
    #[default]
    Empty,
    /// A claim is settled; its link attaches within the same turn. The client that the Session is counted for:
    /// that of the link, or the one that made the Session, of the same user.
    Taken(Arc<Identity>),
    Attached(Arc<Mailbox>),
    Parked(Box<Parked>),
}

impl Slots {
    /// No slots; `seed` feeds their hash.
    pub fn new(seed: u64) -> Slots {
        Slots { table: HashTable::new(), hash: TextHash::new(seed), layout: 0 }
    }

    pub fn get(&mut self, client_id: &ClientId) -> Option<&mut Slot> {
        let hash = self.hash.of(client_id.as_str().as_bytes());
        self.table.find_mut(hash, |slot| slot.client_id() == client_id)
    }

    /// As [`Slots::get`], where it may be removed.
    pub fn occupied(&mut self, client_id: &ClientId) -> Option<OccupiedEntry<'_, Slot>> {
        let hash = self.hash.of(client_id.as_str().as_bytes());
        self.table.find_entry(hash, |slot| slot.client_id() == client_id).ok()
    }

    pub fn get_or_new(&mut self, client_id: &ClientId) -> &mut Slot {
        let Slots { table, hash, layout } = self;
        // Making room moves slots.
        *layout += u64::from(table.len() == table.capacity());
        let of = |client_id: &ClientId| hash.of(client_id.as_str().as_bytes());
        let same = |slot: &Slot| slot.client_id() == client_id;
        let entry = table.entry(of(client_id), same, |slot| of(slot.client_id()));
        let new = || Slot { holder: Holder::Empty, claims: Some(Box::new(Claims::new(client_id))) };
        entry.or_insert_with(new).into_mut()
    }

    pub fn remove(&mut self, client_id: &ClientId) {
        if let Some(slot) = self.occupied(client_id) {
            slot.remove();
        }
    }
}

impl Slot {
    /// What is in the way of a claim; whether it takes the Session over under the brake.
    pub fn contest(
        &self,
        (claimant, number): (&Claimant<'_>, u64),
        now: Time,
        brake: &mut Brake,
    ) -> Result<bool, Contest> {
        let Claimant { client_id, user_name, address, .. } = *claimant;
        if self.claims.as_ref().is_some_and(|claims| claims.newest > number) {
            return Err(Contest::Overtaken);
        }
        let claimed_by = self.claims.as_ref().and_then(|claims| claims.user_name.as_deref());
        if claimed_by.is_some() && claimed_by != user_name {
            return Err(Contest::OtherUserConnected(number));
        }
        let connected = match &self.holder {
            Holder::Empty => return Ok(false),
            Holder::Attached(_) | Holder::Taken(_) => true,
            Holder::Parked(_) => false,
        };
        let owner = self.owner().and_then(|owner| owner.user_name.as_deref());
        if owner.is_none() && user_name.is_some() {
            // It ends, whatever its takeovers were.
            return Ok(false);
        }
        if owner != user_name {
            // Its time may be over, though it has not been looked after yet.
            let ends = connected
                || matches!(&self.holder, Holder::Parked(parked) if parked.expires <= now);
            let (lasts, ends_soon) = (Contest::OtherUser, Contest::OtherUserConnected(number));
            return Err(if ends { ends_soon } else { lasts });
        }
        if !connected {
            return Ok(false);
        }
        match brake.ask(client_id.as_str(), number, address, now) {
            Passage::Go { braked } => Ok(braked),
            Passage::Wait { due, holder } => Err(Contest::Braked(number, due, holder)),
            Passage::Refused { holder } => Err(Contest::Barred(holder)),
            Passage::Overtaken => Err(Contest::Overtaken),
        }
    }

    /// Its claim is settled: the Session, which is counted for this client, is on its way to a link.
    pub fn take(&mut self, of: &Arc<Identity>) {
        *self = Slot { holder: Holder::Taken(of.clone()), claims: None };
    }

    pub fn client_id(&self) -> &ClientId {
        match (self.owner(), &self.claims) {
            (Some(identity), _) => &identity.client_id,
            (None, Some(claims)) => &claims.client_id,
            (None, None) => unreachable!("a slot without holder is there for its claims"),
        }
    }

    /// The client that the Session belongs to, and is counted for.
    pub fn owner(&self) -> Option<&Arc<Identity>> {
        match &self.holder {
            Holder::Empty => None,
            Holder::Taken(identity) => Some(identity),
            Holder::Attached(mailbox) => mailbox.owner().identity(),
            Holder::Parked(parked) => Some(parked.session.identity()),
        }
    }

    /// The mailbox of its Session, and whether its client is connected.
    pub fn mailbox(&self) -> Option<(&Arc<Mailbox>, bool)> {
        match &self.holder {
            Holder::Empty | Holder::Taken(_) => None,
            Holder::Attached(mailbox) => Some((mailbox, true)),
            Holder::Parked(parked) => Some((&parked.mailbox, false)),
        }
    }
}

impl Claims {
    pub fn new(client_id: &ClientId) -> Claims {
        let (newest, clean, user_name, claimant) = (0, false, None, None);
        Claims { client_id: client_id.clone(), newest, clean, user_name, claimant }
    }
}
