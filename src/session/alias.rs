//! Topic Aliases, both ways; they end with the connection `[MQTT5-3.3.2-7]`.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

/// The aliases of one connection.
#[derive(Debug, Default)]
pub struct Aliases {
    /// Set by the client.
    pub incoming: Incoming,
    /// Set by the broker.
    pub outgoing: Outgoing,
}

impl Aliases {
    /// Bytes of all topics.
    pub fn bytes(&self) -> usize {
        self.incoming.bytes + self.outgoing.bytes
    }
}

/// Aliases that the client has set.
#[derive(Debug, Default)]
pub struct Incoming {
    topics: Vec<Option<Box<str>>>,
    /// Of all topics.
    bytes: usize,
}

impl Incoming {
    /// Sets `alias` to `topic`; a later one replaces it. The caller has checked the maximum.
    pub fn set(&mut self, alias: NonZeroU16, topic: &str) {
        let index = usize::from(alias.get()) - 1;
        if self.topics.len() <= index {
            self.topics.resize(index + 1, None);
        }
        let before = self.topics[index].replace(topic.into());
        self.bytes += topic.len();
        self.bytes -= before.map_or(0, |before| before.len());
    }

    /// What `alias` stands for.
    pub fn topic(&self, alias: NonZeroU16) -> Option<&str> {
        self.topics.get(usize::from(alias.get()) - 1)?.as_deref()
    }
}

/// Aliases that the broker has set: for the first topics that are long enough to gain by one.
#[derive(Debug, Default)]
pub struct Outgoing {
    aliases: BTreeMap<Box<str>, NonZeroU16>,
    /// Of all topics.
    bytes: usize,
}

/// A topic this short gains nothing: the alias itself takes three bytes.
const SHORT: usize = 8;

impl Outgoing {
    /// The alias for `topic` if one of at most `max` is set or free, and whether it is new (the
    /// packet must carry the topic too). A new one is in force from [`Outgoing::set`] on.
    pub fn find(&self, topic: &str, max: u16) -> Option<(NonZeroU16, bool)> {
        if max == 0 || topic.len() <= SHORT {
            return None;
        }
        if let Some(alias) = self.aliases.get(topic) {
            return Some((*alias, false));
        }
        let next = u16::try_from(self.aliases.len()).ok()?.checked_add(1)?;
        (next <= max).then(|| NonZeroU16::new(next).map(|alias| (alias, true)))?
    }

    /// What `alias` stands for: every alias is looked at.
    pub fn topic(&self, alias: NonZeroU16) -> Option<&str> {
        let mut aliases = self.aliases.iter();
        aliases.find(|(_, known)| **known == alias).map(|(topic, _)| &**topic)
    }

    /// Notes that a packet has told the client of a new alias.
    pub fn set(&mut self, topic: &str, alias: NonZeroU16) {
        if self.aliases.insert(topic.into(), alias).is_none() {
            self.bytes += topic.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incoming_alias_can_be_replaced() {
        let mut incoming = Incoming::default();
        let two = NonZeroU16::new(2).unwrap();
        assert_eq!(incoming.topic(two), None);
        incoming.set(two, "a");
        incoming.set(two, "bc");
        assert_eq!((incoming.topic(two), incoming.bytes), (Some("bc"), 2));
        assert_eq!(incoming.topic(NonZeroU16::MIN), None);
    }

    #[test]
    fn outgoing_aliases_stop_at_the_maximum_and_short_topics_get_none() {
        let mut outgoing = Outgoing::default();
        assert_eq!(outgoing.find("short", 2), None);
        let (first, new) = outgoing.find("a/long/topic/1", 2).unwrap();
        assert!(new);
        outgoing.set("a/long/topic/1", first);
        assert_eq!(outgoing.find("a/long/topic/1", 2), Some((first, false)));
        let (second, _) = outgoing.find("a/long/topic/2", 2).unwrap();
        outgoing.set("a/long/topic/2", second);
        assert_ne!(first, second);
        assert_eq!(outgoing.find("a/long/topic/3", 2), None);
        assert_eq!(outgoing.find("a/long/topic/1", 0), None);
    }
}
