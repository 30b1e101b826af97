//! Which node of a cluster has the Session of which client, as the log says it: all nodes agree at the same place of it.

use std::collections::BTreeMap;

use crate::message::{ClientId, SessionHome};

/// The homes of all Sessions that last.
#[derive(Debug, Default)]
pub(super) struct Homes(BTreeMap<ClientId, SessionHome>);

/// What becomes of it that a node opens a Session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HomeClaim {
    /// It has it.
    Done,
    /// It has it, and the one that another node had is over.
    Replaces,
    /// Another node has it.
    Refused,
}

impl Homes {
    /// As a store had them.
    pub fn restore(&mut self, client_id: ClientId, home: SessionHome) {
        self.0.insert(client_id, home);
    }

    /// The home of a client's Session.
    pub fn get(&self, client_id: &ClientId) -> Option<&SessionHome> {
        self.0.get(client_id)
    }

    /// Whether `node` has the client's Session.
    pub fn is_at(&self, client_id: &ClientId, node: u64) -> bool {
        self.get(client_id).is_some_and(|home| home.node == node)
    }

    /// A node opens a Session; `clean`: what another has ends, if it gives way to this user.
    pub fn open(&mut self, client_id: &ClientId, home: SessionHome, clean: bool) -> HomeClaim {
        let opening = match self.get(client_id) {
            Some(known) if known.node != home.node => {
                if !clean || !known.gives_way_to(home.user.as_deref()) {
                    return HomeClaim::Refused;
                }
                HomeClaim::Replaces
            }
            _ => HomeClaim::Done,
        };
        self.0.insert(client_id.clone(), home);
        opening
    }

    /// The Session that `node` had is over. `false`: it had none.
    pub fn end(&mut self, client_id: &ClientId, node: u64) -> bool {
        let ends = self.is_at(client_id, node);
        if ends {
            self.0.remove(client_id);
        }
        ends
    }

    /// The Session that `node` had is elsewhere now. `false`: it had none.
    pub fn move_from(&mut self, client_id: &ClientId, node: u64, home: SessionHome) -> bool {
        let moves = self.is_at(client_id, node);
        if moves {
            self.0.insert(client_id.clone(), home);
        }
        moves
    }

    /// The clients of the Sessions that `node` has.
    pub fn of(&self, node: u64) -> Vec<ClientId> {
        let of_node = self.0.iter().filter(|(_, home)| home.node == node);
        of_node.map(|(client_id, _)| client_id.clone()).collect()
    }

    /// A node is no more: returns the clients of the Sessions that it had.
    pub fn forget(&mut self, node: u64) -> Vec<ClientId> {
        let gone = self.of(node);
        gone.iter().for_each(|client_id| drop(self.0.remove(client_id)));
        gone
    }

    /// All of them.
    pub fn all(&self) -> Vec<(ClientId, SessionHome)> {
        self.0.iter().map(|(client_id, home)| (client_id.clone(), home.clone())).collect()
    }

    /// How many Sessions each node has: node, Sessions.
    pub fn counts(&self) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        self.0.values().for_each(|home| *counts.entry(home.node).or_default() += 1);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(node: u64, user: Option<&str>) -> SessionHome {
        SessionHome { node, user: user.map(Into::into) }
    }

    #[test]
    fn the_first_of_two_that_open_a_session_has_it() {
        let (mut homes, client) = (Homes::default(), ClientId::new("c"));
        assert_eq!(homes.open(&client, home(1, None), false), HomeClaim::Done);
        assert_eq!(homes.open(&client, home(2, None), false), HomeClaim::Refused);
        assert_eq!(homes.open(&client, home(1, None), false), HomeClaim::Done);
        assert!(homes.is_at(&client, 1));
        assert_eq!(homes.open(&client, home(2, None), true), HomeClaim::Replaces);
        assert!(homes.is_at(&client, 2));
        assert_eq!(homes.counts(), BTreeMap::from([(2, 1)]));
    }

    #[test]
    fn a_session_of_a_user_gives_way_to_no_other() {
        let client = ClientId::new("c");
        let owners = [None, Some("anna"), Some("bert")];
        for owner in owners {
            for claimant in owners {
                let mut homes = Homes::default();
                homes.open(&client, home(1, owner), false);
                let opening = homes.open(&client, home(2, claimant), true);
                let gives_way = owner.is_none() || owner == claimant;
                assert_eq!(opening == HomeClaim::Replaces, gives_way, "{owner:?} {claimant:?}");
                assert_eq!(homes.is_at(&client, 2), gives_way);
            }
        }
    }

    #[test]
    fn only_the_node_that_has_a_session_ends_it_or_sends_it_away() {
        let (mut homes, client) = (Homes::default(), ClientId::new("c"));
        homes.open(&client, home(1, None), false);
        assert!(!homes.end(&client, 2));
        assert!(!homes.move_from(&client, 2, home(2, None)));
        assert!(homes.move_from(&client, 1, home(3, None)));
        assert!(!homes.end(&client, 1));
        assert_eq!(homes.of(3), std::slice::from_ref(&client));
        assert!(homes.end(&client, 3));
        assert_eq!(homes.get(&client), None);
    }
}
