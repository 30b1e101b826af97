//! Messages that are taken once, however often their publishers send them.

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::section::InForce::Live;
use super::section::{key, rows};
use super::topic_class::is_filter;
use super::units::Span;

rows! {
    /// Messages that are taken once, however often they are sent: one `[[dedup]]` for each kind, 64 at most;
    /// the first with a `filter` that fits the topic counts. A message with the key of one that was taken
    /// within `window` is a repeat: it is answered as accepted, once the first is safe, and goes to no
    /// receiver. A message without a key is never a repeat. Keys outlast a restart. A rule is known by
    /// its `filter`: while a reload keeps that, the rule keeps its keys.
    pub struct DedupConfig {
        /// A Topic Filter: the rule is for the topics that it matches.
        filter: String = key(Live, String::new()).required("sensors/#".to_owned());
        /// How long a key is remembered, from when its message came.
        window: Span = key(Live, Span::secs(300)).range(Span::secs(1)..=Span::secs(7 * 86_400));
        /// What tells messages apart: `"property:<name>"` (the first User Property of that name),
        /// `"correlation_data"`, or `"payload"`. A 3.1.1 client sends no properties, so that only
        /// `"payload"` finds its repeats.
        key: String = key(Live, String::new()).required("property:id".to_owned());
        /// Which messages are compared. `"publisher"`: those of one topic and one verified user, or else one
        /// Client Identifier. `"topic"`: those of one topic, whichever publisher sent them; then a client that may
        /// publish there can take the key of another's message first.
        scope: DedupScope = key(Live, DedupScope::Publisher).words::<DedupScope>();
        /// Keys that are remembered of one publisher, whatever the scope. When another comes, its oldest
        /// goes before its time.
        keys_max: u32 = key(Live, 10_000).range(1..=10_000_000);
        /// Keys that are remembered of all publishers together. When another comes, the oldest of the
        /// publisher with most of them goes. Publishers without a verified user name have
        /// `totals.unverified_share` percent of it.
        keys_total_max: u32 = key(Live, 100_000).range(1..=10_000_000);
    }
}

/// Which messages are compared.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DedupScope {
    /// Those of one publisher on one topic.
    #[default]
    Publisher,
    /// Those of one topic.
    Topic,
}

/// What tells messages apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DedupKey {
    /// The first User Property of this name.
    Property(String),
    /// Correlation Data.
    CorrelationData,
    /// The payload.
    Payload,
}

/// Most sections `[[dedup]]`.
const DEDUPS_MAX: usize = 64;
const PROPERTY: &str = "property:";

impl DedupConfig {
    /// What tells its messages apart; `None` if `key` says nothing that is known.
    pub fn key_of(&self) -> Option<DedupKey> {
        match (self.key.as_str(), self.key.strip_prefix(PROPERTY)) {
            (_, Some(name)) if !name.is_empty() => Some(DedupKey::Property(name.to_owned())),
            ("correlation_data", _) => Some(DedupKey::CorrelationData),
            ("payload", _) => Some(DedupKey::Payload),
            _ => None,
        }
    }

    /// Adds what is wrong with all of them, apart from ranges.
    pub(super) fn check_all(rules: &[DedupConfig], found: &mut Problems) {
        if rules.len() > DEDUPS_MAX {
            found.add("dedup", format!("{} of them are more than {DEDUPS_MAX}", rules.len()));
        }
        for (index, rule) in rules.iter().enumerate() {
            let at = |key: &str| format!("dedup.{index}.{key}");
            let filter = &rule.filter;
            if !is_filter(filter) {
                found.add(at("filter"), format!("{filter:?} is not a Topic Filter of its own"));
            } else if rules[..index].iter().any(|other| other.filter == *filter) {
                found.add(at("filter"), format!("{filter:?} counts where it stands first"));
            }
            if rule.key_of().is_none() {
                let wanted = "\"property:<name>\", \"correlation_data\" or \"payload\"";
                found.add(at("key"), format!("expected {wanted}, found {:?}", rule.key));
            }
            let total = ("keys_total_max", rule.keys_total_max);
            found.at_most(&at("keys_max"), rule.keys_max, (&at(total.0), total.1));
        }
    }
}
