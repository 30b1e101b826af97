//! SUBSCRIBE and UNSUBSCRIBE.

use super::cursors::Cursor;
use super::{Action, Context, Count, Op, Quota, Session, Subscription};
use crate::codec::{
    Packet, Properties, Reason, RetainHandling, SubAck, Subscribe, SubscribeOptions, Unsubscribe,
};
use crate::topic::TopicFilter;

/// One SUBSCRIBE: what there is still room for, and what it leaves to be done after its last filter.
struct SubscribePass {
    filters: usize,
    subscriptions: usize,
    groups: usize,
    /// Filters that were refused, by the quota that has no room for them.
    refused: [u32; Quota::ALL.len()],
    /// Filters that were there before, each with the cursor that replaces its former one, if any.
    renewed: Vec<(TopicFilter, Option<Cursor>)>,
}

/// So many Subscriptions a client has as long as there is room for one more in the broker.
const PLAIN: usize = 1000;
/// Beyond [`PLAIN`], the broker must have room for so many times as many as the client has: so few clients
/// with very many do not use up what is for all.
const SPARE: usize = 32;

impl Session {
    pub(super) fn on_subscribe(
        &mut self,
        subscribe: &Subscribe<'_>,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) {
        let id = subscribe.subscription_id.map_or(0, |id| id.get());
        let mut pass = SubscribePass::new(cx);
        // Several filters act as several SUBSCRIBEs with one SUBACK [MQTT5-3.8.4-5].
        let reasons = subscribe
            .filters
            .iter()
            .map(|(filter, options)| self.subscribe(filter, *options, id, &mut pass, cx, out))
            .collect();
        self.cursors.replace(pass.renewed);
        for (quota, filters) in Quota::ALL.into_iter().zip(pass.refused) {
            if filters > 0 {
                out(Action::Count(Count::NotSubscribed { quota, filters }));
            }
        }
        let packet = Packet::SubAck(SubAck {
            packet_id: subscribe.packet_id,
            reason_string: None,
            user_properties: Properties::EMPTY,
            reasons,
        });
        out(Action::Send { packet: &packet, after_ops: true });
    }

    pub(super) fn on_unsubscribe(
        &mut self,
        unsubscribe: &Unsubscribe<'_>,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) {
        let mut ended = Vec::new();
        let filters = unsubscribe.filters.iter();
        let reasons = filters.map(|filter| self.unsubscribe(filter, &mut ended, cx, out)).collect();
        self.cursors.replace(ended);
        let packet = Packet::UnsubAck(SubAck {
            packet_id: unsubscribe.packet_id,
            reason_string: None,
            user_properties: Properties::EMPTY,
            reasons,
        });
        out(Action::Send { packet: &packet, after_ops: true });
    }

    /// The Subscriptions of the last SUBSCRIBE are in the tree since `stamp`.
    pub(super) fn on_subscribed(&mut self, stamp: u64) {
        self.cursors.stamp(stamp);
    }

    /// The cursor to pull retained messages by, if one is open.
    pub fn cursor(&mut self) -> Option<&mut Cursor> {
        self.cursors.first()
    }

    /// Whether retained messages are still to be pulled.
    pub fn has_cursor(&self) -> bool {
        !self.cursors.is_empty()
    }

    /// The first cursor has reached its end.
    pub fn close_cursor(&mut self) {
        self.cursors.close_first();
    }

    fn subscribe(
        &mut self,
        text: &str,
        mut options: SubscribeOptions,
        id: u32,
        pass: &mut SubscribePass,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) -> Reason {
        if pass.filters == 0 {
            return pass.refuse(Quota::Filters);
        }
        pass.filters -= 1;
        let filter = match TopicFilter::parse(text, &cx.policy.topic) {
            Ok(filter) => filter,
            Err(_) => return Reason::TopicFilterInvalid,
        };
        if !cx.access.may_subscribe(&self.identity, &filter) {
            return Reason::NotAuthorized;
        }
        if cx.over_rate {
            return Reason::QuotaExceeded;
        }
        options.qos = options.qos.min(cx.policy.qos_max); // [MQTT5-3.2.2-10]
        let subscription = Subscription { options, id };
        let old = self.subscriptions.get(&filter);
        if old.is_none()
            && let Err(quota) = self.room_for(&filter, pass, cx)
        {
            return pass.refuse(quota);
        }
        // Fleets subscribe again at every reconnect: an equal one writes nothing.
        if old != Some(subscription) {
            self.subscriptions.insert(filter.clone(), subscription);
            self.remember(cx, out, || Op::Subscribed { filter: filter.clone(), options, id });
        }
        out(Action::Subscribe { filter: &filter, subscription });
        self.open_cursor(filter, subscription, old.is_none(), pass, cx);
        Reason::granted(options.qos)
    }

    /// Takes the room of one more Subscription.
    fn room_for(
        &self,
        filter: &TopicFilter,
        pass: &mut SubscribePass,
        cx: &Context<'_>,
    ) -> Result<(), Quota> {
        let own = self.subscriptions.len();
        let new_group = filter.share().is_some() && !cx.groups.exists(filter);
        if own >= cx.policy.limits.subscriptions_max as usize {
            Err(Quota::Own)
        } else if pass.subscriptions == 0 {
            Err(Quota::Total)
        } else if own >= PLAIN && pass.subscriptions / SPARE <= own {
            Err(Quota::Share)
        } else if new_group && pass.groups == 0 {
            Err(Quota::Groups)
        } else {
            pass.subscriptions -= 1;
            pass.groups -= usize::from(new_group);
            Ok(())
        }
    }

    /// Retained messages: never for a Shared Subscription, else as Retain Handling says
    /// `[MQTT5-3.3.1-9]` `[MQTT5-3.3.1-10]` `[MQTT5-3.3.1-11]`.
    fn open_cursor(
        &mut self,
        filter: TopicFilter,
        subscription: Subscription,
        is_new: bool,
        pass: &mut SubscribePass,
        cx: &Context<'_>,
    ) {
        let wanted = match subscription.options.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::IfNew => is_new,
            RetainHandling::Never => false,
        };
        let opens = wanted && filter.share().is_none() && cx.policy.session.retain_available;
        let cursor = opens.then(|| Cursor {
            filter: filter.clone(),
            qos: subscription.options.qos,
            id: subscription.id,
            stamp: None,
            after: None,
        });
        match cursor {
            Some(cursor) if is_new => self.cursors.open(cursor),
            cursor if !is_new => pass.renewed.push((filter, cursor)),
            _ => {}
        }
    }

    fn unsubscribe(
        &mut self,
        text: &str,
        ended: &mut Vec<(TopicFilter, Option<Cursor>)>,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) -> Reason {
        let Ok(filter) = TopicFilter::parse(text, &cx.policy.topic) else {
            return Reason::TopicFilterInvalid;
        };
        if !self.subscriptions.remove(&filter) {
            return Reason::NoSubscriptionExisted;
        }
        ended.push((filter.clone(), None));
        out(Action::Unsubscribe { filter: &filter });
        self.remember(cx, out, || Op::Unsubscribed { filter });
        Reason::Success
    }
}

impl SubscribePass {
    fn new(cx: &Context<'_>) -> SubscribePass {
        SubscribePass {
            filters: cx.filters_free,
            subscriptions: cx.subscriptions_free,
            groups: cx.groups_free,
            refused: [0; Quota::ALL.len()],
            renewed: Vec::new(),
        }
    }

    fn refuse(&mut self, quota: Quota) -> Reason {
        self.refused[quota as usize] += 1;
        Reason::QuotaExceeded
    }
}
