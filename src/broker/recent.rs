//! Receivers found lately, by topic: publishers mostly send to the same topics again and again, and
//! Subscriptions change seldom. Each thread has its own, in its turn's scratch memory.

use super::router::Match;
use crate::topic::TopicName;

/// The receivers of topics that were published to lately.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// By the topic's hash; made at the first use.
    found: Vec<Found>,
    /// Receivers in all of them.
    held: usize,
    /// Those of the last topic, if they are not worth keeping.
    passing: Vec<Match>,
}

/// The receivers of one topic.
#[derive(Debug, Default)]
struct Found {
    topic: String,
    /// Of the routes they were found in; 0: of none.
    version: u64,
    matches: Vec<Match>,
}

/// Topics kept, a power of two.
const TOPICS: usize = 256;
/// Receivers kept, over all topics.
const MATCHES_MAX: usize = 16 * 1024;

impl Recent {
    /// Whether the receivers of `topic` were found in the routes of this `version`, which is above 0.
    #[inline]
    pub fn knows(&self, topic: TopicName<'_>, hash: u64, version: u64) -> bool {
        let found = self.found.get(place(hash));
        found.is_some_and(|found| found.version == version && found.topic == topic.as_str())
    }

    /// Those receivers.
    #[inline]
    pub fn known(&self, hash: u64) -> &[Match] {
        &self.found[place(hash)].matches
    }

    /// Takes up the receivers of `topic` that `search` finds. It says whether they are the same for
    /// every publisher: only then they are kept.
    pub fn find_anew(
        &mut self,
        topic: TopicName<'_>,
        hash: u64,
        version: u64,
        search: impl FnOnce(&mut Vec<Match>) -> bool,
    ) -> &[Match] {
        self.passing.clear();
        let keep = search(&mut self.passing);
        if !keep || self.passing.len() > MATCHES_MAX {
            return &self.passing;
        }
        if self.held + self.passing.len() > MATCHES_MAX || self.found.is_empty() {
            self.found.clear();
            self.found.resize_with(TOPICS, Found::default);
            self.held = 0;
        }
        let found = &mut self.found[place(hash)];
        self.held = self.held - found.matches.len() + self.passing.len();
        topic.as_str().clone_into(&mut found.topic);
        found.version = version;
        std::mem::swap(&mut found.matches, &mut self.passing);
        // Who was found for the topic before need not be kept alive.
        self.passing.clear();
        &found.matches
    }
}

fn place(hash: u64) -> usize {
    hash as usize % TOPICS
}
