//! Topics: names and filters parsed once, the subscription tree, the retained tree.

pub mod name;
pub mod retained;
pub mod tree;

pub use name::{Limits, TopicError, TopicFilter, TopicName};
pub use retained::Retained;
pub use tree::Tree;
