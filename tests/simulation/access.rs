//! What the clients of a round may do. The broker asks, and so do the oracle and the checks.

use sluicemq::message::Identity;
use sluicemq::session::{Access, Asked, Decision};

use super::world::WILL;

/// The rights of a round: everything is allowed, or all but what `DENIED` lists.
#[derive(Clone, Copy, Debug)]
pub struct Rights {
    pub denies: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Act {
    Publish,
    Subscribe,
    Receive,
}
use Act::{Publish, Receive, Subscribe};

/// An act, the client that may not do it, and the Topic Name or the Topic Filter.
///
/// A client may be denied what it has subscribed to by a filter that is wider. No two clients are
/// denied to publish to the same topic: at the end one that may clears its retained message.
const DENIED: &[(Act, &str, &str)] = &[
    (Publish, "c1", "t/b"),
    (Publish, "c1", WILL),
    (Publish, "c2", "t/a/x"),
    (Publish, "c2", "g/b/y"),
    (Subscribe, "c2", "t/+/x"),
    (Subscribe, "c1", "$share/two/g/b/#"),
    (Receive, "c0", "t/a"),
    (Receive, "c1", "t/a/x"),
    (Receive, "c2", WILL),
];

impl Rights {
    pub fn publishes(&self, client: &str, topic: &str) -> bool {
        self.allows(Publish, client, topic)
    }

    pub fn subscribes(&self, client: &str, filter: &str) -> bool {
        self.allows(Subscribe, client, filter)
    }

    pub fn receives(&self, client: &str, topic: &str) -> bool {
        self.allows(Receive, client, topic)
    }

    fn allows(&self, act: Act, client: &str, topic: &str) -> bool {
        !self.denies || !DENIED.contains(&(act, client, topic))
    }
}

impl Access for Rights {
    fn may(&self, client: &Identity, asked: &Asked<'_>) -> Decision {
        let client = client.client_id.as_str();
        Decision::of(match asked {
            Asked::Publish { topic, .. } => self.publishes(client, topic.as_str()),
            Asked::Subscribe { filter, .. } => self.subscribes(client, filter.as_str()),
            Asked::Receive { topic, .. } => self.receives(client, topic.as_str()),
        })
    }
}
