//! Topics: names and filters parsed once, the subscription tree, the retained tree.

mod by_shape;
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

pub use name::{TopicError, TopicFilter, TopicLimits, TopicName};
pub use retained::Retained;
pub use shards::{TextHash, spread};
pub use tree::Tree;
