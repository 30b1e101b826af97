//! The cursors through which retained messages are pulled.

use std::collections::{BTreeMap, VecDeque};

use crate::codec::QoS;
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

/// The open cursors of a Session, in the order of its SUBSCRIBEs, at most one for each filter. Nothing is
/// owned while there is none.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "a Session that has none should stay small")]
pub(super) struct Cursors(Option<Box<VecDeque<Cursor>>>);

impl Cursors {
    /// Adds the cursor of a filter that has none.
    pub fn open(&mut self, cursor: Cursor) {
        self.0.get_or_insert_default().push_back(cursor);
    }

    /// Replaces the cursors of many filters in one pass, in order: a filter has no cursor before the one
    /// that comes last for it, which may be none.
    pub fn replace(&mut self, renewed: Vec<(TopicFilter, Option<Cursor>)>) {
        if renewed.is_empty() {
            return;
        }
        let filters = renewed.iter().enumerate().map(|(at, (filter, _))| (filter.clone(), at));
        let newest: BTreeMap<TopicFilter, usize> = filters.collect();
        if let Some(open) = &mut self.0 {
            open.retain(|cursor| !newest.contains_key(&cursor.filter));
        }
        for (at, (filter, cursor)) in renewed.into_iter().enumerate() {
            if newest.get(&filter) == Some(&at) {
                cursor.into_iter().for_each(|cursor| self.open(cursor));
            }
        }
        self.shrink();
    }

    /// Those that have no stamp get this one.
    pub fn stamp(&mut self, stamp: u64) {
        for cursor in self.0.iter_mut().flat_map(|open| open.iter_mut().rev()) {
            if cursor.stamp.is_some() {
                break; // So have all before it.
            }
            cursor.stamp = Some(stamp);
        }
    }

    /// The first one, if its Subscription is in the tree.
    pub fn first(&mut self) -> Option<&mut Cursor> {
        self.0.as_mut()?.front_mut().filter(|cursor| cursor.stamp.is_some())
    }

    /// The first one has reached its end.
    pub fn close_first(&mut self) {
        if let Some(open) = &mut self.0 {
            open.pop_front();
        }
        self.shrink();
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn shrink(&mut self) {
        if self.0.as_ref().is_some_and(|open| open.is_empty()) {
            self.0 = None;
        }
    }
}
