//! The cursors through which retained messages are pulled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::replay::Replay;
use crate::codec::QoS;
use crate::time::Time;
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
    /// What came later is delivered live; `None` until the Subscription is in the tree.
    pub moment: Option<RetainedMoment>,
    /// The last Topic Name that was looked at; `None` at the beginning.
    pub after: Option<String>,
    /// What is in the store.
    pub(super) owes: InStore,
}

/// How far the retained messages had come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RetainedMoment {
    /// Of the last change.
    pub stamp: u64,
    /// When the latest message that was ever retained was received. Stamps begin anew with the broker, this
    /// does not.
    pub latest: Time,
}

/// What the store knows of a cursor.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum InStore {
    /// Nothing, or nothing yet.
    #[default]
    Nothing,
    /// Where it stood lately.
    Noted,
    /// The cursor is from there, and its client was connected at the end: messages of `QoS` 0 behind its
    /// place may have been sent, and are not sent again.
    Crashed,
}

/// Retained messages that are owed for a Subscription, as the store remembers them.
#[derive(Clone, Debug, PartialEq)]
pub struct Owed {
    /// Messages that were received later came live.
    pub latest: Time,
    /// The last Topic Name that was looked at.
    pub after: Option<String>,
}

impl Cursor {
    /// A cursor at the beginning, of a Subscription that is not in the tree yet.
    pub fn new(filter: TopicFilter, qos: QoS, id: u32) -> Cursor {
        Cursor { filter, qos, id, moment: None, after: None, owes: InStore::Nothing }
    }

    /// A cursor from the store; `parked`: its client was not connected at the end, and its place is exact.
    pub(super) fn restore(
        filter: TopicFilter,
        qos: QoS,
        id: u32,
        owed: Owed,
        parked: bool,
    ) -> Cursor {
        let Owed { latest, after } = owed;
        // All that is there is old enough for the stamp.
        let moment = Some(RetainedMoment { stamp: u64::MAX, latest });
        let owes = if parked { InStore::Noted } else { InStore::Crashed };
        Cursor { filter, qos, id, moment, after, owes }
    }

    /// Whether a message of this `QoS` may have been sent before.
    pub fn may_be_sent(&self, qos: QoS) -> bool {
        self.owes == InStore::Crashed && qos == QoS::AtMostOnce
    }

    /// What the store is to remember of it.
    pub(super) fn owed(&self) -> Option<Owed> {
        let latest = self.moment?.latest;
        Some(Owed { latest, after: self.after.clone() })
    }
}

/// The open cursors of a Session, in the order of its SUBSCRIBEs, at most one for each filter. Nothing is
/// owned while there is none.
#[derive(Debug, Default)]
pub(super) struct Cursors(Option<Box<RareParts>>);

/// What most Sessions have nothing of.
#[derive(Debug, Default)]
struct RareParts {
    open: VecDeque<Cursor>,
    /// The readers of logs, at most one for each filter.
    replays: Vec<Replay>,
    /// Filters of Subscriptions that were revoked, as long as something may wait because of them.
    revoked: BTreeSet<TopicFilter>,
}

impl Cursors {
    /// Adds the cursor of a filter that has none.
    pub fn open(&mut self, cursor: Cursor) {
        self.0.get_or_insert_default().open.push_back(cursor);
    }

    /// Replaces the cursors of many filters in one pass, in order: a filter has no cursor before the one
    /// that comes last for it, which may be none. Returns those without a cursor now of which the store knows
    /// one.
    pub fn replace(&mut self, renewed: Vec<(TopicFilter, Option<Cursor>)>) -> Vec<TopicFilter> {
        if self.is_empty()
            && self.replays().is_empty()
            && renewed.iter().all(|(_, cursor)| cursor.is_none())
        {
            return Vec::new();
        }
        let mut noted = BTreeSet::new();
        let filters = renewed.iter().enumerate().map(|(at, (filter, _))| (filter.clone(), at));
        let newest: BTreeMap<TopicFilter, usize> = filters.collect();
        if let Some(rare) = &mut self.0 {
            rare.open.retain(|cursor| {
                let stays = !newest.contains_key(&cursor.filter);
                if !stays && cursor.owes != InStore::Nothing {
                    noted.insert(cursor.filter.clone());
                }
                stays
            });
            rare.replays.retain(|replay| !newest.contains_key(&replay.filter));
        }
        for (at, (filter, cursor)) in renewed.into_iter().enumerate() {
            if newest.get(&filter) == Some(&at)
                && let Some(mut cursor) = cursor
            {
                if noted.remove(&filter) {
                    cursor.owes = InStore::Noted;
                }
                self.open(cursor);
            }
        }
        self.shrink();
        noted.into_iter().collect()
    }

    /// The cursors of Subscriptions that have just entered the tree begin at this moment: each is looked at, and is
    /// closed if `look` says that it is at its end.
    pub fn begin(&mut self, moment: RetainedMoment, mut look: impl FnMut(&mut Cursor) -> bool) {
        let Some(RareParts { open, .. }) = self.0.as_deref_mut() else { return };
        let old = open.iter().take_while(|cursor| cursor.moment.is_some()).count();
        for mut cursor in open.split_off(old) {
            cursor.moment = Some(moment);
            if !look(&mut cursor) {
                open.push_back(cursor);
            }
        }
        self.shrink();
    }

    /// All of them, in order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Cursor> {
        self.0.iter_mut().flat_map(|rare| rare.open.iter_mut())
    }

    /// The first one, if its Subscription is in the tree.
    pub fn first(&mut self) -> Option<&mut Cursor> {
        self.0.as_mut()?.open.front_mut().filter(|cursor| cursor.moment.is_some())
    }

    /// The first one has reached its end.
    pub fn close_first(&mut self) -> Option<Cursor> {
        let first = self.0.as_mut().and_then(|rare| rare.open.pop_front());
        self.shrink();
        first
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|rare| rare.open.is_empty())
    }

    /// Adds a reader of a log, in the place of the one of its filter.
    pub fn set_replay(&mut self, replay: Replay) {
        let replays = &mut self.0.get_or_insert_default().replays;
        match replays.iter_mut().find(|known| known.filter == replay.filter) {
            Some(known) => *known = replay,
            None => replays.push(replay),
        }
    }

    /// The readers of logs.
    #[inline]
    pub fn replays(&self) -> &[Replay] {
        self.0.as_ref().map_or(&[], |rare| &rare.replays)
    }

    /// The same.
    pub fn replays_mut(&mut self) -> &mut [Replay] {
        self.0.as_mut().map_or(&mut [], |rare| &mut rare.replays)
    }

    /// The Subscriptions of these filters were revoked; no more than `most` are known.
    pub fn revoke(&mut self, filters: Vec<TopicFilter>, most: usize) {
        let revoked = &mut self.0.get_or_insert_default().revoked;
        revoked.extend(filters);
        // Many reloads must not make it grow for ever.
        while revoked.len() > most {
            revoked.pop_last();
        }
        self.shrink();
    }

    /// Filters of Subscriptions that were revoked.
    #[inline]
    pub fn revoked(&self) -> Option<&BTreeSet<TopicFilter>> {
        self.0.as_ref().map(|rare| &rare.revoked)
    }

    /// Nothing waits any more because of what was revoked.
    #[inline]
    pub fn forget_revoked(&mut self) {
        if let Some(rare) = &mut self.0 {
            rare.revoked.clear();
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        let is_empty = |rare: &RareParts| {
            rare.open.is_empty() && rare.revoked.is_empty() && rare.replays.is_empty()
        };
        if self.0.as_deref().is_some_and(is_empty) {
            self.0 = None;
        }
    }
}
