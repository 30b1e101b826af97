//! Sockets, TLS, the connection task, and the life of the process.

mod accept;
pub mod live_check;
pub mod run;
pub mod serve;
pub mod tls;
pub mod wheel;

pub use run::{RunError, run};
pub use serve::{Shared, serve};
