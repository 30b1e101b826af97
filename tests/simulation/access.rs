//! What the clients of a round may do. The broker asks, and so do the oracle and the checks.

use sluicemq::message::Identity;
use sluicemq::session::Access;
use sluicemq::topic::{TopicFilter, TopicName};

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
    fn may_publish(&self, publisher: &Identity, topic: TopicName<'_>) -> bool {
        self.publishes(publisher.client_id.as_str(), topic.as_str())
    }

    fn may_subscribe(&self, client: &Identity, filter: &TopicFilter) -> bool {
        self.subscribes(client.client_id.as_str(), filter.as_str())
    }

    fn may_receive(&self, client: &Identity, topic: TopicName<'_>) -> bool {
        self.receives(client.client_id.as_str(), topic.as_str())
    }
}
