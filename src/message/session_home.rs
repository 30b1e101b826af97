//! Which node of a cluster has a Session.

use std::sync::Arc;

use super::identity::Identity;

/// The node that has the Session of a Client Identifier, and the user that the Session belongs to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionHome {
    /// The node: the hash of its name.
    pub node: u64,
    /// The verified user; `None`: the Session belongs to no user.
    pub user: Option<Arc<str>>,
}

impl SessionHome {
    /// The Session of this client is at `node`.
    pub fn of(node: u64, identity: &Identity) -> SessionHome {
        SessionHome { node, user: identity.user_name.clone() }
    }

    /// Whether a client of this verified user may go on with the Session.
    pub fn is_of(&self, user: Option<&str>) -> bool {
        self.user.as_deref() == user
    }

    /// Whether a client of this verified user may end the Session: one that belongs to no user gives way to a user.
    pub fn gives_way_to(&self, user: Option<&str>) -> bool {
        self.user.is_none() || self.is_of(user)
    }
}
