//! SUBSCRIBE and UNSUBSCRIBE, and the cursors through which retained messages are pulled.

use super::{Action, Context, Op, Session, Subscription};
use crate::codec::{
    Packet, Properties, QoS, Reason, RetainHandling, SubAck, Subscribe, SubscribeOptions,
    Unsubscribe,
};
use crate::topic::TopicFilter;

/// The position in the retained messages for one new Subscription. It is parked with its Session, so
/// that a million retained messages need no queue.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// The filter that retained messages have to match.
    pub filter: TopicFilter,
    /// QoS granted.
    pub qos: QoS,
    /// Subscription Identifier, 0 for none.
    pub id: u32,
    /// Entries above it are delivered live; `None` until the Subscription is in the tree.
    pub stamp: Option<u64>,
    /// The last Topic Name that was looked at; `None` at the beginning.
    pub after: Option<String>,
}

/// The Subscriptions of a Session by filter: a sorted list, since most clients have one or two.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Vec<(TopicFilter, Subscription)>);

impl Subscriptions {
    pub fn get(&self, filter: &TopicFilter) -> Option<Subscription> {
        self.position(filter).ok().map(|index| self.0[index].1)
    }

    pub fn insert(&mut self, filter: TopicFilter, subscription: Subscription) {
        match self.position(&filter) {
            Ok(index) => self.0[index].1 = subscription,
            Err(index) => {
                if self.0.len() < 4 {
                    self.0.reserve_exact(1);
                }
                self.0.insert(index, (filter, subscription));
            }
        }
    }

    pub fn remove(&mut self, filter: &TopicFilter) -> bool {
        let found = self.position(filter);
        if let Ok(index) = found {
            self.0.remove(index);
        }
        found.is_ok()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&TopicFilter, &Subscription)> {
        self.0.iter().map(|(filter, subscription)| (filter, subscription))
    }

    fn position(&self, filter: &TopicFilter) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| held.cmp(filter))
    }
}

/// What the broker still has room for, counted down within one SUBSCRIBE.
struct Free {
    subscriptions: usize,
    groups: usize,
}

impl Session {
    pub(super) fn on_subscribe(
        &mut self,
        subscribe: &Subscribe<'_>,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) {
        let id = subscribe.subscription_id.map_or(0, |id| id.get());
        let mut free = Free { subscriptions: cx.subscriptions_free, groups: cx.groups_free };
        // Several filters act as several SUBSCRIBEs with one SUBACK [MQTT5-3.8.4-5].
        let reasons = subscribe
            .filters
            .iter()
            .map(|(filter, options)| self.subscribe(filter, *options, id, &mut free, cx, out))
            .collect();
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
        let reasons =
            unsubscribe.filters.iter().map(|filter| self.unsubscribe(filter, cx, out)).collect();
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
        for cursor in &mut self.cursors {
            cursor.stamp.get_or_insert(stamp);
        }
    }

    /// The cursor to pull retained messages by, if one is open.
    pub fn cursor(&mut self) -> Option<&mut Cursor> {
        self.cursors.first_mut().filter(|cursor| cursor.stamp.is_some())
    }

    /// Whether retained messages are still to be pulled.
    pub fn has_cursor(&self) -> bool {
        !self.cursors.is_empty()
    }

    /// The first cursor has reached its end.
    pub fn close_cursor(&mut self) {
        self.cursors.remove(0);
        if self.cursors.is_empty() {
            self.cursors = thin_vec::ThinVec::new();
        }
    }

    fn subscribe(
        &mut self,
        text: &str,
        mut options: SubscribeOptions,
        id: u32,
        free: &mut Free,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) -> Reason {
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
        if old.is_none() {
            let full = self.subscriptions.len() >= cx.policy.limits.subscriptions_max as usize;
            let new_group = filter.share().is_some() && !cx.groups.exists(&filter);
            if full || free.subscriptions == 0 || (new_group && free.groups == 0) {
                return Reason::QuotaExceeded;
            }
            free.subscriptions -= 1;
            free.groups -= usize::from(new_group);
        }
        // Fleets subscribe again at every reconnect: an equal one writes nothing.
        if old != Some(subscription) {
            self.subscriptions.insert(filter.clone(), subscription);
            self.remember(cx, out, || Op::Subscribed { filter: filter.clone(), options, id });
        }
        out(Action::Subscribe { filter: &filter, subscription });
        self.open_cursor(filter, subscription, old.is_none(), cx);
        Reason::granted(options.qos)
    }

    /// Retained messages: never for a Shared Subscription, else as Retain Handling says
    /// `[MQTT5-3.3.1-9]` `[MQTT5-3.3.1-10]` `[MQTT5-3.3.1-11]`.
    fn open_cursor(
        &mut self,
        filter: TopicFilter,
        subscription: Subscription,
        is_new: bool,
        cx: &Context<'_>,
    ) {
        let wanted = match subscription.options.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::IfNew => is_new,
            RetainHandling::Never => false,
        };
        self.cursors.retain(|cursor| cursor.filter != filter);
        if wanted && filter.share().is_none() && cx.policy.session.retain_available {
            self.cursors.push(Cursor {
                filter,
                qos: subscription.options.qos,
                id: subscription.id,
                stamp: None,
                after: None,
            });
        }
    }

    fn unsubscribe(
        &mut self,
        text: &str,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) -> Reason {
        let Ok(filter) = TopicFilter::parse(text, &cx.policy.topic) else {
            return Reason::TopicFilterInvalid;
        };
        if !self.subscriptions.remove(&filter) {
            return Reason::NoSubscriptionExisted;
        }
        self.cursors.retain(|cursor| cursor.filter != filter);
        out(Action::Unsubscribe { filter: &filter });
        self.remember(cx, out, || Op::Unsubscribed { filter });
        Reason::Success
    }
}
