//! The permissions of clients: one function decides, and it is asked on every path of a message.

use crate::codec::QoS;
use crate::message::{Delivery, Identity, RuleId};
use crate::topic::{TopicFilter, TopicName};

/// The permissions of clients.
pub trait Access: Send + Sync {
    /// Whether `who` may do what is `asked`. Of a copy of a shared group it is asked while the group's queue is
    /// locked: it must not wait, and must not call the broker.
    fn may(&self, who: &Identity, asked: &Asked<'_>) -> Decision;

    /// What a rule is called in logs, as long as it is in force.
    fn rule_name(&self, rule: RuleId) -> Option<String> {
        let _ = rule;
        None
    }

    /// Whether there are rules: they may ask for more of a client than its names.
    fn has_rules(&self) -> bool {
        false
    }

    /// Whether a retained message is sent only as long as its publisher may publish it.
    fn checks_retained(&self) -> bool {
        false
    }
}

/// What a client asks to be allowed.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// To publish a message, now or as its Will.
    Publish {
        /// Its topic.
        topic: TopicName<'a>,
        /// As published.
        qos: QoS,
        /// It is to be retained.
        retain: bool,
        /// Of its payload.
        bytes: usize,
    },
    /// To subscribe.
    Subscribe {
        /// The filter, shared or not.
        filter: &'a TopicFilter,
        /// As asked for.
        qos: QoS,
    },
    /// To be sent a message.
    Receive {
        /// Its topic.
        topic: TopicName<'a>,
        /// As it is sent.
        qos: QoS,
        /// The RETAIN flag that is sent.
        retain: bool,
        /// Of its payload.
        bytes: usize,
    },
}

/// What was decided, and by which rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decision {
    allowed: bool,
    rule: Option<RuleId>,
}

impl<'a> Asked<'a> {
    /// To be sent this copy.
    #[inline]
    pub fn receive(delivery: &'a Delivery) -> Asked<'a> {
        let Delivery { message, qos, retain, .. } = delivery;
        let bytes = message.payload().len();
        Asked::Receive { topic: message.topic(), qos: *qos, retain: *retain, bytes }
    }
}

impl Decision {
    /// Allowed, and no rule was needed.
    pub const ALLOWED: Decision = Decision { allowed: true, rule: None };

    /// Allowed or not, by no rule that has a name.
    pub const fn of(allowed: bool) -> Decision {
        Decision { allowed, rule: None }
    }

    /// Decided by `rule`.
    pub const fn by(allowed: bool, rule: RuleId) -> Decision {
        Decision { allowed, rule: Some(rule) }
    }

    /// Whether it is allowed.
    #[inline]
    pub const fn is_allowed(self) -> bool {
        self.allowed
    }

    /// The rule that decided.
    pub const fn rule(self) -> Option<RuleId> {
        self.rule
    }
}
