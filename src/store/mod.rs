//! Stores behind the broker's port.

mod bytes;
mod durable;
mod end_session;
pub mod engine;
mod facts;
mod memory;
mod online;
mod open;
#[cfg(feature = "store-redb")]
mod redb;
mod sled;
mod watched;

pub use self::durable::{DurableStore, Loader, Rows};
pub use self::end_session::{EndedSession, end_session};
pub use self::facts::row_name;
pub use self::memory::MemoryStore;
pub use self::online::{Exports, ask};
pub use self::open::{OpenError, mend, open, options, table_kind};
#[cfg(feature = "store-redb")]
pub use self::redb::redb_kind;
pub use self::sled::sled_kind;
