//! Topic Names, Topic Filters and Share Names: parsed once, trusted after.

use std::sync::Arc;

/// Limits on Topic Names and Topic Filters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Longest, in bytes.
    pub bytes_max: usize,
    /// Most levels.
    pub levels_max: usize,
}

/// Why a string is no Topic Name or Topic Filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TopicError {
    /// At least one character `[MQTT5-4.7.3-1]`.
    #[error("topic is empty")]
    Empty,
    /// Longer than the limit.
    #[error("topic is longer than {0} bytes")]
    TooLong(usize),
    /// More levels than the limit.
    #[error("topic has more than {0} levels")]
    TooDeep(usize),
    /// `+` or `#` in a Topic Name, or not filling a level in a Topic Filter, or `#` not last.
    #[error("wildcard where none may stand")]
    Wildcard,
    /// U+0000.
    #[error("topic holds U+0000")]
    Null,
    /// `$share/` without a name, or without a filter after it `[MQTT5-4.8.2-1]`.
    #[error("malformed shared subscription")]
    Share,
}

/// A Topic Name: not empty, no wildcard, within the limits. Borrowed; free to copy.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks `text`.
    pub fn parse(_text: &'a str, _limits: &Limits) -> Result<TopicName<'a>, TopicError> {
        todo!()
    }

    /// Takes over a name that was checked before, kept in a message.
    pub fn trusted(text: &'a str) -> TopicName<'a> {
        TopicName(text)
    }

    /// The text.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// A Topic Filter, shared or not. Cheap to clone.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicFilter(Arc<str>);

impl TopicFilter {
    /// Checks `text`, including the form of a Shared Subscription.
    pub fn parse(_text: &str, _limits: &Limits) -> Result<TopicFilter, TopicError> {
        todo!()
    }

    /// The whole text, with `$share/NAME/` if it is shared.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The Share Name, if it is a Shared Subscription.
    pub fn share(&self) -> Option<&str> {
        todo!()
    }

    /// What is matched: the text without `$share/NAME/`.
    pub fn pattern(&self) -> &str {
        todo!()
    }

    /// Whether it has a wildcard.
    pub fn has_wildcard(&self) -> bool {
        todo!()
    }

    /// Whether `name` matches it: `$`-topics not by a leading wildcard `[MQTT5-4.7.2-1]`.
    pub fn matches(&self, _name: TopicName<'_>) -> bool {
        todo!()
    }
}
