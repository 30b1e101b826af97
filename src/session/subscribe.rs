//! SUBSCRIBE and UNSUBSCRIBE.

use super::cursors::{Cursor, InStore, RetainedMoment};
use super::violation::Violation;
use super::{Action, Asked, Context, Op, PacketResult, Session, Subscription};
use crate::codec::{
    Packet, Properties, QoS, Reason, RetainHandling, SubAck, Subscribe, SubscribeOptions,
    Unsubscribe, Version,
};
use crate::message::{Grounds, RefusalKind, Total};
use crate::nearest::nearest;
use crate::topic::{TopicError, TopicFilter};

/// One SUBSCRIBE: what there is still room for, and what it leaves to be done after its last filter.
struct SubscribePass<'a> {
    filters: usize,
    subscriptions: usize,
    groups: usize,
    /// Subscriptions and groups that it has taken, of those that its owner may have.
    taken: [u64; 2],
    /// Filters that were refused: why, the first of them, and how many.
    refused: Vec<(Grounds, &'a str, u64)>,
    /// What the client is told of the first of them that names no queue or log, or is another client's.
    told: Option<String>,
}

/// So many Subscriptions a client has as long as there is room for one more in the broker.
const PLAIN: usize = 1000;
/// Beyond [`PLAIN`], the broker must have room for so many times as many as the client has: so few clients
/// with very many do not use up what is for all.
const SPARE: usize = 32;

/// Named queues, at most, that are compared with a name that is not known.
const QUEUES_COMPARED_MAX: usize = 100;
/// Characters of such a name that are compared: no queue has a longer name.
const QUEUE_NAME_CHARS_MAX: usize = 64;

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
        for (grounds, topic, count) in pass.refused {
            out(Action::Refused { grounds, topic, count });
        }
        let packet = Packet::SubAck(SubAck {
            packet_id: subscribe.packet_id,
            reason_string: pass.told.as_deref().and_then(|told| self.reason_string(told)),
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
    ) -> PacketResult {
        if self.terms.version != Version::V5 {
            self.check_filters(unsubscribe, cx)?;
        }
        let mut ended = Vec::new();
        let filters = unsubscribe.filters.iter();
        let reasons = filters.map(|filter| self.unsubscribe(filter, &mut ended, cx, out)).collect();
        // The rows of their Subscriptions are gone, and with them what they owe.
        self.cursors.replace(ended);
        let packet = Packet::UnsubAck(SubAck {
            packet_id: unsubscribe.packet_id,
            reason_string: None,
            user_properties: Properties::EMPTY,
            reasons,
        });
        out(Action::Send { packet: &packet, after_ops: true });
        Ok(())
    }

    /// An UNSUBACK of 3.1.1 has no Reason Codes: a filter with a misplaced wildcard closes
    /// `[MQTT311-4.7.1-2]` `[MQTT311-4.7.1-3]`. In version 5 it is answered with 0x8F.
    fn check_filters(&self, unsubscribe: &Unsubscribe<'_>, cx: &Context<'_>) -> PacketResult {
        let misplaced = |filter: &&str| {
            TopicFilter::parse(filter, &cx.policy.topic) == Err(TopicError::Wildcard)
        };
        match unsubscribe.filters.iter().any(misplaced) {
            true => Err(Violation::protocol(RefusalKind::SubscribeFilter)),
            false => Ok(()),
        }
    }

    /// `subscriptions`, those of the last SUBSCRIBE, are in the tree since `moment`, each with whether it was not
    /// there before; SUBACK promises what is retained for them. At `None` nothing was retained: what comes
    /// later comes live, and no cursor is opened. `look` pulls nothing, and says whether there is nothing.
    pub fn subscribed<'a>(
        &mut self,
        subscriptions: impl Iterator<Item = (&'a TopicFilter, &'a Subscription, bool)>,
        moment: Option<RetainedMoment>,
        cx: &Context<'_>,
        mut look: impl FnMut(&mut Cursor) -> bool,
        out: &mut impl FnMut(Action<'_>),
    ) {
        // Filters that were there before, each with the cursor that replaces its former one, if any.
        let mut renewed = Vec::new();
        for (filter, subscription, is_new) in subscriptions {
            let Subscription { options, id } = *subscription;
            if filter.replay().is_some() {
                self.begin_replay(filter, subscription, is_new, cx.now);
                continue;
            }
            let opens = moment.is_some() && wants_retained(filter, subscription, is_new, cx);
            let cursor = opens.then(|| Cursor::new(filter.clone(), options.qos, id));
            match cursor {
                Some(cursor) if is_new => self.cursors.open(cursor),
                cursor if !is_new => renewed.push((filter.clone(), cursor)),
                _ => {}
            }
        }
        for filter in self.cursors.replace(renewed) {
            self.owes_nothing(&filter, cx, out);
        }
        let Some(moment) = moment else { return };
        let mut cursors = std::mem::take(&mut self.cursors);
        let durable = cx.remembers && self.lasts();
        cursors.begin(moment, |cursor| {
            if durable && look(cursor) {
                self.note_end(cursor, cx, out);
                return true;
            }
            // What is sent at QoS 0 is not promised.
            if cursor.qos > QoS::AtMostOnce || cursor.owes != InStore::Nothing {
                self.note_place(cursor, cx, out);
            }
            false
        });
        self.cursors = cursors;
    }

    /// The client leaves: the store is told where each cursor stands, so that nothing is missed or comes
    /// twice after a restart.
    pub(super) fn note_places(&mut self, cx: &Context<'_>, out: &mut impl FnMut(Action<'_>)) {
        let mut cursors = std::mem::take(&mut self.cursors);
        for cursor in cursors.iter_mut() {
            self.note_place(cursor, cx, out);
        }
        self.cursors = cursors;
    }

    /// Retained messages were pulled by the first cursor, which stands elsewhere now, or is at its end.
    pub fn pulled(&mut self, done: bool, cx: &Context<'_>, out: &mut impl FnMut(Action<'_>)) {
        let mut cursors = std::mem::take(&mut self.cursors);
        if done {
            if let Some(cursor) = cursors.close_first() {
                self.note_end(&cursor, cx, out);
            }
        } else if let Some(cursor) = cursors.first()
            && cursor.owes == InStore::Noted
        {
            self.note_place(cursor, cx, out);
        }
        self.cursors = cursors;
    }

    fn note_place(&self, cursor: &mut Cursor, cx: &Context<'_>, out: &mut impl FnMut(Action<'_>)) {
        let Some(Subscription { options, id }) = self.subscriptions.get(&cursor.filter) else {
            return;
        };
        if !cx.remembers || !self.lasts() {
            return;
        }
        if cursor.owes == InStore::Nothing {
            cursor.owes = InStore::Noted;
        }
        let (filter, owes) = (cursor.filter.clone(), cursor.owed().map(Box::new));
        out(Action::Remember(Op::Subscribed { filter, options, id, owes }));
    }

    fn note_end(&self, cursor: &Cursor, cx: &Context<'_>, out: &mut impl FnMut(Action<'_>)) {
        if cursor.owes != InStore::Nothing {
            self.owes_nothing(&cursor.filter, cx, out);
        }
    }

    fn owes_nothing(
        &self,
        filter: &TopicFilter,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) {
        let Some(Subscription { options, id }) = self.subscriptions.get(filter) else { return };
        let filter = filter.clone();
        self.remember(cx, out, || Op::Subscribed { filter, options, id, owes: None });
    }

    /// The cursor to pull retained messages by, if one is open.
    pub fn cursor(&mut self) -> Option<&mut Cursor> {
        self.cursors.first()
    }

    /// Whether retained messages are still to be pulled.
    pub fn has_cursor(&self) -> bool {
        !self.cursors.is_empty()
    }

    fn subscribe<'a>(
        &mut self,
        text: &'a str,
        mut options: SubscribeOptions,
        id: u32,
        pass: &mut SubscribePass<'a>,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) -> Reason {
        if pass.filters == 0 {
            let max = cx.policy.limits.filters_max.into();
            let grounds = Grounds::limit(RefusalKind::SubscribeFilters, max, max + 1);
            return pass.refuse(text, Reason::QuotaExceeded, grounds);
        }
        pass.filters -= 1;
        let filter = match self.permitted_filter(text, options.qos, pass, cx) {
            Ok(filter) => filter,
            Err(reason) => return reason,
        };
        if cx.over_rate {
            let grounds = Grounds::new(RefusalKind::SubscribeRate);
            return pass.refuse(text, Reason::QuotaExceeded, grounds);
        }
        options.qos = options.qos.min(cx.policy.qos_max); // [MQTT5-3.2.2-10]
        if self.terms.bridge {
            options.no_local = !filter.is_shared(); // [MQTT5-3.8.3-4]
            options.retain_as_published = true;
        }
        let subscription = Subscription { options, id };
        let old = self.subscriptions.get(&filter);
        if old != Some(subscription)
            && let Err((reason, grounds)) = self.room_in_store(&filter, cx)
        {
            return pass.refuse(text, reason, grounds);
        }
        if old.is_none()
            && let Err(grounds) = self.room_for(&filter, pass, cx)
        {
            return pass.refuse(text, Reason::QuotaExceeded, grounds);
        }
        // The last question: what it takes is taken.
        if filter.is_exclusive() && !cx.groups.claim(&filter, (cx.session, &self.identity), cx.now)
        {
            pass.told.get_or_insert_with(|| "another client has this subscription".to_owned());
            let grounds = Grounds::new(RefusalKind::SubscribeExclusive);
            return pass.refuse(text, Reason::QuotaExceeded, grounds);
        }
        // Fleets subscribe again at every reconnect: an equal one writes nothing.
        if old != Some(subscription) {
            self.subscriptions.insert(filter.clone(), subscription);
            let filter = || filter.clone();
            self.remember(cx, out, || Op::Subscribed { filter: filter(), options, id, owes: None });
        }
        out(Action::Subscribe { filter: &filter, subscription, is_new: old.is_none() });
        Reason::granted(options.qos)
    }

    /// The filter that `text` is, if the client may subscribe to it; otherwise the refusal is noted.
    fn permitted_filter<'a>(
        &self,
        text: &'a str,
        qos: QoS,
        pass: &mut SubscribePass<'a>,
        cx: &Context<'_>,
    ) -> Result<TopicFilter, Reason> {
        let filter = TopicFilter::parse(text, &cx.policy.topic).ok();
        let Some(filter) = filter.filter(TopicFilter::is_well_formed) else {
            let grounds = Grounds::new(RefusalKind::SubscribeFilter);
            return Err(pass.refuse(text, Reason::TopicFilterInvalid, grounds));
        };
        if filter.is_shared() && !cx.policy.shared_available {
            let grounds = Grounds::new(RefusalKind::NotInCluster);
            return Err(pass.refuse(text, Reason::SharedSubscriptionsNotSupported, grounds));
        }
        let asked = Asked::Subscribe { filter: &filter, qos };
        let decision = cx.access.may(&self.identity, &asked);
        if !decision.is_allowed() {
            let kind = RefusalKind::SubscribeNotAuthorized;
            let grounds = Grounds::new(kind).by_rule(decision.rule());
            return Err(pass.refuse(text, Reason::NotAuthorized, grounds));
        }
        if let Some(why) = self.no_replay(&filter, qos, cx) {
            pass.told.get_or_insert(why);
            let grounds = Grounds::new(RefusalKind::SubscribeReplay);
            return Err(pass.refuse(text, Reason::TopicFilterInvalid, grounds));
        }
        if let Err(grounds) = self.room_for_replay(&filter) {
            return Err(pass.refuse(text, Reason::QuotaExceeded, grounds));
        }
        if filter.queue().is_some() && !cx.groups.exists(&filter) {
            pass.told = pass.told.take().or_else(|| self.meant_queue(&filter, qos, cx));
            let grounds = Grounds::new(RefusalKind::SubscribeQueue);
            return Err(pass.refuse(text, Reason::TopicFilterInvalid, grounds));
        }
        Ok(filter)
    }

    /// What is said to a client that asks for a named queue that is not there: the nearest name of those that
    /// it may subscribe to.
    fn meant_queue(&self, filter: &TopicFilter, qos: QoS, cx: &Context<'_>) -> Option<String> {
        self.reason_string("")?;
        let near = self.nearest_known(filter.queue()?, qos, cx, |filter| {
            Some((filter.queue()?.to_owned(), filter.clone()))
        });
        Some(match near {
            Some(near) => format!("no queue of this name; did you mean $queue/{near}?"),
            None => "no queue of this name".to_owned(),
        })
    }

    /// The nearest to `name` of the named queues or logs that the client may subscribe to: `asked` says of
    /// each its name and the filter that would be subscribed to, if it is of interest.
    pub(super) fn nearest_known(
        &self,
        name: &str,
        qos: QoS,
        cx: &Context<'_>,
        asked: impl Fn(&TopicFilter) -> Option<(String, TopicFilter)>,
    ) -> Option<String> {
        let mut known = Vec::new();
        cx.groups.visit_defined(&mut |filter| {
            if let Some((name, filter)) = asked(filter)
                && cx
                    .access
                    .may(&self.identity, &Asked::Subscribe { filter: &filter, qos })
                    .is_allowed()
            {
                known.push(name);
            }
            known.len() < QUEUES_COMPARED_MAX
        });
        let name: String = name.chars().take(QUEUE_NAME_CHARS_MAX).collect();
        nearest(&name, known.iter().map(String::as_str)).map(str::to_owned)
    }

    /// Room in the store for what it is told of a Subscription: that of a Session that lasts, or a new group.
    fn room_in_store(
        &self,
        filter: &TopicFilter,
        cx: &Context<'_>,
    ) -> Result<(), (Reason, Grounds)> {
        let Some(kind) = cx.store_refuses else { return Ok(()) };
        let new_group = || filter.is_shared() && !cx.groups.exists(filter);
        if !(self.lasts() || self.remembered || new_group()) {
            return Ok(());
        }
        let full = kind == RefusalKind::StoreFull;
        let reason = if full { Reason::QuotaExceeded } else { Reason::UnspecifiedError };
        Err((reason, Grounds::new(kind)))
    }

    /// Takes the room of one more Subscription.
    fn room_for(
        &self,
        filter: &TopicFilter,
        pass: &mut SubscribePass<'_>,
        cx: &Context<'_>,
    ) -> Result<(), Grounds> {
        let (own, max) = (self.subscriptions.len(), cx.policy.limits.subscriptions_max);
        let new_group = filter.is_shared() && !cx.groups.exists(filter);
        if own >= max as usize {
            Err(Grounds::limit(RefusalKind::Subscriptions, max.into(), own as u64 + 1))
        } else if pass.subscriptions == 0 {
            Err(Grounds::new(RefusalKind::TotalSubscriptions))
        } else if own >= PLAIN && pass.subscriptions / SPARE <= own {
            Err(Grounds::new(RefusalKind::SubscriptionsShare))
        } else if new_group && pass.groups == 0 {
            Err(Grounds::new(RefusalKind::Groups))
        } else {
            let taken = [pass.taken[0] + 1, pass.taken[1] + u64::from(new_group)];
            if let Some(holdings) = self.identity.holdings() {
                holdings.room(Total::Subscriptions, taken[0])?;
                if new_group {
                    holdings.room(Total::Groups, taken[1])?;
                }
            }
            pass.subscriptions -= 1;
            pass.groups -= usize::from(new_group);
            pass.taken = taken;
            Ok(())
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

impl<'a> SubscribePass<'a> {
    fn new(cx: &Context<'_>) -> SubscribePass<'a> {
        SubscribePass {
            filters: cx.filters_free,
            subscriptions: cx.subscriptions_free,
            groups: cx.groups_free,
            taken: [0, 0],
            refused: Vec::new(),
            told: None,
        }
    }

    /// Notes that `filter` is refused.
    fn refuse(&mut self, filter: &'a str, reason: Reason, grounds: Grounds) -> Reason {
        let known = self.refused.iter_mut().find(|(known, ..)| known.kind() == grounds.kind());
        match known {
            Some((_, _, count)) => *count += 1,
            None => self.refused.push((grounds, filter, 1)),
        }
        reason
    }
}

/// Retained messages: never for a Shared Subscription, else as Retain Handling says `[MQTT5-3.3.1-9]`
/// `[MQTT5-3.3.1-10]` `[MQTT5-3.3.1-11]`.
fn wants_retained(
    filter: &TopicFilter,
    subscription: &Subscription,
    is_new: bool,
    cx: &Context<'_>,
) -> bool {
    let wanted = match subscription.options.retain_handling {
        RetainHandling::Always => true,
        RetainHandling::IfNew => is_new,
        RetainHandling::Never => false,
    };
    wanted && !filter.is_shared() && cx.policy.session.retain_available
}
