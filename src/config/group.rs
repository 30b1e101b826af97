//! How groups of Shared Subscriptions share what waits for them.

use super::pattern::matches;
use super::problems::Problems;
use super::queue::QueuePolicy;
use super::section::InForce::Live;
use super::section::{key, rows};
use super::strategy::{Sharing, Strategy, check_sharing};

rows! {
    /// Groups of shared subscriptions with members that do not simply take what is next: one
    /// `[[group]]` for each kind; the first that fits a group counts. All conditions that are set must fit,
    /// and one must be set. A condition is a pattern, in which `*` stands for any text, even an empty one,
    /// and `?` for one character. A reload puts another strategy in force for what waits too; the order of
    /// what is in flight then is not promised across it.
    pub struct GroupConfig {
        /// Condition: the share name, the second level of `$share/<name>/<filter>`.
        share: Option<String> = key(Live, None).example(Some("workers".to_owned()));
        /// Condition: the whole filter.
        filter: Option<String> = key(Live, None).example(Some("$share/workers/jobs/#".to_owned()));
        /// Which member a message is for. `"least_inflight"`: a member with free places in its window takes
        /// what is next, so that a faster one takes more. `"round_robin"`: members that can take take turns,
        /// one message each. `"random"`: each message is for a member that is drawn among those that can
        /// take. `"sticky"`: what one publisher sends is for one member, until that goes; a new publisher is
        /// given to the member with the fewest. `"hash"`: what has the same `key` is for one member; when a
        /// member comes or goes, only its share moves. `"single_active"`: one member has all, and when it
        /// goes the one that has been there longest is next. The last three keep the order of what one
        /// member has, also when it moves to another: see docs/queues.md.
        strategy: Strategy = key(Live, Strategy::LeastInflight).words::<Strategy>();
        /// For `"hash"`: `"topic"`, which is the default, `"publisher"` (its user name, otherwise its Client
        /// Identifier), or `"property:<name>"`, the value of a User Property.
        key: Option<String> = key(Live, None).example(Some("topic".to_owned()));
    }
}

/// Most sections `[[group]]`: a new group is held against each.
pub(super) const GROUPS_MAX: usize = 1000;

impl GroupConfig {
    /// How the members of the group `share` of the whole filter `filter` share, if this section is for it.
    pub fn sharing_of(&self, share: &str, filter: &str) -> Option<Sharing> {
        let fits = |pattern: &Option<String>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| matches(pattern.as_bytes(), text))
        };
        let is_for = fits(&self.share, share) && fits(&self.filter, filter);
        is_for.then(|| Sharing::new(self.strategy, self.key.as_deref()))
    }

    /// Adds what is wrong with it; `at` is its place in the list, `policy` that of `[queue]`.
    pub(super) fn check(
        &self,
        at: &str,
        policy: QueuePolicy,
        has_priorities: bool,
        found: &mut Problems,
    ) {
        match &self.filter {
            None if self.share.is_none() => {
                found.add(format!("{at}.share"), "a group needs a share or a filter");
            }
            Some(filter) if !filter.starts_with("$share/") && !filter.starts_with(['*', '?']) => {
                let wanted = "a whole filter, \"$share/<name>/<filter>\", or a pattern of it";
                found.add(format!("{at}.filter"), format!("expected {wanted}, found {filter:?}"));
            }
            _ => {}
        }
        let sharing = (self.strategy, self.key.as_deref());
        check_sharing(at, sharing, policy, has_priorities, found);
    }
}
