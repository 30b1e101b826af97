//! Classes of topics, which the ledger tells apart: usable names, and filters of which each can count.

use std::collections::BTreeMap;

use super::problems::Problems;
use super::section::InForce::Restart;
use super::section::{key, rows};

rows! {
    /// Topics of which the ledger tells apart what was lost: one `[[topic_class]]` for each kind, 64 at
    /// most; the first that fits a topic counts, and nothing else depends on it.
    /// `$SYS/broker/ledger/topics/<class>/<reason>` has the counts, including QoS 0 and Wills that were
    /// not even routed; the log names the class. A topic that fits no section is of the class `other`.
    /// So are losses of an unknown topic: messages that a client had received at QoS 2 and not completed
    /// when its Session ended, messages that the store cannot read, and, of messages that are lost at
    /// once while they are in the store alone, all beyond 16,384 copies. Up to that number the store is
    /// asked, and they are of the class `unread` until it has answered.
    pub struct TopicClassConfig {
        /// Name in `$SYS`, where it is one level of a topic, and in logs. At most 64 bytes.
        name: String = key(Restart, String::new()).required("metering".to_owned());
        /// Topic Filters, of which one must fit. 1 to 1000.
        filters: Vec<String> = key(Restart, Vec::new()).required(vec!["meters/#".to_owned()]);
    }
}

/// Most sections `[[topic_class]]`.
const TOPIC_CLASSES_MAX: usize = 64;
/// Most Topic Filters of one.
const FILTERS_MAX: usize = 1000;
/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The class of topics that fit no section, and of losses of an unknown topic.
pub const OTHER: &str = "other";
/// The class of losses of a topic that only the store knows, until it is read.
pub const UNREAD: &str = "unread";

impl TopicClassConfig {
    /// Adds what is wrong with all topic classes.
    pub(super) fn check_all(classes: &[TopicClassConfig], found: &mut Problems) {
        let count = classes.len();
        if count > TOPIC_CLASSES_MAX {
            found.add("topic_class", format!("{count} of them are more than {TOPIC_CLASSES_MAX}"));
        }
        let mut seen = BTreeMap::new();
        for (index, class) in classes.iter().enumerate() {
            let at = |key: &str| format!("topic_class.{index}.{key}");
            if let Some(problem) = class.name_problem(&classes[..index]) {
                found.add(at("name"), problem);
            }
            if class.filters.is_empty() || class.filters.len() > FILTERS_MAX {
                let count = class.filters.len();
                found.add(at("filters"), format!("{count} filters: expected 1 to {FILTERS_MAX}"));
            }
            for (number, filter) in class.filters.iter().enumerate() {
                let at = at(&format!("filters.{number}"));
                if !is_filter(filter) {
                    found.add(at, format!("{filter:?} is not a Topic Filter of its own"));
                } else if let Some(first) = seen.insert(filter, at.clone()) {
                    found.add(at, format!("{filter:?} counts where it stands first: {first}"));
                }
            }
        }
    }

    /// What is wrong with its name, if anything.
    fn name_problem(&self, before: &[TopicClassConfig]) -> Option<String> {
        let name = self.name.as_str();
        if name.is_empty() {
            return Some("a topic class needs a name, for logs and $SYS".to_owned());
        }
        if [OTHER, UNREAD].contains(&name) {
            return Some(format!("{name:?} is the name of a class of its own"));
        }
        let is_level = !name.contains(|c: char| "/+#".contains(c) || c.is_control());
        if !is_level || name.len() > NAME_BYTES_MAX {
            let wanted = "one level of a topic, without +, # and control characters";
            let most = format!("of {NAME_BYTES_MAX} bytes at most");
            return Some(format!("expected {wanted}, {most}, found {name:?}"));
        }
        let is_taken = before.iter().any(|other| other.name == name);
        is_taken.then(|| format!("{name:?} is the name of another topic class"))
    }
}

/// Whether it is a Topic Filter, and not one of a Shared Subscription.
pub(super) fn is_filter(text: &str) -> bool {
    let levels: Vec<&str> = text.split('/').collect();
    let sound = |(index, level): (usize, &&str)| match *level {
        "#" => index + 1 == levels.len(),
        "+" => true,
        level => !level.contains(['#', '+', '\0']),
    };
    let short = !text.is_empty() && text.len() <= usize::from(u16::MAX);
    short && levels[0] != "$share" && levels.iter().enumerate().all(sound)
}
