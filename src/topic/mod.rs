//! Topics: names and filters parsed once, the subscription tree, the retained tree.

mod by_shape;
mod delayed;
mod edges;
mod exact;
pub mod name;
mod nodes;
mod prints;
pub mod retained;
mod shapes;
mod shards;
pub mod tree;
mod trie;
#[cfg(test)]
mod twin;
mod values;

pub use delayed::{DelayedTopic, DelayedTopicError, is_delayed};
pub(crate) use name::REPLAY;
pub use name::{EXCLUSIVE, TopicError, TopicFilter, TopicLimits, TopicName, is_queue_filter};
pub use retained::Retained;
pub use shards::{TextHash, spread};
pub use tree::Tree;
