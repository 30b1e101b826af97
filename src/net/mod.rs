//! Sockets, TLS, the connection task.

pub mod accept;
mod addresses;
pub mod live_check;
pub mod sampler;
pub mod serve;
pub mod tls;
pub mod wheel;

pub use serve::{Shared, serve};
