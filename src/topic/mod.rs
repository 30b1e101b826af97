//! Topics: names and filters parsed once, the subscription tree, the retained tree.

mod exact;
pub mod name;
mod prints;
pub mod retained;
mod shapes;
mod shards;
pub mod tree;
#[cfg(test)]
mod twin;
mod values;

pub use name::{TopicError, TopicFilter, TopicLimits, TopicName};
pub use retained::Retained;
pub use shards::{TextHash, spread};
pub use tree::Tree;
