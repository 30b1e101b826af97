//! What was lost, by class of topics: the ledger's second page.
//!
//! Over all classes each reason has as many entries as the ledger has. A topic is put into its class when
//! something of it is lost, and never before.

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::{self, OTHER, UNREAD};
use crate::message::Loss;
use crate::topic::{TopicName, Tree};

/// The classes under `[[topic_class]]`, and what was lost of each.
#[derive(Debug, Default)]
pub struct TopicLedger {
    /// By number; empty where no class is configured: then nothing is counted.
    rows: Vec<Row>,
    /// The first class of each filter.
    filters: Option<Tree<TopicClass, ()>>,
}

/// A class, by its number: first those of what has none, then those of the configuration.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct TopicClass(u8);

/// Why a PUBLISH of `QoS` 0 or a Will was dropped before it was routed: the ledger, which is of copies,
/// has no entry for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(usize)]
pub enum Unrouted {
    /// The broker was pressed.
    Shed,
    /// It was beyond a rate.
    OverRate,
    /// Its topic or its publisher's rights forbade it, or there was no room in memory or in the store.
    Refused,
}

/// What was lost of one class of topics.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TopicLosses {
    /// The class's name.
    pub class: Arc<str>,
    /// Copies, by [`Loss`].
    pub ledger: [u64; Loss::ALL.len()],
    /// What came and was not routed, by [`Unrouted`].
    pub unrouted: [u64; Unrouted::ALL.len()],
}

#[derive(Debug)]
struct Row {
    class: Arc<str>,
    ledger: [AtomicU64; Loss::ALL.len()],
    unrouted: [AtomicU64; Unrouted::ALL.len()],
}

impl TopicClass {
    /// Of what no class fits, and of what has no known topic.
    pub const OTHER: TopicClass = TopicClass(0);
    /// Of what only the store knows the topic of, until it is read.
    pub const UNREAD: TopicClass = TopicClass(1);

    const FIRST: u8 = 2;
}

impl TopicLedger {
    /// An empty ledger of these classes; `seed` feeds its hashes.
    pub fn new(classes: &[config::TopicClassConfig], seed: u64) -> TopicLedger {
        if classes.is_empty() {
            return TopicLedger::default();
        }
        let names = classes.iter().map(|class| class.name.as_str());
        let mut filters = Tree::new(seed);
        for (number, class) in (TopicClass::FIRST..).zip(classes) {
            for filter in &class.filters {
                filters.insert(filter, TopicClass(number), ());
            }
        }
        let rows = [OTHER, UNREAD].into_iter().chain(names).map(Row::new).collect();
        TopicLedger { rows, filters: Some(filters) }
    }

    /// There are classes to tell apart.
    pub fn is_kept(&self) -> bool {
        !self.rows.is_empty()
    }

    /// The class of a topic.
    pub fn class_of(&self, topic: TopicName<'_>) -> TopicClass {
        let Some(filters) = &self.filters else { return TopicClass::OTHER };
        let mut first = None::<TopicClass>;
        filters.visit(topic, &mut |class, ()| {
            first = Some(first.map_or(class, |first| first.min(class)));
        });
        first.unwrap_or(TopicClass::OTHER)
    }

    /// Its name, for logs; none where no class is configured.
    pub fn name(&self, class: TopicClass) -> Option<&str> {
        self.row(class).map(|row| &*row.class)
    }

    /// What was lost of each class, in the order of the configuration; then what is of none.
    pub fn losses(&self) -> Vec<TopicLosses> {
        let first = usize::from(TopicClass::FIRST).min(self.rows.len());
        let (none, configured) = self.rows.split_at(first);
        configured.iter().chain(none).map(Row::losses).collect()
    }

    pub(super) fn lose(&self, class: TopicClass, loss: Loss, n: u64) {
        if let Some(row) = self.row(class) {
            row.ledger[loss as usize].fetch_add(n, Ordering::Relaxed);
        }
    }

    /// What was lost unread is of this class.
    pub(super) fn read(&self, class: TopicClass, loss: Loss) {
        self.lose(class, loss, 1);
        if let Some(row) = self.row(TopicClass::UNREAD) {
            row.ledger[loss as usize].fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn drop_unrouted(&self, class: TopicClass, why: Unrouted) {
        if let Some(row) = self.row(class) {
            row.unrouted[why as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn row(&self, class: TopicClass) -> Option<&Row> {
        self.rows.get(usize::from(class.0))
    }
}

impl TopicLosses {
    /// Each reason by its name in `$SYS`, with its count.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let ledger = Loss::ALL.into_iter().map(Loss::name).zip(self.ledger);
        ledger.chain(Unrouted::ALL.into_iter().map(Unrouted::name).zip(self.unrouted))
    }
}

impl Unrouted {
    /// Every reason, in the order of its number.
    pub const ALL: [Unrouted; 3] = [Unrouted::Shed, Unrouted::OverRate, Unrouted::Refused];

    /// The name in `$SYS`.
    pub const fn name(self) -> &'static str {
        match self {
            Unrouted::Shed => "shed",
            Unrouted::OverRate => "over_rate",
            Unrouted::Refused => "refused",
        }
    }
}

impl Row {
    fn new(class: &str) -> Row {
        let ledger = array::from_fn(|_| AtomicU64::new(0));
        Row { class: class.into(), ledger, unrouted: array::from_fn(|_| AtomicU64::new(0)) }
    }

    fn losses(&self) -> TopicLosses {
        TopicLosses {
            class: self.class.clone(),
            ledger: array::from_fn(|at| self.ledger[at].load(Ordering::Relaxed)),
            unrouted: array::from_fn(|at| self.unrouted[at].load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::name::matches;

    fn class(name: &str, filters: &[&str]) -> config::TopicClassConfig {
        let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        config::TopicClassConfig { name: name.to_owned(), filters }
    }

    #[test]
    fn the_first_class_with_a_filter_that_fits_counts() {
        let words = ["a", "b", "$x"];
        let mut random = 11u64;
        let mut draw = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % below
        };
        let mut found = [0; 6];
        for round in 0..300 {
            let mut filter = || {
                let mut levels: Vec<_> =
                    (0..=draw(3)).map(|_| ["a", "b", "$x", "+"][draw(4)]).collect();
                if draw(3) == 0 {
                    levels.push("#");
                }
                levels.join("/")
            };
            let classes: Vec<_> =
                (0..4).map(|number| class(&number.to_string(), &[&filter(), &filter()])).collect();
            let ledger = TopicLedger::new(&classes, round);
            for _ in 0..30 {
                let topic: Vec<_> = (0..=draw(3)).map(|_| words[draw(3)]).collect();
                let topic = topic.join("/");
                let name = TopicName::trusted(&topic);
                // The naive twin tries them in order.
                let fits = |class: &config::TopicClassConfig| {
                    class.filters.iter().any(|filter| matches(filter, name))
                };
                let wanted = classes.iter().position(fits);
                found[wanted.map_or(0, |at| at + 2)] += 1;
                let wanted = wanted.map_or(OTHER, |at| &classes[at].name);
                let class = ledger.class_of(name);
                assert_eq!(ledger.name(class), Some(wanted), "{topic} {classes:?}");
            }
        }
        assert!(found[0] > 100 && found[5] > 100, "{found:?}");
    }

    #[test]
    fn what_was_lost_unread_finds_its_class_and_the_sum_stays() {
        let ledger = TopicLedger::new(&[class("a", &["a/#"])], 1);
        let class = ledger.class_of(TopicName::trusted("a/b"));
        ledger.lose(class, Loss::Expired, 3);
        ledger.lose(TopicClass::UNREAD, Loss::Expired, 2);
        ledger.read(class, Loss::Expired);
        ledger.read(TopicClass::OTHER, Loss::Expired);
        ledger.drop_unrouted(class, Unrouted::OverRate);
        let losses = ledger.losses();
        let counts = losses.iter().map(|losses| {
            let some = losses.reasons().filter(|(_, count)| *count > 0);
            (&*losses.class, some.collect::<Vec<_>>())
        });
        let wanted = [
            ("a", vec![("expired", 4), ("over_rate", 1)]),
            ("other", vec![("expired", 1)]),
            ("unread", vec![]),
        ];
        assert_eq!(counts.collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn nothing_is_kept_where_no_class_is_configured() {
        let ledger = TopicLedger::new(&[], 1);
        assert_eq!(ledger.class_of(TopicName::trusted("a")), TopicClass::OTHER);
        ledger.lose(TopicClass::OTHER, Loss::Expired, 1);
        assert!(!ledger.is_kept() && ledger.losses().is_empty());
        assert_eq!(ledger.name(TopicClass::OTHER), None);
    }

    #[test]
    fn reasons_are_numbered_in_order() {
        for (index, why) in Unrouted::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, index);
        }
    }
}
