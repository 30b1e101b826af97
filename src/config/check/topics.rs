//! Classes of topics: usable names, and filters of which each can count.

use std::collections::BTreeMap;

use super::{Findings, is_filter};
use crate::config::topic_class::{FILTERS_MAX, NAME_BYTES_MAX, TOPIC_CLASSES_MAX};
use crate::config::{Config, OTHER, UNREAD};

impl Config {
    pub(super) fn check_topic_classes(&self, found: &mut Findings) {
        let count = self.topic_class.len();
        if count > TOPIC_CLASSES_MAX {
            found.add("topic_class", format!("{count} of them are more than {TOPIC_CLASSES_MAX}"));
        }
        let mut seen = BTreeMap::new();
        for (index, class) in self.topic_class.iter().enumerate() {
            let at = |key: &str| format!("topic_class.{index}.{key}");
            let name = class.name.as_str();
            if name.is_empty() {
                found.add(at("name"), "a topic class needs a name, for logs and $SYS");
            } else if [OTHER, UNREAD].contains(&name) {
                found.add(at("name"), format!("{name:?} is the name of a class of its own"));
            } else if name.contains(|c: char| "/+#".contains(c) || c.is_control())
                || name.len() > NAME_BYTES_MAX
            {
                let wanted = "one level of a topic, without +, # and control characters";
                let most = format!("of {NAME_BYTES_MAX} bytes at most");
                found.add(at("name"), format!("expected {wanted}, {most}, found {name:?}"));
            } else if self.topic_class[..index].iter().any(|other| other.name == name) {
                found.add(at("name"), format!("{name:?} is the name of another topic class"));
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
}
