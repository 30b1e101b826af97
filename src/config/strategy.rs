//! How the members of a group, or the consumers of a queue, share what waits for them.

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::queue::QueuePolicy;
use super::section::join;

/// How what waits is shared.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// A member with free places in its window takes what is next: one that is faster takes more.
    #[default]
    LeastInflight,
    /// The members that can take take turns, one message each.
    RoundRobin,
    /// Each message is for a member that is drawn among those that can take.
    Random,
    /// The messages of one publisher are for one member, until that member goes.
    Sticky,
    /// The messages of one key are for one member; when members come or go, only their keys move.
    Hash,
    /// One member has all; when it goes, the one that has been there longest is next.
    SingleActive,
}

/// What a message that has failed does to those that came after it in its lane.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnPoison {
    /// They wait until it has ended.
    #[default]
    Block,
    /// They go on.
    Skip,
}

/// What tells the lanes of `hash` apart.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum LaneKey {
    /// The topic.
    #[default]
    Topic,
    /// The publisher: its user name, otherwise its Client Identifier.
    Publisher,
    /// The value of the first User Property of this name; without one it is the empty text.
    Property(String),
}

/// How the members of one group share what waits for it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sharing {
    strategy: Strategy,
    key: LaneKey,
    blocks: bool,
}

impl Strategy {
    /// The word for it in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::LeastInflight => "least_inflight",
            Strategy::RoundRobin => "round_robin",
            Strategy::Random => "random",
            Strategy::Sticky => "sticky",
            Strategy::Hash => "hash",
            Strategy::SingleActive => "single_active",
        }
    }

    /// Members take turns, one message each.
    pub fn has_turns(self) -> bool {
        matches!(self, Strategy::RoundRobin | Strategy::Random)
    }

    /// What waits is parted into lanes, each with one owner among the members: each lane keeps its order.
    pub fn has_lanes(self) -> bool {
        matches!(self, Strategy::Sticky | Strategy::Hash | Strategy::SingleActive)
    }
}

impl LaneKey {
    /// The key that a configuration names; `None` if it names none.
    pub fn parse(text: &str) -> Option<LaneKey> {
        match text {
            "topic" => Some(LaneKey::Topic),
            "publisher" => Some(LaneKey::Publisher),
            _ => {
                let name = text.strip_prefix("property:").filter(|name| !name.is_empty())?;
                Some(LaneKey::Property(name.to_owned()))
            }
        }
    }
}

impl Sharing {
    /// `key` is that of the configuration: it is for `hash`, and `topic` without one.
    pub fn new(strategy: Strategy, key: Option<&str>) -> Sharing {
        let key = match strategy {
            Strategy::Hash => key.and_then(LaneKey::parse).unwrap_or_default(),
            Strategy::Sticky => LaneKey::Publisher,
            _ => LaneKey::Topic,
        };
        Sharing { strategy, key, blocks: false }
    }

    /// What a message that has failed does to those behind it: of meaning only where there are lanes.
    pub fn with_poison(self, on_poison: OnPoison) -> Sharing {
        let blocks = self.strategy.has_lanes() && on_poison == OnPoison::Block;
        Sharing { blocks, ..self }
    }

    /// The strategy.
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// What comes after a message that has failed in its lane waits until that has ended.
    pub fn blocks(&self) -> bool {
        self.blocks
    }

    /// What tells lanes apart, for strategies that have many.
    pub fn key(&self) -> &LaneKey {
        &self.key
    }
}

/// Adds what is wrong with the keys `strategy` and `key` of the section `at`. `policy` is that of the queue
/// that is shared.
pub(super) fn check_sharing(
    at: &str,
    (strategy, key): (Strategy, Option<&str>),
    policy: QueuePolicy,
    has_priorities: bool,
    found: &mut Problems,
) {
    let name = strategy.name();
    let at_strategy = join(at, "strategy");
    if let Some(key) = key {
        let at = join(at, "key");
        if strategy != Strategy::Hash {
            found.add(at, format!("only the strategy \"hash\" has a key, not {name:?}"));
        } else if LaneKey::parse(key).is_none() {
            let known = "\"topic\", \"publisher\" or \"property:<name>\"";
            found.add(at, format!("expected {known}, found {key:?}"));
        }
    }
    if !strategy.has_lanes() {
        return;
    }
    if has_priorities {
        found.add(
            &at_strategy,
            format!(
                "{name:?} keeps the order of what one member has, and [[priority]] lets messages overtake: \
                 use one of them"
            ),
        );
    }
    if policy == QueuePolicy::Conflate {
        found.add(
            &at_strategy,
            format!(
                "{name:?} keeps every message in its order, and the policy \"conflate\" puts new ones in the \
                 places of older ones: use another policy"
            ),
        );
    }
}
