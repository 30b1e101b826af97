//! Exclusive filters, `$exclusive/<filter>`: one Session has each at a time.
//!
//! A claim decides under the write lock of the routes, before SUBACK is made. The Session that had the filter
//! until then, which was away for too long, leaves the routes in the moment in which the claimant enters them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::route::RouteKey;
use super::{Changed, Eviction, Router, Routes, Subscriber};
use crate::message::{ClientId, Identity, SessionId};
use crate::time::Time;
use crate::topic::{TopicFilter, TopicName};

/// Which Session has which exclusive filter. No filter is here without a Subscription of its Session.
#[derive(Debug, Default)]
pub(super) struct Exclusives {
    held: BTreeMap<TopicFilter, ExclusiveHolder>,
    /// A Session without connection keeps what it has for so long.
    away_max: Duration,
}

/// The Session that has an exclusive filter.
#[derive(Debug)]
struct ExclusiveHolder {
    session: SessionId,
    identity: Arc<Identity>,
    /// Since when it has no connection.
    away: Option<Time>,
    /// Those that had the filter before it, and are still in the routes.
    evicted: Vec<(SessionId, Arc<Identity>)>,
}

impl Exclusives {
    /// Gives `filter` to a connected Session, if it is free or the Session that has it was away for too long.
    pub fn claim(
        &mut self,
        filter: &TopicFilter,
        (session, identity): (SessionId, &Arc<Identity>),
        now: Time,
    ) -> bool {
        let mut holder = ExclusiveHolder::new(session, identity.clone(), None);
        if let Some(held) = self.held.get_mut(filter) {
            if held.session == session {
                return true;
            }
            if held.away.is_none_or(|since| now < since.after(self.away_max)) {
                return false;
            }
            holder.evicted = std::mem::take(&mut held.evicted);
            holder.evicted.push((held.session, held.identity.clone()));
        }
        self.held.insert(filter.clone(), holder);
        true
    }

    /// Whether `filter` is that of a Session. `away`: since when that has no connection, from now on.
    fn set_away(&mut self, filter: &TopicFilter, session: SessionId, away: Option<Time>) -> bool {
        match self.held.get_mut(filter).filter(|held| held.session == session) {
            Some(held) => {
                held.away = away;
                true
            }
            None => false,
        }
    }

    /// The Sessions that had `filter` before the one that has it; they are forgotten.
    fn take_evicted(&mut self, filter: &TopicFilter) -> Vec<(SessionId, Arc<Identity>)> {
        self.held.get_mut(filter).map(|held| std::mem::take(&mut held.evicted)).unwrap_or_default()
    }

    /// `filter` is free, if it is that of a Session.
    fn release(&mut self, filter: &TopicFilter, session: SessionId) {
        if self.held.get(filter).is_some_and(|held| held.session == session) {
            self.held.remove(filter);
        }
    }
}

impl ExclusiveHolder {
    fn new(session: SessionId, identity: Arc<Identity>, away: Option<Time>) -> ExclusiveHolder {
        ExclusiveHolder { session, identity, away, evicted: Vec::new() }
    }
}

impl Router {
    /// A Session without connection keeps its exclusive filters for so long, from now on.
    pub fn set_exclusive_max(&self, away_max: Duration) {
        self.write().exclusives.away_max = away_max;
    }

    /// Whether there is an exclusive Subscription.
    pub fn has_exclusives(&self) -> bool {
        self.counts.exclusive.load(Ordering::Relaxed) > 0
    }

    /// A Session from the store, which was away `since` then, has `filter`; `false`: another one has it.
    pub fn restore_exclusive(
        &self,
        filter: &TopicFilter,
        (session, identity): (SessionId, &Arc<Identity>),
        since: Time,
    ) -> bool {
        let held = &mut self.write().exclusives.held;
        let free = !held.contains_key(filter);
        if free {
            let holder = ExclusiveHolder::new(session, identity.clone(), Some(since));
            held.insert(filter.clone(), holder);
        }
        free
    }

    /// An exclusive filter that matches a topic, and the client that has it.
    pub fn exclusive_holder(&self, topic: TopicName<'_>) -> Option<(TopicFilter, ClientId)> {
        let routes = self.read();
        let mut held = routes.exclusives.held.iter();
        let (filter, holder) = held.find(|(filter, _)| filter.matches(topic))?;
        Some((filter.clone(), holder.identity.client_id.clone()))
    }

    /// The connection of a Session with these exclusive filters has ended.
    pub fn leave_exclusives<'a>(
        &self,
        filters: impl Iterator<Item = &'a TopicFilter>,
        session: SessionId,
        now: Time,
    ) {
        let exclusives = &mut self.write().exclusives;
        for filter in filters {
            exclusives.set_away(filter, session, Some(now));
        }
    }

    /// A Session is connected, and keeps `filter` if it has that still.
    pub(super) fn keep_exclusive(&self, filter: &TopicFilter, session: SessionId) -> bool {
        self.write().exclusives.set_away(filter, session, None)
    }

    /// The exclusive Subscription of `subscriber` to `filter` has entered the routes or, if `ended`, left them:
    /// those of the Sessions that had it before end.
    pub(super) fn on_exclusive(
        &self,
        routes: &mut Routes,
        (subscriber, filter): (&Subscriber<'_>, &TopicFilter),
        ended: bool,
        changed: &mut Changed,
    ) {
        for (session, identity) in routes.exclusives.take_evicted(filter) {
            let key = RouteKey::of_session(session, filter);
            if let Some(route) = routes.tree.remove(filter.pattern(), key) {
                self.counts.subscribed(&Subscriber::new(session, &route.mailbox), filter, -1);
            }
            changed.effects().evicted.push(Eviction { filter: filter.clone(), session, identity });
        }
        if ended {
            routes.exclusives.release(filter, subscriber.session());
        }
    }
}
