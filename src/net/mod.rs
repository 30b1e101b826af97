//! Sockets, TLS, the connection task.
