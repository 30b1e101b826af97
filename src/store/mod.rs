//! Stores behind the broker's port.

pub mod engine;
mod memory;

pub use memory::MemoryStore;
