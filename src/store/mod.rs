//! Stores behind the broker's port.

pub mod engine;
mod memory;
#[cfg(feature = "store-redb")]
mod redb;
mod sled;
mod watched;

pub use self::memory::MemoryStore;
#[cfg(feature = "store-redb")]
pub use self::redb::redb_kind;
pub use self::sled::sled_kind;
