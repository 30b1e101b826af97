//! Sockets, TLS, the connection task.

mod addresses;
pub mod listener;
pub mod live_check;
pub mod proxy;
#[cfg(feature = "quic")]
pub mod quic;
pub mod sampler;
pub mod serve;
pub mod sockets;
pub mod tcp;
pub mod tls;
pub mod trim;
pub mod unix;
pub mod websocket;
pub mod wheel;

pub use serve::{ServeContext, serve};
