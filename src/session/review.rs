//! Rights that are taken away from a client that has Subscriptions.

use super::cursors::Cursors;
use super::subscriptions::Subscriptions;
use super::{Action, Asked, Context, Op, Session};
use crate::message::{Delivery, Grounds, Identity, RefusalKind};
use crate::topic::{TopicFilter, TopicLimits};

impl Session {
    /// Other rules are in force, or may be, or the client is connected again: ends the Subscriptions that are not
    /// allowed, or are another client's by now. What waits for the client because of those that are not allowed,
    /// and of no other, is not sent.
    pub fn review(&mut self, cx: &Context<'_>, out: &mut impl FnMut(Action<'_>)) {
        let (mut revoked, mut lost) = (Vec::new(), Vec::new());
        let mut grounds = None;
        for (filter, subscription) in self.subscriptions.iter() {
            if filter.is_exclusive() && !cx.groups.keeps(filter, cx.session) {
                lost.push(filter.clone());
                continue;
            }
            let asked = Asked::Subscribe { filter, qos: subscription.options.qos };
            let decision = cx.access.may(&self.identity, &asked);
            if !decision.is_allowed() {
                let kind = RefusalKind::SubscriptionRevoked;
                grounds.get_or_insert(Grounds::new(kind).by_rule(decision.rule()));
                revoked.push(filter.clone());
            }
        }
        for filter in lost {
            self.lose(&filter);
            out(Action::Unsubscribe { filter: &filter });
            self.remember(cx, out, || Op::Unsubscribed { filter });
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

    /// An exclusive Subscription is another client's from now on. What waits because of it stays.
    pub fn lose(&mut self, filter: &TopicFilter) {
        self.subscriptions.remove(filter);
        self.cursors.replace(vec![(filter.clone(), None)]);
    }

    /// Nothing waits any more that came because of a Subscription that was revoked.
    #[inline]
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

    /// Of a Subscription to a named queue or a log it is not known which topics it brings.
    #[cold]
    fn is_without_right(&self, delivery: &Delivery, cx: &Context<'_>) -> bool {
        let topic = delivery.message.topic();
        let revoked = self.cursors.revoked();
        (revoked.is_some_and(|revoked| revoked.iter().any(|filter| filter.matches(topic)))
            || (self.restored && cx.access.has_rules() && self.may_not_ask_for(delivery, cx)))
            && !self.subscriptions.iter().any(|(f, _)| f.is_defined() || f.matches(topic))
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
