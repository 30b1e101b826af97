//! Rights under a hundred rules, and a client that asks for them.

use std::sync::Arc;

use sluicemq::auth::{Rights, RuleSet};
use sluicemq::codec::QoS;
use sluicemq::config::{AccessRule, Config, RuleAction};
use sluicemq::message::{Circumstances, ClientId, Identity, Meter, Standing};
use sluicemq::session::{Access, Asked};
use sluicemq::topic::TopicName;

/// A client, and the topics that it publishes to.
pub struct Publisher {
    rights: Rights,
    identity: Arc<Identity>,
    topics: Vec<String>,
    at: usize,
}

/// Rules; as many clients' devices stand in them.
const RULES: usize = 100;
/// More topics than a thread remembers, each of which is asked for long after the last time; and few enough to be in the
/// processor's cache, where a topic is that was just read from a socket.
const TOPICS: usize = 8192;

impl Publisher {
    /// A hundred rules hold for it, of which each of `topics` topics fits one; or none, if there are no rules.
    fn new(rules: usize, topics: usize) -> Publisher {
        let rule = |n: usize| AccessRule {
            allow: vec![RuleAction::Publish, RuleAction::Receive],
            topics: Some(vec![format!("plant/%c/line{n}/#"), format!("plant/+/status{n}")]),
            ..AccessRule::default()
        };
        let config = Config { rule: (0..rules).map(rule).collect(), ..Config::default() };
        let set =
            RuleSet { access: &config.access, rules: &config.rule, auth: &config.auth, read: None };
        let identity = Identity::new(ClientId::new("gateway-7"), None, Meter::forever());
        identity.set_standing(Standing::Of(Circumstances::default()));
        let topic = |n: usize| format!("plant/gateway-7/line{}/sensor{n}/temperature", n % RULES);
        Publisher {
            rights: Rights::new(&set),
            identity: Arc::new(identity),
            topics: (0..topics).map(topic).collect(),
            at: 0,
        }
    }

    /// It asks for a topic that is new to the thread.
    pub fn of_new_topics() -> Publisher {
        Publisher::new(RULES, TOPICS)
    }

    /// It asks for the same topic again.
    pub fn of_one_topic() -> Publisher {
        Publisher::new(RULES, 1)
    }

    /// There are no rules.
    pub fn without_rules() -> Publisher {
        Publisher::new(0, 1)
    }

    /// Asks for its next topic.
    #[inline]
    pub fn ask(&mut self) -> bool {
        self.at = (self.at + 7919) % self.topics.len();
        let topic = TopicName::trusted(&self.topics[self.at]);
        let access: &dyn Access = &self.rights;
        let asked = Asked::Publish { topic, qos: QoS::AtLeastOnce, retain: false, bytes: 64 };
        access.may(&self.identity, &asked).is_allowed()
    }
}
