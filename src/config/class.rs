//! Classes of clients.

use super::problems::Problems;
use super::queue::ClassQueue;
use super::rates::{Ingress, Shaping};
use super::section::InForce::Live;
use super::section::{key, optional, rows};

rows! {
    /// Clients that are treated differently from the rest: one `[[class]]` for each kind; the first that
    /// fits a client counts. All conditions that are set must fit. A condition is a pattern, in which `*`
    /// stands for any text, even an empty one, and `?` for one character.
    pub struct Class {
        /// Name in logs and `$SYS`.
        name: String = key(Live, String::new()).required("meters".to_owned());
        /// Condition: the listener's name (or its address, if it has no name).
        listener: Option<String> = key(Live, None).example(Some("*".to_owned()));
        /// Condition: the user name.
        user: Option<String> = key(Live, None).example(Some("*".to_owned()));
        /// Condition: the Client Identifier.
        client_id: Option<String> = key(Live, None).example(Some("meter-*".to_owned()));
        /// Condition: the identity in the client's certificate.
        certificate: Option<String> = key(Live, None).example(Some("*".to_owned()));
        /// Instead of `[shaping]`.
        shaping: Option<Shaping> = optional(Live).like("shaping");
        /// Over `[queue]`: keys that are left out are as there. Groups of shared subscriptions follow
        /// `[queue]`.
        queue: Option<ClassQueue> = optional(Live).like("queue");
        /// Instead of `[limits.client]`.
        ingress: Option<Ingress> = optional(Live).like("limits.client");
    }
}

impl Class {
    /// Adds what is wrong with it, apart from ranges and its queue; `at` is its place in the list.
    pub(super) fn check(&self, at: &str, before: &[Class], found: &mut Problems) {
        let name = &self.name;
        if name.is_empty() {
            found.add(format!("{at}.name"), "a class needs a name, for logs and $SYS");
        } else if before.iter().any(|other| other.name == *name) {
            found.add(format!("{at}.name"), format!("{name:?} is the name of another class"));
        }
        if let Some(shaping) = &self.shaping {
            shaping.check(&format!("{at}.shaping"), found);
        }
        if let Some(ingress) = &self.ingress {
            ingress.check(&format!("{at}.ingress"), found);
        }
    }
}
