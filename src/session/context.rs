//! What a Session knows of the broker: the rules and the permissions.

use super::access::Access;
use crate::codec::QoS;
use crate::config;
use std::sync::Arc;

use crate::message::{Identity, RefusalKind, SessionId};
use crate::time::Time;
use crate::topic::{self, TopicFilter};

/// What Sessions share of the routes: the groups of Shared Subscriptions, and the filters that one Session has
/// at a time.
pub trait Groups: Sync {
    /// Whether there is one for `filter`.
    fn exists(&self, filter: &TopicFilter) -> bool;

    /// Shows the filter of each named queue and log, until `seen` returns `false`.
    fn visit_defined(&self, seen: &mut dyn FnMut(&TopicFilter) -> bool) {
        let _ = seen;
    }

    /// Gives the exclusive `filter` to a Session, which is connected and subscribes to it; `false`: another one
    /// has it.
    fn claim(
        &self,
        filter: &TopicFilter,
        claimant: (SessionId, &Arc<Identity>),
        now: Time,
    ) -> bool {
        let _ = (filter, claimant, now);
        true
    }

    /// Whether the exclusive `filter` is still that of a Session, which is connected: from now on it keeps it.
    fn keeps(&self, filter: &TopicFilter, session: SessionId) -> bool {
        let _ = (filter, session);
        true
    }
}

/// The rules of all Sessions: made once from the configuration.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `[limits]`.
    pub limits: config::LimitsConfig,
    /// `[session]`.
    pub session: config::SessionConfig,
    /// What the topic parser needs of `[limits]`.
    pub topic: topic::TopicLimits,
    /// Highest `QoS` served.
    pub qos_max: QoS,
    /// Shared Subscriptions are served.
    pub shared_available: bool,
    /// Where clients are told to connect instead: a Server Reference `[MQTT5-3.2.2.3.16]`.
    pub server_reference: Option<String>,
}

impl Policy {
    /// The rules of a configuration.
    pub fn new(limits: &config::LimitsConfig, session: &config::SessionConfig) -> Policy {
        Policy {
            topic: topic::TopicLimits {
                bytes_max: limits.topic_bytes_max as usize,
                levels_max: limits.topic_levels_max as usize,
            },
            shared_available: true,
            server_reference: None,
            qos_max: QoS::from_bits(session.qos_max).unwrap_or(QoS::ExactlyOnce),
            limits: limits.clone(),
            session: session.clone(),
        }
    }
}

/// What a Session is told with every input.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The present moment.
    pub now: Time,
    /// The number of the Session; known with a SUBSCRIBE and where its Subscriptions are looked through.
    pub session: SessionId,
    /// The rules.
    pub policy: &'a Policy,
    /// The permissions of clients.
    pub access: &'a dyn Access,
    /// Subscriptions the broker still has room for.
    pub subscriptions_free: usize,
    /// Filters of this SUBSCRIBE that are still served.
    pub filters_free: usize,
    /// Groups the broker still has room for.
    pub groups_free: usize,
    /// The groups that exist: they may be joined even if there is room for no other.
    pub groups: &'a dyn Groups,
    /// The store remembers; `false`: Ops are not even made.
    pub remembers: bool,
    /// The packet is beyond the client's rate, and what it brings is refused.
    pub over_rate: bool,
    /// Why the store takes nothing new, if it does not: a Subscription that it would have to keep is refused.
    pub store_refuses: Option<RefusalKind>,
}
