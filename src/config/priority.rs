//! Messages that overtake others.

use super::problems::Problems;
use super::section::InForce::Live;
use super::section::{key, rows};
use super::topic_class::is_filter;

rows! {
    /// Messages that overtake others on their way to each receiver where some wait: one `[[priority]]`
    /// for each kind; the first that fits a message counts. All conditions that are set must fit.
    /// Messages of one band keep their order, and so do those of one topic: if messages of its topic still
    /// wait in another band, a message joins them there. A message that fits none is of band 1. After a reload,
    /// messages that wait keep their band; if some of them are in the store alone, new ones overtake none
    /// of them. After a restart without any `[[priority]]`, nothing overtakes anything.
    pub struct Priority {
        /// Condition: a Topic Filter.
        filter: Option<String> = key(Live, None).example(Some("alarm/#".to_owned()));
        /// Condition: a User Property, as `"name=value"`.
        property: Option<String> = key(Live, None).example(Some("urgent=yes".to_owned()));
        /// The band: 3 overtakes all others, 0 is overtaken by all.
        band: u8 = key(Live, 0).example(3).range(0..=3);
    }
}

impl Priority {
    /// Adds what is wrong with it, apart from ranges; `at` is its place in the list.
    pub(super) fn check(&self, at: &str, found: &mut Problems) {
        let key = format!("{at}.filter");
        if self.filter.is_none() && self.property.is_none() {
            found.add(key, "a priority needs a filter or a property");
        } else if let Some(filter) = self.filter.as_ref().filter(|filter| !is_filter(filter)) {
            found.add(key, format!("{filter:?} is not a Topic Filter of its own"));
        }
        if self.property.as_ref().is_some_and(|property| !property.contains('=')) {
            found.add(format!("{at}.property"), "expected \"name=value\"");
        }
    }
}
