//! Rights that are taken away from a client that has Subscriptions.

use std::collections::BTreeSet;

use super::subscriptions::Subscriptions;
use super::{Action, Asked, Context, Op, Session};
use crate::message::{Grounds, RefusalKind};
use crate::topic::{TopicFilter, TopicName};

impl Session {
    /// Other rules are in force, or may be: ends the Subscriptions that they do not allow. What waits for the
    /// client because of those alone is not sent.
    pub fn review(&mut self, cx: &Context<'_>, out: &mut impl FnMut(Action<'_>)) {
        let mut revoked = Vec::new();
        let mut grounds = None;
        for (filter, subscription) in self.subscriptions.iter() {
            let asked = Asked::Subscribe { filter, qos: subscription.options.qos };
            let decision = cx.access.may(&self.identity, &asked);
            if !decision.is_allowed() {
                let kind = RefusalKind::SubscriptionRevoked;
                grounds.get_or_insert(Grounds::new(kind).by_rule(decision.rule()));
                revoked.push(filter.clone());
            }
        }
        let (Some(grounds), Some(first)) = (grounds, revoked.first()) else { return };
        out(Action::Refused { grounds, topic: first.as_str(), count: revoked.len() as u64 });
        for filter in &revoked {
            self.subscriptions.remove(filter);
            out(Action::Unsubscribe { filter });
            self.remember(cx, out, || Op::Unsubscribed { filter: filter.clone() });
        }
        self.cursors.replace(revoked.iter().map(|filter| (filter.clone(), None)).collect());
        self.cursors.revoke(revoked, cx.policy.limits.subscriptions_max as usize);
    }

    /// Nothing waits any more that came because of a Subscription that was revoked.
    pub fn forget_revoked(&mut self) {
        self.cursors.forget_revoked();
    }
}

/// Whether a copy for `topic` waits because of a Subscription that was revoked, and of none that is there.
#[inline]
pub(super) fn is_revoked(
    revoked: Option<&BTreeSet<TopicFilter>>,
    subscriptions: &Subscriptions,
    topic: TopicName<'_>,
) -> bool {
    // Of most clients none was ever revoked.
    revoked.is_some_and(|revoked| is_of_revoked_alone(revoked, subscriptions, topic))
}

#[cold]
fn is_of_revoked_alone(
    revoked: &BTreeSet<TopicFilter>,
    subscriptions: &Subscriptions,
    topic: TopicName<'_>,
) -> bool {
    revoked.iter().any(|filter| filter.matches(topic))
        && !subscriptions.iter().any(|(filter, _)| filter.matches(topic))
}
