//! Sockets, TLS, the connection task.

pub mod tls;
