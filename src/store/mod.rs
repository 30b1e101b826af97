//! Stores behind the broker's port.

mod memory;

pub use memory::MemoryStore;
