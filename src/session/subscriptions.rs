//! The Subscriptions of a Session.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Subscription;
use crate::topic::TopicFilter;

/// The Subscriptions of a Session by filter. Most clients have one or two: these are a sorted list, which
/// takes no more memory than they do. A list of thousands would be moved at each insertion.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "an idle Session should stay small")]
pub(super) enum Subscriptions {
    /// A sorted list, of at most [`FEW`].
    Few(Vec<(TopicFilter, Subscription)>),
    /// More than [`FEW`], or as many that once were more.
    Many(Box<BTreeMap<TopicFilter, Subscription>>),
}

/// Subscriptions in a list.
const FEW: usize = 128;

const _: () = assert!(size_of::<Subscriptions>() <= 24, "an idle Session should stay small");

impl Default for Subscriptions {
    fn default() -> Subscriptions {
        Subscriptions::Few(Vec::new())
    }
}

impl Subscriptions {
    pub fn get(&self, filter: &TopicFilter) -> Option<Subscription> {
        match self {
            Subscriptions::Few(few) => position(few, filter).ok().map(|index| few[index].1),
            Subscriptions::Many(many) => many.get(filter).copied(),
        }
    }

    pub fn insert(&mut self, filter: TopicFilter, subscription: Subscription) {
        match self {
            Subscriptions::Many(many) => {
                many.insert(filter, subscription);
            }
            Subscriptions::Few(few) => match position(few, &filter) {
                Ok(index) => few[index].1 = subscription,
                Err(index) => {
                    if few.len() < 4 {
                        few.reserve_exact(1);
                    }
                    few.insert(index, (filter, subscription));
                    if few.len() > FEW {
                        let many = std::mem::take(few).into_iter().collect();
                        *self = Subscriptions::Many(Box::new(many));
                    }
                }
            },
        }
    }

    pub fn remove(&mut self, filter: &TopicFilter) -> bool {
        match self {
            Subscriptions::Few(few) => {
                let found = position(few, filter);
                if let Ok(index) = found {
                    few.remove(index);
                }
                found.is_ok()
            }
            Subscriptions::Many(many) => {
                let found = many.remove(filter).is_some();
                if many.is_empty() {
                    *self = Subscriptions::default();
                }
                found
            }
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Subscriptions::Few(few) => few.len(),
            Subscriptions::Many(many) => many.len(),
        }
    }

    /// All of them, sorted by filter.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicFilter, &Subscription)> {
        let (few, many) = match self {
            Subscriptions::Few(few) => (Some(few), None),
            Subscriptions::Many(many) => (None, Some(many)),
        };
        let few = few.into_iter().flatten().map(|(filter, subscription)| (filter, subscription));
        few.chain(many.into_iter().flat_map(|many| many.iter()))
    }

    /// Those behind the filter `after`, sorted by filter; all of them at `None`.
    pub fn after(
        &self,
        after: Option<&TopicFilter>,
    ) -> impl Iterator<Item = (&TopicFilter, &Subscription)> {
        let (few, many) = match self {
            Subscriptions::Few(few) => {
                let first = after.map_or(0, |after| few.partition_point(|(held, _)| held <= after));
                (Some(&few[first..]), None)
            }
            Subscriptions::Many(many) => {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                (None, Some(many.range::<TopicFilter, _>((from, Bound::Unbounded))))
            }
        };
        let few = few.into_iter().flatten().map(|(filter, subscription)| (filter, subscription));
        few.chain(many.into_iter().flatten())
    }
}

fn position(few: &[(TopicFilter, Subscription)], filter: &TopicFilter) -> Result<usize, usize> {
    few.binary_search_by(|(held, _)| held.cmp(filter))
}
