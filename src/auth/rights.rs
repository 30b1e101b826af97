//! The broker's permission port: what an admitted client may do.

use crate::broker::classes::matches;
use crate::config::AuthConfig;
use crate::message::Identity;
use crate::session::Access;
use crate::sync::{RwLock, whole};
use crate::topic::{TopicFilter, TopicName};

/// Permits every client everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct PermitAll;

impl Access for PermitAll {
    fn may_publish(&self, _who: &Identity, _topic: TopicName<'_>) -> bool {
        true
    }

    fn may_subscribe(&self, _who: &Identity, _filter: &TopicFilter) -> bool {
        true
    }

    fn may_receive(&self, _who: &Identity, _topic: TopicName<'_>) -> bool {
        true
    }
}

/// Permits every client everything but the reading of dead letters, which tell what others were sent.
/// Those are for the users of `auth.dead_letter_users`.
#[derive(Debug, Default)]
pub struct Rights {
    dead_letter_users: RwLock<Option<String>>,
}

impl Rights {
    /// The rights under `[auth]`.
    pub fn new(auth: &AuthConfig) -> Rights {
        Rights { dead_letter_users: RwLock::new(auth.dead_letter_users.clone()) }
    }

    /// Puts the rights under another `[auth]` in force: for later subscriptions and deliveries.
    pub fn set(&self, auth: &AuthConfig) {
        let mut users = whole(self.dead_letter_users.write());
        users.clone_from(&auth.dead_letter_users);
    }

    fn may_read(&self, who: &Identity, topic: &str) -> bool {
        let dead = topic.strip_prefix("$dead");
        let dead = dead.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if !dead {
            return true;
        }
        let pattern = whole(self.dead_letter_users.read());
        match (&*pattern, &who.user_name) {
            (Some(pattern), Some(user)) => matches(pattern.as_bytes(), user),
            _ => false,
        }
    }
}

impl Access for Rights {
    fn may_publish(&self, _who: &Identity, _topic: TopicName<'_>) -> bool {
        true
    }

    fn may_subscribe(&self, who: &Identity, filter: &TopicFilter) -> bool {
        self.may_read(who, filter.pattern())
    }

    fn may_receive(&self, who: &Identity, topic: TopicName<'_>) -> bool {
        self.may_read(who, topic.as_str())
    }
}
