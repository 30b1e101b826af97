//! Classes of topics: what the ledger tells apart.

use serde::{Deserialize, Serialize};

/// Topics of which the ledger tells what was lost: section `[[topic_class]]`. Nothing else depends on
/// it. What no section fits is of the class [`OTHER`].
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicClass {
    /// Name in `$SYS`, where it is one level of a topic, and in logs. At most 64 bytes.
    pub name: String,
    /// Topic Filters, of which one must fit. 1 to 1000.
    pub filters: Vec<String>,
}

/// How many there may be.
pub const TOPIC_CLASSES_MAX: usize = 64;
/// Topic Filters that one may have.
pub const FILTERS_MAX: usize = 1000;
/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// The class of what no section fits, and of what nobody knows the topic of.
pub const OTHER: &str = "other";
/// The class of what only the store knows the topic of, until it is read.
pub const UNREAD: &str = "unread";
