//! Rights that are taken away from a client that has Subscriptions.

use super::cursors::Cursors;
use super::subscriptions::Subscriptions;
use super::{Action, Asked, Context, Op, Session};
use crate::message::{Delivery, Grounds, Identity, RefusalKind};
use crate::topic::{TopicFilter, TopicLimits};

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
        self.restored = false;
        self.cursors.forget_revoked();
    }
}

/// What tells whether a copy waits because of a Subscription that was revoked.
pub(super) struct RevokedCopies<'a> {
    pub identity: &'a Identity,
    pub subscriptions: &'a Subscriptions,
    pub cursors: &'a Cursors,
    /// See [`Session`].
    pub restored: bool,
}

impl RevokedCopies<'_> {
    /// Whether a copy waits because of a Subscription that was revoked, and of none that is there.
    #[inline]
    pub fn holds(&self, delivery: &Delivery, cx: &Context<'_>) -> bool {
        // Of most clients none was ever revoked.
        (self.restored || self.cursors.revoked().is_some()) && self.is_without_right(delivery, cx)
    }

    #[cold]
    fn is_without_right(&self, delivery: &Delivery, cx: &Context<'_>) -> bool {
        let topic = delivery.message.topic();
        let revoked = self.cursors.revoked();
        (revoked.is_some_and(|revoked| revoked.iter().any(|filter| filter.matches(topic)))
            || (self.restored && cx.access.has_rules() && self.may_not_ask_for(delivery, cx)))
            && !self.subscriptions.iter().any(|(filter, _)| filter.matches(topic))
    }

    /// Whether a Subscription to just this topic would be refused. After a restart it tells what was revoked
    /// from what the client has ended itself.
    fn may_not_ask_for(&self, delivery: &Delivery, cx: &Context<'_>) -> bool {
        let limits = TopicLimits { bytes_max: usize::MAX, levels_max: usize::MAX };
        let filter = TopicFilter::parse(delivery.message.topic().as_str(), &limits);
        filter.is_ok_and(|filter| {
            let asked = Asked::Subscribe { filter: &filter, qos: delivery.qos };
            !cx.access.may(self.identity, &asked).is_allowed()
        })
    }
}
