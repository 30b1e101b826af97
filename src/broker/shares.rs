//! How many Sessions each owner has: a user that was verified, or the network of clients that were not. What
//! one owner may have, and which Session makes room.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::config::Quota;
use crate::message::{ClientId, Grounds, Identity, Network, RefusalKind, SessionId};

/// The Sessions of all owners.
#[derive(Debug)]
pub(super) struct Shares {
    /// Those of all clients without a verified user name.
    unverified: usize,
    networks: HashMap<Network, NetworkSessions, FixedState>,
    users: HashMap<Arc<str>, usize, FixedState>,
    /// Networks with parked Sessions, by how many Sessions they have.
    ranks: BTreeSet<(usize, Network)>,
}

/// The Sessions of unverified clients of one network.
#[derive(Debug, Default)]
struct NetworkSessions {
    sessions: usize,
    /// Those without a connection: the one that was made first comes first.
    parked: BTreeMap<SessionId, ClientId>,
}

/// Whether there is room for a Session.
#[derive(Debug)]
pub(super) enum SessionRoom {
    /// There is.
    Free,
    /// If that of this client ends: it is parked, and above the quota of its owner.
    InsteadOf(ClientId),
    /// There is not.
    Full(Grounds),
}

impl Shares {
    /// No client has a Session; `seed` feeds the hashes.
    pub fn new(seed: u64) -> Shares {
        let hash = FixedState::with_seed(seed);
        Shares {
            unverified: 0,
            networks: HashMap::with_hasher(hash.clone()),
            users: HashMap::with_hasher(hash),
            ranks: BTreeSet::new(),
        }
    }

    /// There is another Session of `owner`.
    pub fn add(&mut self, owner: &Identity) {
        match &owner.user_name {
            Some(user) => *self.users.entry(user.clone()).or_default() += 1,
            None => {
                self.unverified += 1;
                self.change(owner.network(), |held| held.sessions += 1);
            }
        }
    }

    /// There is one less.
    pub fn remove(&mut self, owner: &Identity) {
        let Some(user) = &owner.user_name else {
            self.unverified -= 1;
            return self.change(owner.network(), |held| held.sessions -= 1);
        };
        let Entry::Occupied(mut sessions) = self.users.entry(user.clone()) else { return };
        *sessions.get_mut() -= 1;
        if *sessions.get() == 0 {
            sessions.remove();
        }
    }

    /// A Session of `owner` has no connection.
    pub fn park(&mut self, owner: &Identity, id: SessionId) {
        if owner.user_name.is_none() {
            let client_id = owner.client_id.clone();
            self.change(owner.network(), |held| drop(held.parked.insert(id, client_id)));
        }
    }

    /// It has one again, or is no more.
    pub fn unpark(&mut self, owner: &Identity, id: SessionId) {
        if owner.user_name.is_none() {
            self.change(owner.network(), |held| drop(held.parked.remove(&id)));
        }
    }

    /// Whether there is room for another of `owner`, if there are `sessions`.
    pub fn room(&self, owner: &Identity, sessions: usize, quota: &Quota) -> SessionRoom {
        let full = |max: u64| Grounds::limit(RefusalKind::SessionsMax, max, max + 1);
        let is_full = sessions as u64 >= quota.total();
        let refused = if let Some(user) = &owner.user_name {
            if self.users.get(user).is_some_and(|sessions| *sessions as u64 >= quota.user()) {
                return SessionRoom::Full(full(quota.user()).by_key("totals.user_share"));
            }
            if !is_full {
                return SessionRoom::Free;
            }
            full(quota.total())
        } else {
            if !is_full && (self.unverified as u64) < quota.unverified() {
                return SessionRoom::Free;
            }
            let refused = if is_full {
                full(quota.total())
            } else {
                full(quota.unverified()).by_key("totals.unverified_share")
            };
            // Its own network has what it may have: no other makes room for it.
            if self
                .networks
                .get(&owner.network())
                .is_some_and(|held| held.sessions as u64 >= quota.network())
            {
                return SessionRoom::Full(refused);
            }
            refused
        };
        self.above(quota).map_or(SessionRoom::Full(refused), SessionRoom::InsteadOf)
    }

    /// The client that loses its Session first where there is no room.
    fn above(&self, quota: &Quota) -> Option<ClientId> {
        let (sessions, network) = self.ranks.last()?;
        if *sessions as u64 <= quota.network() && self.unverified as u64 <= quota.unverified() {
            return None;
        }
        self.networks.get(network)?.parked.values().next().cloned()
    }

    fn change(&mut self, network: Network, change: impl FnOnce(&mut NetworkSessions)) {
        let mut held = match self.networks.entry(network) {
            Entry::Occupied(held) => held,
            Entry::Vacant(vacant) => vacant.insert_entry(NetworkSessions::default()),
        };
        let before = held.get().rank();
        change(held.get_mut());
        let after = held.get().rank();
        if held.get().sessions == 0 {
            held.remove();
        }
        if before == after {
            return;
        }
        if let Some(sessions) = before {
            self.ranks.remove(&(sessions, network));
        }
        if let Some(sessions) = after {
            self.ranks.insert((sessions, network));
        }
    }
}

impl NetworkSessions {
    /// How many there are, if any of them is parked.
    fn rank(&self) -> Option<usize> {
        (!self.parked.is_empty()).then_some(self.sessions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Totals;
    use crate::message::Meter;

    fn identity(client_id: &str, user: Option<&str>, address: &str) -> Identity {
        Identity::new(ClientId::new(client_id), user.map(Into::into), Meter::forever())
            .at(Network::of(address.parse().ok()))
    }

    fn quota(total: u64, verifies: bool) -> Quota {
        *Totals::default().quotas(total).now(verifies)
    }

    #[test]
    fn where_nobody_is_verified_nothing_is_kept_free_for_users() {
        let parts = |quota: Quota| (quota.unverified(), quota.network(), quota.user());
        assert_eq!(parts(quota(1_000, true)), (100, 25, 900));
        assert_eq!(parts(quota(1_000, false)), (1_000, 250, 900));
        // A share is never nothing.
        assert_eq!(parts(quota(1, true)), (1, 1, 1));
    }

    #[test]
    fn the_oldest_of_the_network_with_most_makes_room_and_never_a_users() {
        let mut shares = Shares::new(1);
        let quota = quota(10, false);
        let mut add = |n: u64, user, address, parked| {
            let identity = identity(&format!("c{n}"), user, address);
            shares.add(&identity);
            if parked {
                shares.park(&identity, SessionId::new(n));
            }
            identity
        };
        add(1, Some("alice"), "10.0.0.1", true);
        add(2, None, "10.0.0.2", true);
        (3..6).for_each(|n| drop(add(n, None, "10.0.0.3", false)));
        let oldest = add(6, None, "10.0.0.3", true);
        (7..11).for_each(|n| drop(add(n, None, "10.0.0.4", n != 7)));
        let room =
            |shares: &Shares, address| shares.room(&identity("new", None, address), 10, &quota);
        let ends = |shares: &Shares, address| match room(shares, address) {
            SessionRoom::InsteadOf(client_id) => Some(client_id.as_str().to_owned()),
            SessionRoom::Free => panic!("it is full"),
            SessionRoom::Full(_) => None,
        };
        assert_eq!(ends(&shares, "10.0.0.9").as_deref(), Some("c8"));
        assert_eq!(ends(&shares, "10.0.0.4"), None, "it has its share");
        for n in 8..11 {
            let gone = identity(&format!("c{n}"), None, "10.0.0.4");
            shares.unpark(&gone, SessionId::new(n));
            shares.remove(&gone);
        }
        assert_eq!(ends(&shares, "10.0.0.9").as_deref(), Some("c6"));
        shares.unpark(&oldest, SessionId::new(6));
        assert_eq!(ends(&shares, "10.0.0.9"), None, "all of them are connected, or within quota");
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut shares = Shares::new(1);
        for user in [None, Some("alice")] {
            let identity = identity("c", user, "10.0.0.1");
            shares.add(&identity);
            shares.park(&identity, SessionId::new(1));
            shares.unpark(&identity, SessionId::new(1));
            shares.remove(&identity);
        }
        assert!(shares.networks.is_empty() && shares.users.is_empty() && shares.ranks.is_empty());
        assert_eq!(shares.unverified, 0);
    }
}
