//! Which band a message is of: decided once, when it is published.

use crate::codec::Properties;
use crate::config;
use crate::topic::{TopicFilter, TopicLimits, TopicName};

use super::mailbox::{BANDS, ORDINARY};

/// The rules under `[[priority]]`; the first that fits counts.
#[derive(Debug)]
pub(super) struct Priorities {
    rules: Vec<Rule>,
    /// Messages of one topic may be of different bands.
    pub by_property: bool,
}

#[derive(Debug)]
struct Rule {
    filter: Option<TopicFilter>,
    property: Option<(String, String)>,
    band: u8,
}

impl Priorities {
    /// The rules; `None` where there are none, so that no message is looked up.
    pub fn new(priorities: &[config::Priority]) -> Option<Priorities> {
        let limits = TopicLimits { bytes_max: usize::from(u16::MAX), levels_max: usize::MAX };
        let rules = priorities.iter().filter_map(|priority| {
            // What is no filter was told when the configuration was checked: it fits nothing.
            let filter = match &priority.filter {
                Some(filter) => Some(TopicFilter::parse(filter, &limits).ok()?),
                None => None,
            };
            let property = priority.property.as_ref().and_then(|property| {
                property.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
            });
            let band = priority.band.min(BANDS as u8 - 1);
            Some(Rule { filter, property, band })
        });
        let rules: Vec<_> = rules.collect();
        let by_property = rules.iter().any(|rule| rule.property.is_some());
        (!rules.is_empty()).then_some(Priorities { rules, by_property })
    }

    /// The band of a message.
    pub fn band(&self, topic: TopicName<'_>, properties: &Properties<'_>) -> u8 {
        let fits = |rule: &&Rule| {
            let property = rule.property.as_ref().is_none_or(|(name, value)| {
                properties.user_properties().contains(&(name.as_str(), value.as_str()))
            });
            property && rule.filter.as_ref().is_none_or(|filter| filter.matches(topic))
        };
        self.rules.iter().find(fits).map_or(ORDINARY, |rule| rule.band)
    }
}
