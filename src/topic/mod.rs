//! Topics: names and filters parsed once, the subscription tree, the retained tree.

mod edges;
mod exact;
pub mod name;
mod nodes;
pub mod retained;
mod shards;
pub mod tree;
#[cfg(test)]
mod twin;
mod values;

pub use name::{TopicError, TopicFilter, TopicLimits, TopicName};
pub use retained::Retained;
pub use shards::TextHash;
pub use tree::Tree;
